//! What a user or a script sees: text or JSON lines, results to standard output,
//! progress to standard error.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::Path;
use std::time::{Duration, Instant};

use castle_core::{
    Error, ErrorKind, Event, EventKind, Ghost, Goal, Member, Name, Observation, Outcome, Part, Plan, Problem, Project,
    Report, RequestCounts, Requests, Result, Slot, StepOutcome,
};
use serde_json::{Value, json};

use crate::wiring::Home;
use crate::{Exit, picture};

/// Where everything that is told goes.
pub struct Output {
    json: bool,
    began: Instant,
}

/// Where a verb began: its report tells what came after.
pub struct Start {
    at: Duration,
    requests: RequestCounts,
}

impl Start {
    /// Now.
    pub fn of(home: &Home) -> Self {
        Self { at: home.castle.env().clock.elapsed(), requests: home.castle.requests() }
    }

    /// What was asked since.
    fn requests(&self, home: &Home) -> RequestCounts {
        let mut requests = home.castle.requests();
        for (name, count) in &mut requests {
            let before = self.requests.get(name).copied().unwrap_or_default();
            count.read -= before.read;
            count.write -= before.write;
        }
        requests
    }
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

impl Output {
    /// Begins to tell; the wall clock of the report starts here.
    #[allow(clippy::disallowed_methods)] // the wall time of a process is no business of castle's clock
    pub fn new(json: bool) -> Self {
        let output = Self { json, began: Instant::now() };
        output.line(json!({"type": "version", "version": 1, "castle": env!("CARGO_PKG_VERSION")}));
        output
    }

    /// Whether scripts are listening.
    pub fn is_json(&self) -> bool {
        self.json
    }

    fn line(&self, value: Value) {
        if self.json {
            println!("{value}");
        }
    }

    fn text(&self, text: impl std::fmt::Display) {
        if !self.json {
            println!("{text}");
        }
    }

    /// Something by the way.
    pub fn note(&self, text: &str) {
        if !self.json {
            eprintln!("{text}");
        }
    }

    /// The heading of a run.
    pub fn begin(&self, verb: &str, home: &Home) {
        let project = home.castle.project();
        let heading =
            format!("castle {verb}: cluster {} on {}, {}", project.cluster.name, project.platform, home.place);
        // What a credential verb prints goes into a file, and nothing else may.
        match verb {
            "kubeconfig" | "talosconfig" => self.note(&heading),
            _ => self.text(heading),
        }
    }

    /// The heading of a part.
    pub fn chapter(&self, goal: Goal) {
        self.text(format_args!("\n== {goal} =="));
    }

    /// The shortest possible time, before the run.
    pub fn ideal(&self, goal: Goal, ideal: Option<Duration>) {
        if let Some(ideal) = ideal {
            self.text(format_args!("the shortest possible {goal} takes {:.1} s here", ideal.as_secs_f64()));
        }
    }

    /// One event, as it happens.
    pub fn event(&self, event: &Event) {
        if self.json {
            match serde_json::to_value(event) {
                Ok(value) => println!("{value}"),
                Err(error) => eprintln!("an event could not be written: {error}"),
            }
            return;
        }
        let at = event.at().as_secs_f64();
        match &event.kind {
            EventKind::StepStarted { step, because } => eprintln!("{at:8.1} s  {step} begins: {because}"),
            EventKind::StepWaiting { step, why } => eprintln!("{at:8.1} s  {step} waits: {why}"),
            EventKind::StepEnded { step, outcome: StepOutcome::Done, .. } => eprintln!("{at:8.1} s  {step} done"),
            EventKind::StepEnded { step, outcome, error } => {
                let outcome = format!("{outcome:?}").to_lowercase();
                let why = error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
                eprintln!("{at:8.1} s  {step} {outcome}{why}");
            }
            EventKind::RoundFailed { why } => eprintln!("{at:8.1} s  {why}"),
            EventKind::Milestone { name } => eprintln!("{at:8.1} s  * {name}"),
            EventKind::Notice { text } => eprintln!("{at:8.1} s  {text}"),
            _ => {}
        }
    }

    /// A plan.
    pub fn plan(&self, plan: &Plan) {
        match serde_json::to_value(plan) {
            Ok(Value::Object(mut object)) if self.json => {
                object.insert("type".into(), "plan".into());
                println!("{}", Value::Object(object));
            }
            _ => {
                let lines: Vec<String> = plan.to_string().lines().map(picture::folded).collect();
                self.text(format_args!("\n{}\n", lines.join("\n")));
            }
        }
    }

