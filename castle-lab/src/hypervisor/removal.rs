//! Destroying a machine: volumes first, then the grave, then nothing.

use std::collections::VecDeque;
use std::time::Duration;

use super::worker::{Action, Flow, LOCK_PATIENCE, Step};
use super::{Config, Hypervisor, Principal, Refusal, Vm};
use crate::latency::Latency;
use crate::world::World;

/// How long the configuration says only that it was destroyed, while access
/// lists and firewall files go. Part of the destroy. Estimate.
pub(super) const GRAVE: Duration = Duration::from_millis(50);

impl World {
    /// Forks a destroy. `unreferenced` also frees every volume that carries the
    /// machine's number, whether its configuration knows it or not.
    ///
    /// # Errors
    ///
    /// The 500 for a machine that is not there, protected, or running.
    pub fn destroy_machine(
        &mut self,
        host: &str,
        id: u32,
        who: &Principal,
        unreferenced: bool,
    ) -> Result<String, Refusal> {
        let vm = self.proxmox.vm(host, id)?;
        may_be_destroyed(vm).map_err(Refusal::failure)?;
        // A volume of another machine that is plugged in here stays (qemu-server).
        let is_own = |volume: &str| {
            let found = super::storage::split_volume_id(volume).and_then(|(storage, name)| {
                self.proxmox.storages.get(&(host.to_owned(), storage.to_owned()))?.volumes.get(name)
            });
            found.is_none_or(|found| found.owner == Some(id))
        };
        let referenced = vm.config.volumes().map(|(_, volume)| volume).filter(|volume| is_own(volume));
        let mut volumes: Vec<String> = referenced.map(str::to_owned).collect();
        self.touch(who, id, "destroys");
        if unreferenced {
            for ((_, name), storage) in self.proxmox.storages.iter().filter(|((of, _), _)| of == host) {
                let of_machine = storage.volumes.iter().filter(|(_, volume)| volume.owner == Some(id));
                volumes.extend(of_machine.map(|(volume, _)| format!("{name}:{volume}")));
            }
        }
        // Each volume once, in the order of the configuration.
        let mut seen = std::collections::BTreeSet::new();
        volumes.retain(|volume| seen.insert(volume.clone()));

        let storage_of = |volume: &str| volume.split(':').next().unwrap_or_default().to_owned();
        let hold = |volume: &str| {
            let key = (host.to_owned(), storage_of(volume));
            self.proxmox.storages.get(&key).map_or(Duration::ZERO, |storage| storage.lock_hold)
        };
        let held: Duration = volumes.iter().map(|volume| hold(volume)).sum();
        let holds: Vec<_> = volumes.iter().map(|volume| hold(volume)).collect();
        let whole = self.draw(Latency::DESTROY, &id.to_string(), "qmdestroy");

        let machine_lock = Hypervisor::machine_lock(host, id);
        let mut steps = VecDeque::from([
            Step::Lock { name: machine_lock.clone(), patience: LOCK_PATIENCE },
            Step::Act(Action::CheckDestroy),
            Step::Wait(whole.saturating_sub(held + GRAVE)),
            Step::Strike,
        ]);
        for (volume, hold) in volumes.into_iter().zip(holds) {
            let lock = Hypervisor::storage_lock(host, &storage_of(&volume));
            steps.extend([
                Step::LockOrSkip {
                    name: lock.clone(),
                    patience: LOCK_PATIENCE,
                    complaint: format!("Could not remove disk '{volume}', check manually: "),
                },
                Step::Wait(hold),
                Step::Act(Action::Free(volume)),
                Step::Unlock(lock),
            ]);
        }
        steps.extend([
            Step::Act(Action::Bury),
            Step::StrikeHalfway,
            Step::Wait(GRAVE),
            Step::Act(Action::Unlink),
            Step::Unlock(machine_lock),
        ]);
        Ok(self.fork(host, "qmdestroy", id, who, steps, None))
    }

    /// The checks are repeated under the lock: the configuration may have changed.
    pub(crate) fn check_destroy(&mut self, task: usize) -> Result<Flow, String> {
        let worker = &self.proxmox.tasks[task];
        let vm = self.proxmox.vm(&worker.host, worker.machine).map_err(|refusal| refusal.message)?;
        may_be_destroyed(vm)?;
        // A grave may be dug again: a destroy that was cut off is finished by another one.
        if let Some(lock) = vm.lock().filter(|lock| *lock != "destroyed") {
            return Err(format!("VM is locked ({lock})"));
        }
        self.touch_if_changed(task, "destroys");
        Ok(Flow::On)
    }

    pub(crate) fn free(&mut self, task: usize, volume: &str) -> Result<Flow, String> {
        let host = self.proxmox.tasks[task].host.clone();
        let line = match self.remove_volume(&host, volume) {
            Ok(()) => {
                format!("  Logical volume \"{}\" successfully removed.", volume.split(':').nth(1).unwrap_or(volume))
            }
            // Proxmox VE only warns here and goes on to forget the machine.
            Err(text) => format!("Could not remove disk '{volume}', check manually: {text}"),
        };
        self.proxmox.tasks[task].log.push(line);
        Ok(Flow::On)
    }

    pub(crate) fn bury(&mut self, task: usize) -> Result<Flow, String> {
        let (host, id) = (self.proxmox.tasks[task].host.clone(), self.proxmox.tasks[task].machine);
        let vm = self.proxmox.vm_mut(&host, id).map_err(|refusal| refusal.message)?;
        vm.config = Config::stub("destroyed");
        for members in self.proxmox.pools.values_mut() {
            members.remove(&id);
        }
        self.proxmox.access.lists.remove(&format!("/vms/{id}"));
        Ok(Flow::On)
    }

    pub(crate) fn unlink(&mut self, task: usize) -> Result<Flow, String> {
        let id = self.proxmox.tasks[task].machine;
        self.proxmox.vms.remove(&id);
        self.log(format!("VM {id} is gone"));
        Ok(Flow::On)
    }
}

fn may_be_destroyed(vm: &Vm) -> Result<(), String> {
    if vm.config.flag("protection") {
        return Err(format!("can't remove VM {} - protection mode enabled", vm.id));
    }
    if vm.is_running() {
        return Err(format!("VM {} is running - destroy failed", vm.id));
    }
    Ok(())
}
