//! The line of a document that is meant, with a mark below the place.

use std::ops::Range;

use castle_core::yaml::Quoting;
use castle_core::{Options, Span};

use crate::colour::{Paint, Tone};
use crate::width::{of_letter, shown};

/// The longest line of a document that is shown whole, in letters.
const LINE_MAX: usize = 160;
/// What is shown of a longer one, around the place that is meant.
const WINDOW: usize = 100;
/// How far apart tabs stop.
const TAB: usize = 4;

/// The document that a finding has its place in.
#[derive(Debug)]
pub struct Source {
    /// What it is called, with its folder.
    pub name: String,
    /// All of it.
    pub text: String,
    /// Whether it may be shown. Of a document with secrets only the keys are: by a slip
    /// of the hand a secret stands anywhere else.
    pub quoting: Quoting,
}

/// What is shown of one or more letters.
struct Cell {
    letters: Range<usize>,
    shown: char,
}

/// The place, its line, and a mark below what is meant.
pub fn snippet(source: &Source, span: Span, tone: Tone, paint: Paint) -> String {
    let frame = |text: &str| paint.tone(Tone::Frame, text);
    let place = format!("  {} {}:{}:{}", frame("-->"), source.name, span.line, span.column);
    // Behind the last line there is nothing to show.
    let Some(line) = span.line.checked_sub(1).and_then(|before| source.text.lines().nth(before)) else {
        return place;
    };
    let letters: Vec<char> = line.chars().collect();
    let begin = span.column.saturating_sub(1).min(letters.len());
    let meant = begin..begin + meant(&letters, begin);
    let cells = match source.quoting {
        Quoting::Allowed => letters.iter().enumerate().map(|(at, c)| Cell { letters: at..at + 1, shown: *c }).collect(),
        Quoting::Never => masked(&letters),
    };
    let (text, before, width) = drawn(&cells, &meant);
    let number = paint.tone(Tone::Frame, format_args!("{:>5} |", span.line));
    let mark = paint.tone(tone, "^".repeat(width));
    format!("{place}\n{}\n{number} {text}\n{} {}{mark}", frame("      |"), frame("      |"), " ".repeat(before))
}

/// The cells as a text, how many columns stand before what is meant, and how many it takes.
fn drawn(cells: &[Cell], meant: &Range<usize>) -> (String, usize, usize) {
    let at = cells.iter().position(|cell| cell.letters.end > meant.start).unwrap_or(cells.len());
    let window = match cells.len() > LINE_MAX {
        true => at.saturating_sub(WINDOW / 2).min(cells.len() - WINDOW),
        false => 0,
    };
    let window = window..if cells.len() > LINE_MAX { window + WINDOW } else { cells.len() };
    let mut text = String::from(if window.start > 0 { "…" } else { "" });
    let (mut column, mut before, mut width) = (text.chars().count(), None, 0);
    for cell in &cells[window.clone()] {
        let columns = match cell.shown {
            '\t' => TAB - column % TAB,
            letter => of_letter(shown(letter)),
        };
        match cell.shown {
            '\t' => text += &" ".repeat(columns),
            letter => text.push(shown(letter)),
        }
        if cell.letters.end > meant.start && cell.letters.start < meant.end.max(meant.start + 1) {
            before.get_or_insert(column);
            width += columns;
        }
        column += columns;
    }
    if window.end < cells.len() {
        text.push('…');
    }
    (text, before.unwrap_or(column), width.max(1))
}

/// How many letters are meant at a place: a whole mapping or list as far as the line
/// shows it, a quoted text with its quotes, a key without its colon, or a value up to its end.
fn meant(letters: &[char], begin: usize) -> usize {
    let rest = &letters[begin..];
    match rest.first() {
        None => 1,
        Some('{' | '[') => bracketed(rest),
        Some('"' | '\'') => quoted(rest),
        Some(_) => plain(rest, is_in_brackets(letters, begin)),
    }
}

