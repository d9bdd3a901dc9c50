//! Starting, stopping and shutting down machines.

use std::collections::VecDeque;
use std::time::Duration;

use super::storage::print_size;
use super::worker::{Action, Flow, LOCK_PATIENCE, Step};
use super::{Hypervisor, Principal, Refusal, config};
use crate::latency::Latency;
use crate::world::World;

impl World {
    /// Forks a start. Whether it can succeed is found by the task.
    ///
    /// # Errors
    ///
    /// The 500 for a machine that is not on that host.
    pub fn start_machine(&mut self, host: &str, id: u32, who: &Principal) -> Result<String, Refusal> {
        let vm = self.proxmox.vm(host, id)?;
        let iso = if vm.config.has_cloud_init() { Latency::CLOUD_INIT_ISO } else { Duration::ZERO };
        self.touch(who, id, "starts");
        let work = self.draw(Latency::START, &id.to_string(), "qmstart") + iso;
        let lock = Hypervisor::machine_lock(host, id);
        let steps = VecDeque::from([
            Step::Lock { name: lock.clone(), patience: LOCK_PATIENCE },
            Step::Act(Action::CheckStart),
            Step::Wait(work),
            Step::Strike,
            Step::Act(Action::PowerOn),
            Step::Unlock(lock),
        ]);
        Ok(self.fork(host, "qmstart", id, who, steps, None))
    }

    /// Forks a hard stop. With `overrule` the caller's hanging shutdowns of the
    /// machine are ended first, for they hold its lock file.
    ///
    /// # Errors
    ///
    /// The 500 for a machine that is not on that host.
    pub fn stop_machine(&mut self, host: &str, id: u32, who: &Principal, overrule: bool) -> Result<String, Refusal> {
        self.proxmox.vm(host, id)?;
        self.touch(who, id, "stops");
        if overrule {
            for task in self.running_tasks(id) {
                let shutdown = &self.proxmox.tasks[task];
                if shutdown.kind == "qmshutdown" && (shutdown.owner == *who || who.is_root()) {
                    self.interrupt(task);
                }
            }
        }
        let work = self.draw(Latency::STOP, &id.to_string(), "qmstop");
        let lock = Hypervisor::machine_lock(host, id);
        let steps = VecDeque::from([
            Step::Lock { name: lock.clone(), patience: LOCK_PATIENCE },
            Step::Act(Action::CheckStop),
            Step::Wait(work),
            Step::Strike,
            Step::Act(Action::PowerOff),
            Step::Unlock(lock),
        ]);
        Ok(self.fork(host, "qmstop", id, who, steps, None))
    }

    /// Forks a shutdown that asks the guest and waits for at most `timeout`.
    ///
    /// # Errors
    ///
    /// The 500 for a machine that is not on that host.
    pub fn shut_down_machine(
        &mut self,
        host: &str,
        id: u32,
        who: &Principal,
        timeout: Duration,
        force: bool,
    ) -> Result<String, Refusal> {
        let answers = self.proxmox.vm(host, id)?.answers_acpi;
        self.touch(who, id, "shuts down");
        let work = self.draw(Latency::SHUTDOWN, &id.to_string(), "qmshutdown");
        let in_time = answers && work <= timeout;
        let lock = Hypervisor::machine_lock(host, id);
        let end = if in_time || force { Action::PowerOff } else { Action::ShutdownTimedOut };
        let steps = VecDeque::from([
            Step::Lock { name: lock.clone(), patience: LOCK_PATIENCE },
            Step::Act(Action::CheckStop),
            Step::Wait(if in_time { work } else { timeout }),
            Step::Strike,
            Step::Act(end),
            Step::Unlock(lock),
        ]);
        Ok(self.fork(host, "qmshutdown", id, who, steps, None))
    }

    pub(crate) fn check_start(&mut self, task: usize) -> Result<Flow, String> {
        let worker = &self.proxmox.tasks[task];
        let vm = self.proxmox.vm(&worker.host, worker.machine).map_err(|refusal| refusal.message)?;
        if vm.is_template() {
            return Err("you can't start a vm if it's a template".to_owned());
        }
        if let Some(lock) = vm.lock() {
            return Err(format!("VM is locked ({lock})"));
        }
        if vm.is_running() {
            return Err(format!("VM {} already running", vm.id));
        }
        Ok(Flow::On)
    }

    pub(crate) fn power_on(&mut self, task: usize) -> Result<Flow, String> {
        self.touch_if_changed(task, "starts");
        let (host, id) = (self.proxmox.tasks[task].host.clone(), self.proxmox.tasks[task].machine);
        let now = self.now;
        let pid = 0x0010_0000 + self.proxmox.tasks[task].pid;
        let vm = self.proxmox.vm(&host, id).map_err(|refusal| refusal.message)?;
        // QEMU fails late: nothing before it counts the host's memory or looks for the bridge.
        let running = self.proxmox.vms.values().filter(|other| other.host == host && other.is_running());
        let promised: u64 = running.map(super::Vm::memory).sum();
        let owned = self.proxmox.hosts.get(&host);
        let mut complaint = None;
        if let Some(owned) = owned {
            if promised + vm.memory() + owned.own_memory() > owned.memory {
                let wanted = print_size(vm.memory());
                complaint =
                    Some(format!("kvm: cannot set up guest memory 'pc.ram' ({wanted}): Cannot allocate memory"));
            }
            let cards = vm.config.iter().filter(|(key, _)| key.starts_with("net"));
            for (_, card) in cards {
                let card = config::PropertyString::parse(card);
                let bridge = card.get("bridge").unwrap_or_default();
                if !bridge.is_empty() && !owned.bridges.iter().any(|known| known.name == bridge) {
                    complaint = Some(format!("bridge '{bridge}' does not exist"));
                }
            }
        }
        for (_, volume) in vm.config.volumes() {
            let missing = super::storage::split_volume_id(volume).is_none_or(|(storage, name)| {
                let key = (host.clone(), storage.to_owned());
                self.proxmox.storages.get(&key).is_none_or(|storage| !storage.volumes.contains_key(name))
            });
            if missing {
                return Err(format!("volume '{volume}' does not exist"));
            }
        }
        if let Some(complaint) = complaint {
            self.proxmox.tasks[task].log.push(complaint);
            return Err("start failed: QEMU exited with code 1".to_owned());
        }
        let vm = self.proxmox.vm_mut(&host, id).map_err(|refusal| refusal.message)?;
        vm.config.settle();
        vm.running_since = Some(now);
        vm.pid = pid;
        self.segment_changed = true;
        self.log(format!("VM {id} runs"));
        Ok(Flow::On)
    }

    pub(crate) fn check_stop(&mut self, task: usize) -> Result<Flow, String> {
        let worker = &self.proxmox.tasks[task];
        let vm = self.proxmox.vm(&worker.host, worker.machine).map_err(|refusal| refusal.message)?;
        if !vm.is_running() {
            return Ok(Flow::Done);
        }
        match vm.lock() {
            Some(lock) => Err(format!("VM is locked ({lock})")),
            None => Ok(Flow::On),
        }
    }

    pub(crate) fn power_off(&mut self, task: usize) -> Result<Flow, String> {
        self.touch_if_changed(task, "stops");
        let (host, id) = (self.proxmox.tasks[task].host.clone(), self.proxmox.tasks[task].machine);
        let vm = self.proxmox.vm_mut(&host, id).map_err(|refusal| refusal.message)?;
        vm.running_since = None;
        vm.pid = 0;
        vm.config.settle();
        self.log(format!("VM {id} is off"));
        Ok(Flow::On)
    }
}
