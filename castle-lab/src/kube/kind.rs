//! What kinds of objects there are.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::columns::PrinterColumn;
use super::schema::Schema;
use super::{built_in, object};

/// The name of a collection: a group and the plural of its kind, whatever the
/// version. It prints as Kubernetes prints it: `pods`, `deployments.apps`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// The API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// The plural, as it stands in paths.
    pub plural: Cow<'static, str>,
}

impl Resource {
    /// Namespaces.
    pub const NAMESPACES: Self = Self::core("namespaces");
    /// Nodes.
    pub const NODES: Self = Self::core("nodes");
    /// Pods.
    pub const PODS: Self = Self::core("pods");
    /// Services.
    pub const SERVICES: Self = Self::core("services");
    /// Endpoints.
    pub const ENDPOINTS: Self = Self::core("endpoints");
    /// Configuration maps.
    pub const CONFIG_MAPS: Self = Self::core("configmaps");
    /// Secrets.
    pub const SECRETS: Self = Self::core("secrets");
    /// Service accounts.
    pub const SERVICE_ACCOUNTS: Self = Self::core("serviceaccounts");
    /// Events.
    pub const EVENTS: Self = Self::core("events");
    /// Deployments.
    pub const DEPLOYMENTS: Self = Self::built_in("apps", "deployments");
    /// Daemon sets.
    pub const DAEMON_SETS: Self = Self::built_in("apps", "daemonsets");
    /// Replica sets.
    pub const REPLICA_SETS: Self = Self::built_in("apps", "replicasets");
    /// Endpoint slices.
    pub const ENDPOINT_SLICES: Self = Self::built_in("discovery.k8s.io", "endpointslices");
    /// Leases.
    pub const LEASES: Self = Self::built_in("coordination.k8s.io", "leases");

    /// Webhooks that are asked before a write.
    pub const VALIDATING_WEBHOOKS: Self =
        Self::built_in("admissionregistration.k8s.io", "validatingwebhookconfigurations");
    /// Webhooks that may change what is written.
    pub const MUTATING_WEBHOOKS: Self = Self::built_in("admissionregistration.k8s.io", "mutatingwebhookconfigurations");
    /// Definitions of custom resources.
    pub const DEFINITIONS: Self = Self::built_in("apiextensions.k8s.io", "customresourcedefinitions");

    pub(super) const fn core(plural: &'static str) -> Self {
        Self::built_in("", plural)
    }

    pub(super) const fn built_in(group: &'static str, plural: &'static str) -> Self {
        Self { group: Cow::Borrowed(group), plural: Cow::Borrowed(plural) }
    }

    /// A collection by its names.
    #[must_use]
    pub fn named(group: impl Into<String>, plural: impl Into<String>) -> Self {
        Self { group: Cow::Owned(group.into()), plural: Cow::Owned(plural.into()) }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plural)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// What the API server knows about a kind.
#[derive(Debug, Clone)]
pub struct Kind {
    /// Its collection.
    pub resource: Resource,
    /// The served versions, the preferred one first.
    pub versions: Vec<Cow<'static, str>>,
    /// The kind's name: `Pod`.
    pub kind: Cow<'static, str>,
    /// The singular: `pod`.
    pub singular: Cow<'static, str>,
    /// What people type: `po`.
    pub short_names: Vec<Cow<'static, str>>,
    /// Groups of kinds it belongs to: `all`.
    pub categories: Vec<Cow<'static, str>>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether the status is written apart from the rest.
    pub has_status: bool,
    /// Whether a change outside of metadata and status raises the generation.
    pub has_generation: bool,
    /// The paths that a field selector may name, besides those of metadata, in
    /// the spelling of selectors: `spec.nodeName`.
    pub fields: Vec<Cow<'static, str>>,
    /// Whether a custom resource definition brought it.
    pub is_custom: bool,
    /// The kind of its lists: `PodList`.
    pub list_kind: Cow<'static, str>,
    /// What a custom resource definition says of each version, in the order of
    /// [`Kind::versions`] and with those that are not served behind.
    pub(super) definitions: Vec<Definition>,
}

/// What a custom resource definition says of one version.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    pub(super) version: String,
    /// Whether objects are kept in this version.
    pub(super) is_stored: bool,
    /// What an object of this version may hold.
    pub(super) schema: Option<Arc<Schema>>,
    /// The columns of its tables, besides the name.
    pub(super) columns: Vec<PrinterColumn>,
}

