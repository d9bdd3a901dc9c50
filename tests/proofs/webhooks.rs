//! `proof webhook-race`: a webhook whose pod and endpoint are ready long before it
//! answers is believed neither too early nor too late.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use castle_core::handover::{HandoverState, Nudge, Probe, SeedPart};
use castle_core::step::Verdict;
use castle_core::{Context, Env, GitOps, Goal, Handover, Meter, Milestone, Problem, Project, Result, SecretText};
use castle_lab::World;
use castle_lab::faults::{Fault, FaultEffect};
use futures::stream::BoxStream;

use crate::rig::{Meddler, Visit, blue, each};
use crate::{Depth, Proof};

const NAMESPACE: &str = "metallb-system";
const SERVICE: &str = "metallb-webhook-service";
/// Later than this after the truth is late.
const PATIENCE: Duration = Duration::from_secs(1);

/// Lets castle work and notes when the webhooks of the service were first told to
/// be answering.
#[derive(Default)]
struct Listener {
    believed: Arc<Mutex<Option<Duration>>>,
}

impl Meddler for Listener {
    fn gitops(&self, real: Arc<dyn GitOps>) -> Arc<dyn GitOps> {
        Arc::new(Overheard { real, believed: Arc::clone(&self.believed) })
    }

    fn env(&self, lab: Env) -> Env {
        lab
    }
}

#[derive(Debug)]
struct Overheard<T: ?Sized> {
    real: Arc<T>,
    believed: Arc<Mutex<Option<Duration>>>,
}

#[async_trait]
impl GitOps for Overheard<dyn GitOps> {
    fn name(&self) -> &'static str {
        self.real.name()
    }
    fn meter(&self) -> &Meter {
        self.real.meter()
    }
    async fn preflight(&self, cx: &Context, project: &Arc<Project>) -> Result<Vec<Problem>> {
        self.real.preflight(cx, project).await
    }
    fn open(&self, cx: &Context, project: &Arc<Project>, kubeconfig: &SecretText) -> Result<Arc<dyn Handover>> {
        let real = self.real.open(cx, project, kubeconfig)?;
        Ok(Arc::new(Overheard { real, believed: Arc::clone(&self.believed) }))
    }
}

#[async_trait]
impl Handover for Overheard<dyn Handover> {
    async fn stands(&self, cx: &Context, part: SeedPart) -> Result<Verdict> {
        self.real.stands(cx, part).await
    }
    async fn plant(&self, cx: &Context, part: SeedPart) -> Result<()> {
        self.real.plant(cx, part).await
    }
    async fn observe(&self, cx: &Context) -> Result<HandoverState> {
        let state = self.real.observe(cx).await?;
        let mut of_service = state.webhooks.iter().filter(|webhook| webhook.service.1 == SERVICE).peekable();
        if of_service.peek().is_some() && of_service.all(|webhook| webhook.health.is_ready()) {
            self.believed.lock().expect("nobody panics with it").get_or_insert(cx.clock().elapsed());
        }
        Ok(state)
    }
    async fn nudge(&self, cx: &Context, before: &HandoverState) -> Result<Vec<Nudge>> {
        self.real.nudge(cx, before).await
    }
    async fn ask(&self, cx: &Context, probe: &Probe) -> Result<Verdict> {
        self.real.ask(cx, probe).await
    }
    fn watch(&self, cx: &Context) -> BoxStream<'static, ()> {
        self.real.watch(cx)
    }
}

/// When castle believed in the webhook, and since when it truly answered.
fn race(project: &Project, seed: u64, faults: Vec<Fault>) -> Result<(Duration, Duration), String> {
    let mut world = World::home(project, seed);
    // From at once to two minutes.
    let late = Duration::from_millis(world.draws().unit("proof", "webhook-race", 0).mul_add(120_000.0, 0.0) as u64);
    world.workloads.delay_webhook(NAMESPACE, SERVICE, late);
    let listener = Listener::default();
    let visit = Visit { faults, ..Visit::new(project, Goal::Create).until(Milestone::HandoverReady) };
    let left = visit.to(world).meddled(&listener).go();
    if !left.is_ok() {
        return Err(format!("seed {seed}: {}", left.why()));
    }
    let believed = *listener.believed.lock().expect("nobody panics with it");
    let truth = left.world.workloads.webhook_true_since(NAMESPACE, SERVICE);
    believed.zip(truth).ok_or_else(|| format!("seed {seed}: believed at {believed:?}, true since {truth:?}"))
}

/// Runs the race for many seeds, and once more with dry runs that are answered by
/// nobody but a friendly proxy.
pub fn prove(depth: Depth) -> Proof {
    let project = blue();
    let seeds: Vec<u64> = (1..=if depth == Depth::Full { 200 } else { 12 }).collect();
    let mut proof = Proof::new("webhook-race");
    let (mut early, mut late, mut most) = (Vec::new(), Vec::new(), Duration::ZERO);
    for (seed, outcome) in seeds.iter().zip(each(&seeds, |seed| race(&project, *seed, Vec::new()))) {
        match outcome {
            Err(why) => proof.fail(why),
            Ok((believed, truth)) if believed < truth => {
                early.push(format!("seed {seed}: believed at {believed:?}, true since {truth:?}"));
            }
            Ok((believed, truth)) => {
                most = most.max(believed - truth);
                if believed - truth > PATIENCE {
                    late.push(format!("seed {seed}: believed at {believed:?}, true since {truth:?}"));
                }
            }
        }
    }
    // The guard away: every dry run is answered with 201, and so proves nothing.
    let created = FaultEffect::Status { status: 201, reason: None, body: "{}".into(), after: false };
    let friendly = |kind: &str| Fault {
        backend: Some("kubernetes".into()),
        kind: Some(format!("POST {kind}*")),
        times: u32::MAX,
        ..Fault::of(created.clone())
    };
    let friends: Vec<Fault> =
        ["ipaddresspools", "l2advertisements", "bgp", "bfdprofiles", "communities"].map(friendly).into();
    let unguarded = each(&seeds[..seeds.len().min(12)], |seed| race(&project, *seed, friends.clone()));
    let fooled = unguarded.iter().any(|outcome| matches!(outcome, Ok((believed, truth)) if believed < truth));
    proof.figure("seeds", seeds.len()).none("early", &early).none("late", &late);
    proof.figure("latest_ms", most.as_millis());
    proof.refuted("a webhook answers only when a dry run has reached it", fooled);
    proof
}
