//! The castle: a declaration, its backends, and the verbs.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::engine::{self, Shares};
use crate::life::Vault;
use crate::observation::{Observation, Part};
use crate::plan::{Action, Goal, LostLife, Plan, destroy::LEFT_ALONE};
use crate::port::identity::Identity;
use crate::report::{Outcome, Report};
use crate::timeline::{StepLinks, Timeline};
use crate::work::{Site, steps_of};
use crate::{
    Context, Env, Error, ErrorKind, EventKind, EventLog, MachineProvider, Owner, Problem, Project, RequestCounts,
    Result, Retry, SecretStore, Waiver,
};

/// How often in a row a run may look again without having achieved anything.
const ROUNDS_WITHOUT_PROGRESS: u32 = 6;
/// The pause before the second look; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// One declared cluster and the backends it lives on.
///
/// It holds no state: every verb looks at the world first, decides, and acts,
/// and can be dropped or killed at any moment and asked again.
///
/// ```
/// # use std::sync::Arc;
/// # use castle_core::{ByteSize, Castle, Env, Goal, Outcome, RunOptions, memory};
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let env = Env::real();
/// let project = memory::example_project();
/// let castle = Castle::builder(project)
///     .machines(Arc::new(memory::MemoryMachines::new().with_host("pve", ByteSize::gib_of(32))))
///     .secrets(Arc::new(memory::MemorySecrets::new()))
///     .identity(Arc::new(memory::MemoryIdentity))
///     .env(env)
///     .build()
///     .unwrap();
///
/// let report = castle.run(Goal::Create, RunOptions::default()).await;
/// assert_eq!(report.outcome, Outcome::Ok);
/// let again = castle.run(Goal::Create, RunOptions::default()).await;
/// assert_eq!(again.requests["memory"].write, 0);
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Castle {
    project: Arc<Project>,
    machines: Arc<dyn MachineProvider>,
    vault: Vault,
    identity: Arc<dyn Identity>,
    env: Env,
    waivers: Vec<Waiver>,
}

/// Gathers what a [`Castle`] needs.
#[derive(Debug)]
pub struct CastleBuilder {
    project: Project,
    machines: Option<Arc<dyn MachineProvider>>,
    secrets: Option<Arc<dyn SecretStore>>,
    identity: Option<Arc<dyn Identity>>,
    env: Option<Env>,
    waivers: Vec<Waiver>,
}

impl CastleBuilder {
    /// Where its machines live.
    #[must_use]
    pub fn machines(mut self, machines: Arc<dyn MachineProvider>) -> Self {
        self.machines = Some(machines);
        self
    }

    /// Where its secrets live.
    #[must_use]
    pub fn secrets(mut self, secrets: Arc<dyn SecretStore>) -> Self {
        self.secrets = Some(secrets);
        self
    }

    /// Who makes the secrets bundle of a life.
    #[must_use]
    pub fn identity(mut self, identity: Arc<dyn Identity>) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Time and chance; real ones if not given.
    #[must_use]
    pub fn env(mut self, env: Env) -> Self {
        self.env = Some(env);
        self
    }

    /// Machines that a person vouches for, because the project key is lost.
    #[must_use]
    pub fn waivers(mut self, waivers: impl IntoIterator<Item = Waiver>) -> Self {
        self.waivers.extend(waivers);
        self
    }

    /// Puts it together.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSpec`] if a backend is missing or says that it cannot
    /// give birth to a declared machine.
    pub fn build(self) -> Result<Castle> {
        let missing = |what: &str| Error::new(ErrorKind::InvalidSpec, format!("the castle was given no {what}"));
        let machines = self.machines.ok_or_else(|| missing("machine provider"))?;
        let secrets = self.secrets.ok_or_else(|| missing("secret store"))?;
        let identity = self.identity.ok_or_else(|| missing("identity"))?;
        if let Some(problem) =
            self.project.machines.iter().flat_map(|spec| machines.validate(spec)).find(Problem::is_error)
        {
            let error = Error::new(ErrorKind::InvalidSpec, problem.to_string());
            return Err(match problem.hint {
                Some(hint) => error.hint(hint),
                None => error,
            });
        }
        let vault = Vault::new(secrets, self.project.project.clone(), self.project.cluster.name.clone());
        let env = self.env.unwrap_or_else(Env::real);
        Ok(Castle { project: Arc::new(self.project), machines, vault, identity, env, waivers: self.waivers })
    }
}

