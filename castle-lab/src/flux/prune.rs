//! Removing what a Kustomization wanted once and does not want any more.

use serde_json::Value;

use super::build::{OWNER_NAME, OWNER_NAMESPACE};
use super::object;
use crate::kube::{Delete, Resource, Store};

/// Removes the objects of an inventory that are not in another one. An object that
/// has another owner by now, or asks to be kept, stays.
///
/// # Errors
///
/// The first object that could not be removed, and why.
pub(crate) fn prune(store: &mut Store, owner: &Value, before: &Value, after: &Value) -> Result<(), String> {
    let ids = |inventory: &Value| {
        let entries = inventory["entries"].as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| object::text(entry, &["id"]).to_owned()).collect::<Vec<_>>()
    };
    let kept = ids(after);
    // What stands on others goes first.
    for id in ids(before).into_iter().rev().filter(|id| !kept.contains(id)) {
        let Some((resource, namespace, name)) = find(store, &id) else { continue };
        let Ok(live) = store.get(&resource, &namespace, &name) else { continue };
        let label = |key: &str| live["metadata"]["labels"][key].as_str().unwrap_or("");
        let is_ours = label(OWNER_NAME) == object::name(owner) && label(OWNER_NAMESPACE) == object::namespace(owner);
        let is_kept = ["labels", "annotations"]
            .iter()
            .any(|home| live["metadata"][home]["kustomize.toolkit.fluxcd.io/prune"] == "disabled");
        if !is_ours || is_kept {
            continue;
        }
        let subject = object::subject(live);
        let delete = Delete::default();
        match store.delete(&resource, &namespace, &name, &delete) {
            Ok(_) => {}
            Err(refusal) if refusal.code == 404 => {}
            Err(refusal) => return Err(format!("{subject} delete failed: {}", refusal.message)),
        }
    }
    Ok(())
}

/// Where the object of an id is: the first part is the namespace, the last two are
/// group and kind, and what is between is the name.
pub(crate) fn find(store: &Store, id: &str) -> Option<(Resource, String, String)> {
    let (namespace, rest) = id.split_once('_')?;
    let (rest, kind) = rest.rsplit_once('_')?;
    let (name, group) = rest.rsplit_once('_')?;
    let found = store.kinds().iter().find(|row| row.resource.group == group && row.kind == kind)?;
    Some((found.resource.clone(), namespace.to_owned(), name.replace("__", ":")))
}
