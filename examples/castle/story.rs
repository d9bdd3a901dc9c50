//! A finding or an error as a short story: what, where, a note, the way out.

use std::fmt::Write;

use castle_core::{Error, Ghost, Problem, Span};

use crate::colour::{Paint, Tone};
use crate::picture;

/// The longest line of a document that is shown whole, in characters.
const LINE_MAX: usize = 160;
/// What is shown of a longer one, around the place that is meant.
const WINDOW: usize = 100;

/// The document that a finding has its place in.
#[derive(Debug)]
pub struct Source {
    /// What it is called, with its folder.
    pub name: String,
    /// All of it.
    pub text: String,
}

/// A finding, with the lines of the document if it has a place there.
pub fn problem(problem: &Problem, source: Option<&Source>, paint: Paint) -> String {
    let (weight, tone) = if problem.is_error() { ("error", Tone::Bad) } else { ("note", Tone::Note) };
    let mut text = format!("{}: {problem}", paint.tone(tone, format_args!("{weight}[{}]", problem.code)));
    let shown = source.zip(problem.span).and_then(|(source, span)| snippet(source, span, tone, paint));
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
    format!("{}\n    {}", picture::folded(&ghost.to_string()), ghost.cure)
}

/// The line that is meant, with a mark below the word.
fn snippet(source: &Source, span: Span, tone: Tone, paint: Paint) -> Option<String> {
    let line = source.text.lines().nth(span.line.checked_sub(1)?)?;
    let column = span.column.saturating_sub(1);
    let width = word(line, column).min(line.chars().count().saturating_sub(column).max(1));
    let (shown, column) = window(line, column);
    let frame = |text: &str| paint.tone(Tone::Frame, text);
    let number = paint.tone(Tone::Frame, format_args!("{:>5} |", span.line));
    let mark = paint.tone(tone, "^".repeat(width.min(WINDOW)));
    Some(format!(
        "  {} {}:{}:{}\n{}\n{number} {shown}\n{} {}{mark}",
        frame("-->"),
        source.name,
        span.line,
        span.column,
        frame("      |"),
        frame("      |"),
        " ".repeat(column),
    ))
}

/// How many characters are meant at a column: a whole mapping or list, or the word up
/// to the end of the value.
fn word(line: &str, column: usize) -> usize {
    let rest: Vec<char> = line.chars().skip(column).collect();
    if matches!(rest.first(), Some('{' | '[')) {
        let close = rest.iter().scan(0i32, |depth, c| {
            *depth += i32::from(matches!(c, '{' | '[')) - i32::from(matches!(c, '}' | ']'));
            Some(*depth)
        });
        return close.take_while(|depth| *depth > 0).count() + 1;
    }
    let ends = |c: &char| matches!(c, ',' | ':' | '}' | ']' | '#' | '"' | '\'') || c.is_whitespace();
    rest.iter().take_while(|c| !ends(c)).count().max(1)
}

/// What is shown of a line, and at which of its columns the place is then.
fn window(line: &str, column: usize) -> (String, usize) {
    let letters: Vec<char> = line.chars().collect();
    if letters.len() <= LINE_MAX {
        return (line.to_owned(), column);
    }
    let from = column.saturating_sub(WINDOW / 2).min(letters.len() - WINDOW);
    let shown: String = letters[from..from + WINDOW].iter().collect();
    let (before, after) = (if from > 0 { "…" } else { "" }, if from + WINDOW < letters.len() { "…" } else { "" });
    (format!("{before}{shown}{after}"), column - from + before.chars().count())
}
