//! What should happen, decided before anything does.
//!
//! A plan is a pure function of the declaration, the last observation and the
//! goal. It is data: it prints as a diff, it names every step, and it tells all
//! its problems at once. A plan with an error among them is refused whole.

mod capacity;
mod create;
mod datasets;
pub(crate) mod destroy;
mod goal;
mod handover;
mod node;
pub(crate) mod rebirth;

use std::fmt;
use std::time::Duration;

use serde::Serialize;

pub(crate) use create::import_limit;
pub use goal::{Decisions, Goal, LostLife};

use crate::handover::SeedPart;
use crate::life::{bundle_place, lost_bundle};
use crate::observation::Part;
use crate::{Credential, Lives, Milestone, NodeRole, Observation, Problem, Project};

/// What a change does to what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Disruption {
    /// Nothing notices.
    None,
    /// The node is made anew.
    ReplaceNode,
    /// The node is gone afterwards.
    Removal,
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
#[non_exhaustive]
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
    /// Plants a part of the seed.
    Seed(SeedPart),
    /// Waits until Flux holds the cluster, and nudges it.
    Handover,
    /// Waits until a declared probe is answered. Probes are named by their place in
    /// the declaration.
    Probe(usize),
    /// Puts an administrator's credential where others find it.
    Escrow(Credential),
    /// Notes that the etcd of a life was born.
    NoteBirth(u32),
    /// Notes that a life was whole.
    CompleteLife(u32),
    /// Writes a life's tombstone.
    EndLife(u32),
}

impl Action {
    /// The milestone that it tells of once it is done, the last of its kind.
    pub(crate) fn tells_of(self) -> Option<Milestone> {
        match self {
            Self::Start(_) => Some(Milestone::MachinesRunning),
            Self::Api => Some(Milestone::ApiServing),
            Self::Cni => Some(Milestone::CniReady),
            Self::Nodes => Some(Milestone::NodesReady),
            Self::Handover => Some(Milestone::HandoverReady),
            Self::Probe(_) => Some(Milestone::AppsReady),
            _ => None,
        }
    }

    /// The first milestone that waits for it.
    fn serves(self, project: &Project) -> Option<Milestone> {
        Some(match self {
            Self::EndLife(_) | Self::BeginLife(_) | Self::Remove(_) | Self::Ensure(_) | Self::Start(_) => {
                Milestone::MachinesRunning
            }
            Self::Answer(machine) | Self::Configure(machine) if project.machines[machine].role == NodeRole::Worker => {
                Milestone::NodesReady
            }
            Self::Answer(_) | Self::Configure(_) | Self::Bootstrap(_) | Self::Join(_) | Self::Api => {
                Milestone::ApiServing
            }
            Self::Cni => Milestone::CniReady,
            Self::Nodes => Milestone::NodesReady,
            Self::Seed(_) | Self::Handover => Milestone::HandoverReady,
            Self::Probe(_) => Milestone::AppsReady,
            Self::Escrow(_) | Self::NoteBirth(_) | Self::CompleteLife(_) => return None,
        })
    }
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
    /// The life whose machines it does not remove, with all younger ones: those are
    /// born for its own sake, or since it looked.
    #[serde(skip)]
    pub spares: Option<u32>,
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
    pub fn of(
        project: &Project,
        observation: &Observation,
        goal: Goal,
        decisions: &Decisions,
        until: Milestone,
    ) -> Self {
        let mut plan = match goal {
            Goal::Create => create::plan(project, observation, decisions.lost_life, until),
            Goal::Handover => handover::plan(project, observation, until),
            Goal::Rebirth => rebirth::plan(project, observation, decisions, until),
            Goal::Destroy => destroy::plan(project, observation),
        };
        if plan.goal != Goal::Destroy {
            plan.spares = plan.life;
        }
        datasets::guard(project, observation, decisions, &mut plan);
        plan
    }

