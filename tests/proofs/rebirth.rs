//! `proof power-cut/rebirth`: the power is cut all over a rebirth, and a new engine
//! in an empty folder finishes the same rebirth: no second life, no secret written
//! twice, no second commit.

use castle_core::{Goal, Milestone, Project};
use castle_lab::World;

use crate::cuts::{Cut, Forgetful, fault, places};
use crate::rig::{Honest, Left, Meddler, Visit, blue, each};
use crate::{Depth, Proof};

/// Where the repository of `blue` is on its server.
const REPOSITORY: &str = "/tazlab-k8s.git";
/// How many cuts a change is tested with.
const QUICK_CUTS: usize = 60;

/// A world in which the whole castle stands, applications and all.
pub fn whole(project: &Project, seed: u64) -> World {
    let visit = Visit { seed, ..Visit::new(project, Goal::Create) };
    let left = visit.until(Milestone::AppsReady).go();
    assert!(left.is_ok(), "a create without faults succeeds: {}", left.why());
    left.world
}

/// A rebirth of life 1.
fn rebirth<'a>(project: &'a Project, world: &World) -> Visit<'a> {
    let visit = Visit { replaces: Some(1), ..Visit::new(project, Goal::Rebirth) };
    visit.until(Milestone::AppsReady).to(world.clone())
}

/// What is wrong after a cut.
#[derive(Default)]
struct Flaws {
    /// The visit that should have been cut came to its end.
    uncut: Option<String>,
    /// The next engine did not finish.
    unfinished: bool,
    stuck: Option<String>,
    leaked: Vec<String>,
    lives: Vec<String>,
    rewritten: Vec<String>,
    commits: Vec<String>,
    foreign: Vec<String>,
}

/// Cuts a rebirth once, lets the next engine finish it, and looks at what is there.
fn cut_at(project: &Project, start: &World, cut: Cut, meddler: &dyn Meddler) -> Flaws {
    let name = format!("cut at {cut:?}");
    let first = rebirth(project, start).with(fault(cut)).meddled(meddler).go();
    let end = rebirth(project, &first.world).meddled(meddler).go();
    let again = rebirth(project, &end.world).meddled(meddler).go();
    let mut flaws = judge(&name, project, start, &end, &again);
    flaws.uncut = (!first.was_cut()).then(|| format!("{name}: nothing was cut, it ended {}", first.why()));
    flaws
}

fn judge(name: &str, project: &Project, start: &World, end: &Left, again: &Left) -> Flaws {
    let mut flaws = Flaws::default();
    let mut tell =
        |list: fn(&mut Flaws) -> &mut Vec<String>, what: String| list(&mut flaws).push(format!("{name}: {what}"));
    let world = &end.world;
    let stands = project
        .machines
        .iter()
        .all(|spec| world.proxmox.vms.get(&spec.id.get()).is_some_and(|vm| vm.is_running() && vm.lock().is_none()));
    for what in world.leftovers() {
        tell(|flaws| &mut flaws.leaked, what);
    }
    let cluster = &project.cluster.name;
    for (key, versions) in &world.ledger.versions {
        let before = start.ledger.versions.get(key).copied().unwrap_or(0);
        if versions - before > 1 {
            tell(|flaws| &mut flaws.rewritten, format!("{key} was written {} times", versions - before));
        }
        if key.as_str().ends_with(&format!("{cluster}/talos/3")) {
            tell(|flaws| &mut flaws.lives, "a third life was begun".into());
        }
    }
    let commits = |world: &World| world.git.repository(REPOSITORY).map_or(0, |repository| repository.log("main").len());
    if commits(world) != commits(start) {
        tell(|flaws| &mut flaws.commits, format!("{} commits instead of {}", commits(world), commits(start)));
    }
    let births = |world: &World| world.proxmox.tasks.iter().filter(|task| task.kind == "qmcreate").count();
    if births(world) != births(start) + project.machines.len() {
        tell(|flaws| &mut flaws.lives, format!("{} machines were made", births(world) - births(start)));
    }
    for what in world.foreign_touches().into_iter().chain(world.violations().iter().cloned()) {
        tell(|flaws| &mut flaws.foreign, what);
    }
    flaws.unfinished = !(end.is_ok() && stands);
    if flaws.unfinished || !again.is_ok() || again.writes() > 0 {
        flaws.stuck = Some(format!("{name}: {}; again: {} writes, {}", end.why(), again.writes(), again.why()));
    }
    flaws
}

/// Cuts the power in the rebirth of `blue`, up to its applications.
pub fn prove(depth: Depth) -> Proof {
    let project = blue();
    let start = whole(&project, 1);
    let whole_way = rebirth(&project, &start).go();
    assert!(whole_way.is_ok(), "a rebirth without faults succeeds: {}", whole_way.why());
    let all = places(&whole_way.entries);
    let cuts: Vec<Cut> = match depth {
        Depth::Full => all.clone(),
        Depth::Quick => (0..QUICK_CUTS).map(|place| all[place * (all.len() - 1) / (QUICK_CUTS - 1)]).collect(),
    };
    let found = each(&cuts, |cut| cut_at(&project, &start, *cut, &Honest));

    let mut proof = Proof::new("power-cut/rebirth");
    let uncut: Vec<String> = found.iter().filter_map(|flaws| flaws.uncut.clone()).collect();
    proof.figure("cuts", cuts.len() - uncut.len()).none("uncut", &uncut);
    if uncut.len() == cuts.len() {
        proof.fail("no power was cut at all");
    }
    proof.figure("converged", found.iter().filter(|flaws| flaws.stuck.is_none()).count());
    for stuck in found.iter().filter_map(|flaws| flaws.stuck.clone()) {
        proof.fail(stuck);
    }
    let all_of =
        |list: fn(&Flaws) -> &Vec<String>| found.iter().flat_map(|flaws| list(flaws).clone()).collect::<Vec<_>>();
    proof
        .none("leaked", &all_of(|flaws| &flaws.leaked))
        .none("second_lives", &all_of(|flaws| &flaws.lives))
        .none("rewritten_secrets", &all_of(|flaws| &flaws.rewritten))
        .none("second_commits", &all_of(|flaws| &flaws.commits))
        .none("foreign", &all_of(|flaws| &flaws.foreign));
    refute(&mut proof, &project, &start);
    proof
}

/// The guard away: the bundle of the second life is not kept. Without cuts such a
/// rebirth must reach its goal, and with cuts it is the end that counts: only then is
/// it the cut that the guard is for.
fn refute(proof: &mut Proof, project: &Project, start: &World) {
    let meddler = Forgetful { life: 2 };
    let uncut = rebirth(project, start).meddled(&meddler).go();
    if !uncut.is_ok() {
        proof.fail(format!("without the guard it fails before any cut, which refutes nothing: {}", uncut.why()));
    }
    let all = places(&uncut.entries);
    let few: Vec<Cut> = all.iter().step_by(all.len().div_ceil(8)).copied().collect();
    let unguarded = each(&few, |cut| cut_at(project, start, *cut, &meddler));
    for uncut in unguarded.iter().filter_map(|flaws| flaws.uncut.as_ref()) {
        proof.fail(format!("without the guard: {uncut}"));
    }
    let unfinished = unguarded.iter().filter(|flaws| flaws.unfinished).count();
    proof.figure("unguarded_unfinished", format!("{unfinished}/{}", few.len()));
    proof.refuted("the bundle of a life is stored before it is used", unfinished > 0);
}
