//! `proof ownership`: whatever an administrator, a clone, a stale list or another
//! castle does to names, numbers, tags and marks, castle removes what is its own
//! and nothing else.

mod naive;

use std::collections::BTreeMap;

use castle_core::{Goal, Outcome, Project};
use castle_lab::hypervisor::{MachineWish, Maker};
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
            world.admin_create(
                stranger(431).in_pool("blue").with("description", mark).with("tags", "castle;castle.c.blue"),
            );
        }),
        case("copied mark on another id", destroy, Reached, |world| {
            let mark = description(world, 421);
            world.admin_create(
                stranger(777).in_pool("blue").with("description", mark).with("tags", "castle;castle.c.blue"),
            );
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
        case("a hidden stranger on a reserved id", destroy, Refused, |world| {
            world.admin_create(stranger(431).running())
        }),
        case("a hidden stranger before a create", create, Refused, |world| world.admin_create(stranger(431).running())),
        case("an id taken between look and create", create, Refused, |world| {
            world.admin_destroy(432);
            world
                .when(Moment::before("POST qemu").of("432"), |world| world.admin_create(stranger(432).in_pool("blue")));
        }),
    ]
}

/// The requests of a destroy that concern machine 421, each with the moment just
/// before its effect. Between them the administrator may do what he likes.
fn requests_about_421(project: &Project, world: &World) -> Vec<(Moment, String)> {
    let entries = Visit::new(project, Goal::Destroy).to(world.clone()).go().entries;
    let mut seen: BTreeMap<(String, String), u32> = BTreeMap::new();
    // The secret store's requests reach no server, so the world does not count them.
    let served = entries.into_iter().filter(|entry| entry.backend == "proxmox");
    let about = served.filter(|entry| entry.entity == "421" || !entry.write);
    about
        .map(|entry| {
            let nth = seen.entry((entry.kind.clone(), entry.entity.clone())).or_default();
            let moment = Moment::before(&entry.kind).of(&entry.entity).in_run(SECOND_RUN).skipping(*nth);
            *nth += 1;
            (moment, format!("{} {} #{nth}", entry.kind, entry.entity))
        })
        .collect()
}

/// The id is handed on to a stranger just before one request of a destroy.
fn recycled(requests: &[(Moment, String)]) -> Vec<Case> {
    type Stranger = (&'static str, fn() -> MachineWish);
    let strangers: [Stranger; 4] = [
        ("outside the pool", || stranger(421)),
        ("outside the pool, running", || stranger(421).running()),
        ("in the pool, running", || stranger(421).in_pool("blue").running()),
        ("in the pool, protected", || stranger(421).in_pool("blue").with("protection", "1")),
    ];
    let mut cases = Vec::new();
    for (moment, request) in requests {
        for (what, wish) in strangers {
            let moment = moment.clone();
            let name = format!("recycled {what} before {request}");
            cases.push(case(name, Goal::Destroy, Expect::Whichever, move |world| {
                world.when(moment.clone(), move |world| world.admin_create(wish()));
            }));
        }
    }
    cases
}

struct Verdict {
    /// What was destroyed or changed that is not castle's.
    wrong: Vec<String>,
    /// What was done to a stranger that stood under our number between castle's
    /// last look and the request.
    overtaken: Vec<String>,
    /// Whether the run ended as it must.
    ended: Option<String>,
}

fn try_case(project: &Project, world: &World, case: &Case, meddler: &dyn Meddler) -> Verdict {
    let mut world = world.clone();
    (case.sabotage)(&mut world);
    let strangers_before: Vec<u32> = admins(&world);
    let left: Left = Visit::new(project, case.goal).to(world).meddled(meddler).go();
    let touches = left.world.foreign_touches();
    let tell = |touch: &String| format!("{}: {touch}", case.name);
    // Proxmox takes no digest with a stop: a stranger that takes our number in
    // castle's own pool just before it is stopped, and survives.
    let may_be_overtaken = |touch: &&String| case.expect == Expect::Whichever && touch.contains(" stops VM 421");
    let overtaken = touches.iter().filter(may_be_overtaken).map(tell).collect();
    let mut wrong: Vec<String> = touches.iter().filter(|touch| !may_be_overtaken(touch)).map(tell).collect();
    let gone = strangers_before.iter().filter(|id| !admins(&left.world).contains(id));
    wrong.extend(gone.map(|id| format!("{}: the administrator's machine {id} is gone", case.name)));
    let recycled = left.world.trace().iter().any(|(_, what)| what.contains("made VM 421 (stranger)"));
    if recycled && !admins(&left.world).contains(&421) {
        wrong.push(format!("{}: the stranger under our number is gone", case.name));
    }
    let outcome = left.report.as_ref().map(|report| report.outcome);
    let as_expected = match case.expect {
        Expect::Reached => outcome == Some(Outcome::Ok),
        Expect::Refused => outcome == Some(Outcome::Refused),
        Expect::Whichever => true,
    };
    Verdict {
        wrong,
        overtaken,
        ended: (!as_expected).then(|| format!("{} ended otherwise: {}", case.name, left.why())),
    }
}

fn admins(world: &World) -> Vec<u32> {
    world.proxmox.vms.values().filter(|vm| vm.maker == Maker::Admin).map(|vm| vm.id).collect()
}

/// The windows that no client can close: Proxmox takes no digest with stop and
/// DELETE. Names the requests before which a stranger under our number, in
/// castle's own pool, off and unprotected, would be removed.
fn residual(project: &Project, world: &World, requests: &[(Moment, String)]) -> Vec<String> {
    let removes = |moment: &Moment| {
        let mut world = world.clone();
        world.when(moment.clone(), |world| {
            world.admin_create(stranger(421).in_pool("blue"));
        });
        !admins(&Visit::new(project, Goal::Destroy).to(world).go().world).contains(&421)
    };
    let about_421 = requests.iter().filter(|(_, request)| request.contains(" 421 #"));
    about_421.filter(|(moment, _)| removes(moment)).map(|(_, request)| request.replace(' ', "_")).collect()
}

/// Tries every case, with castle and with a client that trusts numbers.
pub fn prove() -> Proof {
    let project = blue();
    let world = standing(&project);
    let requests = requests_about_421(&project, &world);
    let mut cases = still_cases();
    cases.extend(recycled(&requests));
    let mut proof = Proof::new("ownership");
    let (mut wrong, mut overtaken) = (Vec::new(), Vec::new());
    let mut naive_wrong = 0;
    for case in &cases {
        let verdict = try_case(&project, &world, case, &Honest);
        wrong.extend(verdict.wrong);
        overtaken.extend(verdict.overtaken);
        if let Some(how) = verdict.ended {
            proof.fail(how);
        }
        if case.expect != Expect::Whichever && case.goal == Goal::Destroy {
            naive_wrong += try_case(&project, &world, case, &Naive).wrong.len();
        }
    }
    let residual = residual(&project, &world, &requests);
    if residual.iter().any(|request| !request.starts_with("DELETE")) {
        proof.fail(format!("more than the DELETE itself can be overtaken: {residual:?}"));
    }
    proof.figure("cases", cases.len()).none("wrong_destroys", &wrong);
    proof.figure("overtaken_stops", overtaken.len()).figure("residual_window", format!("[{}]", residual.join(",")));
    proof.refuted("the mark is verified before anything is removed", naive_wrong > 0);
    proof
}
