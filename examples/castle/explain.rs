//! `castle explain`: what each code means, and what to do.
//!
//! The texts are data, in the folder beside this file. A test compares them with the
//! codes that the sources hold; `docs/errors.md` is printed from them.

mod declaration;
mod ghosts;
mod kinds;
mod made;
mod world;

use castle_core::{Error, ErrorKind, Ghost, Goal, MachineSpec, Observation, Problem, Project, yaml};
use serde_json::json;

use self::made::Changes;
use crate::Exit;
use crate::arguments::Explain;
use crate::colour::Paint;
use crate::output::Output;
use crate::snippet::Source;
use crate::story;
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
    Declared(Changes),
    /// The model declaration with more mistakes than are told.
    Crowded(usize),
    /// The model's option document with texts replaced by others.
    Opened(Changes),
    /// A machine of the model that is changed as no declaration can say it.
    Refused(fn(&mut MachineSpec)),
    /// A plan for the model in a house that looks so.
    Planned(Goal, fn(&mut Project, &mut Observation)),
    /// An error that the command line itself raises.
    Raised(fn() -> Error),
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
            let Some(explanation) = all().find(|explanation| normal(explanation.code) == normal(code)) else {
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

/// A code as it was copied: with brackets, with its weight, with a colon, and however
/// its words were joined.
fn normal(code: &str) -> String {
    let code = code.trim().trim_end_matches([':', ']', ',', '.']);
    let code = code.rsplit_once('[').map_or(code, |(_, code)| code);
    code.trim_matches('`').to_lowercase().replace(['_', ' '], "-")
}

/// How many codes are proposed at most.
const PROPOSED: usize = 8;

fn unknown(code: &str) -> Error {
    let meant = proposed(&normal(code));
    let hint = match &meant[..] {
        [] => "`castle explain --all` prints every code".to_owned(),
        codes => {
            let codes: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
            format!("did you mean {}?", codes.join(", "))
        }
    };
    Error::new(ErrorKind::InvalidSpec, format!("`{code}` is no code of castle")).hint(hint)
}

/// The codes that may be meant: the nearest one, else those that hold the text, else
/// those that hold a word that is near it.
fn proposed(text: &str) -> Vec<&'static str> {
    let codes: Vec<&'static str> = all().map(|explanation| explanation.code).collect();
    let folded: Vec<String> = codes.iter().map(|code| normal(code)).collect();
    let words: Vec<&str> = folded.iter().map(String::as_str).collect();
    if let Some(nearest) = yaml::nearest(text, &words) {
        return codes.into_iter().filter(|code| normal(code) == nearest).collect();
    }
    let of = |is_meant: &dyn Fn(&str) -> bool| -> Vec<&'static str> {
        codes.iter().filter(|code| is_meant(&normal(code))).copied().take(PROPOSED).collect()
    };
    let holding = of(&|code| text.len() > 1 && (code.contains(text) || text.contains(code)));
    if !holding.is_empty() {
        return holding;
    }
    of(&|code| text.split('-').any(|word| yaml::nearest(word, &code.split('-').collect::<Vec<_>>()).is_some()))
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
            Sample::Raised(make) => story::error(&make(), paint),
            Sample::Declared(changes) => self.of_document(made::declared(changes), paint),
            Sample::Crowded(mistakes) => self.of_document(made::crowded(*mistakes), paint),
            Sample::Opened(changes) => self.of_document(made::opened(changes), paint),
            Sample::Refused(change) => self.own(&made::refused(*change), None, paint),
            Sample::Planned(goal, look) => self.own(&made::planned(*goal, *look), None, paint),
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

    fn of_document(&self, (problems, source): (Vec<Problem>, Source), paint: Paint) -> String {
        self.own(&problems, Some(&source), paint)
    }

    /// The problems with this code. Others are left out.
    fn own(&self, problems: &[Problem], source: Option<&Source>, paint: Paint) -> String {
        let own = problems.iter().filter(|problem| problem.code == self.code);
        own.map(|problem| story::problem(problem, source, paint)).collect::<Vec<_>>().join("\n")
    }

    /// Whether castle made the sample while it was printed.
    fn is_made(&self) -> bool {
        !matches!(self.sample, Sample::Failed { .. } | Sample::Found { .. } | Sample::Seen { .. })
    }

    /// The object that scripts read.
    pub fn value(&self) -> serde_json::Value {
        let looks = self.printed(Paint::NONE);
        json!({
            "type": "explanation", "code": self.code, "what": self.what, "cure": self.cure, "looks": looks,
            "made": self.is_made(),
        })
    }
}

fn entry(explanation: &Explanation) -> String {
    let Explanation { code, what, cure, .. } = explanation;
    let hand =
        if explanation.is_made() { "" } else { "\nWritten by hand: the words are castle's, the values are not.\n" };
    format!("### `{code}`\n\n{what}\n\n```text\n{}\n```\n{hand}\n{cure}\n", explanation.printed(Paint::NONE))
}

fn markdown() -> String {
    let mut text = String::from(
        "# What castle says, and what to do\n\nEvery code that castle prints, with a sample. Most samples are made by \
         castle while this page is printed: it reads a\nwrong document, judges a machine, makes a plan. What needs a \
         real house is written by hand, and says so; a test compares its\nwords with the source. This page is printed by \
         `castle explain --all --markdown`, and compared with the source as well.\n`castle explain CODE` prints one \
         entry.\n\nErrors and findings go to standard error or stand in the report; the exit code says \
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
