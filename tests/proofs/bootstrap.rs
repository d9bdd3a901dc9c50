//! `proof bootstrap`: two operators create one cluster at once, and its etcd is
//! born once, in whichever order their requests meet.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use castle_core::{Goal, Milestone, NodeRole, Outcome, Project, Report, RunOptions};
use castle_lab::faults::{Fault, FaultEffect};
use castle_lab::journal::{Entry, Journal};
use castle_lab::turns::Turns;
use castle_lab::{Draws, Lab, RunId, World, runtime};
use futures::future::{Either, join, select};

use crate::patient::Patient;
use crate::reckless::Reckless;
use crate::rig::{Left, Meddler, Visit, open, project};
use crate::{Depth, Proof};

/// How many requests of each operator are brought into every order: the last ones
/// before the birth, and the birth itself.
const LAST: usize = 6;
const SCHEDULES: usize = 10_000;
/// How the journal calls the birth.
const BIRTH: &str = "machine.Bootstrap";

/// The control planes of `fortress`: its workers know no etcd.
fn control_planes() -> Project {
    let text = include_str!("../../examples/projects/fortress/proxmox/castle.yaml");
    let (head, _) = text.split_once("workers:").expect("fortress has workers");
    project(head)
}

/// Where every schedule begins: the power of the first engine was cut just before
/// it gave birth to etcd.
struct Eve {
    project: Project,
    world: World,
    /// How many requests an engine sends from there until the API serves.
    requests: u64,
    /// Which of them is the birth.
    birth: u64,
}

impl Eve {
    fn new() -> Self {
        let project = control_planes();
        let cut = Fault { kind: Some(BIRTH.into()), ..Fault::of(FaultEffect::Cut { after: false }) };
        let visit = || Visit::new(&project, Goal::Create).until(Milestone::ApiServing).meddled(&Patient);
        let Left { world, report, .. } = visit().with(cut).go();
        assert!(report.is_none() && world.bootstraps() == 0, "the first engine dies before the birth");
        let alone = visit().to(world.clone()).go();
        assert!(alone.is_ok(), "a second engine finishes: {}", alone.why());
        let birth = alone.entries.iter().position(|entry| entry.kind == BIRTH).expect("it gives birth");
        let requests = alone.entries.len() as u64;
        Self { project, world, requests, birth: birth as u64 }
    }

    /// From this request of each on, only the last ones before the birth are left.
    fn last(&self) -> u64 {
        self.birth + 1 - LAST as u64
    }
}

/// One way in which two operators may meet.
#[derive(Debug, Clone, Default)]
struct Schedule {
    number: usize,
    /// Which operator's request comes next: 0 or 1.
    order: Vec<usize>,
    /// From which of their requests on.
    from: u64,
    /// How long after the other each begins.
    offsets: [Duration; 2],
    /// At which of its requests an operator's power is cut, and whether the request
    /// still has its effect.
    cuts: [Option<(u64, bool)>; 2],
    /// Whether the answer to the first birth is lost.
    lost: bool,
}

/// What a schedule came to.
#[derive(Default)]
struct Verdict {
    /// What must never be.
    violations: Vec<String>,
    /// How often etcd was born.
    births: usize,
    /// How many operators were cut.
    cuts: usize,
    /// Whether every turn was taken by the request that it was meant for.
    exact: bool,
}

impl Schedule {
    /// Every order of `each` requests of two operators.
    fn interleavings(each: usize, from: u64) -> Vec<Self> {
        let masks = (0_u32..1 << (2 * each)).filter(|mask| mask.count_ones() as usize == each);
        let order = |mask: u32| (0..2 * each).map(|place| (mask >> place & 1) as usize).collect();
        masks.enumerate().map(|(number, mask)| Self { number, order: order(mask), from, ..Self::default() }).collect()
    }

