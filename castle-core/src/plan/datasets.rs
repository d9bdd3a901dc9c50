//! The guard over declared data: nothing that holds it is removed without a typed
//! waiver.

use super::{Action, Decisions, Plan};
use crate::observation::Part;
use crate::{Observation, Problem, Project, Slot};

/// Refuses a plan that would end the life of declared data, unless the caller
/// named the cluster whose data may be lost. A plan that removes nothing loses
/// nothing.
pub(super) fn guard(project: &Project, observation: &Observation, decisions: &Decisions, plan: &mut Plan) {
    let cluster = &project.cluster.name;
    let ends = |step: &super::PlannedStep| matches!(step.action, Action::EndLife(_));
    let removes = |step: &super::PlannedStep| matches!(step.action, Action::Remove(_));
    let removes_living = |step: &super::PlannedStep| match step.action {
        Action::Remove(machine) => !was_given_up(project, observation, machine),
        _ => false,
    };
    let loses = match plan.goal {
        super::Goal::Destroy | super::Goal::Rebirth => plan.steps.iter().any(|step| ends(step) || removes(step)),
        super::Goal::Create | super::Goal::Handover => plan.steps.iter().any(removes_living),
    };
    if !loses || decisions.waive_data.as_ref() == Some(cluster) {
        return;
    }
    for dataset in &project.datasets {
        plan.problems.push(
            Problem::error(
                "unsafe-data",
                format!("dataset {}", dataset.name),
                format!("{} would be lost, and nothing proves that a copy is safe", dataset.what),
            )
            .hint(format!("`--waive-data {cluster}` gives up all declared data of this cluster")),
        );
    }
}

/// Whether a machine is what an ended life, or a removal that had begun, left: whoever
/// wrote the tombstone or began the removal gave its data up.
fn was_given_up(project: &Project, observation: &Observation, machine: usize) -> bool {
    let (Part::Known(inventory), Part::Known(lives)) = (&observation.machines, &observation.lives) else {
        return false;
    };
    match inventory.slots.get(&project.machines[machine].id) {
        Some(Slot::Present(found)) => {
            let life = found.standing.ours().and_then(|mark| lives.get(mark.life));
            found.dying || life.is_some_and(|life| life.ended)
        }
        _ => false,
    }
}
