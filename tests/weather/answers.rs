//! Answers that are lost, late or wrong.

use castle_core::Milestone;
use castle_lab::faults::{Fault, FaultEffect};

use crate::case::{Case, End, fortress};

fn timed_out(after: bool) -> FaultEffect {
    FaultEffect::Status { status: 596, reason: Some("Connection timed out".into()), body: String::new(), after }
}

#[test]
fn a_write_whose_answer_is_lost_is_looked_for_and_not_repeated_blindly() {
    for effect in [
        FaultEffect::AnswerLost,
        FaultEffect::ResetBefore,
        FaultEffect::ResetAfter,
        FaultEffect::Stall,
        timed_out(true),
        timed_out(false),
    ] {
        for kind in ["POST qemu", "PUT qemu/resize", "POST qemu/status/start"] {
            Case::create(format!("{effect:?} of {kind}"), End::Reached)
                .fault(Fault { kind: Some(kind.into()), ..Fault::of(effect.clone()) })
                .check();
        }
        for kind in ["PUT qemu/config", "POST qemu/status/stop", "DELETE qemu"] {
            Case::destroy(format!("{effect:?} of {kind}"), End::Reached)
                .fault(Fault { kind: Some(kind.into()), ..Fault::of(effect.clone()) })
                .check();
        }
    }
}

#[test]
fn slow_answers_cost_time_only() {
    let slow =
        |seconds, times| Fault { backend: Some("proxmox".into()), times, ..Fault::of(FaultEffect::Delay { seconds }) };
    Case::create("slow answers", End::Reached).fault(slow(20.0, 30)).check();
    Case::destroy("slow answers", End::Reached).fault(slow(20.0, 30)).check();
}

/// Each round fails at the same request, and drops what waits beside it: what comes true
/// meanwhile is progress all the same, and no reason to give up.
#[test]
fn a_run_goes_on_while_the_world_does() {
    let busy = FaultEffect::Status { status: 503, reason: Some("busy".into()), body: String::new(), after: false };
    Case::create("one machine cannot be made for long", End::Reached)
        .of(fortress())
        .until(Milestone::NodesReady)
        .fault(Fault { kind: Some("POST qemu".into()), entity: Some("532".into()), times: 60, ..Fault::of(busy) })
        .check();
}
