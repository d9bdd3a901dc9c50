//! A finding or an error as a short story: what, where, a note, the way out.

use std::fmt::Write;

use castle_core::{Error, Ghost, Problem};

use crate::colour::{Paint, Tone};
use crate::snippet::{Source, snippet};
use crate::width;

/// A finding, with the lines of the document if it has a place there.
pub fn problem(problem: &Problem, source: Option<&Source>, paint: Paint) -> String {
    let (weight, tone) = if problem.is_error() { ("error", Tone::Bad) } else { ("note", Tone::Note) };
    let mut text = format!("{}: {problem}", paint.tone(tone, format_args!("{weight}[{}]", problem.code)));
    let shown = source.zip(problem.span).map(|(source, span)| snippet(source, span, tone, paint));
    if let Some(snippet) = &shown {
        text += &format!("\n{snippet}");
    }
    if let Some(hint) = &problem.hint {
        text += &match shown {
            Some(_) => format!("\n      {} {hint}", paint.tone(Tone::Frame, "=")),
            None => format!("\n    {hint}"),
        };
    }
    text
}

/// An error with its causes, what it concerns and the way out.
pub fn error(error: &Error, paint: Paint) -> String {
    let mut text = format!("{}: {}", paint.tone(Tone::Bad, format_args!("error[{}]", error.kind())), error.chain());
    for (key, value) in error.context() {
        let _ = write!(text, "\n    {}: {value}", paint.tone(Tone::Frame, key));
    }
    if let Some(hint) = error.advice() {
        let _ = write!(text, "\n    {hint}");
    }
    text
}

/// A remnant of a former life, and its cure.
pub fn ghost(ghost: &Ghost) -> String {
    format!("{}\n    {}", width::folded(&ghost.to_string()), ghost.cure)
}
