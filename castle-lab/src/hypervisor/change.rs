//! Changing a machine's configuration, and growing its disks.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::config::{self, PropertyString};
use super::lock::LockName;
use super::removal::GRAVE;
use super::storage::{parse_size, print_size, split_volume_id};
use super::worker::{Action, Flow, LOCK_PATIENCE, Step};
use super::{Hypervisor, Principal, Refusal};
use crate::latency::Latency;
use crate::world::World;

/// How often a change looks again at a lock file whose holder waits itself.
/// Estimate.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// A change that waits behind a destroy was let in while the machine was there,
/// and then finds no configuration. So short before the end it is refused: after
/// it, its rights could not be told any more.
const EVE: Duration = GRAVE.saturating_add(Duration::from_millis(2));

/// A change of configuration, checked.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Keys and their new values.
    pub settings: BTreeMap<String, String>,
    /// Keys to remove.
    pub removals: Vec<String>,
    /// The digest that the caller read; another one now is a conflict.
    pub digest: Option<String>,
}

/// Keys that a running machine takes over at once; all cloud-init keys too
/// (qemu-server: they need no plug).
const AT_ONCE: [&str; 11] = [
    "description",
    "hookscript",
    "lock",
    "migrate_downtime",
    "migrate_speed",
    "name",
    "onboot",
    "protection",
    "shares",
    "startup",
    "tags",
];

fn takes_effect_at_once(key: &str) -> bool {
    AT_ONCE.contains(&key)
        || key.starts_with("ipconfig")
        || key.starts_with("ci")
        || ["nameserver", "searchdomain", "sshkeys"].contains(&key)
}

impl World {
    /// Changes a configuration, synchronously. Whoever asks has waited for the
    /// machine's lock file as long as [`World::change_held_up`] said.
    ///
    /// # Errors
    ///
    /// The 500 for a missing machine, a lock, a lock file that is still busy, or a
    /// digest that is not the present one.
    pub fn change_machine(&mut self, host: &str, id: u32, who: &Principal, change: &Change) -> Result<(), Refusal> {
        let vm = self.proxmox.vm(host, id)?;
        if let Some(lock) = vm.lock() {
            return Err(Refusal::failure(format!("VM is locked ({lock})")));
        }
        let lock_file = Hypervisor::machine_lock(host, id);
        if self.proxmox.locks.is_busy(&lock_file, self.now) {
            let is_eve = self.grave_is_dug_in(&lock_file).is_some_and(|left| left <= EVE);
            let timeout = || Refusal::failure(lock_file.timeout_text());
            return Err(if is_eve { Refusal::no_configuration(host, id) } else { timeout() });
        }
        let present = vm.config.digest();
        if change.digest.as_ref().is_some_and(|digest| *digest != present) {
            return Err(Refusal::failure("checksum mismatch (file change by other user?)"));
        }
        let running = vm.is_running();
        self.touch(who, id, "changes");
        let mut settings = change.settings.clone();
        for (key, value) in &mut settings {
            let is_card = key.strip_prefix("net").is_some_and(|index| index.parse::<u8>().is_ok());
            match key.as_str() {
                "tags" => *value = config::stored_tags(value),
                "description" => *value = value.trim_end().to_owned(),
                // Writing a card without its address makes a new one.
                _ if is_card && config::network_card(value).1.is_none() => {
                    let mac = self.generated_mac(id);
                    *value = config::with_hardware_address(value, &mac);
                }
                _ => {}
            }
        }
        let vm = self.proxmox.vm_mut(host, id)?;
        for key in &change.removals {
            if running && !takes_effect_at_once(key) {
                vm.config.remove_pending(key);
            } else {
                vm.config.remove(key);
            }
        }
        for (key, value) in settings {
            if running && !takes_effect_at_once(&key) {
                vm.config.set_pending(&key, value);
            } else {
                vm.config.set(&key, value);
            }
        }
        self.segment_changed = true;
        self.log(format!("VM {id} was changed by {who}"));
        Ok(())
    }

