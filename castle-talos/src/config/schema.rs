//! What Talos' decoder knows: kinds, their fields and how each of them merges.
//!
//! The tables beside this file are facts, one line or more for each type:
//!
//! ```text
//! kind LinkConfig 1.12 network.LinkConfigV1Alpha1     a document: since which release, its type's name in messages
//! struct network.RouteConfig                          a part of documents
//!     name! mtu:int servers:[str]                     fields: a text, a number, a list of texts
//! ```
//!
//! | mark | meaning |
//! |---|---|
//! | `:bool` `:int` `:str` (left out) `:base64` `:url` `:any` | what a scalar is; `any` is free YAML |
//! | `:args` | a text or a list of texts |
//! | `:[T]` `:{T}` `:T` | a list, a map by text, a struct |
//! | `!` | always written, null or empty if absent (`!!`: an empty mapping) |
//! | `=` | a patch replaces it whole |
//! | `@a\|b` | a list whose items merge by `a`, else by equal `b` |
//! | `^` | since 1.14 |
//! | `+T` | the fields of `T` stand here |

use std::collections::BTreeMap;
use std::sync::OnceLock;

const TABLES: [&str; 3] = [
    include_str!("types/v1alpha1.types"),
    include_str!("types/documents.types"),
    include_str!("types/documents_1_14.types"),
];

/// The kind of the document that has no `kind`.
pub(crate) const V1ALPHA1: &str = "v1alpha1";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    Bool,
    Int,
    Base64,
    Url,
    Any,
    Args,
    List(Box<Self>),
    Map(Box<Self>),
    Struct(&'static str),
}

/// How a field behaves.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub name: &'static str,
    pub kind: Type,
    pub always: Always,
    pub replace: bool,
    pub keys: Vec<&'static str>,
    pub since_1_14: bool,
}

/// Whether a field is written though it is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Always {
    No,
    Empty,
    Struct,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Struct {
    pub fields: Vec<Field>,
}

/// A document's kind.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    /// The name of its type, as messages of Talos show it.
    pub type_name: &'static str,
    /// Major and minor of the first release that has it.
    pub since: (u16, u16),
    pub root: &'static str,
}

#[derive(Debug, Default)]
pub(crate) struct Schema {
    kinds: BTreeMap<&'static str, Kind>,
    structs: BTreeMap<&'static str, Struct>,
}

impl Struct {
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Schema {
    pub fn kind(&self, kind: &str) -> Option<&Kind> {
        self.kinds.get(kind)
    }

    /// The kind and its name as the tables have it.
    pub fn registered(&self, kind: &str) -> Option<(&'static str, &Kind)> {
        self.kinds.get_key_value(kind).map(|(name, kind)| (*name, kind))
    }

    /// # Panics
    ///
    /// If the tables name a type that they lack; a test reads all of them.
    pub fn of(&self, name: &str) -> &Struct {
        self.structs.get(name).unwrap_or_else(|| panic!("the tables lack `{name}`"))
    }
}

/// The tables, read once.
pub(crate) fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let mut schema = Schema::default();
        let mut includes = Vec::new();
        let mut current = "";
        for line in TABLES.iter().flat_map(|table| table.lines()).filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            if !line.starts_with(' ') {
                let head = words.next().unwrap_or_default();
                current = words.next().unwrap_or_default();
                if head == "kind" {
                    let since = words.next().and_then(release).unwrap_or_default();
                    let type_name = words.next().unwrap_or_default();
                    schema.kinds.insert(current, Kind { type_name, since, root: type_name });
                    current = type_name;
                }
                let fields = if head == "kind" && type_has_kind(current) {
                    vec![plain("apiVersion"), plain("kind")]
                } else {
                    vec![]
                };
                schema.structs.insert(current, Struct { fields });
                continue;
            }
            for word in words {
                if let Some(included) = word.strip_prefix('+') {
                    includes.push((current, included));
                } else if let Some(target) = schema.structs.get_mut(current) {
                    target.fields.push(field(word));
                }
            }
        }
        for (into, included) in includes {
            let fields = schema.of(included).fields.clone();
            if let Some(target) = schema.structs.get_mut(into) {
                target.fields.extend(fields);
            }
        }
        schema
    })
}

fn type_has_kind(type_name: &str) -> bool {
    type_name != "v1alpha1.Config"
}

/// Major and minor of `1.13`.
pub(crate) fn release(text: &str) -> Option<(u16, u16)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn plain(name: &'static str) -> Field {
    Field { name, kind: Type::Text, always: Always::No, replace: false, keys: Vec::new(), since_1_14: false }
}

fn field(word: &'static str) -> Field {
    let (head, kind) = word.split_once(':').unwrap_or((word, "str"));
    let (head, keys) = head.split_once('@').unwrap_or((head, ""));
    let name = head.trim_end_matches(['!', '=', '^']);
    let marks = &head[name.len()..];
    Field {
        name,
        kind: type_of(kind),
        always: match marks.matches('!').count() {
            0 => Always::No,
            1 => Always::Empty,
            _ => Always::Struct,
        },
        replace: marks.contains('='),
        keys: keys.split('|').filter(|key| !key.is_empty()).collect(),
        since_1_14: marks.contains('^'),
    }
}

fn type_of(word: &'static str) -> Type {
    let inner = |word: &'static str| Box::new(type_of(&word[1..word.len() - 1]));
    match word {
        "str" => Type::Text,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "base64" => Type::Base64,
        "url" => Type::Url,
        "any" => Type::Any,
        "args" => Type::Args,
        word if word.starts_with('[') => Type::List(inner(word)),
        word if word.starts_with('{') => Type::Map(inner(word)),
        word => Type::Struct(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(kind: &Type) -> Option<&'static str> {
        match kind {
            Type::List(inner) | Type::Map(inner) => named(inner),
            Type::Struct(name) => Some(name),
            _ => None,
        }
    }

    #[test]
    fn the_tables_name_only_types_that_they_have() {
        let schema = schema();
        for (name, target) in &schema.structs {
            let mut seen = Vec::new();
            for field in &target.fields {
                if let Some(inner) = named(&field.kind) {
                    assert!(schema.structs.contains_key(inner), "{name}.{}: {inner}", field.name);
                }
                assert!(!seen.contains(&field.name), "{name}.{} twice", field.name);
                seen.push(field.name);
            }
        }
        assert_eq!(schema.kinds.values().filter(|kind| kind.since <= (1, 13)).count(), 44);
        assert!(schema.kinds.len() > 80, "{}", schema.kinds.len());
        let link = schema.of(schema.kind("LinkConfig").expect("known").root);
        assert!(link.field("addresses").is_some() && link.field("kind").is_some());
        assert!(schema.of("network.NameserverConfig").field("protocol").is_some_and(|field| field.since_1_14));
    }
}
