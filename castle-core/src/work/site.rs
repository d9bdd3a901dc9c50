//! What the steps of one round share.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::drive::reached;
use crate::life::{Fact, Vault};
use crate::milestone::Ladder;
use crate::plan::{Action, Goal, Plan};
use crate::port::identity::Identity;
use crate::{
    Birth, Context, Error, ErrorKind, GitOps, Handover, KubeApi, Kubernetes, MachineProvider, MachineSpec, Milestone,
    NodeOs, NodeSite, NodeTarget, Owner, Problem, Project, Result, SecretBytes, SecretText,
};

/// The backends of a castle.
#[derive(Debug, Clone)]
pub(crate) struct Backends {
    pub(crate) machines: Arc<dyn MachineProvider>,
    pub(crate) vault: Vault,
    pub(crate) identity: Arc<dyn Identity>,
    pub(crate) node_os: Option<Arc<dyn NodeOs>>,
    pub(crate) kubernetes: Option<Arc<dyn Kubernetes>>,
    pub(crate) gitops: Option<Arc<dyn GitOps>>,
}

/// The place of one round's work.
pub(crate) struct Site {
    pub(crate) project: Arc<Project>,
    pub(crate) backends: Backends,
    pub(crate) goal: Goal,
    /// The life whose machines are not removed here, with all younger ones.
    spares: Option<u32>,
    known: Mutex<Known>,
}

struct Known {
    owner: Owner,
    /// The life that is being lived, once it is committed.
    life: Option<LivedLife>,
    kubeconfig: Option<SecretText>,
    api: Option<Arc<dyn KubeApi>>,
    handover: Option<Arc<dyn Handover>>,
    /// Nodes that this round saw with a blank disk, before it configured them.
    blank: BTreeSet<usize>,
    /// Machines that were proved absent when this round began: whatever stands there
    /// later has a new disk.
    absent: BTreeSet<usize>,
    /// How many machines are still to be started.
    starts: usize,
    /// How many probes are still to be answered.
    probes: usize,
    ladder: Ladder,
    findings: Vec<Problem>,
}

/// A committed life: its number, its cluster id and its secrets.
#[derive(Debug, Clone)]
pub(crate) struct LivedLife {
    pub(crate) number: u32,
    pub(crate) cluster_id: String,
    pub(crate) bundle: SecretBytes,
    /// Whether its etcd was born already.
    pub(crate) born: bool,
    /// Whether that etcd is gone, data and all.
    pub(crate) lost: bool,
}

impl Site {
    pub(crate) fn new(
        project: Arc<Project>,
        backends: Backends,
        owner: Owner,
        life: Option<LivedLife>,
        goal: Goal,
    ) -> Self {
        Self {
            project,
            backends,
            goal,
            spares: None,
            known: Mutex::new(Known {
                owner,
                life,
                kubeconfig: None,
                api: None,
                handover: None,
                blank: BTreeSet::new(),
                absent: BTreeSet::new(),
                starts: 0,
                probes: 0,
                ladder: Ladder::default(),
                findings: Vec::new(),
            }),
        }
    }

