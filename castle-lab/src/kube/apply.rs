//! Server-side apply.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::compare::{Comparison, applied};
use super::fields::{FieldSet, Step};
use super::hand::Hand;
use super::kind::Kind;
use super::managers::{Entry, Managers, Way};
use super::object;
use super::refusal::Refusal;
use super::schema::ListKind;
use super::shape::Shape;
use super::store::{Part, Store};
use super::write::{Owners, place_of, set_status};

impl Store {
    /// Applies the fields that the hand wants an object to have, whether it exists
    /// or not, and owns them afterwards. What the hand applied before and does not
    /// any more goes, unless somebody else holds it too.
    ///
    /// # Errors
    ///
    /// 409 with one cause for each field that another manager holds with another
    /// value, unless forced; 500 with `field not declared in schema` for what a
    /// custom kind does not know; otherwise as [`Store::create`] and
    /// [`Store::update`].
    pub fn apply(&mut self, object: Value, hand: &Hand) -> Result<Arc<Value>, Refusal> {
        self.apply_part(object, Part::Main, hand)
    }

    /// The same for the status alone, or for everything at once.
    ///
    /// # Errors
    ///
    /// As [`Store::apply`]; 404 for the status of what is not there.
    pub fn apply_part(&mut self, mut object: Value, part: Part, hand: &Hand) -> Result<Arc<Value>, Refusal> {
        let kind = self.kind_of(&object)?;
        if object.pointer("/metadata/managedFields").is_some_and(|managers| !managers.is_null()) {
            return Err(Refusal::bad_request("metadata.managedFields must be nil"));
        }
        let api_version = object::text(&object, &["apiVersion"]).to_owned();
        let version = api_version.rsplit('/').next().unwrap_or("").to_owned();
        check_declared(&kind, &version, &object)?;
        if !kind.is_custom {
            drop_nulls(&mut object);
        }
        if part == Part::Main && kind.has_status {
            set_status(&mut object, None);
        }
        let place = place_of(&object);
        let applier = Entry {
            manager: hand.manager.clone(),
            way: Way::Apply,
            api_version,
            subresource: if part == Part::Status { "status".to_owned() } else { String::new() },
            time: object::timestamp(self.wall),
            fields: applied(&kind, &version, &object, part),
        };
        let Ok(current) = self.get(&kind.resource, &place.0, &place.1).cloned() else {
            if part == Part::Status {
                return Err(Refusal::not_found(&kind.resource, &place.1));
            }
            let mut managers = Managers::default();
            managers.applied(applier, &Comparison::default(), true)?;
            managers.write(&mut object);
            return self.make(object, part, hand, Owners::Settled);
        };
        let live = kind.in_version(&current, &version);
        let mut managers = Managers::read(&live).unwrap_or_default();
        if managers.is_empty() {
            managers = strangers(&kind, &version, &live, &applier);
        }
        let (before, others) = managers.shares(&applier);
        let shape = Shape::of(&kind, &version);
        let mut merged = Value::clone(&live);
        merge(shape, &mut merged, &object);
        let kept = others.union(&applier.fields);
        prune(shape, &mut merged, &before, &kept, true);
        let comparison = Comparison::of(&kind, &version, Some(&live), &merged, part);
        managers.applied(applier, &comparison, hand.force)?;
        managers.write(&mut merged);
        self.replace(&kind, &current, merged, part, hand, Owners::Settled)
    }
}

/// Whoever wrote an object of which nothing is known by name.
fn strangers(kind: &Kind, version: &str, live: &Value, applier: &Entry) -> Managers {
    let mut managers = Managers::default();
    let comparison = Comparison::of(kind, version, None, live, Part::Whole);
    let stranger = Entry {
        manager: "before-first-apply".to_owned(),
        way: Way::Update,
        fields: FieldSet::default(),
        subresource: String::new(),
        ..applier.clone()
    };
    managers.updated(stranger, &comparison);
    managers
}

