//! The simulated home: one state machine that everything else only translates.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use castle_core::Pace;

use crate::draw::Draws;
use crate::external_secrets::{ExternalSecrets, ExternalSecretsEvent};
use crate::flux::{Flux, FluxEvent};
use crate::git::Git;
use crate::hypervisor::lock::LockName;
use crate::hypervisor::task::TaskFault;
use crate::hypervisor::{Hypervisor, Principal};
use crate::infisical::Infisical;
use crate::kube;
use crate::latency::Latency;
use crate::ledger::Ledger;
use crate::node::{NodeEvent, Nodes};
use crate::run::RunId;
use crate::workload::{WorkloadEvent, Workloads};

/// How often controllers may answer each other within one moment.
const CONTROLLER_ROUNDS: usize = 64;

/// Something that a test wants to happen to the world.
pub type Deed = Arc<dyn Fn(&mut World) + Send + Sync>;

/// A home lab as plain data: hosts, storages, machines, tasks, rights, secrets.
///
/// It reads no clock, no file and no socket. Time is what [`World::advance_to`]
/// was told, chance is [`World::draws`], and both halves of a power cut see the
/// same world because it can be carried (or cloned) from one lab into the next.
///
/// # Guarantees
///
/// Events run in the order of their time, then of their making. The invariants
/// are checked after each event and after each request; what they find stays in
/// [`World::violations`].
#[derive(Clone)]
pub struct World {
    /// The Proxmox VE cluster.
    pub proxmox: Hypervisor,
    /// The Talos nodes behind its machines, and what they make together.
    pub nodes: Nodes,
    /// The Kubernetes objects of the cluster.
    pub kubernetes: kube::Store,
    /// What runs in the cluster.
    pub workloads: Workloads,
    /// The cluster's Flux.
    pub flux: Flux,
    /// The cluster's external-secrets.
    pub external_secrets: ExternalSecrets,
    /// The house's Git server.
    pub git: Git,
    /// The house's Infisical.
    pub infisical: Infisical,
    /// The floor's own page: runs, stored secrets, certificate authority.
    pub ledger: Ledger,
    /// The time since 1970 at which the world began.
    pub epoch: Duration,
    /// How fast the world's time runs against the wall clock's.
    pub(crate) pace: Pace,
    /// Whether requests take time. Off, only the work behind them does.
    pub request_latency: bool,
    pub(crate) now: Duration,
    pub(crate) draws: Draws,
    pub(crate) weather: Weather,
    pub(crate) incarnations: u64,
    pub(crate) processes: u32,
    pub(crate) last_broadcast: Option<Duration>,
    /// Whether a machine came onto the segment or changed on it since the last check.
    pub(crate) segment_changed: bool,
    pub(crate) touches: Vec<ForeignTouch>,
    queue: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    revision: u64,
    counters: BTreeMap<(String, String), u64>,
    trace: Vec<(Duration, String)>,
    violations: Vec<String>,
    watches: Vec<Watch>,
    served: BTreeMap<RunId, u64>,
}

/// What a test has planted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Weather {
    pub task_faults: Vec<(String, Option<u32>, TaskFault)>,
    pub statistics_frozen: bool,
    pub frozen_view: Option<Box<Hypervisor>>,
}

/// A write by castle to a machine that castle did not make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForeignTouch {
    pub machine: u32,
    pub text: String,
}

/// What is due at some time.
#[derive(Clone)]
pub(crate) enum Event {
    /// A task goes on.
    Resume { task: usize, wake: u64 },
    /// A task has waited long enough for a lock.
    LockTimeout { task: usize, wake: u64, name: LockName },
    /// Somebody outside the model lets go of a lock file.
    LockFreed(LockName),
    /// Something is due on a node.
    Node(NodeEvent),
    /// Something is due in a workload.
    Workload(WorkloadEvent),
    /// Something is due in Flux.
    Flux(FluxEvent),
    /// Something is due in external-secrets.
    ExternalSecrets(ExternalSecretsEvent),
    /// A test's deed.
    Deed(Deed),
}

