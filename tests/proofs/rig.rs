//! A project, a world, and engines that visit it from empty folders.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use castle_core::options::Trust;
use castle_core::{
    Castle, Env, Event, GitOps, Goal, Identity, Kubernetes, MachineProvider, Milestone, NodeOs, Options, Outcome,
    Project, Report, RunOptions, SecretStore,
};
use castle_gitops::FluxGitOps;
use castle_gitops::kubernetes::KubeClient;
use castle_lab::faults::Fault;
use castle_lab::journal::{Entry, Journal};
use castle_lab::{Lab, RunId, World, runtime};
use castle_proxmox::ProxmoxProvider;
use castle_talos::{TalosIdentity, TalosOs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The project that most proofs use.
pub fn blue() -> Project {
    project(include_str!("../../examples/projects/blue/proxmox/castle.yaml"))
}

/// Reads a declaration.
pub fn project(text: &str) -> Project {
    Project::parse(text, castle_talos::image).unwrap_or_else(|problems| panic!("the project is valid: {problems:#?}"))
}

/// What a proof may put between castle and its backends, to take a guard away.
pub trait Meddler: Send + Sync {
    /// Wraps the machines.
    fn machines(&self, real: Arc<dyn MachineProvider>, _: &Env, _: &Options) -> Arc<dyn MachineProvider> {
        real
    }
    /// Wraps the secrets.
    fn secrets(&self, real: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
        real
    }
    /// Wraps the system of the nodes.
    fn node_os(&self, real: Arc<dyn NodeOs>) -> Arc<dyn NodeOs> {
        real
    }
    /// Wraps who makes the secrets of a life.
    fn identity(&self, real: Arc<dyn Identity>) -> Arc<dyn Identity> {
        real
    }
    /// Wraps the API of the cluster.
    fn kubernetes(&self, real: Arc<dyn Kubernetes>) -> Arc<dyn Kubernetes> {
        real
    }
    /// Wraps who takes the cluster over.
    fn gitops(&self, real: Arc<dyn GitOps>) -> Arc<dyn GitOps> {
        real
    }
    /// Replaces time and chance.
    fn env(&self, lab: Env) -> Env {
        lab
    }
}

/// Nothing in between: castle as it is.
pub struct Honest;

impl Meddler for Honest {}

/// One engine run against a lab.
pub struct Visit<'a> {
    /// The declaration.
    pub project: &'a Project,
    /// The world as an earlier visit left it; `None`: a new home.
    pub world: Option<World>,
    /// The seed of a new home.
    pub seed: u64,
    /// What the engine wants.
    pub goal: Goal,
    /// How far a create goes.
    pub until: Milestone,
    /// The life that a rebirth replaces.
    pub replaces: Option<u32>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What is put between.
    pub meddler: &'a dyn Meddler,
}

/// What a visit left.
pub struct Left {
    /// The world.
    pub world: World,
    /// The report; `None` if the power was cut.
    pub report: Option<Report>,
    /// The requests, in order.
    pub entries: Vec<Entry>,
    /// The digest of the requests.
    pub digest: String,
    /// The events.
    pub events: Vec<Event>,
}

impl<'a> Visit<'a> {
    /// A visit without faults to a new home.
    pub fn new(project: &'a Project, goal: Goal) -> Self {
        Self {
            project,
            world: None,
            seed: 1,
            goal,
            until: Milestone::MachinesRunning,
            replaces: None,
            faults: Vec::new(),
            meddler: &Honest,
        }
    }

    /// The same, to an existing world.
    pub fn to(self, world: World) -> Self {
        Self { world: Some(world), ..self }
    }

    /// As far as this milestone.
    pub fn until(self, until: Milestone) -> Self {
        Self { until, ..self }
    }

    /// With a fault.
    pub fn with(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// With something in between.
    pub fn meddled(self, meddler: &'a dyn Meddler) -> Self {
        Self { meddler, ..self }
    }

    /// Lets the engine run to its end, or to the cut.
    pub fn go(self) -> Left {
        let Self { project, world, seed, goal, until, replaces, faults, meddler } = self;
        let journal = Journal::new();
        let builder = Lab::builder(project).seed(seed).journal(journal.clone()).faults(faults);
        let builder = match world {
            Some(world) => builder.world(world),
            None => builder,
        };
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let told = events.clone();
        let outcome = runtime::run_virtual_until_cut(builder, |lab| async move {
            let run = lab.new_run();
            let castle = open(project, &lab, run, meddler);
            let run = castle.run(goal, RunOptions { until: Some(until), replaces, ..RunOptions::default() });
            let log = run.log();
            let report = run.await;
            *told.lock().expect("nobody panics with it") = log.events();
            report
        });
        let (world, report) = match outcome.unwrap_or_else(|error| panic!("the lab starts: {}", error.chain())) {
            runtime::Outcome::Cut(world) => (world, None),
            runtime::Outcome::Done(report, world) => (world, Some(report)),
        };
        let events = std::mem::take(&mut *events.lock().expect("nobody panics with it"));
        Left { world, report, entries: journal.entries(), digest: journal.digest(), events }
    }
}

impl Left {
    /// Whether the goal was reached.
    pub fn is_ok(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.outcome == Outcome::Ok)
    }

