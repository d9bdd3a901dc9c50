//! The columns that a custom resource definition asks for.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kube::kind::Kind;
use crate::kube::object;

/// One of `additionalPrinterColumns`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kube) struct PrinterColumn {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
    path: Vec<Step>,
}

/// One step of a path into an object.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Element(usize),
    All,
    /// The elements whose field has that text.
    Where(Vec<String>, String),
}

impl PrinterColumn {
    /// The columns of one version of a definition; its age, if it asks for none.
    pub(in crate::kube) fn read_all(version: &Value) -> Vec<Self> {
        let list = version.get("additionalPrinterColumns").and_then(Value::as_array);
        let columns: Vec<_> = list.into_iter().flatten().map(Self::read).collect();
        if !columns.is_empty() {
            return columns;
        }
        vec![Self::read(&json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}))]
    }

    fn read(column: &Value) -> Self {
        let text = |key: &str| object::text(column, &[key]).to_owned();
        Self {
            name: text("name"),
            kind: text("type"),
            format: text("format"),
            description: text("description"),
            priority: column["priority"].as_i64().unwrap_or(0),
            path: path(object::text(column, &["jsonPath"])),
        }
    }

    fn cell(&self, object: &Value, wall: Duration) -> Value {
        let found = self
            .path
            .iter()
            .fold(vec![object], |found, step| found.into_iter().flat_map(|value| step.of(value)).collect());
        let Some(first) = found.first() else { return Value::Null };
        match (self.kind.as_str(), *first) {
            ("date", Value::String(at)) => json!(object::age(at, wall)),
            ("integer" | "number" | "boolean", value) => value.clone(),
            (_, Value::Null) => Value::Null,
            _ => {
                let texts = found.iter().map(|value| match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                json!(texts.collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl Step {
    fn of<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let list = value.as_array().map_or(&[][..], Vec::as_slice);
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Element(place) => list.get(*place).into_iter().collect(),
            Self::All => list.iter().collect(),
            Self::Where(field, wanted) => {
                let path: Vec<_> = field.iter().map(String::as_str).collect();
                list.iter().filter(|element| object::text(element, &path) == wanted).collect()
            }
        }
    }
}

/// Reads a JSONPath as definitions write them: `.status.conditions[?(@.type=="Ready")].status`.
/// What is none finds nothing.
fn path(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = text.trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let Some(end) = closing(inner) else { return Vec::new() };
            let (inner, behind) = (&inner[..end], &inner[end + 1..]);
            rest = behind;
            steps.push(bracket(inner));
            continue;
        }
        let name = rest.strip_prefix('.').unwrap_or(rest);
        // A dot that is escaped belongs to the name.
        let mut field = String::new();
        let mut letters = name.char_indices().peekable();
        let mut end = name.len();
        while let Some((place, letter)) = letters.next() {
            match letter {
                '\\' => field.extend(letters.next().map(|(_, letter)| letter)),
                '.' | '[' => {
                    end = place;
                    break;
                }
                _ => field.push(letter),
            }
        }
        rest = &name[end..];
        if !field.is_empty() {
            steps.push(Step::Field(field));
        }
    }
    steps
}

/// Where a bracket ends, quotes and inner brackets left aside.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    text.char_indices().find_map(|(place, letter)| {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, ']') => return Some(place),
            _ => {}
        }
        None
    })
}

fn bracket(inner: &str) -> Step {
    let unquoted = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
    if inner == "*" {
        return Step::All;
    }
    if let Ok(place) = inner.parse() {
        return Step::Element(place);
    }
    let condition = inner.strip_prefix("?(").and_then(|inner| inner.strip_suffix(')'));
    match condition.and_then(|condition| condition.split_once("==")) {
        Some((field, wanted)) => {
            let field = field.trim().trim_start_matches("@.");
            Step::Where(field.split('.').map(str::to_owned).collect(), unquoted(wanted))
        }
        None => Step::Field(unquoted(inner)),
    }
}

impl Kind {
    /// The columns of a custom kind's version.
    pub(super) fn columns(&self, version: &str) -> Option<&[PrinterColumn]> {
        let definition = self.definitions.iter().find(|known| known.version == version)?;
        Some(&definition.columns)
    }
}

/// What a table says of its columns.
pub(super) fn definitions(columns: &[PrinterColumn]) -> Vec<Value> {
    let name = json!({"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0});
    let others = columns.iter().map(|column| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        })
    });
    std::iter::once(name).chain(others).collect()
}

/// The cells of one object.
pub(super) fn cells(columns: &[PrinterColumn], object: &Value, wall: Duration) -> Vec<Value> {
    let others = columns.iter().map(|column| column.cell(object, wall));
    std::iter::once(json!(object::name(object))).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, kind: &str, expected: Value) {
        let object = json!({
            "metadata": {"creationTimestamp": "2025-11-21T07:51:28Z", "labels": {"a.b/c": "label"}},
            "spec": {"list": ["x", "y"], "count": 3},
            "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        let column = PrinterColumn::read(&json!({"name": "It", "type": kind, "jsonPath": path}));
        assert_eq!(column.cell(&object, Duration::from_secs(1_763_711_500)), expected, "{path}");
    }

    #[test]
    fn a_path_finds_its_cell() {
        check(".status.conditions[?(@.type==\"Ready\")].status", "string", json!("True"));
        check(".status.conditions[?(@.type=='Gone')].status", "string", Value::Null);
        check(".spec.count", "integer", json!(3));
        check(".spec.list[1]", "string", json!("y"));
        check(".spec.list[*]", "string", json!("x,y"));
        check(".metadata.labels.a\\.b/c", "string", json!("label"));
        check(".metadata.labels['a.b/c']", "string", json!("label"));
        check(".metadata.creationTimestamp", "date", json!("12s"));
    }
}
