//! `proof determinism`: one seed, one story, byte for byte: twice in one process,
//! and once more in another.

use std::process::Command;
use std::sync::Arc;

use castle_core::{Env, Goal, Milestone, OsEntropy};
use castle_lab::faults::{Fault, FaultEffect};
use sha2::{Digest, Sha256};

use crate::rig::{Honest, Left, Meddler, Visit, blue};
use crate::{Depth, Proof};

/// Some weather over these backends that follows from the seed.
fn weather(seed: u64, backends: &[&str]) -> Vec<Fault> {
    let roll = |what: &str, sides: u64| {
        let digest = Sha256::digest(format!("weather {what} {seed}"));
        u64::from_be_bytes(digest[..8].try_into().expect("eight bytes")) % sides
    };
    let effects = [
        FaultEffect::ResetBefore,
        FaultEffect::ResetAfter,
        FaultEffect::AnswerLost,
        FaultEffect::Delay { seconds: 7.0 },
        FaultEffect::Status {
            status: 596,
            reason: Some("Connection timed out".into()),
            body: String::new(),
            after: true,
        },
    ];
    (0..roll("how many", 4))
        .map(|number| {
            let effect = effects[roll(&format!("effect {number}"), effects.len() as u64) as usize].clone();
            let backend = backends[roll(&format!("backend {number}"), backends.len() as u64) as usize];
            Fault {
                backend: Some(backend.into()),
                skip: roll(&format!("skip {number}"), 60) as u32,
                ..Fault::of(effect)
            }
        })
        .collect()
}

/// How many seeds there are for one that tells the whole story, up to the
/// applications, with weather over all backends.
const WHOLE: u64 = 10;
const BACKENDS: [&str; 6] = ["proxmox", "talos", "kubernetes", "git", "web", "secrets"];

/// The visits of a story: a create and a destroy up to the nodes, or a create and a
/// rebirth up to the applications.
fn visits(seed: u64, meddler: &dyn Meddler, mut each: impl FnMut(&Left)) {
    let project = blue();
    let is_whole = seed.is_multiple_of(WHOLE);
    let (until, second) =
        if is_whole { (Milestone::AppsReady, Goal::Rebirth) } else { (Milestone::NodesReady, Goal::Destroy) };
    let faults = weather(seed, if is_whole { &BACKENDS } else { &BACKENDS[..1] });
    let mut world = None;
    for goal in [Goal::Create, second] {
        let replaces = (goal == Goal::Rebirth).then_some(1);
        let visit = Visit { seed, replaces, world: world.take(), faults: faults.clone(), ..Visit::new(&project, goal) };
        let left = visit.until(until).meddled(meddler).go();
        each(&left);
        world = Some(left.world);
    }
}

/// The digest of a story: requests, events, and what the world says happened in it.
fn digest(seed: u64, meddler: &dyn Meddler) -> String {
    let mut hash = Sha256::new();
    visits(seed, meddler, |left| {
        hash.update(&left.digest);
        hash.update(serde_json::to_string(&left.events).expect("events are plain data"));
        for (at, what) in left.world.trace() {
            hash.update(format!("{at:?} {what}\n"));
        }
        for vm in left.world.proxmox.vms.values() {
            hash.update(format!("{} {:?}", vm.id, vm.config.get("smbios1")));
        }
    });
    hex::encode(hash.finalize())
}

/// What must be in the whole stories, or they are none: a rebirth that ends well, and
/// requests to every backend.
fn missing_in_the_whole(seeds: u64) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    let mut rose = false;
    for seed in (0..seeds).filter(|seed| seed.is_multiple_of(WHOLE)).take(2) {
        visits(seed, &Honest, |left| {
            seen.extend(left.entries.iter().map(|entry| entry.backend.clone()));
            rose |= left.report.as_ref().is_some_and(|report| report.goal == Goal::Rebirth) && left.is_ok();
        });
    }
    let unseen = BACKENDS.iter().filter(|backend| !seen.contains(**backend));
    let unseen = unseen.map(|backend| format!("no whole story has a request to {backend}, only to {seen:?}"));
    unseen.chain((!rose).then(|| "no whole story ends in a rebirth".to_owned())).collect()
}

/// The story behind a digest, line by line, for a person who compares two.
pub fn print_story(seed: u64) {
    visits(seed, &Honest, |left| {
        for entry in &left.entries {
            println!("{}", serde_json::to_string(entry).expect("an entry is plain data"));
        }
        for event in &left.events {
            println!("{}", serde_json::to_string(event).expect("an event is plain data"));
        }
        for (at, what) in left.world.trace() {
            println!("{at:?} {what}");
        }
    });
}

/// Prints the digests of the seeds from `arguments[0]` up to `arguments[1]`.
pub fn print_digests(arguments: &[String]) {
    let bounds: Vec<u64> = arguments.iter().filter_map(|text| text.parse().ok()).collect();
    if let [from, to] = bounds[..] {
        for seed in from..to {
            println!("{seed} {}", digest(seed, &Honest));
        }
    }
}

/// Compares the digests.
pub fn prove(depth: Depth) -> Proof {
    let seeds = if depth == Depth::Full { 200 } else { 12 };
    let mut proof = Proof::new("determinism");
    let here: Vec<String> = (0..seeds).map(|seed| format!("{seed} {}", digest(seed, &Honest))).collect();
    let mut differing: Vec<String> = Vec::new();
    for (seed, first) in here.iter().enumerate() {
        if *first != format!("{seed} {}", digest(seed as u64, &Honest)) {
            differing.push(format!("seed {seed} tells another story the second time"));
        }
    }
    let program = std::env::current_exe().expect("a running program has a path");
    match Command::new(program).args(["digests", "0", &seeds.to_string()]).output() {
        Ok(output) => {
            let there = String::from_utf8_lossy(&output.stdout);
            let there: Vec<&str> = there.lines().collect();
            for (seed, here) in here.iter().enumerate() {
                if there.get(seed) != Some(&here.as_str()) {
                    differing.push(format!("seed {seed} tells another story in another process"));
                }
            }
        }
        Err(error) => proof.fail(format!("the second process did not start: {error}")),
    }
    let distinct: std::collections::BTreeSet<_> = here.iter().map(|line| line.split(' ').nth(1)).collect();
    if distinct.len() < here.len() {
        proof.fail(format!("{} seeds tell only {} stories: the digest sees too little", here.len(), distinct.len()));
    }
    proof.figure("seeds", seeds).figure("whole", seeds.div_ceil(WHOLE)).none("differing", &differing);
    for missing in missing_in_the_whole(seeds) {
        proof.fail(missing);
    }
    proof.refuted("chance comes from the seed", digest(1, &Chance) != digest(1, &Chance));
    proof
}

/// Gives castle the operating system's chance.
struct Chance;

impl Meddler for Chance {
    fn env(&self, lab: Env) -> Env {
        Env { entropy: Arc::new(OsEntropy), ..lab }
    }
}
