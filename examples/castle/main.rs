//! A command line built on the library, small enough to be read as an example
//! of embedding: `arguments` is what a user types, `wiring` is where the
//! concrete backends are named, `verbs` is what each verb asks of the castle,
//! `output` and `picture` are what a user sees, `mapped` lets other clients reach a
//! served lab.
//!
//! Its surface is a contract: scripts call it (see README.md).

mod arguments;
mod mapped;
mod output;
mod picture;
mod serve;
mod verbs;
mod wiring;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Verb};
use crate::output::Output;

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
        Err(refusal) => {
            // Help and version are answers, everything else is a mistake in the call.
            let exit = if refusal.use_stderr() { Exit::Usage } else { Exit::Done };
            return match refusal.print() {
                Ok(()) => exit.into(),
                Err(_) => Exit::Failed.into(),
            };
        }
    };
    let output = Output::new(arguments.json);
    let project = match wiring::load(&arguments, &output) {
        Ok(project) => project,
        Err(exit) => return exit.into(),
    };
    match &arguments.verb {
        Verb::Lab { action } => serve::run(&arguments, action, &project, &output).into(),
        _ => wiring::with_home(&arguments, &project, &output).into(),
    }
}
