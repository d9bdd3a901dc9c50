//! `castle explain`: what each code means, and what to do.
//!
//! The texts are data, in the folder beside this file. A test compares them with the
//! codes that the sources hold; `docs/errors.md` is printed from them.

mod declaration;
mod ghosts;
mod kinds;
mod world;

use castle_core::{Error, ErrorKind, Ghost, Problem, Project, yaml};
use serde_json::json;

use crate::Exit;
use crate::arguments::Explain;
use crate::colour::Paint;
use crate::output::Output;
use crate::story::{self, Source};
use crate::variables;

/// What a code means.
pub struct Explanation {
    /// The code, as it is printed in brackets.
    pub code: &'static str,
    /// What it means, and why castle does not go on, if it does not.
    pub what: &'static str,
    /// What the reader can do.
    pub cure: &'static str,
    /// How it looks.
    pub sample: Sample,
}

/// An occurrence, to be printed as every other is.
pub enum Sample {
    /// An error that ended a call.
    Failed {
        /// What failed, with its causes.
        message: &'static str,
        /// Where.
        context: &'static [(&'static str, &'static str)],
        /// The way out, if it has one of its own.
        hint: &'static str,
    },
    /// The model declaration with texts replaced by others.
    Declared(&'static [(&'static str, &'static str)]),
    /// A finding in a house.
    Found {
        /// Whether it refuses.
        refuses: bool,
        /// What it is about.
        subject: &'static str,
        /// What is wrong.
        message: &'static str,
        /// The way out.
        hint: &'static str,
    },
    /// A ghost.
    Seen {
        /// Where.
        node: &'static str,
        /// What was seen.
        evidence: &'static str,
        /// What removes it.
        cure: &'static str,
    },
}

/// The declaration that samples are made of.
const MODEL: &str = include_str!("explain/model.yaml");

/// The parts of the page, each with its title.
const PARTS: [(&str, &[&[Explanation]]); 5] = [
    ("Errors: what a call came to", &[&kinds::KINDS]),
    ("Findings in castle.yaml", &[&declaration::DECLARATION, &declaration::HANDOVER]),
    ("Findings in a plan", &[&world::PLANS]),
    ("Findings in a house", &[&world::HOUSE, &world::GRAMMAR]),
    ("Ghosts of former lives", &[&ghosts::GHOSTS]),
];

fn all() -> impl Iterator<Item = &'static Explanation> {
    PARTS.iter().flat_map(|(_, tables)| tables.iter().flat_map(|table| table.iter()))
}

/// Runs the verb.
pub fn run(wanted: &Explain, output: &Output) -> Exit {
    match (&wanted.code, wanted.variables) {
        (_, true) => output.document(&variables::markdown()),
        (None, _) if wanted.markdown => output.document(&markdown()),
        (None, _) => {
            for explanation in all() {
                output.explanation(explanation, output.paint());
            }
        }
        (Some(code), _) => {
            let Some(explanation) = all().find(|explanation| explanation.code == normal(code)) else {
                return output.early_failure("explain", &unknown(code));
            };
            match wanted.markdown {
                true => output.document(&entry(explanation)),
                false => output.explanation(explanation, output.paint()),
            }
        }
    }
    output.closing_of_nothing("explain");
    Exit::Done
}

/// A code as it was copied: with brackets, with its weight.
fn normal(code: &str) -> &str {
    let code = code.trim_end_matches(']');
    code.rsplit_once('[').map_or(code, |(_, code)| code)
}

fn unknown(code: &str) -> Error {
    let codes: Vec<&str> = all().map(|explanation| explanation.code).collect();
    let hint = match yaml::nearest(normal(code), &codes) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "`castle explain --all` prints every code".to_owned(),
    };
    Error::new(ErrorKind::InvalidSpec, format!("`{code}` is no code of castle")).hint(hint)
}

impl Explanation {
    /// The occurrence, as the command line prints it.
    pub fn printed(&self, paint: Paint) -> String {
        match &self.sample {
            Sample::Failed { message, context, hint } => {
                let kind = ErrorKind::ALL.into_iter().find(|kind| kind.code() == self.code);
                let error = Error::new(kind.unwrap_or(ErrorKind::Unexpected), *message);
                let error = if hint.is_empty() { error } else { error.hint(*hint) };
                story::error(&context.iter().fold(error, |error, (key, value)| error.with(key, value)), paint)
            }
            Sample::Declared(changes) => self.declared(changes, paint),
            Sample::Found { refuses, subject, message, hint } => {
                let make = if *refuses { Problem::error } else { Problem::warning };
                let (subject, message): (&str, &str) = (subject, message);
                story::problem(&make(self.code, subject, message).hint(*hint), None, paint)
            }
            Sample::Seen { node, evidence, cure } => story::ghost(&Ghost {
                kind: self.code,
                node: (*node).into(),
                evidence: (*evidence).into(),
                cure: (*cure).into(),
            }),
        }
    }

    /// What castle says of the changed model. Other findings of it are left out.
    fn declared(&self, changes: &[(&str, &str)], paint: Paint) -> String {
        let text = changes.iter().fold(MODEL.to_owned(), |text, (from, to)| text.replacen(from, to, 1));
        let problems = match Project::parse(&text, castle_talos::image) {
            Ok(project) => project.warnings,
            Err(problems) => problems,
        };
        let source = Source { name: "castle.yaml".into(), text };
        let own = problems.iter().filter(|problem| problem.code == self.code);
        own.map(|problem| story::problem(problem, Some(&source), paint)).collect::<Vec<_>>().join("\n")
    }

    /// The object that scripts read.
    pub fn value(&self) -> serde_json::Value {
        let looks = self.printed(Paint::NONE);
        json!({"type": "explanation", "code": self.code, "what": self.what, "cure": self.cure, "looks": looks})
    }
}

fn entry(explanation: &Explanation) -> String {
    let Explanation { code, what, cure, .. } = explanation;
    format!("### `{code}`\n\n{what}\n\n```text\n{}\n```\n\n{cure}\n", explanation.printed(Paint::NONE))
}

fn markdown() -> String {
    let mut text = String::from(
        "# What castle says, and what to do\n\nEvery code that castle prints, each as the command line prints it. This \
         page is printed by\n`castle explain --all --markdown`; a test compares it with the source. `castle explain \
         CODE` prints one entry.\n\nErrors and findings go to standard error or stand in the report; the exit code says \
         how the call ended:\n0 done, 1 failed, 2 changes pending, 3 refused by a guard, 4 a deadline passed, 64 the \
         call or castle.yaml is\nwrong, 130 interrupted.\n",
    );
    for (title, tables) in PARTS {
        text += &format!("\n## {title}\n");
        for explanation in tables.iter().flat_map(|table| table.iter()) {
            text += &format!("\n{}", entry(explanation));
        }
    }
    text
}
