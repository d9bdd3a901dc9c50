//! What the steps of one round share.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::life::{Fact, Vault};
use crate::port::identity::Identity;
use crate::{
    Birth, Context, Error, ErrorKind, KubeApi, Kubernetes, MachineProvider, MachineSpec, NodeOs, NodeSite, NodeTarget,
    Owner, Problem, Project, Result, SecretBytes,
};

/// The backends of a castle.
#[derive(Debug, Clone)]
pub(crate) struct Backends {
    pub(crate) machines: Arc<dyn MachineProvider>,
    pub(crate) vault: Vault,
    pub(crate) identity: Arc<dyn Identity>,
    pub(crate) node_os: Option<Arc<dyn NodeOs>>,
    pub(crate) kubernetes: Option<Arc<dyn Kubernetes>>,
}

/// The place of one round's work.
pub(crate) struct Site {
    pub(crate) project: Arc<Project>,
    pub(crate) backends: Backends,
    known: Mutex<Known>,
}

struct Known {
    owner: Owner,
    /// The life that is being lived, once it is committed.
    life: Option<LivedLife>,
    api: Option<Arc<dyn KubeApi>>,
    /// Nodes that this round saw with a blank disk, before it configured them.
    blank: BTreeSet<usize>,
    /// How many machines are still to be started.
    starts: usize,
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
}

impl Site {
    pub(crate) fn new(project: Arc<Project>, backends: Backends, owner: Owner, life: Option<LivedLife>) -> Self {
        Self {
            project,
            backends,
            known: Mutex::new(Known {
                owner,
                life,
                api: None,
                blank: BTreeSet::new(),
                starts: 0,
                findings: Vec::new(),
            }),
        }
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

    pub(crate) fn expect_starts(&self, count: usize) {
        self.known().starts = count;
    }

    /// One more machine runs. `true`: it was the last that was off.
    pub(crate) fn started(&self) -> bool {
        let mut known = self.known();
        known.starts = known.starts.saturating_sub(1);
        known.starts == 0
    }

    pub(crate) fn owner(&self) -> Owner {
        self.known().owner.clone()
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
        vault.record(number, Fact::Began, "create").await?;
        cx.check()?;
        let bundle = vault.ensure_bundle(number, identity.as_ref(), cx.env()).await?;
        let cluster_id = identity.cluster_id(&bundle)?;
        let mut known = self.known();
        known.owner = known.owner.clone().with_key(key);
        let born = known.life.as_ref().is_some_and(|life| life.number == number && life.born);
        known.life = Some(LivedLife { number, cluster_id, bundle, born });
        Ok(())
    }

    /// Whether etcd was born in this life already.
    pub(crate) fn etcd_was_born(&self) -> bool {
        self.known().life.as_ref().is_some_and(|life| life.born)
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

    /// Whether etcd was asked to be born in this life and was never seen alive.
    pub(crate) async fn was_asked_for_etcd(&self) -> Result<bool> {
        let life = self.life()?;
        if life.born {
            return Ok(false);
        }
        self.backends.vault.knows(life.number, Fact::Bootstrap).await
    }

    /// The machine that was asked to give birth to etcd is gone. That etcd went with
    /// its disk, if there was one: noted as born, it is never born again in this life.
    pub(crate) async fn note_loss(&self) -> Result<()> {
        self.backends.vault.record(self.life()?.number, Fact::Born, "its machine was lost after it was asked").await?;
        if let Some(life) = &mut self.known().life {
            life.born = true;
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

    /// The Kubernetes API of the life, with a kubeconfig minted for this run.
    pub(crate) fn api(&self, cx: &Context) -> Result<Arc<dyn KubeApi>> {
        if let Some(api) = self.known().api.clone() {
            return Ok(api);
        }
        let missing = || Error::new(ErrorKind::Unsupported, "the castle was given no Kubernetes client");
        let kubernetes = self.backends.kubernetes.as_ref().ok_or_else(missing)?;
        let kubeconfig = self.node_os()?.kubeconfig(cx.env(), &self.node_site()?, None)?;
        let api = kubernetes.connect(cx, &kubeconfig)?;
        self.known().api = Some(api.clone());
        Ok(api)
    }
}
