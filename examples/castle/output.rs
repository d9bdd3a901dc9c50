//! What a user or a script sees: text or JSON lines, results to standard output,
//! progress to standard error.
#![allow(clippy::print_stderr)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use castle_core::yaml::Quoting;
use castle_core::{
    Error, ErrorKind, Escrowed, Event, Ghost, Goal, Member, Name, Observation, Outcome, Pace, Plan, Problem, Project,
    Report, RequestCounts, Requests, Result, Span,
};
use serde_json::{Value, json};

use crate::colour::{Paint, Streams, Tone};
use crate::explain::Explanation;
use crate::json::{self, seconds};
use crate::progress::Progress;
use crate::snippet::Source;
use crate::story;
use crate::wiring::Home;
use crate::{Exit, picture, width};

/// Writes to standard output. If nobody reads it any more (`| head`), castle ends
/// there without a word, as a power cut would end it: the next run goes on.
pub fn tell(text: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    if out.write_fmt(text).and_then(|()| out.flush()).is_err() {
        std::process::exit(Exit::Failed as i32);
    }
}

macro_rules! say {
    ($($text:tt)*) => { tell(format_args!("{}\n", format_args!($($text)*))) };
}

/// Where everything that is told goes.
pub struct Output {
    json: bool,
    began: Instant,
    streams: Streams,
    progress: Progress,
    declaration: OnceLock<Declaration>,
}

/// The declaration, so that a finding can show its line.
struct Declaration {
    source: Source,
    machines: BTreeMap<String, Span>,
    warnings: Vec<Problem>,
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
    pub fn requests(&self, home: &Home) -> RequestCounts {
        let mut requests = home.castle.requests();
        for (name, count) in &mut requests {
            let before = self.requests.get(name).copied().unwrap_or_default();
            count.read -= before.read;
            count.write -= before.write;
        }
        requests
    }
}

impl Output {
    /// Begins to tell; the wall clock of the report starts here.
    #[allow(clippy::disallowed_methods)] // the wall time of a process is no business of castle's clock
    pub fn new(json: bool) -> Self {
        let streams = Streams::of_this_process();
        let progress = Progress::new(streams.err, streams.moves && !json);
        let output = Self { json, began: Instant::now(), streams, progress, declaration: OnceLock::new() };
        output.line(json!({"type": "version", "version": 1, "castle": env!("CARGO_PKG_VERSION")}));
        output
    }

    /// Whether scripts are listening.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// How long this process has run.
    pub fn wall(&self) -> Duration {
        self.began.elapsed()
    }

    /// The declaration was read: findings show their lines from now on.
    pub fn reads(&self, path: &Path, text: &str, project: &Project) {
        let machines = project.machines.iter().map(|spec| spec.node.to_string()).zip(project.spans.iter().copied());
        let source = Source { name: path.display().to_string(), text: text.to_owned(), quoting: Quoting::Allowed };
        // It is read once.
        let warnings = project.warnings.clone();
        let _ = self.declaration.set(Declaration { source, machines: machines.collect(), warnings });
    }

    fn line(&self, value: Value) {
        if self.json {
            say!("{value}");
        }
    }

    fn text(&self, text: impl std::fmt::Display) {
        if !self.json {
            say!("{text}");
        }
    }

    /// Something by the way.
    pub fn note(&self, text: &str) {
        if !self.json {
            self.progress.note(text);
        }
    }

    /// Where the progress of a run is drawn, unless scripts are listening.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// A lab is ready for other processes, which are given its document.
    pub fn serving(&self, cluster: &Name, pace: Pace, document: &Path) {
        self.line(json!({
            "type": "serving", "cluster": cluster, "pace": pace.to_string(), "endpoints": document.display().to_string(),
        }));
        self.note(&format!("serving {cluster} at {pace}; use `--endpoints {}`", document.display()));
    }

    /// The heading of a run.
    pub fn begin(&self, verb: &str, home: &Home) {
        let project = home.castle.project();
        let heading =
            format!("castle {verb}: cluster {} on {}, {}", project.cluster.name, project.platform, home.place);
        // What a credential verb prints goes into a file, and nothing else may.
        match verb {
            "kubeconfig" | "talosconfig" => self.note(&heading),
            _ => self.text(width::folded(&heading)),
        }
    }

    /// The heading of a part.
    pub fn chapter(&self, goal: Goal) {
        self.text(format_args!("\n== {goal} =="));
    }

