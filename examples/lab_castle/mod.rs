//! What the examples have in common: a castle over the lab, put together from the
//! very adapters and the kind of option document that a real house gets.

use std::sync::Arc;

use castle_core::{Castle, CastleBuilder, Goal, Milestone, Outcome, Project, Report, Result, RunOptions};
use castle_gitops::FluxGitOps;
use castle_gitops::kubernetes::KubeClient;
use castle_lab::Lab;
use castle_proxmox::ProxmoxProvider;
use castle_talos::{TalosIdentity, TalosOs};

/// Reads a declaration that comes with the examples.
pub fn project(text: &str) -> Project {
    Project::parse(text, castle_talos::image).expect("the declarations beside the examples are valid")
}

/// Gathers a castle over the lab, as a new run of an engine that knows nothing yet.
pub fn castle(project: &Project, lab: &Lab) -> Result<CastleBuilder> {
    let run = lab.new_run();
    let (env, options) = (lab.env(run), lab.options(run)?);
    let access = options.proxmox.as_ref().expect("the lab wrote the access");
    let kubernetes = KubeClient::new(&options, &env);
    Ok(Castle::builder(project.clone())
        .machines(Arc::new(ProxmoxProvider::connect(access, &options, &env, project.limits)?))
        .secrets(lab.secrets(run))
        .identity(Arc::new(TalosIdentity))
        .node_os(Arc::new(TalosOs::new(&options, &env, (&options.maintenance).into())?))
        .gitops(Arc::new(FluxGitOps::new(&options, &env, kubernetes.clone(), ".")))
        .kubernetes(Arc::new(kubernetes))
        .env(env))
}

/// Runs to `goal` and tells in a line or two how it ended.
#[allow(clippy::print_stdout)]
pub async fn run(castle: &Castle, goal: Goal, until: Milestone) -> Report {
    let report = castle.run(goal, RunOptions { until: Some(until), ..RunOptions::default() }).await;
    let how = if report.outcome == Outcome::Ok { "done" } else { "NOT done" };
    println!("  {goal}: {how} after {:.1} s", report.took.as_secs_f64());
    for problem in &report.problems {
        println!("    {problem}");
    }
    if let Some(error) = &report.error {
        println!("    {}", error.chain());
    }
    report
}
