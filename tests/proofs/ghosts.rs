//! `proof ghosts`: residue of former lives, of other clusters and of strangers is
//! met, named with its cure, never written upon, and gone after the cure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use castle_core::{
    Castle, Context, Env, Event, EventKind, Ghost, Goal, Identity, LostLife, Milestone, NodeSite, NodeTarget, Outcome,
    Project, Report, RunOptions, SecretBytes, Vault,
};
use castle_lab::journal::Journal;
use castle_lab::node::{EtcdMember, MachineType, Residue};
use castle_lab::{Lab, RunId, World, runtime};
use castle_talos::{SecretsBundle, TalosIdentity};

use crate::Proof;
use crate::rig::{Honest, Meddler, blue, open, project};

const STRANGER: &str = "deadbeef-0000-4000-8000-000000000001";
const GHOST_PLANE: &str = "192.168.1.250";
/// The discovery service forgets an entry after thirty minutes.
const FORGOTTEN: Duration = Duration::from_secs(31 * 60);

/// What happened before the residue is planted.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    /// A create as far as this.
    Created(Milestone),
    /// A life that stood and was destroyed.
    Ended,
    /// A life that stood, and a destroy that lost its power.
    HalfEnded,
}

/// What the name's cure asks for.
#[derive(Clone, Copy)]
enum Cure {
    /// Destroy and create again.
    NewLife,
    /// Wait until the discovery service forgets.
    WaitOut,
    /// Remove the member whose id was planted.
    RemoveMember(u64),
    /// The stranger gets another address.
    StrangerLeaves,
    /// Create alone: it says what it replaces.
    CreateAgain,
}

struct Case {
    name: &'static str,
    project: fn() -> Project,
    before: Before,
    plant: fn(&Stage, &mut World),
    /// What the name and the cure must say.
    says: &'static [&'static str],
    /// Nodes, and strangers, that must not be given a configuration.
    spared: &'static [&'static str],
    cure: Cure,
}

/// A lab, a castle in it, and what a planter may know.
pub struct Stage {
    /// The lab.
    pub lab: Arc<Lab>,
    /// The castle.
    pub castle: Castle,
    /// The castle's run.
    pub run: RunId,
    /// The secrets of the life that goes on.
    bundle: Option<SecretBytes>,
    /// What the machines of the former life were configured with.
    former: BTreeMap<u32, String>,
}

fn fortress() -> Project {
    project(include_str!("../../examples/projects/fortress/proxmox/castle.yaml"))
}