    /// A schedule of chance: any order of all requests, any beginning, and in every
    /// second schedule a power cut of one operator or of both.
    fn drawn(number: usize, eve: &Eve) -> Self {
        let draws = Draws::new(number as u64);
        let draw = |what: &str, nth: u64| draws.unit("schedule", what, nth);
        // Operators of equal speed, and hares and tortoises.
        let share = 0.1 + 0.8 * draw("share", 0);
        let order = (0..2 * eve.requests).map(|place| usize::from(draw("turn", place) < share)).collect();
        let late = match draw("late", 0) {
            never if never < 0.4 => Duration::ZERO,
            some if some < 0.8 => Duration::from_secs_f64(draw("offset", 0)),
            _ => Duration::from_secs_f64(60.0 * draw("offset", 1)),
        };
        let cut = |operator: u64| {
            let index = (draw("cut", operator) * eve.requests as f64) as u64;
            Some((index, draw("after", operator) < 0.5))
        };
        let cuts = match draw("cuts", 0) {
            one if one < 0.125 => [cut(0), None],
            other if other < 0.25 => [None, cut(1)],
            both if both < 0.5 => [cut(0), cut(1)],
            _ => [None, None],
        };
        let offsets = [Duration::ZERO, late];
        Self { number, order, from: 0, offsets, cuts, lost: draw("lost", 0) < 0.1 }
    }

    /// Lets the operators meet.
    fn play(&self, eve: &Eve, meddler: &dyn Meddler) -> Verdict {
        let mut world = eve.world.clone();
        // Source addresses are used again late: their ports linger for a minute.
        world.ledger.runs += 3 * (self.number % 100) as u32;
        let journal = Journal::new();
        let builder = Lab::builder(&eve.project).seed(self.number as u64).world(world).journal(journal.clone());
        let (reports, runs, kept, world) = runtime::run_virtual(|| async move {
            let lab = builder.start().await.expect("a lab");
            let runs = [lab.new_run(), lab.new_run()];
            let turns = Turns {
                order: self.order.iter().map(|operator| runs[*operator]).collect(),
                from: runs.map(|run| (run, self.from)).into(),
            };
            lab.turns().gate(turns);
            for (run, cut) in runs.into_iter().zip(self.cuts) {
                if let Some((index, after)) = cut {
                    lab.faults().at_request(run, index, FaultEffect::Cut { after });
                }
            }
            if self.lost {
                lab.faults().add(Fault { kind: Some(BIRTH.into()), ..Fault::of(FaultEffect::AnswerLost) });
            }
            let operator = |number: usize| operate(&lab, eve, runs[number], self.offsets[number], meddler);
            let (one, two) = join(operator(0), operator(1)).await;
            let mut reports = vec![one, two];
            if reports.iter().all(Option::is_none) {
                reports.push(operate(&lab, eve, lab.new_run(), Duration::ZERO, meddler).await);
            }
            let kept = lab.turns().kept();
            (reports, runs, kept, lab.into_world())
        });
        let first = journal.entries().into_iter().find(|entry| entry.kind == BIRTH);
        let is_meant = |birth: &Entry| birth.index == eve.birth && runs.contains(&birth.run);
        Verdict {
            births: world.bootstraps(),
            violations: self.judge(eve, &reports, world),
            cuts: reports.iter().filter(|report| report.is_none()).count(),
            exact: kept.taken == self.order.len() && kept.given_up == 0 && first.as_ref().is_some_and(is_meant),
        }
    }

    fn judge(&self, eve: &Eve, reports: &[Option<Report>], mut world: World) -> Vec<String> {
        world.settle();
        let mut found: Vec<String> = world.violations().to_vec();
        let planes = || eve.project.with_role(NodeRole::ControlPlane).map(|spec| spec.id.get());
        let node = |vm: u32| world.nodes.of(vm).expect("the machines of the eve stay");
        let first = planes().next().expect("a cluster has a control plane");
        let life = node(first).config().map(|config| config.cluster_id.clone()).unwrap_or_default();
        match world.bootstraps_of(&life) {
            1 if world.bootstraps() == 1 => {}
            births => found.push(format!("etcd was born {births} times in this life, {} in all", world.bootstraps())),
        }
        let clusters: BTreeSet<_> = planes().map(|vm| node(vm).disk.etcd.map(|data| data.cluster)).collect();
        if clusters.len() != 1 || clusters.contains(&None) {
            found.push(format!("the control planes hold the data of {clusters:x?}"));
        }
        for report in reports.iter().flatten().filter(|report| report.outcome != Outcome::Ok) {
            let why = report.error.as_ref().map_or_else(String::new, castle_core::Error::chain);
            found.push(format!("an operator ended {:?}: {why}", report.outcome));
        }
        found.into_iter().map(|what| format!("{self:?}: {what}")).collect()
    }
}

