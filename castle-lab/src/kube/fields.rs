//! Sets of fields, as `managedFields` keeps them (`FieldsV1`).

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// One step into an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A field of a map.
    Field(String),
    /// The element of a list with these key fields, each with its value in JSON.
    Key(Vec<(String, String)>),
    /// The element of a set that is this value, in JSON.
    Value(String),
}

impl Step {
    /// The element of a list that has these key fields.
    pub(super) fn key(element: &Value, keys: &[String], default: impl Fn(&str) -> Option<Value>) -> Option<Self> {
        let mut found = Vec::new();
        for key in keys {
            let value = element.get(key).filter(|value| !value.is_null()).cloned().or_else(|| default(key));
            if let Some(value) = value {
                found.push((key.clone(), value.to_string()));
            }
        }
        found.sort();
        (!found.is_empty()).then_some(Self::Key(found))
    }

    fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Value(json) => format!("v:{json}"),
            Self::Key(fields) => {
                let inner: Vec<_> =
                    fields.iter().map(|(key, json)| format!("{}:{json}", Value::from(key.as_str()))).collect();
                format!("k:{{{}}}", inner.join(","))
            }
        }
    }

    fn decode(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("f", name) => Some(Self::Field(name.to_owned())),
            ("v", json) => Some(Self::Value(serde_json::from_str::<Value>(json).ok()?.to_string())),
            ("k", json) => {
                let fields: BTreeMap<String, Value> = serde_json::from_str(json).ok()?;
                Some(Self::Key(fields.into_iter().map(|(key, value)| (key, value.to_string())).collect()))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Value(json) => write!(f, "[={json}]"),
            Self::Key(fields) => {
                let inner: Vec<_> = fields.iter().map(|(key, json)| format!("{key}={json}")).collect();
                write!(f, "[{}]", inner.join(","))
            }
        }
    }
}

/// A set of places in an object. A place can be in the set with or without what
/// is inside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FieldSet(BTreeMap<Step, Node>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    /// Whether this very place belongs to the set.
    is_member: bool,
    inside: FieldSet,
}

impl FieldSet {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a place.
    pub(super) fn insert(&mut self, path: &[Step]) {
        let Some((last, parents)) = path.split_last() else { return };
        let set = parents.iter().fold(self, |set, step| &mut set.0.entry(step.clone()).or_default().inside);
        set.0.entry(last.clone()).or_default().is_member = true;
    }

    /// What is in the set below a step; `None` if nothing is at it or below it.
    pub(super) fn below(&self, step: &Step) -> Option<&Self> {
        self.0.get(step).map(|node| &node.inside)
    }

    /// The steps with which places of the set begin.
    pub(super) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.0.keys()
    }

    /// Everything that is in one of the two.
    pub(super) fn union(mut self, other: &Self) -> Self {
        self.absorb(other);
        self
    }

    /// Adds everything that is in the other set.
    pub(super) fn absorb(&mut self, other: &Self) {
        for (step, theirs) in &other.0 {
            let node = self.0.entry(step.clone()).or_default();
            node.is_member |= theirs.is_member;
            node.inside.absorb(&theirs.inside);
        }
    }

    /// What is in the first and not in the other.
    pub(super) fn difference(&self, other: &Self) -> Self {
        self.filtered(other, |mine, theirs| mine && !theirs)
    }

    /// What is in both.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        self.filtered(other, |mine, theirs| mine && theirs)
    }

    fn filtered(&self, other: &Self, keeps: fn(bool, bool) -> bool) -> Self {
        let nothing = Node::default();
        let mut found = BTreeMap::new();
        for (step, mine) in &self.0 {
            let theirs = other.0.get(step).unwrap_or(&nothing);
            let is_member = keeps(mine.is_member, theirs.is_member);
            let inside = mine.inside.filtered(&theirs.inside, keeps);
            if is_member || !inside.is_empty() {
                found.insert(step.clone(), Node { is_member, inside });
            }
        }
        Self(found)
    }

    /// Every place of the set, as Kubernetes prints it: `.data.key`,
    /// `.spec.containers[name="web"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect(String::new(), &mut found);
        found
    }

    fn collect(&self, path: String, found: &mut Vec<String>) {
        for (step, node) in &self.0 {
            let path = format!("{path}{step}");
            if node.is_member {
                found.push(path.clone());
            }
            node.inside.collect(path, found);
        }
    }

    /// `{"f:data": {".": {}, "f:key": {}}}`.
    pub(super) fn encode(&self) -> Value {
        let fields = self.0.iter().map(|(step, node)| {
            let mut inside = node.inside.encode();
            if let (true, false, Some(fields)) = (node.is_member, node.inside.is_empty(), inside.as_object_mut()) {
                fields.insert(".".to_owned(), Value::Object(Map::new()));
            }
            (step.encode(), inside)
        });
        Value::Object(fields.collect())
    }

    /// Reads what [`FieldSet::encode`] writes; `None` if it is something else.
    pub(super) fn decode(fields: &Value) -> Option<Self> {
        let mut set = BTreeMap::new();
        for (key, inside) in fields.as_object()? {
            if key == "." {
                continue;
            }
            let is_member = inside.as_object()?.is_empty() || inside.get(".").is_some();
            set.insert(Step::decode(key)?, Node { is_member, inside: Self::decode(inside)? });
        }
        Some(Self(set))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(fields: Value) -> FieldSet {
        FieldSet::decode(&fields).expect("it is a set")
    }

    #[test]
    fn a_set_is_written_as_kubernetes_writes_it() {
        let fields = json!({
            "f:metadata": {"f:labels": {".": {}, "f:app.kubernetes.io/name": {}}, "f:finalizers": {"v:\"a\"": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:ports": {
                "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}},
            }}}},
        });
        let set = set(fields.clone());
        assert_eq!(set.encode(), fields);
        assert_eq!(
            set.paths(),
            [
                ".metadata.finalizers[=\"a\"]",
                ".metadata.labels",
                ".metadata.labels.app.kubernetes.io/name",
                ".spec.containers[name=\"web\"]",
                ".spec.containers[name=\"web\"].ports[containerPort=80,protocol=\"TCP\"]",
                ".spec.containers[name=\"web\"].ports[containerPort=80,protocol=\"TCP\"].containerPort",
            ]
        );
    }

    #[test]
    fn sets_are_added_and_taken_away() {
        let one = set(json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}}));
        let other = set(json!({"f:data": {"f:b": {}, "f:c": {}}}));
        assert_eq!(one.clone().union(&other), set(json!({"f:data": {".": {}, "f:a": {}, "f:b": {}, "f:c": {}}})));
        assert_eq!(one.intersection(&other), set(json!({"f:data": {"f:b": {}}})));
        assert_eq!(one.difference(&other), set(json!({"f:data": {".": {}, "f:a": {}}})));
        assert!(other.difference(&one.clone().union(&other)).is_empty());
    }
}