impl Kind {
    /// `v1`, `apps/v1`: what stands in an object of that version.
    #[must_use]
    pub fn api_version(&self, version: &str) -> String {
        match self.resource.group.as_ref() {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }

    /// The schema of a custom kind's version.
    pub(super) fn schema(&self, version: &str) -> Option<&Schema> {
        self.definitions.iter().find(|known| known.version == version)?.schema.as_deref()
    }

    /// The version in which objects of a custom kind are kept.
    pub(super) fn stored_version(&self) -> Option<&str> {
        self.definitions.iter().find(|known| known.is_stored).map(|known| known.version.as_str())
    }

    /// Gives an object of a custom kind the version in which it is kept.
    pub(super) fn store_version(&self, object: &mut Value) {
        if let Some(version) = self.stored_version() {
            object["apiVersion"] = Value::from(self.api_version(version));
        }
    }

    /// An object as that version shows it. Definitions here convert nothing but the
    /// `apiVersion`, as the strategy `None` does.
    #[must_use]
    pub fn in_version(&self, object: &Arc<Value>, version: &str) -> Arc<Value> {
        let api_version = self.api_version(version);
        if !self.is_custom || object::text(object, &["apiVersion"]) == api_version {
            return Arc::clone(object);
        }
        let mut converted = Value::clone(object);
        converted["apiVersion"] = Value::from(api_version);
        Arc::new(converted)
    }

    /// The preferred version.
    #[must_use]
    pub fn version(&self) -> &str {
        self.versions.first().map_or("v1", |version| version.as_ref())
    }
}

/// All kinds that the API server serves.
#[derive(Debug, Clone)]
pub struct Kinds(BTreeMap<Resource, Arc<Kind>>);

impl Kinds {
    /// The kinds that are part of Kubernetes, as far as clusters of castle use them.
    #[must_use]
    pub fn built_in() -> Self {
        Self(built_in::rows().into_iter().map(|kind| (kind.resource.clone(), Arc::new(kind))).collect())
    }

    /// Adds a kind, or replaces it: a custom resource definition was established.
    pub fn add(&mut self, kind: Kind) {
        self.0.insert(kind.resource.clone(), Arc::new(kind));
    }

    /// Takes a kind away: its definition is gone.
    pub(super) fn remove(&mut self, resource: &Resource) {
        self.0.remove(resource);
    }

    /// What is known about a collection.
    #[must_use]
    pub fn get(&self, resource: &Resource) -> Option<&Kind> {
        self.0.get(resource).map(Arc::as_ref)
    }

    pub(super) fn shared(&self, resource: &Resource) -> Option<Arc<Kind>> {
        self.0.get(resource).cloned()
    }

    /// The kind that an object's `apiVersion` and `kind` name.
    #[must_use]
    pub fn of_object(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        self.find(api_version, kind).map(Arc::as_ref)
    }

    pub(super) fn shared_of_object(&self, api_version: &str, kind: &str) -> Option<Arc<Kind>> {
        self.find(api_version, kind).cloned()
    }

    fn find(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.0.values().find(|row| {
            row.resource.group == group && row.kind == kind && row.versions.iter().any(|served| served == version)
        })
    }

    /// All rows, by group and plural.
    pub fn iter(&self) -> impl Iterator<Item = &Kind> {
        self.0.values().map(Arc::as_ref)
    }

    /// The groups besides the core group with their versions, the preferred one
    /// first.
    #[must_use]
    pub fn groups(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut groups = BTreeMap::<&str, Vec<&str>>::new();
        for kind in self.0.values().filter(|kind| !kind.resource.group.is_empty()) {
            let versions = groups.entry(&kind.resource.group).or_default();
            for version in &kind.versions {
                if !versions.contains(&version.as_ref()) {
                    versions.push(version);
                }
            }
        }
        groups
    }
}