fn cases() -> Vec<Case> {
    const LEARNER: u64 = 0x0dea_d000_0000_0001;
    const VOTER: u64 = 0x0dea_d000_0000_0002;
    let nodes = Before::Created(Milestone::NodesReady);
    let machines = Before::Created(Milestone::MachinesRunning);
    let case =
        |name, before, says, spared, cure, plant| Case { name, project: blue, before, plant, says, spared, cure };
    let wide =
        |name, before, says, cure, plant| Case { name, project: fortress, before, plant, says, spared: &[], cure };
    vec![
        case(
            "another cluster's configuration on a control plane's disk",
            Before::Nothing,
            &["old-configuration on blue-cp-01", "destroy the machine with its disks"],
            &["blue-cp-01"],
            Cure::NewLife,
            |stage, world| {
                let text = stage.rendered("blue-cp-01", &stage.other_bundle());
                world.plant_residue(421, Residue::Config(text));
            },
        ),
        case(
            "the former life's configuration on a control plane's disk",
            Before::Ended,
            &["old-configuration on blue-cp-01", "destroy the machine with its disks"],
            &["blue-cp-01"],
            Cure::NewLife,
            |stage, world| world.plant_residue(421, Residue::Config(stage.former[&421].clone())),
        ),
        // A worker of another cluster waits for a control plane that is gone, and
        // listens nowhere meanwhile: it can be suspected, not seen.
        case(
            "the former life's configuration on a worker's disk",
            Before::Ended,
            &["`node/blue-wk-01/answer`", "another cluster's configuration", "destroy the cluster"],
            &["blue-wk-01"],
            Cure::NewLife,
            |stage, world| world.plant_residue(431, Residue::Config(stage.former[&431].clone())),
        ),
        case(
            "an etcd's data on a control plane's disk",
            Before::Nothing,
            &["ephemeral-residue on blue-cp-01", "destroy the machine with its disks"],
            &["blue-cp-01"],
            Cure::NewLife,
            |_, world| world.plant_residue(421, Residue::Etcd { members: 3 }),
        ),
        case(
            "a used partition on a worker's disk",
            Before::Nothing,
            &["ephemeral-residue on blue-wk-02", "destroy the machine with its disks"],
            &["blue-wk-02"],
            Cure::NewLife,
            |_, world| world.plant_residue(432, Residue::Ephemeral),
        ),
        case(
            "a stranger at a node's address",
            Before::Nothing,
            &["foreign-machine on blue-cp-01", STRANGER, "give it another address"],
            &["stranger-2000000000"],
            Cure::StrangerLeaves,
            |_, world| world.plant_stranger(stranger_address(), STRANGER),
        ),
        case(
            "a machine that somebody else configured",
            machines,
            &["old-configuration on blue-cp-01", "destroy the machine with its disks"],
            &["blue-cp-01"],
            Cure::NewLife,
            |stage, world| world.plant_configuration(421, stage.rendered("blue-cp-01", &stage.other_bundle())),
        ),
        case(
            "a node that counts itself to another cluster",
            machines,
            &["wrong-cluster-id on blue-wk-02", "destroy the machine with its disks"],
            &["blue-wk-02"],
            Cure::NewLife,
            |stage, world| {
                let mut bundle = SecretsBundle::parse(stage.bundle.as_ref().expect("a life goes on"))
                    .expect("castle wrote its own bundle");
                bundle.cluster_id = "bGlmZSBvZiBzb21lYm9keSBlbHNlIGVudGlyZWx5IQ==".into();
                world.plant_configuration(432, stage.rendered("blue-wk-02", &bundle.to_yaml()));
            },
        ),
        case(
            "machines of a life that was ended and not removed",
            Before::HalfEnded,
            &["a remainder of life 1"],
            &[],
            Cure::CreateAgain,
            |_, _| {},
        ),
        case(
            "a machine that was born twice in one life",
            nodes,
            &["doubled-member on", "192.168.1.215", "wait until the discovery service forgets it"],
            &[],
            Cure::WaitOut,
            |_, world| world.admin_destroy(432),
        ),
        wide(
            "a dead control plane in the discovery service",
            machines,
            &["stale-affiliate on", GHOST_PLANE, "wait until the discovery service forgets it"],
            Cure::WaitOut,
            plant_dead_plane,
        ),
        wide(
            "a dead control plane in the discovery service, and no time",
            machines,
            &["stale-affiliate on", GHOST_PLANE, "a new life with a new cluster id does not see it"],
            Cure::NewLife,
            plant_dead_plane,
        ),
        wide(
            "a learner that died before it voted",
            nodes,
            &["stuck-learner on", "0dead00000000001", "remove the member"],
            Cure::RemoveMember(LEARNER),
            |_, world| {
                // Its machine is made again, and cannot join beside the learner.
                world.admin_destroy(523);
                plant_member(world, LEARNER, true);
            },
        ),
        wide(
            "a member of etcd that is no node",
            nodes,
            &["impostor-member on", "0dead00000000002", "remove the member by its id"],
            Cure::RemoveMember(VOTER),
            |_, world| plant_member(world, VOTER, false),
        ),
    ]
}

fn stranger_address() -> IpAddr {
    blue().machines[0].nic.address
}

fn plant_dead_plane(stage: &Stage, world: &mut World) {
    let id = stage.cluster_id();
    world.plant_affiliate(&id, "old-cp", GHOST_PLANE.parse().expect("an address"), MachineType::ControlPlane);
}

fn plant_member(world: &mut World, id: u64, learner: bool) {
    let etcd = world.nodes.etcds.values_mut().next().expect("etcd was born");
    let address = Some(GHOST_PLANE.parse().expect("an address"));
    etcd.members.insert(id, EtcdMember { id, name: "old-cp".into(), address, machine: u32::MAX, learner });
}

impl Stage {
    /// The secrets of a cluster that is not this one.
    pub fn other_bundle(&self) -> SecretBytes {
        SecretsBundle::generate(&self.lab.env(RunId(99))).expect("keys can be made").to_yaml()
    }

    /// A node's configuration with some bundle.
    pub fn rendered(&self, node: &str, bundle: &SecretBytes) -> String {
        let project = self.castle.project();
        let spec = project.machine(node).expect("a declared node").clone();
        let site = NodeSite { project: Arc::new(project.clone()), bundle: bundle.clone() };
        let target = NodeTarget { spec, uuid: uuid::Uuid::nil() };
        let bytes = castle_talos::config::render(&site, &target).expect("the project is valid");
        String::from_utf8(bytes.expose().clone()).expect("YAML is text")
    }

    fn cluster_id(&self) -> String {
        TalosIdentity.cluster_id(self.bundle.as_ref().expect("a life goes on")).expect("castle wrote its own bundle")
    }

    async fn learn_bundle(&mut self) {
        let project = self.castle.project();
        let vault = Vault::new(self.lab.secrets(self.run), project.project.clone(), project.cluster.name.clone());
        let lives = vault.lives().await.expect("the lab's store answers");
        if let Some((number, _)) = lives.current() {
            self.bundle = vault.bundle(number).await.expect("the lab's store answers");
        }
    }