#[derive(Clone)]
struct Watch {
    run: Option<RunId>,
    kind: Option<String>,
    entity: Option<String>,
    skip: u32,
    after: bool,
    deed: Deed,
}

/// Which request a test waits for.
///
/// ```
/// use castle_lab::world::Moment;
///
/// let before_the_second_delete_of_421 = Moment::before("DELETE qemu").of("421").skipping(1);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Moment {
    kind: Option<String>,
    entity: Option<String>,
    run: Option<RunId>,
    skip: u32,
    after: bool,
}

impl Moment {
    /// Just before the effect of a request of that kind, exact or with a `*` at
    /// the end.
    pub fn before(kind: impl Into<String>) -> Self {
        Self { kind: Some(kind.into()), ..Self::default() }
    }

    /// Just after the effect of a request of that kind.
    pub fn after(kind: impl Into<String>) -> Self {
        Self { after: true, ..Self::before(kind) }
    }

    /// Just before the effect of the n-th request (from 0) of a run that reaches
    /// the world, whatever it asks.
    #[must_use]
    pub fn before_request(run: RunId, index: u32) -> Self {
        Self { run: Some(run), skip: index, ..Self::default() }
    }

    /// Only requests about that entity.
    #[must_use]
    pub fn of(mut self, entity: impl Into<String>) -> Self {
        self.entity = Some(entity.into());
        self
    }

    /// Only requests of that run.
    #[must_use]
    pub fn in_run(mut self, run: RunId) -> Self {
        self.run = Some(run);
        self
    }

    /// Lets so many matching requests pass first.
    #[must_use]
    pub fn skipping(mut self, count: u32) -> Self {
        self.skip = count;
        self
    }
}

impl World {
    /// A world without hosts, at time zero.
    #[must_use]
    pub fn empty(seed: u64) -> Self {
        // A fixed beginning: two runs of one seed agree in every byte.
        let epoch = Duration::from_secs(1_763_711_488);
        Self {
            proxmox: Hypervisor::default(),
            nodes: Nodes::default(),
            kubernetes: kube::Store::new(Draws::new(seed), epoch),
            workloads: Workloads::default(),
            flux: Flux::default(),
            external_secrets: ExternalSecrets::default(),
            git: Git::default(),
            infisical: Infisical::default(),
            ledger: Ledger::default(),
            epoch,
            pace: Pace::Virtual,
            request_latency: true,
            now: Duration::ZERO,
            draws: Draws::new(seed),
            weather: Weather::default(),
            incarnations: 0,
            processes: 0,
            last_broadcast: None,
            segment_changed: false,
            touches: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            revision: 0,
            counters: BTreeMap::new(),
            trace: Vec::new(),
            violations: Vec::new(),
            watches: Vec::new(),
            served: BTreeMap::new(),
        }
    }

    /// The time since the world began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The second since 1970.
    #[must_use]
    pub fn unix_now(&self) -> u64 {
        self.wall().as_secs()
    }

    /// What the wall clock shows, as the time since 1970.
    #[must_use]
    pub fn wall(&self) -> Duration {
        self.wall_at(self.now)
    }

    /// What the wall clock shows at a time of the world, as the time since 1970.
    #[must_use]
    pub fn wall_at(&self, at: Duration) -> Duration {
        self.epoch + self.pace.on_the_wall(at)
    }

    /// Chance.
    #[must_use]
    pub fn draws(&self) -> Draws {
        self.draws
    }

    /// The number of the next draw for an entity and an act; each call counts.
    pub fn nth(&mut self, entity: &str, act: &str) -> u64 {
        let counter = self.counters.entry((entity.to_owned(), act.to_owned())).or_default();
        let nth = *counter;
        *counter += 1;
        nth
    }

    /// The number that the next [`World::nth`] will give, without counting.
    #[must_use]
    pub fn upcoming_nth(&self, entity: &str, act: &str) -> u64 {
        self.counters.get(&(entity.to_owned(), act.to_owned())).copied().unwrap_or(0)
    }

    /// Draws the duration of one act on one entity.
    pub(crate) fn draw(&mut self, latency: Latency, entity: &str, act: &str) -> Duration {
        let nth = self.nth(entity, act);
        self.draws.duration(latency, entity, act, nth)
    }