    /// Findings of a check.
    pub fn findings(&self, problems: &[Problem]) {
        for problem in problems {
            self.problem(problem);
        }
        match problems.len() {
            0 => self.text("nothing stands in the way of a create"),
            1 => self.text("1 finding"),
            many => self.text(format_args!("{many} findings")),
        }
    }

    fn problem(&self, problem: &Problem) {
        if self.json {
            let mut value = serde_json::to_value(problem).unwrap_or_else(|_| json!({"code": problem.code}));
            value["type"] = "problem".into();
            println!("{value}");
            return;
        }
        let weight = if problem.is_error() { "error" } else { "note" };
        println!("{weight}[{}]: {problem}", problem.code);
        if let Some(hint) = &problem.hint {
            println!("    {hint}");
        }
    }

    /// A credential, to standard output: it is what was asked for.
    pub fn credential(&self, kind: &str, text: &str) {
        self.line(json!({"type": kind, "text": text}));
        if !self.json {
            print!("{text}");
        }
    }

    /// The members of etcd, as each control plane lists them.
    pub fn members(&self, lists: &[(Name, Result<Vec<Member>>)]) {
        for (node, list) in lists {
            match list {
                Ok(members) => {
                    // Ids as text: many readers of JSON round numbers above 2^53.
                    let told = |member: &Member| {
                        let Member { id, name, addresses, learner } = member;
                        json!({"id": format!("{id:016x}"), "name": name, "addresses": addresses, "learner": learner})
                    };
                    let members: Vec<Value> = members.iter().map(told).collect();
                    self.line(json!({"type": "members", "node": node, "members": members}));
                }
                Err(error) => self.line(json!({"type": "members", "node": node, "unknown": error.chain()})),
            }
        }
        if !self.json {
            println!("{}", picture::members(lists));
        }
    }

    /// What is there.
    pub fn status(&self, project: &Project, observation: &Observation) {
        if self.json {
            println!("{}", status_value(project, observation));
        } else {
            println!("\n{}", picture::status(project, observation));
        }
    }

    /// Remnants of former lives, each with its cure.
    pub fn ghosts(&self, ghosts: &[Ghost]) {
        for ghost in ghosts {
            if self.json {
                println!("{}", json!({"type": "ghost", "ghost": ghost}));
            } else {
                println!("{}", picture::folded(&format!("{ghost}")));
                println!("    {}", ghost.cure);
            }
        }
    }

    /// The last line of a run.
    pub fn report(&self, report: &Report, ideal: Option<Duration>) -> Exit {
        self.line(self.report_value(report, ideal));
        if !self.json {
            for problem in &report.problems {
                self.problem(problem);
            }
            println!("\n{}", picture::timeline(&report.timeline));
            let ideal = ideal.map_or_else(String::new, |ideal| format!(", ideal {:.1} s", ideal.as_secs_f64()));
            let requests: Vec<String> = report
                .requests
                .iter()
                .map(|(name, count)| format!("{name} {} read, {} written", count.read, count.write))
                .collect();
            println!("{} {}: {:.1} s{ideal}", report.goal, told(report.outcome), report.took.as_secs_f64());
            println!("{}", picture::folded(&format!("asked: {}", requests.join("; "))));
            if let Some(error) = &report.error {
                self.error(error);
            }
            if !report.left.is_empty() && report.outcome != Outcome::Ok {
                println!("{}", picture::folded(&format!("left to do: {}", report.left.join(", "))));
                println!("    run `castle {}` again: it goes on from here", report.goal);
            }
        }
        exit_of(report)
    }

    fn report_value(&self, report: &Report, ideal: Option<Duration>) -> Value {
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
            "wall_seconds": seconds(self.began.elapsed()),
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
            value["error"] = error_value(error);
        }
        value
    }

    /// The last line of a verb that changes nothing.
    pub fn closing(&self, verb: &str, outcome: Outcome, home: &Home, start: &Start) {
        self.line(self.closing_value(verb, outcome, Some((home, start))));
    }

