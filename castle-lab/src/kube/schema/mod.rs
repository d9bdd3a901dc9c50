//! Structural schemas of custom kinds: what the objects of a definition may hold.
//!
//! A schema is read once, when its definition is made; everything afterwards walks
//! the read form. Not judged are rules in CEL (`x-kubernetes-validations`), formats,
//! and the alternatives `anyOf`, `oneOf` and `not`.

mod check;
mod fill;

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;
use serde_json::Value;

/// How the elements of a list belong together (`x-kubernetes-list-type`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum ListKind {
    /// The list is one value.
    #[default]
    Atomic,
    /// Each value is there once.
    Set,
    /// Elements are told apart by these fields.
    Map(Vec<String>),
}

/// The JSON type that a schema asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Type {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// One schema, with those of what is inside.
#[derive(Debug, Default)]
pub(super) struct Schema {
    kind: Option<Type>,
    is_int_or_string: bool,
    is_nullable: bool,
    /// Fields that it does not name are kept.
    keeps_unknown: bool,
    /// A whole object with metadata of its own stands here.
    is_embedded: bool,
    properties: BTreeMap<String, Schema>,
    additional: Option<Box<Schema>>,
    items: Option<Box<Schema>>,
    required: Vec<String>,
    values: Vec<Value>,
    pattern: Option<Arc<Regex>>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
    default: Option<Value>,
    list: ListKind,
    is_atomic_map: bool,
}

/// Patterns that were compiled already: a definition repeats a few of them
/// hundreds of times.
type Patterns = BTreeMap<String, Arc<Regex>>;

impl Schema {
    /// Reads an `openAPIV3Schema`.
    ///
    /// # Errors
    ///
    /// The place of a pattern that is no regular expression, and why.
    pub(super) fn read(schema: &Value) -> Result<Self, String> {
        Self::read_at(schema, "", &mut Patterns::new())
    }

    fn read_at(schema: &Value, path: &str, patterns: &mut Patterns) -> Result<Self, String> {
        let flag = |key: &str| schema.get(key).and_then(Value::as_bool) == Some(true);
        let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or("");
        let count = |key: &str| schema.get(key).and_then(Value::as_u64);
        let number = |key: &str| schema.get(key).and_then(Value::as_f64);
        let texts = |key: &str| -> Vec<String> {
            let list = schema.get(key).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let mut properties = BTreeMap::new();
        for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            properties.insert(name.clone(), Self::read_at(inner, &format!("{path}.properties[{name}]"), patterns)?);
        }
        let additional = match schema.get("additionalProperties") {
            Some(inner @ Value::Object(_)) => {
                Some(Self::read_at(inner, &format!("{path}.additionalProperties"), patterns)?)
            }
            // Anything goes inside.
            Some(Value::Bool(true)) => Some(Self { keeps_unknown: true, ..Self::default() }),
            _ => None,
        };
        let items = match schema.get("items") {
            Some(inner) => Some(Self::read_at(inner, &format!("{path}.items"), patterns)?),
            None => None,
        };
        let pattern = match text("pattern") {
            "" => None,
            pattern => Some(compiled(pattern, patterns).map_err(|why| format!("{path}.pattern: {why}"))?),
        };
        let list = match text("x-kubernetes-list-type") {
            "map" => ListKind::Map(texts("x-kubernetes-list-map-keys")),
            "set" => ListKind::Set,
            _ => ListKind::Atomic,
        };
        Ok(Self {
            kind: Type::of(text("type")),
            is_int_or_string: flag("x-kubernetes-int-or-string"),
            is_nullable: flag("nullable"),
            keeps_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            is_embedded: flag("x-kubernetes-embedded-resource"),
            properties,
            additional: additional.map(Box::new),
            items: items.map(Box::new),
            required: texts("required"),
            values: schema.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            pattern,
            minimum: number("minimum"),
            maximum: number("maximum"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            default: schema.get("default").cloned(),
            list,
            is_atomic_map: text("x-kubernetes-map-type") == "atomic",
        })
    }

    /// The schema of a field.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(self.additional.as_deref())
    }

    /// The schema of a list's elements.
    pub(super) fn element(&self) -> Option<&Self> {
        self.items.as_deref()
    }

    /// How the elements of the list belong together.
    pub(super) fn list(&self) -> &ListKind {
        &self.list
    }

    /// Whether a map is one value.
    pub(super) fn is_atomic_map(&self) -> bool {
        self.is_atomic_map
    }

    /// What stands there if nothing is given.
    pub(super) fn default_value(&self) -> Option<&Value> {
        self.default.as_ref()
    }
}

fn compiled(pattern: &str, patterns: &mut Patterns) -> Result<Arc<Regex>, String> {
    if let Some(known) = patterns.get(pattern) {
        return Ok(Arc::clone(known));
    }
    let regex = Arc::new(Regex::new(pattern).map_err(|error| error.to_string())?);
    patterns.insert(pattern.to_owned(), Arc::clone(&regex));
    Ok(regex)
}
