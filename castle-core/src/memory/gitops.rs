//! A handover in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::cluster::{cluster_named_by, ticks};
use crate::handover::{FluxItem, HandoverState, Health, Nudge, Probe, SeedPart};
use crate::step::Verdict;
use crate::{Context, Error, ErrorKind, GitOps, Handover, Meter, Problem, Project, Result, SecretText};

/// From the planted root to the first try of what it brings.
const FIRST_TRY: Duration = Duration::from_secs(20);
/// From a try that succeeds to a cluster that is handed over.
const APPLY: Duration = Duration::from_secs(5);
/// How long Flux waits after a failure, unless it is nudged.
const RETRY: Duration = Duration::from_secs(600);

/// What became of one cluster.
#[derive(Debug, Clone, Default)]
struct Garden {
    /// What stands, and who wrote it last.
    stands: BTreeMap<SeedPart, &'static str>,
    root_since: Option<Duration>,
    nudged_at: Option<Duration>,
}

#[derive(Debug, Clone, Default)]
struct Gardens {
    by_cluster: BTreeMap<String, Garden>,
    plantings: Vec<(String, SeedPart)>,
    nudges: Vec<Nudge>,
    unanswered: BTreeSet<String>,
    missing: Option<Problem>,
}

#[derive(Default)]
struct Shared {
    gardens: Mutex<Gardens>,
    stumbles: AtomicBool,
    stuck: AtomicBool,
    silent: AtomicBool,
    meter: Meter,
}

/// A GitOps engine in memory, for the engine's tests: what castle plants stands at
/// once, and some time after the root was planted everything is handed over.
///
/// Requests to the cluster are counted by its own meter, there being no other.
/// Clones are handles on the same clusters.
#[derive(Clone, Default)]
pub struct MemoryGitOps(Arc<Shared>);

impl MemoryGitOps {
    /// An engine that succeeds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Its first try fails in every cluster, and it tries again ten minutes later,
    /// or when it is nudged.
    #[must_use]
    pub fn that_stumbles(self) -> Self {
        self.0.stumbles.store(true, Ordering::SeqCst);
        self
    }

    /// Whether what it brings can never become ready, by a mistake in the
    /// repository.
    pub fn set_stuck(&self, stuck: bool) {
        self.0.stuck.store(stuck, Ordering::SeqCst);
    }

    /// What a preflight finds missing, from now on.
    pub fn set_missing(&self, missing: Option<Problem>) {
        self.gardens().missing = missing;
    }

    /// From now on no call is answered, or, with `false`, all are again.
    pub fn silence(&self, silent: bool) {
        self.0.silent.store(silent, Ordering::SeqCst);
    }

    /// Whether a probe is answered; all are, unless it was said.
    pub fn set_answered(&self, probe: &str, answered: bool) {
        let mut gardens = self.gardens();
        match answered {
            true => gardens.unanswered.remove(probe),
            false => gardens.unanswered.insert(probe.to_owned()),
        };
    }

    /// Flux takes what was planted, in every cluster, and changes it in its way.
    pub fn take_over(&self) {
        for garden in self.gardens().by_cluster.values_mut() {
            garden.stands.values_mut().for_each(|hand| *hand = FLUX);
        }
    }

    /// Takes a part of the seed away, in every cluster, behind castle's back.
    pub fn uproot(&self, part: SeedPart) {
        for garden in self.gardens().by_cluster.values_mut() {
            garden.stands.remove(&part);
        }
    }

    /// What stands in every cluster, and who wrote it last.
    #[must_use]
    pub fn hands(&self) -> Vec<(SeedPart, &'static str)> {
        let gardens = self.gardens();
        gardens.by_cluster.values().flat_map(|garden| garden.stands.clone()).collect()
    }

    /// Every planting that wrote something, in order: cluster and part.
    #[must_use]
    pub fn plantings(&self) -> Vec<(String, SeedPart)> {
        self.gardens().plantings.clone()
    }

    /// Every nudge, in order.
    #[must_use]
    pub fn nudges(&self) -> Vec<Nudge> {
        self.gardens().nudges.clone()
    }

    fn gardens(&self) -> MutexGuard<'_, Gardens> {
        // No code that holds the lock can panic halfway through a change.
        self.0.gardens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const CASTLE: &str = "castle";
const FLUX: &str = "flux";

#[async_trait]
impl GitOps for MemoryGitOps {
    fn name(&self) -> &'static str {
        "git"
    }

    fn meter(&self) -> &Meter {
        &self.0.meter
    }

    async fn preflight(&self, _: &Context, _: &Arc<Project>) -> Result<Vec<Problem>> {
        self.0.meter.count_read();
        match self.0.silent.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Unreachable, "the repository does not answer")),
            false => Ok(self.gardens().missing.iter().cloned().collect()),
        }
    }

    fn open(&self, _: &Context, project: &Arc<Project>, kubeconfig: &SecretText) -> Result<Arc<dyn Handover>> {
        if project.gitops.is_none() {
            return Err(Error::new(ErrorKind::InvalidSpec, "castle.yaml declares no `gitops`"));
        }
        let bad = || Error::new(ErrorKind::InvalidSpec, "the kubeconfig names no cluster");
        Ok(Arc::new(MemoryHandover { of: self.clone(), cluster: cluster_named_by(kubeconfig).ok_or_else(bad)? }))
    }
}

