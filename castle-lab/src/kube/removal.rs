//! Removing objects: preconditions, finalizers, and namespaces with what is
//! inside.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::history::{Change, ChangeKind};
use super::kind::Resource;
use super::object;
use super::refusal::Refusal;
use super::store::Store;

/// The conditions and ways of a deletion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delete {
    /// Only the object of that uid.
    pub uid: Option<String>,
    /// Only the object at that resource version.
    pub resource_version: Option<String>,
    /// Only say what would be done.
    pub dry_run: bool,
}

impl Store {
    /// Removes an object, or asks for it where finalizers hold it. Returns the
    /// object as it last was, and whether it is gone.
    ///
    /// A pod is gone at once: the grace that a kubelet gives belongs to the model
    /// of the nodes.
    ///
    /// # Errors
    ///
    /// 404 if it is not there, 409 if a precondition fails, 403 for the namespaces
    /// that cannot be removed.
    pub fn delete(
        &mut self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        delete: &Delete,
    ) -> Result<(Arc<Value>, bool), Refusal> {
        let current = Arc::clone(self.get(resource, namespace, name)?);
        let (uid, version) = (object::text(&current, &["metadata", "uid"]), object::revision(&current).to_string());
        for (what, wanted, found) in
            [("UID", &delete.uid, uid), ("ResourceVersion", &delete.resource_version, version.as_str())]
        {
            if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
                let why = format!(
                    "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). \
                     The object might have been deleted and then recreated"
                );
                return Err(Refusal::conflict(resource, name, why));
            }
        }
        let is_namespace = *resource == Resource::NAMESPACES;
        // kube-node-lease is not in the API server's list of immortal namespaces.
        if is_namespace && ["default", "kube-public", "kube-system"].contains(&name) {
            return Err(Refusal::forbidden(resource, name, "this namespace may not be deleted"));
        }
        if delete.dry_run {
            return Ok((current, true));
        }
        let is_held = is_namespace && !self.empty_namespace(name) || object::has_finalizers(&current);
        if is_held {
            let mut object = Value::clone(&current);
            if !object::is_terminating(&current) {
                object::set_metadata(&mut object, "deletionTimestamp", Some(json!(object::timestamp(self.wall))));
                object::set_metadata(&mut object, "deletionGracePeriodSeconds", Some(json!(0)));
            }
            if is_namespace {
                object["status"]["phase"] = json!("Terminating");
            }
            if object == *current {
                return Ok((current, false));
            }
            let place = (namespace.to_owned(), name.to_owned());
            return Ok((self.commit(resource, place, object, ChangeKind::Modified, false), false));
        }
        Ok((self.remove(resource, namespace, name, &current), true))
    }

    pub(super) fn remove(
        &mut self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        current: &Arc<Value>,
    ) -> Arc<Value> {
        self.revision += 1;
        let mut last = Value::clone(current);
        object::set_metadata(&mut last, "resourceVersion", Some(json!(self.revision.to_string())));
        let last = Arc::new(last);
        if let Some(objects) = self.objects.get_mut(resource) {
            objects.remove(&(namespace.to_owned(), name.to_owned()));
        }
        self.history.push(Change {
            revision: self.revision,
            kind: ChangeKind::Deleted,
            resource: resource.clone(),
            object: Arc::clone(&last),
            before: Some(Arc::clone(current)),
        });
        self.finish_namespace(namespace);
        last
    }

    /// Deletes everything in a namespace. Says whether nothing is left.
    pub(super) fn empty_namespace(&mut self, namespace: &str) -> bool {
        let contents: Vec<_> = self
            .objects
            .iter()
            .flat_map(|(resource, objects)| objects.keys().map(move |place| (resource.clone(), place.clone())))
            .filter(|(_, (home, _))| home == namespace)
            .collect();
        contents.into_iter().fold(true, |is_empty, (resource, (home, name))| {
            // What a finalizer holds stays, and so does the namespace.
            let is_gone = self.delete(&resource, &home, &name, &Delete::default()).is_ok_and(|(_, is_gone)| is_gone);
            is_empty && is_gone
        })
    }

    /// Lets a namespace go that only waited for its last object.
    fn finish_namespace(&mut self, namespace: &str) {
        let Ok(home) = self.get(&Resource::NAMESPACES, "", namespace).map(Arc::clone) else { return };
        let is_empty = self.objects.values().flat_map(BTreeMap::keys).all(|(inside, _)| inside != namespace);
        if is_empty && object::is_terminating(&home) && !object::has_finalizers(&home) {
            self.remove(&Resource::NAMESPACES, "", namespace, &home);
        }
    }
}
