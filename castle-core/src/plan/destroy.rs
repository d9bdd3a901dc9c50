//! The way to an empty house.

use super::{Action, Change, DEADLINE_STORE, Disruption, Goal, Plan, Symbol, subject, unseen};
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
    let mut before = Vec::new();
    match &observation.lives {
        Part::Known(lives) => {
            if let Some((number, _)) = lives.current() {
                plan.life = Some(number);
                let id = format!("life/{number}/end");
                plan.push(id.clone(), Action::EndLife(number), &[], DEADLINE_STORE, "its tombstone comes first");
                before.push(id);
            }
        }
        Part::Unknown(why) => plan.problems.push(
            Problem::warning("secret-store-silent", "the secret store", format!("no tombstone can be written: {why}"))
                .hint("the next create will ask whether to continue this life or to begin a new one"),
        ),
    }
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
                plan.problems.push(foreign(spec, found, why, observation));
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
        let id = format!("machine/{}/remove", spec.node);
        plan.push(id, Action::Remove(machine), &before, project.deadlines.destroy, "it exists and is ours");
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

fn foreign(spec: &MachineSpec, found: &Machine, why: &str, observation: &Observation) -> Problem {
    let problem = left_alone(spec, "foreign-machine", &format!("`{}` is not provably ours: {why}", found.name));
    let keyless = observation.has_key.known() != Some(&true);
    match found.uuid {
        Some(uuid) if keyless => problem.hint(format!(
            "if the secret store is lost and this machine is surely yours: `--waive-ownership {}={uuid}`",
            spec.id
        )),
        _ => problem.hint("look at it in the hypervisor; castle removes only what it can prove to be its own"),
    }
}
