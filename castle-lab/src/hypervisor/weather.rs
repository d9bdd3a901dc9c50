//! Faults of the world itself, as a test switches them on and off.

use std::time::Duration;

use super::lock::LockName;
use super::task::{Exit, TaskFault};
use super::{Hypervisor, Storage};
use crate::world::{Event, World};

impl World {
    fn storage_named(&mut self, host: &str, storage: &str) -> &mut Storage {
        let key = (host.to_owned(), storage.to_owned());
        self.proxmox.storages.get_mut(&key).expect("the test names a storage that exists")
    }

    /// Fills a storage to the last byte, or empties what was filled in.
    ///
    /// # Panics
    ///
    /// If the host has no such storage; so do the other faults of storages.
    pub fn fill_storage(&mut self, host: &str, storage: &str, full: bool) {
        let storage = self.storage_named(host, storage);
        storage.occupied = 0;
        if full {
            storage.occupied = storage.available();
        }
    }

    /// Cuts a storage off, or brings it back.
    pub fn set_storage_online(&mut self, host: &str, storage: &str, online: bool) {
        self.storage_named(host, storage).online = online;
    }

    /// Makes every allocation and removal on a storage hold its lock for so long:
    /// a slow disk.
    pub fn slow_storage(&mut self, host: &str, storage: &str, hold: Duration) {
        self.storage_named(host, storage).lock_hold = hold;
    }

    /// Removes an image file. True: it was there.
    pub fn remove_image(&mut self, host: &str, storage: &str, file: &str) -> bool {
        self.storage_named(host, storage).volumes.remove(&format!("import/{file}")).is_some()
    }

    /// The next task of that kind, about that machine if one is named, goes wrong.
    pub fn fail_task(&mut self, kind: &str, machine: Option<u32>, fault: TaskFault) {
        self.weather.task_faults.push((kind.to_owned(), machine, fault));
    }

    /// Somebody outside holds the lock file of a machine for so long.
    pub fn occupy_machine(&mut self, host: &str, id: u32, duration: Duration) {
        self.occupy(Hypervisor::machine_lock(host, id), duration);
    }

    /// Somebody outside holds the lock file of a storage for so long.
    pub fn occupy_storage(&mut self, host: &str, storage: &str, duration: Duration) {
        self.occupy(Hypervisor::storage_lock(host, storage), duration);
    }

    fn occupy(&mut self, name: LockName, duration: Duration) {
        let until = self.now + duration;
        self.proxmox.locks.occupy(name.clone(), until);
        self.enqueue(until, Event::LockFreed(name));
    }

    /// Removes a token: whoever uses it is nobody from now on.
    pub fn revoke_token(&mut self, token: &str) {
        self.proxmox.access.tokens.remove(token);
    }

    /// Lets a token end now.
    ///
    /// # Panics
    ///
    /// If there is no such token.
    pub fn expire_token(&mut self, token: &str) {
        // 0 would mean never.
        let now = self.unix_now().max(1);
        self.proxmox.access.tokens.get_mut(token).expect("the test names a token that exists").expires = now;
    }

    /// Takes one privilege out of every role.
    pub fn withdraw_privilege(&mut self, privilege: &str) {
        for privileges in self.proxmox.access.roles.values_mut() {
            privileges.remove(privilege);
        }
    }

    /// Cuts a host's power, or switches it on again. Its tasks and running
    /// machines die with it; machines with `onboot` start when it comes back.
    ///
    /// # Panics
    ///
    /// If there is no such host.
    pub fn set_host_online(&mut self, host: &str, online: bool) {
        let now = self.now;
        let machine = self.proxmox.hosts.get_mut(host).expect("the test names a host that exists");
        if machine.online == online {
            return;
        }
        machine.online = online;
        if online {
            machine.booted_at = now;
            for vm in self.proxmox.vms.values_mut().filter(|vm| vm.host == host && vm.config.flag("onboot")) {
                vm.config.settle();
                (vm.running_since, vm.pid) = (Some(now), 0x0020_0000 + vm.id);
            }
        } else {
            let running = (0..self.proxmox.tasks.len())
                .filter(|&task| self.proxmox.tasks[task].host == host && self.proxmox.tasks[task].is_running());
            for task in running.collect::<Vec<_>>() {
                self.end(task, Exit::Vanished);
            }
            for vm in self.proxmox.vms.values_mut().filter(|vm| vm.host == host) {
                (vm.running_since, vm.pid) = (None, 0);
            }
        }
        self.segment_changed = true;
        self.log(format!("{host} is {}", if online { "up" } else { "down" }));
    }

    /// Stops the statistics broadcast, or lets it run again. Names and states in
    /// `/cluster/resources` stay as they were; existence, tags and locks do not.
    pub fn freeze_statistics(&mut self, frozen: bool) {
        self.weather.statistics_frozen = frozen;
    }

    /// Freezes the whole of `/cluster/resources`, existence and tags as well, or
    /// lets it show the present again: what a partitioned member would answer.
    pub fn freeze_resources(&mut self, frozen: bool) {
        self.weather.frozen_view = frozen.then(|| Box::new(self.proxmox.clone()));
    }
}
