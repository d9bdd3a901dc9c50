//! A secret store that is well but for a single read.

use castle_core::{Goal, Milestone, Outcome};
use castle_lab::faults::{Fault, FaultEffect};
use castle_lab::{Lab, runtime};

use crate::case::{blue, visit};

/// What the store holds.
async fn keys(lab: &Lab) -> Vec<String> {
    let store = lab.secrets(lab.new_run());
    store.list("").await.expect("the store answers").iter().map(ToString::to_string).collect()
}

/// One run over a castle that stands, where the read after so many others is lost.
/// `None`: there are not so many.
async fn with_a_lost_read(goal: Goal, until: Milestone, read: u32) -> Option<(Vec<String>, Vec<String>)> {
    let lab = Lab::builder(&blue()).seed(1).start().await.expect("the lab starts");
    let report = visit(&blue(), &lab, Goal::Create, until, None).await.report;
    assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
    lab.faults().add(Fault {
        backend: Some("secrets".into()),
        write: Some(false),
        skip: read,
        ..Fault::of(FaultEffect::ResetBefore)
    });
    let seen = visit(&blue(), &lab, goal, until, None).await;
    if lab.faults().left().iter().any(|fault| fault.times > 0) {
        return None;
    }
    assert_eq!(seen.report.outcome, Outcome::Ok, "{goal}, read {read}: {:#?}", seen.report);
    lab.with_world(|world| {
        assert_eq!(world.violations(), [] as [String; 0], "{goal}, read {read}");
        assert_eq!(world.leftovers(), [] as [String; 0], "{goal}, read {read}");
    });
    Some((keys(&lab).await, writes_to_machines(seen.writes)))
}

/// What was asked of the hypervisor. A fact of the store is written once, however often
/// it is asked for: what stands there tells.
fn writes_to_machines(mut writes: Vec<String>) -> Vec<String> {
    writes.retain(|kind| kind != "create");
    writes.sort();
    writes
}

fn sweep(goal: Goal, until: Milestone, least: u32) {
    runtime::run_virtual(move || async move {
        let lab = Lab::builder(&blue()).seed(1).start().await.expect("the lab starts");
        visit(&blue(), &lab, Goal::Create, until, None).await;
        let writes = visit(&blue(), &lab, goal, until, None).await.writes;
        let right = (keys(&lab).await, writes_to_machines(writes));
        let mut read = 0;
        while let Some(found) = with_a_lost_read(goal, until, read).await {
            assert_eq!(found, right, "{goal}, read {read}");
            read += 1;
        }
        assert!(read >= least, "{goal} reads the store {read} times");
    });
}

#[test]
fn one_lost_read_of_the_store_changes_nothing_of_a_create() {
    sweep(Goal::Create, Milestone::NodesReady, 3);
}

#[test]
fn one_lost_read_of_the_store_does_not_keep_a_destroy_from_its_tombstone() {
    sweep(Goal::Destroy, Milestone::MachinesRunning, 2);
}

#[test]
fn one_lost_read_of_the_store_does_not_end_a_rebirth_half_way() {
    sweep(Goal::Rebirth, Milestone::MachinesRunning, 4);
}
