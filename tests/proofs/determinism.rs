//! `proof determinism`: one seed, one story, byte for byte: twice in one process,
//! and once more in another.

use std::process::Command;
use std::sync::Arc;

use castle_core::{Env, Goal, Milestone, OsEntropy};
use castle_lab::faults::{Fault, FaultEffect};
use sha2::{Digest, Sha256};

use crate::rig::{Honest, Meddler, Visit, blue};
use crate::{Depth, Proof};

/// Some weather that follows from the seed.
fn weather(seed: u64) -> Vec<Fault> {
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
            Fault {
                backend: Some("proxmox".into()),
                skip: roll(&format!("skip {number}"), 60) as u32,
                ..Fault::of(effect)
            }
        })
        .collect()
}

/// The digest of a create and a destroy: requests, events, and what the world
/// says happened in it.
fn digest(seed: u64, meddler: &dyn Meddler) -> String {
    let project = blue();
    let mut hash = Sha256::new();
    let mut world = None;
    for goal in [Goal::Create, Goal::Destroy] {
        let visit = Visit { seed, world: world.take(), faults: weather(seed), ..Visit::new(&project, goal) };
        let visit = visit.until(Milestone::NodesReady);
        let left = visit.meddled(meddler).go();
        hash.update(&left.digest);
        hash.update(serde_json::to_string(&left.events).expect("events are plain data"));
        for (at, what) in left.world.trace() {
            hash.update(format!("{at:?} {what}\n"));
        }
        for vm in left.world.proxmox.vms.values() {
            hash.update(format!("{} {:?}", vm.id, vm.config.get("smbios1")));
        }
        world = Some(left.world);
    }
    hex::encode(hash.finalize())
}

/// The story behind a digest, line by line, for a person who compares two.
pub fn print_story(seed: u64) {
    let project = blue();
    let mut world = None;
    for goal in [Goal::Create, Goal::Destroy] {
        let visit = Visit { seed, world: world.take(), faults: weather(seed), ..Visit::new(&project, goal) };
        let visit = visit.until(Milestone::NodesReady);
        let left = visit.go();
        for entry in &left.entries {
            println!("{}", serde_json::to_string(entry).expect("an entry is plain data"));
        }
        for event in &left.events {
            println!("{}", serde_json::to_string(event).expect("an event is plain data"));
        }
        for (at, what) in left.world.trace() {
            println!("{at:?} {what}");
        }
        world = Some(left.world);
    }
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
    proof.figure("seeds", seeds).none("differing", &differing);
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
