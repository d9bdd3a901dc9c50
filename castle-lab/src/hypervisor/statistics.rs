//! What hosts tell the cluster about themselves every ten seconds, and how old
//! that is when somebody reads it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Hypervisor, Vm};
use crate::latency::Latency;
use crate::world::World;

/// What one host said about itself and its machines.
#[derive(Debug, Clone, PartialEq)]
pub struct Broadcast {
    /// When, in the world's time.
    pub at: Duration,
    /// Memory in use, in bytes.
    pub memory_used: u64,
    /// Its machines.
    pub machines: BTreeMap<u32, MachineStatistics>,
    /// Bytes in use on its storages.
    pub storage_used: BTreeMap<String, u64>,
}

/// What was said about one machine.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineStatistics {
    /// Its name.
    pub name: String,
    /// Whether it ran.
    pub running: bool,
    /// Whether it was a template.
    pub template: bool,
    /// How long it had been running.
    pub uptime: Duration,
    /// Its virtual CPUs.
    pub cpus: u64,
    /// Its memory in bytes.
    pub memory: u64,
    /// Its boot disk in bytes.
    pub disk: u64,
}

impl MachineStatistics {
    fn of(vm: &Vm, now: Duration) -> Self {
        Self {
            name: vm.name(),
            running: vm.is_running(),
            template: vm.is_template(),
            uptime: vm.running_since.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
            cpus: vm.cpus(),
            memory: vm.memory(),
            disk: vm.disk_size(),
        }
    }
}

impl Hypervisor {
    /// Memory in use on a host: its own, and all of what running machines were
    /// promised, for guests touch their memory sooner or later.
    #[must_use]
    pub fn memory_used(&self, host: &str) -> u64 {
        let own = self.hosts.get(host).map_or(0, super::Host::own_memory);
        own + self.vms.values().filter(|vm| vm.host == host && vm.is_running()).map(Vm::memory).sum::<u64>()
    }

    fn broadcast_of(&self, host: &str, at: Duration) -> Broadcast {
        let machines = self.vms.values().filter(|vm| vm.host == host);
        let storages = self.storages.iter().filter(|((of, _), _)| of == host);
        Broadcast {
            at,
            memory_used: self.memory_used(host),
            machines: machines.map(|vm| (vm.id, MachineStatistics::of(vm, at))).collect(),
            storage_used: storages.map(|((_, name), storage)| (name.clone(), storage.used())).collect(),
        }
    }
}

impl World {
    /// Sends every broadcast that falls due until `target`. The world stands still
    /// between events, so only the last one of them can ever be read.
    pub(crate) fn broadcast_until(&mut self, target: Duration) {
        let period = Latency::BROADCAST.as_millis();
        let tick = Duration::from_millis((target.as_millis() / period * period) as u64);
        if self.last_broadcast.is_some_and(|last| last >= tick) {
            return;
        }
        self.last_broadcast = Some(tick);
        if self.weather.statistics_frozen {
            return;
        }
        let online: Vec<String> =
            self.proxmox.hosts.values().filter(|host| host.online).map(|host| host.name.clone()).collect();
        for name in online {
            let broadcast = self.proxmox.broadcast_of(&name, tick);
            if let Some(host) = self.proxmox.hosts.get_mut(&name) {
                host.broadcast = Some(broadcast);
            }
        }
    }

    /// What `/cluster/resources` is made from: the present, or what a test froze.
    #[must_use]
    pub fn cluster_view(&self) -> &Hypervisor {
        self.weather.frozen_view.as_deref().unwrap_or(&self.proxmox)
    }

    /// A host's last broadcast, unless it is so old that the cluster dropped it.
    #[must_use]
    pub fn fresh_broadcast<'view>(&self, view: &'view Hypervisor, host: &str) -> Option<&'view Broadcast> {
        let broadcast = view.hosts.get(host)?.broadcast.as_ref()?;
        // A frozen view stays as it was; only living statistics grow old.
        let frozen = self.weather.frozen_view.is_some() || self.weather.statistics_frozen;
        (frozen || self.now.saturating_sub(broadcast.at) <= Latency::BROADCAST_LIFE).then_some(broadcast)
    }
}
