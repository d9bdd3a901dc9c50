//! Documents as SOPS sees them: trees whose entries keep their order, because
//! the order is part of what is vouched for.

use std::fmt;

use castle_core::yaml::{self, Quoting};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Yaml,
    Json,
    Dotenv,
    /// One value: JSON with `data`.
    Binary,
}

/// A node of a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Map(Vec<(String, Tree)>),
    List(Vec<Tree>),
    Text(String),
    Int(i128),
    Float(f64),
    Bool(bool),
    Null,
}

impl Tree {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without quoting it.
    pub(super) fn read(text: &str, format: Format) -> Result<Self, String> {
        match format {
            Format::Yaml => yaml::read(text, "the file", Quoting::Never).map_err(|problem| match problem.span {
                Some(span) => format!("line {}: {}", span.line, problem.message),
                None => problem.message,
            }),
            Format::Json | Format::Binary => serde_json::from_str(text)
                .map_err(|error| format!("it is no JSON at line {}, column {}", error.line(), error.column())),
            Format::Dotenv => dotenv(text),
        }
    }

    /// An entry of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Takes the entry of a map out.
    pub(super) fn take(&mut self, key: &str) -> Option<Self> {
        let Self::Map(entries) = self else { return None };
        let place = entries.iter().position(|(name, _)| name == key)?;
        Some(entries.remove(place).1)
    }
}

/// Reads lines of `NAME=value`. What SOPS adds there is flat: `sops_mac`, and
/// `sops_age__list_0__map_enc` for the entries of lists.
fn dotenv(text: &str) -> Result<Tree, String> {
    let (mut entries, mut sops) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| format!("line {number} has no `=`"))?;
        let value = Tree::Text(value.replace("\\n", "\n"));
        match name.strip_prefix("sops_") {
            Some(name) => place(&mut sops, name, value).ok_or_else(|| format!("line {number} is not SOPS' own"))?,
            None => entries.push((name.to_owned(), value)),
        }
    }
    if !sops.is_empty() {
        entries.push(("sops".to_owned(), Tree::Map(sops)));
    }
    Ok(Tree::Map(entries))
}

/// Puts a value of the flat form where it belongs.
fn place(entries: &mut Vec<(String, Tree)>, name: &str, value: Tree) -> Option<()> {
    let Some((list, rest)) = name.split_once("__list_") else {
        entries.push((name.to_owned(), value));
        return Some(());
    };
    let (index, field) = rest.split_once("__map_")?;
    let index: usize = index.parse().ok()?;
    if !entries.iter().any(|(name, _)| name == list) {
        entries.push((list.to_owned(), Tree::List(Vec::new())));
    }
    let (_, Tree::List(items)) = entries.iter_mut().find(|(name, _)| name == list)? else { return None };
    // The entries of an item stand together, the items in their order.
    if index > items.len() {
        return None;
    }
    if index == items.len() {
        items.push(Tree::Map(Vec::new()));
    }
    let Tree::Map(fields) = &mut items[index] else { return None };
    fields.push((field.to_owned(), value));
    Some(())
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Grower)
    }
}

struct Grower;

impl<'de> Visitor<'de> for Grower {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Int(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Text(value))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Tree::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, format: Format, expected: &str) {
        assert_eq!(format!("{:?}", Tree::read(text, format)), expected);
    }

    #[test]
    fn entries_keep_their_order_and_values_their_types() {
        let expected = r#"Ok(Map([("b", Int(1)), ("a", List([Bool(true), Null, Float(1.5)])), ("1", Text("yes"))]))"#;
        check("b: 1\na: [true, null, 1.5]\n1: yes\n", Format::Yaml, expected);
        check(r#"{"b": 1, "a": [true, null, 1.5], "1": "yes"}"#, Format::Json, expected);
    }

    #[test]
    fn a_flat_file_has_its_lists_back() {
        check(
            "# for people\nA=x=y\n\nB=two\\nlines\nsops_age__list_0__map_enc=e\nsops_age__list_0__map_recipient=r\nsops_mac=m\n",
            Format::Dotenv,
            r#"Ok(Map([("A", Text("x=y")), ("B", Text("two\nlines")), ("sops", Map([("age", List([Map([("enc", Text("e")), ("recipient", Text("r"))])])), ("mac", Text("m"))]))]))"#,
        );
        check("sops_age__list_7__map_enc=e\n", Format::Dotenv, r#"Err("line 1 is not SOPS' own")"#);
        check("hunter2\n", Format::Dotenv, r#"Err("line 1 has no `=`")"#);
    }
}
