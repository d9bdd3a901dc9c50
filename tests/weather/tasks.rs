//! Tasks that fail, warn or are killed.

use castle_lab::hypervisor::TaskFault;

use crate::case::{Case, End};

/// How often a start or stop is sent before its failure is believed.
const ATTEMPTS: usize = 3;

fn fails() -> TaskFault {
    TaskFault::Fails("the disk is on fire".into())
}

#[test]
fn a_failed_import_is_told_with_the_words_of_the_host() {
    Case::create("failed import", End::Failed("unexpected", "pvenode task log UPID:pve:"))
        .weather(|world| world.fail_task("qmcreate", Some(421), fails()))
        .tells("the disk is on fire")
        .check();
}

#[test]
fn a_start_is_tried_again_and_its_failure_believed_at_last() {
    for (times, end) in [(1, End::Reached), (ATTEMPTS, End::Failed("unexpected", "pvenode task log UPID:pve:"))] {
        Case::create(format!("start that failed {times} times"), end)
            .weather(move |world| (0..times).for_each(|_| world.fail_task("qmstart", Some(431), fails())))
            .check();
    }
    let fault = TaskFault::FailsAfterEffect("start failed: QEMU exited with code 1".into());
    Case::create("start that failed after its effect", End::Reached)
        .weather(move |world| world.fail_task("qmstart", Some(431), fault.clone()))
        .check();
}

#[test]
fn a_failed_stop_or_removal_leaves_the_machine_for_the_next_run() {
    for kind in ["qmstop", "qmdestroy"] {
        Case::destroy(format!("failed {kind}"), End::Failed("unexpected", "pvenode task log UPID:pve:"))
            .weather(move |world| world.fail_task(kind, Some(431), fails()))
            .tells("the disk is on fire")
            .check();
    }
}

#[test]
fn warnings_of_a_task_are_a_success_and_are_told() {
    for kind in ["qmcreate", "qmstart"] {
        Case::create(format!("{kind} with warnings"), End::Reached)
            .weather(move |world| world.fail_task(kind, Some(431), TaskFault::Warns(2)))
            .tells("ended well with 2 warnings")
            .check();
    }
    Case::destroy("qmdestroy with warnings", End::Reached)
        .weather(|world| world.fail_task("qmdestroy", Some(431), TaskFault::Warns(1)))
        .tells("ended well with 1 warning")
        .check();
}

/// A half-made machine carries no mark yet, so nobody can prove that it is ours.
#[test]
fn an_import_that_is_killed_is_left_to_the_administrator() {
    Case::create("import killed", End::Refused("foreign_owner", "qm destroy 421"))
        .weather(|world| world.fail_task("qmcreate", Some(421), TaskFault::Killed))
        .leaves(&[
            "vm-421-cloudinit",
            "vm-421-disk-0",
            "vm-421-disk-1",
            "VM 421 on pve: a configuration with the lock create",
        ])
        .clears(|world| world.admin_destroy(421))
        .check();
    // Whole, but not in the pool: the token is not allowed to see it.
    Case::create("import killed before the machine joined its pool", End::Refused("foreign_owner", "qm destroy 421"))
        .weather(|world| world.fail_task("qmcreate", Some(421), TaskFault::KilledHalfway))
        .clears(|world| world.admin_destroy(421))
        .check();
}

#[test]
fn a_killed_start_stop_or_removal_is_tried_again() {
    for fault in [TaskFault::Killed, TaskFault::KilledHalfway] {
        let planted = fault.clone();
        Case::create(format!("qmstart {fault:?}"), End::Reached)
            .weather(move |world| world.fail_task("qmstart", Some(431), planted.clone()))
            .check();
        Case::destroy(format!("qmstop {fault:?}"), End::Reached)
            .weather(move |world| world.fail_task("qmstop", Some(431), fault.clone()))
            .check();
    }
    Case::destroy("qmdestroy killed", End::Reached)
        .weather(|world| world.fail_task("qmdestroy", Some(431), TaskFault::Killed))
        .check();
    // Its disks are gone and its pool has forgotten it: only the number is left.
    Case::destroy("qmdestroy killed halfway", End::Refused("foreign_owner", "qm destroy 431"))
        .weather(|world| world.fail_task("qmdestroy", Some(431), TaskFault::KilledHalfway))
        .leaves(&["VM 431 on pve: a configuration with the lock destroyed"])
        .clears(|world| world.admin_destroy(431))
        .check();
}
