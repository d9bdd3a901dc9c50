//! A sick castle is reborn without being healed first.

use std::time::Duration;

use castle_core::{Goal, Milestone, Outcome};

use crate::rig::{Visit, blue};

#[test]
fn a_castle_with_a_dead_worker_and_a_stuck_flux_rises_again() {
    let project = blue();
    let whole = Visit::new(&project, Goal::Create).until(Milestone::AppsReady).go();
    assert!(whole.is_ok(), "{}", whole.why());
    let mut world = whole.world;
    world.admin_stop(432);
    // Its own controllers cannot be pulled again, so nothing is reconciled any more.
    world.workloads.crash("flux-system", "kustomize-controller");
    world.advance_to(world.now() + Duration::from_secs(90));
    let until = Milestone::AppsReady;
    let visit = Visit { replaces: Some(1), ..Visit::new(&project, Goal::Rebirth) };
    world.workloads.stop_crashing("flux-system", "kustomize-controller");
    let left = visit.until(until).to(world).go();
    let report = left.report.as_ref().expect("it ended");
    assert_eq!(report.outcome, Outcome::Ok, "{}", left.why());
    assert!(report.milestones.contains_key(until.name()), "{:?}", report.milestones);
    assert_eq!(left.world.machines_of_castle(), [421, 431, 432]);
    assert_eq!(left.world.foreign_touches(), [] as [String; 0]);
    assert_eq!(left.world.violations(), [] as [String; 0]);
}
