//! The way to a standing cluster.

use std::collections::BTreeMap;

use super::{
    Action, Change, DEADLINE_STORE, Disruption, Goal, LostLife, Plan, Symbol, capacity, handover, judge_bundle, node,
    subject, told_lives, unseen,
};
use crate::observation::Part;
use crate::{
    Inventory, Lives, Machine, MachineSpec, Mark, Milestone, Name, Observation, Power, Problem, Project, Slot, Standing,
};

/// What one machine needs.
pub(super) enum Need {
    Nothing,
    Start,
    Complete(String),
    Birth,
    Replace(String),
    Refused,
}

impl Need {
    /// Whether the machine will be turned on.
    pub(super) fn starts(&self) -> bool {
        matches!(self, Self::Start | Self::Complete(_) | Self::Birth | Self::Replace(_))
    }
}

pub(super) fn plan(project: &Project, observation: &Observation, lost: LostLife, until: Milestone) -> Plan {
    let mut plan = Plan::empty(Goal::Create);
    let Some(lives) = told_lives(observation, &mut plan.problems) else { return plan };
    let inventory = match &observation.machines {
        Part::Known(inventory) => inventory,
        Part::Unknown(why) => {
            plan.problems.push(unseen("the hypervisor", why));
            return plan;
        }
    };
    let life = choose_life(project, lives, inventory, lost, &mut plan);
    plan.life = Some(life);
    judge_bundle(project, observation, life, &mut plan.problems);
    let needs: Vec<Need> = project
        .machines
        .iter()
        .map(|spec| judge(spec, inventory.slots.get(&spec.id), life, &mut plan.problems))
        .collect();
    tell_of_others(inventory, &mut plan.problems);
    capacity::check(project, inventory, &needs, &mut plan.problems);
    add_steps(project, observation, inventory, lives, life, &needs, until, &mut plan);
    plan
}

fn choose_life(project: &Project, lives: &Lives, inventory: &Inventory, lost: LostLife, plan: &mut Plan) -> u32 {
    let Some((number, life)) = lives.current() else { return lives.next() };
    let anything_stands = inventory.slots.values().any(|slot| !matches!(slot, Slot::Absent));
    // Without its secrets it cannot be continued, whatever the caller decides.
    let is_lost = life.complete || life.lacks_its_bundle();
    if !is_lost || anything_stands {
        return number;
    }
    match lost {
        LostLife::Continue => number,
        LostLife::Ask if life.lacks_its_bundle() => number,
        LostLife::Begin => {
            plan.push(
                format!("life/{number}/end"),
                Action::EndLife(number),
                &[],
                DEADLINE_STORE,
                "its machines are gone, and the caller asked for a new life",
            );
            number + 1
        }
        LostLife::Ask => {
            plan.problems.push(
                Problem::error(
                    "lost-life",
                    format!("cluster {}", project.cluster.name),
                    format!("life {number} was whole and was never ended, yet none of its machines exists"),
                )
                .hint("`--new-life` begins the next life; `--continue` makes the machines of this one again"),
            );
            number
        }
    }
}

/// What was found under a reserved id.
pub(super) enum Found<'a> {
    /// Nothing, proved.
    Nothing,
    /// A creation of ours that is under way.
    Half,
    /// A machine that is proved ours.
    Ours(&'a Machine, &'a Mark),
    /// What stops the plan; the problem is told.
    Refused,
}

