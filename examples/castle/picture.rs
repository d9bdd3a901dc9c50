//! Pictures in text that fit 80 columns.

use std::fmt::Write;

use castle_core::{Observation, Part, Project, Slot, StepOutcome, Timeline};

const NAME_WIDTH: usize = 30;
const BAR_WIDTH: usize = 36;

/// The steps of a run as bars over time; those on the critical path are full.
pub fn timeline(timeline: &Timeline) -> String {
    let Some(end) = timeline.steps.iter().map(|step| step.end_ms).max().filter(|end| *end > 0) else {
        return "timeline: nothing had to be done".into();
    };
    let column = |at_ms: u64| (at_ms as usize * BAR_WIDTH) / end as usize;
    let total = format!("{:.1} s", end as f64 / 1000.0);
    let mut text = format!("{:NAME_WIDTH$} 0 s{total:>width$}\n", "timeline", width = BAR_WIDTH - 1);
    for step in &timeline.steps {
        let (from, to) = (column(step.start_ms), column(step.end_ms));
        let bar = if step.critical { "█" } else { "░" };
        let length = (to - from).max(1).min(BAR_WIDTH + 1 - from);
        let sign = match step.outcome {
            StepOutcome::Done | StepOutcome::Skipped => "",
            StepOutcome::Failed => " failed",
            StepOutcome::Cancelled => " stopped",
        };
        let took = (step.end_ms - step.start_ms) as f64 / 1000.0;
        let line = format!("{}{}", " ".repeat(from), bar.repeat(length));
        let _ = writeln!(text, "{:NAME_WIDTH$} {line:<width$} {took:>6.1}{sign}", step.id, width = BAR_WIDTH + 1);
    }
    let _ = write!(text, "critical path (full bars): {}", wrapped(&timeline.critical_path));
    text
}

fn wrapped(names: &[String]) -> String {
    let mut text = String::new();
    let mut width = 27;
    for (index, name) in names.iter().enumerate() {
        let piece = if index == 0 { name.clone() } else { format!(" > {name}") };
        if width + piece.len() > 80 {
            text.push_str("\n   ");
            width = 3;
        }
        width += piece.len();
        text.push_str(&piece);
    }
    text
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
                let state = match (life.ended, life.complete) {
                    (true, _) => "ended",
                    (_, true) => "whole",
                    _ => "being born",
                };
                let _ = writeln!(text, "life {number}: {state}");
            }
        },
    }
    let inventory = match &observation.machines {
        Part::Unknown(why) => {
            let _ = write!(text, "machines: not known: {why}");
            return text;
        }
        Part::Known(inventory) => inventory,
    };
    text.push_str("NODE               ID STATE    ADDRESS          STANDING");
    for spec in &project.machines {
        let (state, standing) = match inventory.slots.get(&spec.id) {
            Some(Slot::Absent) => ("absent".into(), String::new()),
            Some(Slot::Hidden) => ("hidden".into(), "taken by a machine that the token may not see".into()),
            Some(Slot::Unknown(why)) => ("unknown".into(), why.clone()),
            Some(Slot::Present(machine)) => (machine.power.to_string(), machine.standing.to_string()),
            None => ("unknown".into(), "it was not looked at".into()),
        };
        let address = spec.nic.address.to_string();
        let _ = write!(text, "\n{:<14} {:>6} {state:<8} {address:<16} {standing}", spec.node.as_str(), spec.id.get());
    }
    for machine in &inventory.others {
        let _ = write!(
            text,
            "\n{:<14} {:>6} {:<8} {:<16} {}",
            machine.name,
            machine.id.get(),
            machine.power.to_string(),
            "",
            machine.standing
        );
    }
    for (name, host) in &inventory.hosts {
        let state = if host.online { "online" } else { "offline" };
        let _ = write!(text, "\nhost {name}: {state}, {} of {} in use", host.memory_used, host.memory_total);
    }
    text
}
