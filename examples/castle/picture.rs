//! Pictures in text that fit 80 columns, or what the terminal has.

use std::fmt::Write;

use castle_core::{
    Machine, Member, Name, NodeState, Observation, Part, Project, Result, Slot, Standing, StepOutcome, Timeline,
};

use crate::width::{self, folded};

/// Together with a time and a word such as `stopped`: a line of 80 columns.
const NAME_WIDTH: usize = 30;
const BAR_WIDTH: usize = 32;
/// What is left of both in a narrow terminal.
const NAME_LEAST: usize = 14;
const BAR_LEAST: usize = 8;
/// All of a line but the name and the bar.
const REST_WIDTH: usize = 80 - NAME_WIDTH - BAR_WIDTH;

/// The steps of a run as bars over time; those on the critical path are full.
pub fn timeline(timeline: &Timeline) -> String {
    drawn(timeline, width::of_results())
}

fn drawn(timeline: &Timeline, columns: usize) -> String {
    let Some(end) = timeline.steps.iter().map(|step| step.end_ms).max().filter(|end| *end > 0) else {
        return "timeline: nothing had to be done".into();
    };
    let (name_width, bar_width) = widths(columns);
    let column = |at_ms: u64| (at_ms as usize * bar_width) / end as usize;
    let total = format!("{:.1} s", end as f64 / 1000.0);
    let mut text = format!("{:name_width$} 0 s{total:>width$}\n", "timeline", width = bar_width - 1);
    for step in &timeline.steps {
        let (from, to) = (column(step.start_ms), column(step.end_ms));
        let bar = if step.critical { "█" } else { "░" };
        let length = (to - from).max(1).min(bar_width + 1 - from);
        let sign = match step.outcome {
            StepOutcome::Done | StepOutcome::Skipped => "",
            StepOutcome::Failed => " failed",
            StepOutcome::Cancelled => " stopped",
        };
        let took = (step.end_ms - step.start_ms) as f64 / 1000.0;
        let line = format!("{}{}", " ".repeat(from), bar.repeat(length));
        let name = shortened(&step.id, name_width);
        let _ = writeln!(text, "{name:name_width$} {line:<width$} {took:>6.1}{sign}", width = bar_width + 1);
    }
    let path = format!("critical path (full bars): {}", timeline.critical_path.join(" > "));
    text.push_str(&width::folded_to(&path, columns));
    text
}

/// How wide names and bars are. Names give way last: without them no bar says a thing.
fn widths(columns: usize) -> (usize, usize) {
    let bar = columns.saturating_sub(NAME_WIDTH + REST_WIDTH).clamp(BAR_LEAST, BAR_WIDTH);
    (columns.saturating_sub(bar + REST_WIDTH).clamp(NAME_LEAST, NAME_WIDTH), bar)
}

/// A name that fits its column: the ends of a long one tell what it is.
fn shortened(name: &str, columns: usize) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= columns {
        return name.to_owned();
    }
    let half = (columns - 1) / 2;
    let ends = |range: &[char]| range.iter().collect::<String>();
    format!("{}…{}", ends(&letters[..half]), ends(&letters[letters.len() - half..]))
}

/// The members of etcd, by their ids.
pub fn members(lists: &[(Name, Result<Vec<Member>>)]) -> String {
    let mut text = String::from("ASKED          MEMBER           ROLE    NAME           ADDRESSES");
    for (node, list) in lists {
        match list {
            Err(error) => {
                let _ = write!(text, "\n{:<14} not known: {}", node.as_str(), error.chain());
            }
            Ok(members) if members.is_empty() => {
                let _ = write!(text, "\n{:<14} no etcd runs there", node.as_str());
            }
            Ok(members) => {
                for member in members {
                    let role = if member.learner { "learner" } else { "voter" };
                    let addresses: Vec<_> = member.addresses.iter().map(ToString::to_string).collect();
                    let (id, addresses) = (member.id, addresses.join(", "));
                    let _ = write!(text, "\n{:<14} {id:016x} {role:<7} {:<14} {addresses}", node.as_str(), member.name);
                }
            }
        }
    }
    text
}

/// How far a node has come, in one word.
pub fn stage(state: Option<&NodeState>) -> String {
    match state {
        None => "-".into(),
        Some(NodeState::Silent(_)) => "silent".into(),
        Some(NodeState::Maintenance { .. }) => "maintenance".into(),
        Some(NodeState::Stranger(_)) => "stranger".into(),
        Some(NodeState::Ours(report)) => report.stage.to_string(),
    }
}