fn bracketed(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(letter) = rest.get(at) {
        match letter {
            '"' | '\'' if at == 0 || !rest[at - 1].is_alphanumeric() => at += quoted(&rest[at..]) - 1,
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at.min(rest.len())
}

fn quoted(rest: &[char]) -> usize {
    let quote = rest[0];
    let mut at = 1;
    while let Some(letter) = rest.get(at) {
        match (letter, quote) {
            ('\\', '"') => at += 1,
            ('\'', '\'') if rest.get(at + 1) == Some(&'\'') => at += 1,
            (letter, quote) if *letter == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    rest.len()
}

/// A word without quotes: it ends before a comment, at a colon that makes it a key,
/// and in brackets at what separates.
fn plain(rest: &[char], in_brackets: bool) -> usize {
    let ends = |at: &usize| {
        let next = rest.get(at + 1);
        match rest[*at] {
            ':' => next.is_none_or(|next| next.is_whitespace() || (in_brackets && matches!(next, ',' | '}' | ']'))),
            '#' => *at > 0 && rest[at - 1].is_whitespace(),
            ',' | '}' | ']' | '{' | '[' => in_brackets,
            _ => false,
        }
    };
    let end = (0..rest.len()).find(ends).unwrap_or(rest.len());
    let blank = rest[..end].iter().rev().take_while(|letter| letter.is_whitespace()).count();
    (end - blank).max(1)
}

/// Whether a place stands in a mapping or a list in brackets. What other lines open
/// is seen by what this one closes or separates.
fn is_in_brackets(letters: &[char], begin: usize) -> bool {
    let depth = |part: &[char]| {
        let opens = part.iter().filter(|letter| matches!(letter, '{' | '[')).count();
        let closes = part.iter().filter(|letter| matches!(letter, '}' | ']')).count();
        (opens, closes)
    };
    let (before, after) = (depth(&letters[..begin]), depth(&letters[begin..]));
    before.0 > before.1 || after.1 > after.0 || letters.iter().rfind(|letter| !letter.is_whitespace()) == Some(&',')
}

/// A line of which the known keys are shown, and `…` for everything between them.
fn masked(letters: &[char]) -> Vec<Cell> {
    let mut cells = Vec::new();
    let (mut at, mut hidden) = (0, 0);
    while at < letters.len() {
        let length = key(letters, at);
        if length > 0 {
            hide(letters, hidden..at, &mut cells);
            cells.extend((at..at + length).map(|at| Cell { letters: at..at + 1, shown: letters[at] }));
            hidden = at + length;
        }
        at += length.max(1);
    }
    hide(letters, hidden..letters.len(), &mut cells);
    cells
}

/// How many letters of a known key with its colon stand at a place.
fn key(letters: &[char], at: usize) -> usize {
    let begins = at == 0 || letters[at - 1].is_whitespace() || matches!(letters[at - 1], '{' | ',');
    let word: String = letters[at..].iter().take_while(|c| c.is_ascii_lowercase() || **c == '_').collect();
    let behind = &letters[at + word.len()..];
    let is_key = behind.first() == Some(&':') && behind.get(1).is_none_or(|next| next.is_whitespace());
    if begins && is_key && Options::KEYS.contains(&word.as_str()) { word.len() + 1 } else { 0 }
}

fn hide(letters: &[char], range: Range<usize>, cells: &mut Vec<Cell>) {
    let hidden = &letters[range.clone()];
    let begin = range.start + hidden.iter().take_while(|letter| letter.is_whitespace()).count();
    let end =
        range.end - hidden.iter().rev().take_while(|letter| letter.is_whitespace()).count().min(range.end - begin);
    let open = |at: usize| Cell { letters: at..at + 1, shown: letters[at] };
    cells.extend((range.start..begin).map(open));
    // What only opens or separates is no secret.
    if letters[begin..end].iter().all(|letter| matches!(letter, '-' | '{' | '[' | '}' | ']')) {
        cells.extend((begin..end).map(open));
    } else {
        cells.push(Cell { letters: begin..end, shown: '…' });
    }
    cells.extend((end..range.end).map(open));
}