    /// Draws bytes for generated ids: 16 of them, by what they are for.
    pub(crate) fn draw_bytes(&mut self, entity: &str, act: &str) -> [u8; 16] {
        let nth = self.nth(entity, act);
        let half = |name: &str| (self.draws.unit(entity, &format!("{act} {name}"), nth) * 2_f64.powi(52)) as u64;
        let (high, low) = (half("high") << 12 | half("mixed") & 0xFFF, half("low") << 12 | half("mixed") >> 40);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high.to_be_bytes());
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        bytes
    }

    /// Keeps a line of the world's history, for digests and for reading.
    pub fn log(&mut self, what: impl Into<String>) {
        self.trace.push((self.now, what.into()));
    }

    /// The world's history.
    #[must_use]
    pub fn trace(&self) -> &[(Duration, String)] {
        &self.trace
    }

    /// Every invariant that did not hold, and when.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// When something is due next. The statistics broadcast is not counted: it
    /// changes nothing but what old news say, so an idle world has no next event.
    #[must_use]
    pub fn next_event_at(&self) -> Option<Duration> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn enqueue(&mut self, at: Duration, event: Event) {
        let sequence = self.sequence;
        self.sequence += 1;
        self.queue.insert((at.max(self.now), sequence), event);
    }

    /// How long a task still has to work, lock waits not counted.
    pub(crate) fn due_after(&self, task: usize) -> Duration {
        let Some(worker) = self.proxmox.tasks.get(task) else { return Duration::ZERO };
        let next = self.queue.iter().find_map(|((at, _), event)| match event {
            Event::Resume { task: of, wake } if *of == task && *wake == worker.wake => Some(*at),
            _ => None,
        });
        next.unwrap_or(self.now).saturating_sub(self.now) + worker.remaining_work()
    }

    /// Lets time pass until `target`, with everything that is due on the way.
    /// Time never runs backwards: an earlier `target` is the present.
    pub fn advance_to(&mut self, target: Duration) {
        let target = target.max(self.now);
        while let Some(entry) = self.queue.first_entry() {
            let at = entry.key().0;
            if at > target {
                break;
            }
            let event = entry.remove();
            self.broadcast_until(at);
            self.now = at;
            self.kubernetes.set_wall(self.wall_at(at));
            self.happen(event);
            self.follow();
            self.check_invariants();
        }
        self.broadcast_until(target);
        self.now = target;
        self.kubernetes.set_wall(self.wall_at(target));
    }

    /// Lets time pass until nothing is due any more, for tests without a clock.
    pub fn settle(&mut self) {
        while let Some(at) = self.next_event_at() {
            self.advance_to(at);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Resume { task, wake } => self.resume(task, wake),
            Event::LockTimeout { task, wake, name } => self.lock_timed_out(task, wake, &name),
            Event::LockFreed(name) => self.lock_freed(&name),
            Event::Node(event) => self.node_happens(&event),
            Event::Workload(event) => self.workload_happens(&event),
            Event::Flux(event) => self.flux_happens(&event),
            Event::ExternalSecrets(event) => self.external_secrets_happen(&event),
            Event::Deed(deed) => deed(self),
        }
        self.revision += 1;
    }

    /// Counts what has happened: whoever follows the world compares it.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Draws the consequences of a change that was made from outside: machines
    /// that were switched on begin to boot, machines that vanished are forgotten.
    pub fn follow(&mut self) {
        self.follow_nodes();
        // What one controller writes, another follows; a circle that never rests is
        // a fault of the model.
        for _ in 0..CONTROLLER_ROUNDS {
            let before = self.kubernetes.revision();
            self.follow_workloads();
            self.follow_external_secrets();
            self.follow_flux();
            if self.kubernetes.revision() == before {
                return;
            }
        }
        self.log("the controllers did not come to rest");
    }

    /// Plans an event.
    pub(crate) fn at(&mut self, time: Duration, event: Event) {
        self.enqueue(time, event);
    }

    /// Plans a deed for a time.
    pub fn schedule(&mut self, at: Duration, deed: impl Fn(&mut Self) + Send + Sync + 'static) {
        self.enqueue(at, Event::Deed(Arc::new(deed)));
    }

    /// Plans a deed for the first request of that description. It happens once.
    pub fn when(&mut self, moment: Moment, deed: impl Fn(&mut Self) + Send + Sync + 'static) {
        let Moment { kind, entity, run, skip, after } = moment;
        self.watches.push(Watch { run, kind, entity, skip, after, deed: Arc::new(deed) });
    }

    /// How many requests of a run have reached the world.
    #[must_use]
    pub fn served(&self, run: RunId) -> u64 {
        self.served.get(&run).copied().unwrap_or(0)
    }

    /// A request is about to have its effect.
    pub(crate) fn arriving(&mut self, run: RunId, kind: &str, entity: &str) {
        if self.fire(run, kind, entity, false) {
            self.check_invariants();
        }
        *self.served.entry(run).or_default() += 1;
    }

    /// A request has had its effect.
    pub(crate) fn answered(&mut self, run: RunId, kind: &str, entity: &str) {
        let stirred = self.fire(run, kind, entity, true);
        // Reads change nothing, and a client may make thousands of them.
        if stirred || !kind.starts_with("GET") {
            self.check_invariants();
        }
    }

    /// Does the deeds that waited for this; says whether there were any.
    fn fire(&mut self, run: RunId, kind: &str, entity: &str, after: bool) -> bool {
        let kind_matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(prefix) => kind.starts_with(prefix),
            None => kind == pattern,
        };
        let mut deeds = Vec::new();
        self.watches.retain_mut(|watch| {
            let hit = watch.after == after
                && watch.run.is_none_or(|wanted| wanted == run)
                && watch.kind.as_deref().is_none_or(kind_matches)
                && watch.entity.as_deref().is_none_or(|wanted| wanted == entity);
            if !hit {
                return true;
            }
            if watch.skip > 0 {
                watch.skip -= 1;
                return true;
            }
            deeds.push(watch.deed.clone());
            false
        });
        for deed in &deeds {
            deed(self);
        }
        !deeds.is_empty()
    }

    /// Notes a write by castle's token to a machine that castle did not make.
    /// The world knows the maker by itself and asks no mark.
    pub(crate) fn touch(&mut self, who: &Principal, machine: u32, what: &str) {
        let Some(vm) = self.proxmox.vms.get(&machine) else { return };
        if who.is_castle() && vm.maker == crate::hypervisor::Maker::Admin {
            let text = format!("{:.3} s: {who} {what} VM {machine} ({})", self.now.as_secs_f64(), vm.name());
            self.violations.push(format!("foreign machine touched: {text}"));
            self.touches.push(ForeignTouch { machine, text });
        }
    }

    /// Every write by castle's token to a machine that castle did not make.
    #[must_use]
    pub fn foreign_touches(&self) -> Vec<String> {
        self.touches.iter().map(|touch| touch.text.clone()).collect()
    }

    /// Whether castle has left the foreign machines of that number alone.
    #[must_use]
    pub fn untouched(&self, machine: u32) -> bool {
        self.touches.iter().all(|touch| touch.machine != machine)
    }

    fn check_invariants(&mut self) {
        let mut found = self.broken_invariants();
        found.extend(self.broken_node_invariants());
        // Comparing every machine with every other is for when one has changed.
        if std::mem::take(&mut self.segment_changed) {
            found.extend(self.twins());
        }
        for broken in found {
            let line = format!("{:.3} s: {broken}", self.now.as_secs_f64());
            // One breach lasts; it is reported when it begins.
            if !self.violations.iter().any(|known| known.ends_with(&broken)) {
                self.violations.push(line);
            }
        }
    }
}

impl fmt::Debug for World {
    /// What can be printed without a flood or a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("now", &self.now)
            .field("seed", &self.draws.seed())
            .field("hosts", &self.proxmox.hosts.keys().collect::<Vec<_>>())
            .field("vms", &self.proxmox.vms.keys().collect::<Vec<_>>())
            .field("tasks", &self.proxmox.tasks.len())
            .field("ledger", &self.ledger)
            .field("violations", &self.violations)
            .finish_non_exhaustive()
    }
}
