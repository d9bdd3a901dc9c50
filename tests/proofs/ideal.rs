//! `proof ideal`: the ideal time follows from the project, the seed and the lab's
//! tables alone, and is drawn before the run; an idle castle makes the run longer and
//! not the ideal.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use castle_core::{
    Birth, Capabilities, Context, Env, Goal, Inventory, Machine, MachineProvider, MachineSpec, Meter, Milestone,
    Options, Outcome, Owner, Power, Problem, Project, Removal, Report, Result, RunOptions, Slot,
};
use castle_lab::ideal::{Beginning, cluster_ideal, machines_ideal};
use castle_lab::{Lab, World, runtime};
use serde_json::Value;

use crate::Proof;
use crate::rebirth::whole;
use crate::rig::{Honest, Meddler, blue, command_line, open};

/// How long the idle castle does nothing: once before its run, and once in it.
const IDLE: Duration = Duration::from_secs(10);
/// The idle time may move every later request against the lab's broadcasts and Flux'
/// polls, so the sum may differ by a poll.
const POLL: f64 = 0.5;
/// The seed of the homes.
const SEED: u64 = 7;
const PROJECT: &str = "examples/projects/blue/proxmox";

/// What is done, and where it begins.
struct Job {
    project: Project,
    goal: Goal,
    until: Milestone,
    world: World,
}

impl Job {
    fn all() -> [Self; 4] {
        let job = |goal, until, world: &World| Self { project: blue(), goal, until, world: world.clone() };
        let (empty, standing) = (World::home(&blue(), SEED), whole(&blue(), SEED));
        [
            job(Goal::Create, Milestone::MachinesRunning, &empty),
            job(Goal::Create, Milestone::AppsReady, &empty),
            job(Goal::Rebirth, Milestone::AppsReady, &standing),
            job(Goal::Destroy, Milestone::AppsReady, &standing),
        ]
    }

    fn name(&self) -> String {
        format!("{} up to {}", self.goal, self.until.name())
    }

    /// The shortest time from this world on, as the command line asks for it.
    fn ideal(&self, world: &World) -> Duration {
        let beginning = if self.goal == Goal::Rebirth { Beginning::Standing } else { Beginning::Empty };
        match self.goal {
            Goal::Destroy => machines_ideal(&self.project, world).destroy,
            _ => cluster_ideal(&self.project, world, beginning).unwrap_or_else(|why| panic!("{why}")).at(self.until),
        }
    }

    /// Runs it in a lab of its own.
    fn run(&self, draw: Draw, idle: bool) -> Course {
        let lazy = Idle;
        let meddler: &dyn Meddler = if idle { &lazy } else { &Honest };
        let (ideal, report) = runtime::run_virtual(|| async move {
            let builder = Lab::builder(&self.project).seed(SEED).world(self.world.clone());
            let lab = builder.start().await.expect("a lab");
            if idle {
                lab.clock().sleep(IDLE).await;
            }
            let castle = open(&self.project, &lab, lab.new_run(), meddler);
            let before = lab.with_world(|world| self.ideal(world));
            let replaces = (self.goal == Goal::Rebirth).then_some(1);
            let until = Some(self.until);
            let report = castle.run(self.goal, RunOptions { until, replaces, ..RunOptions::default() }).await;
            let ideal = match draw {
                Draw::Before => before,
                Draw::After => lab.with_world(|world| self.ideal(world)),
                Draw::Off => report.took,
            };
            (ideal, report)
        });
        Course { ideal, report }
    }

    /// What is wrong with an ideal that is drawn like this: a run as it is and an
    /// idle one, held against the world that both began with.
    fn flaws(&self, draw: Draw) -> Flaws {
        let drawn = self.ideal(&self.world);
        let (honest, idle) = (self.run(draw, false), self.run(draw, true));
        let mut wrong = Vec::new();
        for (which, course) in [("the run", &honest), ("the idle run", &idle)] {
            if course.report.outcome != Outcome::Ok {
                wrong.push(format!("{which} failed: {:?}", course.report.error));
            }
            if course.ideal != drawn {
                wrong.push(format!("the ideal of {which} is {:?}, its beginning allows {drawn:?}", course.ideal));
            }
            if course.ideal > course.report.took {
                let (ideal, took) = (course.ideal, course.report.took);
                wrong.push(format!("{which} took {took:?}, less than its ideal of {ideal:?}"));
            }
        }
        let raised = idle.took() - honest.took();
        if (raised - IDLE.as_secs_f64()).abs() > POLL {
            wrong.push(format!("ten idle seconds raised the run by {raised:.3} s"));
        }
        let wrong = wrong.into_iter().map(|what| format!("{}: {what}", self.name())).collect();
        Flaws { wrong, ideal: drawn, over: honest.took() - drawn.as_secs_f64(), raised }
    }
}

