//! Nodes: what a machine becomes once an operating system answers on it.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;
use uuid::Uuid;

use crate::{MachineSpec, Project, SecretBytes};

/// One node as it is wanted: its declaration, and the uuid of the machine that
/// was born for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTarget {
    /// Name, role, address, hardware address.
    pub spec: MachineSpec,
    /// The SMBIOS uuid of its machine: what answers at the address must say this.
    pub uuid: Uuid,
}

/// What every call into a node's operating system needs: the declaration and the
/// life's secrets.
#[derive(Debug, Clone)]
pub struct NodeSite {
    /// The declaration.
    pub project: std::sync::Arc<Project>,
    /// The secrets bundle of the life.
    pub bundle: SecretBytes,
}

impl NodeSite {
    /// Where the Kubernetes API is asked for: the VIP, or the first control plane.
    #[must_use]
    pub fn endpoint(&self) -> Option<IpAddr> {
        let first = || self.project.with_role(crate::NodeRole::ControlPlane).next().map(|spec| spec.nic.address);
        self.project.network.vip.or_else(first)
    }
}

/// How far a node has come in its own boot, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Stage {
    /// It boots; a control plane stays here until etcd is up.
    Booting,
    /// It installs.
    Installing,
    /// It waits for a configuration.
    Maintenance,
    /// Its boot is over.
    Running,
    /// It restarts.
    Rebooting,
    /// It goes down.
    ShuttingDown,
    /// It wipes itself.
    Resetting,
    /// It upgrades.
    Upgrading,
    /// It says something else.
    Unknown,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Booting => "booting",
            Self::Installing => "installing",
            Self::Maintenance => "maintenance",
            Self::Running => "running",
            Self::Rebooting => "rebooting",
            Self::ShuttingDown => "shutting-down",
            Self::Resetting => "resetting",
            Self::Upgrading => "upgrading",
            Self::Unknown => "unknown",
        })
    }
}

/// The state of the etcd service on one control plane.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct EtcdService {
    /// `Waiting`, `Preparing`, `Running`, ... in the node's own words.
    pub state: String,
    /// Whether its health check passes.
    pub healthy: bool,
    /// The last thing it said about itself.
    pub message: String,
}

/// What was found at a node's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeState {
    /// Nothing answers (it boots, or it is dead), and how that shows.
    Silent(String),
    /// It waits for a configuration: anybody's.
    Maintenance {
        /// The uuid that it says on that very connection.
        uuid: Option<Uuid>,
        /// Whether its disk holds remains of a configuration or of etcd.
        residue: Vec<String>,
    },
    /// It answers, and it is not the node of this life: a stranger at our address,
    /// a node of a former life, one that somebody else configured.
    Stranger(String),
    /// It is ours: our certificate was accepted, and its own is signed by our
    /// authority.
    Ours(Box<NodeReport>),
}

/// What a configured node of ours says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Its machine's uuid.
    pub uuid: Option<Uuid>,
    /// How far its boot has come.
    pub stage: Stage,
    /// Whether it calls itself ready.
    pub ready: bool,
    /// What it still misses: `services: etcd not running`.
    pub unmet: Vec<String>,
    /// Whether its clock is in sync.
    pub time_synced: bool,
    /// Its etcd; `None` on a worker.
    pub etcd: Option<EtcdService>,
    /// Whether it carries the VIP.
    pub holds_vip: bool,
}

/// A member of etcd, as a control plane lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its host name; empty until it first started.
    pub name: String,
    /// Its peer addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it learns and does not vote yet.
    pub learner: bool,
}

/// A remnant of a former life, named, with its cure.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Ghost {
    /// A stable name in kebab case: `stale-affiliate`, `old-data-directory`, ...
    pub kind: &'static str,
    /// Where it was seen.
    pub node: String,
    /// What was seen.
    pub evidence: String,
    /// What removes it.
    pub cure: String,
}

impl fmt::Display for Ghost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}: {}", self.kind, self.node, self.evidence)
    }
}
