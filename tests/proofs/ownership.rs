//! `proof ownership`: whatever an administrator, a clone, a stale list or another
//! castle does to names, numbers, tags and marks, castle removes what is its own
//! and nothing else.

mod naive;

use castle_core::{Goal, Outcome, Project};
use castle_lab::hypervisor::{Maker, MachineWish};
use castle_lab::world::Moment;
use castle_lab::{RunId, World};

use crate::Proof;
use crate::rig::{Honest, Left, Meddler, Visit, blue, standing};
use naive::Naive;

/// What must come of a case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// The goal is reached: what was done to the machine does not matter.
    Reached,
    /// The goal is refused, because something stays that is not ours.
    Refused,
    /// Either: the moment decides. Only that no stranger is harmed.
    Whichever,
}

struct Case {
    name: String,
    goal: Goal,
    expect: Expect,
    sabotage: Box<dyn Fn(&mut World)>,
}

fn case(name: impl Into<String>, goal: Goal, expect: Expect, sabotage: impl Fn(&mut World) + 'static) -> Case {
    Case { name: name.into(), goal, expect, sabotage: Box::new(sabotage) }
}

/// The engine run that comes after the one that raised the castle.
const SECOND_RUN: RunId = RunId(2);

fn stranger(id: u32) -> MachineWish {
    MachineWish::new(id, "stranger")
}

fn description(world: &World, id: u32) -> String {
    world.proxmox.vms[&id].config.get("description").unwrap_or_default().to_owned()
}

/// What happens between two looks, without castle being told.
fn still_cases() -> Vec<Case> {
    use Expect::{Reached, Refused};
    let (destroy, create) = (Goal::Destroy, Goal::Create);
    vec![
        case("copied mark on a reserved id", destroy, Refused, |world| {
            let mark = description(world, 421);
            world.admin_create(stranger(431).in_pool("blue").with("description", mark).with("tags", "castle;castle.c.blue"));
        }),
        case("copied mark on another id", destroy, Reached, |world| {
            let mark = description(world, 421);
            world.admin_create(stranger(777).in_pool("blue").with("description", mark).with("tags", "castle;castle.c.blue"));
        }),
        case("renamed machine of ours", destroy, Reached, |world| world.admin_rename(431, "precious")),
        case("a stranger that carries our name", destroy, Reached, |world| {
            world.admin_create(MachineWish::new(778, "blue-wk-01").in_pool("blue"));
        }),
        case("template in the range", destroy, Refused, |world| {
            world.admin_create(MachineWish { template: true, ..stranger(432) }.in_pool("blue"));
        }),
        case("template in the range before a create", create, Refused, |world| {
            world.admin_create(MachineWish { template: true, ..stranger(432) }.in_pool("blue"));
        }),
        case("another castle's machine with the same name", destroy, Refused, |world| {
            let mark = description(world, 431);
            let signed_by_another = mark.split_once("mac=").map(|(text, _)| format!("{text}mac={}", "5a".repeat(32)));
            let forged = signed_by_another.expect("the machine carries a mark");
            world.admin_create(MachineWish::new(431, "blue-wk-01").in_pool("blue").with("description", forged));
        }),
        case("stale resources", destroy, Refused, |world| {
            world.freeze_resources(true);
            world.admin_create(stranger(431).in_pool("blue"));
        }),
        case("stale resources before a create", create, Refused, |world| {
            world.freeze_resources(true);
            world.admin_create(stranger(431).in_pool("blue"));
        }),
        case("manual clone on a reserved id", destroy, Refused, |world| {
            world.admin_destroy(431);
            world.admin_clone(421, 431, "blue-wk-01");
        }),
        case("manual clone on another id", destroy, Reached, |world| world.admin_clone(421, 779, "copy")),
        case("deleted mark", destroy, Refused, |world| {
            world.admin_set_description(431, "keep this one");
            world.admin_adopt(431);
        }),
        case("changed uuid", destroy, Refused, |world| {
            world.admin_set_uuid(431, "00000000-0000-4000-8000-00000000abcd");
            world.admin_adopt(431);
        }),
        case("half-made stub", destroy, Refused, |world| {
            world.admin_destroy(432);
            world.admin_leave_stub(432, "create");
        }),
        case("half-made clone", destroy, Refused, |world| {
            world.admin_destroy(432);
            world.admin_leave_stub(432, "clone");
        }),
        case("half-made stub before a create", create, Refused, |world| {
            world.admin_destroy(432);
            world.admin_leave_stub(432, "create");
        }),
        case("a hidden stranger on a reserved id", destroy, Refused, |world| world.admin_create(stranger(431).running())),
        case("a hidden stranger before a create", create, Refused, |world| world.admin_create(stranger(431).running())),
        case("an id taken between look and create", create, Refused, |world| {
            world.admin_destroy(432);
            world.when(Moment::before("POST qemu").of("432"), |world| world.admin_create(stranger(432).in_pool("blue")));
        }),
    ]
}