/// Where an ideal is taken from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Draw {
    /// From the world that the run begins with.
    Before,
    /// The guard away: from the world that the run leaves, whose next draws are others.
    After,
    /// The guard away: from what castle itself did.
    Off,
}

/// A run, and the ideal that was told with it.
struct Course {
    ideal: Duration,
    report: Report,
}

impl Course {
    fn took(&self) -> f64 {
        self.report.took.as_secs_f64()
    }
}

/// What was found of one job.
struct Flaws {
    wrong: Vec<String>,
    ideal: Duration,
    /// How many seconds the run took above its ideal.
    over: f64,
    /// How many seconds the idle run took above the other.
    raised: f64,
}

/// What the command line tells of an ideal, held against the world it began with.
fn told(job: &Job) -> std::result::Result<(), String> {
    let mut command = Command::new(command_line()?);
    command.arg(job.goal.to_string()).args(["--lab", "--json", "--yes", "--project", PROJECT]);
    command.args(["--until", job.until.name(), "--seed", &SEED.to_string()]);
    let output = command.output().map_err(|error| format!("the command line did not start: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let (told, took) = (report["ideal_seconds"].as_f64(), report["simulated_seconds"].as_f64());
    let drawn = job.ideal(&job.world).as_secs_f64();
    match told.zip(took) {
        Some((told, took)) if (told - drawn).abs() < 0.001 && told <= took => Ok(()),
        _ => Err(format!("{}: the command line tells {told:?} of {took:?} s, the ideal is {drawn:.3} s", job.name())),
    }
}

/// Compares runs with idle ones, and the ideals of both with the one that the
/// beginning allows.
pub fn prove() -> Proof {
    let mut proof = Proof::new("ideal");
    let jobs = Job::all();
    let found: Vec<Flaws> = jobs.iter().map(|job| job.flaws(Draw::Before)).collect();
    let told: Vec<_> =
        jobs.iter().filter(|job| job.until == Milestone::AppsReady && job.goal != Goal::Destroy).collect();
    let untold: Vec<String> = told.iter().filter_map(|job| self::told(job).err()).collect();
    let seconds = |of: fn(&Flaws) -> f64| found.iter().map(|flaws| format!("{:.3}", of(flaws))).collect::<Vec<_>>();
    proof
        .figure("jobs", jobs.len())
        .figure("ideal_s", seconds(|flaws| flaws.ideal.as_secs_f64()).join(","))
        .figure("over_s", seconds(|flaws| flaws.over).join(","))
        .figure("raised_s", seconds(|flaws| flaws.raised).join(","))
        .none("moved", &found.iter().flat_map(|flaws| flaws.wrong.clone()).collect::<Vec<_>>())
        .figure("told", told.len() - untold.len())
        .none("untold", &untold);
    let seen = |draw| jobs.iter().filter(|job| !job.flaws(draw).wrong.is_empty()).count();
    let (after, off) = (seen(Draw::After), seen(Draw::Off));
    proof.figure("unguarded_seen", format!("{after}/{n},{off}/{n}", n = jobs.len()));
    proof.refuted("the ideal is drawn from the world before the run", after == jobs.len() && off == jobs.len());
    proof
}

/// Puts ten idle seconds before the first look.
struct Idle;

impl Meddler for Idle {
    fn machines(&self, real: Arc<dyn MachineProvider>, _: &Env, _: &Options) -> Arc<dyn MachineProvider> {
        Arc::new(IdleMachines { real, rested: AtomicBool::new(false) })
    }
}

#[derive(Debug)]
struct IdleMachines {
    real: Arc<dyn MachineProvider>,
    rested: AtomicBool,
}

#[async_trait]
impl MachineProvider for IdleMachines {
    fn name(&self) -> &'static str {
        self.real.name()
    }
    fn meter(&self) -> &Meter {
        self.real.meter()
    }
    fn capabilities(&self) -> Capabilities {
        self.real.capabilities()
    }
    fn validate(&self, spec: &MachineSpec) -> Vec<Problem> {
        self.real.validate(spec)
    }
    async fn preflight(&self, cx: &Context, specs: &[MachineSpec], inventory: &Inventory) -> Result<Vec<Problem>> {
        self.real.preflight(cx, specs, inventory).await
    }
    async fn list(&self, cx: &Context, owner: &Owner, specs: &[MachineSpec]) -> Result<Inventory> {
        if !self.rested.swap(true, Ordering::Relaxed) {
            cx.clock().sleep(IDLE).await;
        }
        self.real.list(cx, owner, specs).await
    }
    async fn get(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> Result<Slot> {
        self.real.get(cx, owner, spec).await
    }
    async fn ensure(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, birth: &Birth) -> Result<Machine> {
        self.real.ensure(cx, owner, spec, birth).await
    }
    async fn power(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, power: Power) -> Result<()> {
        self.real.power(cx, owner, spec, power).await
    }
    async fn destroy(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> Result<Removal> {
        self.real.destroy(cx, owner, spec).await
    }
}
