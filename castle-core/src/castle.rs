//! The castle: a declaration, its backends, and the verbs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::credential;
use crate::life::Vault;
use crate::look::{Aim, Look};
use crate::observation::{Observation, Part};
use crate::plan::{Action, Decisions, Goal, LostLife, Plan, unseen};
use crate::port::identity::Identity;
use crate::report::Report;
use crate::work::Backends;
use crate::{
    Capabilities, Context, Credential, Env, Error, ErrorKind, EventLog, GitOps, Kubernetes, MachineProvider, Milestone,
    Name, NodeOs, Owner, Problem, Project, RequestCounts, Result, SecretStore, Waiver,
};

/// How long the backends may take to show what is there, all together. Adapters give
/// up on single requests long before.
const LOOK_MAX: Duration = Duration::from_secs(600);

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
    backends: Backends,
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
    node_os: Option<Arc<dyn NodeOs>>,
    kubernetes: Option<Arc<dyn Kubernetes>>,
    gitops: Option<Arc<dyn GitOps>>,
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

    /// What runs on its machines. Without it castle makes machines and no more.
    #[must_use]
    pub fn node_os(mut self, node_os: Arc<dyn NodeOs>) -> Self {
        self.node_os = Some(node_os);
        self
    }

    /// How the Kubernetes API is spoken to. Without it castle goes no further than
    /// the machines.
    #[must_use]
    pub fn kubernetes(mut self, kubernetes: Arc<dyn Kubernetes>) -> Self {
        self.kubernetes = Some(kubernetes);
        self
    }

    /// Who takes the cluster over. Without it castle goes no further than the nodes.
    #[must_use]
    pub fn gitops(mut self, gitops: Arc<dyn GitOps>) -> Self {
        self.gitops = Some(gitops);
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
    /// [`ErrorKind::InvalidSpec`] if a backend is missing; or with everything, at
    /// once, that the backends say of the declaration: what the machine provider
    /// cannot give, and what the nodes' system would not take.
    pub fn build(self) -> Result<Castle> {
        let missing = |what: &str| Error::new(ErrorKind::InvalidSpec, format!("the castle was given no {what}"));
        let machines = self.machines.ok_or_else(|| missing("machine provider"))?;
        let secrets = self.secrets.ok_or_else(|| missing("secret store"))?;
        let identity = self.identity.ok_or_else(|| missing("identity"))?;
        let mut problems = beyond(&self.project, machines.capabilities());
        problems.extend(self.project.machines.iter().flat_map(|spec| machines.validate(spec)));
        problems.extend(self.node_os.iter().flat_map(|os| os.validate(&self.project)));
        problems.retain(Problem::is_error);
        if !problems.is_empty() {
            let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let error = Error::new(ErrorKind::InvalidSpec, told.join("; "));
            let hints: Vec<String> = problems.into_iter().filter_map(|problem| problem.hint).collect();
            return Err(if hints.is_empty() { error } else { error.hint(hints.join("; ")) });
        }
        let vault = Vault::new(secrets, self.project.project.clone(), self.project.cluster.name.clone());
        let env = self.env.unwrap_or_else(Env::real);
        let Self { node_os, kubernetes, gitops, .. } = self;
        let backends = Backends { machines, vault, identity, node_os, kubernetes, gitops };
        Ok(Castle { project: Arc::new(self.project), backends, env, waivers: self.waivers })
    }
}

/// What the declaration asks for and the machine provider cannot do.
fn beyond(project: &Project, capabilities: Capabilities) -> Vec<Problem> {
    let lacks = |subject: &str, what: &str, hint: &str| {
        Problem::error("beyond-provider", subject, format!("the machine provider {what}")).hint(hint)
    };
    let mut problems = Vec::new();
    if project.network.vip.is_some() && !capabilities.layer2 {
        let what = "gives its machines no common segment, so no VIP can move between them";
        problems.push(lacks("network.vip", what, "remove `vip`, or choose another platform"));
    }
    if !capabilities.fixed_addresses {
        let what = "cannot give a machine the address that is declared for it";
        problems.push(lacks("platform", what, "choose another platform"));
    }
    problems
}

