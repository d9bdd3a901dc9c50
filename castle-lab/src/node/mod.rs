//! Talos nodes: what the machines of the house do once they are powered on, and
//! what they make together, as a state machine without the protocol.
//!
//! The protocol is `server::talos`. Facts here are those of Talos 1.13.
//!
//! A machine that was born from a Talos image boots by itself: firmware, kernel,
//! then either maintenance (no configuration on its disk) or its configured
//! life. Every stage takes time, and meanwhile nothing listens. What a node
//! shows over its API follows from its [`Session`] and its [`Disk`].

pub mod boot;
pub mod certificate;
pub mod config;
pub mod discovery;
pub mod disk;
pub(crate) mod dns;
pub mod etcd;
mod invariant;
pub(crate) mod kubelet;
mod members;
pub mod plant;
mod pod;
pub mod request;
pub mod resource;
pub mod service;
pub mod spec;
pub(crate) mod vip;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use boot::{Api, Session, Stage};
pub use config::{MachineConfig, MachineType};
pub use discovery::{Affiliate, Discovery};
pub use disk::{DataDirectory, Disk, ImageContent, Images, Residue};
pub use dns::Dns;
pub use etcd::{EtcdCluster, EtcdMember, EtcdState};
use members::Members;
pub use plant::Plants;
pub use resource::Table;
pub use vip::Vip;

/// All nodes of the house, and what they share.
#[derive(Debug, Clone, Default)]
pub struct Nodes {
    /// By the number of their machine. Strangers, which are no machine of this
    /// house, have numbers from [`Nodes::STRANGERS`].
    pub(crate) nodes: BTreeMap<u32, Node>,
    /// What image files hold.
    pub images: Images,
    /// The discovery service of the world outside.
    pub discovery: Discovery,
    /// What it tells each cluster, by the cluster's id.
    pub(crate) members: BTreeMap<String, Arc<Members>>,
    /// The etcd clusters, by id: living ones and remembered ones.
    pub etcds: BTreeMap<u64, EtcdCluster>,
    /// The shared addresses that are held.
    pub vips: BTreeMap<IpAddr, Vip>,
    /// What a test has planted.
    pub(crate) plants: Plants,
    /// Every bootstrap: when, the cluster's id, and which etcd was born.
    pub(crate) bootstraps: Vec<(Duration, String, u64)>,
    /// Broken rules that are deeds and not states.
    pub(crate) misdeeds: Vec<String>,
    /// Where the servers of the house really listen.
    pub(crate) mapped: BTreeSet<IpAddr>,
    /// What the resources of the nodes were made from: events and lines of history.
    pub(crate) fresh: (u64, usize),
    tickets: u64,
    /// The tickets of servers that died without a word.
    mute: BTreeSet<u64>,
}

/// A machine as its guest sees itself.
#[derive(Debug, Clone)]
pub struct Node {
    /// The number of its machine.
    pub vm: u32,
    /// The machine's name.
    pub name: String,
    /// The SMBIOS uuid, in lower case.
    pub uuid: String,
    /// The hardware address, in lower case.
    pub mac: String,
    /// The address from the hypervisor's drive, with its prefix length.
    pub address: Option<(IpAddr, u8)>,
    /// What its image holds.
    pub image: ImageContent,
    /// Its memory in bytes.
    pub memory: u64,
    /// Its processors.
    pub cpus: u64,
    /// The size of its disk in bytes.
    pub disk_size: u64,
    /// Its disk.
    pub disk: Disk,
    /// What it does while it has power.
    pub session: Option<Session>,
    /// Its resources, with their versions.
    pub table: Table,
    /// How often it was switched on or restarted.
    pub boots: u64,
    pub(crate) firmware: Duration,
    pub(crate) curse: Option<&'static str>,
    pub(crate) incarnation: u64,
    pub(crate) running_since: Option<Duration>,
}

/// Something that is due on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEvent {
    pub(crate) vm: u32,
    /// What was planned in another boot does not happen.
    pub(crate) boot: u64,
    pub(crate) due: Due,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// boot: the network card has its address.
    Network,
    /// boot: the maintenance API listens.
    Maintenance,
    /// boot: the maintenance API goes away, for a configuration was applied.
    Leave,
    /// boot: services start.
    Services,
    /// boot: a worker asks trustd for its certificate.
    Trust,
    /// boot: containers can run.
    Cri,
    /// boot: it restarts.
    Restart,
    /// kubelet: its image is there.
    Kubelet,
    /// etcd: its image is there.
    EtcdImage,
    /// etcd: it is up, as a founder or with its old data.
    EtcdUp,
    /// etcd: it asks to be let in.
    EtcdJoin,
    /// etcd: its learner has caught up.
    EtcdPromote,
    /// etcd: it has waited long enough.
    EtcdTimeout,
    /// kubelet: the API server of this control plane answers.
    ApiServer,
    /// kubelet: the node asks for its object.
    Register,
    /// kubelet: the pod network works.
    Cni,
    /// kubelet: the node reports itself Ready.
    NodeReady,
    /// dns: CoreDNS is available.
    Dns,
    /// kubelet: a node that is silent is noticed.
    Lost,
    /// vip: it runs for the shared addresses.
    Campaign,
    /// discovery: an entry runs out.
    Expire,
    /// plant: the API server stops answering, or answers again.
    ApiServerAway(bool),
}

