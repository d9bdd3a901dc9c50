//! Pictures in text that fit 80 columns.

use std::fmt::Write;

use castle_core::{Observation, Part, Project, Slot, StepOutcome, Timeline};

/// What a terminal shows at least.
const WIDTH: usize = 80;
const NAME_WIDTH: usize = 30;
/// Together with a name, a time and a word such as `stopped`: one line.
const BAR_WIDTH: usize = 32;

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
        let name = shortened(&step.id);
        let _ = writeln!(text, "{name:NAME_WIDTH$} {line:<width$} {took:>6.1}{sign}", width = BAR_WIDTH + 1);
    }
    text.push_str(&folded(&format!("critical path (full bars): {}", timeline.critical_path.join(" > "))));
    text
}

/// A name that fits its column: the ends of a long one tell what it is.
fn shortened(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= NAME_WIDTH {
        return name.to_owned();
    }
    let half = (NAME_WIDTH - 1) / 2;
    let ends = |range: &[char]| range.iter().collect::<String>();
    format!("{}…{}", ends(&letters[..half]), ends(&letters[letters.len() - half..]))
}

/// A line broken between words, its continuations set in by four. A word that
/// is longer than a line stays whole, so that it can be copied.
pub fn folded(line: &str) -> String {
    let text = line.trim_start();
    let mut folded = " ".repeat(line.len() - text.len());
    let mut width = folded.len();
    for (index, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if index > 0 && width + 1 + length > WIDTH {
            folded.push_str("\n    ");
            width = 4;
        } else if index > 0 {
            folded.push(' ');
            width += 1;
        }
        folded.push_str(word);
        width += length;
    }
    folded
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
    text.lines().map(folded).collect::<Vec<_>>().join("\n")
}