/// The id is handed on to a stranger just before the n-th request of a destroy.
fn recycled(project: &Project, world: &World) -> Vec<Case> {
    let requests = Visit::new(project, Goal::Destroy).to(world.clone()).go().entries;
    let strangers: [(&str, fn() -> MachineWish); 4] = [
        ("outside the pool", || stranger(421)),
        ("outside the pool, running", || stranger(421).running()),
        ("in the pool, running", || stranger(421).in_pool("blue").running()),
        ("in the pool, protected", || stranger(421).in_pool("blue").with("protection", "1")),
    ];
    let mut cases = Vec::new();
    for index in 0..requests.len() as u32 {
        for (what, wish) in strangers {
            cases.push(case(format!("recycled {what} before request {index}"), Goal::Destroy, Expect::Whichever, move |world| {
                world.when(Moment::before_request(SECOND_RUN, index), move |world| world.admin_create(wish()));
            }));
        }
    }
    cases
}

struct Verdict {
    /// What was destroyed or changed that is not castle's.
    wrong: Vec<String>,
    /// Whether the run ended as it must.
    ended: Option<String>,
}

fn try_case(project: &Project, world: &World, case: &Case, meddler: &dyn Meddler) -> Verdict {
    let mut world = world.clone();
    (case.sabotage)(&mut world);
    let left: Left = Visit::new(project, case.goal).to(world).meddled(meddler).go();
    let mut wrong: Vec<String> =
        left.world.foreign_touches().into_iter().map(|touch| format!("{}: {touch}", case.name)).collect();
    if left.world.proxmox.vms.get(&100).is_none_or(|vm| vm.maker != Maker::Admin) {
        wrong.push(format!("{}: the house's own machine 100 is gone", case.name));
    }
    let outcome = left.report.as_ref().map(|report| report.outcome);
    let as_expected = match case.expect {
        Expect::Reached => outcome == Some(Outcome::Ok),
        Expect::Refused => outcome == Some(Outcome::Refused),
        Expect::Whichever => true,
    };
    Verdict { wrong, ended: (!as_expected).then(|| format!("{} ended otherwise: {}", case.name, left.why())) }
}

/// The one window that no client can close: Proxmox takes no digest with DELETE,
/// so a stranger that is put under our number between castle's last look and its
/// DELETE, in castle's own pool, off and unprotected, is removed. Counts the
/// requests before which that is so.
fn residual(project: &Project, world: &World) -> usize {
    let requests = Visit::new(project, Goal::Destroy).to(world.clone()).go().entries;
    (0..requests.len() as u32)
        .filter(|&index| {
            let mut world = world.clone();
            world.when(Moment::before_request(SECOND_RUN, index), |world| {
                world.admin_create(stranger(421).in_pool("blue"));
            });
            let left = Visit::new(project, Goal::Destroy).to(world).go();
            !left.world.proxmox.vms.contains_key(&421)
        })
        .count()
}

/// Tries every case, with castle and with a client that trusts numbers.
pub fn prove() -> Proof {
    let project = blue();
    let world = standing(&project);
    let mut cases = still_cases();
    cases.extend(recycled(&project, &world));
    let mut proof = Proof::new("ownership");
    let mut wrong = Vec::new();
    let mut naive_wrong = 0;
    for case in &cases {
        let verdict = try_case(&project, &world, case, &Honest);
        wrong.extend(verdict.wrong);
        if let Some(how) = verdict.ended {
            proof.fail(how);
        }
        if case.expect != Expect::Whichever && case.goal == Goal::Destroy {
            naive_wrong += try_case(&project, &world, case, &Naive).wrong.len();
        }
    }
    let residual = residual(&project, &world);
    if residual > 1 {
        proof.fail(format!("{residual} requests can be overtaken; only the DELETE itself may"));
    }
    proof.figure("cases", cases.len()).none("wrong_destroys", &wrong).figure("residual_requests", residual);
    proof.refuted("the mark is verified before anything is removed", naive_wrong > 0);
    proof
}
