//! What kinds of objects there are.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

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

    const fn core(plural: &'static str) -> Self {
        Self::built_in("", plural)
    }

    const fn built_in(group: &'static str, plural: &'static str) -> Self {
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

impl Kind {
    fn built_in(resource: Resource, version: &'static str, kind: &'static str, singular: &'static str) -> Self {
        Self {
            resource,
            versions: vec![Cow::Borrowed(version)],
            kind: Cow::Borrowed(kind),
            singular: Cow::Borrowed(singular),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            has_status: false,
            has_generation: false,
            fields: Vec::new(),
            is_custom: false,
        }
    }

    fn short(mut self, names: &[&'static str]) -> Self {
        self.short_names = names.iter().copied().map(Cow::Borrowed).collect();
        self
    }

    fn in_all(mut self) -> Self {
        self.categories = vec![Cow::Borrowed("all")];
        self
    }

    fn without_namespace(mut self) -> Self {
        self.namespaced = false;
        self
    }

    fn with_status(mut self) -> Self {
        self.has_status = true;
        self
    }

    fn with_generation(mut self) -> Self {
        self.has_generation = true;
        self
    }

    fn selected_by(mut self, fields: &[&'static str]) -> Self {
        self.fields = fields.iter().copied().map(Cow::Borrowed).collect();
        self
    }

    /// `v1`, `apps/v1`: what stands in an object of that version.
    #[must_use]
    pub fn api_version(&self, version: &str) -> String {
        match self.resource.group.as_ref() {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }

    /// The preferred version.
    #[must_use]
    pub fn version(&self) -> &str {
        self.versions.first().map_or("v1", |version| version.as_ref())
    }
}

/// All kinds that the API server serves.
#[derive(Debug, Clone)]
pub struct Kinds(BTreeMap<Resource, Kind>);

impl Kinds {
    /// The kinds that are part of Kubernetes, as far as this house uses them.
    #[must_use]
    pub fn built_in() -> Self {
        let make = Kind::built_in;
        let rows = [
            make(Resource::NAMESPACES, "v1", "Namespace", "namespace")
                .short(&["ns"])
                .without_namespace()
                .with_status()
                .selected_by(&["status.phase"]),
            make(Resource::NODES, "v1", "Node", "node")
                .short(&["no"])
                .without_namespace()
                .with_status()
                .selected_by(&["spec.unschedulable"]),
            make(Resource::PODS, "v1", "Pod", "pod")
                .short(&["po"])
                .in_all()
                .with_status()
                .with_generation()
                .selected_by(&[
                    "spec.nodeName",
                    "spec.restartPolicy",
                    "spec.schedulerName",
                    "spec.serviceAccountName",
                    "spec.hostNetwork",
                    "status.phase",
                    "status.podIP",
                    "status.nominatedNodeName",
                ]),
            make(Resource::SERVICES, "v1", "Service", "service")
                .short(&["svc"])
                .in_all()
                .with_status()
                .selected_by(&["spec.clusterIP", "spec.type"]),
            make(Resource::ENDPOINTS, "v1", "Endpoints", "endpoints").short(&["ep"]),
            make(Resource::CONFIG_MAPS, "v1", "ConfigMap", "configmap").short(&["cm"]),
            make(Resource::SECRETS, "v1", "Secret", "secret").selected_by(&["type"]),
            make(Resource::SERVICE_ACCOUNTS, "v1", "ServiceAccount", "serviceaccount").short(&["sa"]),
            make(Resource::EVENTS, "v1", "Event", "event").short(&["ev"]).selected_by(&[
                "involvedObject.kind",
                "involvedObject.namespace",
                "involvedObject.name",
                "involvedObject.uid",
                "involvedObject.fieldPath",
                "reason",
                "source",
                "type",
            ]),
            make(Resource::DEPLOYMENTS, "v1", "Deployment", "deployment")
                .short(&["deploy"])
                .in_all()
                .with_status()
                .with_generation(),
            make(Resource::DAEMON_SETS, "v1", "DaemonSet", "daemonset")
                .short(&["ds"])
                .in_all()
                .with_status()
                .with_generation(),
            make(Resource::REPLICA_SETS, "v1", "ReplicaSet", "replicaset")
                .short(&["rs"])
                .in_all()
                .with_status()
                .with_generation()
                .selected_by(&["status.replicas"]),
            make(Resource::ENDPOINT_SLICES, "v1", "EndpointSlice", "endpointslice").with_generation(),
            make(Resource::LEASES, "v1", "Lease", "lease"),
        ];
        Self(rows.into_iter().map(|kind| (kind.resource.clone(), kind)).collect())
    }

    /// Adds a kind, or replaces it: a custom resource definition was established.
    pub fn add(&mut self, kind: Kind) {
        self.0.insert(kind.resource.clone(), kind);
    }

    /// What is known about a collection.
    #[must_use]
    pub fn get(&self, resource: &Resource) -> Option<&Kind> {
        self.0.get(resource)
    }

    /// The kind that an object's `apiVersion` and `kind` name.
    #[must_use]
    pub fn of_object(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.0.values().find(|row| {
            row.resource.group == group && row.kind == kind && row.versions.iter().any(|served| served == version)
        })
    }

    /// All rows, by group and plural.
    pub fn iter(&self) -> impl Iterator<Item = &Kind> {
        self.0.values()
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
