//! How objects are made, replaced and patched.

use std::sync::Arc;

use serde_json::{Value, json};

use super::admission::Operation;
use super::compare::Comparison;
use super::fields::FieldSet;
use super::hand::Hand;
use super::history::{Change, ChangeKind};
use super::kind::{Kind, Resource};
use super::managers::{Entry, Managers, Way, is_same_but_for_times};
use super::refusal::Refusal;
use super::store::{Part, Patch, Place, Store};
use super::{definition, merge, object, structure, validation};

/// Who owns the fields of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owners {
    /// The hand owns what it changes.
    Tracked,
    /// They are written in the object already.
    Settled,
}

impl Store {
    /// Makes an object. Its `apiVersion` and `kind` say where it belongs. A status
    /// that is written apart is left out, as Kubernetes leaves it out.
    ///
    /// # Errors
    ///
    /// 409 if it exists, 404 if its namespace does not, 422 if it breaks a rule,
    /// what a webhook says if it denies it or cannot be asked.
    pub fn create(&mut self, object: Value, hand: &Hand) -> Result<Arc<Value>, Refusal> {
        self.make(object, Part::Main, hand, Owners::Tracked)
    }

    /// Replaces an object.
    ///
    /// # Errors
    ///
    /// 404 if it is not there; 409 if its resource version or uid is given and is
    /// another; 422 if it breaks a rule; what a webhook says.
    pub fn update(&mut self, object: Value, part: Part, hand: &Hand) -> Result<Arc<Value>, Refusal> {
        let kind = self.kind_of(&object)?;
        let place = place_of(&object);
        let current = Arc::clone(self.get(&kind.resource, &place.0, &place.1)?);
        self.replace(&kind, &current, object, part, hand, Owners::Tracked)
    }