/// An apply names only what the schema knows.
fn check_declared(kind: &Kind, version: &str, object: &Value) -> Result<(), Refusal> {
    let Some(schema) = kind.schema(version) else { return Ok(()) };
    let unknown = schema.prune(&mut object.clone());
    let Some(first) = unknown.first() else { return Ok(()) };
    let (namespace, name) = place_of(object);
    let place = if namespace.is_empty() { name } else { format!("{namespace}/{name}") };
    let api_version = kind.api_version(version);
    // Kubernetes gives this refusal no reason.
    Err(Refusal::new(
        500,
        "",
        format!(
            "failed to create typed patch object ({place}; {api_version}, Kind={}): .{first}: field not declared in schema",
            kind.kind
        ),
    ))
}

/// Kubernetes' own types have no nulls: they are read as nothing.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, inner| !inner.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Puts what is applied over what is there.
fn merge(shape: Shape<'_>, live: &mut Value, applied: &Value) {
    match (&mut *live, applied) {
        (Value::Object(fields), Value::Object(changes)) if !shape.is_atomic_map() => {
            for (name, change) in changes {
                merge(field(shape, name), fields.entry(name.clone()).or_insert(Value::Null), change);
            }
        }
        (Value::Array(elements), Value::Array(changes)) => {
            let kind = shape.list(if changes.is_empty() { elements } else { changes });
            if *kind == ListKind::Atomic {
                *live = applied.clone();
                return;
            }
            merge_list(shape, &kind, elements, changes);
        }
        // Into nothing too, so that what is inside a list is told apart.
        _ => *live = applied.clone(),
    }
}

/// Metadata has a shape of its own in every kind.
fn field<'a>(shape: Shape<'a>, name: &'a str) -> Shape<'a> {
    match shape {
        Shape::Custom(_) if name == "metadata" => Shape::metadata(),
        other => other.field(name),
    }
}

fn merge_list(shape: Shape<'_>, kind: &ListKind, elements: &mut Vec<Value>, changes: &[Value]) {
    let mut known: Vec<(Option<Step>, Value)> =
        elements.drain(..).map(|element| (shape.step(kind, &element), element)).collect();
    let mut wanted = Vec::new();
    for change in changes {
        let step = shape.step(kind, change);
        match known.iter_mut().find(|(of, _)| *of == step) {
            Some((_, element)) => merge(shape.element(), element, change),
            None => known.push((step.clone(), change.clone())),
        }
        wanted.push(step);
    }
    // Who names every element says their order too; else each keeps its place.
    if known.iter().all(|(of, _)| wanted.contains(of)) {
        known.sort_by_key(|(of, _)| wanted.iter().position(|step| step == of));
    }
    elements.extend(known.into_iter().map(|(_, element)| element));
}

/// Takes away what the applier owned before and nobody keeps.
fn prune(shape: Shape<'_>, value: &mut Value, before: &FieldSet, kept: &FieldSet, is_object: bool) {
    match value {
        Value::Object(fields) => {
            for step in before.steps() {
                let Step::Field(name) = step else { continue };
                let inner = field(shape, name);
                match (kept.below(step), before.below(step)) {
                    // The metadata hold what nobody owns: name and uid.
                    (None, Some(below)) if is_object && name == "metadata" => {
                        prune_field(inner, fields, name, below, &FieldSet::default());
                    }
                    (None, _) => drop(fields.remove(name)),
                    (Some(kept), Some(below)) => prune_field(inner, fields, name, below, kept),
                    (Some(_), None) => {}
                }
            }
        }
        Value::Array(elements) => {
            let kind = shape.list(elements);
            elements.retain_mut(|element| {
                let Some(step) = shape.step(&kind, element) else { return true };
                let Some(below) = before.below(&step) else { return true };
                match kept.below(&step) {
                    None => false,
                    Some(kept) => {
                        prune(shape.element(), element, below, kept, false);
                        true
                    }
                }
            });
        }
        _ => {}
    }
}

fn prune_field(shape: Shape<'_>, fields: &mut Map<String, Value>, name: &str, before: &FieldSet, kept: &FieldSet) {
    if let Some(inner) = fields.get_mut(name) {
        prune(shape, inner, before, kept, false);
    }
}
