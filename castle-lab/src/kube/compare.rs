//! What of an object is set, and what differs between two states of it.

use serde_json::Value;

use super::fields::{FieldSet, Step};
use super::kind::Kind;
use super::schema::ListKind;
use super::shape::Shape;
use super::store::Part;

/// Metadata that nobody owns.
const NOBODYS: [&str; 11] = [
    "name",
    "namespace",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// The parts of an object that are structures of Kubernetes: there from the
/// beginning, so nobody is named for having made them.
const STRUCTURES: [&str; 3] = ["metadata", "spec", "status"];

/// The differences of two states.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// What is there now and has another value, or had none.
    pub(super) changed: FieldSet,
    /// What is there no more.
    pub(super) removed: FieldSet,
}

impl Comparison {
    /// What a write of that part changed. Without a state before, everything is new.
    pub(super) fn of(kind: &Kind, version: &str, before: Option<&Value>, after: &Value, part: Part) -> Self {
        let mut found = Self::default();
        let whole = Shape::of(kind, version);
        let nothing = Value::Null;
        let before = before.unwrap_or(&nothing);
        for name in names(before, after) {
            let inner = |object| Value::get(object, name);
            match name {
                "apiVersion" | "kind" => {}
                "metadata" if part != Part::Status => {
                    let (before, after) = (inner(before).unwrap_or(&nothing), inner(after).unwrap_or(&nothing));
                    for field in names(before, after).filter(|field| !NOBODYS.contains(field)) {
                        let mut path = vec![Step::Field("metadata".into()), Step::Field(field.to_owned())];
                        let shape = Shape::metadata().field(field);
                        found.place(shape, before.get(field), after.get(field), &mut path);
                    }
                }
                "metadata" => {}
                _ if is_in(kind, name, part) => {
                    let mut path = vec![Step::Field(name.to_owned())];
                    found.place(whole.field(name), inner(before), inner(after), &mut path);
                }
                _ => {}
            }
        }
        found
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }

    fn place(&mut self, shape: Shape<'_>, before: Option<&Value>, after: Option<&Value>, path: &mut Vec<Step>) {
        match (before, after) {
            (None, None) => {}
            (None, Some(after)) => every(shape, after, path, &mut self.changed),
            (Some(before), None) => every(shape, before, path, &mut self.removed),
            (Some(before), Some(after)) if before == after => {}
            (Some(Value::Object(left)), Some(Value::Object(right))) if !shape.is_atomic_map() => {
                let both = left.keys().chain(right.keys().filter(|key| !left.contains_key(*key)));
                for name in both {
                    path.push(Step::Field(name.clone()));
                    self.place(shape.field(name), left.get(name), right.get(name), path);
                    path.pop();
                }
            }
            (Some(Value::Array(left)), Some(Value::Array(right))) => {
                let kind = shape.list(if right.is_empty() { left } else { right });
                if *kind == ListKind::Atomic {
                    self.changed.insert(path);
                    return;
                }
                let steps = |list: &[Value]| -> Vec<Option<Step>> {
                    list.iter().map(|element| shape.step(&kind, element)).collect()
                };
                let (old, new) = (steps(left), steps(right));
                let twin =
                    |steps: &[Option<Step>], wanted: &Step| steps.iter().position(|step| step.as_ref() == Some(wanted));
                for (step, element) in old.iter().zip(left) {
                    let Some(step) = step else { continue };
                    path.push(step.clone());
                    let now = twin(&new, step).map(|place| &right[place]);
                    self.place(shape.element(), Some(element), now, path);
                    path.pop();
                }
                for (step, element) in new.iter().zip(right) {
                    let Some(step) = step.as_ref().filter(|step| twin(&old, step).is_none()) else { continue };
                    path.push(step.clone());
                    self.place(shape.element(), None, Some(element), path);
                    path.pop();
                }
            }
            (Some(before), Some(_)) => {
                if before.is_object() || before.is_array() {
                    every(shape, before, path, &mut self.removed);
                }
                self.changed.insert(path);
            }
        }
    }
}

/// Whether a top-level field belongs to a part.
fn is_in(kind: &Kind, name: &str, part: Part) -> bool {
    match part {
        Part::Status => name == "status",
        Part::Main => name != "status" || !kind.has_status,
        Part::Whole => true,
    }
}

fn names<'a>(left: &'a Value, right: &'a Value) -> impl Iterator<Item = &'a str> {
    let keys = |value: &'a Value| value.as_object().into_iter().flat_map(|fields| fields.keys().map(String::as_str));
    keys(left).chain(keys(right).filter(|key| left.get(*key).is_none()))
}

/// Puts a place and everything inside it into a set.
fn every(shape: Shape<'_>, value: &Value, path: &mut Vec<Step>, set: &mut FieldSet) {
    let is_structure = matches!(path.last(), Some(Step::Field(name)) if STRUCTURES.contains(&name.as_str()));
    match value {
        Value::Object(fields) if !shape.is_atomic_map() && !fields.is_empty() => {
            if !is_structure {
                set.insert(path);
            }
            for (name, inner) in fields {
                path.push(Step::Field(name.clone()));
                every(shape.field(name), inner, path, set);
                path.pop();
            }
        }
        Value::Array(elements) => {
            let kind = shape.list(elements);
            set.insert(path);
            for element in elements {
                let Some(step) = shape.step(&kind, element) else { continue };
                path.push(step);
                every(shape.element(), element, path, set);
                path.pop();
            }
        }
        _ => set.insert(path),
    }
}

/// The fields that an applied configuration sets: its values, and the elements of
/// its lists. The maps around them belong to nobody.
pub(super) fn applied(kind: &Kind, version: &str, object: &Value, part: Part) -> FieldSet {
    let mut set = FieldSet::default();
    let whole = Shape::of(kind, version);
    for (name, value) in object.as_object().into_iter().flatten() {
        let mut path = vec![Step::Field(name.clone())];
        match name.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" if part != Part::Status => {
                for (field, inner) in value.as_object().into_iter().flatten() {
                    if !NOBODYS.contains(&field.as_str()) {
                        path.push(Step::Field(field.clone()));
                        values(Shape::metadata().field(field), inner, &mut path, &mut set);
                        path.pop();
                    }
                }
            }
            "metadata" => {}
            _ if is_in(kind, name, part) => values(whole.field(name), value, &mut path, &mut set),
            _ => {}
        }
    }
    set
}

fn values(shape: Shape<'_>, value: &Value, path: &mut Vec<Step>, set: &mut FieldSet) {
    match value {
        Value::Object(fields) if !shape.is_atomic_map() && !fields.is_empty() => {
            for (name, inner) in fields {
                path.push(Step::Field(name.clone()));
                values(shape.field(name), inner, path, set);
                path.pop();
            }
        }
        Value::Array(elements) if *shape.list(elements) != ListKind::Atomic => {
            let kind = shape.list(elements);
            for element in elements {
                let Some(step) = shape.step(&kind, element) else { continue };
                path.push(step);
                if element.is_object() {
                    values(shape.element(), element, path, set);
                }
                set.insert(path);
                path.pop();
            }
        }
        _ => set.insert(path),
    }
}
