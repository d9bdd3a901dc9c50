//! The words of others.
//!
//! What a server says ends in an error, on a terminal and on a page. It may be a
//! stranger's, so it steers no terminal, dresses up as nothing else and fills no
//! screen.

/// How many letters are repeated of what somebody else has said.
pub const LETTERS_MAX: usize = 500;

/// What somebody else has said, on one line of at most [`LETTERS_MAX`] letters.
///
/// Line breaks become a space; what steers a terminal or turns the direction of
/// reading becomes `\u{FFFD}`; what is too long ends with `…`. Meaning is read from
/// the words as they came, before this.
///
/// ```
/// use castle_core::words::heard;
///
/// assert_eq!(heard(" no such\r\nmachine\n"), "no such machine");
/// assert_eq!(heard("\u{1b}[2J"), "\u{FFFD}[2J");
/// assert!(heard(&"x".repeat(200_000)).ends_with("xx…"));
/// ```
#[must_use]
pub fn heard(words: &str) -> String {
    let mut out = String::new();
    // What is cut away is not even looked at.
    let mut letters = words.trim().chars().peekable();
    for count in 0.. {
        let Some(letter) = letters.next() else { break };
        if count == LETTERS_MAX {
            out.push('…');
            break;
        }
        match letter {
            // The two letters of one break.
            '\r' if letters.peek() == Some(&'\n') => {}
            '\r' | '\n' | '\t' | '\u{2028}' | '\u{2029}' => out.push(' '),
            letter => out.push(harmless(letter)),
        }
    }
    out
}

/// The letter, or `\u{FFFD}` for one that steers a terminal or turns the direction
/// of reading.
pub(crate) fn harmless(letter: char) -> char {
    match letter {
        '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        letter if letter.is_control() => char::REPLACEMENT_CHARACTER,
        letter => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_on_one_line_and_steer_nothing() {
        for (words, expected) in [
            ("", ""),
            ("  no such machine  ", "no such machine"),
            ("one\r\ntwo\nthree\tfour\rfive", "one two three four five"),
            ("\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m", "\u{FFFD}]0;title\u{FFFD}\u{FFFD}[2J\u{FFFD}31m"),
            ("a\u{202E}b\u{2066}c\u{2028}d", "a\u{FFFD}b\u{FFFD}c d"),
            ("Grüße, 世界", "Grüße, 世界"),
        ] {
            assert_eq!(heard(words), expected, "{words:?}");
        }
    }

    #[test]
    fn words_end_where_a_reader_would() {
        let whole = "ü".repeat(LETTERS_MAX);
        assert_eq!(heard(&whole), whole);
        assert_eq!(heard(&format!("{whole}x")), format!("{whole}…"));
        assert_eq!(heard(&"x".repeat(8 << 20)).chars().count(), LETTERS_MAX + 1);
    }
}
