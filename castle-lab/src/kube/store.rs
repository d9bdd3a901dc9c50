//! The objects, and the rules by which they are written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::access::KubeIdentity;
use super::admission::Backend;
use super::hand::Hand;
use super::history::{Change, History};
use super::kind::{Kind, Kinds, Resource};
use super::refusal::Refusal;
use super::selector::Selection;
use super::{list, object};
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
    pub(super) kinds: Kinds,
    pub(super) objects: BTreeMap<Resource, BTreeMap<Place, Arc<Value>>>,
    pub(super) history: History,
    pub(super) revision: u64,
    is_serving: bool,
    pub(super) wall: Duration,
    pub(super) draws: Draws,
    pub(super) births: BTreeMap<String, u64>,
    /// What stands behind the services of webhooks, by namespace and name.
    pub(super) backends: BTreeMap<Place, Backend>,
    /// The resource version of the last change of each collection.
    touched: BTreeMap<Resource, u64>,
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
            backends: BTreeMap::new(),
            touched: BTreeMap::new(),
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
        match self.create(object, &Hand::of("kube-apiserver")) {
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

    /// The resource version of the last change of a collection; 0 if it was never
    /// written. A controller that remembers it need not look at the objects again.
    #[must_use]
    pub fn last_change(&self, resource: &Resource) -> u64 {
        self.touched.get(resource).copied().unwrap_or(0)
    }

    /// Keeps a change for those who watch.
    pub(super) fn remember(&mut self, change: Change) {
        self.touched.insert(change.resource.clone(), change.revision);
        self.history.push(change);
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

    /// The same, to be kept while the store changes.
    pub(super) fn shared_kind(&self, resource: &Resource) -> Result<Arc<Kind>, Refusal> {
        self.kinds.shared(resource).ok_or_else(Refusal::no_resource)
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

    /// All objects of a selection, by namespace and name. Of a selection in one
    /// namespace, only its objects are looked at.
    pub fn list<'a>(
        &'a self,
        resource: &Resource,
        selection: &'a Selection,
    ) -> impl Iterator<Item = &'a Arc<Value>> + use<'a> {
        list::within(self.objects.get(resource), selection.namespace.as_deref())
            .map(|(_, object)| object)
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

    /// The fields of an object that the schema of its kind does not know: what a
    /// write drops unless it is strict.
    #[must_use]
    pub fn unknown_fields(&self, object: &Value) -> Vec<String> {
        let Ok(kind) = self.kind_of(object) else { return Vec::new() };
        let api_version = object::text(object, &["apiVersion"]);
        let schema = kind.schema(api_version.rsplit('/').next().unwrap_or(api_version));
        schema.map(|schema| schema.prune(&mut object.clone())).unwrap_or_default()
    }

    pub(super) fn kind_of(&self, object: &Value) -> Result<Arc<Kind>, Refusal> {
        let (api_version, kind) = (object::text(object, &["apiVersion"]), object::text(object, &["kind"]));
        if kind.is_empty() {
            return Err(Refusal::bad_request("Object 'Kind' is missing"));
        }
        self.kinds.shared_of_object(api_version, kind).ok_or_else(|| {
            Refusal::bad_request(format!("no kind \"{kind}\" is registered for version \"{api_version}\""))
        })
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
