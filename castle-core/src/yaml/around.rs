//! What stands around a place of a YAML text. The parser tells one place for each
//! error; some need a second.

use crate::Span;

/// The line on which a key stands for the first time in the mapping that has it a
/// second time at `span`. `None` where the text alone does not show it.
pub(super) fn first_of(text: &str, span: Span, key: &str) -> Option<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let same_line: String = lines.get(span.line.checked_sub(1)?)?.chars().take(span.column - 1).collect();
    if let Some(begin) = brace_before(&same_line) {
        let mut depth = 0_usize;
        let parts = same_line[begin..].split(|letter| {
            match letter {
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            letter == ',' && depth == 0
        });
        return parts.into_iter().any(|part| is_key(part.trim_start(), key)).then_some(span.line);
    }
    for line in (1..span.line).rev() {
        let (before, rest) = split(lines[line - 1], span.column - 1);
        // The mapping's first key may stand behind the dash of a list's item.
        if before.trim_start_matches([' ', '-']).is_empty() && is_key(rest, key) {
            return Some(line);
        }
        let content = before.trim();
        if !(content.is_empty() || content.starts_with('#')) {
            return None;
        }
    }
    None
}

/// Where the mapping in braces begins that is still open at the end of a text.
fn brace_before(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, letter) in text.char_indices().rev() {
        match letter {
            '}' | ']' => depth += 1,
            '{' | '[' if depth > 0 => depth -= 1,
            '{' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The key whose value is at `span`, where both stand on one line.
pub(super) fn key_at(text: &str, span: Span) -> Option<&str> {
    let line = text.lines().nth(span.line.checked_sub(1)?)?;
    let (before, _) = split(line, span.column - 1);
    // An empty value's place is the colon's, or behind it.
    let before = before.trim_end().trim_end_matches(':');
    let key = before.rsplit(['{', ',', ' ']).next()?.trim_matches(['"', '\'']);
    let is_plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    is_plain.then_some(key)
}

fn is_key(text: &str, key: &str) -> bool {
    let bare = [None, Some('"'), Some('\'')].into_iter().find_map(|quote| match quote {
        None => text.strip_prefix(key),
        Some(quote) => text.strip_prefix(quote)?.strip_prefix(key)?.strip_prefix(quote),
    });
    bare.is_some_and(|rest| rest.trim_start().starts_with(':'))
}

/// A line before and from a column, counted in characters from 0.
fn split(line: &str, column: usize) -> (&str, &str) {
    let at = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    line.split_at(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_keys_is_found_where_the_text_shows_it() {
        for (text, line, column, first) in [
            ("a: 1\nb: 2\na: 3\n", 3, 1, Some(1)),
            ("x:\n  a: 1\n  # b\n\n  b: 2\n  'a' : 3\n", 6, 3, Some(2)),
            ("x:\n  - a: 1\n    b: 2\n    a: 3\n", 4, 5, Some(2)),
            ("x:\n  - a: 1\n  - b: 2\n    a: 3\n", 4, 5, None),
            ("x:\n  a: 1\ny:\n  a: 3\n", 4, 3, None),
            ("x: {a: 1, b: [2], \"a\": 3}\n", 1, 19, Some(1)),
            ("x: {b: {a: 1, c: 2}, a: 3}\n", 1, 22, None),
            ("x: {ba: 1,\n  a: 3}\n", 2, 3, None),
            ("", 1, 1, None),
        ] {
            assert_eq!(first_of(text, Span { line, column }, "a"), first, "{text}");
        }
    }

    #[test]
    fn the_key_of_a_missing_value_is_found_where_both_are_on_one_line() {
        for (text, column, key) in [
            ("project:\n", 8, Some("project")),
            ("project: \n", 9, Some("project")),
            ("  - {name: x, \"vmid\": , host: y}\n", 23, Some("vmid")),
            ("é: [,]\n", 5, None),
            ("", 1, None),
        ] {
            assert_eq!(key_at(text, Span { line: 1, column }), key, "{text}");
        }
    }
}