    /// Runs, and tells how it went.
    pub async fn reach(&self, goal: Goal, until: Milestone) -> (Report, Vec<Event>) {
        let options = RunOptions { until: Some(until), lost_life: LostLife::Continue, ..RunOptions::default() };
        let run = self.castle.run(goal, options);
        let log = run.log();
        let report = run.await;
        (report, log.events())
    }

    /// What haunts the cluster.
    pub async fn ghosts(&self) -> Vec<Ghost> {
        let cx = Context::new(self.castle.env().clone());
        self.castle.ghosts(&cx).await.unwrap_or_else(|error| panic!("ghosts are looked for: {}", error.chain()))
    }

    async fn prepare(&mut self, before: Before) -> Result<(), String> {
        let until = match before {
            Before::Nothing => return Ok(()),
            Before::Created(until) => until,
            Before::Ended | Before::HalfEnded => Milestone::NodesReady,
        };
        let (report, _) = self.reach(Goal::Create, until).await;
        ok(&report, "the life before")?;
        self.learn_bundle().await;
        self.former = self.lab.with_world(|world| {
            let configured = world.nodes.iter().filter_map(|node| Some((node.vm, node.config()?)));
            configured.map(|(vm, config)| (vm, config.text.expose().clone())).collect()
        });
        match before {
            Before::Ended => ok(&self.reach(Goal::Destroy, until).await.0, "its end"),
            Before::HalfEnded => {
                self.destroy_until_a_removal_begins().await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A destroy whose process ends in the middle.
    async fn destroy_until_a_removal_begins(&self) {
        let mut run = self.castle.run(Goal::Destroy, RunOptions::default());
        let mut events = run.log().subscribe();
        let begins = async {
            while let Some(event) = events.next().await {
                if matches!(&event.kind, EventKind::StepStarted { step, .. } if step.ends_with("/remove")) {
                    break;
                }
            }
        };
        tokio::select! {
            biased;
            _ = &mut run => panic!("the destroy is stopped before its end"),
            () = begins => {}
        }
    }

    async fn cure(&self, cure: Cure) -> Result<(), String> {
        match cure {
            Cure::NewLife => ok(&self.reach(Goal::Destroy, Milestone::MachinesRunning).await.0, "the destroy"),
            Cure::WaitOut => {
                self.castle.env().clock.sleep(FORGOTTEN).await;
                Ok(())
            }
            Cure::RemoveMember(id) => {
                let cx = Context::new(self.castle.env().clone());
                self.castle.remove_member(&cx, id, None).await.map(drop).map_err(|error| error.chain())
            }
            Cure::StrangerLeaves => {
                self.lab.with_world(|world| world.remove_stranger(stranger_address()));
                Ok(())
            }
            Cure::CreateAgain => Ok(()),
        }
    }
}

fn ok(report: &Report, what: &str) -> Result<(), String> {
    if report.outcome == Outcome::Ok {
        return Ok(());
    }
    Err(format!("{what} ended as {:?}: {}", report.outcome, told(report, &[], &[])))
}

/// Everything that a person would read.
fn told(report: &Report, events: &[Event], ghosts: &[Ghost]) -> String {
    let mut lines = Vec::new();
    if let Some(error) = &report.error {
        lines.push(format!("{} ({})", error.chain(), error.advice().unwrap_or_default()));
    }
    lines.extend(
        report.problems.iter().map(|problem| format!("{problem} ({})", problem.hint.as_deref().unwrap_or_default())),
    );
    for event in events {
        if let EventKind::Planned { changes } = &event.kind {
            lines.extend(changes.iter().cloned());
        }
    }
    lines.extend(ghosts.iter().map(|ghost| format!("{ghost} ({})", ghost.cure)));
    lines.join("\n")
}

/// What became of one case.
#[derive(Default)]
struct Verdict {
    unnamed: Option<String>,
    uncured: Option<String>,
    wronged: Vec<String>,
}

/// Plays a story in a new lab.
pub fn in_lab<T: Send>(
    project: &Project,
    journal: Journal,
    meddler: &dyn Meddler,
    story: impl AsyncFnOnce(Stage) -> T + Send,
) -> (T, World) {
    let builder = Lab::builder(project).seed(1).journal(journal);
    let outcome = runtime::run_virtual_until_cut(builder, |lab| async move {
        let run = lab.new_run();
        let castle = open(project, &lab, run, meddler);
        story(Stage { lab, castle, run, bundle: None, former: BTreeMap::new() }).await
    });
    match outcome.unwrap_or_else(|error| panic!("the lab starts: {}", error.chain())) {
        runtime::Outcome::Done(value, world) => (value, world),
        runtime::Outcome::Cut(_) => panic!("nobody planned a power cut"),
    }
}

fn try_case(case: &Case) -> Verdict {
    let project = (case.project)();
    let journal = Journal::new();
    let entries = journal.clone();
    let (mut verdict, world) = in_lab(&project, journal, &Honest, async move |mut stage| {
        let mut verdict = Verdict::default();
        if let Err(why) = stage.prepare(case.before).await {
            verdict.unnamed = Some(why);
            return verdict;
        }
        let lab = stage.lab.clone();
        lab.with_world(|world| (case.plant)(&stage, world));
        let begun = entries.len();
        let (report, events) = stage.reach(Goal::Create, Milestone::NodesReady).await;
        let text = told(&report, &events, &stage.ghosts().await);
        let missing: Vec<_> = case.says.iter().filter(|word| !text.contains(**word)).collect();
        if !missing.is_empty() {
            verdict.unnamed = Some(format!("{missing:?} is not said ({:?}): {text}", report.outcome));
        }
        verdict.wronged.extend(
            entries.entries()[begun..]
                .iter()
                .filter(|entry| entry.kind.ends_with("ApplyConfiguration") && case.spared.contains(&&*entry.entity))
                .map(|entry| format!("{} was given a configuration", entry.entity)),
        );
        let cured = async {
            stage.cure(case.cure).await?;
            ok(&stage.reach(Goal::Create, Milestone::NodesReady).await.0, "the create after the cure")?;
            let mut ghosts = stage.ghosts().await;
            if matches!(case.cure, Cure::RemoveMember(_)) {
                // A machine that was made again in one life is remembered for a while.
                ghosts.retain(|ghost| case.says.iter().any(|word| ghost.to_string().contains(word)));
            }
            if ghosts.is_empty() { Ok(()) } else { Err(format!("it still haunts: {ghosts:?}")) }
        };
        verdict.uncured = cured.await.err();
        verdict
    });
    verdict.wronged.extend(world.violations().iter().cloned());
    verdict
}

/// Makes no new identity: every life is the first one again.
#[derive(Debug, Default)]
struct Reincarnation {
    real: Option<Arc<dyn Identity>>,
    first: Mutex<Option<SecretBytes>>,
}

impl Identity for Reincarnation {
    fn generate(&self, env: &Env) -> castle_core::Result<SecretBytes> {
        let mut first = self.first.lock().expect("nobody panics with it");
        if let Some(bundle) = first.as_ref() {
            return Ok(bundle.clone());
        }
        let bundle = self.real.as_ref().expect("it wraps one").generate(env)?;
        Ok(first.insert(bundle).clone())
    }

    fn cluster_id(&self, bundle: &SecretBytes) -> castle_core::Result<String> {
        TalosIdentity.cluster_id(bundle)
    }
}

struct OldIdentity;

impl Meddler for OldIdentity {
    fn identity(&self, real: Arc<dyn Identity>) -> Arc<dyn Identity> {
        Arc::new(Reincarnation { real: Some(real), first: Mutex::default() })
    }
}

/// A life, its end, and the next: what haunts the second.
fn haunted(meddler: &dyn Meddler) -> Vec<String> {
    let (found, _) = in_lab(&fortress(), Journal::new(), meddler, async |stage| {
        let mut found = Vec::new();
        for goal in [Goal::Create, Goal::Destroy, Goal::Create] {
            let (report, _) = stage.reach(goal, Milestone::NodesReady).await;
            found.extend(ok(&report, &goal.to_string()).err());
        }
        found.extend(stage.ghosts().await.iter().map(ToString::to_string));
        found
    });
    found
}

/// Plants every kind of residue, and cures it.
pub fn prove() -> Proof {
    let mut proof = Proof::new("ghosts");
    let (mut wrong, mut named, mut cured) = (Vec::new(), 0, 0);
    let cases = cases();
    for case in &cases {
        let Verdict { unnamed, uncured, wronged } = try_case(case);
        named += usize::from(unnamed.is_none());
        cured += usize::from(uncured.is_none());
        wrong.extend(wronged.into_iter().map(|what| format!("{}: {what}", case.name)));
        if let Some(why) = unnamed {
            proof.fail(format!("{} is not named: {why}", case.name));
        }
        if let Some(why) = uncured {
            proof.fail(format!("{} is not cured: {why}", case.name));
        }
    }
    let haunted_anyway = haunted(&Honest);
    if !haunted_anyway.is_empty() {
        proof.fail(format!("a new life is haunted by the former one: {haunted_anyway:?}"));
    }
    proof.figure("cases", cases.len()).figure("named", named).figure("cured", cured).none("wronged", &wrong);
    proof.refuted("every life has a new identity", !haunted(&OldIdentity).is_empty());
    proof
}
