//! What a run came to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::plan::Goal;
use crate::timeline::Timeline;
use crate::{Error, Problem, RequestCounts};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The goal is reached.
    Ok,
    /// It failed; the error says why.
    Failed,
    /// A guard refused: nothing was done against it. The problems say why.
    Refused,
    /// The caller stopped it; `left` says what remains to be done.
    Cancelled,
}

/// The result of a run: where it ended, what it cost, where the time went.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// What for.
    pub goal: Goal,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed.
    pub error: Option<Error>,
    /// What the plans and the removals found.
    pub problems: Vec<Problem>,
    /// How long it took, in castle's time.
    pub took: Duration,
    /// What it asked of each backend.
    pub requests: RequestCounts,
    /// When each milestone was reached, since the run began.
    pub milestones: BTreeMap<String, Duration>,
    /// Where the time went.
    pub timeline: Timeline,
    /// Steps that remain to be done.
    pub left: Vec<String>,
    /// How often it looked, planned and ran.
    pub rounds: u32,
}

impl Report {
    /// The report of a run that took no time and cost nothing. For whoever shows or
    /// checks reports: every field is open.
    #[must_use]
    pub fn of(goal: Goal, outcome: Outcome) -> Self {
        Self {
            goal,
            outcome,
            error: None,
            problems: Vec::new(),
            took: Duration::ZERO,
            requests: RequestCounts::new(),
            milestones: BTreeMap::new(),
            timeline: Timeline::default(),
            left: Vec::new(),
            rounds: 1,
        }
    }
}
