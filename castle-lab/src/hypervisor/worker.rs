//! How a task does its work: a list of steps with locks, waits and effects.

use std::collections::VecDeque;
use std::time::Duration;

use super::lock::LockName;
use super::task::{Birth, Exit, Task, TaskFault};
use super::{Hypervisor, Principal};
use crate::world::{Event, World};

/// One step of a task.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Takes a lock file, or fails with its timeout's text.
    Lock { name: LockName, patience: Duration },
    /// Takes a lock file; after the timeout it says so in the log and goes on
    /// behind the matching `Unlock`.
    LockOrSkip { name: LockName, patience: Duration, complaint: String },
    /// Lets go of a lock file.
    Unlock(LockName),
    /// Works for so long.
    Wait(Duration),
    /// Has an effect.
    Act(Action),
    /// From here on, errors begin with this text.
    Within(String),
    /// The place where a planted fault hits: work is done, the effect is not.
    Strike,
    /// The place between two effects where a process may die.
    StrikeHalfway,
}

/// An effect of a task. Each is carried out by the module that knows the work.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// birth: makes the volume of a drive.
    Allocate(super::birth::Allocation),
    /// birth: the whole configuration, in one write.
    WriteConfig,
    /// birth: the machine becomes a member of the pool.
    JoinPool(String),
    /// birth: asks for the start that the create was asked for.
    AutoStart,
    /// power: may it be started?
    CheckStart,
    /// power: QEMU runs.
    PowerOn,
    /// power: is there anything to stop?
    CheckStop,
    /// power: QEMU is gone.
    PowerOff,
    /// power: the guest did not react.
    ShutdownTimedOut,
    /// removal: may it be destroyed?
    CheckDestroy,
    /// removal: removes a volume.
    Free(String),
    /// removal: the configuration says only that it was destroyed.
    Bury,
    /// removal: the configuration is gone.
    Unlink,
    /// change: a drive grows to so many bytes.
    Grow { drive: String, size: u64 },
}

/// Whether a task goes on after an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// With the next step.
    On,
    /// There is nothing left to do; the task ends well.
    Done,
}

/// How long most lock files are waited for (pve-common).
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(10);

impl World {
    /// Forks a worker; it begins to work when time next moves.
    pub(crate) fn fork(
        &mut self,
        host: &str,
        kind: &str,
        machine: u32,
        owner: &Principal,
        steps: VecDeque<Step>,
        birth: Option<Birth>,
    ) -> String {
        self.processes += 1;
        let pid = 0x0003_B000 + self.processes;
        // Ticks of a hundredth of a second since the host booted.
        let process_start = 0x01A2_0000 + (self.now.as_millis() / 10) as u64;
        let upid = Task::upid_of(host, pid, process_start, self.unix_now(), kind, machine, owner);
        let planted = self
            .weather
            .task_faults
            .iter()
            .position(|(of_kind, of_machine, _)| of_kind == kind && of_machine.is_none_or(|id| id == machine));
        let fault = planted.map(|at| self.weather.task_faults.remove(at).2);
        let index = self.proxmox.tasks.len();
        self.proxmox.tasks.push(Task {
            upid: upid.clone(),
            host: host.to_owned(),
            kind: kind.to_owned(),
            machine,
            owner: owner.clone(),
            pid,
            process_start,
            started_at: self.now,
            ended: None,
            log: Vec::new(),
            incarnation: self.proxmox.vms.get(&machine).map(|vm| vm.incarnation),
            steps,
            wake: 0,
            prefix: String::new(),
            fault,
            birth,
        });
        self.log(format!("{host}: {kind} {machine} forked for {owner}"));
        self.enqueue(self.now, Event::Resume { task: index, wake: 0 });
        upid
    }

