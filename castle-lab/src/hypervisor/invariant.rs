//! What must hold at every moment, and what a finished run may not leave.

use std::collections::{BTreeMap, BTreeSet};

use super::lock::LockName;
use super::storage::split_volume_id;
use super::{Maker, PropertyString, config};
use crate::world::World;

impl World {
    /// Every invariant that does not hold right now, but for [`World::twins`].
    pub(crate) fn broken_invariants(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (name, task) in self.proxmox.locks.holders() {
            if !self.proxmox.tasks.get(task).is_some_and(super::Task::is_running) {
                broken.push(format!("{name} is held by a task that is over"));
            }
        }
        for (pool, members) in &self.proxmox.pools {
            for id in members.iter().filter(|id| !self.proxmox.vms.contains_key(id)) {
                broken.push(format!("pool {pool} has the member {id}, which does not exist"));
            }
        }
        for vm in self.proxmox.vms.values() {
            if vm.is_running() && vm.lock() == Some("create") {
                broken.push(format!("VM {} runs and is still being created", vm.id));
            }
            if vm.is_running() && self.proxmox.hosts.get(&vm.host).is_none_or(|host| !host.online) {
                broken.push(format!("VM {} runs on {}, which is down", vm.id, vm.host));
            }
        }
        broken
    }

    /// Running machines of castle's that share what must be unique.
    pub(crate) fn twins(&self) -> Vec<String> {
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        let mut broken = Vec::new();
        for vm in self.proxmox.vms.values().filter(|vm| vm.is_running() && vm.maker == Maker::Castle) {
            for (key, value) in vm.config.iter() {
                let unique = if key == "smbios1" {
                    PropertyString::parse(value).get("uuid").map(|uuid| format!("uuid {uuid}"))
                } else if key.starts_with("ipconfig") {
                    let address = PropertyString::parse(value).get("ip").map(str::to_owned);
                    address.filter(|ip| ip.contains('/')).map(|ip| format!("address {ip}"))
                } else if key.starts_with("net") {
                    config::network_card(value).1.map(|mac| format!("hardware address {mac}"))
                } else {
                    None
                };
                let Some(unique) = unique else { continue };
                if let Some(other) = seen.insert(unique.clone(), vm.id).filter(|other| *other != vm.id) {
                    broken.push(format!("VMs {other} and {} both have {unique}", vm.id));
                }
            }
        }
        broken
    }

    /// What nobody will ever clean up: volumes without their machine or unknown
    /// to it, half-made configurations without a task, pool members that do not
    /// exist. Machines that are complete are no leftovers; a test that expects
    /// none counts [`World::machines_of_castle`].
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let busy: BTreeSet<u32> =
            self.proxmox.tasks.iter().filter(|task| task.is_running()).map(|task| task.machine).collect();
        let mut left = Vec::new();
        for ((host, name), storage) in &self.proxmox.storages {
            for (volume, of) in &storage.volumes {
                let Some(owner) = of.owner.filter(|owner| !busy.contains(owner)) else { continue };
                let volume = format!("{name}:{volume}");
                match self.proxmox.vms.get(&owner).filter(|vm| vm.host == *host) {
                    None => left.push(format!("volume {volume} on {host}: VM {owner} does not exist")),
                    Some(vm) if !vm.config.volumes().any(|(_, known)| known == volume) => {
                        left.push(format!("volume {volume} on {host}: VM {owner} does not know it"));
                    }
                    Some(_) => {}
                }
            }
        }
        for vm in self.proxmox.vms.values().filter(|vm| !busy.contains(&vm.id)) {
            if let Some(lock @ ("create" | "clone" | "destroyed")) = vm.lock() {
                left.push(format!("VM {} on {}: a configuration with the lock {lock} and no task", vm.id, vm.host));
            }
            for (drive, volume) in vm.config.volumes() {
                let exists = split_volume_id(volume).is_some_and(|(storage, name)| {
                    let key = (vm.host.clone(), storage.to_owned());
                    self.proxmox.storages.get(&key).is_some_and(|storage| storage.volumes.contains_key(name))
                });
                if !exists {
                    left.push(format!("VM {} on {}: {drive} names {volume}, which does not exist", vm.id, vm.host));
                }
            }
        }
        for (pool, members) in &self.proxmox.pools {
            let missing = members.iter().filter(|id| !self.proxmox.vms.contains_key(id));
            left.extend(missing.map(|id| format!("pool {pool}: VM {id} does not exist")));
        }
        let held = self.proxmox.locks.holders().filter(|(_, task)| !self.proxmox.tasks[*task].is_running());
        left.extend(held.map(|(name, _): (&LockName, _)| format!("{name} is held by nobody")));
        left
    }

    /// The numbers of the machines that castle's token made, half-made ones too.
    #[must_use]
    pub fn machines_of_castle(&self) -> Vec<u32> {
        self.proxmox.vms.values().filter(|vm| vm.maker == Maker::Castle).map(|vm| vm.id).collect()
    }
}
