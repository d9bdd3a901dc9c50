//! The way from what stands, or from nothing, to the next life: one plan.
//!
//! The old life gets its tombstone and the new one its bundle before the first
//! machine goes. Then each machine is removed and born anew by itself, beside the
//! others. A rebirth that was cut is recognised by the newest life: a rebirth began
//! it, and it was never whole.

use super::create::{self, Found, Need};
use super::{Action, DEADLINE_STORE, Decisions, Goal, Plan, told_lives, unseen};
use crate::life::Beginning;
use crate::observation::Part;
use crate::{Lives, MachineSpec, Milestone, Name, Observation, Problem, Project, Slot};

/// What a rebirth makes of the lives that it finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Course {
    /// This life replaced the former one already: it is finished, if it is not whole.
    Finish(u32),
    /// One life ends, if one goes on, and another begins.
    Begin {
        /// The life that gets its tombstone.
        ends: Option<u32>,
        /// The life that begins.
        begins: u32,
    },
    /// The caller asks for what contradicts the store.
    Refused(Problem),
}

/// Decides whether a rebirth begins or goes on.
pub(crate) fn course(cluster: &Name, lives: &Lives, decisions: &Decisions) -> Course {
    let refused = |message: String, hint: String| {
        Course::Refused(Problem::error("life-mismatch", format!("cluster {cluster}"), message).hint(hint))
    };
    let Some((newest, life)) = lives.newest() else {
        return match decisions.replaces {
            None | Some(0) => Course::Begin { ends: None, begins: lives.next() },
            Some(wanted) => refused(
                format!("life {wanted} is to be replaced, but the secret store knows no life"),
                "restore the newest copy of the secret store, or leave out which life is replaced".into(),
            ),
        };
    };
    let begins = Course::Begin { ends: (!life.ended).then_some(newest), begins: newest + 1 };
    let half_born = !life.ended && !life.complete && life.began == Some(Beginning::Rebirth);
    match decisions.replaces {
        Some(wanted) if wanted > newest => refused(
            format!("life {wanted} is to be replaced, but the newest life that the secret store knows is {newest}"),
            "restore the newest copy of the secret store, or leave out which life is replaced".into(),
        ),
        Some(wanted) if wanted < newest && life.ended => refused(
            format!("life {wanted} was replaced already, and life {newest}, the newest since, is over as well"),
            format!("to begin another life now, replace life {newest}"),
        ),
        Some(wanted) if wanted < newest => Course::Finish(newest),
        Some(_) if half_born && !decisions.abandon => refused(
            format!("life {newest} is to be replaced, but a rebirth began it and is not finished"),
            format!("replace life {} to finish that rebirth, or add `--abandon` to end it", newest - 1),
        ),
        Some(_) => begins,
        None if half_born && !decisions.abandon => Course::Finish(newest),
        None => begins,
    }
}

pub(super) fn plan(project: &Project, observation: &Observation, decisions: &Decisions, until: Milestone) -> Plan {
    let mut plan = Plan::empty(Goal::Rebirth);
    let Some(lives) = told_lives(observation, &mut plan.problems) else { return plan };
    let (ends, begins) = match course(&project.cluster.name, lives, decisions) {
        Course::Finish(_) => {
            return Plan { goal: Goal::Rebirth, ..create::plan(project, observation, decisions.lost_life, until) };
        }
        Course::Begin { ends, begins } => (ends, begins),
        Course::Refused(problem) => {
            plan.problems.push(problem);
            return plan;
        }
    };
    let inventory = match &observation.machines {
        Part::Known(inventory) => inventory,
        Part::Unknown(why) => {
            plan.problems.push(unseen("the hypervisor", why));
            return plan;
        }
    };
    plan.life = Some(begins);
    if let Some(number) = ends {
        let id = format!("life/{number}/end");
        plan.push(id, Action::EndLife(number), &[], DEADLINE_STORE, "its tombstone comes first");
    }
    let newest_known = begins - 1;
    let needs: Vec<Need> = project
        .machines
        .iter()
        .map(|spec| judge(spec, inventory.slots.get(&spec.id), newest_known, &mut plan.problems))
        .collect();
    create::tell_of_others(inventory, &mut plan.problems);
    super::capacity::check(project, inventory, &needs, &mut plan.problems);
    // What answers now belongs to the life that ends.
    let unborn = observation.of_machines_alone();
    create::add_steps(project, &unborn, inventory, lives, begins, &needs, until, &mut plan);
    plan
}

fn judge(spec: &MachineSpec, slot: Option<&Slot>, newest_known: u32, problems: &mut Vec<Problem>) -> Need {
    match create::find(spec, slot, problems) {
        Found::Refused => Need::Refused,
        Found::Nothing => Need::Birth,
        Found::Half => Need::Replace("its creation is awaited, then judged and removed".into()),
        Found::Ours(_, mark) if mark.life > newest_known => {
            problems.push(create::unknown_life(spec, mark.life, newest_known));
            Need::Refused
        }
        Found::Ours(machine, mark) => Need::Replace(format!("{}, life {}", machine.power, mark.life)),
    }
}