    /// Whether the power was cut: nothing else ends a visit without a report.
    pub fn was_cut(&self) -> bool {
        self.report.is_none()
    }

    /// Why it was not, in one line.
    pub fn why(&self) -> String {
        match &self.report {
            None => "cut".into(),
            Some(report) => format!(
                "{:?} {} {:?}",
                report.outcome,
                report.error.as_ref().map_or_else(String::new, castle_core::Error::chain),
                report.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
            ),
        }
    }

    /// How many requests of the visit may have changed the world.
    pub fn writes(&self) -> usize {
        self.entries.iter().filter(|entry| entry.write).count()
    }
}

/// Puts a castle together as a user's program does, over the real adapters.
pub fn open(project: &Project, lab: &Lab, run: RunId, meddler: &dyn Meddler) -> Castle {
    let env = meddler.env(lab.env(run));
    let options = lab.options(run).expect("a lab with a Proxmox server");
    let access = options.proxmox.as_ref().expect("the lab wrote the access");
    let machines =
        Arc::new(ProxmoxProvider::connect(access, &options, &env, project.limits).expect("the lab's options are good"));
    let kubernetes = KubeClient::new(&options, &env);
    let gitops = FluxGitOps::new(&options, &env, kubernetes.clone(), ".");
    Castle::builder(project.clone())
        .machines(meddler.machines(machines, &env, &options))
        .secrets(meddler.secrets(lab.secrets(run)))
        .identity(meddler.identity(Arc::new(TalosIdentity)))
        .node_os(meddler.node_os(Arc::new(
            TalosOs::new(&options, &env, (&options.maintenance).into()).expect("the lab's options are good"),
        )))
        .kubernetes(meddler.kubernetes(Arc::new(kubernetes)))
        .gitops(meddler.gitops(Arc::new(gitops)))
        .env(env)
        .build()
        .expect("the project fits the provider")
}

/// A world in which the castle stands.
pub fn standing(project: &Project) -> World {
    let left = Visit::new(project, Goal::Create).go();
    assert!(left.is_ok(), "a create without faults succeeds: {}", left.why());
    left.world
}

/// The command line, as it was built beside the proofs.
///
/// # Errors
///
/// Where it should be and how it is built, if it is not there.
pub fn command_line() -> Result<PathBuf, String> {
    let own = std::env::current_exe().expect("a running program has a path");
    let program = own.with_file_name(format!("castle{}", std::env::consts::EXE_SUFFIX));
    let release = if cfg!(debug_assertions) { "" } else { " --release" };
    let build = format!("build it with `cargo build{release} --example castle --example proofs`");
    if program.is_file() { Ok(program) } else { Err(format!("{} is missing: {build}", program.display())) }
}

/// An HTTP client without any of castle's guards, and the address of the lab's
/// Proxmox, for clients that do the wrong thing on purpose.
pub fn plain_client(options: &Options) -> (reqwest::Client, String) {
    let access = options.proxmox.as_ref().expect("the lab wrote the access");
    let Trust::Authorities(pem) = &access.trust else { panic!("a lab names its authority") };
    let mut token = reqwest::header::HeaderValue::from_str(&format!("PVEAPIToken={}", access.token.expose()))
        .expect("a token is printable");
    token.set_sensitive(true);
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(trusting(pem))
        .default_headers([(reqwest::header::AUTHORIZATION, token)].into_iter().collect())
        .build()
        .expect("a client of two settings");
    let house = access.url.trim_start_matches("https://").parse().expect("the lab names an address");
    let at = options.dial.resolve(house).expect("the lab maps its own address");
    (client, format!("https://{at}"))
}

fn trusting(pem: &str) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.expect("the lab writes PEM")).expect("the lab's authority is an authority");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Does the same to every item, on as many threads as there are cores, and gives
/// the results in the order of the items.
pub fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(place) else { return };
                    let result = work(item);
                    *results[place].lock().expect("nobody panics with it") = Some(result);
                }
            });
        }
    });
    results
        .into_iter()
        .map(|result| result.into_inner().expect("nobody panics with it").expect("every item was worked on"))
        .collect()
}
