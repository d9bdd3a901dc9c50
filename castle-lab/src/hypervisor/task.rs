//! Tasks: what a call forks, what it logs, and how it ends.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::access::Principal;
use super::config::Config;
use super::worker::Step;

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked.
    Ok,
    /// It did, and said so many warnings.
    Warnings(u32),
    /// It failed, with this text.
    Error(String),
    /// Its process vanished without a last line.
    Vanished,
}

impl Exit {
    /// The exit status as clients read it.
    #[must_use]
    pub fn status(&self) -> String {
        match self {
            Self::Ok => "OK".to_owned(),
            Self::Warnings(count) => format!("WARNINGS: {count}"),
            Self::Error(text) => text.replace('\n', " "),
            Self::Vanished => "unexpected status".to_owned(),
        }
    }

    /// The last line of the log; a vanished process writes none.
    #[must_use]
    pub fn last_line(&self) -> Option<String> {
        match self {
            Self::Ok => Some("TASK OK".to_owned()),
            Self::Warnings(count) => Some(format!("TASK WARNINGS: {count}")),
            Self::Error(text) => Some(format!("TASK ERROR: {text}")),
            Self::Vanished => None,
        }
    }
}

/// What goes wrong with a task, planted by a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskFault {
    /// It fails with this text before its effect, and cleans up as Proxmox VE does.
    Fails(String),
    /// It has its effect and fails with this text afterwards.
    FailsAfterEffect(String),
    /// It succeeds with so many warnings.
    Warns(u32),
    /// Its process is killed before its effect and cleans nothing up.
    Killed,
    /// Its process is killed between two effects: a create has written the
    /// configuration and not joined the pool, a destroy has dug the grave and not
    /// closed it. Other tasks have one effect only and end well.
    KilledHalfway,
}

/// One task.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its id, unique in the cluster.
    pub upid: String,
    /// The host it runs on.
    pub host: String,
    /// What it does: `qmcreate`, `qmstart`, ...
    pub kind: String,
    /// The machine it is about.
    pub machine: u32,
    /// On whose behalf.
    pub owner: Principal,
    /// Its process id.
    pub pid: u32,
    /// The start of its process, in ticks of the host.
    pub process_start: u64,
    /// When it was forked, in the world's time.
    pub started_at: Duration,
    /// When and how it ended; `None`: it runs.
    pub ended: Option<(Duration, Exit)>,
    /// What it has said.
    pub log: Vec<String>,
    /// Which machine carried the number when it was forked.
    pub(crate) incarnation: Option<u64>,
    pub(crate) steps: VecDeque<Step>,
    pub(crate) wake: u64,
    pub(crate) prefix: String,
    pub(crate) fault: Option<TaskFault>,
    pub(crate) birth: Option<Birth>,
}

/// What a create has made so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Birth {
    pub draft: Config,
    pub volumes: Vec<String>,
    pub drives: BTreeMap<String, String>,
}

impl Task {
    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    /// The sum of the waits that are still before it.
    pub(crate) fn remaining_work(&self) -> Duration {
        self.steps.iter().map(|step| if let Step::Wait(duration) = step { *duration } else { Duration::ZERO }).sum()
    }

    /// The id as Proxmox VE writes it.
    #[must_use]
    pub(crate) fn upid_of(
        host: &str,
        pid: u32,
        process_start: u64,
        unix_start: u64,
        kind: &str,
        machine: u32,
        owner: &Principal,
    ) -> String {
        format!("UPID:{host}:{pid:08X}:{process_start:08X}:{unix_start:08X}:{kind}:{machine}:{owner}:")
    }
}