    /// The shortest possible time, before the run.
    pub fn ideal(&self, goal: Goal, ideal: Option<Duration>) {
        if let Some(ideal) = ideal {
            let text = format!("the shortest possible {goal} takes {:.1} s here", ideal.as_secs_f64());
            self.text(width::folded(&text));
        }
    }

    /// One event, as it happens.
    pub fn event(&self, event: &Event) {
        if self.json {
            match serde_json::to_value(event) {
                Ok(value) => say!("{value}"),
                Err(error) => eprintln!("an event could not be written: {error}"),
            }
            return;
        }
        self.progress.event(event);
    }

    /// A plan.
    pub fn plan(&self, plan: &Plan) {
        match serde_json::to_value(plan) {
            Ok(Value::Object(mut object)) if self.json => {
                object.insert("type".into(), "plan".into());
                say!("{}", Value::Object(object));
            }
            _ => {
                let paint = self.streams.out;
                let lines: Vec<String> = plan.to_string().lines().map(|line| change(paint, line)).collect();
                self.text(format_args!("\n{}", lines.join("\n")));
                self.progress.planned(plan.steps.len());
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
            say!("{}", json::problem(problem));
            return;
        }
        let declared = self.declaration.get();
        let mut placed = problem.clone();
        placed.span = placed.span.or_else(|| declared?.place_of(&problem.subject));
        say!("{}", story::problem(&placed, declared.map(|declared| &declared.source), self.streams.out));
    }

    /// How results are painted.
    pub fn paint(&self) -> Paint {
        self.streams.out
    }

    /// What a code means.
    pub fn explanation(&self, explanation: &Explanation, paint: Paint) {
        if self.json {
            say!("{}", explanation.value());
            return;
        }
        let Explanation { code, what, cure, .. } = explanation;
        let heading = paint.tone(Tone::Frame, code);
        let [what, cure] = [what, cure].map(|text| width::folded(text).replace("\n    ", "\n"));
        say!("{heading}\n\n{what}\n\n{}\n\n{cure}\n", explanation.printed(paint));
    }

    /// A document, as it is kept.
    pub fn document(&self, markdown: &str) {
        self.line(json!({"type": "document", "markdown": markdown}));
        if !self.json {
            tell(format_args!("{markdown}"));
        }
    }

    /// A credential, to standard output: it is what was asked for.
    pub fn credential(&self, kind: &str, text: &str) {
        self.line(json!({"type": kind, "text": text}));
        if !self.json {
            tell(format_args!("{text}"));
        }
    }

    /// Where credentials were put, and whether anything had to be written.
    pub fn escrowed(&self, put: &[Escrowed]) {
        for Escrowed { which, key, written, .. } in put {
            self.line(
                json!({"type": "escrow", "credential": which.name(), "secret": key.as_str(), "written": written}),
            );
            let did = if *written { "written to" } else { "already in" };
            self.text(format_args!("{} is {did} {key}", which.name()));
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
            say!("{}", picture::members(lists));
        }
    }

    /// A member of etcd that is gone, and through which control plane.
    pub fn member_removed(&self, id: u64, through: &Name) {
        self.line(json!({"type": "member_removed", "id": format!("{id:016x}"), "through": through}));
        self.text(format_args!("member {id:016x} is no member of etcd any more; asked through {through}"));
    }

    /// What is there.
    pub fn status(&self, project: &Project, observation: &Observation) {
        if self.json {
            say!("{}", json::status(project, observation));
        } else {
            say!("\n{}", picture::status(project, observation));
        }
    }

    /// Remnants of former lives, each with its cure.
    pub fn ghosts(&self, ghosts: &[Ghost]) {
        for ghost in ghosts {
            if self.json {
                say!("{}", json!({"type": "ghost", "ghost": ghost}));
            } else {
                say!("{}", story::ghost(ghost));
            }
        }
    }

    /// The last line of a run.
    pub fn report(&self, report: &Report, ideal: Option<Duration>) -> Exit {
        self.progress.finish();
        self.line(json::report(report, ideal, self.wall()));
        if !self.json {
            let known = self.declaration.get().map_or(&[][..], |declared| &declared.warnings);
            for problem in report.problems.iter().filter(|problem| !known.contains(problem)) {
                self.problem(problem);
            }
            say!("\n{}", self.streams.out.bars(&picture::timeline(&report.timeline)));
            let ideal = ideal.map_or_else(String::new, |ideal| format!(", ideal {:.1} s", ideal.as_secs_f64()));
            let requests: Vec<String> = report
                .requests
                .iter()
                .map(|(name, count)| format!("{name} {} read, {} written", count.read, count.write))
                .collect();
            let tone = if report.outcome == Outcome::Ok { Tone::Good } else { Tone::Bad };
            let outcome = self.streams.out.tone(tone, told(report.outcome));
            say!("{} {outcome}: {:.1} s{ideal}", report.goal, report.took.as_secs_f64());
            say!("{}", width::folded(&format!("asked: {}", requests.join("; "))));
            if let Some(error) = &report.error {
                self.error(error);
            }
            if !report.left.is_empty() && report.outcome != Outcome::Ok {
                say!("{}", width::folded(&format!("left to do: {}", report.left.join(", "))));
                say!("    run `castle {}` again: it goes on from here", report.goal);
            }
        }
        exit_of(report)
    }

    /// The last line of a verb that changes nothing.
    pub fn closing(&self, verb: &str, outcome: Outcome, home: &Home, start: &Start) {
        self.line(self.closing_value(verb, outcome, Some((home, start))));
    }

    /// The last line of a verb that asks nobody.
    pub fn closing_of_nothing(&self, verb: &str) {
        self.line(self.closing_value(verb, Outcome::Ok, None));
    }

    fn closing_value(&self, verb: &str, outcome: Outcome, done: Option<(&Home, &Start)>) -> Value {
        // A call that came to no castle has asked nobody, and says so.
        let none = || RequestCounts::from([("proxmox", Requests::default())]);
        let requests = done.map_or_else(none, |(home, start)| start.requests(home));
        let took = done.map_or(Duration::ZERO, |(home, start)| home.castle.env().clock.elapsed() - start.at);
        let mut value = json!({
            "type": "report", "goal": verb, "outcome": outcome, "simulated_seconds": seconds(took),
            "wall_seconds": seconds(self.wall()), "requests": requests, "milestones": {}, "steps": [],
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
        value["error"] = json::error(error);
        self.line(value);
        self.error(error);
        exit_of_error(error)
    }

    /// A report that could not be written after its run had ended.
    pub fn unkept(&self, error: &Error) -> Exit {
        self.error(error);
        if self.json {
            eprintln!("{}", story::error(error, Paint::NONE));
        }
        Exit::Failed
    }

    /// A call that did not come as far as a castle.
    pub fn early_failure(&self, verb: &str, error: &Error) -> Exit {
        let mut value = self.closing_value(verb, outcome_of(error), None);
        value["error"] = json::error(error);
        self.line(value);
        self.error(error);
        exit_of_error(error)
    }

    /// A document that is wrong: every problem with its line, as far as it may be shown.
    pub fn invalid_document(&self, verb: &str, source: &Source, wanted: &str, problems: &[Problem]) -> Exit {
        for problem in problems {
            if self.json {
                self.problem(problem);
            } else {
                eprintln!("{}\n", story::problem(problem, Some(source), self.streams.err));
            }
        }
        let error = Error::new(ErrorKind::InvalidSpec, format!("{} is not {wanted}", source.name));
        let mut value = self.closing_value(verb, Outcome::Failed, None);
        value["error"] = json::error(&error);
        self.line(value);
        self.error(&error);
        Exit::Usage
    }

    /// What is worth knowing about the declaration, before anything is done with it.
    pub fn warnings(&self, warnings: &[Problem]) {
        for warning in warnings {
            if self.json {
                self.problem(warning);
            } else {
                let source = self.declaration.get().map(|declared| &declared.source);
                eprintln!("{}\n", story::problem(warning, source, self.streams.err));
            }
        }
    }

    fn error(&self, error: &Error) {
        if self.json {
            return;
        }
        eprintln!("{}", story::error(error, self.streams.err));
        eprintln!("    what it means: `castle explain {}`", error.kind());
    }
}

impl Declaration {
    /// Where the machine is declared that a finding is about: `machine blue-wk-01 (431)`.
    fn place_of(&self, subject: &str) -> Option<Span> {
        let mut words = subject.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        words.find_map(|word| self.machines.get(word).copied())
    }
}

/// A line of a plan, its symbol in the tone that fits it.
fn change(paint: Paint, line: &str) -> String {
    let folded = width::folded(line);
    let symbol = folded.trim_start().split(' ').next().unwrap_or_default();
    let tone = match symbol {
        "+" => Tone::Good,
        "~" | "-/+" | "note:" => Tone::Note,
        "-" | "error:" => Tone::Bad,
        _ => return folded,
    };
    folded.replacen(symbol, &paint.tone(tone, symbol), 1)
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
