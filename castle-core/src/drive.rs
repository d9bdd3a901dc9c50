//! The course of a run: look, plan, act, until the goal is reached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::castle::{Castle, RunOptions};
use crate::engine::{self, Shares};
use crate::look::{Aim, Look};
use crate::plan::{Action, Decisions, Goal, Plan, destroy::LEFT_ALONE};
use crate::report::{Outcome, Report};
use crate::timeline::{StepLinks, Timeline};
use crate::work::{Site, steps_of};
use crate::{Context, Error, ErrorKind, EventKind, Milestone, Problem, Result, Retry};

/// How often in a row a run may look again without having achieved anything.
const ROUNDS_WITHOUT_PROGRESS: u32 = 6;
/// The pause before the second look; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

impl Castle {
    pub(crate) async fn drive(&self, cx: &Context, goal: Goal, options: &RunOptions) -> Report {
        let before = self.requests();
        let mut course = Course::default();
        let outcome = self.rounds(cx, goal, options, &mut course).await;
        let (outcome, error) = match outcome {
            Ok(outcome) => (outcome, None),
            Err(error) if error.kind() == ErrorKind::Cancelled => (Outcome::Cancelled, None),
            Err(error) if error.kind().is_refusal() => (Outcome::Refused, Some(error)),
            Err(error) => (Outcome::Failed, Some(error)),
        };
        let mut requests = self.requests();
        for (name, count) in &mut requests {
            let old = before.get(name).copied().unwrap_or_default();
            count.read -= old.read;
            count.write -= old.write;
        }
        let events = cx.log().events();
        let milestones = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Milestone { name } => Some((name.clone(), event.at())),
                _ => None,
            })
            .collect();
        Report {
            goal,
            outcome,
            error,
            problems: course.problems.into_iter().chain(course.removals).collect(),
            took: cx.log().elapsed(),
            requests,
            milestones,
            timeline: Timeline::fold(&events, &course.links),
            left: course.left,
            rounds: course.rounds,
        }
    }

    async fn rounds(&self, cx: &Context, goal: Goal, options: &RunOptions, course: &mut Course) -> Result<Outcome> {
        let shares: Shares = self.shares();
        let mut fruitless = 0;
        loop {
            cx.check()?;
            course.rounds += 1;
            cx.log().push(EventKind::RoundStarted { round: course.rounds });
            let failure = match self.round(cx, goal, options, &shares, course).await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => {
                    fruitless = 0;
                    continue;
                }
                Err(failure) => failure,
            };
            if failure.progressed || std::mem::take(&mut course.moved_on) {
                fruitless = 0;
            }
            fruitless += 1;
            if failure.error.retry_class() == Retry::Never || fruitless >= ROUNDS_WITHOUT_PROGRESS {
                return Err(failure.error);
            }
            let pause = PAUSE_FIRST.saturating_mul(1 << (fruitless - 1)).min(PAUSE_MAX);
            cx.log().push(EventKind::RoundFailed {
                why: format!("{}; looking again in {} s", failure.error.chain(), pause.as_secs()),
            });
            tokio::select! {
                biased;
                () = cx.cancel().cancelled() => return Err(Error::cancelled()),
                () = cx.clock().sleep(pause) => {}
            }
        }
    }

    /// One round: look, plan, run. `None`: everything planned was done, but the
    /// plan was not the whole way.
    async fn round(
        &self,
        cx: &Context,
        goal: Goal,
        options: &RunOptions,
        shares: &Shares,
        course: &mut Course,
    ) -> Result<Option<Outcome>, Failure> {
        let until = self.reach(goal, options.until);
        let decisions = course.decisions(options);
        let Look { observation, life, silent } =
            self.look_in_time(cx, Aim { goal, decisions: &decisions, until }).await?;
        cx.check()?;
        let mut plan = Plan::of(self.project(), &observation, goal, &decisions, until);
        self.preflight(cx, &observation, &mut plan).await?;
        course.problems.clone_from(&plan.problems);
        course.find_moved_on(&plan);
        // What an earlier round left was left of another plan.
        course.left.clear();
        cx.log().push(EventKind::Planned { changes: plan.changes.iter().map(ToString::to_string).collect() });
        if plan.is_blind() {
            // The error itself knows whether another look can help, and the way out.
            return Err(silent.unwrap_or_else(|| unseen(plan.problems)).into());
        }
        if plan.is_refused() {
            return Ok(Some(Outcome::Refused));
        }
        for step in &plan.steps {
            course.links.insert(step.id.clone(), StepLinks { needs: step.needs.clone(), limit: step.limit.clone() });
        }
        course.replaces = course.replaces.or(plan.replaced());
        course.refuse_younger(&plan, observation.lives.known().is_some())?;
        let absent = observation.absent(self.project());
        let site = Site::new(self.shared_project(), self.backends().clone(), observation.owner, life, goal);
        let site = Arc::new(site.sparing(plan.spares));
        site.expect(&plan, absent);
        if goal != Goal::Destroy {
            for milestone in plan.reached_already(self.project(), until) {
                reached(cx, milestone.name());
            }
        }
        let steps = steps_of(&plan, &site);
        let round = engine::run(&steps, shares, cx).await?;
        course.keep(site.findings());
        course.left = round.left;
        course.dropped = round.dropped.into_iter().collect();
        if let Some(error) = round.error {
            // Confirming the life is no progress: every round that makes machines does it.
            let confirmed = plan.steps.iter().filter(|step| matches!(step.action, Action::BeginLife(_))).count();
            return Err(Failure { error, progressed: round.done > confirmed });
        }
        let stays = course.problems.iter().any(|problem| LEFT_ALONE.contains(&problem.code));
        if goal == Goal::Destroy && stays {
            return Ok(Some(Outcome::Refused));
        }
        match goal {
            Goal::Destroy => reached(cx, "machines_gone"),
            Goal::Create | Goal::Handover | Goal::Rebirth => {
                for milestone in Milestone::ALL.into_iter().filter(|milestone| *milestone <= until) {
                    reached(cx, milestone.name());
                }
            }
        }
        Ok(Some(Outcome::Ok))
    }

    fn shares(&self) -> Shares {
        let limit = self.project().limits.imports_per_storage;
        self.project().machines.iter().map(|spec| (crate::plan::import_limit(spec), limit)).collect()
    }
}

