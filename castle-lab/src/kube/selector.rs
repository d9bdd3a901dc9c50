//! Which objects a list or a watch is about.

use serde_json::Value;

use super::kind::Kind;
use super::object;
use super::refusal::Refusal;

/// One requirement on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LabelTerm {
    Is(String, Vec<String>),
    IsNot(String, Vec<String>),
    Exists(String),
    Missing(String),
}

/// A label selector: `app=flannel,tier in (a, b),!canary`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<LabelTerm>);

impl LabelSelector {
    /// Reads a selector.
    ///
    /// # Errors
    ///
    /// 400 with the text that could not be read.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let bad = |why: String| Refusal::bad_request(format!("unable to parse requirement: {why}"));
        let mut terms = Vec::new();
        for part in split_outside_parentheses(text) {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            let term = if let Some(key) = part.strip_prefix('!') {
                LabelTerm::Missing(key.trim().to_owned())
            } else if let Some((key, set)) = part.split_once(" notin ") {
                LabelTerm::IsNot(key.trim().to_owned(), values(set).ok_or_else(|| bad(format!("`{part}`")))?)
            } else if let Some((key, set)) = part.split_once(" in ") {
                LabelTerm::Is(key.trim().to_owned(), values(set).ok_or_else(|| bad(format!("`{part}`")))?)
            } else if let Some((key, value)) = part.split_once("!=") {
                LabelTerm::IsNot(key.trim().to_owned(), vec![value.trim().to_owned()])
            } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                LabelTerm::Is(key.trim().to_owned(), vec![value.trim().to_owned()])
            } else {
                LabelTerm::Exists(part.to_owned())
            };
            let key = match &term {
                LabelTerm::Is(key, _) | LabelTerm::IsNot(key, _) => key,
                LabelTerm::Exists(key) | LabelTerm::Missing(key) => key,
            };
            if key.is_empty() || key.contains(|c: char| !(c.is_ascii_alphanumeric() || "-_./".contains(c))) {
                return Err(bad(format!("found `{part}`, expected: identifier")));
            }
            terms.push(term);
        }
        Ok(Self(terms))
    }

    /// Reads a selector as objects carry it: `matchLabels` and `matchExpressions`.
    /// An empty one selects everything; an operator that does not exist, nothing.
    #[must_use]
    pub fn of_object(selector: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let labels = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
        let mut terms: Vec<_> = labels.map(|(key, value)| LabelTerm::Is(key.clone(), vec![text(value)])).collect();
        for term in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let key = text(&term["key"]);
            let values = term["values"].as_array().into_iter().flatten().map(text).collect();
            terms.push(match object::text(term, &["operator"]) {
                "NotIn" => LabelTerm::IsNot(key, values),
                "Exists" => LabelTerm::Exists(key),
                "DoesNotExist" => LabelTerm::Missing(key),
                "In" => LabelTerm::Is(key, values),
                _ => LabelTerm::Is(key, Vec::new()),
            });
        }
        Self(terms)
    }

    /// Whether the object's labels fit.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| object.get("metadata")?.get("labels")?.get(key)?.as_str();
        self.0.iter().all(|term| match term {
            LabelTerm::Is(key, values) => label(key).is_some_and(|found| values.iter().any(|value| value == found)),
            // A label that is not there is not equal either, as Kubernetes has it.
            LabelTerm::IsNot(key, values) => label(key).is_none_or(|found| values.iter().all(|value| value != found)),
            LabelTerm::Exists(key) => label(key).is_some(),
            LabelTerm::Missing(key) => label(key).is_none(),
        })
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_u32, 0, Vec::new());
    for (place, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn values(set: &str) -> Option<Vec<String>> {
    let inner = set.trim().strip_prefix('(')?.strip_suffix(')')?;
    Some(inner.split(',').map(|value| value.trim().to_owned()).collect())
}

/// A field selector: `metadata.name=cp-01,status.phase!=Running`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<(String, bool, String)>);

impl FieldSelector {
    /// Reads a selector for objects of that kind.
    ///
    /// # Errors
    ///
    /// 400 if the kind cannot be selected by that field, or if it cannot be read.
    pub fn parse(text: &str, kind: &Kind) -> Result<Self, Refusal> {
        let mut terms = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (field, wanted, value) = match part.split_once("!=") {
                Some((field, value)) => (field, false, value),
                None => {
                    let (field, value) = part.split_once("==").or_else(|| part.split_once('=')).ok_or_else(|| {
                        Refusal::bad_request(format!("invalid selector: '{part}'; can't understand '{part}'"))
                    })?;
                    (field, true, value)
                }
            };
            let known = field == "metadata.name"
                || field == "metadata.namespace" && kind.namespaced
                || kind.fields.iter().any(|known| known == field);
            if !known {
                return Err(Refusal::bad_request(format!("field label not supported: {field}")));
            }
            terms.push((field.to_owned(), wanted, value.to_owned()));
        }
        Ok(Self(terms))
    }

    /// Whether the object's fields fit.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(field, wanted, value)| {
            let path: Vec<_> = field.split('.').collect();
            let found = path.iter().try_fold(object, |inner, key| inner.get(key));
            let found = match found {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            // An absent boolean is a false one: `spec.unschedulable=false` is the usual question.
            let is_equal = found == *value || found.is_empty() && value == "false";
            is_equal == *wanted
        })
    }
}

/// All that narrows a list or a watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only in this namespace.
    pub namespace: Option<String>,
    /// Only with these labels.
    pub labels: LabelSelector,
    /// Only with these fields.
    pub fields: FieldSelector,
}

impl Selection {
    /// Everything in one namespace.
    #[must_use]
    pub fn in_namespace(namespace: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..Self::default() }
    }

    /// Whether the object belongs to it.
    #[must_use]
    pub fn matches(&self, candidate: &Value) -> bool {
        self.namespace.as_deref().is_none_or(|wanted| wanted == object::namespace(candidate))
            && self.labels.matches(candidate)
            && self.fields.matches(candidate)
    }
}
