//! The objects, and the rules by which they are written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::access::KubeIdentity;
use super::history::{Change, ChangeKind, History};
use super::kind::{Kind, Kinds, Resource};
use super::object;
use super::refusal::Refusal;
use super::selector::Selection;
use super::validation;
use super::{list, merge};
use crate::draw::Draws;

/// The namespaces that an API server makes for itself.
const OWN_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Which part of an object a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything but the status, where the kind has a status of its own.
    Main,
    /// The status alone.
    Status,
    /// Everything: the cluster's own components, which write both in one act here.
    Whole,
}

/// How an object is changed in place.
#[derive(Clone, PartialEq)]
pub enum Patch {
    /// RFC 7386, `application/merge-patch+json`.
    Merge(Value),
    /// `application/strategic-merge-patch+json`.
    Strategic(Value),
    /// RFC 6902, `application/json-patch+json`.
    Json(Value),
}

/// Namespace and name.
pub(super) type Place = (String, String);

/// What one etcd holds, and the API server's rules in front of it.
///
/// # Guarantees
///
/// Every write of any object takes the next number of one counter as its
/// resource version; a write that changes nothing takes none. A written object
/// keeps its uid, its namespace and its creation time. Each change is remembered
/// for watches until it is compacted.
#[derive(Clone)]
pub struct Store {
    /// The certificates of the API server; the node's model sets them.
    pub identity: Option<KubeIdentity>,
    /// The version of Kubernetes, with a `v`.
    pub version: String,
    kinds: Kinds,
    pub(super) objects: BTreeMap<Resource, BTreeMap<Place, Arc<Value>>>,
    pub(super) history: History,
    pub(super) revision: u64,
    is_serving: bool,
    pub(super) wall: Duration,
    draws: Draws,
    births: BTreeMap<String, u64>,
}

impl Store {
    /// The store of a cluster that does not serve yet.
    #[must_use]
    pub fn new(draws: Draws, wall: Duration) -> Self {
        Self {
            identity: None,
            version: "v1.36.2".into(),
            kinds: Kinds::built_in(),
            objects: BTreeMap::new(),
            history: History::default(),
            // As a fresh etcd: its first write is revision 2.
            revision: 1,
            is_serving: false,
            wall,
            draws,
            births: BTreeMap::new(),
        }
    }

    /// Tells the time since 1970.
    pub(crate) fn set_wall(&mut self, wall: Duration) {
        self.wall = wall;
    }

    /// The time since 1970, as the API server sees it.
    #[must_use]
    pub fn wall(&self) -> Duration {
        self.wall
    }

