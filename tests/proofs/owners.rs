//! `proof owners`: what castle planted passes to Flux without a fight, and nothing
//! is owned twice.

use std::collections::{BTreeMap, BTreeSet};

use castle_core::{Goal, Milestone, Project};
use castle_lab::World;
use castle_lab::faults::{Fault, FaultEffect};
use castle_lab::kube::{Hand, Part, Patch, Selection};
use serde_json::{Value, json};

use crate::rig::{Visit, blue};
use crate::{Depth, Proof};

/// The managers that castle writes with.
const CASTLES: [&str; 2] = ["castle", "kubectl-castle"];
const FLUX: &str = "kustomize-controller";
/// A name that Flux does not absorb.
const KEPT: &str = "castle-kept";

/// An object by kind, namespace and name.
type Name = (String, String, String);

fn objects(world: &World) -> BTreeMap<Name, Value> {
    let mut objects = BTreeMap::new();
    for kind in world.kubernetes.kinds().iter() {
        for object in world.kubernetes.list(&kind.resource, &Selection::default()) {
            let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or("").to_owned();
            let name = (kind.resource.to_string(), text("/metadata/namespace"), text("/metadata/name"));
            objects.insert(name, (**object).clone());
        }
    }
    objects
}

fn managers(object: &Value) -> BTreeSet<&str> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    entries.filter_map(|entry| entry["manager"].as_str()).collect()
}

fn is_castles(object: &Value) -> bool {
    managers(object).iter().any(|manager| CASTLES.contains(manager))
}

/// What castle's fields are, by entry of the managed fields.
fn fields_of<'a>(object: &'a Value, whose: &[&str]) -> Vec<&'a Value> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    entries
        .filter(|entry| entry["manager"].as_str().is_some_and(|manager| whose.contains(&manager)))
        .map(|entry| &entry["fieldsV1"])
        .collect()
}

/// Whether two sets of fields have a leaf in common.
fn overlap(one: &Value, other: &Value) -> bool {
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else { return false };
    let is_leaf = |fields: &Value| fields.as_object().is_none_or(serde_json::Map::is_empty);
    one.iter().any(|(key, fields)| {
        other.get(key).is_some_and(|theirs| match (is_leaf(fields), is_leaf(theirs)) {
            (true, true) => key != ".",
            (false, false) => overlap(fields, theirs),
            _ => false,
        })
    })
}

/// The seed as castle planted it: the world at the last moment before Flux has
/// applied anything, and the world after the handover.
fn before_and_after(project: &Project) -> (World, World) {
    let until = |milestone| Visit::new(project, Goal::Create).until(milestone);
    let whole = until(Milestone::AppsReady).go();
    assert!(whole.is_ok(), "a create without faults succeeds: {}", whole.why());
    // The power is cut just after castle's last write of the seed.
    let is_seed =
        |entry: &&castle_lab::journal::Entry| entry.write && entry.backend == "kubernetes" && !is_nudge(entry);
    let last = whole.entries.iter().filter(is_seed).map(|entry| entry.index).max().expect("castle plants something");
    let cut = Fault { index: Some(last), ..Fault::of(FaultEffect::Cut { after: true }) };
    let planted = until(Milestone::AppsReady).with(cut).go();
    (planted.world, whole.world)
}

/// A nudge changes one annotation, and is the only write that asks for no
/// validation of fields.
fn is_nudge(entry: &castle_lab::journal::Entry) -> bool {
    !entry.detail.contains("fieldValidation=")
}

/// The same world, in which castle had planted under a name that Flux leaves alone.
fn under_another_name(planted: &World) -> World {
    let mut world = planted.clone();
    let kinds: Vec<_> = planted.kubernetes.kinds().iter().map(|kind| kind.resource.clone()).collect();
    for resource in kinds {
        for object in planted.kubernetes.list(&resource, &Selection::default()) {
            let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
            let renamed = entries.enumerate().filter(|(_, entry)| entry["manager"] == CASTLES[1]).map(|(place, _)| {
                json!({"op": "replace", "path": format!("/metadata/managedFields/{place}/manager"), "value": KEPT})
            });
            let patch: Vec<Value> = renamed.collect();
            if patch.is_empty() {
                continue;
            }
            let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or("").to_owned();
            let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
            let hand = Hand::of("administrator");
            let done =
                world.kubernetes.patch(&resource, &namespace, &name, &Patch::Json(json!(patch)), Part::Main, &hand);
            done.unwrap_or_else(|refusal| panic!("a manager can be renamed: {refusal}"));
        }
    }
    world
}

/// Compares the owners of every seed object before Flux has touched it and after.
pub fn prove(_: Depth) -> Proof {
    let mut proof = Proof::new("owners");
    let project = blue();
    let (planted, handed_over) = before_and_after(&project);
    let (before, after) = (objects(&planted), objects(&handed_over));
    let seed: Vec<_> = before.iter().filter(|(_, object)| is_castles(object)).collect();
    let (mut conflicts, mut pruned, mut passed, mut kept) = (Vec::new(), Vec::new(), 0, 0);
    for (name, _) in &seed {
        let Some(object) = after.get(*name) else {
            pruned.push(format!("{name:?} is gone"));
            continue;
        };
        let (castles, fluxes) = (fields_of(object, &CASTLES), fields_of(object, &[FLUX]));
        match (castles.is_empty(), fluxes.is_empty()) {
            (true, false) => passed += 1,
            (false, true) => kept += 1,
            (true, true) => conflicts.push(format!("{name:?} has no owner: {:?}", managers(object))),
            (false, false) => {
                if castles.iter().any(|mine| fluxes.iter().any(|theirs| overlap(mine, theirs))) {
                    conflicts.push(format!("{name:?} is owned twice: {:?}", managers(object)));
                } else {
                    kept += 1;
                }
            }
        }
    }
    // What Flux owns, castle never writes again: not when it is asked once more.
    let again = Visit::new(&project, Goal::Create).until(Milestone::AppsReady).to(handed_over).go();
    let written: Vec<String> = again
        .entries
        .iter()
        .filter(|entry| entry.write)
        .map(|entry| format!("{} {}", entry.kind, entry.entity))
        .collect();
    if !again.is_ok() {
        proof.fail(again.why());
    }
    proof.figure("objects", seed.len()).figure("passed_to_flux", passed).figure("kept_by_castle", kept);
    proof.none("conflicts", &conflicts).none("pruned", &pruned).none("written_afterwards", &written);
    // The guard away: under a name that Flux does not absorb, both own everything.
    let unguarded =
        Visit::new(&project, Goal::Create).until(Milestone::AppsReady).to(under_another_name(&planted)).go();
    let is_doubled = |object: &Value| {
        let (mine, theirs) = (fields_of(object, &[KEPT]), fields_of(object, &[FLUX]));
        mine.iter().any(|mine| theirs.iter().any(|theirs| overlap(mine, theirs)))
    };
    let doubled = objects(&unguarded.world).values().filter(|object| is_doubled(object)).count();
    proof.refuted("castle applies under a name whose fields Flux absorbs", doubled > 0);
    proof
}
