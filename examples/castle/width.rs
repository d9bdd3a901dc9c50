//! How wide a text may be, and where it is broken.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What results are made for, wherever they go: a terminal shows at least this much,
/// and a file is read on one.
const RESULTS: usize = 80;
/// Narrower than this nothing is made to fit.
const LEAST: usize = 40;

/// How many columns results may have: 80, or what the terminal has if that is less.
pub fn of_results() -> usize {
    columns(terminal_size::terminal_size_of(std::io::stdout())).map_or(RESULTS, |columns| columns.min(RESULTS))
}

/// How many columns a terminal has that notes and errors go to. Where it is none, lines
/// stay whole: they are searched, not looked at.
pub fn of_notes() -> Option<usize> {
    columns(terminal_size::terminal_size_of(std::io::stderr()))
}

fn columns(size: Option<(terminal_size::Width, terminal_size::Height)>) -> Option<usize> {
    // A terminal that does not know its size says 0.
    size.map(|(width, _)| usize::from(width.0)).filter(|columns| *columns > 0).map(|columns| columns.max(LEAST))
}

/// How many columns a letter takes.
pub fn of_letter(letter: char) -> usize {
    letter.width().unwrap_or(0)
}

/// How many columns a text takes; what only changes its colour takes none.
pub fn of_text(text: &str) -> usize {
    let mut parts = text.split('\u{1b}');
    let plain = parts.next().unwrap_or_default().width();
    plain + parts.map(|part| part.split_once('m').map_or(part, |(_, rest)| rest).width()).sum::<usize>()
}

/// A letter as it may be shown: what would move the cursor, change colours or turn the
/// order of letters is replaced.
pub fn shown(letter: char) -> char {
    let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if letter.is_control() || turns { char::REPLACEMENT_CHARACTER } else { letter }
}

/// A line broken between words, its continuations set in by four. A word that
/// is longer than a line stays whole, so that it can be copied.
pub fn folded_to(line: &str, columns: usize) -> String {
    let text = line.trim_start();
    let mut folded = " ".repeat(line.len() - text.len());
    let mut width = folded.len();
    for (index, word) in text.split(' ').enumerate() {
        let length = of_text(word);
        if index > 0 && width + 1 + length > columns {
            folded.push_str("\n    ");
            width = 4;
        } else if index > 0 {
            folded.push(' ');
            width += 1;
        }
        folded.push_str(word);
        width += length;
    }
    folded
}

/// A line of results, folded.
pub fn folded(line: &str) -> String {
    folded_to(line, of_results())
}

/// Lines of a note or of an error, folded where a terminal shows them.
pub fn noted(text: &str) -> String {
    match of_notes() {
        None => text.to_owned(),
        Some(columns) => text.split('\n').map(|line| folded_to(line, columns)).collect::<Vec<_>>().join("\n"),
    }
}
