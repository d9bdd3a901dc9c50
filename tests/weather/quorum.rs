//! An etcd that was born and has lost its quorum: it comes back with its members, and
//! nobody is told to give it up.

use std::time::Duration;

use castle_core::{Milestone, Project};
use castle_lab::World;
use castle_lab::faults::{Fault, FaultEffect};

use crate::case::{Case, End, fortress};

/// The two control planes that fall out of three.
const FALLEN: [u32; 2] = [522, 523];

fn create(name: &str, project: Project, end: End) -> Case {
    Case::create(name, end).until(Milestone::NodesReady).of(project).standing()
}

/// Both are cut off now; after so long they are switched off and on.
fn cut_off(world: &mut World) {
    FALLEN.iter().for_each(|machine| world.plant_silence(*machine));
}

fn come_back(world: &mut World) {
    for machine in FALLEN {
        world.admin_stop(machine);
        world.admin_start(machine);
    }
}

#[test]
fn an_etcd_without_its_quorum_is_waited_for_as_long_as_its_step_may_take() {
    create("two of three away for six minutes", fortress(), End::Reached)
        .weather(|world| {
            cut_off(world);
            let at = world.now() + Duration::from_secs(360);
            world.schedule(at, come_back);
        })
        .tells("etcd is running: Health check failed")
        .check();
}

/// The machines are off, and each takes half a minute to start: etcd would be waited
/// for too short a time, if its clock began before they are on.
#[test]
fn the_wait_for_a_quorum_begins_when_the_control_planes_are_on() {
    let mut project = fortress();
    project.deadlines.api = Duration::from_secs(50);
    let slow = |machine: u32| Fault {
        backend: Some("proxmox".into()),
        kind: Some("POST qemu/status/start".into()),
        entity: Some(machine.to_string()),
        ..Fault::of(FaultEffect::Delay { seconds: 34.0 })
    };
    create("two of three start slowly", project, End::Reached)
        .weather(|world| FALLEN.iter().for_each(|machine| world.admin_stop(*machine)))
        .fault(slow(FALLEN[0]))
        .fault(slow(FALLEN[1]))
        .check();
}

#[test]
fn a_quorum_that_does_not_come_back_is_named_with_the_members_that_hold_the_data() {
    let mut project = fortress();
    project.deadlines.api = Duration::from_secs(240);
    create("two of three away for ever", project, End::Refused("quorum_lost", "fortress-cp-02, fortress-cp-03"))
        .weather(cut_off)
        .tells("etcd is running: Health check failed")
        .insists()
        .clears(come_back)
        .check();
}

/// All three disks are gone. What castle makes anew beside the first is blank, and
/// passes for no copy of etcd's data, in this run or in the next.
#[test]
fn an_etcd_of_which_every_disk_is_gone_is_not_waited_for() {
    create("all control planes destroyed", fortress(), End::Refused("evidence_missing", "destroy the cluster"))
        .weather(|world| [521, 522, 523].iter().for_each(|machine| world.admin_destroy(*machine)))
        .tells("its disk is lost")
        .insists()
        .cured_by_destroy()
        .within(5)
        .check();
}
