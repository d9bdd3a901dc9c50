//! From a tree as it was written to one whose every scalar has its type, and back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Version;
use super::schema::{Always, Field, Struct, Type, schema};
use super::tree::{Data, Entry, Node, Scalar, Tag, integer};

/// What is wrong with a value: the line, and Talos' words, which may show it.
pub(crate) struct Mistake {
    pub line: usize,
    pub says: String,
    /// The same without the value.
    pub hides: String,
}

impl Mistake {
    fn of(node: &Node, into: &str) -> Self {
        let (tag, shown) = match &node.data {
            Data::Map(_) => ("!!map", String::new()),
            Data::List(_) => ("!!seq", String::new()),
            Data::Scalar(scalar) => (scalar.tag().name(), shortened(scalar)),
        };
        Self {
            line: node.line,
            says: format!("cannot construct {tag}{shown} into {into}"),
            hides: format!("{} stands where {into} is expected", tag.trim_start_matches('!')),
        }
    }
}

/// The beginning of a long value, as Go's YAML shows it.
fn shortened(scalar: &Scalar) -> String {
    let text = scalar.text.expose();
    if text.chars().count() > 10 {
        format!(" `{}...`", text.chars().take(7).collect::<String>())
    } else {
        format!(" `{text}`")
    }
}

/// Fields of a struct that a release of Talos knows.
pub(crate) fn known(target: &Struct, version: Version) -> impl Iterator<Item = &Field> {
    target.fields.iter().filter(move |field| !field.since_1_14 || version >= Version::V1_14)
}

/// The keys of a tree that no type knows, with what hangs on them.
pub(crate) fn unknown(node: &Node, kind: &Type, version: Version) -> Option<Node> {
    let keep = |data: Data| Some(Node { line: node.line, data });
    match (kind, &node.data) {
        (Type::Struct(name), Data::Map(entries)) => {
            let target = schema().of(name);
            let strange: Vec<Entry> = entries
                .iter()
                .filter_map(|entry| match known(target, version).find(|field| field.name == entry.key) {
                    None => Some(entry.clone()),
                    Some(field) => {
                        let value = unknown(&entry.value, &field.kind, version)?;
                        Some(Entry { value, ..entry.clone() })
                    }
                })
                .collect();
            if strange.is_empty() { None } else { keep(Data::Map(strange)) }
        }
        (Type::Map(inner), Data::Map(entries)) => {
            let strange: Vec<Entry> = entries
                .iter()
                .filter_map(|entry| unknown(&entry.value, inner, version).map(|value| Entry { value, ..entry.clone() }))
                .collect();
            if strange.is_empty() { None } else { keep(Data::Map(strange)) }
        }
        (Type::List(inner), Data::List(items)) => {
            let strange: Vec<Node> = items.iter().filter_map(|item| unknown(item, inner, version)).collect();
            if strange.is_empty() { None } else { keep(Data::List(strange)) }
        }
        _ => None,
    }
}

/// Where those keys are, without what hangs on them: `machine.network.hostnam`.
pub(crate) fn unknown_paths(node: &Node, kind: &Type, version: Version, prefix: &str, found: &mut Vec<String>) {
    let path = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match kind {
        Type::Struct(name) => {
            for entry in node.entries() {
                match known(schema().of(name), version).find(|field| field.name == entry.key) {
                    None => found.push(path(&entry.key)),
                    Some(field) => unknown_paths(&entry.value, &field.kind, version, &path(&entry.key), found),
                }
            }
        }
        Type::Map(inner) => {
            for entry in node.entries() {
                unknown_paths(&entry.value, inner, version, &path(&entry.key), found);
            }
        }
        Type::List(inner) => {
            for (index, item) in node.items().iter().enumerate() {
                unknown_paths(item, inner, version, &format!("{prefix}[{index}]"), found);
            }
        }
        _ => {}
    }
}