/// Looks at what holds the id of `spec`, whatever its life.
pub(super) fn find<'a>(spec: &MachineSpec, slot: Option<&'a Slot>, problems: &mut Vec<Problem>) -> Found<'a> {
    let about = format!("machine {} ({})", spec.node, spec.id);
    let mut refuse = |problem: Problem| {
        problems.push(problem);
        Found::Refused
    };
    let machine = match slot {
        Some(Slot::Absent) => return Found::Nothing,
        Some(Slot::Present(machine)) => machine,
        Some(Slot::Hidden) => {
            return refuse(
                Problem::error("hidden-machine", about, "the id is taken by a machine that the token may not see")
                    .hint("choose another vmid, or remove that machine; castle never touches what it cannot read"),
            );
        }
        Some(Slot::Unknown(why)) => return refuse(unseen(about, why)),
        None => return refuse(unseen(about, "the provider did not look at it")),
    };
    match &machine.standing {
        Standing::Ours(mark) => Found::Ours(machine, mark),
        Standing::InCreation => Found::Half,
        Standing::Stub(what) => {
            refuse(Problem::error("half-made", about, "the id holds a half-made machine").hint(what))
        }
        Standing::Undeclared(_) => refuse(unseen(about, "its number is reserved and yet undeclared")),
        Standing::Foreign(why) => refuse(
            Problem::error(
                "foreign-machine",
                about,
                format!("the id is taken by `{}`, which is not provably ours: {why}", machine.name),
            )
            .hint(match machine.standing.waits_for_the_key() {
                true => {
                    "restore the project key from a backup of the secret store: it proves which machines are yours; if \
                     there is none, `castle destroy --waive-ownership ID=UUID` removes this one on your word"
                }
                false => "choose another vmid; castle neither adopts nor removes it",
            }),
        ),
    }
}

pub(super) fn judge(spec: &MachineSpec, slot: Option<&Slot>, life: u32, problems: &mut Vec<Problem>) -> Need {
    match find(spec, slot, problems) {
        Found::Nothing => Need::Birth,
        Found::Half => Need::Complete("its creation is under way".into()),
        Found::Ours(machine, mark) => judge_ours(spec, machine, mark, life, problems),
        Found::Refused => Need::Refused,
    }
}

/// The problem of a machine that is younger than everything the store knows.
pub(super) fn unknown_life(spec: &MachineSpec, found: u32, known: u32) -> Problem {
    Problem::error(
        "unknown-life",
        format!("machine {} ({})", spec.node, spec.id),
        format!("it belongs to life {found}, but the secret store knows lives up to {known} only"),
    )
    .hint("restore the newest copy of the secret store; its bundle is needed to speak to this cluster")
}

fn judge_ours(spec: &MachineSpec, machine: &Machine, mark: &Mark, life: u32, problems: &mut Vec<Problem>) -> Need {
    let about = format!("machine {} ({})", spec.node, spec.id);
    if mark.life > life {
        problems.push(unknown_life(spec, mark.life, life));
        return Need::Refused;
    }
    if mark.life < life {
        return Need::Replace(format!("a remainder of life {}", mark.life));
    }
    if mark.node != spec.node {
        problems.push(
            Problem::error(
                "node-changed",
                about,
                format!("the id carries our node {}, declared is {}", mark.node, spec.node),
            )
            .hint("give the new node another vmid, or destroy the cluster first"),
        );
        return Need::Refused;
    }
    if machine.dying {
        return Need::Replace("its removal had begun".into());
    }
    for (what, is, wanted) in [
        ("cores", machine.cores.to_string(), spec.cores.to_string()),
        ("memory", machine.memory.to_string(), spec.memory.to_string()),
    ] {
        if is != wanted {
            problems.push(
                Problem::warning("drift", about.clone(), format!("{what} is {is}, declared is {wanted}"))
                    .hint("a standing machine is not changed; the next rebirth brings it"),
            );
        }
    }
    match machine.disk {
        None => return Need::Complete("it has no disk yet".into()),
        Some(disk) if disk < spec.disk => return Need::Complete(format!("its disk has {disk} of {}", spec.disk)),
        Some(disk) if disk > spec.disk => problems.push(
            Problem::warning("drift", about, format!("disk is {disk}, declared is {}", spec.disk))
                .hint("disks never shrink; the next rebirth brings it"),
        ),
        Some(_) => {}
    }
    if machine.lock.as_deref() == Some("create") {
        return Need::Complete("its creation is under way".into());
    }
    if machine.power == Power::Running { Need::Nothing } else { Need::Start }
}

pub(super) fn tell_of_others(inventory: &Inventory, problems: &mut Vec<Problem>) {
    for machine in &inventory.others {
        if let Standing::Undeclared(mark) = &machine.standing {
            problems.push(
                Problem::warning(
                    "undeclared-machine",
                    format!("machine {} ({})", machine.name, machine.id),
                    format!("it is node {} of life {} of this cluster, but no longer declared", mark.node, mark.life),
                )
                .hint("declare it again to have it removed with the cluster, or remove it by hand"),
            );
        }
    }
}

