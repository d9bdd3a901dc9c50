//! What a script reads: each object of the lines that `--json` prints.

use std::time::Duration;

use castle_core::{Error, Observation, Part, Problem, Project, Report, Slot};
use serde_json::{Value, json};

use crate::picture;

/// Seconds to the millisecond, which is as fine as events are.
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// A finding.
pub fn problem(problem: &Problem) -> Value {
    let mut value = serde_json::to_value(problem).unwrap_or_else(|_| json!({"code": problem.code}));
    value["type"] = "problem".into();
    value
}

/// What a run came to.
pub fn report(report: &Report, ideal: Option<Duration>, wall: Duration) -> Value {
    let steps: Vec<Value> = report
        .timeline
        .steps
        .iter()
        .map(|step| {
            json!({"id": step.id, "start": step.start_ms as f64 / 1000.0, "end": step.end_ms as f64 / 1000.0, "outcome": step.outcome})
        })
        .collect();
    let milestones: serde_json::Map<String, Value> =
        report.milestones.iter().map(|(name, at)| (name.clone(), seconds(*at).into())).collect();
    let mut value = json!({
        "type": "report",
        "goal": report.goal,
        "outcome": report.outcome,
        "simulated_seconds": seconds(report.took),
        "wall_seconds": seconds(wall),
        "requests": report.requests,
        "milestones": milestones,
        "steps": steps,
        "critical_path": report.timeline.critical_path,
        "problems": report.problems,
        "left": report.left,
        "rounds": report.rounds,
    });
    if let Some(ideal) = ideal {
        value["ideal_seconds"] = seconds(ideal).into();
    }
    if let Some(error) = &report.error {
        value["error"] = self::error(error);
    }
    value
}

/// An error with its causes.
pub fn error(error: &Error) -> Value {
    let context: serde_json::Map<String, Value> =
        error.context().map(|(key, value)| (key.to_owned(), value.into())).collect();
    json!({"code": error.kind().code(), "message": error.chain(), "hint": error.advice(), "context": context})
}

/// What is there.
pub fn status(project: &Project, observation: &Observation) -> Value {
    let unknown = |why: &String| json!({"unknown": why});
    let lives = match &observation.lives {
        Part::Unknown(why) => unknown(why),
        Part::Known(lives) => lives
            .iter()
            .map(|(number, life)| {
                json!({"life": number, "state": life.state(), "complete": life.complete, "ended": life.ended})
            })
            .collect(),
    };
    let machines = match &observation.machines {
        Part::Unknown(why) => unknown(why),
        Part::Known(inventory) => project
            .machines
            .iter()
            .map(|spec| {
                let base = json!({"node": spec.node, "id": spec.id, "host": spec.host, "address": spec.nic.address});
                let mut value = base;
                match inventory.slots.get(&spec.id) {
                    Some(Slot::Absent) => value["state"] = "absent".into(),
                    Some(Slot::Hidden) => value["state"] = "hidden".into(),
                    Some(Slot::Unknown(why)) => value["unknown"] = why.as_str().into(),
                    Some(Slot::Present(machine)) => {
                        value["state"] = machine.power.to_string().into();
                        value["standing"] = machine.standing.to_string().into();
                        value["uuid"] = machine.uuid.map(|uuid| uuid.to_string()).into();
                    }
                    None => value["unknown"] = "it was not looked at".into(),
                }
                if let Some(state) = observation.nodes.get(&spec.id) {
                    value["stage"] = picture::stage(Some(state)).into();
                }
                value
            })
            .collect(),
    };
    let mut value = json!({"type": "status", "cluster": project.cluster.name, "lives": lives, "machines": machines});
    match &observation.handover {
        None => {}
        Some(Part::Unknown(why)) => value["handover"] = unknown(why),
        Some(Part::Known(state)) => {
            value["handover"] = json!({
                "handed_over": state.is_handed_over(), "why_not": state.why_not(),
                "holder": state.holder().map(castle_core::handover::FluxItem::id), "state": state,
            });
        }
    }
    value
}