impl Nodes {
    /// The first number of nodes that are no machine of this house.
    pub const STRANGERS: u32 = 2_000_000_000;

    /// The node of a machine's name or of a host name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.nodes.values().find(|node| node.name == name || node.hostname() == name)
    }

    /// The node of a machine's number.
    #[must_use]
    pub fn of(&self, vm: u32) -> Option<&Node> {
        self.nodes.get(&vm)
    }

    /// All nodes, by the number of their machine.
    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Who answers at an address: the node that carries it, or the one that holds
    /// it as a shared one. A stranger wins over ours, as it does in a segment
    /// where it was there first.
    #[must_use]
    pub fn behind(&self, address: IpAddr) -> Option<&Node> {
        let own = self.nodes.values().rev().find(|node| node.is_reachable() && node.ip() == Some(address));
        own.or_else(|| {
            let vip = self.vips.get(&address)?;
            self.nodes.get(&vip.holder).filter(|node| node.is_reachable())
        })
    }

    /// The control plane whose API server answers at an address.
    #[must_use]
    pub fn api_server_behind(&self, address: IpAddr) -> Option<&Node> {
        self.behind(address).filter(|node| node.session.as_ref().is_some_and(|session| session.api_server.is_some()))
    }

    /// The node whose Talos API, or API server, has that ticket.
    #[must_use]
    pub fn by_ticket(&self, ticket: u64) -> Option<&Node> {
        self.nodes.values().find(|node| {
            let session = node.session.as_ref();
            session.is_some_and(|session| session.ticket == ticket || session.api_server == Some(ticket))
        })
    }

    /// Whether the server of that ticket died without a word.
    #[must_use]
    pub fn is_mute(&self, ticket: u64) -> bool {
        self.mute.contains(&ticket)
    }

    /// Addresses beyond the declared ones at which somebody may answer.
    pub(crate) fn further_addresses(&self) -> BTreeSet<IpAddr> {
        let strangers = self.nodes.values().filter(|node| node.vm >= Self::STRANGERS).filter_map(Node::ip);
        self.plants.addresses.values().copied().chain(strangers).collect()
    }

    /// Tells where the doors of the house really are: certificates of the API
    /// server carry these addresses too.
    pub(crate) fn listen_at(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.mapped = addresses.into_iter().collect();
    }

    pub(crate) fn next_ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    pub(crate) fn silence(&mut self, session: &Session) {
        self.mute.extend([session.ticket].into_iter().chain(session.api_server).filter(|ticket| *ticket > 0));
    }

    /// The living control planes and workers of one cluster id.
    pub(crate) fn configured(&self) -> impl Iterator<Item = (&Node, &Session, &Arc<MachineConfig>)> {
        self.nodes.values().filter_map(|node| {
            let session = node.session.as_ref()?;
            Some((node, session, session.config.as_ref()?))
        })
    }
}

impl Node {
    /// Which boot it is in, of which machine: a number is given to a new machine
    /// after the old one is gone, and what was planned for that does not happen.
    pub(crate) fn boot(&self) -> u64 {
        self.incarnation << 32 | self.boots
    }

    /// The host name: the configured one, or the one that Talos derives.
    #[must_use]
    pub fn hostname(&self) -> String {
        let config = self.session.as_ref().and_then(|session| session.config.as_ref());
        match config.or(self.disk.config.as_ref()).and_then(|config| config.hostname.clone()) {
            Some(name) => name,
            None => format!("talos-{}", self.uuid.get(..8).unwrap_or("node")),
        }
    }

    /// The address at which it answers.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.map(|(address, _)| address)
    }

    /// Whether its network works.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.network)
    }

    /// The configuration that it runs with.
    #[must_use]
    pub fn config(&self) -> Option<&Arc<MachineConfig>> {
        self.session.as_ref()?.config.as_ref()
    }

    /// Whether it runs as a control plane.
    #[must_use]
    pub fn is_control_plane(&self) -> bool {
        self.config().is_some_and(|config| config.machine_type == MachineType::ControlPlane)
    }
}
