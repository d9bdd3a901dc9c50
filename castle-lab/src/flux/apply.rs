//! Applying what a Kustomization wants, in stages, and what it takes over from
//! others.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::build::is_first_stage;
use super::object;
use crate::kube::{Hand, Kind, Part, Patch, Refusal, Resource, Store};

/// The field manager of what Flux applies.
pub(crate) const MANAGER: &str = "kustomize-controller";

/// Applies objects: definitions and namespaces first, and within a stage all dry
/// runs before the first write.
///
/// # Errors
///
/// Flux' words for the first object that is refused.
pub(crate) fn apply(store: &mut Store, objects: &[Value]) -> Result<(), String> {
    let (first, rest): (Vec<&Value>, Vec<&Value>) = objects.iter().partition(|object| is_first_stage(object));
    for stage in [first, rest] {
        let mut due = Vec::new();
        for object in stage {
            if is_excluded(store, object) {
                continue;
            }
            let kind = kind_of(store, object)?;
            take_over(store, &kind, object).map_err(|refusal| failed(object, "apply failed", &refusal))?;
            let current = current(store, &kind, object);
            let hand = Hand::of(MANAGER).forcing().strict();
            let shown = store
                .apply(object.clone(), &hand.clone().dry())
                .map_err(|refusal| failed(object, "dry-run failed", &refusal))?;
            if current.is_none_or(|current| *current != *shown) {
                due.push((object, hand));
            }
        }
        for (object, hand) in due {
            store.apply(object.clone(), &hand).map_err(|refusal| failed(object, "apply failed", &refusal))?;
        }
    }
    Ok(())
}

/// The entries of an inventory.
pub(crate) fn inventory(objects: &[Value]) -> Value {
    let mut entries: Vec<_> =
        objects.iter().map(|object| json!({"id": object::id(object), "v": object::version(object)})).collect();
    entries.sort_by_key(|entry| object::text(entry, &["id"]).to_owned());
    json!({"entries": entries})
}

/// Whether the object asks not to be applied.
fn is_excluded(store: &Store, object: &Value) -> bool {
    let annotation = |object: &Value, key: &str| {
        let text = object["metadata"]["annotations"][format!("kustomize.toolkit.fluxcd.io/{key}")].as_str();
        text.unwrap_or("").to_ascii_lowercase()
    };
    let live = store
        .kinds()
        .of_object(object::text(object, &["apiVersion"]), object::kind(object))
        .and_then(|kind| current(store, kind, object));
    let is_disabled = |object: &Value| annotation(object, "reconcile") == "disabled";
    match annotation(object, "ssa").as_str() {
        "ignore" => true,
        "ifnotpresent" => live.is_some(),
        _ => is_disabled(object) || live.is_some_and(|live| is_disabled(&live)),
    }
}

fn kind_of(store: &Store, wanted: &Value) -> Result<Kind, String> {
    let (api_version, kind) = (object::text(wanted, &["apiVersion"]), object::kind(wanted));
    let subject = object::subject(wanted);
    let Some(found) = store.kinds().of_object(api_version, kind) else {
        return Err(format!("{subject} dry-run failed: no matches for kind \"{kind}\" in version \"{api_version}\""));
    };
    if found.namespaced && object::namespace(wanted).is_empty() {
        return Err(format!("{subject} namespace not specified: the server could not find the requested resource"));
    }
    Ok(found.clone())
}

fn current(store: &Store, kind: &Kind, wanted: &Value) -> Option<Arc<Value>> {
    store.get(&kind.resource, object::namespace(wanted), object::name(wanted)).ok().cloned()
}

fn failed(object: &Value, what: &str, refusal: &Refusal) -> String {
    let subject = object::subject(object);
    if refusal.code == 404 {
        return format!("{subject} not found: {}", refusal.message);
    }
    match refusal.reason {
        "" => format!("{subject} {what}: {}", refusal.message),
        reason => format!("{subject} {what} ({reason}): {}", refusal.message),
    }
}

/// Takes over what `kubectl` and its kin have applied: their entries become Flux'
/// own, so that a field that leaves the repository leaves the cluster.
fn take_over(store: &mut Store, kind: &Kind, wanted: &Value) -> Result<(), Refusal> {
    let Some(live) = current(store, kind, wanted) else { return Ok(()) };
    let merges = wanted["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/ssa"] == "Merge";
    let entries = live["metadata"]["managedFields"].as_array().map_or(&[][..], Vec::as_slice);
    let is_foreign = |entry: &Value| {
        let (manager, operation) = (object::text(entry, &["manager"]), object::text(entry, &["operation"]));
        entry.get("subresource").is_none()
            && (manager.starts_with("kubectl")
                || operation == "Update" && ["before-first-apply", MANAGER].contains(&manager))
    };
    if merges || !entries.iter().any(is_foreign) {
        return Ok(());
    }
    let is_own = |entry: &Value| {
        entry["manager"] == MANAGER && entry["operation"] == "Apply" && entry.get("subresource").is_none()
    };
    let mut fields = json!({});
    for entry in entries.iter().filter(|entry| is_foreign(entry) || is_own(entry)) {
        unite(&mut fields, &entry["fieldsV1"]);
    }
    let time = entries.iter().rev().find(|entry| is_foreign(entry)).map_or(Value::Null, |entry| entry["time"].clone());
    let mut kept: Vec<Value> = entries.iter().filter(|entry| !is_foreign(entry) && !is_own(entry)).cloned().collect();
    kept.insert(
        0,
        json!({
            "manager": MANAGER,
            "operation": "Apply",
            "apiVersion": live["apiVersion"],
            "time": time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        }),
    );
    let patch = Patch::Json(json!([{"op": "replace", "path": "/metadata/managedFields", "value": kept}]));
    let (resource, hand) = (&kind.resource, Hand::of(MANAGER));
    store.patch(resource, object::namespace(&live), object::name(&live), &patch, Part::Main, &hand).map(drop)
}

/// The union of two sets of fields.
fn unite(into: &mut Value, more: &Value) {
    let (Some(into), Some(more)) = (into.as_object_mut(), more.as_object()) else { return };
    for (key, inner) in more {
        unite(into.entry(key.clone()).or_insert_with(|| Value::Object(Map::new())), inner);
    }
}

/// Writes the status of an object of Flux.
pub(crate) fn write_status(store: &mut Store, object: &Value, status: Value, manager: &str) -> Result<(), Refusal> {
    if object["status"] == status {
        return Ok(());
    }
    let mut object = object.clone();
    object["status"] = status;
    store.update(object, Part::Status, &Hand::of(manager)).map(drop)
}

/// Adds or removes a finalizer.
pub(crate) fn set_finalizer(
    store: &mut Store,
    resource: &Resource,
    object: &Value,
    is_wanted: bool,
    manager: &str,
) -> Result<(), Refusal> {
    const FINALIZER: &str = "finalizers.fluxcd.io";
    let mut finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let has = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
    if has == is_wanted {
        return Ok(());
    }
    if is_wanted {
        finalizers.push(json!(FINALIZER));
    } else {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    let (namespace, name) = (object::namespace(object), object::name(object));
    store.patch(resource, namespace, name, &patch, Part::Main, &Hand::of(manager)).map(drop)
}