/// Gives every scalar its type, puts fields into their order and drops nulls.
/// Unknown keys are dropped too: they were told before.
pub(crate) fn typed(node: &Node, kind: &Type, version: Version, mistakes: &mut Vec<Mistake>) -> Option<Node> {
    if node.is_null() && *kind != Type::Any {
        return None;
    }
    let keep = |data: Data| Some(Node { line: node.line, data });
    let text = |scalar: &Scalar| keep(Data::Scalar(Scalar { text: scalar.text.clone(), plain: false }));
    let word = |text: String| keep(Data::Scalar(Scalar { text: text.into(), plain: true }));
    match (kind, &node.data) {
        (Type::Text | Type::Args, Data::Scalar(scalar)) => return text(scalar),
        (Type::Url, Data::Scalar(scalar)) => match complaint_of_url(scalar.text.expose()) {
            None => return text(scalar),
            Some(complaint) => mistakes.push(Mistake {
                line: node.line,
                says: format!("parse {:?}: {complaint}", scalar.text.expose()),
                hides: complaint.to_owned(),
            }),
        },
        (Type::Bool, Data::Scalar(scalar)) => match boolean(scalar) {
            Some(value) => return word(value.to_string()),
            None => mistakes.push(Mistake::of(node, "bool")),
        },
        (Type::Int, Data::Scalar(scalar)) => {
            if scalar.plain && integer(scalar.text.expose()).is_some() {
                return word(scalar.text.expose().clone());
            }
            mistakes.push(Mistake::of(node, "int"));
        }
        (Type::Base64, Data::Scalar(scalar)) => match illegal_byte(scalar.text.expose()) {
            None => return text(scalar),
            Some(at) => {
                let says = format!("illegal base64 data at input byte {at}");
                mistakes.push(Mistake { line: node.line, hides: says.clone(), says });
            }
        },
        (Type::Any, _) => return Some(free(node, mistakes)),
        (Type::Args, Data::List(_)) => {
            return typed(node, &Type::List(Box::new(Type::Text)), version, mistakes);
        }
        (Type::List(inner), Data::List(items)) => {
            let items = items.iter().map(|item| typed(item, inner, version, mistakes).unwrap_or_else(Node::null));
            return keep(Data::List(items.collect()));
        }
        (Type::Map(inner), Data::Map(entries)) => {
            twice(entries, mistakes);
            let mut typed_entries: Vec<Entry> = entries
                .iter()
                .map(|entry| Entry {
                    value: typed(&entry.value, inner, version, mistakes).unwrap_or_else(|| zero(inner)),
                    ..entry.clone()
                })
                .collect();
            typed_entries.sort_by(|a, b| a.key.cmp(&b.key));
            return keep(Data::Map(typed_entries));
        }
        (Type::Struct(name), Data::Map(entries)) => {
            twice(entries, mistakes);
            let mut fields = Vec::with_capacity(entries.len());
            for field in known(schema().of(name), version) {
                let Some(entry) = entries.iter().find(|entry| entry.key == field.name) else { continue };
                if let Some(value) = typed(&entry.value, &field.kind, version, mistakes) {
                    fields.push(Entry { value, ..entry.clone() });
                }
            }
            return keep(Data::Map(fields));
        }
        (kind, _) => mistakes.push(Mistake::of(node, &go_name(kind))),
    }
    None
}

/// An absent value of a map's key: present, and empty.
fn zero(kind: &Type) -> Node {
    match kind {
        Type::Text | Type::Base64 | Type::Url | Type::Args => Node::text(""),
        Type::Bool => Node::plain("false"),
        Type::Int => Node::plain("0"),
        Type::List(_) => Node::list(Vec::new()),
        Type::Map(_) | Type::Struct(_) | Type::Any => Node::null(),
    }
}

/// Free YAML: keys in the order of Go's maps, scalars as they look.
fn free(node: &Node, mistakes: &mut Vec<Mistake>) -> Node {
    let data = match &node.data {
        Data::Map(entries) => {
            twice(entries, mistakes);
            let mut entries: Vec<Entry> =
                entries.iter().map(|entry| Entry { value: free(&entry.value, mistakes), ..entry.clone() }).collect();
            entries.sort_by(|a, b| a.key.cmp(&b.key));
            Data::Map(entries)
        }
        Data::List(items) => Data::List(items.iter().map(|item| free(item, mistakes)).collect()),
        Data::Scalar(scalar) => {
            Data::Scalar(Scalar { text: scalar.text.clone(), plain: scalar.plain && scalar.tag() != Tag::Str })
        }
    };
    Node { line: node.line, data }
}

