//! Answers that are lost, late or wrong.

use castle_lab::faults::{Fault, FaultEffect};

use crate::case::{Case, End};

fn timed_out(after: bool) -> FaultEffect {
    FaultEffect::Status { status: 596, reason: Some("Connection timed out".into()), body: String::new(), after }
}

#[test]
fn lost_answers() {
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
fn slow_answers() {
    let slow = |seconds, times| Fault { backend: Some("proxmox".into()), times, ..Fault::of(FaultEffect::Delay { seconds }) };
    Case::create("slow answers", End::Reached).fault(slow(20.0, 30)).check();
    Case::destroy("slow answers", End::Reached).fault(slow(20.0, 30)).check();
}
