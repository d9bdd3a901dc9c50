//! One look at a host for everybody who waits for it.
//!
//! Proxmox VE has no events, so waiting means asking. All who wait for tasks or
//! power states of one host share one [`Watch`]: whoever comes to the turn asks
//! for all, the others read the answer. No task is spawned: when the last
//! waiter is dropped, the asking stops.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use castle_core::{Clock, Context, Power};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore};

use crate::client::{Client, answers};
use crate::task::{Done, TaskState, Upid, judge};
use crate::wire::{Guest, TaskEntry};
use crate::{Error, Refusal, Result};

/// The wait before the first look, in castle's time.
const FIRST: Duration = Duration::from_millis(50);
/// The longest wait while the host answers.
const LONGEST: Duration = Duration::from_millis(250);
/// The longest wait while it does not.
const LONGEST_SILENT: Duration = Duration::from_secs(5);
/// How often a node may say that it knows no such task before it is believed:
/// right after its birth a task is not on record for an instant.
const PATIENCE: u32 = 20;
/// How long a machine may take to be in a power state after the task that
/// brought it there has ended. A high-availability manager acts every ten seconds.
const PATIENCE_FOR_POWER: Duration = Duration::from_secs(60);
/// How many tasks a look asks for; castle never has that many in flight.
const LIST_LIMIT: u32 = 500;
/// How many tasks that the list misses are asked for at once.
const ASKED_AT_ONCE: usize = 4;

/// What one look showed.
#[derive(Debug, Clone, Default)]
struct Look {
    /// The number of the look, from 1; 0 is the one before the first.
    number: u64,
    tasks: BTreeMap<String, TaskState>,
    /// `None` if nobody asked.
    power: Option<BTreeMap<u64, Power>>,
    trouble: Option<Error>,
}

#[derive(Debug)]
struct State {
    /// The tasks waited for: by how many, and how often the node denied them.
    tasks: BTreeMap<Upid, Waited>,
    /// How many wait for a power state.
    power: usize,
    /// The number of the last look that began.
    begun: u64,
    wait: Duration,
    due: Duration,
    last: Arc<Look>,
}

#[derive(Debug, Default)]
struct Waited {
    by: usize,
    denied: u32,
}

/// The shared look at one host.
pub(crate) struct Watch {
    node: String,
    client: Arc<Client>,
    clock: Clock,
    /// Held by the one who looks.
    turn: Semaphore,
    /// Wakes the one who waits for the next look to come due.
    hurry: Notify,
    /// Wakes all who wait for news, in the order they came: tokio's `watch`
    /// channel wakes in a random order, and a lab must tell one story for a seed.
    news: Notify,
    state: Mutex<State>,
}

