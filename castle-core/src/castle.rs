//! The castle: a declaration, its backends, and the verbs.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::life::Vault;
use crate::observation::{ApiView, Observation, Part};
use crate::plan::{Goal, LostLife, Plan};
use crate::port::identity::Identity;
use crate::report::Report;
use crate::work::{Backends, LivedLife, Site};
use crate::{
    Context, Env, Error, ErrorKind, EventLog, Kubernetes, MachineProvider, Milestone, NodeOs, NodeState, Owner, Power,
    Problem, Project, RequestCounts, Result, SecretStore, Slot, Waiver,
};

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
        let backends = Backends { machines, vault, identity, node_os: self.node_os, kubernetes: self.kubernetes };
        Ok(Castle { project: Arc::new(self.project), backends, env, waivers: self.waivers })
    }
}

/// How a run behaves.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// How far a create goes; `None`: as far as the backends allow.
    pub until: Option<Milestone>,
    /// What to do about a life that lost its machines without a tombstone.
    pub lost_life: LostLife,
    /// Stops the run after the current request.
    pub cancel: CancellationToken,
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

    /// Time and chance.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Looks, as far as `until` concerns it, and changes nothing. A part that does
    /// not answer is unknown, and hinders no other. Up to
    /// [`Milestone::MachinesRunning`] no node is asked.
    pub async fn observe(&self, cx: &Context, until: Milestone) -> Observation {
        self.look(cx, until).await.observation
    }

    /// The furthest that the given backends allow.
    #[must_use]
    pub fn furthest(&self) -> Milestone {
        match (&self.backends.node_os, &self.backends.kubernetes) {
            (Some(_), Some(_)) => Milestone::NodesReady,
            _ => Milestone::MachinesRunning,
        }
    }

    pub(crate) async fn look(&self, cx: &Context, until: Milestone) -> Look {
        let mut silent = None;
        let (key, lives) = futures::join!(self.backends.vault.project_key(), self.backends.vault.lives());
        let (key, has_key) = match key {
            Ok(key) => (key.clone(), Part::Known(key.is_some())),
            Err(error) => (None, Part::Unknown(error.chain())),
        };
        let reserved = self.project.machines.iter().map(|spec| spec.id);
        let owner = Owner::new(self.project.project.clone(), self.project.cluster.name.clone(), key, reserved)
            .with_waivers(self.waivers.iter().cloned());
        let machines = match self.backends.machines.list(cx, &owner, &self.project.machines).await {
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
        let mut observation = Observation { owner, machines, lives, has_key, nodes: BTreeMap::new(), api: None };
        let life = if until > Milestone::MachinesRunning { self.lived_life(&observation).await } else { None };
        if let Some(life) = &life {
            self.look_at_nodes(cx, life, &mut observation).await;
        }
        Look { observation, life, silent }
    }

    /// The secrets of the life that goes on, if one does and the store gives them.
    async fn lived_life(&self, observation: &Observation) -> Option<LivedLife> {
        let (number, facts) = observation.lives.known()?.current().filter(|(_, life)| life.committed)?;
        let bundle = self.backends.vault.bundle(number).await.ok().flatten()?;
        let cluster_id = self.backends.identity.cluster_id(&bundle).ok()?;
        Some(LivedLife { number, cluster_id, bundle, born: facts.born })
    }

    async fn look_at_nodes(&self, cx: &Context, life: &LivedLife, observation: &mut Observation) {
        let (Some(os), Part::Known(inventory)) = (&self.backends.node_os, &observation.machines) else { return };
        let site =
            Site::new(self.project.clone(), self.backends.clone(), observation.owner.clone(), Some(life.clone()));
        let Ok(node_site) = site.node_site() else { return };
        let runs = |spec: &&crate::MachineSpec| match inventory.slots.get(&spec.id) {
            Some(Slot::Present(machine)) => {
                let of_this_life = machine.standing.ours().is_some_and(|mark| mark.life == life.number);
                machine.power == Power::Running && of_this_life && !machine.dying
            }
            _ => false,
        };
        let looks = self.project.machines.iter().enumerate().filter(|(_, spec)| runs(spec)).map(|(machine, spec)| {
            let (site, node_site) = (&site, &node_site);
            async move {
                let state = match site.target(machine) {
                    Ok(target) => os.look(cx, node_site, &target).await,
                    Err(error) => Err(error),
                };
                (spec.id, state.unwrap_or_else(|error| NodeState::Silent(error.chain())))
            }
        });
        observation.nodes = futures::future::join_all(looks).await.into_iter().collect();
        let etcd_lives = |state: &NodeState| matches!(state, NodeState::Ours(report) if report.etcd.as_ref().is_some_and(|etcd| etcd.healthy));
        if !observation.nodes.values().any(etcd_lives) || self.backends.kubernetes.is_none() {
            return;
        }
        let view = async {
            let api = site.api(cx)?;
            let (nodes, cni) = futures::future::try_join(api.nodes(cx), api.cni(cx)).await?;
            Ok::<_, Error>(ApiView { nodes, cni })
        };
        observation.api = Some(match view.await {
            Ok(view) => Part::Known(view),
            Err(error) => Part::Unknown(error.chain()),
        });
    }

    /// Looks, and decides what `goal` needs. Reads only.
    ///
    /// # Errors
    ///
    /// When the hypervisor cannot be asked what is there or what would stop a
    /// birth, and when a goal needs a secret store that is silent.
    pub async fn plan(&self, cx: &Context, goal: Goal, lost: LostLife, until: Option<Milestone>) -> Result<Plan> {
        let until = self.reach(goal, until);
        let Look { observation, silent, .. } = self.look(cx, until).await;
        let mut plan = Plan::of(&self.project, &observation, goal, lost, until);
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
        let until = Milestone::MachinesRunning;
        let Look { observation, silent, .. } = self.look(cx, until).await;
        let plan = Plan::of(&self.project, &observation, Goal::Create, LostLife::Continue, until);
        let machines = &self.backends.machines;
        let mut problems = match (&observation.machines, silent) {
            (Part::Known(inventory), _) => machines.preflight(cx, &self.project.machines, inventory).await?,
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

    /// How far a run goes: a removal asks no node.
    pub(crate) fn reach(&self, goal: Goal, until: Option<Milestone>) -> Milestone {
        match goal {
            Goal::Destroy => Milestone::MachinesRunning,
            Goal::Create => until.unwrap_or(Milestone::NodesReady).min(self.furthest()),
        }
    }

    pub(crate) async fn preflight(&self, cx: &Context, observation: &Observation, plan: &mut Plan) -> Result<()> {
        let births: Vec<_> = plan.births().map(|machine| self.project.machines[machine].clone()).collect();
        let Part::Known(inventory) = &observation.machines else { return Ok(()) };
        if births.is_empty() || plan.is_refused() {
            return Ok(());
        }
        let found = self.backends.machines.preflight(cx, &births, inventory).await?;
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
            let report = castle.drive(&cx, goal, &options).await;
            cx.log().close();
            report
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
        let store = self.backends.vault.store();
        let entry = counts
            .entry(if store.name() == self.backends.machines.name() { "secrets" } else { store.name() })
            .or_default();
        *entry = store.meter().total();
        counts
    }
}

/// What one look brought.
pub(crate) struct Look {
    pub(crate) observation: Observation,
    /// The life that goes on, with its secrets.
    pub(crate) life: Option<LivedLife>,
    /// The error of what did not answer: of the hypervisor, else of the secret
    /// store. An observation keeps its words alone.
    pub(crate) silent: Option<Error>,
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