    /// Goes on with a task, unless it was woken otherwise in the meantime.
    pub(crate) fn resume(&mut self, task: usize, wake: u64) {
        let is_due = self.proxmox.tasks.get(task).is_some_and(|task| task.is_running() && task.wake == wake);
        if !is_due {
            return;
        }
        self.proxmox.tasks[task].wake += 1;
        while let Some(step) = self.proxmox.tasks[task].steps.pop_front() {
            let now = self.now;
            match step {
                Step::Lock { name, patience } => {
                    if !self.proxmox.locks.acquire(&name, task, now) {
                        self.wait_for_lock(task, name, patience);
                        return;
                    }
                }
                Step::LockOrSkip { name, patience, complaint } => {
                    if !self.proxmox.locks.acquire(&name, task, now) {
                        // Kept at the head: the timeout needs to know what to say.
                        let again = Step::LockOrSkip { name: name.clone(), patience, complaint };
                        self.proxmox.tasks[task].steps.push_front(again);
                        self.wait_for_lock(task, name, patience);
                        return;
                    }
                }
                Step::Unlock(name) => self.let_go(task, &name),
                Step::Wait(duration) if duration.is_zero() => {}
                Step::Wait(duration) => {
                    let wake = self.proxmox.tasks[task].wake;
                    self.enqueue(now + duration, Event::Resume { task, wake });
                    return;
                }
                Step::Within(prefix) => self.proxmox.tasks[task].prefix = prefix,
                Step::Strike => match self.proxmox.tasks[task].fault.clone() {
                    Some(TaskFault::Fails(text)) => return self.fail(task, &text),
                    Some(TaskFault::Killed) => return self.end(task, Exit::Vanished),
                    _ => {}
                },
                Step::StrikeHalfway => {
                    if self.proxmox.tasks[task].fault == Some(TaskFault::KilledHalfway) {
                        return self.end(task, Exit::Vanished);
                    }
                }
                Step::Act(action) => match self.act(task, &action) {
                    Ok(Flow::On) => {}
                    Ok(Flow::Done) => self.proxmox.tasks[task].steps.clear(),
                    Err(text) => return self.fail(task, &text),
                },
            }
        }
        let exit = match self.proxmox.tasks[task].fault.clone() {
            Some(TaskFault::FailsAfterEffect(text)) => Exit::Error(text),
            Some(TaskFault::Warns(count)) => {
                let lines = (1..=count).map(|n| format!("WARN: planted warning {n}"));
                self.proxmox.tasks[task].log.extend(lines);
                Exit::Warnings(count)
            }
            _ => Exit::Ok,
        };
        self.end(task, exit);
    }

    fn act(&mut self, task: usize, action: &Action) -> Result<Flow, String> {
        match action {
            Action::Allocate(allocation) => self.allocate(task, allocation),
            Action::WriteConfig => self.write_config(task),
            Action::JoinPool(pool) => self.join_pool(task, pool),
            Action::AutoStart => self.auto_start(task),
            Action::CheckStart => self.check_start(task),
            Action::PowerOn => self.power_on(task),
            Action::CheckStop => self.check_stop(task),
            Action::PowerOff => self.power_off(task),
            Action::ShutdownTimedOut => Err("VM quit/powerdown failed - got timeout".to_owned()),
            Action::CheckDestroy => self.check_destroy(task),
            Action::Free(volume) => self.free(task, volume),
            Action::Bury => self.bury(task),
            Action::Unlink => self.unlink(task),
            Action::Grow { drive, size } => self.grow(task, drive, *size),
        }
    }

    fn wait_for_lock(&mut self, task: usize, name: LockName, patience: Duration) {
        let wake = self.proxmox.tasks[task].wake;
        self.proxmox.tasks[task].log.push("trying to acquire lock...".to_owned());
        self.enqueue(self.now + patience, Event::LockTimeout { task, wake, name });
    }

    pub(crate) fn lock_timed_out(&mut self, task: usize, wake: u64, name: &LockName) {
        let still_waits = self.proxmox.tasks.get(task).is_some_and(|task| task.is_running() && task.wake == wake)
            && self.proxmox.locks.give_up(name, task);
        if !still_waits {
            return;
        }
        let Some(Step::LockOrSkip { complaint, .. }) = self.proxmox.tasks[task].steps.front().cloned() else {
            return self.fail(task, &name.timeout_text());
        };
        let worker = &mut self.proxmox.tasks[task];
        worker.log.push(format!("{complaint}{}", name.timeout_text()));
        while let Some(step) = worker.steps.pop_front() {
            if matches!(&step, Step::Unlock(unlocked) if unlocked == name) {
                break;
            }
        }
        self.resume(task, wake);
    }

