//! Machines: what is declared, and what the hypervisor shows.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{ByteSize, Error, ErrorKind, Name, NodeRole, Standing};

/// The hypervisor's number of a machine: 100 to 999,999,999, unique in its
/// cluster, and **not** an identity: a number can be handed on to a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct MachineId(u32);

impl MachineId {
    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for MachineId {
    type Error = Error;

    fn try_from(number: u32) -> Result<Self, Error> {
        if (100..=999_999_999).contains(&number) {
            Ok(Self(number))
        } else {
            Err(Error::new(ErrorKind::InvalidSpec, format!("machine id {number} is out of range"))
                .hint("use 100 to 999999999"))
        }
    }
}

impl From<MachineId> for u32 {
    fn from(id: MachineId) -> Self {
        id.0
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A unicast hardware address.
///
/// Derived from cluster and node name, so that a node keeps it through every
/// life and the router's ARP cache stays right.
///
/// ```
/// use castle_core::MacAddress;
///
/// let (cluster, node) = ("blue".parse().unwrap(), "blue-cp-01".parse().unwrap());
/// let mac = MacAddress::of_node(&cluster, &node);
/// assert!(mac.to_string().starts_with("BC:24:11:"));
/// assert_eq!(mac, MacAddress::of_node(&cluster, &node));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// The address of a node, in the range that Proxmox uses for its machines.
    #[must_use]
    pub fn of_node(cluster: &Name, node: &Name) -> Self {
        let digest = Sha256::digest(format!("castle mac\0{cluster}\0{node}"));
        Self([0xBC, 0x24, 0x11, digest[0], digest[1], digest[2]])
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}")
    }
}

impl FromStr for MacAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || Error::new(ErrorKind::InvalidSpec, format!("`{text}` is not a hardware address"));
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(refuse)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| refuse())?;
        }
        if parts.next().is_some() || bytes[0] & 1 == 1 { Err(refuse()) } else { Ok(Self(bytes)) }
    }
}

/// The network card of a machine and the address it has from birth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// The node's own address, never the VIP.
    pub address: IpAddr,
    /// The subnet it lives in.
    pub subnet: IpNet,
    /// The way out of the subnet.
    pub gateway: IpAddr,
    /// Name servers, in order.
    pub dns: Vec<IpAddr>,
    /// The host's bridge.
    pub bridge: String,
    /// The VLAN tag on the bridge.
    pub vlan: Option<u16>,
    /// The hardware address.
    pub mac: MacAddress,
}

/// The disk image that a machine is born from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageRef {
    /// The storage that holds it.
    pub storage: String,
    /// Its file name there, for example `talos-376567988ad3-v1.13.9.qcow2`.
    pub file: String,
    /// Where the administrator can fetch it.
    pub url: String,
}

/// One declared machine, complete: all that a provider needs to give birth to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSpec {
    /// The node's name: the machine's name, the host name, the Kubernetes node.
    pub node: Name,
    /// What the node is for.
    pub role: NodeRole,
    /// The reserved number.
    pub id: MachineId,
    /// The host it runs on.
    pub host: Name,
    /// The resource pool that the operator's rights are confined to.
    pub pool: String,
    /// The storage of its disks.
    pub storage: String,
    /// Virtual CPUs.
    pub cores: u32,
    /// Memory.
    pub memory: ByteSize,
    /// The system disk.
    pub disk: ByteSize,
    /// Its network card.
    pub nic: Nic,
    /// What it is born from.
    pub image: ImageRef,
}

/// What binds a new machine to one birth: which life, which generation of the
/// node, and the uuid that follows from both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Birth {
    /// The cluster's life, from 1.
    pub life: u32,
    /// How often this node was replaced within the life, from 1.
    pub generation: u32,
    /// The SMBIOS uuid: see [`Birth::uuid_of`].
    pub uuid: Uuid,
}

impl Birth {
    /// The uuid of a node: UUIDv5 of cluster id, life, node and generation. The
    /// guest sees it, so it joins machine, Talos node and Kubernetes node.
    #[must_use]
    pub fn uuid_of(cluster_id: &str, life: u32, node: &Name, generation: u32) -> Uuid {
        let text = format!("castle/1 cluster-id={cluster_id} life={life} node={node} gen={generation}");
        Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes())
    }

    /// The birth of `node` in `life`.
    #[must_use]
    pub fn of(cluster_id: &str, life: u32, node: &Name, generation: u32) -> Self {
        Self { life, generation, uuid: Self::uuid_of(cluster_id, life, node, generation) }
    }
}

/// Whether a machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// It runs.
    Running,
    /// It is off.
    Stopped,
    /// Something else (paused, suspended), or the host does not say.
    Unknown,
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        })
    }
}

/// A machine as the hypervisor shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its number.
    pub id: MachineId,
    /// The host that runs it.
    pub host: String,
    /// Its name; names are not unique and prove nothing.
    pub name: String,
    /// Whether it runs.
    pub power: Power,
    /// Whose it is, and how that is known.
    pub standing: Standing,
    /// Its SMBIOS uuid.
    pub uuid: Option<Uuid>,
    /// Virtual CPUs.
    pub cores: u32,
    /// Memory.
    pub memory: ByteSize,
    /// The system disk; `None` while it has none yet.
    pub disk: Option<ByteSize>,
    /// A lock the hypervisor holds on it: `create`, `backup`, ...
    pub lock: Option<String>,
    /// Whether the hypervisor refuses to remove it.
    pub protected: bool,
    /// Whether a destroy had begun: castle's intent was written on it.
    pub dying: bool,
}

/// What is known of one reserved machine id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// Proved free: the hypervisor said so, and no list showed it afterwards.
    Absent,
    /// A machine that was read.
    Present(Box<Machine>),
    /// Taken by a machine that the token may not see.
    Hidden,
    /// Not known, and why. Never read as absent.
    Unknown(String),
}

/// What a host offers and carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostState {
    /// Whether the hypervisor's cluster counts it as up.
    pub online: bool,
    /// Its memory.
    pub memory_total: ByteSize,
    /// What is in use, by whomever.
    pub memory_used: ByteSize,
}

/// Everything a provider sees in one look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// Each reserved id, in order.
    pub slots: BTreeMap<MachineId, Slot>,
    /// Machines outside the reserved ids that can be seen. Never touched.
    pub others: Vec<Machine>,
    /// The hosts, by name.
    pub hosts: BTreeMap<String, HostState>,
}