fn twice(entries: &[Entry], mistakes: &mut Vec<Mistake>) {
    for (index, entry) in entries.iter().enumerate() {
        if let Some(first) = entries[..index].iter().find(|other| other.key == entry.key) {
            let says = format!("mapping key {:?} already defined at line {}", entry.key, first.line);
            mistakes.push(Mistake { line: entry.line, says, hides: "a key appears twice".to_owned() });
        }
    }
}

/// Where a boolean is expected, YAML 1.1's words are ones too.
fn boolean(scalar: &Scalar) -> Option<bool> {
    match scalar.text.expose().as_str() {
        _ if !scalar.plain => None,
        "true" | "True" | "TRUE" | "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "false" | "False" | "FALSE" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn illegal_byte(text: &str) -> Option<usize> {
    // Go's decoder reads over line ends.
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match STANDARD.decode(&text) {
        Ok(mut bytes) => {
            zeroize::Zeroize::zeroize(&mut bytes);
            None
        }
        Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _)) => Some(at),
        Err(_) => Some(text.len()),
    }
}

fn complaint_of_url(text: &str) -> Option<&'static str> {
    if text.chars().any(char::is_control) {
        return Some("net/url: invalid control character in URL");
    }
    match text.split_once(':') {
        Some(("", _)) => Some("missing protocol scheme"),
        _ => None,
    }
}

fn go_name(kind: &Type) -> String {
    match kind {
        Type::Text | Type::Base64 | Type::Url => "string".to_owned(),
        Type::Bool => "bool".to_owned(),
        Type::Int => "int".to_owned(),
        Type::Any => "map[string]interface {}".to_owned(),
        Type::Args => "string".to_owned(),
        Type::List(inner) => format!("[]{}", go_name(inner)),
        Type::Map(inner) => format!("map[string]{}", go_name(inner)),
        Type::Struct(name) => (*name).to_owned(),
    }
}

/// The tree as Talos writes it: what is empty is left out unless it is always written.
pub(crate) fn written(node: &Node, kind: &Type) -> Node {
    let data = match (kind, &node.data) {
        (Type::Struct(name), Data::Map(entries)) => {
            let mut fields = Vec::new();
            for field in &schema().of(name).fields {
                let found = entries.iter().find(|entry| entry.key == field.name);
                let value = match (found, field.always) {
                    (Some(entry), Always::No) if is_left_out(&entry.value, &field.kind) => continue,
                    (Some(entry), _) => written(&entry.value, &field.kind),
                    (None, Always::No) => continue,
                    (None, Always::Struct) => written(&Node::map(Vec::new()), &field.kind),
                    (None, Always::Empty) => absent(&field.kind),
                };
                fields.push(Entry::new(field.name, value));
            }
            Data::Map(fields)
        }
        (Type::Map(inner), Data::Map(entries)) => {
            let entries = entries.iter().map(|entry| Entry::new(entry.key.clone(), written(&entry.value, inner)));
            Data::Map(entries.collect())
        }
        (Type::List(inner), Data::List(items)) => Data::List(items.iter().map(|item| written(item, inner)).collect()),
        (_, data) => data.clone(),
    };
    Node { line: node.line, data }
}

fn absent(kind: &Type) -> Node {
    match kind {
        Type::Text | Type::Base64 => Node::text(""),
        Type::Int => Node::plain("0"),
        Type::List(_) => Node::list(Vec::new()),
        Type::Any | Type::Map(_) => Node::map(Vec::new()),
        Type::Bool | Type::Url | Type::Args | Type::Struct(_) => Node::null(),
    }
}

/// Go's `omitempty`. A struct is a pointer and stays, empty or not; so does a boolean.
fn is_left_out(node: &Node, kind: &Type) -> bool {
    match (kind, &node.data) {
        (Type::Bool | Type::Struct(_), _) => false,
        (Type::Int, Data::Scalar(scalar)) => integer(scalar.text.expose()) == Some(0),
        (_, Data::Scalar(scalar)) => scalar.text.expose().is_empty(),
        (_, Data::List(items)) => items.is_empty(),
        (_, Data::Map(entries)) => entries.is_empty(),
    }
}