    fn closing_value(&self, verb: &str, outcome: Outcome, done: Option<(&Home, &Start)>) -> Value {
        // A call that came to no castle has asked nobody, and says so.
        let none = || RequestCounts::from([("proxmox", Requests::default())]);
        let requests = done.map_or_else(none, |(home, start)| start.requests(home));
        let took = done.map_or(Duration::ZERO, |(home, start)| home.castle.env().clock.elapsed() - start.at);
        let mut value = json!({
            "type": "report", "goal": verb, "outcome": outcome, "simulated_seconds": seconds(took),
            "wall_seconds": seconds(self.began.elapsed()), "requests": requests, "milestones": {}, "steps": [],
            "critical_path": [],
        });
        if done.is_some_and(|(home, _)| home.lab.is_some()) {
            // Requests cost nothing in an ideal world, and there is nothing else to wait for.
            value["ideal_seconds"] = seconds(Duration::ZERO).into();
        }
        value
    }

    /// A verb that could not do its work.
    pub fn failure(&self, verb: &str, error: &Error, home: &Home, start: &Start) -> Exit {
        let mut value = self.closing_value(verb, outcome_of(error), Some((home, start)));
        value["error"] = error_value(error);
        self.line(value);
        self.error(error);
        exit_of_error(error)
    }

    /// A call that did not come as far as a castle.
    pub fn early_failure(&self, verb: &str, error: &Error) -> Exit {
        let mut value = self.closing_value(verb, outcome_of(error), None);
        value["error"] = error_value(error);
        self.line(value);
        self.error(error);
        exit_of_error(error)
    }

    /// A declaration that is wrong: every problem with its line.
    pub fn invalid_document(&self, verb: &str, path: &Path, text: &str, problems: &[Problem]) {
        for problem in problems {
            if self.json {
                self.problem(problem);
                continue;
            }
            let weight = if problem.is_error() { "error" } else { "note" };
            eprintln!("{weight}[{}]: {problem}", problem.code);
            if let Some(span) = problem.span {
                eprintln!("  --> {}:{}:{}", path.display(), span.line, span.column);
                if let Some(source) = text.lines().nth(span.line.saturating_sub(1)) {
                    eprintln!("{:>5} | {source}", span.line);
                }
            }
            if let Some(hint) = &problem.hint {
                eprintln!("    {hint}");
            }
        }
        let error = Error::new(ErrorKind::InvalidSpec, format!("{} is not a valid declaration", path.display()));
        let mut value = self.closing_value(verb, Outcome::Failed, None);
        value["error"] = error_value(&error);
        self.line(value);
        self.error(&error);
    }

    fn error(&self, error: &Error) {
        if self.json {
            return;
        }
        eprintln!("error[{}]: {}", error.kind(), error.chain());
        for (key, value) in error.context() {
            eprintln!("    {key}: {value}");
        }
        if let Some(hint) = error.advice() {
            eprintln!("    {hint}");
        }
    }
}

fn told(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "done",
        Outcome::Failed => "failed",
        Outcome::Refused => "refused",
        Outcome::Cancelled => "stopped",
    }
}

fn outcome_of(error: &Error) -> Outcome {
    if error.kind().is_refusal() { Outcome::Refused } else { Outcome::Failed }
}

fn exit_of(report: &Report) -> Exit {
    match report.outcome {
        Outcome::Ok => Exit::Done,
        Outcome::Refused => Exit::Refused,
        Outcome::Cancelled => Exit::Interrupted,
        Outcome::Failed => report.error.as_ref().map_or(Exit::Failed, exit_of_error),
    }
}

fn exit_of_error(error: &Error) -> Exit {
    match error.kind() {
        ErrorKind::DeadlineExceeded => Exit::Deadline,
        ErrorKind::Cancelled => Exit::Interrupted,
        ErrorKind::InvalidSpec => Exit::Usage,
        kind if kind.is_refusal() => Exit::Refused,
        _ => Exit::Failed,
    }
}

fn error_value(error: &Error) -> Value {
    let context: serde_json::Map<String, Value> =
        error.context().map(|(key, value)| (key.to_owned(), value.into())).collect();
    json!({"code": error.kind().code(), "message": error.chain(), "hint": error.advice(), "context": context})
}

fn status_value(project: &Project, observation: &Observation) -> Value {
    let unknown = |why: &String| json!({"unknown": why});
    let lives = match &observation.lives {
        Part::Unknown(why) => unknown(why),
        Part::Known(lives) => lives
            .iter()
            .map(|(number, life)| json!({"life": number, "complete": life.complete, "ended": life.ended}))
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
    json!({"type": "status", "cluster": project.cluster.name, "lives": lives, "machines": machines})
}
