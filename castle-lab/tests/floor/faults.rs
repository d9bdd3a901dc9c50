//! The table of faults, over real sockets.

use std::sync::atomic::Ordering;
use std::time::Duration;

use castle_lab::runtime::run_virtual;
use castle_lab::{Fault, FaultEffect};

use crate::echo::{Client, chain, house};

/// What a client saw of one struck request.
struct Seen {
    outcome: String,
    effects: u64,
    seconds: f64,
    journal: String,
}

/// Sends one POST of two seconds into a lab with that fault, and one after it.
fn check(effect: FaultEffect, expected: &str) {
    let seen = run_virtual(|| async move {
        let (echo, lab) = house(1);
        let lab = lab.faults(vec![Fault { write: Some(true), ..Fault::of(effect) }]).start().await.unwrap();
        let client = Client::of(&lab, lab.new_run());
        let begin = lab.clock().elapsed();
        let outcome = match client.http.post(format!("{}/latency/2000", client.base)).body("x").send().await {
            Ok(answer) => answer.status().as_u16().to_string(),
            Err(error) if error.is_timeout() => "timeout".to_owned(),
            Err(error) if chain(&error).contains("reset by peer") => "reset".to_owned(),
            Err(error) if chain(&error).contains("without sending TLS close_notify") => "hung up".to_owned(),
            Err(error) => chain(&error),
        };
        let seconds = (lab.clock().elapsed() - begin).as_secs_f64();
        let effects = echo.effects.load(Ordering::SeqCst);
        let entry = &lab.journal().entries()[0];
        let journal = format!("{:?} {} effect={}", entry.status, entry.fault.as_deref().unwrap(), entry.effect);
        assert_eq!(lab.faults().left()[0].times, 0, "the fault struck");
        client.get("/latency/0").await.expect("the lab serves on after a fault");
        Seen { outcome, effects, seconds, journal }
    });
    let line =
        format!("{} after {:.0} s, {} effects; journal: {}", seen.outcome, seen.seconds, seen.effects, seen.journal);
    assert_eq!(line, expected);
}

/// What is held up has not happened yet.
#[test]
fn a_request_that_is_held_up_has_its_effect_after_it() {
    run_virtual(|| async move {
        let (echo, lab) = house(1);
        let lab = lab.start().await.unwrap();
        let client = Client::of(&lab, lab.new_run());
        let effects = || echo.effects.load(Ordering::SeqCst);
        let watch = async {
            let mut seen = Vec::new();
            for seconds in [1, 18, 2] {
                lab.clock().sleep(Duration::from_secs(seconds)).await;
                seen.push(effects());
            }
            seen
        };
        let (answer, seen) = futures::future::join(client.post("/busy"), watch).await;
        answer.expect("an answer");
        assert_eq!(seen, [0, 0, 1]);
        assert_eq!(lab.clock().elapsed().as_secs(), 21);
    });
}

#[test]
fn a_status_instead_of_the_effect() {
    let effect = FaultEffect::Status { status: 595, reason: None, body: String::new(), after: false };
    check(effect, "595 after 2 s, 0 effects; journal: Some(595) status effect=false");
}

#[test]
fn a_status_although_the_operation_goes_on() {
    let effect = FaultEffect::Status { status: 596, reason: None, body: String::new(), after: true };
    check(effect, "596 after 2 s, 1 effects; journal: Some(596) status effect=true");
}

#[test]
fn a_delay() {
    check(FaultEffect::Delay { seconds: 20.0 }, "200 after 22 s, 1 effects; journal: Some(200) delay effect=true");
}

#[test]
fn a_stall_ends_by_the_client_s_patience() {
    check(FaultEffect::Stall, "timeout after 30 s, 0 effects; journal: None stall effect=false");
}

#[test]
fn a_reset_before_the_effect() {
    check(FaultEffect::ResetBefore, "reset after 1 s, 0 effects; journal: None reset_before effect=false");
}

#[test]
fn a_reset_after_the_effect() {
    check(FaultEffect::ResetAfter, "reset after 1 s, 1 effects; journal: None reset_after effect=true");
}

#[test]
fn an_answer_that_is_lost() {
    check(FaultEffect::AnswerLost, "hung up after 1 s, 1 effects; journal: None answer_lost effect=true");
}

#[test]
fn a_client_that_gives_up_does_not_undo_what_it_asked() {
    run_virtual(|| async {
        let (echo, lab) = house(1);
        let lab = lab.start().await.unwrap();
        let client = Client::with(&lab, lab.new_run(), Duration::from_secs(1));
        assert!(client.post("/latency/8000").await.unwrap_err().is_timeout());
        assert_eq!(echo.effects.load(Ordering::SeqCst), 0);
        lab.advance(Duration::from_secs(10)).await.unwrap();
        assert_eq!(echo.effects.load(Ordering::SeqCst), 1, "the server had read the request in full");
    });
}
