//! The declaration of one cluster: `castle.yaml`, read and complete.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::handover::{APPS_DEADLINE, Dataset, Escrow, HANDOVER_DEADLINE, HandoverSpec, Probe};
use crate::{ByteSize, MachineSpec, Name, NodeRole, Problem, SecretKey, Span};

/// A cluster as declared. Made by [`Project::parse`]; every field is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// The project; marks and secrets are kept apart by it.
    pub project: Name,
    /// The platform, for example `proxmox`.
    pub platform: String,
    /// The cluster.
    pub cluster: Cluster,
    /// The disk image.
    pub image: ImageSpec,
    /// The network.
    pub network: Network,
    /// The hosts, by name.
    pub hosts: BTreeMap<Name, HostBudget>,
    /// The machines: control planes in their order, then workers. Complete, with
    /// defaults, hardware addresses and the image applied.
    pub machines: Vec<MachineSpec>,
    /// What is laid over the nodes' configurations.
    pub patches: Patches,
    /// Where the secrets shall be kept; the option document may say otherwise, see
    /// [`crate::Options::parse_for`].
    pub secrets: Option<SecretsPlace>,
    /// What is handed over to Flux. `None`: the cluster stays without it.
    pub gitops: Option<HandoverSpec>,
    /// The secret that holds the token of the GitOps repository; the option document
    /// may give the token itself, see [`crate::Options::complete_git`].
    pub git_credentials: Option<SecretKey>,
    /// Where an administrator's credentials are put for others to find.
    pub escrow: Escrow,
    /// Data that must be proved safe before the cluster is destroyed.
    pub datasets: Vec<Dataset>,
    /// What shows that the applications serve.
    pub probes: Vec<Probe>,
    /// How much may happen at once.
    pub limits: Limits,
    /// How long each phase may take.
    pub deadlines: Deadlines,
    /// Where in the text each machine was declared, in the order of `machines`.
    pub spans: Vec<Span>,
    /// What is worth knowing about the declaration and refuses nothing.
    pub warnings: Vec<Problem>,
}

/// Names and versions of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's name.
    pub name: Name,
    /// The Talos release, with its `v`: `v1.13.9`.
    pub talos: String,
    /// The Kubernetes release, with its `v`.
    pub kubernetes: String,
    /// The version contract of the machine configuration, without a `v`: `1.13`.
    pub contract: String,
}

/// Which Talos image the machines are born from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec {
    /// Official system extensions, for example `siderolabs/iscsi-tools`.
    pub extensions: Vec<String>,
    /// The storage that holds the image file.
    pub storage: String,
}

/// The segment that the nodes live in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The subnet.
    pub subnet: IpNet,
    /// The way out.
    pub gateway: IpAddr,
    /// Name servers, in order.
    pub dns: Vec<IpAddr>,
    /// The host's bridge.
    pub bridge: String,
    /// The VLAN tag, if any.
    pub vlan: Option<u16>,
    /// The address of the Kubernetes API that moves between control planes.
    pub vip: Option<IpAddr>,
    /// The first and the last address that the cluster's load balancers may take.
    pub load_balancers: Option<(IpAddr, IpAddr)>,
}

/// Changes to the machine configurations that castle writes, in the operating
/// system's own form: each text is a part of a configuration. This crate does not
/// read them; the operating system's crate does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patches {
    /// For every node, in order.
    pub all: Vec<String>,
    /// For control planes, after those for every node.
    pub control_planes: Vec<String>,
    /// For workers, after those for every node.
    pub workers: Vec<String>,
}

/// Where the secrets shall be kept: a wish, without the access that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretsPlace {
    /// Files below a folder, relative to that of `castle.yaml`.
    Files(PathBuf),
    /// A folder of an Infisical project.
    Infisical {
        /// `https://eu.infisical.com`, without a path.
        url: String,
        /// The project's slug.
        project: String,
        /// The environment's slug: `prod`.
        environment: String,
        /// The folder: `/ephemeral-castle/blue/proxmox`.
        path: String,
    },
    /// Files that SOPS has encrypted, below a folder, relative to that of
    /// `castle.yaml`; read only.
    Sops(PathBuf),
    /// Variables of the environment with this prefix; read only.
    Environment {
        /// `CASTLE_SECRET_`.
        prefix: String,
    },
}

/// What may be taken from a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostBudget {
    /// The memory it has.
    pub memory: ByteSize,
    /// What is kept for the host itself.
    pub reserve: ByteSize,
}

/// How much may happen at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Image imports at a time for each host and storage. More than two or three
    /// on a slow disk end in lock timeouts.
    pub imports_per_storage: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { imports_per_storage: 2 }
    }
}

/// How long each phase may take, in castle's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// The import of one image.
    pub import: Duration,
    /// From power on to a running machine.
    pub start: Duration,
    /// From a running machine to a system that answers, and from its configuration
    /// to its own certificate.
    pub boot: Duration,
    /// From the first configured control plane to a serving API.
    pub api: Duration,
    /// From a serving API to ready nodes.
    pub nodes: Duration,
    /// The removal of one machine.
    pub destroy: Duration,
    /// From the planted seed to a cluster that is handed over.
    pub handover: Duration,
    /// From the handover to applications that serve.
    pub apps: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            import: Duration::from_secs(15 * 60),
            start: Duration::from_secs(5 * 60),
            boot: Duration::from_secs(10 * 60),
            api: Duration::from_secs(15 * 60),
            nodes: Duration::from_secs(15 * 60),
            destroy: Duration::from_secs(5 * 60),
            handover: HANDOVER_DEADLINE,
            apps: APPS_DEADLINE,
        }
    }
}

impl Project {
    /// The machines of one role, in their order.
    pub fn with_role(&self, role: NodeRole) -> impl Iterator<Item = &MachineSpec> {
        self.machines.iter().filter(move |machine| machine.role == role)
    }

    /// The machine of a node.
    #[must_use]
    pub fn machine(&self, node: &str) -> Option<&MachineSpec> {
        self.machines.iter().find(|machine| machine.node.as_str() == node)
    }
}
