//! The story of the first seed: a cluster that is destroyed and born again at the
//! same addresses, once with the identity of its former life and once with a new
//! one. It runs against the lab, in virtual time, in a second.
//!
//! `cargo run --example ghosts`
#![allow(clippy::print_stdout)]

mod lab_castle;

use std::sync::{Arc, Mutex};

use castle_core::{Castle, Context, Env, Goal, Identity, Milestone, Outcome, Project, Report, Result, SecretBytes};
use castle_lab::{Lab, runtime};
use castle_talos::TalosIdentity;

const FORTRESS: &str = include_str!("projects/fortress/proxmox/castle.yaml");

/// What a script does that keeps its secrets in a file: every life is the first.
#[derive(Debug, Default)]
struct Reused(Mutex<Option<SecretBytes>>);

impl Identity for Reused {
    fn generate(&self, env: &Env) -> Result<SecretBytes> {
        let mut first = self.0.lock().expect("nobody panics with it");
        if first.is_none() {
            *first = Some(TalosIdentity.generate(env)?);
        }
        Ok(first.clone().expect("it was just made"))
    }

    fn cluster_id(&self, bundle: &SecretBytes) -> Result<String> {
        TalosIdentity.cluster_id(bundle)
    }
}

async fn run(castle: &Castle, goal: Goal) -> Report {
    let report = lab_castle::run(castle, goal, Milestone::NodesReady).await;
    if let Some(vip) = report.milestones.get("api_serving").filter(|_| goal == Goal::Create) {
        println!("    the API answers at the VIP after {:.0} s", vip.as_secs_f64());
    }
    report
}

async fn tell_ghosts(castle: &Castle) -> Result<usize> {
    let ghosts = castle.ghosts(&Context::new(castle.env().clone())).await?;
    println!("  ghosts: {}", if ghosts.is_empty() { "none".to_owned() } else { ghosts.len().to_string() });
    for ghost in ghosts.iter().take(3) {
        println!("    {ghost}");
    }
    if let Some(ghost) = ghosts.first() {
        println!("    the cure: {}", ghost.cure);
    }
    Ok(ghosts.len())
}

async fn story(lab: &Lab, project: &Project) -> Result<()> {
    println!("Three control planes and two workers stand at .211 to .215, and the VIP at .210.");
    let castle = lab_castle::castle(project, lab)?.identity(Arc::new(Reused::default())).build()?;
    run(&castle, Goal::Create).await;

    println!("\nThey are wiped, and born again with the identity of their former life.");
    run(&castle, Goal::Destroy).await;
    run(&castle, Goal::Create).await;
    println!("The discovery service still knows the dead by the same cluster id: etcd waits for them.");
    let haunted = tell_ghosts(&castle).await?;

    println!("\nThe cure: wipe all of it at once, and give the next life an identity of its own.");
    let castle = lab_castle::castle(project, lab)?.build()?;
    run(&castle, Goal::Destroy).await;
    let reborn = run(&castle, Goal::Create).await;
    let left = tell_ghosts(&castle).await?;

    let ready = if reborn.outcome == Outcome::Ok { "all nodes are ready" } else { "the nodes are not ready" };
    println!("\nghosts: {haunted} with an old identity, {left} with a new one; {ready}");
    Ok(())
}

fn main() -> Result<()> {
    let project = lab_castle::project(FORTRESS);
    runtime::run_virtual(|| async {
        let lab = Lab::builder(&project).seed(1).start().await?;
        story(&lab, &project).await
    })
}
