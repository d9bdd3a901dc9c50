//! Answers of nodes and of the Kubernetes API that are lost, late or wrong.

use std::time::Duration;

use castle_core::Milestone;
use castle_lab::faults::{Fault, FaultEffect};

use crate::case::{Case, End};
use crate::cluster::PLANE_NAME;

fn create(name: String) -> Case {
    Case::create(name, End::Reached).until(Milestone::NodesReady)
}

fn fault(backend: &str, kind: &str, effect: FaultEffect) -> Fault {
    Fault { backend: Some(backend.into()), kind: Some(kind.into()), ..Fault::of(effect) }
}

fn status(status: u16, reason: &str) -> FaultEffect {
    let body = format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"weather","reason":"{reason}","code":{status}}}"#
    );
    FaultEffect::Status { status, reason: None, body, after: false }
}

/// Whatever becomes of its answer, etcd is born once: the case counts the births.
#[test]
fn a_birth_whose_answer_is_lost_stays_the_only_one() {
    for effect in [FaultEffect::AnswerLost, FaultEffect::ResetAfter, FaultEffect::ResetBefore, FaultEffect::Stall] {
        create(format!("bootstrap with {}", effect.name())).fault(fault("talos", "machine.Bootstrap", effect)).check();
    }
}

#[test]
fn a_configuration_whose_answer_is_lost_is_looked_for() {
    for effect in [FaultEffect::AnswerLost, FaultEffect::ResetAfter, FaultEffect::ResetBefore, FaultEffect::Stall] {
        for name in [PLANE_NAME, "blue-wk-02"] {
            let one = fault("talos", "machine.ApplyConfiguration", effect.clone());
            create(format!("configuration of {name} with {}", effect.name()))
                .fault(Fault { entity: Some(name.into()), ..one })
                .check();
        }
    }
}

#[test]
fn streams_of_nodes_that_break_are_opened_again() {
    for effect in [FaultEffect::Stall, FaultEffect::ResetBefore, FaultEffect::ResetAfter] {
        create(format!("Talos watch with {}", effect.name()))
            .fault(Fault { times: 3, ..fault("talos", "cosi.Watch", effect) })
            .check();
    }
}

#[test]
fn an_api_that_answers_with_errors_is_asked_again() {
    for (code, reason) in
        [(500, "InternalError"), (503, "ServiceUnavailable"), (429, "TooManyRequests"), (504, "Timeout")]
    {
        create(format!("{code}"))
            .fault(Fault { times: 2, ..fault("kubernetes", "GET *", status(code, reason)) })
            .fault(Fault { times: 2, ..fault("kubernetes", "WATCH *", status(code, reason)) })
            .fault(fault("kubernetes", "GET pods", status(code, reason)))
            .fault(fault("kubernetes", "GET nodes", status(code, reason)))
            .check();
    }
    create("410".into()).fault(Fault { times: 2, ..fault("kubernetes", "WATCH *", status(410, "Expired")) }).check();
}

#[test]
fn connections_to_the_api_that_break_or_say_nothing_are_left() {
    for effect in [FaultEffect::Stall, FaultEffect::ResetBefore, FaultEffect::ResetAfter, FaultEffect::AnswerLost] {
        create(format!("API with {}", effect.name()))
            .fault(fault("kubernetes", "GET *", effect.clone()))
            .within(10)
            .check();
        // Alone: while the first question is stalled, the nodes may become ready, and
        // nothing is left to be watched.
        create(format!("watches with {}", effect.name()))
            .fault(fault("kubernetes", "WATCH nodes", effect.clone()))
            .fault(fault("kubernetes", "WATCH pods", effect))
            .within(10)
            .check();
    }
}

#[test]
fn an_api_that_serves_once_and_refuses_for_a_while_is_waited_for() {
    for (after, away) in [(1, 20), (3, 60), (20, 60)] {
        create(format!("API away after {after} s"))
            .weather(move |world| world.plant_api_refusal(Duration::from_secs(after), Duration::from_secs(away)))
            .within(10)
            .check();
    }
}