    /// Changes an object in place.
    ///
    /// # Errors
    ///
    /// As [`Store::update`].
    pub fn patch(
        &mut self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        patch: &Patch,
        part: Part,
        hand: &Hand,
    ) -> Result<Arc<Value>, Refusal> {
        let kind = self.shared_kind(resource)?;
        let current = Arc::clone(self.get(resource, namespace, name)?);
        let mut object = Value::clone(&current);
        match patch {
            Patch::Merge(changes) => merge::merge(&mut object, changes),
            Patch::Strategic(changes) => merge::strategic_merge(&mut object, changes),
            Patch::Json(operations) => {
                merge::operate(&mut object, operations)
                    .map_err(|why| Refusal::invalid(&kind, name, &[("patch", "FieldValueInvalid", why)]))?;
            }
        }
        if place_of(&object) != (namespace.to_owned(), name.to_owned()) {
            let given = object::name(&object);
            return Err(Refusal::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            )));
        }
        self.replace(&kind, &current, object, part, hand, Owners::Tracked)
    }

    /// Writes an object with its status, whether it exists or not: how the
    /// cluster's own components write. The field manager is the component that
    /// owns such objects: the kubelet, or the controller manager.
    ///
    /// # Errors
    ///
    /// As [`Store::create`] and [`Store::update`].
    pub fn put(&mut self, object: Value) -> Result<Arc<Value>, Refusal> {
        let manager = match object::text(&object, &["kind"]) {
            "Node" | "Pod" | "Lease" => "kubelet",
            _ => "kube-controller-manager",
        };
        self.put_by(object, &Hand::of(manager))
    }

    /// Writes an object with its status, whether it exists or not, by that hand.
    ///
    /// # Errors
    ///
    /// As [`Store::create`] and [`Store::update`].
    pub fn put_by(&mut self, object: Value, hand: &Hand) -> Result<Arc<Value>, Refusal> {
        let kind = self.kind_of(&object)?;
        let place = place_of(&object);
        match self.get(&kind.resource, &place.0, &place.1) {
            Ok(_) => self.update(object, Part::Whole, hand),
            Err(_) => self.make(object, Part::Whole, hand, Owners::Tracked),
        }
    }

    /// The common end of create, of a put of something new, and of such an apply.
    pub(super) fn make(
        &mut self,
        mut object: Value,
        part: Part,
        hand: &Hand,
        owners: Owners,
    ) -> Result<Arc<Value>, Refusal> {
        let kind = self.kind_of(&object)?;
        self.name_generated(&kind, &mut object);
        validation::check(&kind, &object)?;
        check_served(&kind, self)?;
        let version = version_of(&object).to_owned();
        let (resource, place) = (kind.resource.clone(), place_of(&object));
        self.check_namespace(&kind, &place)?;
        if !object::text(&object, &["metadata", "resourceVersion"]).is_empty() {
            return Err(Refusal::bad_request("resourceVersion should not be set on objects to be created"));
        }
        if part == Part::Main && kind.has_status {
            set_status(&mut object, None);
        }
        structure::fit(&kind, &version, &mut object, hand.strict)?;
        let uid = self.next_uid(&resource, &place, hand.dry_run);
        object::set_metadata(&mut object, "uid", Some(json!(uid)));
        object::set_metadata(&mut object, "creationTimestamp", Some(json!(object::timestamp(self.wall))));
        object::set_metadata(&mut object, "deletionTimestamp", None);
        object::set_metadata(&mut object, "generation", kind.has_generation.then(|| json!(1)));
        validation::set_defaults(&kind, &mut object);
        structure::check(&kind, &version, &object)?;
        let defined = self.defined(&kind, None, &mut object)?;
        self.admit(&kind, Operation::Create, &object, false, hand)?;
        if self.get(&resource, &place.0, &place.1).is_ok() {
            return Err(Refusal::already_exists(&resource, &place.1));
        }
        if owners == Owners::Tracked {
            self.track(&kind, &version, None, &mut object, part, hand);
        }
        kind.store_version(&mut object);
        let made = self.commit(&resource, place, object, ChangeKind::Added, hand.dry_run);
        self.establish(defined, hand);
        Ok(made)
    }

    fn check_namespace(&self, kind: &Kind, (namespace, name): &Place) -> Result<(), Refusal> {
        if !kind.namespaced {
            return Ok(());
        }
        let home = self.get(&Resource::NAMESPACES, "", namespace)?;
        if object::is_terminating(home) {
            let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
            return Err(Refusal::forbidden(&kind.resource, name, why));
        }
        Ok(())
    }

    /// The common end of update, patch and apply.
    pub(super) fn replace(
        &mut self,
        kind: &Kind,
        current: &Arc<Value>,
        mut object: Value,
        part: Part,
        hand: &Hand,
        owners: Owners,
    ) -> Result<Arc<Value>, Refusal> {
        let (resource, place) = (&kind.resource, place_of(current));
        let name = place.1.as_str();
        let api_version = version_of(&object).to_owned();
        kind.store_version(&mut object);
        let version = object::text(&object, &["metadata", "resourceVersion"]);
        if !version.is_empty() && version != object::text(current, &["metadata", "resourceVersion"]) {
            return Err(Refusal::modified(resource, name));
        }
        let (given, uid) = (object::text(&object, &["metadata", "uid"]), object::text(current, &["metadata", "uid"]));
        if !given.is_empty() && given != uid {
            let why = format!("Precondition failed: UID in precondition: {given}, UID in object meta: {uid}");
            return Err(Refusal::conflict(resource, name, why));
        }
        if part == Part::Status {
            let mut whole = Value::clone(current);
            set_status(&mut whole, object.get("status").cloned());
            // Who applied the status stands in the metadata.
            if owners == Owners::Settled {
                object::set_metadata(&mut whole, "managedFields", object["metadata"].get("managedFields").cloned());
            }
            object = whole;
            structure::fit(kind, &api_version, &mut object, hand.strict)?;
            structure::check(kind, &api_version, &object)?;
        } else {
            if part == Part::Main && kind.has_status {
                set_status(&mut object, current.get("status").cloned());
            }
            for key in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
                object::set_metadata(&mut object, key, current["metadata"].get(key).cloned());
            }
            structure::fit(kind, &api_version, &mut object, hand.strict)?;
            validation::set_defaults(kind, &mut object);
            validation::check(kind, &object)?;
            validation::check_change(kind, current, &object)?;
            structure::check(kind, &api_version, &object)?;
            if kind.has_generation && !same_wish(current, &object) {
                let generation = current["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
                object::set_metadata(&mut object, "generation", Some(json!(generation)));
            }
        }
        object::set_metadata(&mut object, "resourceVersion", current["metadata"].get("resourceVersion").cloned());
        let defined = match part {
            Part::Status => None,
            _ => self.defined(kind, Some(current), &mut object)?,
        };
        self.admit(kind, Operation::Update, &object, part == Part::Status, hand)?;
        if owners == Owners::Tracked {
            self.track(kind, &api_version, Some(current), &mut object, part, hand);
        }
        if is_same_but_for_times(&object, current) {
            return Ok(Arc::clone(current));
        }
        let may_go = object::is_terminating(&object) && !object::has_finalizers(&object) && !hand.dry_run;
        if may_go && self.is_released(resource, current) {
            return Ok(self.remove(resource, &place.0, name, current));
        }
        let written = self.commit(resource, place.clone(), object, ChangeKind::Modified, hand.dry_run);
        self.establish(defined, hand);
        Ok(written)
    }

    /// The kind that a definition makes, if this is one and says something new.
    fn defined(&self, kind: &Kind, before: Option<&Value>, object: &mut Value) -> Result<Option<Kind>, Refusal> {
        if kind.resource != Resource::DEFINITIONS {
            return Ok(None);
        }
        definition::set_defaults(object);
        if before.is_some_and(|before| before.get("spec") == object.get("spec")) {
            return Ok(None);
        }
        let made = definition::kind_of(&self.kinds, object)?;
        definition::settle(object, self.wall);
        Ok(Some(made))
    }

    /// Serves a kind from now on.
    fn establish(&mut self, defined: Option<Kind>, hand: &Hand) {
        if let Some(kind) = defined.filter(|_| !hand.dry_run) {
            self.kinds.add(kind);
        }
    }

    /// Writes down who owns what after a write that was no apply.
    fn track(
        &self,
        kind: &Kind,
        version: &str,
        before: Option<&Arc<Value>>,
        after: &mut Value,
        part: Part,
        hand: &Hand,
    ) {
        let before = before.map(|before| kind.in_version(before, version));
        let live = before.as_ref().and_then(|before| Managers::read(before));
        let given = Managers::read(after);
        if given.as_ref().is_some_and(Managers::is_empty) && given != live {
            // A client took all names away; who writes next is known again.
            object::set_metadata(after, "managedFields", None);
            return;
        }
        let parts: &[Part] = match part {
            Part::Whole if kind.has_status => &[Part::Main, Part::Status],
            Part::Whole => &[Part::Main],
            Part::Main => &[Part::Main],
            Part::Status => &[Part::Status],
        };
        let comparisons: Vec<_> = parts
            .iter()
            .map(|part| (*part, Comparison::of(kind, version, before.as_deref(), after, *part)))
            .filter(|(_, comparison)| !comparison.is_empty())
            .collect();
        let is_given = given.is_some() && given != live;
        if comparisons.is_empty() && !is_given {
            let known = before.as_ref().and_then(|before| before["metadata"].get("managedFields").cloned());
            object::set_metadata(after, "managedFields", known);
            return;
        }
        let mut managers = given.filter(|_| is_given).or(live).unwrap_or_default();
        for (part, comparison) in comparisons {
            let writer = Entry {
                manager: hand.manager.clone(),
                way: Way::Update,
                api_version: kind.api_version(version),
                subresource: if part == Part::Status { "status".to_owned() } else { String::new() },
                time: object::timestamp(self.wall),
                fields: FieldSet::default(),
            };
            managers.updated(writer, &comparison);
        }
        managers.write(after);
    }

    pub(super) fn commit(
        &mut self,
        resource: &Resource,
        place: Place,
        mut object: Value,
        kind: ChangeKind,
        dry_run: bool,
    ) -> Arc<Value> {
        if dry_run {
            return Arc::new(object);
        }
        self.revision += 1;
        object::set_metadata(&mut object, "resourceVersion", Some(json!(self.revision.to_string())));
        let object = Arc::new(object);
        let objects = self.objects.entry(resource.clone()).or_default();
        let before = objects.insert(place, Arc::clone(&object));
        self.remember(Change {
            revision: self.revision,
            kind,
            resource: resource.clone(),
            object: Arc::clone(&object),
            before,
        });
        object
    }
}

