//! A removal needs the hypervisor, and nobody else.

use castle_core::{Goal, Milestone};
use castle_lab::faults::{Fault, FaultEffect};

use crate::rig::{Visit, project};

#[test]
fn a_cluster_whose_every_port_is_closed_is_removed() {
    let fortress = project(include_str!("../../examples/projects/fortress/proxmox/castle.yaml"));
    let whole = Visit::new(&fortress, Goal::Create).until(Milestone::AppsReady).go();
    assert!(whole.is_ok(), "{}", whole.why());
    let closed =
        |backend: &str| Fault { backend: Some(backend.into()), times: u32::MAX, ..Fault::of(FaultEffect::ResetBefore) };
    let visit = Visit {
        faults: ["talos", "kubernetes", "git", "infisical"].map(closed).into(),
        ..Visit::new(&fortress, Goal::Destroy)
    };
    let left = visit.to(whole.world).go();
    assert!(left.is_ok(), "{}", left.why());
    let asked: Vec<&str> = left.entries.iter().map(|entry| entry.backend.as_str()).collect();
    assert!(asked.iter().all(|backend| ["proxmox", "secrets"].contains(backend)), "somebody else was asked: {asked:?}");
    assert_eq!(left.world.machines_of_castle(), [] as [u32; 0]);
    assert_eq!(left.world.foreign_touches(), [] as [String; 0]);
    assert_eq!(left.world.leftovers(), [] as [String; 0]);
    assert!(left.world.proxmox.vms.contains_key(&100), "the stranger of every lab stands");
}
