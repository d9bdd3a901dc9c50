//! A cluster whose every port is closed is destroyed all the same: a removal needs
//! the hypervisor and nobody else. What is not proved ours is not touched.
//!
//! `cargo run --example destroy_a_dead_cluster`
#![allow(clippy::print_stdout)]

mod lab_castle;

use std::collections::BTreeSet;

use castle_core::{Goal, Milestone, Outcome, Project, Result};
use castle_lab::faults::{Fault, FaultEffect};
use castle_lab::hypervisor::MachineWish;
use castle_lab::{Lab, runtime};

const BLUE: &str = include_str!("projects/blue/proxmox/castle.yaml");

/// A machine of somebody else, in castle's own pool, under a name like castle's.
const NEIGHBOUR: u32 = 433;

/// No request to this server ever gets through again.
fn closed(backend: &str) -> Fault {
    Fault { backend: Some(backend.to_owned()), times: u32::MAX, ..Fault::of(FaultEffect::ResetBefore) }
}

async fn story(lab: &Lab, project: &Project) -> Result<()> {
    println!("A castle stands, and Flux holds it. Beside it somebody runs a machine of his own.");
    let castle = lab_castle::castle(project, lab)?.build()?;
    lab_castle::run(&castle, Goal::Create, Milestone::HandoverReady).await;
    lab.with_world(|world| world.admin_create(MachineWish::new(NEIGHBOUR, "blue-wk-03").in_pool("blue").running()));

    println!("\nThen every port of the cluster is closed: no node answers, no API, no Git, no vault.");
    for backend in ["talos", "kubernetes", "git", "infisical"] {
        lab.faults().add(closed(backend));
    }
    let seen_before = lab.journal().len();
    let castle = lab_castle::castle(project, lab)?.build()?;
    let report = lab_castle::run(&castle, Goal::Destroy, Milestone::MachinesRunning).await;
    for (backend, asked) in &report.requests {
        println!("    asked {backend}: {} read, {} written", asked.read, asked.write);
    }

    let asked: BTreeSet<String> =
        lab.journal().entries().into_iter().skip(seen_before).map(|entry| entry.backend).collect();
    let (ours, leftovers, touched, neighbour) = lab.with_world(|world| {
        (
            world.machines_of_castle().len(),
            world.leftovers().len(),
            world.foreign_touches().len(),
            world.untouched(NEIGHBOUR),
        )
    });
    let all_good = report.outcome == Outcome::Ok && touched == 0 && neighbour;
    println!(
        "\ndestroyed: {ours} machines and {leftovers} disks are left; asked were only: {}; {}",
        asked.into_iter().collect::<Vec<_>>().join(", "),
        if all_good { "the neighbour runs on" } else { "NOT as it should be" },
    );
    Ok(())
}

fn main() -> Result<()> {
    let project = lab_castle::project(BLUE);
    runtime::run_virtual(|| async {
        let lab = Lab::builder(&project).seed(1).start().await?;
        story(&lab, &project).await
    })
}
