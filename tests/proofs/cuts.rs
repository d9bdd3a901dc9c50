//! `proof power-cut/machines`: the power is cut at every interesting request,
//! and a new engine in an empty folder finishes the job.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use castle_core::{Error, ErrorKind, Goal, Meter, Milestone, Project, Result, SecretBytes, SecretKey, SecretStore};
use castle_lab::World;
use castle_lab::faults::{Fault, FaultEffect};
use castle_lab::journal::Entry;

use crate::rig::{Honest, Left, Meddler, Visit, blue};
use crate::{Depth, Proof};

/// A place to cut: the n-th request of a run, before or after its effect.
pub type Cut = (u64, bool);

/// Before and after the effect of every write; before the first read of each
/// kind; and once in each polling phase, that is in the middle of the reads of
/// one kind that stand together between two writes.
pub fn places(entries: &[Entry]) -> Vec<Cut> {
    let mut places = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut phase: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let end_phase = |phase: &mut BTreeMap<&str, Vec<u64>>, places: &mut Vec<Cut>| {
        for polls in std::mem::take(phase).into_values().filter(|polls| polls.len() > 2) {
            places.push((polls[polls.len() / 2], false));
        }
    };
    for entry in entries {
        if entry.write {
            end_phase(&mut phase, &mut places);
            places.extend([(entry.index, false), (entry.index, true)]);
        } else {
            if seen.insert((entry.backend.as_str(), entry.kind.as_str())) {
                places.push((entry.index, false));
            }
            phase.entry(&entry.kind).or_default().push(entry.index);
        }
    }
    end_phase(&mut phase, &mut places);
    places.sort_unstable();
    places.dedup();
    places
}

pub fn fault((index, after): Cut) -> Fault {
    Fault { index: Some(index), ..Fault::of(FaultEffect::Cut { after }) }
}

/// What is cut: a create or a destroy, and where it starts from.
struct Job<'a> {
    project: &'a Project,
    goal: Goal,
    until: Milestone,
    start: Option<&'a World>,
}

impl<'a> Job<'a> {
    fn visit(&self) -> Visit<'a> {
        Visit { world: self.start.cloned(), ..Visit::new(self.project, self.goal).until(self.until) }
    }
}

#[derive(Default)]
struct Tally {
    /// How many jobs were swept.
    jobs: usize,
    /// How many cuts really struck.
    cuts: usize,
    /// Visits that should have been cut, and came to their end.
    uncut: Vec<String>,
    converged: usize,
    /// Jobs that the last engine did not finish, whatever a further one may say.
    unfinished: usize,
    stuck: Vec<String>,
    leaked: Vec<String>,
    duplicated: Vec<String>,
    foreign: Vec<String>,
}

impl Tally {
    /// Cuts at each of `cuts` in turn, each time with a new engine, then lets the
    /// last engine finish, and looks at what is there.
    fn sweep(&mut self, job: &Job<'_>, cuts: &[Cut], meddler: &dyn Meddler) {
        let name = format!("{} cut at {cuts:?}", job.goal);
        self.jobs += 1;
        let mut world = job.start.cloned();
        for &cut in cuts {
            let visit = Visit { world: world.take(), ..job.visit() };
            let left = visit.with(fault(cut)).meddled(meddler).go();
            if left.was_cut() {
                self.cuts += 1;
            } else {
                self.uncut.push(format!("{name}: nothing was cut at {cut:?}, it ended {}", left.why()));
            }
            world = Some(left.world);
        }
        let visit = Visit { world, ..job.visit() };
        let end = visit.meddled(meddler).go();
        let again = job.visit().to(end.world.clone()).meddled(meddler).go();
        self.judge(&name, job, &end, &again);
    }

    fn judge(&mut self, name: &str, job: &Job<'_>, end: &Left, again: &Left) {
        let Job { project, goal, start, .. } = *job;
        let mut world = end.world.clone();
        world.settle();
        let vms = &world.proxmox.vms;
        let as_wanted = project.machines.iter().all(|spec| match (goal, vms.get(&spec.id.get())) {
            (Goal::Create, Some(vm)) => vm.is_running() && vm.lock().is_none(),
            (Goal::Destroy, None) => true,
            _ => false,
        });
        let finished = end.is_ok() && as_wanted;
        self.unfinished += usize::from(!finished);
        if finished && again.is_ok() && again.writes() == 0 {
            self.converged += 1;
        } else {
            let machines: Vec<_> = vms.keys().collect();
            self.stuck.push(format!(
                "{name}: {}; machines {machines:?}; again: {} writes, {}",
                end.why(),
                again.writes(),
                again.why()
            ));
        }
        self.leaked.extend(world.leftovers().into_iter().map(|what| format!("{name}: {what}")));
        let secrets = world.ledger.secrets.0.len();
        // The project key, the bundle, and the facts: began, bootstrap, born, complete, and ended.
        // Beyond the machines, each declared credential is kept, and put into escrow.
        let escrow = &project.escrow;
        let escrowed = usize::from(escrow.kubeconfig.is_some()) + usize::from(escrow.talosconfig.is_some());
        let born = (2 + 2 * escrowed) * usize::from(job.until > Milestone::MachinesRunning);
        let most = if goal == Goal::Create { 4 + born } else { 5 + born };
        if secrets > most {
            self.leaked.push(format!("{name}: {secrets} secrets instead of {most}"));
        }
        let births = |world: &World| world.proxmox.tasks.iter().filter(|task| task.kind == "qmcreate").count();
        let wanted = project.machines.len();
        if births(&world) != wanted.max(start.map_or(0, births)) {
            self.duplicated.push(format!("{name}: {} creations for {wanted} machines", births(&world)));
        }
        self.foreign.extend(world.foreign_touches().into_iter().map(|what| format!("{name}: {what}")));
        self.foreign.extend(world.violations().iter().map(|what| format!("{name}: {what}")));
    }

