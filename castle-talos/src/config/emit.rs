//! YAML in the layout of Go's writer, which Talos' own files have.

use super::tree::{Data, Node, Tag, resolve};

/// The document as text, without a `---`.
pub(crate) fn document(node: &Node) -> String {
    let mut text = String::new();
    match &node.data {
        Data::Map(entries) if !entries.is_empty() => block(&mut text, node, 0),
        Data::List(items) if !items.is_empty() => block(&mut text, node, 0),
        _ => {
            inline(&mut text, node, 0);
            text.push('\n');
        }
    }
    text
}

/// Four columns for each level, counted from multiples of four: what stands in
/// a list's item is two columns right of its dash.
fn deeper(column: usize) -> usize {
    4 * ((column + 4) / 4)
}

fn block(text: &mut String, node: &Node, column: usize) {
    match &node.data {
        Data::Map(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                // The first key of a list's item stands beside the dash.
                if index > 0 || text.is_empty() || text.ends_with('\n') {
                    indent(text, column);
                }
                text.push_str(&scalar(&entry.key, false));
                text.push(':');
                value(text, &entry.value, column);
            }
        }
        Data::List(items) => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 || text.is_empty() || text.ends_with('\n') {
                    indent(text, column);
                }
                text.push_str("- ");
                if is_block(item) {
                    block(text, item, column + 2);
                } else {
                    inline(text, item, column + 2);
                    text.push('\n');
                }
            }
        }
        Data::Scalar(_) => inline(text, node, column),
    }
}

fn value(text: &mut String, node: &Node, column: usize) {
    if is_block(node) {
        text.push('\n');
        block(text, node, deeper(column));
    } else {
        text.push(' ');
        inline(text, node, deeper(column));
        text.push('\n');
    }
}

fn is_block(node: &Node) -> bool {
    match &node.data {
        Data::Map(entries) => !entries.is_empty(),
        Data::List(items) => !items.is_empty(),
        Data::Scalar(_) => false,
    }
}

/// `column` is where further lines of a literal text stand.
fn inline(text: &mut String, node: &Node, column: usize) {
    match &node.data {
        Data::Map(_) => text.push_str("{}"),
        Data::List(_) => text.push_str("[]"),
        Data::Scalar(found) => {
            let content = found.text.expose();
            if !found.plain && is_literal(content) {
                literal(text, content, column);
            } else {
                text.push_str(&scalar(content, found.plain));
            }
        }
    }
}

fn indent(text: &mut String, column: usize) {
    text.extend(std::iter::repeat_n(' ', column));
}

/// Several lines that can stand as they are.
fn is_literal(content: &str) -> bool {
    content.contains('\n')
        && !content.starts_with([' ', '\n', '\t'])
        && content.chars().all(|c| c == '\n' || c == '\t' || !c.is_control())
        && content.split('\n').all(|line| !line.ends_with([' ', '\t']))
}

fn literal(text: &mut String, content: &str, column: usize) {
    let body = content.trim_end_matches('\n');
    let ends = content.len() - body.len();
    text.push_str(match ends {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in body.split('\n').chain(std::iter::repeat_n("", ends.saturating_sub(1))) {
        text.push('\n');
        if !line.is_empty() {
            indent(text, column);
            text.push_str(line);
        }
    }
}

/// One line for a scalar: plain if that reads back as the same, quoted else.
fn scalar(content: &str, plain: bool) -> String {
    if plain {
        return content.to_owned();
    }
    if content.is_empty() || resolve(content) != Tag::Str || is_old_word(content) {
        return double(content);
    }
    if content.chars().any(|c| c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}')) {
        return double(content);
    }
    if needs_quotes(content) {
        return format!("'{}'", content.replace('\'', "''"));
    }
    content.to_owned()
}

/// Words and forms that YAML 1.1 readers take for booleans, dates or base 60.
fn is_old_word(content: &str) -> bool {
    const WORDS: [&str; 8] = ["y", "n", "yes", "no", "on", "off", "<<", "="];
    let digits_and = |more: &str| content.chars().all(|c| c.is_ascii_digit() || more.contains(c));
    let date = content.len() >= 8
        && content.get(..4).is_some_and(|year| year.bytes().all(|b| b.is_ascii_digit()))
        && content[4..].starts_with('-')
        && content.chars().all(|c| c.is_ascii_digit() || "-:.TtZz+ ".contains(c));
    let sexagesimal = content.contains(':') && digits_and(":._+-") && content.starts_with(|c: char| c.is_ascii_digit());
    WORDS.contains(&content.to_ascii_lowercase().as_str()) || date || sexagesimal
}

fn needs_quotes(content: &str) -> bool {
    let first = content.chars().next().unwrap_or(' ');
    let second_is_blank = content.chars().nth(1).is_none_or(|c| c == ' ');
    "#,[]{}&*!|>'\"%@`".contains(first)
        || ("-?:".contains(first) && second_is_blank)
        || content.starts_with(' ')
        || content.ends_with(' ')
        || content.starts_with("---")
        || content.starts_with("...")
        || content.contains(": ")
        || content.ends_with(':')
        || content.contains(" #")
}

fn double(content: &str) -> String {
    let mut text = String::from('"');
    for letter in content.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            letter if letter.is_control() || matches!(letter, '\u{feff}' | '\u{2028}' | '\u{2029}') => {
                text.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => text.push(letter),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::super::tree::{self, Entry};
    use super::*;

    #[test]
    fn every_text_reads_back_as_itself() {
        for content in [
            "",
            "a",
            "off",
            "1",
            "0x1f",
            "1e3",
            "null",
            "~",
            "a: b",
            "a:",
            "a #b",
            "#a",
            "- a",
            "-a",
            "-",
            "?",
            "*a",
            "&a",
            "'a'",
            "\"a\"",
            " a",
            "a ",
            "a\nb",
            "a\nb\n",
            "a\n\nb\n\n",
            " a\nb",
            "a \nb",
            "\ta",
            "a\tb",
            "a\rb",
            "2026-01-01",
            "12:30",
            "é",
            "{a}",
            "[a",
            "a]",
            "%a",
            "@a",
            "`a",
            "!a",
            "|",
            ">",
            "---",
            "a\\b",
            "a\u{7}b",
            "=",
            "<<",
            ",",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            for node in [
                Node::map(vec![Entry::new("k", Node::text(content))]),
                Node::map(vec![Entry::new("k", Node::list(vec![Node::text(content), Node::text("z")]))]),
                Node::list(vec![Node::map(vec![
                    Entry::new("k", Node::text(content)),
                    Entry::new("l", Node::text("z")),
                ])]),
                Node::map(vec![Entry::new(content, Node::text("z"))]),
            ] {
                if matches!(&node.data, Data::Map(entries) if entries[0].key.contains('\n')) {
                    continue;
                }
                let text = document(&node);
                let read = tree::parse(&text).unwrap_or_else(|broken| panic!("{broken:?}:\n{text}"));
                assert_eq!(document(&read[0]), text, "{content:?}");
                let found = |node: &Node| match &node.data {
                    Data::Map(entries) => (entries[0].key.clone(), entries[0].value.clone()),
                    _ => ("k".to_owned(), node.items()[0].get("k").expect("k").clone()),
                };
                let (key, value) = found(&read[0]);
                let value = value.items().first().cloned().unwrap_or(value);
                let scalar = value.scalar().expect("a scalar");
                assert!(key == content || scalar.text.expose() == content, "{content:?} became\n{text}");
                assert_eq!(scalar.tag(), Tag::Str, "{content:?} became\n{text}");
            }
        }
    }
}