/// How a run behaves.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// How far a create goes; `None`: as far as the backends allow.
    pub until: Option<Milestone>,
    /// What to do about a life that lost its machines without a tombstone.
    pub lost_life: LostLife,
    /// The life that a rebirth is to replace: see [`Decisions::replaces`].
    pub replaces: Option<u32>,
    /// Whether a rebirth ends even a life that another one began and did not finish.
    pub abandon: bool,
    /// The cluster whose declared datasets may be lost: its name, typed.
    pub waive_data: Option<Name>,
    /// Stops the run after the current request.
    pub cancel: CancellationToken,
}

impl RunOptions {
    /// What was decided by the caller.
    #[must_use]
    pub fn decisions(&self) -> Decisions {
        Decisions {
            lost_life: self.lost_life,
            replaces: self.replaces,
            abandon: self.abandon,
            waive_data: self.waive_data.clone(),
        }
    }
}

impl From<&RunOptions> for Decisions {
    fn from(options: &RunOptions) -> Self {
        options.decisions()
    }
}

impl Castle {
    /// Begins to put a castle together.
    #[must_use]
    pub fn builder(project: Project) -> CastleBuilder {
        CastleBuilder {
            project,
            machines: None,
            secrets: None,
            identity: None,
            node_os: None,
            kubernetes: None,
            gitops: None,
            env: None,
            waivers: Vec::new(),
        }
    }

