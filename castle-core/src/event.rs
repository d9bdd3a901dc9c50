//! What happens in a run, as data.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use crate::Clock;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepOutcome {
    /// It acted, and the world is as wanted.
    Done,
    /// The world was as wanted before it acted.
    Skipped,
    /// It failed.
    Failed,
    /// It was dropped: the caller stopped, or another step ended the round.
    Cancelled,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A round began: look, plan, run. Round 1 is the first.
    RoundStarted {
        /// The number of the round.
        round: u32,
    },
    /// The plan of the round.
    Planned {
        /// One line for each change, as the plan prints them.
        changes: Vec<String>,
    },
    /// A step began to act.
    StepStarted {
        /// The step.
        step: String,
        /// What makes it necessary.
        because: String,
    },
    /// The reason why a step waits has changed.
    StepWaiting {
        /// The step.
        step: String,
        /// What it waits for.
        why: String,
    },
    /// A step ended.
    StepEnded {
        /// The step.
        step: String,
        /// How.
        outcome: StepOutcome,
        /// The error's chain, if it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A round ended before its plan was done; the next one looks again.
    RoundFailed {
        /// Why.
        why: String,
    },
    /// Flux was asked not to wait any longer.
    Nudged {
        /// What was asked: `Kustomization/flux-system/apps`.
        item: String,
        /// What has changed since it began to wait.
        reason: String,
    },
    /// A milestone was reached for the first time in this run.
    Milestone {
        /// Its name, in snake case.
        name: String,
    },
    /// Something the operator should know.
    Notice {
        /// What.
        text: String,
    },
}

/// One event: when, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Its number in the run, from 0.
    pub seq: u64,
    /// When, in milliseconds of castle's time since the run began.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl Event {
    /// When, since the run began.
    #[must_use]
    pub fn at(&self) -> Duration {
        Duration::from_millis(self.at_ms)
    }
}

#[derive(Debug)]
struct Log {
    events: Vec<Event>,
    waiting: BTreeMap<String, String>,
    closed: bool,
}

/// The log of a run: every event is kept, in order, and subscribers that come
/// late or read slowly miss none. A reason to wait is logged when it changes.
#[derive(Debug, Clone)]
pub struct EventLog {
    clock: Clock,
    began: Duration,
    log: Arc<Mutex<Log>>,
    changed: watch::Sender<u64>,
}

impl EventLog {
    /// An empty log that begins now.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let began = clock.elapsed();
        let log = Log { events: Vec::new(), waiting: BTreeMap::new(), closed: false };
        Self { clock, began, log: Arc::new(Mutex::new(log)), changed: watch::channel(0).0 }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since the run began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.began)
    }

    /// Adds an event.
    pub fn push(&self, kind: EventKind) {
        let at_ms = u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut log = self.lock();
        match &kind {
            EventKind::StepWaiting { step, why } => {
                if log.waiting.get(step) == Some(why) {
                    return;
                }
                log.waiting.insert(step.clone(), why.clone());
            }
            EventKind::StepEnded { step, .. } => {
                log.waiting.remove(step);
            }
            _ => {}
        }
        let seq = log.events.len() as u64;
        log.events.push(Event { seq, at_ms, kind });
        drop(log);
        self.changed.send_replace(seq + 1);
    }

    /// Says that no more events will come, so that subscribers end.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.send_modify(|count| *count += 1);
    }

    /// Everything so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// Why each running step waits, as last told.
    #[must_use]
    pub fn waiting(&self) -> BTreeMap<String, String> {
        self.lock().waiting.clone()
    }

    /// Follows the log from its first event.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription { log: self.clone(), changed: self.changed.subscribe(), next: 0 }
    }
}

/// A reader of an [`EventLog`], at its own pace.
#[derive(Debug)]
pub struct Subscription {
    log: EventLog,
    changed: watch::Receiver<u64>,
    next: usize,
}

impl Subscription {
    /// The next event; `None` once the log is closed and read to its end.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            self.changed.borrow_and_update();
            {
                let log = self.log.lock();
                if let Some(event) = log.events.get(self.next) {
                    self.next += 1;
                    return Some(event.clone());
                }
                if log.closed {
                    return None;
                }
            }
            // The log holds a sender of its own, so this cannot fail while we live.
            self.changed.changed().await.ok()?;
        }
    }
}
