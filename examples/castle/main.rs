//! A command line built on the library, small enough to be read as an example
//! of embedding: `arguments` is what a user types, `wiring` is where the
//! concrete backends are named, `verbs` is what each verb asks of the castle,
//! `output` is what everything is told through: `json` for scripts; `story` with its
//! `snippet`, `picture`, `handover_picture` and `progress` for people, in the colours
//! of `colour` and the columns of `width`; `report_file` for keeps. `document` reads
//! what a call names, `explain` says what a code means, and `mapped` lets other clients
//! reach a served lab.
//!
//! Its surface is a contract: scripts call it (see README.md).

mod arguments;
mod colour;
mod document;
mod explain;
mod handover_picture;
mod json;
mod mapped;
mod output;
mod picture;
mod progress;
mod report_file;
mod serve;
mod snippet;
mod story;
mod values;
mod variables;
mod verbs;
mod width;
mod wiring;

use std::path::Path;
use std::process::ExitCode;

use castle_core::{Error, ErrorKind, Project};
use clap::error::ErrorKind as Mistake;
use clap::{CommandFactory, Parser};

use crate::arguments::{Arguments, Verb};
use crate::output::Output;
use crate::report_file::ReportFile;

/// How an invocation ends; the process says it by its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Done = 0,
    Failed = 1,
    Changes = 2,
    Refused = 3,
    Deadline = 4,
    Usage = 64,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refusal) => return answered(&refusal).into(),
    };
    if let Verb::Completions { shell } = &arguments.verb {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut Arguments::command(), "castle", &mut script);
        output::tell(format_args!("{}", String::from_utf8_lossy(&script)));
        return Exit::Done.into();
    }
    let output = Output::new(arguments.json);
    if let Verb::Explain(what) = &arguments.verb {
        return explain::run(what, &output).into();
    }
    let (folder, project) = match wiring::load(&arguments, &output) {
        Ok(found) => found,
        Err(exit) => return exit.into(),
    };
    match &arguments.verb {
        Verb::Lab { action } => serve::run(&arguments, action, &project, &output).into(),
        _ => in_home(&arguments, &project, &folder, &output).into(),
    }
}

/// Runs a verb that needs a castle, and keeps its report. The file is opened before any
/// runtime begins and written after it has ended: a pipe may keep both waiting.
fn in_home(arguments: &Arguments, project: &Project, folder: &Path, output: &Output) -> Exit {
    let file = match arguments.verb.report().map(ReportFile::prepare).transpose() {
        Ok(file) => file,
        Err(error) => return output.early_failure(arguments.verb.name(), &error),
    };
    let exit = wiring::with_home(arguments, project, folder, file.as_ref(), output);
    match file.map_or(Ok(None), ReportFile::write) {
        Ok(Some(path)) => output.note(&format!("the report is in {}", path.display())),
        Ok(None) => {}
        Err(error) => return output.unkept(&error),
    }
    exit
}

/// What is said of a call that is none: help and version are answers, everything else
/// is a mistake.
fn answered(refusal: &clap::Error) -> Exit {
    if refusal.print().is_err() {
        return Exit::Failed;
    }
    if !refusal.use_stderr() {
        return Exit::Done;
    }
    // What is no call has no options either, but a script waits for its report.
    if std::env::args_os().any(|argument| argument == "--json") {
        let text = refusal.to_string();
        let first = match refusal.kind() {
            // Its text is a help, which begins with what the verb is for.
            Mistake::DisplayHelpOnMissingArgumentOrSubcommand if text.contains("Usage: castle explain") => {
                "`explain` needs a code, `--all` or `--variables`"
            }
            Mistake::DisplayHelpOnMissingArgumentOrSubcommand if text.contains("Usage: castle lab") => {
                "`lab` needs a subcommand"
            }
            Mistake::DisplayHelpOnMissingArgumentOrSubcommand => "a verb is needed",
            _ => text.lines().next().unwrap_or_default().trim_start_matches("error: "),
        };
        let error = Error::new(ErrorKind::InvalidSpec, first).hint("`castle --help` names the verbs and the options");
        Output::new(true).early_failure("call", &error);
    }
    Exit::Usage
}