    /// The same, where machines of `life` and of younger ones are not removed.
    pub(crate) fn sparing(self, life: Option<u32>) -> Self {
        Self { spares: life, ..self }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What removals left for the administrator.
    pub(crate) fn findings(&self) -> Vec<Problem> {
        self.known().findings.clone()
    }

    pub(crate) fn found(&self, problems: Vec<Problem>) {
        self.known().findings.extend(problems);
    }

    /// This node was seen with a blank disk.
    pub(crate) fn saw_blank(&self, machine: usize) {
        self.known().blank.insert(machine);
    }

    pub(crate) fn was_blank(&self, machine: usize) -> bool {
        self.known().blank.contains(&machine)
    }

    /// What this round is to bring: machines that run, probes that are answered,
    /// milestones.
    pub(crate) fn expect(&self, plan: &Plan, absent: BTreeSet<usize>) {
        let count = |is_one: fn(&Action) -> bool| plan.steps.iter().filter(|step| is_one(&step.action)).count();
        let mut known = self.known();
        known.absent = absent;
        known.starts = count(|action| matches!(action, Action::Start(_)));
        known.probes = count(|action| matches!(action, Action::Probe(_)));
        known.ladder = Ladder::to(plan.steps.iter().filter_map(|step| step.action.tells_of()));
    }

    /// Tells of a milestone. Each includes those before it, so it is told once
    /// nothing below it is missing any more.
    pub(crate) fn reached(&self, cx: &Context, milestone: Milestone) {
        let told = self.known().ladder.reach(milestone);
        for milestone in told {
            reached(cx, milestone.name());
        }
    }

    /// One more machine runs. `true`: it was the last that was off.
    pub(crate) fn started(&self) -> bool {
        let mut known = self.known();
        known.starts = known.starts.saturating_sub(1);
        known.starts == 0
    }

    /// One more probe is answered. `true`: it was the last.
    pub(crate) fn answered(&self) -> bool {
        let mut known = self.known();
        known.probes = known.probes.saturating_sub(1);
        known.probes == 0
    }

    pub(crate) fn owner(&self) -> Owner {
        self.known().owner.clone()
    }

    /// The owner on whose behalf machines are removed.
    pub(crate) fn remover(&self) -> Owner {
        let owner = self.owner();
        match self.spares {
            Some(life) => owner.sparing(life),
            None => owner,
        }
    }

    fn life(&self) -> Result<LivedLife> {
        let missing = || Error::new(ErrorKind::Unexpected, "a machine was to be made before its life was begun");
        self.known().life.clone().ok_or_else(missing)
    }

    pub(crate) fn birth(&self, spec: &MachineSpec) -> Result<Birth> {
        let life = self.life()?;
        Ok(Birth::of(&life.cluster_id, life.number, &spec.node, 1))
    }

    pub(crate) async fn begin_life(&self, cx: &Context, number: u32) -> Result<()> {
        let Backends { vault, identity, .. } = &self.backends;
        let key = vault.ensure_project_key(cx.env()).await?;
        cx.check()?;
        // The beginning is written before the bundle: once the bundle stands, it
        // is known what began the life.
        vault.record(number, Fact::Began, self.goal.name()).await?;
        cx.check()?;
        let bundle = vault.ensure_bundle(number, identity.as_ref(), cx.env()).await?;
        let cluster_id = identity.cluster_id(&bundle)?;
        let mut known = self.known();
        known.owner = known.owner.clone().with_key(key);
        let before = known.life.take().filter(|life| life.number == number);
        let (born, lost) = before.map_or((false, false), |life| (life.born, life.lost));
        known.life = Some(LivedLife { number, cluster_id, bundle, born, lost });
        Ok(())
    }

    /// Whether etcd was born in this life already.
    pub(crate) fn etcd_was_born(&self) -> bool {
        self.known().life.as_ref().is_some_and(|life| life.born)
    }

    /// Whether the etcd of this life is gone, data and all.
    pub(crate) fn etcd_is_lost(&self) -> bool {
        self.known().life.as_ref().is_some_and(|life| life.lost)
    }

    /// Whether a machine was proved absent when this round began.
    pub(crate) fn was_absent(&self, machine: usize) -> bool {
        self.known().absent.contains(&machine)
    }

    /// Notes in the secret store that etcd was born in this life.
    pub(crate) async fn note_birth(&self) -> Result<()> {
        let number = self.life()?.number;
        self.backends.vault.record(number, Fact::Born, "etcd").await
    }

    /// Notes in the secret store that etcd is about to be asked to be born.
    pub(crate) async fn note_bootstrap(&self, machine: usize) -> Result<()> {
        let number = self.life()?.number;
        self.backends.vault.record(number, Fact::Bootstrap, self.project.machines[machine].node.as_str()).await
    }

    /// Whether an etcd may have been born in this life: it was seen alive, or asked for.
    pub(crate) async fn may_have_had_etcd(&self) -> Result<bool> {
        let life = self.life()?;
        Ok(life.born || self.backends.vault.knows(life.number, Fact::Bootstrap).await?)
    }

    /// The machine that was asked to give birth to etcd is gone. That etcd went with
    /// its disk, if there was one: noted as born, it is never born again in this life.
    /// `entirely`: no other control plane can hold a copy of its data.
    pub(crate) async fn note_loss(&self, entirely: bool) -> Result<()> {
        const WHY: &str = "its machine was lost after it was asked";
        let (vault, number) = (&self.backends.vault, self.life()?.number);
        vault.record(number, Fact::Born, WHY).await?;
        if entirely {
            vault.record(number, Fact::Lost, WHY).await?;
        }
        if let Some(life) = &mut self.known().life {
            life.born = true;
            life.lost |= entirely;
        }
        Ok(())
    }

    pub(crate) fn node_os(&self) -> Result<&Arc<dyn NodeOs>> {
        let missing = || Error::new(ErrorKind::Unsupported, "the castle was given no system for its nodes");
        self.backends.node_os.as_ref().ok_or_else(missing)
    }

    pub(crate) fn node_site(&self) -> Result<NodeSite> {
        Ok(NodeSite { project: self.project.clone(), bundle: self.life()?.bundle })
    }

    pub(crate) fn target(&self, machine: usize) -> Result<NodeTarget> {
        let spec = self.project.machines[machine].clone();
        let uuid = self.birth(&spec)?.uuid;
        Ok(NodeTarget { spec, uuid })
    }

    /// The number of the life that is being lived.
    pub(crate) fn life_number(&self) -> Result<u32> {
        Ok(self.life()?.number)
    }

    /// A kubeconfig, minted for this run.
    fn kubeconfig(&self, cx: &Context) -> Result<SecretText> {
        if let Some(kubeconfig) = self.known().kubeconfig.clone() {
            return Ok(kubeconfig);
        }
        let kubeconfig = self.node_os()?.kubeconfig(cx.env(), &self.node_site()?, None)?;
        self.known().kubeconfig = Some(kubeconfig.clone());
        Ok(kubeconfig)
    }

    /// The handover of the life's cluster.
    pub(crate) fn handover(&self, cx: &Context) -> Result<Arc<dyn Handover>> {
        if let Some(handover) = self.known().handover.clone() {
            return Ok(handover);
        }
        let missing = || Error::new(ErrorKind::Unsupported, "the castle was given no GitOps engine");
        let gitops = self.backends.gitops.as_ref().ok_or_else(missing)?;
        let handover = gitops.open(cx, &self.project, &self.kubeconfig(cx)?)?;
        self.known().handover = Some(handover.clone());
        Ok(handover)
    }

    /// The Kubernetes API of the life.
    pub(crate) fn api(&self, cx: &Context) -> Result<Arc<dyn KubeApi>> {
        if let Some(api) = self.known().api.clone() {
            return Ok(api);
        }
        let missing = || Error::new(ErrorKind::Unsupported, "the castle was given no Kubernetes client");
        let kubernetes = self.backends.kubernetes.as_ref().ok_or_else(missing)?;
        let api = kubernetes.connect(cx, &self.kubeconfig(cx)?)?;
        self.known().api = Some(api.clone());
        Ok(api)
    }
}
