//! Lock files: one holder at a time, the others wait in line.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

/// A lock file of a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockName {
    /// The configuration of a machine.
    Machine {
        /// The host.
        host: String,
        /// The machine.
        id: u32,
    },
    /// Allocation and removal on a storage.
    Storage {
        /// The host.
        host: String,
        /// The storage.
        storage: String,
    },
}

impl fmt::Display for LockName {
    /// The path of the file, as the timeout's text names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine { id, .. } => write!(f, "/var/lock/qemu-server/lock-{id}.conf"),
            Self::Storage { storage, .. } => write!(f, "/var/lock/pve-manager/pve-storage-{storage}"),
        }
    }
}

impl LockName {
    /// The text of a lock that did not come free in time.
    #[must_use]
    pub fn timeout_text(&self) -> String {
        format!("can't lock file '{self}' - got timeout")
    }
}

#[derive(Debug, Clone, Default)]
struct State {
    holder: Option<usize>,
    busy_until: Duration,
    waiters: VecDeque<usize>,
}

/// All lock files. Holders and waiters are tasks, by their index.
#[derive(Debug, Clone, Default)]
pub struct Locks {
    states: BTreeMap<LockName, State>,
}

impl Locks {
    /// Takes the lock for a task, or puts the task at the end of the line.
    /// True: it was taken.
    pub(crate) fn acquire(&mut self, name: &LockName, task: usize, now: Duration) -> bool {
        let state = self.states.entry(name.clone()).or_default();
        if state.holder.is_none() && state.busy_until <= now && state.waiters.is_empty() {
            state.holder = Some(task);
            true
        } else {
            state.waiters.push_back(task);
            false
        }
    }

    /// Lets go; says who holds the lock next.
    pub(crate) fn release(&mut self, name: &LockName, task: usize, now: Duration) -> Option<usize> {
        let state = self.states.get_mut(name)?;
        if state.holder == Some(task) {
            state.holder = None;
        }
        self.hand_over(name, now)
    }

    /// Gives a free lock to the first who waits.
    pub(crate) fn hand_over(&mut self, name: &LockName, now: Duration) -> Option<usize> {
        let state = self.states.get_mut(name)?;
        if state.holder.is_some() || state.busy_until > now {
            return None;
        }
        state.holder = state.waiters.pop_front();
        state.holder
    }

    /// Leaves the line. True: the task was waiting.
    pub(crate) fn give_up(&mut self, name: &LockName, task: usize) -> bool {
        let Some(state) = self.states.get_mut(name) else { return false };
        let before = state.waiters.len();
        state.waiters.retain(|waiter| *waiter != task);
        state.waiters.len() < before
    }

    /// Somebody outside the world's model holds the file until then.
    pub(crate) fn occupy(&mut self, name: LockName, until: Duration) {
        self.states.entry(name).or_default().busy_until = until;
    }

    /// The task that holds the lock.
    #[must_use]
    pub fn holder(&self, name: &LockName) -> Option<usize> {
        self.states.get(name)?.holder
    }

    /// Until when somebody outside the model holds the file.
    #[must_use]
    pub fn busy_until(&self, name: &LockName) -> Duration {
        self.states.get(name).map_or(Duration::ZERO, |state| state.busy_until)
    }

    /// Whether somebody holds the file, or is next.
    #[must_use]
    pub(crate) fn is_busy(&self, name: &LockName, now: Duration) -> bool {
        let busy = |state: &State| state.holder.is_some() || state.busy_until > now || !state.waiters.is_empty();
        self.states.get(name).is_some_and(busy)
    }

    /// Every lock that a task holds or waits for.
    #[must_use]
    pub fn of_task(&self, task: usize) -> Vec<LockName> {
        let concerns = |state: &State| state.holder == Some(task) || state.waiters.contains(&task);
        self.states.iter().filter(|(_, state)| concerns(state)).map(|(name, _)| name.clone()).collect()
    }

    /// Every holder, with its lock.
    pub fn holders(&self) -> impl Iterator<Item = (&LockName, usize)> {
        self.states.iter().filter_map(|(name, state)| Some((name, state.holder?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_served_in_order_and_a_quitter_is_skipped() {
        let mut locks = Locks::default();
        let name = LockName::Storage { host: "pve".into(), storage: "local-lvm".into() };
        let now = Duration::ZERO;
        assert!(locks.acquire(&name, 1, now));
        assert!(!locks.acquire(&name, 2, now));
        assert!(!locks.acquire(&name, 3, now));
        assert!(locks.give_up(&name, 2));
        assert_eq!(locks.release(&name, 1, now), Some(3));
        assert_eq!(locks.holder(&name), Some(3));
        assert_eq!(locks.release(&name, 3, now), None);
        assert_eq!(name.timeout_text(), "can't lock file '/var/lock/pve-manager/pve-storage-local-lvm' - got timeout");
    }
}
