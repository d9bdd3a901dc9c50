//! Nodes and a Kubernetes API in memory, on the machines of a house in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use uuid::Uuid;

use super::MemoryMachines;
use crate::{
    CniState, Context, Credential, Env, Error, ErrorKind, EtcdService, Ghost, KubeApi, KubeNode, Kubernetes, MachineId,
    Member, Meter, NodeOs, NodeReport, NodeRole, NodeSite, NodeState, NodeTarget, Power, Problem, Project, Result,
    Secret, SecretBytes, SecretText, Stage,
};

/// From the configuration to a node that answers, and from the birth of etcd to an
/// API that serves.
const BOOT: Duration = Duration::from_secs(20);
/// How often a watch wakes.
const WAKE: Duration = Duration::from_secs(1);

/// A disk: its machine's uuid, and when that machine was made. One that is made
/// again within a life has the same uuid and a blank disk.
type Disk = (Uuid, Duration);

/// What a machine has become.
#[derive(Debug, Clone)]
struct Node {
    id: MachineId,
    name: String,
    role: NodeRole,
    cluster: String,
    configured_at: Duration,
}

#[derive(Default)]
struct Grown {
    nodes: BTreeMap<Disk, Node>,
    etcds: BTreeMap<String, Etcd>,
}

/// The etcd of one cluster.
#[derive(Debug, Clone, Default)]
struct Etcd {
    born_at: Duration,
    /// How often it was born: more than once is a split brain.
    births: u32,
    /// The disks that hold its data.
    holders: BTreeSet<Disk>,
}

#[derive(Default)]
struct Shared {
    house: MemoryMachines,
    grown: Mutex<Grown>,
    silent: AtomicBool,
    os: Meter,
    api: Meter,
}

/// The systems on the machines of a [`MemoryMachines`], and the API that they serve.
///
/// A machine that runs waits for its configuration; with it, it becomes a node of
/// the cluster whose secrets it was given; the first control plane that is asked
/// gives birth to etcd, and the API serves. What is on a machine goes with it.
/// Clones are handles on the same systems.
#[derive(Clone, Default)]
pub struct MemoryCluster(Arc<Shared>);

impl MemoryCluster {
    /// Systems for the machines of `house`.
    #[must_use]
    pub fn on(house: &MemoryMachines) -> Self {
        Self(Arc::new(Shared { house: house.clone(), ..Shared::default() }))
    }

    /// From now on neither node nor API answers, or, with `false`, all do again.
    pub fn silence(&self, silent: bool) {
        self.0.silent.store(silent, Ordering::SeqCst);
    }

    /// How often an etcd was born in each cluster that ever was.
    #[must_use]
    pub fn births(&self) -> Vec<u32> {
        self.grown().etcds.values().map(|etcd| etcd.births).collect()
    }

    fn grown(&self) -> MutexGuard<'_, Grown> {
        // No code that holds the lock can panic halfway through a change.
        self.0.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_silent(&self) -> bool {
        self.0.silent.load(Ordering::SeqCst)
    }

    /// The disk of a machine that runs.
    fn disk(&self, id: MachineId) -> Option<Disk> {
        let machine = self.0.house.machine(id).filter(|machine| machine.power == Power::Running)?;
        Some((machine.uuid?, machine.complete_at))
    }

    /// The nodes of a cluster that run and have booted.
    fn booted(&self, cluster: &str, now: Duration) -> Vec<(Disk, Node)> {
        let grown = self.grown();
        let booted = |(disk, node): &(&Disk, &Node)| {
            node.cluster == cluster && now >= node.configured_at + BOOT && self.disk(node.id) == Some(**disk)
        };
        grown.nodes.iter().filter(booted).map(|(disk, node)| (*disk, node.clone())).collect()
    }

    /// Since when etcd lives in a cluster: born, and its data on a control plane that
    /// runs. The others join it.
    fn etcd_since(&self, cluster: &str, now: Duration) -> Option<Duration> {
        let mut control_planes = self.booted(cluster, now);
        control_planes.retain(|(_, node)| node.role == NodeRole::ControlPlane);
        let mut grown = self.grown();
        let etcd = grown.etcds.get_mut(cluster)?;
        if !control_planes.iter().any(|(disk, _)| etcd.holders.contains(disk)) {
            return None;
        }
        etcd.holders.extend(control_planes.into_iter().map(|(disk, _)| disk));
        Some(etcd.born_at)
    }

    fn mint(env: &Env, site: &NodeSite, what: Credential, kept: Option<&SecretText>) -> Result<SecretText> {
        let head = format!("cluster: {}\n{}", cluster_of(&site.bundle)?, what.name());
        match kept.filter(|kept| kept.expose().starts_with(&head)) {
            Some(kept) => Ok(kept.clone()),
            // Two that were minted differ, as certificates do.
            None => Ok(Secret::new(format!("{head} {}\n", hex::encode(&env.random32()[..4])))),
        }
    }
}

