//! How the words of a call are read, and what is said of those that cannot be.

use std::ffi::OsStr;
use std::str::FromStr;

use castle_core::{Error, Milestone, yaml};
use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command};

/// Reads a value by its own rules; a refusal comes with its way out.
pub fn read<T: FromStr<Err = Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: Error| told(&error))
}

fn told(error: &Error) -> String {
    match error.advice() {
        Some(hint) => format!("{}; {hint}", error.chain()),
        None => error.chain(),
    }
}

/// The id of a member of etcd, as `castle members` prints it: 16 digits in hex.
pub fn member_id(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16)
        .map_err(|_| format!("`{text}` is not a member's id; `castle members` prints them, 16 digits of 0-9 and a-f"))
}

/// Reads a milestone, shows all of them in the help and to completions, and names
/// the nearest where none was meant.
#[derive(Debug, Clone, Copy)]
pub struct MilestoneParser;

/// Its name as it is typed.
fn typed(milestone: Milestone) -> &'static str {
    match milestone {
        Milestone::MachinesRunning => "machines-running",
        Milestone::ApiServing => "api-serving",
        Milestone::CniReady => "cni-ready",
        Milestone::NodesReady => "nodes-ready",
        Milestone::HandoverReady => "handover-ready",
        Milestone::AppsReady => "apps-ready",
    }
}

impl TypedValueParser for MilestoneParser {
    type Value = Milestone;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<Milestone, clap::Error> {
        let text = value.to_string_lossy();
        text.parse().map_err(|error: Error| {
            let known = Milestone::ALL.map(typed);
            let argument = argument.map_or_else(|| "a milestone".to_owned(), ToString::to_string);
            let mut message = format!("invalid value '{text}' for '{argument}': {error}\n\n");
            if let Some(meant) = yaml::nearest(&text.replace('_', "-"), &known) {
                message += &format!("  did you mean `{meant}`?\n");
            }
            message += &format!("  the milestones, first to last: {}\n", known.join(", "));
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Milestone::ALL.into_iter().map(|milestone| PossibleValue::new(typed(milestone)))))
    }
}