impl Watch {
    pub(crate) fn new(node: &str, client: Arc<Client>, clock: Clock) -> Self {
        Self {
            node: node.to_owned(),
            client,
            clock,
            turn: Semaphore::new(1),
            hurry: Notify::new(),
            news: Notify::new(),
            state: Mutex::new(State {
                tasks: BTreeMap::new(),
                power: 0,
                begun: 0,
                wait: FIRST,
                due: Duration::ZERO,
                last: Arc::default(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of a task. `why` says what it is for.
    ///
    /// # Errors
    ///
    /// [`Error::TaskFailed`], [`Error::TaskLost`], [`Error::Cancelled`], or what
    /// refuses to answer and will go on to (a deleted token).
    pub(crate) async fn task(&self, cx: &Context, upid: &Upid, why: &str) -> Result<Done> {
        let waiter = self.enter(Wanted::Task(upid.clone()));
        self.wait(cx, &waiter, why, |look| match look.tasks.get(upid.as_str())? {
            TaskState::Running => None,
            TaskState::Ended(exit) => Some(judge(upid, exit)),
            TaskState::Lost => Some(Err(Error::TaskLost { node: self.node.clone(), upid: upid.to_string() })),
        })
        .await
    }

    /// Waits until the host itself says that a machine is in `power`. Only looks
    /// that begin after this call count.
    ///
    /// # Errors
    ///
    /// [`Error::NotReached`] if the machine leaves the host's list, or stays as it
    /// is for a minute: it may be another's by now, so whoever asked looks again.
    pub(crate) async fn power(&self, cx: &Context, id: u32, power: Power, why: &str) -> Result<()> {
        let waiter = self.enter(Wanted::Power);
        let not_reached = || Error::NotReached { node: self.node.clone(), id, wanted: power };
        let reached = self.wait(cx, &waiter, why, |look| {
            let states = look.power.as_ref().filter(|_| look.number > waiter.after)?;
            match states.get(&u64::from(id)) {
                Some(state) if *state == power => Some(Ok(())),
                Some(_) => None,
                None => Some(Err(not_reached())),
            }
        });
        self.clock.within(PATIENCE_FOR_POWER, reached).await.unwrap_or_else(|| Err(not_reached()))
    }

    async fn wait<T>(
        &self,
        cx: &Context,
        waiter: &Waiter<'_>,
        why: &str,
        over: impl Fn(&Look) -> Option<Result<T>>,
    ) -> Result<T> {
        loop {
            let mut news = pin!(self.news.notified());
            // Listening begins before the last look is read, so no news falls between.
            news.as_mut().enable();
            let look = Arc::clone(&self.state().last);
            if let Some(result) = over(&look) {
                return result;
            }
            // What an earlier look met is no trouble of ours.
            match look.trouble.as_ref().filter(|_| look.number > waiter.after) {
                Some(error) if !error.is_passing() => return Err(error.clone()),
                Some(error) => cx.waiting(format!("{why}; host {} does not answer: {error}", self.node)),
                None => cx.waiting(why),
            }
            tokio::select! {
                biased;
                () = cx.cancel().cancelled() => return Err(Error::Cancelled),
                () = self.next_look(news) => {}
            }
        }
    }

    /// Returns when somebody, perhaps we, has looked.
    async fn next_look(&self, news: Pin<&mut Notified<'_>>) {
        tokio::select! {
            biased;
            () = news => {}
            turn = self.turn.acquire() => {
                let _turn = turn.expect("the semaphore is never closed");
                self.rest().await;
                self.look().await;
            }
        }
    }

    /// Waits until the next look is due; a new waiter brings that nearer.
    async fn rest(&self) {
        loop {
            let due = self.state().due;
            if self.clock.elapsed() >= due {
                return;
            }
            tokio::select! {
                biased;
                () = self.hurry.notified() => {}
                () = self.clock.sleep_until(due) => {}
            }
        }
    }

    /// Looks once, for all who wait, and tells them.
    async fn look(&self) {
        let (number, tasks, power) = {
            let mut state = self.state();
            state.begun += 1;
            (state.begun, state.tasks.keys().cloned().collect::<Vec<_>>(), state.power > 0)
        };
        let (listed, guests) = futures::join!(self.look_at_tasks(&tasks), self.look_at_power(power));
        let mut look = Look { number, ..Look::default() };
        match listed {
            Ok(found) => look.tasks = found,
            Err(error) => look.trouble = Some(error),
        }
        match guests {
            Ok(found) => look.power = found,
            Err(error) => look.trouble = Some(error),
        }
        {
            let mut state = self.state();
            let longest = if look.trouble.is_some() { LONGEST_SILENT } else { LONGEST };
            state.wait = state.wait.mul_f64(1.5).min(longest);
            state.due = self.clock.elapsed() + state.wait;
            state.last = Arc::new(look);
        }
        self.news.notify_waiters();
    }

    async fn look_at_tasks(&self, wanted: &[Upid]) -> Result<BTreeMap<String, TaskState>> {
        let Some(since) = wanted.iter().map(|upid| upid.start).min() else {
            return Ok(BTreeMap::new());
        };
        let query = [
            ("source", "all".to_owned()),
            // One second less, so that it matters to nobody whether the bound counts.
            ("since", since.saturating_sub(1).to_string()),
            ("limit", LIST_LIMIT.to_string()),
        ];
        let list: Vec<TaskEntry> = self.client.get_once(&["nodes", &self.node, "tasks"], &query).await?;
        let mut found: BTreeMap<String, TaskState> = BTreeMap::new();
        for entry in list {
            let state = TaskState::of_list(&entry);
            if let Some(upid) = entry.upid
                && wanted.iter().any(|one| one.as_str() == upid)
            {
                // While a task ends it may be listed twice; the end is the truth.
                if found.get(&upid).is_none_or(|known| *known == TaskState::Running) {
                    found.insert(upid, state);
                }
            }
        }
        let missed: Vec<&Upid> = wanted.iter().filter(|upid| !found.contains_key(upid.as_str())).collect();
        let asked = answers(ASKED_AT_ONCE, missed.iter().map(|upid| self.ask(upid)).collect()).await;
        for (upid, answer) in missed.into_iter().zip(asked) {
            let state = match answer {
                Ok(state) => state,
                Err(error) if error.refusal() == Some(&Refusal::NoSuchTask) => {
                    let mut state = self.state();
                    let Some(waited) = state.tasks.get_mut(upid) else { continue };
                    waited.denied += 1;
                    if waited.denied < PATIENCE { TaskState::Running } else { TaskState::Lost }
                }
                Err(error) => return Err(error),
            };
            found.insert(upid.to_string(), state);
        }
        Ok(found)
    }

    async fn ask(&self, upid: &Upid) -> Result<TaskState> {
        let path = ["nodes", &self.node, "tasks", upid.as_str(), "status"];
        self.client.get_once::<TaskEntry>(&path, &[]).await.map(|entry| TaskState::of_status(&entry))
    }

    async fn look_at_power(&self, wanted: bool) -> Result<Option<BTreeMap<u64, Power>>> {
        if !wanted {
            return Ok(None);
        }
        let list: Vec<Guest> = self.client.get_once(&["nodes", &self.node, "qemu"], &[]).await?;
        Ok(Some(list.iter().filter_map(|guest| Some((guest.vmid?, power_of(guest)))).collect()))
    }

    fn enter(&self, wanted: Wanted) -> Waiter<'_> {
        let mut state = self.state();
        match &wanted {
            Wanted::Task(upid) => state.tasks.entry(upid.clone()).or_default().by += 1,
            Wanted::Power => state.power += 1,
        }
        let alone = state.power + state.tasks.values().map(|waited| waited.by).sum::<usize>() == 1;
        // Who asks for a power state comes from the end of a task: the answer is there.
        let soon = self.clock.elapsed() + if matches!(wanted, Wanted::Power) { Duration::ZERO } else { FIRST };
        state.due = if alone { soon } else { state.due.min(soon) };
        state.wait = FIRST;
        let after = state.begun;
        drop(state);
        self.hurry.notify_one();
        Waiter { watch: self, wanted, after }
    }
}

/// What the list of a node says about a machine's power.
pub(crate) fn power_of(guest: &Guest) -> Power {
    match guest.status.as_deref() {
        Some("running") => Power::Running,
        Some("stopped") => Power::Stopped,
        _ => Power::Unknown,
    }
}

enum Wanted {
    Task(Upid),
    Power,
}

/// One who waits; leaves when dropped, however the wait ended.
struct Waiter<'a> {
    watch: &'a Watch,
    wanted: Wanted,
    after: u64,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let soon = self.watch.clock.elapsed() + FIRST;
        let mut state = self.watch.state();
        match &self.wanted {
            Wanted::Task(upid) => {
                if let Some(waited) = state.tasks.get_mut(upid) {
                    waited.by -= 1;
                    if waited.by == 0 {
                        state.tasks.remove(upid);
                    }
                }
            }
            Wanted::Power => state.power -= 1,
        }
        // Where one has ended others are near.
        state.wait = FIRST;
        state.due = state.due.min(soon);
        drop(state);
        self.watch.hurry.notify_one();
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("node", &self.node).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
