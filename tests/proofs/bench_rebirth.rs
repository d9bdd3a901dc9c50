//! The figures of the whole main job: the rebirth against its ideal, and a chain of
//! Kustomizations with and without nudges.
#![allow(clippy::disallowed_methods)] // the wall clock is what is measured
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use castle_core::handover::{HandoverState, Nudge, Probe, SeedPart};
use castle_core::step::Verdict;
use castle_core::{Context, GitOps, Goal, Handover, Meter, Milestone, Problem, Project, Result, SecretText};
use castle_lab::World;
use castle_lab::ideal::{Beginning, cluster_ideal};
use futures::stream::BoxStream;

use crate::bench::{PROJECTS, SEEDS, requests, tell_memory};
use crate::rebirth::whole;
use crate::rig::{Honest, Meddler, Visit, blue, project};
use crate::table::Table;

/// Castle's rebirths of both projects over their ideals, and what they cost this
/// machine.
pub fn rebirth(table: &mut Table) {
    for (name, text) in PROJECTS {
        let project = project(text);
        let mut rows = [
            (Milestone::ApiServing, "API serving", Some(3.0)),
            (Milestone::NodesReady, "nodes ready", None),
            (Milestone::HandoverReady, "handover", Some(5.0)),
            (Milestone::AppsReady, "apps", None),
        ]
        .map(|(milestone, metric, goal)| (milestone, metric, goal, Vec::new(), Vec::new()));
        let mut walls = Vec::new();
        for seed in SEEDS {
            let world = whole(&project, seed);
            let ideal = cluster_ideal(&project, &world, Beginning::Standing).unwrap_or_else(|why| panic!("{why}"));
            let began = Instant::now();
            let visit = Visit { replaces: Some(1), ..Visit::new(&project, Goal::Rebirth) };
            let left = visit.until(Milestone::AppsReady).to(world).go();
            let wall = began.elapsed().as_secs_f64() * 1000.0;
            assert!(left.is_ok(), "{}", left.why());
            let report = left.report.as_ref().expect("it ended");
            let at = |milestone: Milestone| report.milestones[milestone.name()].as_secs_f64();
            let over = |milestone: Milestone| at(milestone) - ideal.at(milestone).as_secs_f64();
            println!(
                "bench rebirth project={name} seed={seed} took_s={:.3} ideal_s={:.3} over_ideal_api_serving_s={:.3} \
                 over_ideal_nodes_ready_s={:.3} over_ideal_handover_ready_s={:.3} over_ideal_apps_ready_s={:.3} \
                 wall_ms={wall:.0} {}",
                report.took.as_secs_f64(),
                ideal.at(Milestone::AppsReady).as_secs_f64(),
                over(Milestone::ApiServing),
                over(Milestone::NodesReady),
                over(Milestone::HandoverReady),
                over(Milestone::AppsReady),
                requests(report),
            );
            for (milestone, _, _, took_s, over_s) in &mut rows {
                took_s.push(at(*milestone));
                over_s.push(over(*milestone));
            }
            walls.push(wall);
        }
        for (_, metric, goal, took, over) in rows {
            let row = table.row(format!("rebirth: {metric}, {name}"), "s", took).over(over);
            if let Some(most) = goal {
                row.goal(most);
            }
        }
        table.row(format!("rebirth: wall of it, {name}"), "ms", walls).goal(300.0);
    }
    tell_memory(table, "peak memory of the rebirths");
}

/// How many Kustomizations stand behind one another.
const CHAIN: usize = 6;

/// A home whose repository ends in a chain of dependent Kustomizations.
fn with_chain(project: &Project, seed: u64) -> World {
    let mut world = World::home(project, seed);
    let files = castle_lab::git::template::template_with_chain(project, CHAIN);
    world.commit_files("/tazlab-k8s.git", "main", files, "a chain");
    world
}

/// When a handover with the chain is complete: with castle's nudges, without, and
/// in the ideal.
pub fn flux_chain(table: &mut Table) {
    let project = blue();
    let (mut withs, mut withouts, mut ideals) = (Vec::new(), Vec::new(), Vec::new());
    for seed in SEEDS {
        let world = with_chain(&project, seed);
        let ideal = cluster_ideal(&project, &world, Beginning::Empty).unwrap_or_else(|why| panic!("{why}"));
        let took = |meddler: &dyn Meddler| -> f64 {
            let visit = Visit::new(&project, Goal::Create).until(Milestone::HandoverReady).to(world.clone());
            let left = visit.meddled(meddler).go();
            assert!(left.is_ok(), "{}", left.why());
            let at = &left.report.as_ref().expect("it ended").milestones;
            (at[Milestone::HandoverReady.name()] - at[Milestone::ApiServing.name()]).as_secs_f64()
        };
        let (with, without) = (took(&Honest), took(&Unnudged));
        let ideal = (ideal.at(Milestone::HandoverReady) - ideal.at(Milestone::ApiServing)).as_secs_f64();
        println!(
            "bench flux-chain seed={seed} links={CHAIN} with={with:.1} without={without:.1} ideal={ideal:.1} \
             saved={:.1}",
            without - with,
        );
        withs.push(with);
        withouts.push(without);
        ideals.push(ideal);
    }
    let over = |took: &[f64]| took.iter().zip(&ideals).map(|(took, ideal)| took - ideal).collect::<Vec<_>>();
    let (over_with, over_without) = (over(&withs), over(&withouts));
    table.row(format!("chain of {CHAIN}, nudged by castle"), "s", withs).over(over_with);
    table.row(format!("chain of {CHAIN}, left to Flux"), "s", withouts).over(over_without);
    table.row(format!("chain of {CHAIN}, ideal"), "s", ideals);
}

/// Castle without its nudges: Flux waits for its own timers.
struct Unnudged;

impl Meddler for Unnudged {
    fn gitops(&self, real: Arc<dyn GitOps>) -> Arc<dyn GitOps> {
        Arc::new(Silent(real))
    }
}

#[derive(Debug)]
struct Silent<T: ?Sized>(Arc<T>);

#[async_trait]
impl GitOps for Silent<dyn GitOps> {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn meter(&self) -> &Meter {
        self.0.meter()
    }
    async fn preflight(&self, cx: &Context, project: &Arc<Project>) -> Result<Vec<Problem>> {
        self.0.preflight(cx, project).await
    }
    fn open(&self, cx: &Context, project: &Arc<Project>, kubeconfig: &SecretText) -> Result<Arc<dyn Handover>> {
        Ok(Arc::new(Silent(self.0.open(cx, project, kubeconfig)?)))
    }
}

#[async_trait]
impl Handover for Silent<dyn Handover> {
    async fn stands(&self, cx: &Context, part: SeedPart) -> Result<Verdict> {
        self.0.stands(cx, part).await
    }
    async fn plant(&self, cx: &Context, part: SeedPart) -> Result<()> {
        self.0.plant(cx, part).await
    }
    async fn observe(&self, cx: &Context) -> Result<HandoverState> {
        self.0.observe(cx).await
    }
    async fn nudge(&self, _: &Context, _: &HandoverState) -> Result<Vec<Nudge>> {
        Ok(Vec::new())
    }
    async fn ask(&self, cx: &Context, probe: &Probe) -> Result<Verdict> {
        self.0.ask(cx, probe).await
    }
    fn watch(&self, cx: &Context) -> BoxStream<'static, ()> {
        self.0.watch(cx)
    }
}
