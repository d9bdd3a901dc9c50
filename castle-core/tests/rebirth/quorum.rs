//! An etcd that was born and does not vote: it is waited for, unless its data is
//! proved to be gone.

use castle_core::memory::{EXAMPLE, plain_image};
use castle_core::{ErrorKind, Goal, LostLife, MachineId, Milestone, Outcome, Power, Project, RunOptions};

use crate::home::{Home, id, until};

const FALLEN: [u32; 2] = [422, 423];

/// The example with three control planes.
fn fortified() -> Project {
    let first = "  - {name: blue-cp-01, vmid: 421, address: 192.168.1.211, host: pve}\n";
    let others = "  - {name: blue-cp-02, vmid: 422, address: 192.168.1.212, host: pve}\n  - {name: blue-cp-03, vmid: 423, \
                  address: 192.168.1.213, host: pve}\n";
    let text = EXAMPLE.replace(first, &format!("{first}{others}")).replace("memory: 8GiB", "memory: 4GiB");
    Project::parse(&text, plain_image).unwrap()
}

fn switch_off(home: &Home, machine: MachineId) {
    let mut found = home.machines.machine(machine).unwrap();
    found.power = Power::Stopped;
    home.machines.plant(machine, found);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_quorum_begins_when_the_control_planes_are_on() {
    let home = Home::of(fortified());
    home.reaches(Goal::Create, RunOptions::default()).await;
    FALLEN.iter().for_each(|machine| switch_off(&home, id(*machine)));
    home.cluster.silence(true);
    let plan = home.plan(Goal::Create, LostLife::Ask).await;
    let needs = &plan.steps.iter().find(|step| step.id == "cluster/bootstrap").unwrap().needs;
    for start in ["machine/blue-cp-02/start", "machine/blue-cp-03/start"] {
        assert!(needs.iter().any(|need| need == start), "{needs:?}");
    }
    home.cluster.silence(false);
    home.reaches(Goal::Create, RunOptions::default()).await;
}

/// That its only disk is gone is known to every run after the one that saw it.
#[tokio::test(start_paused = true)]
async fn an_etcd_whose_only_disk_is_gone_is_named_as_lost_at_once() {
    let home = Home::standing().await;
    home.machines.plant(id(421), None);
    for _ in 0..2 {
        let report = home.run(Goal::Create, until(Milestone::NodesReady)).await;
        let error = report.error.as_ref().unwrap();
        assert_eq!((report.outcome, error.kind()), (Outcome::Refused, ErrorKind::EvidenceMissing), "{report:#?}");
        assert!(error.chain().contains("its disk is lost"), "{error:?}");
    }
    assert!(home.lives().await.get(1).unwrap().lost);
    assert_eq!(home.cluster.births(), [1]);
}

/// While another control plane may hold a copy, nobody is told to give it up.
#[tokio::test(start_paused = true)]
async fn an_etcd_of_which_another_disk_holds_a_copy_is_not_lost() {
    let home = Home::of(fortified());
    home.reaches(Goal::Create, RunOptions::default()).await;
    home.machines.plant(id(421), None);
    FALLEN.iter().for_each(|machine| switch_off(&home, id(*machine)));
    home.reaches(Goal::Create, RunOptions::default()).await;
    assert!(!home.lives().await.get(1).unwrap().lost);
    assert_eq!(home.cluster.births(), [1]);
}

/// All disks are gone: no control plane that is made anew may pass for a holder of
/// etcd's data, in this run or in a later one.
#[tokio::test(start_paused = true)]
async fn an_etcd_of_which_every_disk_is_gone_is_named_as_lost_at_once() {
    let home = Home::of(fortified());
    home.reaches(Goal::Create, RunOptions::default()).await;
    [421, 422, 423].iter().for_each(|machine| home.machines.plant(id(*machine), None));
    for _ in 0..2 {
        let options = RunOptions { lost_life: LostLife::Continue, ..until(Milestone::NodesReady) };
        let report = home.run(Goal::Create, options).await;
        let error = report.error.as_ref().unwrap();
        assert_eq!((report.outcome, error.kind()), (Outcome::Refused, ErrorKind::EvidenceMissing), "{report:#?}");
        assert!(error.chain().contains("its disk is lost"), "{error:?}");
    }
    assert!(home.lives().await.get(1).unwrap().lost);
    assert_eq!(home.cluster.births(), [1]);
}
