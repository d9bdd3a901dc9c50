//! Tasks that fail, warn or are killed.

use castle_lab::hypervisor::TaskFault;

use crate::case::{Case, End};

#[test]
fn failed_tasks() {
    let fails = |text: &str| TaskFault::Fails(text.to_owned());
    let once = fails("the disk is on fire");
    Case::create("failed import", End::Failed("unexpected", ""))
        .weather(move |world| world.fail_task("qmcreate", None, once.clone()))
        .tells("the disk is on fire")
        .check();
    let fault = fails("start failed: QEMU exited with code 1");
    Case::create("failed start", End::Failed("unexpected", ""))
        .weather(move |world| (0..9).for_each(|_| world.fail_task("qmstart", Some(431), fault.clone())))
        .tells("QEMU exited with code 1")
        .check();
    let after = TaskFault::FailsAfterEffect("start failed: QEMU exited with code 1".into());
    Case::create("start that failed after its effect", End::Reached)
        .weather(move |world| world.fail_task("qmstart", None, after.clone()))
        .check();
    for kind in ["qmstop", "qmdestroy"] {
        let fault = fails("the disk is on fire");
        Case::destroy(format!("failed {kind}"), End::Failed("unexpected", ""))
            .weather(move |world| world.fail_task(kind, None, fault.clone()))
            .check();
    }
}

#[test]
fn warnings() {
    for kind in ["qmcreate", "qmstart"] {
        Case::create(format!("{kind} with warnings"), End::Reached)
            .weather(move |world| world.fail_task(kind, None, TaskFault::Warns(2)))
            .tells("with 2 warnings")
            .check();
    }
}

#[test]
fn killed() {
    for kind in ["qmcreate", "qmstart"] {
        for fault in [TaskFault::Killed, TaskFault::KilledHalfway] {
            let planted = fault.clone();
            Case::create(format!("{kind} {fault:?}"), End::Reached)
                .weather(move |world| world.fail_task(kind, None, planted.clone()))
                .check();
        }
    }
    for kind in ["qmstop", "qmdestroy"] {
        for fault in [TaskFault::Killed, TaskFault::KilledHalfway] {
            let planted = fault.clone();
            Case::destroy(format!("{kind} {fault:?}"), End::Reached)
                .weather(move |world| world.fail_task(kind, None, planted.clone()))
                .check();
        }
    }
}
