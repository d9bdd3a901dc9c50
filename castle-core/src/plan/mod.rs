//! What should happen, decided before anything does.
//!
//! A plan is a pure function of the declaration, the last observation and the
//! goal. It is data: it prints as a diff, it names every step, and it tells all
//! its problems at once. A plan with an error among them is refused whole.

mod create;
pub(crate) mod destroy;
mod node;

use std::fmt;
use std::time::Duration;

use serde::Serialize;

pub(crate) use create::import_limit;

use crate::{Milestone, Observation, Problem, Project};

/// What the caller wants to be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// The cluster stands.
    Create,
    /// Nothing of the cluster is left.
    Destroy,
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Destroy => "destroy",
        })
    }
}

/// What to do when the store knows a life that was whole and has neither
/// tombstone nor machines: somebody removed them without castle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LostLife {
    /// Refuse, and say what the choices are.
    #[default]
    Ask,
    /// Bring the same life back, with its bundle.
    Continue,
    /// End it and begin the next.
    Begin,
}

/// What a change does to what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disruption {
    /// Nothing notices.
    None,
    /// The node is made anew.
    ReplaceNode,
    /// The node is gone afterwards.
    Removal,
    /// It cannot be done on a living machine: only a rebirth brings it.
    RebirthOnly,
}

/// How a change is drawn: the symbols that Terraform's users know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Symbol {
    /// `+`
    Add,
    /// `~`
    Update,
    /// `-`
    Remove,
    /// `-/+`
    Replace,
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Add => "+",
            Self::Update => "~",
            Self::Remove => "-",
            Self::Replace => "-/+",
        })
    }
}

/// One difference between what is and what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// How it is drawn.
    pub symbol: Symbol,
    /// What changes: `machine blue-cp-01 (421 on pve)`.
    pub subject: String,
    /// What it does to what runs.
    pub disruption: Disruption,
    /// What it will be, or why it goes.
    pub detail: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>3} {}: {}", self.symbol, self.subject, self.detail)
    }
}

/// What a step does. Machines are named by their place in the declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Commits a life: project key, beginning, bundle.
    BeginLife(u32),
    /// Makes a machine exist, complete and off.
    Ensure(usize),
    /// Turns a machine on.
    Start(usize),
    /// Removes a machine that is proved ours.
    Remove(usize),
    /// Waits until a system answers on a machine.
    Answer(usize),
    /// Gives a node its configuration and follows it through its boot.
    Configure(usize),
    /// Gives birth to etcd on a control plane, once in a life.
    Bootstrap(usize),
    /// Waits until a control plane votes in etcd.
    Join(usize),
    /// Waits until the Kubernetes API serves.
    Api,
    /// Waits until the pods that carry the network are ready.
    Cni,
    /// Waits until every declared node is Ready.
    Nodes,
    /// Notes that the etcd of a life was born.
    NoteBirth(u32),
    /// Notes that a life was whole.
    CompleteLife(u32),
    /// Writes a life's tombstone.
    EndLife(u32),
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    /// Its name.
    pub id: String,
    /// What it does.
    pub action: Action,
    /// The steps before it.
    pub needs: Vec<String>,
    /// The named limit it takes a share of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// How long it may take.
    #[serde(skip)]
    pub deadline: Duration,
    /// What the plan saw that makes the step necessary.
    #[serde(skip)]
    pub because: String,
}

/// What should happen, in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What for.
    pub goal: Goal,
    /// The life that it concerns, if any.
    pub life: Option<u32>,
    /// The differences.
    pub changes: Vec<Change>,
    /// The steps, those first that others wait for.
    pub steps: Vec<PlannedStep>,
    /// Everything that is wrong or worth knowing.
    pub problems: Vec<Problem>,
}

/// How long a call to the secret store may take.
const DEADLINE_STORE: Duration = Duration::from_secs(60);

impl Plan {
    /// Decides what must happen for `goal`.
    #[must_use]
    pub fn of(project: &Project, observation: &Observation, goal: Goal, lost: LostLife, until: Milestone) -> Self {
        match goal {
            Goal::Create => create::plan(project, observation, lost, until),
            Goal::Destroy => destroy::plan(project, observation),
        }
    }

    fn empty(goal: Goal) -> Self {
        Self { goal, life: None, changes: Vec::new(), steps: Vec::new(), problems: Vec::new() }
    }

    /// Whether the world already is as wanted.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether a problem refuses it.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }

    /// Whether all that refuses it is that something could not be seen, so that
    /// another look may help.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        let mut errors = self.problems.iter().filter(|problem| problem.is_error()).peekable();
        errors.peek().is_some() && errors.all(|problem| problem.code == UNSEEN)
    }

    /// The machines that it would make, by their place in the declaration.
    pub fn births(&self) -> impl Iterator<Item = usize> {
        self.steps.iter().filter_map(|step| match step.action {
            Action::Ensure(machine) => Some(machine),
            _ => None,
        })
    }

    /// One line: how many machines are added, changed, destroyed.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |symbols: &[Symbol]| self.changes.iter().filter(|change| symbols.contains(&change.symbol)).count();
        format!(
            "Plan: {} to add, {} to change, {} to destroy.",
            count(&[Symbol::Add, Symbol::Replace]),
            count(&[Symbol::Update]),
            count(&[Symbol::Remove, Symbol::Replace])
        )
    }

    fn push(&mut self, id: String, action: Action, needs: &[String], deadline: Duration, because: impl Into<String>) {
        self.steps.push(PlannedStep {
            id,
            action,
            needs: needs.to_vec(),
            limit: None,
            deadline,
            because: because.into(),
        });
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            let weight = if problem.is_error() { "error" } else { "note" };
            writeln!(f, "{weight}: {problem}")?;
            if let Some(hint) = &problem.hint {
                writeln!(f, "    {hint}")?;
            }
        }
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        if self.changes.is_empty() && !self.is_refused() {
            return f.write_str("No changes.");
        }
        f.write_str(&self.summary())
    }
}

/// The code of a problem that only means: it could not be seen.
const UNSEEN: &str = "not-known";

fn unseen(subject: impl Into<String>, why: &str) -> Problem {
    Problem::error(UNSEEN, subject, format!("its state is not known: {why}"))
        .hint("nothing is done on a guess; mend the connection and run again")
}

fn subject(project: &Project, machine: usize) -> String {
    let spec = &project.machines[machine];
    format!("machine {} ({} on {})", spec.node, spec.id, spec.host)
}