/// The error of a plan that could not see single machines.
fn unseen(problems: Vec<Problem>) -> Error {
    let Some(problem) = problems.into_iter().find(Problem::is_error) else {
        return Error::new(ErrorKind::Unreachable, "what is there could not be seen");
    };
    let error = Error::new(ErrorKind::Unreachable, problem.to_string());
    match problem.hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Tells of a milestone, unless this run reached it before.
pub(crate) fn reached(cx: &Context, name: &str) {
    let told = |event: &crate::Event| matches!(&event.kind, EventKind::Milestone { name: known } if known == name);
    if !cx.log().events().iter().any(told) {
        cx.log().push(EventKind::Milestone { name: name.into() });
    }
}

/// What gathers over the rounds of a run.
#[derive(Default)]
struct Course {
    /// What the last plan found.
    problems: Vec<Problem>,
    /// What the removals of all rounds found: no later look shows it again.
    removals: Vec<Problem>,
    links: BTreeMap<String, StepLinks>,
    left: Vec<String>,
    /// The waits that the last round dropped.
    dropped: BTreeSet<String>,
    /// Whether one of them came true meanwhile: the world moves on, also where a round
    /// of its own did nothing.
    moved_on: bool,
    rounds: u32,
    /// The life that this run replaces, once it was decided: what comes after is
    /// this very rebirth, and never a second one.
    replaces: Option<u32>,
    /// The life that the first look of a destroy found not begun.
    spares: Option<u32>,
}

impl Course {
    /// Sees which of the waits that were dropped came true: the plan lacks them now.
    fn find_moved_on(&mut self, plan: &Plan) {
        let is_planned = |id: &String| plan.steps.iter().any(|step| step.id == *id);
        self.moved_on |= !plan.is_refused() && !self.dropped.iter().all(is_planned);
        self.dropped.clear();
    }

    /// Keeps what removals found, each finding once.
    fn keep(&mut self, findings: Vec<Problem>) {
        for finding in findings {
            if !self.removals.contains(&finding) {
                self.removals.push(finding);
            }
        }
    }

    /// Refuses to end a life that began while this destroy was under way: what was
    /// asked for is what stood then.
    fn refuse_younger(&mut self, plan: &Plan, knows_lives: bool) -> Result<()> {
        // A silent store may know a life that no machine tells of.
        if plan.goal != Goal::Destroy || !knows_lives {
            return Ok(());
        }
        self.spares = self.spares.or(plan.spares);
        match (self.spares, plan.spares) {
            (Some(spared), Some(now)) if now > spared => {
                Err(Error::new(ErrorKind::Conflict, format!("life {} began while this destroy was under way", now - 1))
                    .retry(Retry::Never)
                    .hint("another operator builds what is destroyed here; ask who, then run the command again"))
            }
            _ => Ok(()),
        }
    }

    /// What is decided now: what the caller decided, and what this run has done since.
    fn decisions(&self, options: &RunOptions) -> Decisions {
        let decisions = options.decisions();
        match self.replaces {
            Some(_) => Decisions { replaces: self.replaces, ..decisions },
            None => decisions,
        }
    }
}

struct Failure {
    error: Error,
    progressed: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, progressed: false }
    }
}
