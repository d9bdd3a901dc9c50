//! Which key of an option document a place belongs to. It is read from the text and not
//! from a parser: what cannot be parsed has a place as well.

use crate::{Options, Span};

impl Options {
    /// Every key that an option document may have, in order. They alone are safe to be
    /// quoted from it: a slip of the hand puts a secret anywhere else.
    pub const KEYS: [&str; 40] = [
        "ca",
        "ca_file",
        "client_id",
        "client_id_env",
        "client_id_file",
        "client_secret",
        "client_secret_env",
        "client_secret_file",
        "dial",
        "environment",
        "files",
        "fingerprints",
        "folder",
        "from",
        "git",
        "identity",
        "infisical",
        "key",
        "lab",
        "memory",
        "pace",
        "password",
        "password_env",
        "password_file",
        "path",
        "pins",
        "prefix",
        "project",
        "proxmox",
        "secrets",
        "sops",
        "source",
        "talos",
        "to",
        "token",
        "token_env",
        "token_file",
        "trust_on_first_use",
        "url",
        "username",
    ];
}

/// The keys that lead to a place, joined by dots: `proxmox.token`. `None` if one of
/// them is no key of an option document, and for the document itself. With `whole` a key
/// that stands at the place itself is left out: the place is all of its mapping.
pub(super) fn key_path(text: &str, span: Span, whole: bool) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let line = lines.get(span.line.checked_sub(1)?)?;
    let (mut path, mut indent) = within(line, span.column, whole);
    for line in lines[..span.line - 1].iter().rev() {
        let content = line.trim_start_matches([' ', '\t']);
        if indent == 0 || content.trim().is_empty() || content.starts_with('#') {
            continue;
        }
        let at = line.len() - content.len();
        // A list may stand as far left as its key; its other items are no keys of it.
        // How far a tab indents is for nobody to say.
        if at >= indent || content.starts_with('-') || line[..at].contains('\t') {
            continue;
        }
        path.insert(0, key_at(content)?);
        indent = at;
    }
    (!path.is_empty() && indent == 0).then(|| path.join("."))
}

/// The keys of one line that lead to a column, and what is less indented than their
/// parent is.
fn within(line: &str, column: usize, whole: bool) -> (Vec<&'static str>, usize) {
    let mut open: Vec<(usize, &'static str)> = Vec::new();
    let (mut depth, mut is_key_next) = (0, true);
    let content = line.trim_start_matches([' ', '\t', '-']);
    let mut indent = line.len() - line.trim_start_matches([' ', '\t']).len();
    if line.trim_start().starts_with("- ") {
        // Its key may stand at the same column.
        indent += 1;
    }
    let begin = line.len() - content.len();
    for (at, letter) in content.char_indices() {
        let here = begin + at + 1;
        if here > column || (whole && here == column) {
            break;
        }
        match letter {
            '{' | '[' => depth += 1,
            '}' | ']' | ',' => {
                open.retain(|(level, _)| *level < depth || (depth == 0 && letter == ','));
                depth -= usize::from(letter != ',' && depth > 0);
            }
            _ if is_key_next => {
                if let Some(key) = key_at(&content[at..]) {
                    open.retain(|(level, _)| *level < depth);
                    open.push((depth, key));
                }
            }
            _ => {}
        }
        is_key_next = matches!(letter, '{' | ',' | ' ' | '[');
    }
    (open.into_iter().map(|(_, key)| key).collect(), indent)
}

/// The key that a text begins with.
fn key_at(text: &str) -> Option<&'static str> {
    let (word, rest) = text.split_once(':')?;
    let known = Options::KEYS.iter().find(|key| **key == word)?;
    rest.chars().next().is_none_or(char::is_whitespace).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_the_keys_that_lead_to_it() {
        let text = "\
proxmox:
  url: x
\ttoken: y
  fingerprints:
    - a
secrets: {infisical: {url: 'a, b', client_id: [x]}, memory: yes}
dial:
- from: a
  to: b
hunter2:
  token: x
";
        for (line, column, wanted) in [
            (1, 1, Some("proxmox")),
            (2, 3, Some("proxmox.url")),
            (2, 8, Some("proxmox.url")),
            (3, 2, Some("proxmox.token")),
            (5, 7, Some("proxmox.fingerprints")),
            (6, 1, Some("secrets")),
            (6, 23, Some("secrets.infisical.url")),
            (6, 47, Some("secrets.infisical.client_id")),
            (6, 61, Some("secrets.memory")),
            (8, 3, Some("dial.from")),
            (9, 7, Some("dial.to")),
            (10, 1, None),
            (11, 10, None),
            (99, 1, None),
        ] {
            assert_eq!(key_path(text, Span { line, column }, false).as_deref(), wanted, "{line}:{column}");
        }
        assert_eq!(key_path(text, Span { line: 2, column: 3 }, true).as_deref(), Some("proxmox"));
        assert_eq!(key_path(text, Span { line: 1, column: 1 }, true), None);
    }
}