fn describe(spec: &MachineSpec) -> String {
    format!("{} cores, {}, {} on {}, {}", spec.cores, spec.memory, spec.disk, spec.storage, spec.nic.address)
}

/// Adds the steps to `until`, after those that the plan has already.
#[allow(clippy::too_many_arguments)] // each is another part of what was seen or decided
pub(super) fn add_steps(
    project: &Project,
    observation: &Observation,
    inventory: &Inventory,
    lives: &Lives,
    life: u32,
    needs: &[Need],
    until: Milestone,
    plan: &mut Plan,
) {
    let makes = needs.iter().any(|need| matches!(need, Need::Birth | Need::Replace(_) | Need::Complete(_)));
    let begin = format!("life/{life}/begin");
    let mut before: Vec<String> = plan.steps.iter().map(|step| step.id.clone()).collect();
    if makes {
        let because =
            if lives.get(life).is_some_and(|life| life.committed) { "its bundle is needed" } else { "it is not begun" };
        plan.push(begin.clone(), Action::BeginLife(life), &before, DEADLINE_STORE, because);
        before = vec![begin];
    }
    let mut last = Vec::new();
    let late = capacity::latecomers(project, inventory, needs);
    let mut removals: BTreeMap<&Name, Vec<String>> = BTreeMap::new();
    for (spec, _) in project.machines.iter().zip(needs).filter(|(_, need)| matches!(need, Need::Replace(_))) {
        removals.entry(&spec.host).or_default().push(format!("machine/{}/remove", spec.node));
    }
    for (machine, (spec, need)) in project.machines.iter().zip(needs).enumerate() {
        let step = |verb: &str| format!("machine/{}/{verb}", spec.node);
        let mut change = |symbol, disruption, detail: String| {
            plan.changes.push(Change { symbol, subject: subject(project, machine), disruption, detail });
        };
        let mut needs_before = before.clone();
        match need {
            Need::Nothing | Need::Refused => continue,
            Need::Start => change(Symbol::Update, Disruption::None, "it is off and will be started".into()),
            Need::Complete(why) => change(Symbol::Update, Disruption::None, format!("{why}; it will be completed")),
            Need::Birth => change(Symbol::Add, Disruption::None, describe(spec)),
            Need::Replace(why) => {
                change(Symbol::Replace, Disruption::ReplaceNode, format!("{why}; then {}", describe(spec)))
            }
        }
        if let Need::Replace(why) = need {
            plan.push(step("remove"), Action::Remove(machine), &needs_before, project.deadlines.destroy, why.clone());
            needs_before = vec![step("remove")];
        }
        if !matches!(need, Need::Start) {
            plan.push(
                step("create"),
                Action::Ensure(machine),
                &needs_before,
                project.deadlines.import,
                "it does not exist yet",
            );
            if let Some(created) = plan.steps.last_mut() {
                created.limit = Some(import_limit(spec));
            }
            needs_before = vec![step("create")];
        }
        if late.contains(&machine) {
            needs_before.extend(removals.get(&spec.host).into_iter().flatten().cloned());
        }
        plan.push(step("start"), Action::Start(machine), &needs_before, project.deadlines.start, "it is off");
        last.push(step("start"));
    }
    if until > Milestone::MachinesRunning {
        last.extend(node::add_steps(project, observation, until, plan));
        handover::add_steps(project, observation, until, &mut last, plan);
    }
    let complete = lives.get(life).is_some_and(|life| life.complete);
    if !complete && !plan.is_refused() {
        let id = format!("life/{life}/complete");
        plan.push(id, Action::CompleteLife(life), &last, DEADLINE_STORE, "what was asked for will stand");
    }
}

/// The name of the limit on imports to one storage of one host.
pub(crate) fn import_limit(spec: &MachineSpec) -> String {
    format!("import to {} on {}", spec.storage, spec.host)
}
