//! The way to an empty house.

use super::{Action, Change, DEADLINE_STORE, Disruption, Goal, NOTHING_ON_A_GUESS, Plan, Symbol, subject, unseen};
use uuid::Uuid;

use crate::observation::Part;
use crate::{Inventory, Machine, MachineSpec, Observation, Problem, Project, Slot, Standing};

pub(super) fn plan(project: &Project, observation: &Observation) -> Plan {
    let mut plan = Plan::empty(Goal::Destroy);
    let inventory = match &observation.machines {
        Part::Known(inventory) => inventory,
        Part::Unknown(why) => {
            plan.problems.push(unseen("the hypervisor", why));
            return plan;
        }
    };
    plan.spares = youngest(inventory, observation).map(|life| life + 1);
    match &observation.lives {
        Part::Known(lives) => plan.life = lives.current().map(|(number, _)| number),
        Part::Unknown(why) => plan.problems.push(
            Problem::warning("secret-store-silent", "the secret store", format!("no tombstone can be written: {why}"))
                .hint("the next create will ask whether to continue this life or to begin a new one"),
        ),
    }
    let mut removals = Vec::new();
    for (machine, spec) in project.machines.iter().enumerate() {
        let found = match inventory.slots.get(&spec.id) {
            Some(Slot::Absent) => continue,
            Some(Slot::Present(found)) => found,
            Some(Slot::Hidden) => {
                plan.problems.push(left_alone(spec, "hidden-machine", "the token may not see it"));
                continue;
            }
            Some(Slot::Unknown(why)) => {
                plan.problems.push(unseen(about(spec), why));
                continue;
            }
            None => {
                plan.problems.push(unseen(about(spec), "the provider did not look at it"));
                continue;
            }
        };
        let detail = match &found.standing {
            Standing::Ours(mark) if found.dying => format!("its removal had begun (life {})", mark.life),
            Standing::Ours(mark) => format!("{}, life {}, with its own disks", found.power, mark.life),
            Standing::InCreation => "its creation is awaited, then judged and removed".into(),
            Standing::Stub(what) => {
                plan.problems.push(left_alone(spec, "half-made", "it is half made").hint(what));
                continue;
            }
            Standing::Foreign(why) => {
                plan.problems.push(match &observation.has_key {
                    Part::Unknown(silence) if found.standing.waits_for_the_key() => unproved(spec, found, silence),
                    _ => foreign(spec, found, why, observation),
                });
                continue;
            }
            Standing::Undeclared(_) => continue,
        };
        plan.changes.push(Change {
            symbol: Symbol::Remove,
            subject: subject(project, machine),
            disruption: Disruption::Removal,
            detail,
        });
        removals.push(machine);
    }
    // A tombstone over machines that all stay would give up a cluster that stands.
    let stays = plan.problems.iter().any(|problem| LEFT_ALONE.contains(&problem.code));
    let ends = plan.life.filter(|_| !stays || !removals.is_empty());
    let end: Vec<String> = ends.map(|life| format!("life/{life}/end")).into_iter().collect();
    if let (Some(life), Some(id)) = (ends, end.first()) {
        plan.push(id.clone(), Action::EndLife(life), &[], DEADLINE_STORE, "its tombstone comes first");
    }
    for machine in removals {
        let id = format!("machine/{}/remove", project.machines[machine].node);
        plan.push(id, Action::Remove(machine), &end, project.deadlines.destroy, "it exists and is ours");
    }
    for machine in &inventory.others {
        if let Standing::Undeclared(mark) = &machine.standing {
            plan.problems.push(
                Problem::warning(
                    "undeclared-machine",
                    format!("machine {} ({})", machine.name, machine.id),
                    format!("it is node {} of this cluster, but not declared; it is left alone", mark.node),
                )
                .hint("declare it again to have it removed with the cluster"),
            );
        }
    }
    plan
}

/// The youngest life that is seen: in the secret store, or on a machine.
fn youngest(inventory: &Inventory, observation: &Observation) -> Option<u32> {
    let on_machines = inventory.slots.values().filter_map(|slot| match slot {
        Slot::Present(machine) => machine.standing.ours().map(|mark| mark.life),
        _ => None,
    });
    let in_store = observation.lives.known().and_then(|lives| Some(lives.newest()?.0));
    on_machines.chain(in_store).max()
}

/// The codes of what stays on a reserved id after a destroy.
pub(crate) const LEFT_ALONE: [&str; 3] = ["foreign-machine", "hidden-machine", "half-made"];

fn about(spec: &MachineSpec) -> String {
    format!("machine {} ({})", spec.node, spec.id)
}

fn left_alone(spec: &MachineSpec, code: &'static str, why: &str) -> Problem {
    Problem::warning(code, about(spec), format!("it is left alone: {why}"))
}

/// A machine whose mark nobody could check, because the store did not give the key:
/// it may be ours, so nothing is decided yet.
fn unproved(spec: &MachineSpec, found: &Machine, silence: &str) -> Problem {
    let problem = unseen(about(spec), &format!("its mark cannot be checked without the project key: {silence}"));
    match found.uuid {
        Some(uuid) => problem.hint(format!("{NOTHING_ON_A_GUESS}; {}", waiver(spec, uuid))),
        None => problem,
    }
}

fn waiver(spec: &MachineSpec, uuid: Uuid) -> String {
    format!("if the secret store is lost and this machine is surely yours: `--waive-ownership {}={uuid}`", spec.id)
}

fn foreign(spec: &MachineSpec, found: &Machine, why: &str, observation: &Observation) -> Problem {
    let problem = left_alone(spec, "foreign-machine", &format!("`{}` is not provably ours: {why}", found.name));
    let keyless = observation.has_key.known() != Some(&true);
    match found.uuid {
        Some(uuid) if keyless => problem.hint(waiver(spec, uuid)),
        _ => problem.hint("look at it in the hypervisor; castle removes only what it can prove to be its own"),
    }
}