/// How a run behaves.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// What to do about a life that lost its machines without a tombstone.
    pub lost_life: LostLife,
    /// Stops the run after the current request.
    pub cancel: CancellationToken,
}

impl Castle {
    /// Begins to put a castle together.
    #[must_use]
    pub fn builder(project: Project) -> CastleBuilder {
        CastleBuilder { project, machines: None, secrets: None, identity: None, env: None, waivers: Vec::new() }
    }

    /// The declaration.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Time and chance.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Looks at everything and changes nothing. A part that does not answer is
    /// unknown, and hinders no other.
    pub async fn observe(&self, cx: &Context) -> Observation {
        self.look(cx).await.0
    }

    /// One look, with the error of what did not answer: of the hypervisor, else of
    /// the secret store. An observation keeps its words alone.
    async fn look(&self, cx: &Context) -> (Observation, Option<Error>) {
        let mut silent = None;
        let (key, lives) = futures::join!(self.vault.project_key(), self.vault.lives());
        let (key, has_key) = match key {
            Ok(key) => (key.clone(), Part::Known(key.is_some())),
            Err(error) => (None, Part::Unknown(error.chain())),
        };
        let reserved = self.project.machines.iter().map(|spec| spec.id);
        let owner = Owner::new(self.project.project.clone(), self.project.cluster.name.clone(), key, reserved)
            .with_waivers(self.waivers.iter().cloned());
        let machines = match self.machines.list(cx, &owner, &self.project.machines).await {
            Ok(inventory) => Part::Known(inventory),
            Err(error) => {
                let why = error.chain();
                silent = Some(error);
                Part::Unknown(why)
            }
        };
        let lives = match lives {
            Ok(lives) => Part::Known(lives),
            Err(error) => {
                let why = error.chain();
                silent = silent.or(Some(error));
                Part::Unknown(why)
            }
        };
        (Observation { owner, machines, lives, has_key }, silent)
    }

    /// Looks, and decides what `goal` needs. Reads only.
    ///
    /// # Errors
    ///
    /// When the hypervisor cannot be asked what is there or what would stop a
    /// birth, and when a goal needs a secret store that is silent.
    pub async fn plan(&self, cx: &Context, goal: Goal, lost: LostLife) -> Result<Plan> {
        let (observation, silent) = self.look(cx).await;
        let mut plan = Plan::of(&self.project, &observation, goal, lost);
        if let Some(error) = silent.filter(|_| plan.is_blind()) {
            return Err(error);
        }
        self.preflight(cx, &observation, &mut plan).await?;
        Ok(plan)
    }

    /// Looks for everything that would stop the first create. Reads only.
    ///
    /// # Errors
    ///
    /// When the hypervisor cannot be asked at all.
    pub async fn check(&self, cx: &Context) -> Result<Vec<Problem>> {
        let (observation, silent) = self.look(cx).await;
        let plan = Plan::of(&self.project, &observation, Goal::Create, LostLife::Continue);
        let mut problems = match (&observation.machines, silent) {
            (Part::Known(inventory), _) => self.machines.preflight(cx, &self.project.machines, inventory).await?,
            (Part::Unknown(_), Some(error)) => return Err(error),
            (Part::Unknown(_), None) => Vec::new(),
        };
        for problem in plan.problems {
            // What the provider has told of the same machine comes with its command.
            let same = |known: &Problem| known.is_error() && problem.subject.ends_with(&known.subject);
            if !problems.iter().any(same) {
                problems.push(problem);
            }
        }
        Ok(problems)
    }

    async fn preflight(&self, cx: &Context, observation: &Observation, plan: &mut Plan) -> Result<()> {
        let births: Vec<_> = plan.births().map(|machine| self.project.machines[machine].clone()).collect();
        let Part::Known(inventory) = &observation.machines else { return Ok(()) };
        if births.is_empty() || plan.is_refused() {
            return Ok(());
        }
        let found = self.machines.preflight(cx, &births, inventory).await?;
        plan.problems.extend(found);
        Ok(())
    }