fn cluster_of(bundle: &SecretBytes) -> Result<String> {
    String::from_utf8(bundle.expose().clone())
        .map_err(|_| Error::new(ErrorKind::InvalidSpec, "the bundle of this life is not a bundle"))
}

/// Wakes at once, and then as time goes by.
pub(super) fn ticks(cx: &Context) -> BoxStream<'static, ()> {
    let clock = cx.clock().clone();
    futures::stream::unfold(true, move |is_first| {
        let clock = clock.clone();
        async move {
            if !is_first {
                clock.sleep(WAKE).await;
            }
            Some(((), false))
        }
    })
    .boxed()
}

#[async_trait]
impl NodeOs for MemoryCluster {
    fn name(&self) -> &'static str {
        "nodes"
    }

    fn meter(&self) -> &Meter {
        &self.0.os
    }

    fn validate(&self, _: &Project) -> Vec<Problem> {
        Vec::new()
    }

    fn render(&self, site: &NodeSite, node: &NodeTarget) -> Result<SecretBytes> {
        let text = format!("{} {}", cluster_of(&site.bundle)?, node.spec.node);
        Ok(Secret::new(text.into_bytes()))
    }

    async fn look(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<NodeState> {
        self.0.os.count_read();
        let (now, cluster) = (cx.clock().elapsed(), cluster_of(&site.bundle)?);
        let Some(disk) = self.disk(node.spec.id) else { return Ok(NodeState::Silent("it is off".into())) };
        if self.is_silent() {
            return Ok(NodeState::Silent("its port is closed".into()));
        }
        let found = self.grown().nodes.get(&disk).cloned();
        let uuid = Some(disk.0);
        Ok(match found {
            None if uuid != Some(node.uuid) => NodeState::Stranger("another machine".into()),
            None => NodeState::Maintenance { uuid, residue: Vec::new() },
            Some(grown) if grown.cluster != cluster => NodeState::Stranger("a node of another life".into()),
            Some(grown) if now < grown.configured_at + BOOT => NodeState::Silent("it boots".into()),
            Some(grown) => {
                let is_alive = self.etcd_since(&cluster, now).is_some();
                let state = if is_alive { "Running" } else { "Preparing" };
                let etcd = EtcdService { state: state.into(), healthy: is_alive, message: String::new() };
                NodeState::Ours(Box::new(NodeReport {
                    uuid,
                    stage: Stage::Running,
                    ready: true,
                    unmet: Vec::new(),
                    time_synced: true,
                    etcd: (grown.role == NodeRole::ControlPlane).then_some(etcd),
                    holds_vip: false,
                }))
            }
        })
    }

    fn watch(&self, cx: &Context, _: &NodeSite, _: &NodeTarget) -> BoxStream<'static, ()> {
        self.0.os.count_read();
        ticks(cx)
    }

    async fn apply(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<()> {
        match self.look(cx, site, node).await? {
            NodeState::Ours(_) => return Ok(()),
            NodeState::Stranger(who) => return Err(Error::new(ErrorKind::ForeignOwner, who)),
            NodeState::Silent(how) => return Err(Error::new(ErrorKind::Unreachable, how)),
            NodeState::Maintenance { .. } => {}
        }
        let off = || Error::new(ErrorKind::Unreachable, "it is off");
        let disk = self.disk(node.spec.id).ok_or_else(off)?;
        self.0.os.count_write();
        let grown = Node {
            id: node.spec.id,
            name: node.spec.node.to_string(),
            role: node.spec.role,
            cluster: cluster_of(&site.bundle)?,
            configured_at: cx.clock().elapsed(),
        };
        self.grown().nodes.insert(disk, grown);
        Ok(())
    }

    async fn bootstrap(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<()> {
        let NodeState::Ours(report) = self.look(cx, site, node).await? else {
            return Err(Error::new(ErrorKind::Conflict, "the node has no configuration yet"));
        };
        if report.etcd.is_some_and(|etcd| etcd.healthy) {
            return Ok(());
        }
        let off = || Error::new(ErrorKind::Unreachable, "it is off");
        let disk = self.disk(node.spec.id).ok_or_else(off)?;
        self.0.os.count_write();
        let now = cx.clock().elapsed();
        let mut grown = self.grown();
        let etcd = grown.etcds.entry(cluster_of(&site.bundle)?).or_default();
        *etcd = Etcd { born_at: now, births: etcd.births + 1, holders: BTreeSet::from([disk]) };
        Ok(())
    }

    async fn members(&self, cx: &Context, site: &NodeSite, _: &NodeTarget) -> Result<Vec<Member>> {
        self.0.os.count_read();
        let (now, cluster) = (cx.clock().elapsed(), cluster_of(&site.bundle)?);
        if self.etcd_since(&cluster, now).is_none() {
            return Ok(Vec::new());
        }
        let votes = self.booted(&cluster, now).into_iter().filter(|(_, node)| node.role == NodeRole::ControlPlane);
        let member = |((uuid, _), node): (Disk, Node)| Member {
            id: uuid.as_u64_pair().0,
            name: node.name,
            addresses: Vec::new(),
            learner: false,
        };
        Ok(votes.map(member).collect())
    }

    async fn member_id(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<Option<u64>> {
        let members = self.members(cx, site, node).await?;
        Ok(members.into_iter().find(|member| member.name == node.spec.node.as_str()).map(|member| member.id))
    }

    async fn remove_member(&self, _: &Context, _: &NodeSite, _: &NodeTarget, id: u64) -> Result<()> {
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("member {id:016x} stays: nodes in memory go with their machines"),
        ))
    }

    async fn ghosts(&self, _: &Context, _: &NodeSite, _: &[NodeTarget]) -> Result<Vec<Ghost>> {
        Ok(Vec::new())
    }

    fn kubeconfig(&self, env: &Env, site: &NodeSite, kept: Option<&SecretText>) -> Result<SecretText> {
        Self::mint(env, site, Credential::Kubeconfig, kept)
    }

    fn talosconfig(&self, env: &Env, site: &NodeSite, kept: Option<&SecretText>) -> Result<SecretText> {
        Self::mint(env, site, Credential::Talosconfig, kept)
    }

    fn is_credential(&self, _: &Project, which: Credential, text: &SecretText) -> bool {
        let mut lines = text.expose().lines();
        let names_a_cluster = lines.next().is_some_and(|line| line.starts_with("cluster: "));
        names_a_cluster && lines.next().is_some_and(|line| line.starts_with(which.name()))
    }
}

