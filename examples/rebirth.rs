//! The main job: a standing castle, with Flux and a blog that answers, falls and
//! rises again. Against the lab, in virtual time, in a second or two.
//!
//! `cargo run --example rebirth`
#![allow(clippy::print_stdout)]

mod lab_castle;

use std::collections::BTreeSet;

use castle_core::{Error, ErrorKind, Goal, Milestone, Outcome, Project, Result};
use castle_lab::ideal::{Beginning, cluster_ideal};
use castle_lab::{Lab, World, runtime};

const BLUE: &str = include_str!("projects/blue/proxmox/castle.yaml");

/// The stranger's machine that stands in every lab.
const STRANGER: u32 = 100;

/// What a machine is told apart by, whatever number it has.
fn uuids(world: &World) -> BTreeSet<String> {
    let machines = world.machines_of_castle();
    machines.iter().filter_map(|id| world.proxmox.vms[id].config.get("smbios1").map(str::to_owned)).collect()
}

async fn story(lab: &Lab, project: &Project) -> Result<()> {
    let castle = lab_castle::castle(project, lab)?.build()?;
    println!("A castle is born: {} machines, Talos, Kubernetes, Flux, and a blog.", project.machines.len());
    lab_castle::run(&castle, Goal::Create, Milestone::AppsReady).await;
    let before = lab.with_world(|world| uuids(world));

    // What physics alone would take, computed before the run: castle cannot move it.
    let ideal = lab
        .with_world(|world| cluster_ideal(project, world, Beginning::Standing))
        .map_err(|why| Error::new(ErrorKind::InvalidSpec, why))?;
    println!("\nIt falls and rises again, as one plan, by another engine that remembers nothing.");
    let castle = lab_castle::castle(project, lab)?.build()?;
    let report = lab_castle::run(&castle, Goal::Rebirth, Milestone::AppsReady).await;
    let mut milestones: Vec<_> = report.milestones.iter().collect();
    milestones.sort_by_key(|(_, at)| **at);
    for (milestone, at) in milestones {
        println!("    {milestone:<17} {:>6.1} s", at.as_secs_f64());
    }

    println!("\nWhat took so long, each step waiting for the one before:");
    for step in &report.timeline.critical_path {
        println!("    {step}");
    }

    let (after, stands, touched) =
        lab.with_world(|world| (uuids(world), world.untouched(STRANGER), world.foreign_touches().len()));
    println!("\nAsked again, a create has nothing to do:");
    let again = lab_castle::run(&castle, Goal::Create, Milestone::AppsReady).await;
    let all_good = report.outcome == Outcome::Ok && again.outcome == Outcome::Ok && stands && touched == 0;
    println!(
        "\nrebirth: {:.1} s, ideal {:.1} s; {} of {} machines are new; {}",
        report.took.as_secs_f64(),
        ideal.at(Milestone::AppsReady).as_secs_f64(),
        after.difference(&before).count(),
        project.machines.len(),
        if all_good { "the stranger beside them was not touched" } else { "NOT as it should be" },
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
