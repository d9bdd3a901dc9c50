//! Removing objects: preconditions, finalizers, and namespaces with what is
//! inside.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::admission::Operation;
use super::hand::Hand;
use super::history::{Change, ChangeKind};
use super::kind::Resource;
use super::refusal::Refusal;
use super::store::{Place, Store};
use super::{definition, object};

/// The conditions and ways of a deletion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delete {
    /// Only the object of that uid.
    pub uid: Option<String>,
    /// Only the object at that resource version.
    pub resource_version: Option<String>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// What becomes of the objects that it owns.
    pub propagation: Propagation,
}

/// What becomes of the objects that a deleted one owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Propagation {
    /// They go after it.
    #[default]
    Background,
    /// They go before it.
    Foreground,
    /// They stay, and forget it.
    Orphan,
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
    /// that cannot be removed, what a webhook says.
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
        let kind = self.shared_kind(resource)?;
        let hand = Hand { dry_run: delete.dry_run, ..Hand::default() };
        self.admit(&kind, Operation::Delete, &current, false, &hand)?;
        if delete.dry_run {
            return Ok((current, true));
        }
        Ok(self.let_go(resource, &current, delete.propagation))
    }

    /// Removes an object, or marks it as going where something holds it.
    fn let_go(&mut self, resource: &Resource, current: &Arc<Value>, propagation: Propagation) -> (Arc<Value>, bool) {
        let (namespace, name) = (object::namespace(current), object::name(current));
        match propagation {
            Propagation::Background => {}
            Propagation::Foreground => self.collect_owned(current),
            Propagation::Orphan => self.disown(current),
        }
        if self.is_released(resource, current) && !object::has_finalizers(current) {
            return (self.remove(resource, namespace, name, current), true);
        }
        let mut object = Value::clone(current);
        if !object::is_terminating(current) {
            object::set_metadata(&mut object, "deletionTimestamp", Some(json!(object::timestamp(self.wall))));
            object::set_metadata(&mut object, "deletionGracePeriodSeconds", Some(json!(0)));
        }
        if *resource == Resource::NAMESPACES {
            object["status"] = json!({"phase": "Terminating"});
        }
        if object == **current {
            return (Arc::clone(current), false);
        }
        let place = (namespace.to_owned(), name.to_owned());
        (self.commit(resource, place, object, ChangeKind::Modified, false), false)
    }

    /// Empties what an object holds: a namespace its objects, a definition those of
    /// its kind. Says whether nothing is left.
    pub(super) fn is_released(&mut self, resource: &Resource, current: &Value) -> bool {
        if *resource == Resource::NAMESPACES {
            self.empty_namespace(object::name(current))
        } else if *resource == Resource::DEFINITIONS {
            self.empty_collection(&definition::collection(current))
        } else {
            true
        }
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
        self.remember(Change {
            revision: self.revision,
            kind: ChangeKind::Deleted,
            resource: resource.clone(),
            object: Arc::clone(&last),
            before: Some(Arc::clone(current)),
        });
        if *resource == Resource::DEFINITIONS {
            self.kinds.remove(&definition::collection(current));
        }
        self.collect_owned(current);
        self.finish_namespace(namespace);
        self.finish_definition(resource);
        last
    }

    /// Deletes everything in a namespace. Says whether nothing is left.
    fn empty_namespace(&mut self, namespace: &str) -> bool {
        self.empty(|_, (home, _)| home == namespace)
    }

    /// Deletes every object of a kind. Says whether nothing is left.
    fn empty_collection(&mut self, collection: &Resource) -> bool {
        self.empty(|resource, _| resource == collection)
    }

    fn empty(&mut self, is_meant: impl Fn(&Resource, &Place) -> bool) -> bool {
        let contents: Vec<_> = self
            .objects
            .iter()
            .flat_map(|(resource, objects)| objects.keys().map(move |place| (resource.clone(), place.clone())))
            .filter(|(resource, place)| is_meant(resource, place))
            .collect();
        contents.into_iter().fold(true, |is_empty, (resource, (home, name))| {
            // One may have taken another along.
            let Ok(current) = self.get(&resource, &home, &name).cloned() else { return is_empty };
            // What a finalizer holds stays, and so does what it is in.
            let (_, is_gone) = self.let_go(&resource, &current, Propagation::Background);
            is_empty && is_gone
        })
    }

    /// Everything that names an object among its owners.
    fn owned_by(&self, owner: &Value) -> Vec<(Resource, Arc<Value>)> {
        let uid = object::text(owner, &["metadata", "uid"]);
        let of_owner = |candidate: &Value| owners(candidate).any(|owner| object::text(owner, &["uid"]) == uid);
        self.objects
            .iter()
            .flat_map(|(resource, objects)| objects.values().map(move |candidate| (resource, candidate)))
            .filter(|(_, candidate)| of_owner(candidate))
            .map(|(resource, candidate)| (resource.clone(), Arc::clone(candidate)))
            .collect()
    }

    /// The garbage collector: what only this object owned goes with it; what others
    /// own too forgets it.
    fn collect_owned(&mut self, owner: &Value) {
        let uid = object::text(owner, &["metadata", "uid"]).to_owned();
        for (resource, dependent) in self.owned_by(owner) {
            let (namespace, name) = (object::namespace(&dependent), object::name(&dependent));
            let Ok(dependent) = self.get(&resource, namespace, name).cloned() else { continue };
            let has_other = owners(&dependent).any(|other| {
                let other = object::text(other, &["uid"]);
                other != uid
                    && self
                        .objects
                        .values()
                        .flat_map(BTreeMap::values)
                        .any(|object| object::text(object, &["metadata", "uid"]) == other)
            });
            if has_other {
                self.forget_owner(&resource, &dependent, &uid);
            } else if !object::is_terminating(&dependent) {
                self.let_go(&resource, &dependent, Propagation::Background);
            }
        }
    }

    fn disown(&mut self, owner: &Value) {
        let uid = object::text(owner, &["metadata", "uid"]).to_owned();
        for (resource, dependent) in self.owned_by(owner) {
            self.forget_owner(&resource, &dependent, &uid);
        }
    }

    fn forget_owner(&mut self, resource: &Resource, dependent: &Arc<Value>, uid: &str) {
        let mut object = Value::clone(dependent);
        let left: Vec<_> = owners(dependent).filter(|owner| object::text(owner, &["uid"]) != uid).cloned().collect();
        object::set_metadata(&mut object, "ownerReferences", (!left.is_empty()).then(|| json!(left)));
        let place = (object::namespace(dependent).to_owned(), object::name(dependent).to_owned());
        self.commit(resource, place, object, ChangeKind::Modified, false);
    }

    /// Lets a definition go that only waited for its last object.
    fn finish_definition(&mut self, resource: &Resource) {
        let is_empty = self.objects.get(resource).is_none_or(BTreeMap::is_empty);
        let Ok(definition) = self.get(&Resource::DEFINITIONS, "", &resource.to_string()).map(Arc::clone) else {
            return;
        };
        if is_empty && object::is_terminating(&definition) && !object::has_finalizers(&definition) {
            let name = resource.to_string();
            self.remove(&Resource::DEFINITIONS, "", &name, &definition);
        }
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

/// The owner references of an object.
fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten()
}