    fn tell(&self, proof: &mut Proof) {
        proof.figure("cuts", self.cuts).none("uncut", &self.uncut);
        proof.figure("jobs", self.jobs).figure("converged", self.converged);
        if self.cuts == 0 {
            proof.fail("no power was cut at all");
        }
        for stuck in &self.stuck {
            proof.fail(stuck.clone());
        }
        proof.none("leaked", &self.leaked).none("duplicated", &self.duplicated).none("foreign", &self.foreign);
    }
}

/// Cuts every `step`-th place of a run without the guard, and tells how it ends.
/// Without cuts that run must reach its goal: only then is it the cut that the guard
/// is for. For the same reason it is the end that counts, and not what an engine says
/// that looks once more.
fn refute(proof: &mut Proof, job: &Job<'_>, step: usize) {
    let meddler = Forgetful { life: 1 };
    let uncut = job.visit().meddled(&meddler).go();
    if !uncut.is_ok() {
        proof.fail(format!("without the guard it fails before any cut, which refutes nothing: {}", uncut.why()));
    }
    let mut tally = Tally::default();
    for &cut in places(&uncut.entries).iter().step_by(step) {
        tally.sweep(job, &[cut], &meddler);
    }
    for uncut in &tally.uncut {
        proof.fail(format!("without the guard: {uncut}"));
    }
    proof.figure("unguarded_unfinished", format!("{}/{}", tally.unfinished, tally.jobs));
    proof.refuted("the bundle of a life is stored before it is used", tally.unfinished > 0);
}

/// Cuts the power in create and destroy of `blue`, up to its running machines.
pub fn machines(depth: Depth) -> Proof {
    let project = blue();
    let mut tally = Tally::default();
    let job = Job { project: &project, goal: Goal::Create, until: Milestone::MachinesRunning, start: None };
    let create = job.visit().go();
    assert!(create.is_ok(), "a create without faults succeeds: {}", create.why());
    let created = places(&create.entries);
    for &cut in spread(&created, depth, 1) {
        tally.sweep(&job, &[cut], &Honest);
    }
    let removal = Job { goal: Goal::Destroy, start: Some(&create.world), ..job };
    let destroy = removal.visit().go();
    assert!(destroy.is_ok(), "a destroy without faults succeeds: {}", destroy.why());
    for &cut in spread(&places(&destroy.entries), depth, 1) {
        tally.sweep(&removal, &[cut], &Honest);
    }
    // The second cut of a pair falls into the second engine's own requests, which
    // differ with the first cut.
    let mut pairs = 0;
    for &first in spread(&created, depth, 6) {
        let cut = job.visit().with(fault(first)).go();
        let second = job.visit().to(cut.world).go();
        for &second in spread(&places(&second.entries), depth, 6) {
            tally.sweep(&job, &[first, second], &Honest);
            pairs += 1;
        }
    }
    let mut proof = Proof::new("power-cut/machines");
    proof.figure("pairs", pairs);
    tally.tell(&mut proof);
    refute(&mut proof, &job, 1);
    proof
}

/// Cuts the power in the create of `blue` up to its ready nodes.
pub fn api(depth: Depth) -> Proof {
    let project = blue();
    let mut tally = Tally::default();
    let job = Job { project: &project, goal: Goal::Create, until: Milestone::NodesReady, start: None };
    let create = job.visit().go();
    assert!(create.is_ok(), "a create without faults succeeds: {}", create.why());
    let created = places(&create.entries);
    for &cut in spread(&created, depth, 4) {
        tally.sweep(&job, &[cut], &Honest);
    }
    let mut proof = Proof::new("power-cut/api");
    tally.tell(&mut proof);
    refute(&mut proof, &job, 5);
    proof
}

/// All of them, or every n-th.
fn spread<T>(all: &[T], depth: Depth, quick_step: usize) -> impl Iterator<Item = &T> {
    all.iter().step_by(if depth == Depth::Full { 1 } else { quick_step })
}

/// Takes the guard away that makes a birth resumable: it accepts the bundle of a
/// life and does not keep it.
pub struct Forgetful {
    /// Which life's.
    pub life: u32,
}

impl Meddler for Forgetful {
    fn secrets(&self, real: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
        Arc::new(ForgetfulStore(real, format!("/talos/{}", self.life)))
    }
}

#[derive(Debug)]
struct ForgetfulStore(Arc<dyn SecretStore>, String);

#[async_trait]
impl SecretStore for ForgetfulStore {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn meter(&self) -> &Meter {
        self.0.meter()
    }
    async fn get(&self, key: &SecretKey) -> Result<Option<SecretBytes>> {
        self.0.get(key).await
    }
    async fn create(&self, key: &SecretKey, value: &SecretBytes) -> Result<()> {
        if key.as_str().ends_with(&self.1) {
            return Ok(());
        }
        self.0.create(key, value).await
    }
    async fn put(&self, key: &SecretKey, value: &SecretBytes) -> Result<bool> {
        self.0.put(key, value).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<SecretKey>> {
        self.0.list(prefix).await
    }
    async fn delete(&self, _: &SecretKey) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "castle deletes no secret here"))
    }
}