    /// Brings the world to `goal`.
    ///
    /// The run does nothing until it is polled. Dropping it stops it between two
    /// instructions, as a power cut would; the next run finds the world as it
    /// was left. To stop it in good order, cancel the token in `options`.
    #[must_use]
    pub fn run(&self, goal: Goal, options: RunOptions) -> Run {
        let log = EventLog::new(self.env.clock.clone());
        let cx = Context::reporting_to(self.env.clone(), options.cancel.clone(), log.clone());
        let castle = self.clone();
        let cancel = options.cancel.clone();
        let future = Box::pin(async move {
            let report = castle.drive(&cx, goal, options.lost_life).await;
            cx.log().close();
            report
        });
        Run { future, log, cancel }
    }

    /// What was asked of each backend so far, by this castle and its clones.
    #[must_use]
    pub fn requests(&self) -> RequestCounts {
        let mut counts = RequestCounts::new();
        counts.insert(self.machines.name(), self.machines.meter().total());
        let store = self.vault.store();
        let entry =
            counts.entry(if store.name() == self.machines.name() { "secrets" } else { store.name() }).or_default();
        *entry = store.meter().total();
        counts
    }

    async fn drive(&self, cx: &Context, goal: Goal, lost: LostLife) -> Report {
        let before = self.requests();
        let mut course = Course::default();
        let outcome = self.rounds(cx, goal, lost, &mut course).await;
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
            problems: course.problems,
            took: cx.log().elapsed(),
            requests,
            milestones,
            timeline: Timeline::fold(&events, &course.links),
            left: course.left,
            rounds: course.rounds,
        }
    }

    async fn rounds(&self, cx: &Context, goal: Goal, lost: LostLife, course: &mut Course) -> Result<Outcome> {
        let shares: Shares = self.shares();
        let mut fruitless = 0;
        loop {
            cx.check()?;
            course.rounds += 1;
            cx.log().push(EventKind::RoundStarted { round: course.rounds });
            let failure = match self.round(cx, goal, lost, &shares, course).await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => {
                    fruitless = 0;
                    continue;
                }
                Err(failure) => failure,
            };
            if failure.progressed {
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
        lost: LostLife,
        shares: &Shares,
        course: &mut Course,
    ) -> Result<Option<Outcome>, Failure> {
        let (observation, silent) = self.look(cx).await;
        cx.check()?;
        let mut plan = Plan::of(&self.project, &observation, goal, lost);
        self.preflight(cx, &observation, &mut plan).await?;
        course.problems.clone_from(&plan.problems);
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
        let site = Arc::new(Site::new(
            self.project.clone(),
            self.machines.clone(),
            self.vault.clone(),
            self.identity.clone(),
            observation.owner,
        ));
        let steps = steps_of(&plan, &site);
        let round = engine::run(&steps, shares, cx).await?;
        course.problems.extend(site.findings());
        course.left.clone_from(&round.left);
        if let Some(error) = round.error {
            // Confirming the life is no progress: every round that makes machines does it.
            let confirmed = plan.steps.iter().filter(|step| matches!(step.action, Action::BeginLife(_))).count();
            return Err(Failure { error, progressed: round.done > confirmed });
        }
        let milestone = match goal {
            Goal::Create => "machines_running",
            Goal::Destroy => "machines_gone",
        };
        let stays = course.problems.iter().any(|problem| LEFT_ALONE.contains(&problem.code));
        if goal == Goal::Destroy && stays {
            return Ok(Some(Outcome::Refused));
        }
        cx.log().push(EventKind::Milestone { name: milestone.into() });
        Ok(Some(Outcome::Ok))
    }

    fn shares(&self) -> Shares {
        let limit = self.project.limits.imports_per_storage;
        self.project.machines.iter().map(|spec| (crate::plan::import_limit(spec), limit)).collect()
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

/// What gathers over the rounds of a run.
#[derive(Default)]
struct Course {
    problems: Vec<Problem>,
    links: BTreeMap<String, StepLinks>,
    left: Vec<String>,
    rounds: u32,
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

/// A run under way: a future of its [`Report`], whose events can be followed and
/// which can be stopped.
pub struct Run {
    future: BoxFuture<'static, Report>,
    log: EventLog,
    cancel: CancellationToken,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("log", &self.log.events().len()).finish_non_exhaustive()
    }
}

impl Run {
    /// Its events, from the first on.
    #[must_use]
    pub fn log(&self) -> EventLog {
        self.log.clone()
    }

    /// Stops it after the current request. The report then says what is left.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}

impl Future for Run {
    type Output = Report;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Report> {
        self.future.as_mut().poll(cx)
    }
}