    /// Whether an API server answers.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.is_serving
    }

    /// An API server is up. In a new life it makes its own namespaces and the
    /// service `kubernetes` first.
    pub fn serve(&mut self) {
        self.is_serving = true;
        for name in OWN_NAMESPACES {
            self.make_own(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        }
        self.make_own(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": "10.96.0.1",
                "clusterIPs": ["10.96.0.1"],
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
                "sessionAffinity": "None",
            },
            "status": {"loadBalancer": {}},
        }));
    }

    /// Makes an object unless it is there.
    fn make_own(&mut self, object: Value) {
        match self.create(object, false) {
            Ok(_) => {}
            Err(refusal) if refusal.reason == "AlreadyExists" => {}
            // The objects above are literals that fit the rules.
            Err(refusal) => tracing::error!(%refusal, "the API server's own object was refused"),
        }
    }

    /// The last API server is down; the objects stay in etcd.
    pub fn stop_serving(&mut self) {
        self.is_serving = false;
    }

    /// Another etcd: nothing of what was is there any more.
    pub fn begin_life(&mut self) {
        let (draws, wall) = (self.draws, self.wall);
        let births = std::mem::take(&mut self.births);
        *self = Self { births, version: self.version.clone(), ..Self::new(draws, wall) };
    }

    /// The resource version of the last write.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The kinds that are served.
    #[must_use]
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// Adds a kind: a custom resource definition was established.
    pub fn add_kind(&mut self, kind: Kind) {
        self.kinds.add(kind);
    }

    /// What is known about a collection.
    ///
    /// # Errors
    ///
    /// 404 if there is none of that name.
    pub fn kind(&self, resource: &Resource) -> Result<&Kind, Refusal> {
        self.kinds.get(resource).ok_or_else(Refusal::no_resource)
    }

    /// One object. `namespace` is empty for kinds without one.
    ///
    /// # Errors
    ///
    /// 404 in Kubernetes' words.
    pub fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Result<&Arc<Value>, Refusal> {
        self.kind(resource)?;
        self.objects
            .get(resource)
            .and_then(|objects| objects.get(&(namespace.to_owned(), name.to_owned())))
            .ok_or_else(|| Refusal::not_found(resource, name))
    }

    /// All objects of a selection, by namespace and name.
    pub fn list<'a>(
        &'a self,
        resource: &Resource,
        selection: &'a Selection,
    ) -> impl Iterator<Item = &'a Arc<Value>> + use<'a> {
        self.objects
            .get(resource)
            .into_iter()
            .flat_map(BTreeMap::values)
            .filter(move |object| selection.matches(object))
    }

    /// One page of a list.
    ///
    /// # Errors
    ///
    /// 400 for a continue token that is not one of ours, 410 for one that is too
    /// old.
    pub fn page(
        &self,
        resource: &Resource,
        selection: &Selection,
        options: &list::ListOptions,
    ) -> Result<list::Listing, Refusal> {
        self.kind(resource)?;
        list::page(self.objects.get(resource), &self.history, self.revision, resource, selection, options)
    }

    /// Makes an object. Its `apiVersion` and `kind` say where it belongs.
    ///
    /// # Errors
    ///
    /// 409 if it exists, 404 if its namespace does not, 422 if it breaks a rule.
    pub fn create(&mut self, mut object: Value, dry_run: bool) -> Result<Arc<Value>, Refusal> {
        let kind = self.kind_of(&object)?;
        self.name_generated(&kind, &mut object);
        validation::check(&kind, &object)?;
        let (resource, place) = (kind.resource.clone(), place_of(&object));
        self.check_namespace(&kind, &place)?;
        if self.get(&resource, &place.0, &place.1).is_ok() {
            return Err(Refusal::already_exists(&resource, &place.1));
        }
        if !object::text(&object, &["metadata", "resourceVersion"]).is_empty() {
            return Err(Refusal::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let uid = self.next_uid(&resource, &place, dry_run);
        object::set_metadata(&mut object, "uid", Some(json!(uid)));
        object::set_metadata(&mut object, "creationTimestamp", Some(json!(object::timestamp(self.wall))));
        object::set_metadata(&mut object, "deletionTimestamp", None);
        object::set_metadata(&mut object, "generation", kind.has_generation.then(|| json!(1)));
        validation::set_defaults(&kind, &mut object);
        Ok(self.commit(&resource, place, object, ChangeKind::Added, dry_run))
    }

    /// Replaces an object.
    ///
    /// # Errors
    ///
    /// 404 if it is not there; 409 if its resource version or uid is given and is
    /// another; 422 if it breaks a rule.
    pub fn update(&mut self, object: Value, part: Part, dry_run: bool) -> Result<Arc<Value>, Refusal> {
        let kind = self.kind_of(&object)?;
        let place = place_of(&object);
        let current = Arc::clone(self.get(&kind.resource, &place.0, &place.1)?);
        self.replace(&kind, place, &current, object, part, dry_run)
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
        dry_run: bool,
    ) -> Result<Arc<Value>, Refusal> {
        let kind = self.kind(resource)?.clone();
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
        self.replace(&kind, (namespace.to_owned(), name.to_owned()), &current, object, part, dry_run)
    }

    /// Writes an object with its status, whether it exists or not: how the
    /// cluster's own components (kubelet, controllers) write.
    ///
    /// # Errors
    ///
    /// As [`Store::create`] and [`Store::update`].
    pub fn put(&mut self, object: Value) -> Result<Arc<Value>, Refusal> {
        let kind = self.kind_of(&object)?;
        let place = place_of(&object);
        match self.get(&kind.resource, &place.0, &place.1) {
            Ok(_) => self.update(object, Part::Whole, false),
            Err(_) => self.create(object, false),
        }
    }

    /// The changes after a resource version, of all collections, the oldest
    /// first.
    ///
    /// # Errors
    ///
    /// 410 if some of them are forgotten already.
    pub fn changes_after(&self, revision: u64) -> Result<impl DoubleEndedIterator<Item = &Change>, Refusal> {
        if !self.history.reaches(revision) {
            let oldest = self.history.oldest();
            return Err(Refusal::expired(format!("too old resource version: {revision} ({oldest})")));
        }
        Ok(self.history.after(revision))
    }

    /// Forgets the changes up to a resource version, as etcd's compaction does
    /// every five minutes.
    pub fn compact(&mut self, revision: u64) {
        self.history.compact(revision.min(self.revision));
    }

    fn kind_of(&self, object: &Value) -> Result<Kind, Refusal> {
        let (api_version, kind) = (object::text(object, &["apiVersion"]), object::text(object, &["kind"]));
        if kind.is_empty() {
            return Err(Refusal::bad_request("Object 'Kind' is missing"));
        }
        self.kinds.of_object(api_version, kind).cloned().ok_or_else(|| {
            Refusal::bad_request(format!("no kind \"{kind}\" is registered for version \"{api_version}\""))
        })
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

    /// The common end of update and patch.
    fn replace(
        &mut self,
        kind: &Kind,
        place: Place,
        current: &Arc<Value>,
        mut object: Value,
        part: Part,
        dry_run: bool,
    ) -> Result<Arc<Value>, Refusal> {
        let (resource, name) = (&kind.resource, place.1.as_str());
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
            let status = object.get("status").cloned();
            object = Value::clone(current);
            set_status(&mut object, status);
        } else {
            if part == Part::Main && kind.has_status {
                set_status(&mut object, current.get("status").cloned());
            }
            for key in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
                object::set_metadata(&mut object, key, current["metadata"].get(key).cloned());
            }
            validation::set_defaults(kind, &mut object);
            validation::check(kind, &object)?;
            validation::check_change(kind, current, &object)?;
            if kind.has_generation && !same_wish(current, &object) {
                let generation = current["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
                object::set_metadata(&mut object, "generation", Some(json!(generation)));
            }
        }
        object::set_metadata(&mut object, "resourceVersion", current["metadata"].get("resourceVersion").cloned());
        if object == **current {
            return Ok(Arc::clone(current));
        }
        let may_go = object::is_terminating(&object) && !object::has_finalizers(&object) && !dry_run;
        if may_go && (*resource != Resource::NAMESPACES || self.empty_namespace(name)) {
            return Ok(self.remove(resource, &place.0, name, current));
        }
        Ok(self.commit(&resource.clone(), place, object, ChangeKind::Modified, dry_run))
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
        self.history.push(Change {
            revision: self.revision,
            kind,
            resource: resource.clone(),
            object: Arc::clone(&object),
            before,
        });
        object
    }

    /// Fills `name` from `generateName`.
    fn name_generated(&mut self, kind: &Kind, object: &mut Value) {
        let prefix = object::text(object, &["metadata", "generateName"]).to_owned();
        if !object::name(object).is_empty() || prefix.is_empty() {
            return;
        }
        // The alphabet of apimachinery's random names: no vowels, so no words.
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let key = format!("{} {}/{prefix}", kind.resource, object::namespace(object));
        let nth = self.next_birth(&key);
        let suffix: String = (0..5)
            .map(|place| {
                let unit = self.draws.unit(&key, &format!("name {place}"), nth);
                // `unit` is below 1, so the place is inside the alphabet.
                char::from(ALPHABET[(unit * ALPHABET.len() as f64) as usize])
            })
            .collect();
        object::set_metadata(object, "name", Some(json!(format!("{prefix}{suffix}"))));
    }

    fn next_uid(&mut self, resource: &Resource, (namespace, name): &Place, dry_run: bool) -> String {
        let key = format!("{resource} {namespace}/{name}");
        let nth = if dry_run { u64::MAX } else { self.next_birth(&key) };
        let part = |what: &str, bits: u32| (self.draws.unit(&key, what, nth) * f64::from(bits).exp2()) as u64;
        let (first, last) = (part("uid first", 48), part("uid last", 48));
        // The version (4) and variant bits of a random uuid.
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{last:012x}",
            first >> 16,
            first & 0xFFFF,
            part("uid third", 12),
            0x8000 | part("uid fourth", 14)
        )
    }

    /// How many of that name were born before.
    fn next_birth(&mut self, key: &str) -> u64 {
        let count = self.births.entry(key.to_owned()).or_default();
        let nth = *count;
        *count += 1;
        nth
    }
}

impl fmt::Debug for Store {
    /// Without the objects: some are secrets, and there are many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("is_serving", &self.is_serving)
            .field("revision", &self.revision)
            .field("objects", &self.objects.values().map(BTreeMap::len).sum::<usize>())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Patch {
    /// Without the values, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Merge(_) => "Merge(..)",
            Self::Strategic(_) => "Strategic(..)",
            Self::Json(_) => "Json(..)",
        })
    }
}

fn place_of(object: &Value) -> Place {
    (object::namespace(object).to_owned(), object::name(object).to_owned())
}

fn set_status(object: &mut Value, status: Option<Value>) {
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