    /// The declaration.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.project
    }

    pub(crate) fn shared_project(&self) -> Arc<Project> {
        self.project.clone()
    }

    pub(crate) fn backends(&self) -> &Backends {
        &self.backends
    }

    pub(crate) fn waivers(&self) -> &[Waiver] {
        &self.waivers
    }

    /// Time and chance.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Looks, as far as `until` concerns it, and changes nothing. A part that does
    /// not answer is unknown, and hinders no other. Up to
    /// [`Milestone::MachinesRunning`] no node is asked.
    pub async fn observe(&self, cx: &Context, until: Milestone) -> Observation {
        let decisions = Decisions::default();
        match self.look_in_time(cx, Aim { goal: Goal::Create, decisions: &decisions, until }).await {
            Ok(look) => look.observation,
            Err(error) => self.unobserved(&error.chain()),
        }
    }

    /// An observation that knows nothing.
    fn unobserved(&self, why: &str) -> Observation {
        let reserved = self.project.machines.iter().map(|spec| spec.id);
        let owner = Owner::new(self.project.project.clone(), self.project.cluster.name.clone(), None, reserved);
        let why = || why.to_owned();
        Observation::begun(owner, Part::Unknown(why()), Part::Unknown(why()), Part::Unknown(why()))
    }

    pub(crate) async fn look_in_time(&self, cx: &Context, aim: Aim<'_>) -> Result<Look> {
        self.in_time(cx, async { Ok(self.look(cx, aim).await) }).await
    }

    /// Waits for an answer of the backends, but neither for ever nor when the caller
    /// has lost interest: an adapter that does not bound its own requests would hang
    /// every verb. For what only reads: a request that changes the world is not left
    /// without its answer.
    pub(crate) async fn in_time<T>(&self, cx: &Context, answer: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = cx.cancel().cancelled() => Err(Error::cancelled()),
            answer = cx.clock().within(LOOK_MAX, answer) => answer.unwrap_or_else(|| Err(self.no_answer())),
        }
    }

    fn no_answer(&self) -> Error {
        let asked: Vec<&str> = self.requests().into_keys().collect();
        let told = format!("the look was not over within {} s", LOOK_MAX.as_secs());
        Error::new(ErrorKind::DeadlineExceeded, format!("{told}: a backend gives neither an answer nor an error"))
            .with("backends", asked.join(", "))
            .hint("find out which of them hangs, and run again; an adapter must bound each request of its own")
    }

    /// The furthest that the declaration asks for and the given backends allow.
    #[must_use]
    pub fn furthest(&self) -> Milestone {
        let Backends { node_os, kubernetes, gitops, .. } = &self.backends;
        if node_os.is_none() || kubernetes.is_none() {
            return Milestone::MachinesRunning;
        }
        match (gitops, &self.project.gitops) {
            (Some(_), Some(_)) if self.project.probes.is_empty() => Milestone::HandoverReady,
            (Some(_), Some(_)) => Milestone::AppsReady,
            _ => Milestone::NodesReady,
        }
    }

    /// Looks, and decides what `goal` needs. Reads only.
    ///
    /// # Errors
    ///
    /// When the hypervisor cannot be asked what is there or what would stop a
    /// birth, and when a goal needs a secret store that is silent;
    /// `DeadlineExceeded` if a backend does not answer at all, `Cancelled` if `cx` is.
    pub async fn plan(
        &self,
        cx: &Context,
        goal: Goal,
        decisions: impl Into<Decisions>,
        until: Option<Milestone>,
    ) -> Result<Plan> {
        let (decisions, until) = (decisions.into(), self.reach(goal, until));
        let Look { observation, silent, .. } =
            self.look_in_time(cx, Aim { goal, decisions: &decisions, until }).await?;
        let mut plan = Plan::of(&self.project, &observation, goal, &decisions, until);
        if let Some(error) = silent.filter(|_| plan.is_blind()) {
            return Err(error);
        }
        self.preflight(cx, &observation, &mut plan).await?;
        Ok(plan)
    }

    /// Looks for everything that would stop the first create, and tells what the
    /// declaration is warned of. Reads only.
    ///
    /// # Errors
    ///
    /// When the hypervisor cannot be asked at all; `DeadlineExceeded` if a backend
    /// does not answer at all, `Cancelled` if `cx` is.
    pub async fn check(&self, cx: &Context) -> Result<Vec<Problem>> {
        let (goal, until) = (Goal::Create, Milestone::MachinesRunning);
        let decisions = Decisions::from(LostLife::Continue);
        let Look { observation, silent, .. } =
            self.look_in_time(cx, Aim { goal, decisions: &decisions, until }).await?;
        let plan = Plan::of(&self.project, &observation, goal, &decisions, until);
        let Backends { machines, vault, node_os, gitops, .. } = &self.backends;
        let mut problems = match (&observation.machines, silent) {
            (Part::Known(inventory), _) => {
                self.in_time(cx, machines.preflight(cx, &self.project.machines, inventory)).await?
            }
            (Part::Unknown(_), Some(error)) => return Err(error),
            (Part::Unknown(_), None) => Vec::new(),
        };
        if let Some(gitops) = gitops.as_ref().filter(|_| self.project.gitops.is_some()) {
            let found = self.in_time(cx, gitops.preflight(cx, &self.project)).await;
            cx.check()?;
            problems.extend(found.unwrap_or_else(|error| vec![unseen("gitops.repository", &error.chain())]));
        }
        if let Some(os) = node_os {
            let every = [Credential::Kubeconfig, Credential::Talosconfig];
            let taken = credential::taken(vault, os.as_ref(), &self.project, &every);
            problems.extend(self.in_time(cx, async { Ok(taken.await) }).await?);
        }
        for problem in plan.problems {
            if !problems.iter().any(|known| known.is_error() && says_the_same(known, &problem)) {
                problems.push(problem);
            }
        }
        problems.extend(self.project.warnings.iter().cloned());
        Ok(problems)
    }

    /// How far a run goes: a removal asks no node.
    pub(crate) fn reach(&self, goal: Goal, until: Option<Milestone>) -> Milestone {
        match goal {
            Goal::Destroy => Milestone::MachinesRunning,
            Goal::Create | Goal::Rebirth => until.unwrap_or(Milestone::AppsReady).min(self.furthest()),
            Goal::Handover => {
                Milestone::HandoverReady.max(until.unwrap_or(Milestone::HandoverReady)).min(self.furthest())
            }
        }
    }

    pub(crate) async fn preflight(&self, cx: &Context, observation: &Observation, plan: &mut Plan) -> Result<()> {
        let births: Vec<_> = plan.births().map(|machine| self.project.machines[machine].clone()).collect();
        let Part::Known(inventory) = &observation.machines else { return Ok(()) };
        if births.is_empty() || plan.is_refused() {
            return Ok(());
        }
        let handover = async {
            // Once a life is begun, waiting for its handover beats refusing it.
            match &self.backends.gitops {
                Some(gitops) if plan.ends_in_a_handover() && plan.turns_a_page(observation.lives.known()) => {
                    gitops.preflight(cx, &self.project).await.map_err(not_begun)
                }
                _ => Ok(Vec::new()),
            }
        };
        let escrow = async {
            let escrows = plan.steps.iter().filter_map(|step| match step.action {
                Action::Escrow(which) => Some(which),
                _ => None,
            });
            let wanted: Vec<Credential> = escrows.collect();
            match &self.backends.node_os {
                Some(os) => credential::taken(&self.backends.vault, os.as_ref(), &self.project, &wanted).await,
                None => Vec::new(),
            }
        };
        let machines = self.backends.machines.preflight(cx, &births, inventory);
        let asked = async { Ok(futures::join!(machines, handover, escrow)) };
        let (machines, handover, escrow) = self.in_time(cx, asked).await?;
        plan.problems.extend(machines?.into_iter().chain(handover?).chain(escrow));
        Ok(())
    }

    /// Brings the world to `goal`.
    ///
    /// The run does nothing until it is polled. Dropping it stops it between two
    /// instructions, as a power cut would; the next run finds the world as it
    /// was left, and whoever follows its log sees the log end. To stop it in good
    /// order, cancel the token in `options`.
    #[must_use]
    pub fn run(&self, goal: Goal, options: RunOptions) -> Run {
        let log = EventLog::new(self.env.clock.clone());
        let cx = Context::reporting_to(self.env.clone(), options.cancel.clone(), log.clone());
        let castle = self.clone();
        let cancel = options.cancel.clone();
        // Made here and not inside, so that it also closes the log of a run that was
        // never polled.
        let end = EndOfLog(log.clone());
        let future = Box::pin(async move {
            let _end = end;
            castle.drive(&cx, goal, &options).await
        });
        Run { future, log, cancel }
    }

    /// What was asked of each backend so far, by this castle and its clones.
    #[must_use]
    pub fn requests(&self) -> RequestCounts {
        let mut counts = RequestCounts::new();
        counts.insert(self.backends.machines.name(), self.backends.machines.meter().total());
        if let Some(os) = &self.backends.node_os {
            counts.insert(os.name(), os.meter().total());
        }
        if let Some(kubernetes) = &self.backends.kubernetes {
            counts.insert(kubernetes.name(), kubernetes.meter().total());
        }
        if let Some(gitops) = &self.backends.gitops {
            counts.insert(gitops.name(), gitops.meter().total());
        }
        let store = self.backends.vault.store();
        let entry = counts
            .entry(if store.name() == self.backends.machines.name() { "secrets" } else { store.name() })
            .or_default();
        *entry = store.meter().total();
        counts
    }
}