    pub(crate) fn lock_freed(&mut self, name: &LockName) {
        let next = self.proxmox.locks.hand_over(name, self.now);
        self.wake_holder(next);
    }

    fn let_go(&mut self, task: usize, name: &LockName) {
        let next = self.proxmox.locks.release(name, task, self.now);
        self.wake_holder(next);
    }

    /// A task that waited for a lock has it now.
    fn wake_holder(&mut self, holder: Option<usize>) {
        let Some(task) = holder else { return };
        let worker = &mut self.proxmox.tasks[task];
        worker.log.push(" OK".to_owned());
        if matches!(worker.steps.front(), Some(Step::LockOrSkip { .. })) {
            worker.steps.pop_front();
        }
        let wake = worker.wake;
        self.enqueue(self.now, Event::Resume { task, wake });
    }

    /// A task fails: it cleans up as Proxmox VE's does, and ends.
    pub(crate) fn fail(&mut self, task: usize, text: &str) {
        let text = format!("{}{text}", self.proxmox.tasks[task].prefix);
        self.clean_up(task);
        self.end(task, Exit::Error(text));
    }

    /// A task ends, and whatever it held is free.
    pub(crate) fn end(&mut self, task: usize, exit: Exit) {
        let worker = &mut self.proxmox.tasks[task];
        worker.steps.clear();
        worker.log.extend(exit.last_line());
        let line = format!("{}: {} {} ended: {}", worker.host, worker.kind, worker.machine, exit.status());
        worker.ended = Some((self.now, exit));
        self.log(line);
        for name in self.proxmox.locks.of_task(task) {
            self.proxmox.locks.give_up(&name, task);
            if self.proxmox.locks.holder(&name) == Some(task) {
                self.let_go(task, &name);
            }
        }
    }

    /// Stops a running task from outside, as its owner may: it cleans up.
    pub(crate) fn interrupt(&mut self, task: usize) {
        if self.proxmox.tasks[task].is_running() {
            self.clean_up(task);
            self.end(task, Exit::Error("interrupted by signal".to_owned()));
        }
    }

    /// The running tasks about a machine, by their index.
    pub(crate) fn running_tasks(&self, machine: u32) -> Vec<usize> {
        let tasks = self.proxmox.tasks.iter().enumerate();
        tasks.filter(|(_, task)| task.is_running() && task.machine == machine).map(|(index, _)| index).collect()
    }

    /// Notes that a task writes to its machine, if the machine became another
    /// one since the task was forked.
    pub(crate) fn touch_if_changed(&mut self, task: usize, what: &str) {
        let Task { machine, incarnation, ref owner, .. } = self.proxmox.tasks[task];
        let owner = owner.clone();
        if self.proxmox.vms.get(&machine).is_some_and(|vm| Some(vm.incarnation) != incarnation) {
            self.touch(&owner, machine, what);
        }
    }

    /// Removes a volume by its id, wherever it is.
    pub(crate) fn remove_volume(&mut self, host: &str, volume: &str) -> Result<(), String> {
        let (storage, name) =
            super::storage::split_volume_id(volume).ok_or_else(|| format!("unable to parse volume ID '{volume}'"))?;
        let key = (host.to_owned(), storage.to_owned());
        let Some(storage) = self.proxmox.storages.get_mut(&key) else {
            return Err(format!("storage '{storage}' does not exist"));
        };
        if !storage.online {
            return Err(format!("storage '{}' is not online", storage.name));
        }
        storage.volumes.remove(name).map(|_| ()).ok_or_else(|| format!("volume '{volume}' does not exist"))
    }
}

impl Hypervisor {
    /// The lock file of a machine's configuration.
    pub(crate) fn machine_lock(host: &str, id: u32) -> LockName {
        LockName::Machine { host: host.to_owned(), id }
    }

    /// The lock file of a storage.
    pub(crate) fn storage_lock(host: &str, storage: &str) -> LockName {
        LockName::Storage { host: host.to_owned(), storage: storage.to_owned() }
    }
}
