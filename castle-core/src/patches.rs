//! The patches of a `castle.yaml`: texts, or mappings that are kept as they were written.
//!
//! A mapping is cut out of the document's text instead of being read and written
//! again: what `012` or `off` means is for the reader of the patch to say.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::Spanned;

use crate::Patches;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatchesText {
    all: Option<Vec<Spanned<PatchText>>>,
    control_planes: Option<Vec<Spanned<PatchText>>>,
    workers: Option<Vec<Spanned<PatchText>>>,
}

pub(crate) enum PatchText {
    Text(String),
    Mapping,
}

impl<'de> Deserialize<'de> for PatchText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = PatchText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a part of a configuration: a mapping, or its text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<PatchText, E> {
                Ok(PatchText::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PatchText, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(PatchText::Mapping)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl PatchesText {
    /// The patches as texts. `document` is the text that they stand in.
    pub fn read(self, document: &str) -> Patches {
        let texts = |list: Option<Vec<Spanned<PatchText>>>| -> Vec<String> {
            list.into_iter()
                .flatten()
                .map(|patch| match patch.value {
                    PatchText::Text(text) => text,
                    // An alias stands for what was written elsewhere.
                    PatchText::Mapping => mapping(document, patch.defined.line(), patch.defined.column()),
                })
                .collect()
        };
        Patches { all: texts(self.all), control_planes: texts(self.control_planes), workers: texts(self.workers) }
    }
}

/// The text of the mapping that begins at a place, indented as it was.
fn mapping(document: &str, line: u64, column: u64) -> String {
    let (line, column) = (usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1));
    let mut lines = document.lines().skip(line.saturating_sub(1));
    let first: String = lines.next().unwrap_or_default().chars().skip(column.saturating_sub(1)).collect();
    if first.starts_with('{') {
        let rest = lines.collect::<Vec<_>>().join("\n");
        return flow(&format!("{first}\n{rest}"));
    }
    let indent = " ".repeat(column.saturating_sub(1));
    let mut text = format!("{indent}{first}\n");
    // Whatever is further left and no comment belongs to somebody else.
    for line in lines {
        let content = line.trim_start_matches(' ');
        let is_blank = content.trim().is_empty() || content.starts_with('#');
        if !is_blank && line.len() - content.len() < indent.len() {
            break;
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// The text of a mapping in braces, up to its closing one.
fn flow(text: &str) -> String {
    let (mut depth, mut quote) = (0_usize, None);
    // Whether a value may begin here: only then is a quote more than a letter. And
    // whether one that was quoted or in brackets has just ended: a `:` may touch it.
    let (mut is_open, mut is_closed, mut before) = (true, false, ' ');
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let next = letters.peek().map_or(' ', |(_, next)| *next);
        let parts = |letter: char| letter.is_whitespace() || matches!(letter, ',' | '[' | ']' | '{' | '}');
        match (quote, letter) {
            (Some('"'), '\\') => drop(letters.next()),
            (Some('#'), '\n') => quote = None,
            (Some(open), letter) if letter == open => (quote, is_closed) = (None, true),
            (Some(_), _) => {}
            (None, '#') if before.is_whitespace() => quote = Some('#'),
            (None, letter) if letter.is_whitespace() => {}
            (None, '"' | '\'') if is_open => (quote, is_open) = (Some(letter), false),
            // A tag and an anchor stand before their value.
            (None, '!' | '&') if is_open => {
                let verbatim = next == '<';
                while letters.next_if(|(_, next)| if verbatim { *next != '>' } else { !parts(*next) }).is_some() {}
            }
            (None, '{' | '[') => (depth, is_open) = (depth + 1, true),
            (None, '}' | ']') => {
                depth -= 1;
                if depth == 0 {
                    return text[..=at].to_owned() + "\n";
                }
                (is_open, is_closed) = (false, true);
            }
            (None, ',') => (is_open, is_closed) = (true, false),
            (None, ':') if is_closed || parts(next) => (is_open, is_closed) = (true, false),
            (None, '?' | '>') if is_open && next.is_whitespace() => {}
            (None, _) => (is_open, is_closed) = (false, false),
        }
        before = letter;
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{self, Quoting};

    fn patches(text: &str) -> Patches {
        yaml::read::<PatchesText>(text, "castle.yaml", Quoting::Allowed).expect("patches").read(text)
    }

    #[test]
    fn a_mapping_is_kept_as_it_was_written() {
        let text = "\
all:
  - machine:
      files:
        - permissions: 0o644
          path: /var/off
      env: {a: 'yes', b: 012}
  # between
  - |
    cluster:
      id: x
workers:
  - {machine: {sysctls: {vm.max: \"1}2\"}}, # ] more
     it's: '}'}
  - apiVersion: v1alpha1
    kind: HostnameConfig
";
        let found = patches(text);
        assert_eq!(
            found.all,
            [
                "    machine:\n      files:\n        - permissions: 0o644\n          path: /var/off\n      \
                 env: {a: 'yes', b: 012}\n  # between\n",
                "cluster:\n  id: x\n"
            ]
        );
        assert_eq!(
            found.workers,
            [
                "{machine: {sysctls: {vm.max: \"1}2\"}}, # ] more\n     it's: '}'}\n",
                "    apiVersion: v1alpha1\n    kind: HostnameConfig\n"
            ]
        );
        assert!(found.control_planes.is_empty());
    }

    #[test]
    fn a_quote_inside_of_a_plain_word_is_a_letter() {
        for flow in [
            "{MSG: rock 'n roll}",
            "{a: [rock 'n roll, \"}\"], b: it's}",
            "{a: 5\" pipe, 'b': '}'}",
            "{\"a\":'}', b: [x]}",
            "{a: !!str '}', b: &c '}', d: ! '}', e: !<tag:yaml.org,2002:str> '}'}",
            "{? 'a}' : b}",
            "{a: # it's }\n   'x}'}",
        ] {
            let text = format!("all:\n  - {flow}\nworkers:\n  - {{x: 'y'}}\n");
            let found = patches(&text);
            assert_eq!(found.all, [format!("{flow}\n")]);
            assert_eq!(found.workers, ["{x: 'y'}\n"]);
        }
    }

    #[test]
    fn a_list_or_a_number_is_no_patch() {
        for text in ["all:\n  - [{op: add}]\n", "all: [1]\n", "all: {a: 1}\n", "al: []\n"] {
            assert!(yaml::read::<PatchesText>(text, "castle.yaml", Quoting::Allowed).is_err(), "{text}");
        }
    }
}