    fn empty(goal: Goal) -> Self {
        Self { goal, life: None, spares: None, changes: Vec::new(), steps: Vec::new(), problems: Vec::new() }
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

    /// Whether it leads to a handover.
    pub(crate) fn ends_in_a_handover(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, Action::Seed(_) | Action::Handover))
    }

    /// Whether it ends a life, or begins one that is not committed yet: what it
    /// cannot bring to its end is better not begun.
    pub(crate) fn turns_a_page(&self, lives: Option<&Lives>) -> bool {
        let is_committed = |life: u32| lives.and_then(|lives| lives.get(life)).is_some_and(|life| life.committed);
        self.steps.iter().any(|step| match step.action {
            Action::EndLife(_) => true,
            Action::BeginLife(life) => !is_committed(life),
            _ => false,
        })
    }

    /// Whether all that refuses it is that something could not be seen, so that
    /// another look may help.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        let mut errors = self.problems.iter().filter(|problem| problem.is_error()).peekable();
        errors.peek().is_some() && errors.all(|problem| problem.code == UNSEEN)
    }

    /// The life that a rebirth replaces; 0: none. `None` for any other plan.
    pub(crate) fn replaced(&self) -> Option<u32> {
        self.life.filter(|_| self.goal == Goal::Rebirth).map(|life| life - 1)
    }

    /// The machines that it would make, by their place in the declaration.
    pub fn births(&self) -> impl Iterator<Item = usize> {
        self.steps.iter().filter_map(|step| match step.action {
            Action::Ensure(machine) => Some(machine),
            _ => None,
        })
    }

    /// The milestones up to `until` that no step of the plan is needed for.
    pub(crate) fn reached_already(&self, project: &Project, until: Milestone) -> impl Iterator<Item = Milestone> {
        let first_missing = self.steps.iter().filter_map(|step| step.action.serves(project)).min();
        Milestone::ALL
            .into_iter()
            .filter(move |milestone| *milestone <= until && first_missing.is_none_or(|missing| *milestone < missing))
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

    /// Whether it has a step of this name.
    fn has(&self, id: &str) -> bool {
        self.steps.iter().any(|step| step.id == id)
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
        if self.is_done() && self.changes.is_empty() && !self.is_refused() {
            return f.write_str("No changes.");
        }
        f.write_str(&self.summary())
    }
}

/// The code of a problem that only means: it could not be seen.
const UNSEEN: &str = "not-known";

const NOTHING_ON_A_GUESS: &str = "nothing is done on a guess; mend the connection and run again";

pub(crate) fn unseen(subject: impl Into<String>, why: &str) -> Problem {
    Problem::error(UNSEEN, subject, format!("its state is not known: {why}")).hint(NOTHING_ON_A_GUESS)
}

/// What the store says of the lives, where it can be trusted to say everything: with
/// the project key, without which every machine of ours looks like a stranger's.
fn told_lives<'a>(observation: &'a Observation, problems: &mut Vec<Problem>) -> Option<&'a Lives> {
    match (&observation.lives, &observation.has_key) {
        (Part::Known(lives), Part::Known(_)) => Some(lives),
        (Part::Unknown(why), _) | (_, Part::Unknown(why)) => {
            problems.push(unseen("the secret store", why));
            None
        }
    }
}

/// Tells what is wrong with the secrets of the life that is to go on: they are gone,
/// or could not be read.
fn judge_bundle(project: &Project, observation: &Observation, number: u32, problems: &mut Vec<Problem>) {
    let life = observation.lives.known().and_then(|lives| lives.get(number)).unwrap_or_default();
    let place = bundle_place(&project.project, &project.cluster.name, number);
    if life.lacks_its_bundle() {
        let what = if life.complete { "was whole" } else { "has had its etcd" };
        problems.push(
            Problem::error(
                "lost-secrets",
                format!("secret {place}"),
                format!("life {number} {what}, and its secrets are gone: nothing can speak to its nodes any more"),
            )
            .hint(lost_bundle(&place, number)),
        );
    } else if let Some(Part::Unknown(why)) = &observation.bundle {
        problems.push(unseen(format!("secret {place}"), why));
    }
}

fn subject(project: &Project, machine: usize) -> String {
    let spec = &project.machines[machine];
    format!("machine {} ({} on {})", spec.node, spec.id, spec.host)
}