/// The version in an object's `apiVersion`.
fn version_of(object: &Value) -> &str {
    let api_version = object::text(object, &["apiVersion"]);
    api_version.rsplit('/').next().unwrap_or(api_version)
}

/// Nothing is made any more of a kind whose definition is going.
fn check_served(kind: &Kind, store: &Store) -> Result<(), Refusal> {
    let definition = kind.resource.to_string();
    match store.get(&Resource::DEFINITIONS, "", &definition) {
        Ok(definition) if kind.is_custom && object::is_terminating(definition) => Err(Refusal::new(
            405,
            "MethodNotAllowed",
            "create not allowed while custom resource definition is terminating",
        )),
        _ => Ok(()),
    }
}

pub(super) fn place_of(object: &Value) -> Place {
    (object::namespace(object).to_owned(), object::name(object).to_owned())
}

pub(super) fn set_status(object: &mut Value, status: Option<Value>) {
    match (object.as_object_mut(), status) {
        (Some(fields), Some(status)) => drop(fields.insert("status".into(), status)),
        (Some(fields), None) => drop(fields.remove("status")),
        (None, _) => {}
    }
}

/// Whether two objects are the same outside of metadata and status.
fn same_wish(before: &Value, after: &Value) -> bool {
    let wish = |object: &Value| {
        let mut fields = object.as_object().cloned().unwrap_or_default();
        fields.retain(|key, _| !["metadata", "status"].contains(&key.as_str()));
        fields
    };
    wish(before) == wish(after)
}
