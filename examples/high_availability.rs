//! Three control planes behind one address: what a quorum is, what is left of it
//! when a control plane is lost, and how asking for the castle again brings it back.
//!
//! `cargo run --example high_availability`
#![allow(clippy::print_stdout)]

mod lab_castle;

use std::time::Duration;

use castle_core::{
    Castle, Context, Goal, Member, Milestone, NodeRole, NodeState, Outcome, Part, Project, Quorum, Result,
};
use castle_lab::{Lab, runtime};

const FORTRESS: &str = include_str!("projects/fortress/proxmox/castle.yaml");

/// The members of etcd by name, as the first control plane that answers lists them.
async fn members(castle: &Castle) -> Result<Vec<Member>> {
    let lists = castle.members(&Context::new(castle.env().clone())).await?;
    Ok(lists.into_iter().find_map(|(_, list)| list.ok()).unwrap_or_default())
}

/// Tells what a look at the castle shows; says how many control planes answer and
/// whether the API does.
async fn tell(castle: &Castle) -> (usize, bool) {
    let seen = castle.observe(&Context::new(castle.env().clone()), Milestone::NodesReady).await;
    let api = matches!(seen.api, Some(Part::Known(_)));
    let mut answering = 0;
    for spec in castle.project().with_role(NodeRole::ControlPlane) {
        let state = match seen.nodes.get(&spec.id) {
            Some(NodeState::Ours(report)) => {
                answering += 1;
                format!("{}{}", report.stage, if report.holds_vip { ", holds the VIP" } else { "" })
            }
            Some(NodeState::Silent(why)) => format!("silent: {why}"),
            // What has no machine that runs is not asked.
            None => "does not run".to_owned(),
            Some(other) => format!("{other:?}"),
        };
        println!("    {:<16} {state}", spec.node);
    }
    println!("    the API at the VIP {}", if api { "answers" } else { "is silent" });
    (answering, api)
}

async fn story(lab: &Lab, project: &Project) -> Result<()> {
    let planes: Vec<_> = project.with_role(NodeRole::ControlPlane).map(|spec| spec.id.get()).collect();
    let quorum = Quorum::of(planes.len())?;
    println!("{} control planes: {} must agree, {} may be lost.", planes.len(), quorum.size(), quorum.tolerance());
    if let Err(refusal) = Quorum::of(2) {
        println!("Of two, castle says: {refusal}.");
    }
    let castle = lab_castle::castle(project, lab)?.build()?;
    lab_castle::run(&castle, Goal::Create, Milestone::NodesReady).await;
    tell(&castle).await;
    let born = members(&castle).await?;

    println!("\nThe power of the first control plane fails.");
    lab.with_world(|world| world.admin_stop(planes[0]));
    lab.advance(Duration::from_secs(120)).await?;
    let (without_power, served_without_power) = tell(&castle).await;
    println!("The castle is asked for again: what is off is started, the rest is left alone.");
    let started = lab_castle::run(&castle, Goal::Create, Milestone::NodesReady).await;
    let same = members(&castle).await? == born;

    println!("\nThen its machine is destroyed, with its disk.");
    lab.with_world(|world| world.admin_destroy(planes[0]));
    lab.advance(Duration::from_secs(120)).await?;
    let (without_machine, served_without_machine) = tell(&castle).await;
    println!("The castle is asked for again: the machine is made anew and joins etcd.");
    let remade = lab_castle::run(&castle, Goal::Create, Milestone::NodesReady).await;
    tell(&castle).await;
    let now = members(&castle).await?;
    let kept = now.iter().filter(|member| born.contains(member)).count();

    let well = served_without_power
        && served_without_machine
        && same
        && [started, remade].iter().all(|report| report.outcome == Outcome::Ok);
    println!(
        "\nquorum {} of {}: {without_power} and {without_machine} were left; etcd has {} members, {kept} of them from \
         its birth; {}",
        quorum.size(),
        planes.len(),
        now.len(),
        if well { "the API never left" } else { "NOT as it should be" },
    );
    Ok(())
}

fn main() -> Result<()> {
    let project = lab_castle::project(FORTRESS);
    runtime::run_virtual(|| async {
        let lab = Lab::builder(&project).seed(1).start().await?;
        story(&lab, &project).await
    })
}