/// The handover of one cluster in memory.
struct MemoryHandover {
    of: MemoryGitOps,
    cluster: String,
}

impl MemoryHandover {
    fn enter(&self) -> Result<MutexGuard<'_, Gardens>> {
        match self.of.0.silent.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Unreachable, "the cluster does not answer")),
            false => Ok(self.of.gardens()),
        }
    }

    fn read(&self) -> Result<Garden> {
        self.of.0.meter.count_read();
        Ok(self.enter()?.by_cluster.get(&self.cluster).cloned().unwrap_or_default())
    }

    /// How the one thing fares that the root brings.
    fn apps(&self, garden: &Garden, now: Duration) -> Health {
        let Some(since) = garden.root_since else { return Health::Waiting("the root is not planted".into()) };
        if self.of.0.stuck.load(Ordering::SeqCst) {
            return Health::Failed("kustomization path not found".into());
        }
        let first = since + FIRST_TRY;
        let tried = match self.of.0.stumbles.load(Ordering::SeqCst) {
            false => first,
            true => garden.nudged_at.unwrap_or(first + RETRY).min(first + RETRY),
        };
        match now {
            _ if now < first => Health::Waiting("it was not tried yet".into()),
            _ if now < tried => Health::Waiting("its webhook refused the first try".into()),
            _ if now < tried + APPLY => Health::Waiting("its health is checked".into()),
            _ => Health::Ready,
        }
    }
}

#[async_trait]
impl Handover for MemoryHandover {
    async fn stands(&self, _: &Context, part: SeedPart) -> Result<Verdict> {
        Ok(match self.read()?.stands.contains_key(&part) {
            true => Verdict::Met,
            false => Verdict::NotYet("it was not planted".into()),
        })
    }

    async fn plant(&self, cx: &Context, part: SeedPart) -> Result<()> {
        if self.read()?.stands.contains_key(&part) {
            return Ok(());
        }
        let (now, cluster) = (cx.clock().elapsed(), self.cluster.clone());
        self.of.0.meter.count_write();
        let mut gardens = self.enter()?;
        gardens.plantings.push((cluster.clone(), part));
        let garden = gardens.by_cluster.entry(cluster).or_default();
        garden.stands.insert(part, CASTLE);
        if part == SeedPart::Flux {
            garden.root_since = Some(now);
        }
        Ok(())
    }

    async fn observe(&self, cx: &Context) -> Result<HandoverState> {
        let garden = self.read()?;
        let apps = self.apps(&garden, cx.clock().elapsed());
        let head = "main@sha1:0123456789abcdef0123456789abcdef01234567".to_owned();
        let revision = apps.is_ready().then(|| head.clone());
        let item = |name: &str, health: Health, depends_on: &[&str]| FluxItem {
            kind: "Kustomization".into(),
            namespace: "flux-system".into(),
            name: name.into(),
            health,
            revision: revision.clone(),
            depends_on: depends_on.iter().map(ToString::to_string).collect(),
            changed_at: None,
            suspended: false,
        };
        let root = if apps.is_ready() { Health::Ready } else { Health::Waiting("health checks run".into()) };
        let items = match garden.root_since {
            Some(_) => vec![item("flux-system", root, &[]), item("apps", apps, &[])],
            None => Vec::new(),
        };
        Ok(HandoverState {
            head: Some(head),
            planted: garden.root_since.is_some(),
            applied: revision,
            items,
            ..HandoverState::default()
        })
    }

    async fn nudge(&self, cx: &Context, before: &HandoverState) -> Result<Vec<Nudge>> {
        let refused = |item: &&FluxItem| matches!(&item.health, Health::Waiting(why) if why.contains("webhook"));
        let Some(item) = before.items.iter().find(refused) else { return Ok(Vec::new()) };
        if self.read()?.nudged_at.is_some() {
            return Ok(Vec::new());
        }
        let nudge = Nudge { item: item.id(), reason: "its webhook answers now".into() };
        self.of.0.meter.count_write();
        let mut gardens = self.enter()?;
        gardens.nudges.push(nudge.clone());
        gardens.by_cluster.entry(self.cluster.clone()).or_default().nudged_at = Some(cx.clock().elapsed());
        Ok(vec![nudge])
    }

    async fn ask(&self, _: &Context, probe: &Probe) -> Result<Verdict> {
        self.of.0.meter.count_read();
        Ok(match self.enter()?.unanswered.contains(&probe.name) {
            true => Verdict::NotYet("nothing answers at its address".into()),
            false => Verdict::Met,
        })
    }

    fn watch(&self, cx: &Context) -> BoxStream<'static, ()> {
        self.of.0.meter.count_read();
        ticks(cx)
    }
}

impl fmt::Debug for MemoryHandover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryHandover").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl fmt::Debug for MemoryGitOps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryGitOps").field("gardens", &*self.gardens()).finish()
    }
}
