//! Hints in Python's words.
//!
//! The engine says its way out as a command line says it, because most readers stand
//! before one. Here it is said again as keywords and methods.

/// How the value of a flag is written.
enum Form {
    /// There is none: the keyword says it all.
    Whole,
    /// A text: `waive_data="blue"`.
    Text,
    /// A machine's number and uuid: `waive_ownership={421: "..."}`.
    Machine,
    /// A milestone, whose names have underscores here.
    Milestone,
    /// As it stands: a number, a path.
    Plain,
}

/// Each flag that a hint may name, with the keyword that does the same.
const FLAGS: [(&str, &str, Form); 9] = [
    ("--new-life", "lost_life=\"begin\"", Form::Whole),
    ("--continue", "lost_life=\"continue\"", Form::Whole),
    ("--abandon", "abandon=True", Form::Whole),
    ("--waive-data", "waive_data=", Form::Text),
    ("--waive-ownership", "waive_ownership=", Form::Machine),
    ("--until", "until=", Form::Milestone),
    ("--replaces", "replaces=", Form::Plain),
    ("--pace", "pace=", Form::Text),
    ("--dir", "", Form::Plain),
];

/// Each command that a hint may name, with the method that does the same.
const COMMANDS: [(&str, &str); 8] = [
    ("plan", "plan"),
    ("check", "check"),
    ("create", "create"),
    ("handover", "handover"),
    ("status", "status"),
    ("rebirth", "rebirth"),
    ("destroy", "destroy"),
    ("lab serve", "Lab.serve"),
];

/// The text with every flag and command in backticks in Python's words. What it does
/// not know stays as it is (`castle members` is for a shell), and so does what was said in
/// these words already.
pub fn in_python(text: &str) -> String {
    let parts: Vec<_> = text.split('`').collect();
    // A text has an even number of backticks, so an odd number of parts; the last of
    // an even number is no quotation.
    let quoted = |place: usize| place % 2 == 1 && place + 1 < parts.len();
    let said = parts.iter().enumerate().map(|(place, part)| {
        let said = if quoted(place) { quotation(part) } else { None };
        said.unwrap_or_else(|| (*part).to_owned())
    });
    said.collect::<Vec<_>>().join("`")
}

fn quotation(said: &str) -> Option<String> {
    let Some(command) = said.strip_prefix("castle ") else {
        return said.starts_with("--").then(|| keywords(said)).flatten();
    };
    let (_, method, rest) = COMMANDS.iter().find_map(|(command_name, method)| {
        let rest = command.strip_prefix(command_name)?;
        (rest.is_empty() || rest.starts_with(' ')).then_some((command_name, method, rest))
    })?;
    Some(format!("{method}({})", keywords(rest)?))
}

fn keywords(flags: &str) -> Option<String> {
    let mut words = flags.split_whitespace();
    let mut said = Vec::new();
    while let Some(flag) = words.next() {
        let (_, keyword, form) = FLAGS.iter().find(|(name, ..)| *name == flag)?;
        let value = match form {
            Form::Whole => String::new(),
            Form::Text => format!("\"{}\"", words.next()?),
            Form::Machine => {
                let (id, uuid) = words.next()?.split_once('=')?;
                format!("{{{id}: \"{uuid}\"}}")
            }
            Form::Milestone => format!("\"{}\"", words.next()?.replace('-', "_")),
            Form::Plain => words.next()?.to_owned(),
        };
        said.push(format!("{keyword}{value}"));
    }
    Some(said.join(", "))
}
