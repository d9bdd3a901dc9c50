//! Proxmox VE as a state machine: what hosts, storages, machines, tasks and
//! rights do, without the protocol that asks for it.
//!
//! The protocol is `server::proxmox`. Facts here are those of Proxmox VE 9.2.

pub mod access;
mod admin;
pub mod birth;
mod change;
pub mod config;
pub mod host;
pub mod house;
mod invariant;
pub mod lock;
mod power;
pub mod refusal;
mod removal;
pub mod statistics;
pub mod storage;
pub mod task;
pub mod vm;
mod weather;
mod worker;

use std::collections::{BTreeMap, BTreeSet};

pub use access::{Access, Principal};
pub use admin::MachineWish;
pub use change::Change;
pub use config::{Config, PropertyString};
pub use host::{Bridge, Host};
pub use lock::{LockName, Locks};
pub use refusal::Refusal;
pub use storage::{Storage, StorageKind, Volume};
pub use task::{Exit, Task, TaskFault};
pub use vm::{Maker, Vm};

/// Everything that one Proxmox VE cluster holds.
#[derive(Debug, Clone, Default)]
pub struct Hypervisor {
    /// The hosts, by name.
    pub hosts: BTreeMap<String, Host>,
    /// The storages, by host and name: a local storage of the same name is
    /// another one on another host.
    pub storages: BTreeMap<(String, String), Storage>,
    /// The machines, by number, cluster-wide.
    pub vms: BTreeMap<u32, Vm>,
    /// The pools and their members.
    pub pools: BTreeMap<String, BTreeSet<u32>>,
    /// The tasks, in the order they were forked.
    pub tasks: Vec<Task>,
    /// The lock files.
    pub locks: Locks,
    /// Users, tokens, roles and access lists.
    pub access: Access,
}

impl Hypervisor {
    /// The machine with that number if its configuration is on that host.
    ///
    /// # Errors
    ///
    /// The 500 that Proxmox VE answers otherwise.
    pub fn vm(&self, host: &str, id: u32) -> Result<&Vm, Refusal> {
        self.vms.get(&id).filter(|vm| vm.host == host).ok_or_else(|| Refusal::no_configuration(host, id))
    }

    /// The same, to be changed.
    ///
    /// # Errors
    ///
    /// The 500 that Proxmox VE answers otherwise.
    pub fn vm_mut(&mut self, host: &str, id: u32) -> Result<&mut Vm, Refusal> {
        self.vms.get_mut(&id).filter(|vm| vm.host == host).ok_or_else(|| Refusal::no_configuration(host, id))
    }

    /// The storage of that name as the host sees it.
    ///
    /// # Errors
    ///
    /// The 500 for a storage that is not defined, not on that host, or disabled.
    pub fn storage(&self, host: &str, name: &str) -> Result<&Storage, Refusal> {
        match self.storages.get(&(host.to_owned(), name.to_owned())) {
            Some(storage) if !storage.enabled => Err(Refusal::failure(format!("storage '{name}' is disabled"))),
            Some(storage) => Ok(storage),
            None if self.storages.keys().any(|(_, other)| other == name) => {
                Err(Refusal::failure(format!("storage '{name}' is not available on node '{host}'")))
            }
            None => Err(Refusal::failure(format!("storage '{name}' does not exist"))),
        }
    }

    /// The pool that a machine is a member of.
    #[must_use]
    pub fn pool_of(&self, id: u32) -> Option<&str> {
        self.pools.iter().find(|(_, members)| members.contains(&id)).map(|(name, _)| name.as_str())
    }

    /// The task with that UPID on that host.
    #[must_use]
    pub fn task(&self, host: &str, upid: &str) -> Option<&Task> {
        self.tasks.iter().find(|task| task.host == host && task.upid == upid)
    }

    /// The lowest free number from 100 upwards.
    #[must_use]
    pub fn next_id(&self) -> u32 {
        (100..1_000_000).find(|id| !self.vms.contains_key(id)).unwrap_or(1_000_000)
    }
}
