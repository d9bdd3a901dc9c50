//! Who gets colours, and who a moving picture.

use std::fmt::Display;
use std::io::IsTerminal;

use crate::variables::{self, CLICOLOR, CLICOLOR_FORCE, NO_COLOR, TERM};

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something failed or is refused.
    Bad,
    /// Something is worth knowing.
    Note,
    /// Something is as wanted.
    Good,
    /// What holds the rest together: frames, hints' marks.
    Frame,
    /// What decided the length of a run.
    Critical,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Bad => "1;31",
            Self::Note => "33",
            Self::Good => "32",
            Self::Frame => "34",
            Self::Critical => "36",
        }
    }
}

/// Whether one stream is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// No colours.
    pub const NONE: Self = Self(false);

    /// The text in its tone.
    pub fn tone(self, tone: Tone, text: impl Display) -> String {
        match self.0 {
            true => format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code()),
            false => text.to_string(),
        }
    }

    /// A text whose full blocks are in the tone of the critical path.
    pub fn bars(self, text: &str) -> String {
        if !self.0 {
            return text.to_owned();
        }
        let mut painted = String::with_capacity(text.len() * 2);
        let mut rest = text;
        while let Some(begin) = rest.find('█') {
            let length = rest[begin..].find(|c| c != '█').unwrap_or(rest.len() - begin);
            painted += &rest[..begin];
            painted += &self.tone(Tone::Critical, &rest[begin..begin + length]);
            rest = &rest[begin + length..];
        }
        painted + rest
    }
}

/// What the two streams of this process get.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    /// Results.
    pub out: Paint,
    /// Progress and errors.
    pub err: Paint,
    /// Whether progress may move the cursor.
    pub moves: bool,
}

impl Streams {
    /// Of this process.
    pub fn of_this_process() -> Self {
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        Self {
            out: Paint(is_coloured(out, variables::read)),
            err: Paint(is_coloured(err, variables::read)),
            moves: err && variables::read(TERM).is_some_and(|term| term != "dumb"),
        }
    }
}

/// The rules of no-color.org and bixense.com/clicolors, the strongest first.
fn is_coloured(is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let says = |name: &str| variable(name).filter(|value| !value.is_empty());
    if says(NO_COLOR).is_some() {
        return false;
    }
    if says(CLICOLOR_FORCE).is_some_and(|value| value != "0") {
        return true;
    }
    is_terminal && says(CLICOLOR).is_none_or(|value| value != "0") && says(TERM).is_some_and(|term| term != "dumb")
}