#[async_trait]
impl Kubernetes for MemoryCluster {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn meter(&self) -> &Meter {
        &self.0.api
    }

    fn connect(&self, _: &Context, kubeconfig: &SecretText) -> Result<Arc<dyn KubeApi>> {
        let bad = || Error::new(ErrorKind::InvalidSpec, "the kubeconfig names no cluster");
        let cluster = cluster_named_by(kubeconfig).ok_or_else(bad)?;
        Ok(Arc::new(MemoryApi { of: self.clone(), cluster }))
    }
}

/// The cluster that a kubeconfig in memory leads to.
pub(super) fn cluster_named_by(kubeconfig: &SecretText) -> Option<String> {
    kubeconfig.expose().lines().next()?.strip_prefix("cluster: ").map(str::to_owned)
}

/// The API of one cluster in memory.
struct MemoryApi {
    of: MemoryCluster,
    cluster: String,
}

impl MemoryApi {
    fn booted(&self, cx: &Context) -> Result<Vec<(Disk, Node)>> {
        self.of.0.api.count_read();
        let now = cx.clock().elapsed();
        let since = self.of.etcd_since(&self.cluster, now).filter(|_| !self.of.is_silent());
        match since.filter(|since| now >= *since + BOOT) {
            Some(_) => Ok(self.of.booted(&self.cluster, now)),
            None => Err(Error::new(ErrorKind::Unreachable, "the API does not answer")),
        }
    }
}

#[async_trait]
impl KubeApi for MemoryApi {
    async fn serves(&self, cx: &Context) -> Result<()> {
        self.booted(cx).map(drop)
    }

    async fn nodes(&self, cx: &Context) -> Result<Vec<KubeNode>> {
        let node = |((uuid, _), node): (Disk, Node)| KubeNode {
            name: node.name,
            system_uuid: uuid.to_string(),
            ready: true,
            why_not: String::new(),
        };
        Ok(self.booted(cx)?.into_iter().map(node).collect())
    }

    async fn cni(&self, cx: &Context) -> Result<CniState> {
        let count = self.booted(cx)?.len();
        Ok(CniState { wanted: count, ready: count, waiting: None })
    }

    fn watch(&self, cx: &Context) -> BoxStream<'static, ()> {
        self.of.0.api.count_read();
        ticks(cx)
    }
}

impl fmt::Debug for MemoryApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryApi").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl fmt::Debug for MemoryCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grown = self.grown();
        f.debug_struct("MemoryCluster").field("nodes", &grown.nodes).field("etcds", &grown.etcds).finish()
    }
}
