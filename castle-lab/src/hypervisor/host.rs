//! A Proxmox VE host.

use std::time::Duration;

use super::statistics::Broadcast;

/// One host.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its memory, in bytes, as the kernel counts it: a little less than was bought.
    pub memory: u64,
    /// Its logical CPUs.
    pub cpus: u32,
    /// Its bridges.
    pub bridges: Vec<Bridge>,
    /// Whether it answers. An offline host keeps its machines in the lists.
    pub online: bool,
    /// When it booted, in the world's time. Negative times are not needed: a
    /// host of a fresh world booted at zero.
    pub booted_at: Duration,
    /// What it last told the cluster about itself and its machines.
    pub broadcast: Option<Broadcast>,
}

impl Host {
    /// A host that is up, with one bridge `vmbr0`.
    pub fn new(name: impl Into<String>, memory: u64, cpus: u32) -> Self {
        Self {
            name: name.into(),
            memory,
            cpus,
            bridges: vec![Bridge::default()],
            online: true,
            booted_at: Duration::ZERO,
            broadcast: None,
        }
    }

    /// What the host itself takes, in bytes: its kernel and daemons.
    #[must_use]
    pub fn own_memory(&self) -> u64 {
        (self.memory / 16).min(2 << 30)
    }
}

/// A bridge that machines are plugged into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// The host's own address on it, with the prefix length.
    pub cidr: String,
    /// The host's gateway.
    pub gateway: Option<String>,
    /// Whether it carries VLANs.
    pub vlan_aware: bool,
}

impl Default for Bridge {
    fn default() -> Self {
        Self {
            name: "vmbr0".to_owned(),
            cidr: "192.168.1.10/24".to_owned(),
            gateway: Some("192.168.1.1".to_owned()),
            vlan_aware: true,
        }
    }
}
