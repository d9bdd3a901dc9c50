//! What is asked of a castle that is finished.

use castle_core::{Goal, Milestone, Project};

use crate::rig::{Visit, blue, project};

/// A look costs so many requests, besides those for each node.
const BASE: usize = 20;
const EACH_NODE: usize = 8;

fn check(project: &Project) {
    let create = |visit: Visit<'_>| visit.until(Milestone::AppsReady).go();
    let whole = create(Visit::new(project, Goal::Create));
    assert!(whole.is_ok(), "{}", whole.why());
    for goal in [Goal::Create, Goal::Handover] {
        let again = create(Visit::new(project, goal).to(whole.world.clone()));
        assert!(again.is_ok(), "{goal}: {}", again.why());
        assert_eq!(again.writes(), 0, "{goal} wrote");
        let is_probe = |entry: &&castle_lab::journal::Entry| entry.detail.contains("fieldManager=castle-probe");
        let asked: Vec<String> = again
            .entries
            .iter()
            .filter(|entry| !is_probe(entry))
            .map(|entry| format!("{} {} {}", entry.backend, entry.kind, entry.entity))
            .collect();
        let most = BASE + EACH_NODE * project.machines.len();
        assert!(
            asked.len() <= most,
            "{goal} asked {} times, at most {most} are meant:\n{}",
            asked.len(),
            asked.join("\n")
        );
    }
}

#[test]
fn a_second_create_writes_nothing_and_asks_little() {
    check(&blue());
}

#[test]
fn the_same_with_three_control_planes() {
    check(&project(include_str!("../../examples/projects/fortress/proxmox/castle.yaml")));
}