/// A machine that is not proved ours, as `--waive-ownership` takes it: who lost the
/// secret store can vouch for it, and needs its uuid.
fn vouched(machine: &Machine) -> Option<String> {
    let unproved = matches!(machine.standing, Standing::Foreign(_) | Standing::Stub(_));
    let uuid = machine.uuid.filter(|_| unproved)?;
    Some(format!("{}={uuid} ({})", machine.id, machine.name))
}

/// The lives and the machines as a table.
pub fn status(project: &Project, observation: &Observation) -> String {
    let mut text = String::new();
    match &observation.lives {
        Part::Unknown(why) => {
            let _ = writeln!(text, "lives: not known: {why}");
        }
        Part::Known(lives) => match lives.newest() {
            None => text.push_str("no life yet\n"),
            Some((number, life)) => {
                let _ = writeln!(text, "life {number}: {}", life.state());
            }
        },
    }
    if let Part::Unknown(why) = &observation.has_key {
        let _ = writeln!(text, "project key: not known: {why}");
    }
    if let Some(Part::Unknown(why)) = &observation.bundle {
        let _ = writeln!(text, "secrets of the life: not known: {why}");
    }
    let inventory = match &observation.machines {
        Part::Unknown(why) => {
            let _ = write!(text, "machines: not known: {why}");
            return text;
        }
        Part::Known(inventory) => inventory,
    };
    text.push_str("NODE               ID STATE    STAGE       ADDRESS          STANDING");
    let mut waivable = Vec::new();
    for spec in &project.machines {
        let (state, standing) = match inventory.slots.get(&spec.id) {
            Some(Slot::Absent) => ("absent".into(), String::new()),
            Some(Slot::Hidden) => ("hidden".into(), "taken by a machine that the token may not see".into()),
            Some(Slot::Unknown(why)) => ("unknown".into(), why.clone()),
            Some(Slot::Present(machine)) => {
                let standing = match machine.standing.ours() {
                    Some(mark) if mark.node == spec.node => format!("ours, life {}", mark.life),
                    _ => machine.standing.to_string(),
                };
                waivable.extend(vouched(machine));
                (machine.power.to_string(), standing)
            }
            None => ("unknown".into(), "it was not looked at".into()),
        };
        let address = spec.nic.address.to_string();
        let stage = stage(observation.nodes.get(&spec.id));
        let (node, id) = (spec.node.as_str(), spec.id.get());
        let _ = write!(text, "\n{node:<14} {id:>6} {state:<8} {stage:<11} {address:<16} {standing}");
    }
    for machine in &inventory.others {
        let _ = write!(
            text,
            "\n{:<14} {:>6} {:<8} {:<28} {}",
            machine.name,
            machine.id.get(),
            machine.power.to_string(),
            "",
            machine.standing
        );
        waivable.extend(vouched(machine));
    }
    if !waivable.is_empty() {
        let _ = write!(text, "\nnot proved ours, as ID=UUID:\n    {}", waivable.join("\n    "));
    }
    for spec in &project.machines {
        if let Some(NodeState::Ours(report)) = observation.nodes.get(&spec.id) {
            let etcd = report.etcd.as_ref().map(|etcd| format!("etcd {}", etcd.state.to_lowercase()));
            let vip = report.holds_vip.then(|| "holds the VIP".to_owned());
            let told: Vec<String> = etcd.into_iter().chain(vip).chain(report.unmet.iter().cloned()).collect();
            if !told.is_empty() {
                let _ = write!(text, "\nnode {}: {}", spec.node, told.join(", "));
            }
        }
    }
    match &observation.api {
        None => {}
        Some(Part::Unknown(why)) => {
            let _ = write!(text, "\napi: not known: {why}");
        }
        Some(Part::Known(view)) => {
            let ready = view.nodes.iter().filter(|node| node.ready).count();
            let _ = write!(
                text,
                "\napi: {ready} of {} nodes Ready, {} of {} pods of the network ready",
                view.nodes.len(),
                view.cni.ready,
                view.cni.wanted
            );
        }
    }
    if let Some(handover) = crate::handover_picture::handover(observation) {
        let _ = write!(text, "\n{handover}");
    }
    for (name, host) in &inventory.hosts {
        let state = if host.online { "online" } else { "offline" };
        let _ = write!(text, "\nhost {name}: {state}, {} of {} in use", host.memory_used, host.memory_total);
    }
    text.lines().map(folded).collect::<Vec<_>>().join("\n")
}