/// Closes the log however a run ends: at its end, by a panic, or because it was
/// dropped. Whoever follows it would wait for ever else.
struct EndOfLog(EventLog);

impl Drop for EndOfLog {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What a provider tells of an id, and what a plan tells of the same.
const SAME_TALE: [(&str, &str); 4] = [
    ("id-taken", "foreign-machine"),
    ("id-taken", "hidden-machine"),
    ("id-half-made", "half-made"),
    ("id-unknown", "not-known"),
];

/// Whether a provider's finding says what a plan's finding says. The provider's comes
/// with its command, so it is the one that is told.
fn says_the_same(known: &Problem, planned: &Problem) -> bool {
    let same_code = known.code == planned.code || SAME_TALE.contains(&(known.code, planned.code));
    let bare = ["machine ", "host "].iter().find_map(|kind| planned.subject.strip_prefix(kind));
    same_code && (known.subject == planned.subject || bare == Some(known.subject.as_str()))
}

/// The error of a handover that cannot be prepared now: what stands was not touched.
fn not_begun(error: Error) -> Error {
    let told = Error::new(error.kind(), "the handover at the end cannot be prepared, so nothing is begun")
        .retry(error.retry_class())
        .hint(error.advice().unwrap_or("run the same command again once it answers").to_owned());
    told.caused_by(error)
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