/// One operator, from an empty folder to the end or to the cut, which it is `None`.
async fn operate(lab: &Lab, eve: &Eve, run: RunId, offset: Duration, meddler: &dyn Meddler) -> Option<Report> {
    let work = async {
        lab.clock().sleep(offset).await;
        let castle = open(&eve.project, lab, run, meddler);
        castle.run(Goal::Create, RunOptions { until: Some(Milestone::ApiServing), ..RunOptions::default() }).await
    };
    // The dead is asked first: an engine that ended in the very turn of its cut was cut.
    let ended = match select(Box::pin(lab.run_died(run)), Box::pin(work)).await {
        Either::Left(_) => None,
        Either::Right((report, _)) => Some(report),
    };
    lab.turns().leave(run);
    ended
}

/// Plays schedules on all cores; the verdicts are in the order of the schedules.
fn play_all(eve: &Eve, schedules: &[Schedule], meddler: &(dyn Fn() -> Box<dyn Meddler> + Sync)) -> Vec<Verdict> {
    let next = AtomicUsize::new(0);
    let player = || {
        let mut played = Vec::new();
        while let Some(schedule) = schedules.get(next.fetch_add(1, Ordering::Relaxed)) {
            played.push((schedule.number, schedule.play(eve, &*meddler())));
        }
        played
    };
    let mut verdicts: Vec<_> = thread::scope(|scope| {
        let players: Vec<_> =
            (0..thread::available_parallelism().map_or(1, NonZero::get)).map(|_| scope.spawn(player)).collect();
        players.into_iter().flat_map(|player| player.join().expect("no schedule panics")).collect()
    });
    verdicts.sort_by_key(|(number, _)| *number);
    verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

/// Plays every order of the last requests, then schedules of chance, and then some
/// with operators that ask nobody.
pub fn prove(depth: Depth) -> Proof {
    let eve = Eve::new();
    let all = Schedule::interleavings(LAST, eve.last());
    let spread = |step: usize| all.iter().step_by(step).cloned().collect::<Vec<_>>();
    let (interleavings, drawn) = match depth {
        Depth::Quick => (spread(all.len().div_ceil(60)), 100),
        Depth::Full => (spread(1), SCHEDULES),
    };
    let drawn: Vec<_> = (0..drawn).map(|number| Schedule::drawn(number, &eve)).collect();
    let honest: &(dyn Fn() -> Box<dyn Meddler> + Sync) = &|| Box::new(Patient);
    let ordered = play_all(&eve, &interleavings, honest);
    let chance = play_all(&eve, &drawn, honest);
    let unguarded = play_all(&eve, &spread(all.len().div_ceil(60)), &|| Box::new(Reckless::default()));
    let mut proof = Proof::new("bootstrap");
    proof.figure("interleavings", ordered.len()).figure("schedules", chance.len());
    let inexact = interleavings.iter().zip(&ordered).filter(|(_, verdict)| !verdict.exact);
    let inexact: Vec<String> = inexact.map(|(schedule, _)| format!("{schedule:?}")).collect();
    let cuts: usize = chance.iter().map(|verdict| verdict.cuts).sum();
    proof.figure("cuts", cuts);
    if cuts == 0 {
        proof.fail("no operator's power was cut, of half of the schedules of chance");
    }
    let violations: Vec<String> = ordered.into_iter().chain(chance).flat_map(|verdict| verdict.violations).collect();
    proof.none("violations", &violations).none("inexact", &inexact);
    let doubled = unguarded.iter().filter(|verdict| verdict.births > 1 && !verdict.violations.is_empty()).count();
    proof.figure("unguarded_doubled", format!("{doubled}/{}", unguarded.len()));
    proof.refuted("etcd is born on one control plane only, after all were asked", doubled > 0);
    proof
}