    /// How long a change still waits for the machine's lock file: until the task that
    /// holds it is through with its work, or its outside holder lets go; ten seconds
    /// in all. Zero: the lock file is free, or it will not come free in time.
    #[must_use]
    pub fn change_held_up(&self, host: &str, id: u32, waited: Duration) -> Duration {
        let name = Hypervisor::machine_lock(host, id);
        let is_locked = self.proxmox.vm(host, id).map_or(true, |vm| vm.lock().is_some());
        if is_locked || !self.proxmox.locks.is_busy(&name, self.now) {
            return Duration::ZERO;
        }
        let outside = self.proxmox.locks.busy_until(&name).saturating_sub(self.now);
        let worker = self.proxmox.locks.holder(&name).map_or(Duration::ZERO, |task| self.due_after(task));
        let patience = LOCK_PATIENCE.saturating_sub(waited);
        if let Some(left) = self.grave_is_dug_in(&name) {
            return left.saturating_sub(EVE).min(patience);
        }
        // A holder that waits for another lock says nothing of its end.
        outside.max(worker).max(LOCK_POLL).min(patience)
    }

    /// When the machine is gone, if it is a destroy that holds its lock file.
    fn grave_is_dug_in(&self, lock_file: &LockName) -> Option<Duration> {
        let task = self.proxmox.locks.holder(lock_file)?;
        let mut steps = self.proxmox.tasks.get(task)?.steps.iter();
        let is_destroy = steps.any(|step| matches!(step, Step::Act(Action::Unlink)));
        is_destroy.then(|| self.due_after(task))
    }

    /// Forks the growth of a disk. `size` is absolute, or relative with a `+`.
    ///
    /// # Errors
    ///
    /// The 500 for a missing machine or a stale digest.
    pub fn resize_machine(
        &mut self,
        host: &str,
        id: u32,
        who: &Principal,
        (drive, size): (&str, &str),
        digest: Option<&str>,
    ) -> Result<String, Refusal> {
        let vm = self.proxmox.vm(host, id)?;
        if digest.is_some_and(|digest| digest != vm.config.digest()) {
            return Err(Refusal::failure("checksum mismatch (file change by other user?)"));
        }
        let current = vm.config.get(drive).and_then(|value| parse_size(PropertyString::parse(value).get("size")?));
        let wanted = match size.strip_prefix('+') {
            Some(more) => parse_size(more).map(|more| current.unwrap_or(0) + more),
            None => parse_size(size),
        };
        let wanted = wanted.ok_or_else(|| Refusal::failure(format!("unable to parse size '{size}'")))?;
        self.touch(who, id, "resizes");
        let work = self.draw(Latency::RESIZE, &id.to_string(), "resize");
        let lock = Hypervisor::machine_lock(host, id);
        let steps = VecDeque::from([
            Step::Lock { name: lock.clone(), patience: LOCK_PATIENCE },
            Step::Wait(work),
            Step::Strike,
            Step::Act(Action::Grow { drive: drive.to_owned(), size: wanted }),
            Step::Unlock(lock),
        ]);
        Ok(self.fork(host, "resize", id, who, steps, None))
    }

    pub(crate) fn grow(&mut self, task: usize, drive: &str, size: u64) -> Result<Flow, String> {
        let (host, id) = (self.proxmox.tasks[task].host.clone(), self.proxmox.tasks[task].machine);
        let vm = self.proxmox.vm(&host, id).map_err(|refusal| refusal.message)?;
        if let Some(lock) = vm.lock() {
            return Err(format!("VM is locked ({lock})"));
        }
        let value = vm.config.get(drive).ok_or_else(|| format!("disk '{drive}' does not exist"))?;
        let mut value = PropertyString::parse(value);
        let volume = value.first().ok_or_else(|| format!("disk '{drive}' does not exist"))?.to_owned();
        let present = value.get("size").and_then(parse_size).unwrap_or(0);
        if size < present {
            return Err("shrinking disks is not supported".to_owned());
        }
        if size == present {
            return Ok(Flow::Done);
        }
        self.touch_if_changed(task, "resizes");
        let (storage, name) =
            split_volume_id(&volume).ok_or_else(|| format!("unable to parse volume ID '{volume}'"))?;
        let key = (host.clone(), storage.to_owned());
        let storage =
            self.proxmox.storages.get_mut(&key).ok_or_else(|| format!("storage '{storage}' does not exist"))?;
        if !storage.online {
            return Err(format!("storage '{}' is not online", storage.name));
        }
        let grown = storage.volumes.get_mut(name).ok_or_else(|| format!("volume '{volume}' does not exist"))?;
        grown.size = size;
        value.set("size", print_size(size));
        let vm = self.proxmox.vm_mut(&host, id).map_err(|refusal| refusal.message)?;
        vm.config.set(drive, value.to_string());
        Ok(Flow::On)
    }
}
