//! The objects of Flux, as far as castle reads them, and what their conditions
//! mean.

use std::collections::BTreeMap;

use castle_core::handover::Health;
use castle_core::words::heard;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::kubernetes::object::Kind;

/// The namespace and the name of the root and of its source, as bootstrap writes
/// them.
pub(crate) const ROOT: &str = "flux-system";
/// The annotation that asks for a run.
pub(crate) const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
/// The annotation that clears a release's count of failures.
pub(crate) const RESET_AT: &str = "reconcile.fluxcd.io/resetAt";

/// An object of Flux: a source, a Kustomization or a HelmRelease. What a kind does
/// not have is empty.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct FluxObject {
    pub(crate) kind: String,
    pub(crate) metadata: Metadata,
    pub(crate) spec: Spec,
    pub(crate) status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) generation: i64,
    pub(crate) creation_timestamp: String,
    pub(crate) deletion_timestamp: Option<String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) suspend: bool,
    pub(crate) path: String,
    pub(crate) url: String,
    /// `oci` for a HelmRepository without a status.
    #[serde(rename = "type")]
    pub(crate) repository_type: String,
    pub(crate) wait: bool,
    pub(crate) depends_on: Vec<Reference>,
    pub(crate) source_ref: Option<Reference>,
    pub(crate) chart_ref: Option<Reference>,
    pub(crate) chart: Option<Chart>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Chart {
    pub(crate) spec: ChartSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ChartSpec {
    pub(crate) source_ref: Option<Reference>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Reference {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) observed_generation: Option<i64>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) last_applied_revision: String,
    pub(crate) last_attempted_revision: String,
    pub(crate) last_handled_reconcile_at: String,
    pub(crate) artifact: Option<Artifact>,
    pub(crate) inventory: Option<Inventory>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Artifact {
    pub(crate) revision: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Inventory {
    pub(crate) entries: Vec<Entry>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Entry {
    pub(crate) id: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) last_transition_time: String,
}

impl Condition {
    pub(crate) fn said(&self) -> String {
        match (self.reason.as_str(), self.message.as_str()) {
            ("", "") => "no reason is given".to_owned(),
            ("", said) | (said, "") => heard(said),
            (reason, message) => heard(&format!("{reason}: {message}")),
        }
    }

    pub(crate) fn seconds(&self) -> Option<i64> {
        seconds(&self.last_transition_time)
    }
}

/// The seconds since 1970 of a time in a Kubernetes object.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// An object of an inventory: `<namespace>_<name>_<group>_<kind>`, with `__` for a
/// colon in the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) kind: String,
}

impl Listed {
    pub(crate) fn read(id: &str) -> Option<Self> {
        let (namespace, rest) = id.split_once('_')?;
        let (rest, kind) = rest.rsplit_once('_')?;
        let (name, group) = rest.rsplit_once('_')?;
        Some(Self {
            namespace: namespace.to_owned(),
            name: name.replace("__", ":"),
            group: group.to_owned(),
            kind: kind.to_owned(),
        })
    }

    fn flux_id(&self) -> Option<String> {
        let is_flux = [
            Kind::KUSTOMIZATION,
            Kind::HELM_RELEASE,
            Kind::GIT_REPOSITORY,
            Kind::OCI_REPOSITORY,
            Kind::HELM_REPOSITORY,
        ]
        .iter()
        .any(|kind| self.group == *kind.group && self.kind == *kind.kind);
        is_flux.then(|| id(&self.kind, &self.namespace, &self.name))
    }
}

/// How items are named: `Kustomization/flux-system/apps`.
pub(crate) fn id(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}")
}

/// The root's name among the items.
pub(crate) fn root_id() -> String {
    id(&Kind::KUSTOMIZATION.kind, ROOT, ROOT)
}

impl FluxObject {
    /// Reads an object; what is of another shape than Flux' is told.
    pub(crate) fn read(object: &Value, kind: &Kind) -> Result<Self, String> {
        let read = Self::deserialize(object).map_err(|error| format!("{} is of a strange shape: {error}", kind.plural));
        // Lists of a kind leave it out of their items.
        read.map(|read| Self { kind: kind.kind.to_string(), ..read })
    }

    pub(crate) fn id(&self) -> String {
        id(&self.kind, &self.metadata.namespace, &self.metadata.name)
    }

    pub(crate) fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// The revision that it has fetched or applied.
    pub(crate) fn revision(&self) -> Option<&str> {
        let fetched = self.status.artifact.as_ref().map(|artifact| artifact.revision.as_str());
        let applied = Some(self.status.last_applied_revision.as_str()).filter(|revision| !revision.is_empty());
        let attempted = Some(self.status.last_attempted_revision.as_str()).filter(|_| self.kind == "HelmRelease");
        fetched.or(applied).or(attempted).filter(|revision| !revision.is_empty())
    }

    /// The sources that it reads.
    pub(crate) fn sources(&self) -> Vec<String> {
        let chart = self.spec.chart.as_ref().and_then(|chart| chart.spec.source_ref.as_ref());
        [self.spec.source_ref.as_ref(), self.spec.chart_ref.as_ref(), chart]
            .into_iter()
            .flatten()
            .filter(|reference| ["GitRepository", "OCIRepository", "HelmRepository"].contains(&reference.kind.as_str()))
            .map(|reference| self.refer(&reference.kind, reference))
            .collect()
    }

    /// What must be ready before it, of its own kind.
    pub(crate) fn dependencies(&self) -> Vec<String> {
        self.spec.depends_on.iter().map(|reference| self.refer(&self.kind, reference)).collect()
    }

    fn refer(&self, kind: &str, reference: &Reference) -> String {
        let namespace = match reference.namespace.as_str() {
            "" => &self.metadata.namespace,
            namespace => namespace,
        };
        id(kind, namespace, &reference.name)
    }

    /// The objects that it has applied.
    pub(crate) fn inventory(&self) -> impl Iterator<Item = Listed> {
        self.status
            .inventory
            .iter()
            .flat_map(|inventory| &inventory.entries)
            .filter_map(|entry| Listed::read(&entry.id))
    }

    /// The objects of Flux among them.
    pub(crate) fn children(&self) -> Vec<String> {
        self.inventory().filter_map(|listed| listed.flux_id()).collect()
    }

    /// Whether a request to run waits for its turn.
    pub(crate) fn is_requested(&self) -> bool {
        self.requested_at().is_some_and(|token| token != self.status.last_handled_reconcile_at)
    }

    pub(crate) fn requested_at(&self) -> Option<&str> {
        self.metadata.annotations.get(REQUESTED_AT).map(String::as_str)
    }

    /// Whether its controller writes a status: a registry needs no fetching and has
    /// none.
    pub(crate) fn repository_has_status(&self) -> bool {
        self.kind != "HelmRepository" || self.spec.repository_type != "oci"
    }

    /// Whether its conditions speak of the object as it is now.
    pub(crate) fn is_observed(&self) -> bool {
        self.status.observed_generation.unwrap_or(-1) == self.metadata.generation
    }

    /// How it fares. `source`: what it applies, if that is known.
    pub(crate) fn health(&self, source: Option<&Self>) -> Health {
        if self.metadata.deletion_timestamp.is_some() {
            return Health::Waiting("is being deleted".into());
        }
        if self.spec.suspend {
            return Health::Failed("is suspended; resume it, for nothing of it is applied meanwhile".into());
        }
        if !self.repository_has_status() {
            return Health::Ready;
        }
        if let Some(stalled) = self.condition("Stalled").filter(|stalled| stalled.status == "True") {
            let is_passing = self.obstacle().is_some_and(|obstacle| obstacle.is_passing());
            // Its failures were forgotten once, and it failed again.
            let token = self.metadata.annotations.get(RESET_AT);
            let had_reset = token.is_some_and(|token| *token == self.status.last_handled_reconcile_at);
            return if is_passing && !had_reset {
                Health::Waiting(stalled.said())
            } else {
                Health::Failed(stalled.said())
            };
        }
        let Some(ready) = self.condition("Ready") else {
            return Health::Waiting("its controller has not looked at it yet".into());
        };
        if ready.status != "True" {
            let said = ready.said();
            return match self.obstacle() {
                Some(obstacle) if obstacle.is_final() => Health::Failed(said),
                _ => Health::Waiting(said),
            };
        }
        if !self.is_observed() {
            return Health::Waiting("its last change has not been looked at yet".into());
        }
        let at = source.and_then(Self::revision);
        if let (true, Some(at)) = (self.kind == "Kustomization", at)
            && self.status.last_applied_revision != at
        {
            let applied = self.revision().unwrap_or("nothing");
            return Health::Waiting(heard(&format!("has applied {applied}, its source is at {at}")));
        }
        Health::Ready
    }

    /// What stands in its way, if it said so.
    pub(crate) fn obstacle(&self) -> Option<Obstacle> {
        let ready = self.condition("Ready").filter(|ready| ready.status == "False")?;
        Some(Obstacle::of(&ready.reason, &ready.message))
    }
}

/// What stands in the way of an object of Flux.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// A dependency is not ready.
    Dependency,
    /// The source is not there, or has nothing fetched.
    Source,
    /// A webhook did not answer; its name.
    Webhook(String),
    /// The API does not serve a kind: name and version.
    Unserved(String, String),
    /// A namespace does not exist.
    Namespace(String),
    /// The API server had trouble that passes.
    Trouble,
    /// What was applied was not ready in time: `Deployment/apps/blog`.
    Unhealthy(Vec<String>),
    /// A fetch failed.
    Fetch,
    /// This revision cannot be applied as it is.
    Revision,
    /// Somebody has to act.
    Operator,
    /// Something that castle does not know.
    Unknown,
}

impl Obstacle {
    /// Reads the reason and the message of a condition that is false.
    pub(crate) fn of(reason: &str, message: &str) -> Self {
        match reason {
            "DependencyNotReady" => Self::Dependency,
            "SourceNotReady" => Self::Source,
            "ArtifactFailed" if message.contains("path not found") => Self::Revision,
            "ArtifactFailed" => Self::Source,
            "BuildFailed" => Self::Revision,
            "HealthCheckFailed" => Self::Unhealthy(between(message)),
            "GitOperationFailed"
            | "FetchFailed"
            | "AuthenticationFailed"
            | "IndexationFailed"
            | "OCIArtifactPullFailed" => Self::Fetch,
            "AccessDenied"
            | "InvalidCELExpression"
            | "FeatureGateDisabled"
            | "URLInvalid"
            | "InvalidVerificationMode"
            | "InvalidProviderConfiguration"
            | "ValuesError"
            | "ChartMutateError" => Self::Revision,
            _ => Self::of_message(message),
        }
    }

    fn of_message(message: &str) -> Self {
        let has = |text: &str| message.contains(text);
        if let Some(name) = after(message, "failed calling webhook \"") {
            return Self::Webhook(name.to_owned());
        }
        if has("denied the request") || has("field not declared in schema") || has("namespace not specified") {
            return Self::Revision;
        }
        if let Some(kind) = after(message, "no matches for kind \"") {
            let version = after(message, "in version \"").unwrap_or("");
            return Self::Unserved(kind.to_owned(), version.to_owned());
        }
        if let Some(name) = after(message, "namespaces \"").filter(|_| has("not found")) {
            return Self::Namespace(name.to_owned());
        }
        let passing = [
            "etcdserver: ",
            "leader changed",
            "(ServiceUnavailable)",
            "(Timeout)",
            "(TooManyRequests)",
            "connection refused",
        ];
        if passing.iter().any(|text| has(text)) {
            return Self::Trouble;
        }
        if has("(Forbidden)") || has("exceeded quota") {
            return Self::Operator;
        }
        if has("(Invalid)") || has("Invalid value") || has("is immutable") {
            return Self::Revision;
        }
        Self::Unknown
    }

    /// Whether waiting does not help.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Revision | Self::Operator)
    }

    /// Whether it goes by itself or by what castle and others bring.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Webhook(_) | Self::Unserved(..) | Self::Namespace(_) | Self::Trouble)
    }
}

/// The text between a beginning and the next quotation mark.
fn after<'a>(message: &'a str, beginning: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(beginning)?;
    rest.split('"').next()
}

/// The objects of `timeout waiting for: [Deployment/apps/blog status: 'InProgress', ..]`.
fn between(message: &str) -> Vec<String> {
    let Some((_, rest)) = message.split_once('[') else { return Vec::new() };
    let list = rest.rsplit_once(']').map_or(rest, |(list, _)| list);
    list.split(", ")
        .filter_map(|part| part.split_whitespace().next())
        .filter(|id| id.matches('/').count() >= 1)
        .map(|id| id.trim_end_matches(':').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(reason: &str, message: &str, expected: Obstacle) {
        assert_eq!(Obstacle::of(reason, message), expected, "{reason}: {message}");
    }

    #[test]
    fn messages_are_told_apart() {
        let failed = "ReconciliationFailed";
        check(
            failed,
            "IPAddressPool/metallb-system/pool dry-run failed (InternalError): Internal error occurred: failed calling \
             webhook \"ipaddresspoolvalidationwebhook.metallb.io\": failed to call webhook: Post \"https://x\": dial tcp \
             10.96.1.1:443: connect: connection refused",
            Obstacle::Webhook("ipaddresspoolvalidationwebhook.metallb.io".into()),
        );
        check(
            failed,
            "A/b dry-run failed: no matches for kind \"ClusterSecretStore\" in version \"external-secrets.io/v1beta1\"",
            Obstacle::Unserved("ClusterSecretStore".into(), "external-secrets.io/v1beta1".into()),
        );
        check(failed, "namespaces \"apps\" not found", Obstacle::Namespace("apps".into()));
        check(failed, "admission webhook \"x\" denied the request: no", Obstacle::Revision);
        check(failed, ".spec.a: field not declared in schema", Obstacle::Revision);
        check(failed, "dry-run failed (Forbidden): exceeded quota", Obstacle::Operator);
        check(failed, "etcdserver: request timed out", Obstacle::Trouble);
        check(failed, "spec.selector: Invalid value: {}: field is immutable", Obstacle::Revision);
        check("DependencyNotReady", "dependency 'flux-system/a' is not ready", Obstacle::Dependency);
        check("ArtifactFailed", "Source artifact not found, retrying in 30s", Obstacle::Source);
        check("ArtifactFailed", "kustomization path not found: stat /x", Obstacle::Revision);
        check(
            "HealthCheckFailed",
            "timeout waiting for: [Deployment/apps/blog status: 'InProgress', DaemonSet/m/s status: 'InProgress']",
            Obstacle::Unhealthy(vec!["Deployment/apps/blog".into(), "DaemonSet/m/s".into()]),
        );
        check("GitOperationFailed", "failed to checkout and determine revision", Obstacle::Fetch);
        check("Other", "something new", Obstacle::Unknown);
    }

    #[test]
    fn inventories_are_read_from_both_ends() {
        let check = |id: &str, expected: [&str; 4]| {
            let found = Listed::read(id).expect("an id");
            assert_eq!([&*found.namespace, &found.name, &found.group, &found.kind], expected);
        };
        check("default_podinfo__Service", ["default", "podinfo", "", "Service"]);
        check(
            "_crd-controller_rbac.authorization.k8s.io_ClusterRole",
            ["", "crd-controller", "rbac.authorization.k8s.io", "ClusterRole"],
        );
        check(
            "_system__a_rbac.authorization.k8s.io_ClusterRole",
            ["", "system:a", "rbac.authorization.k8s.io", "ClusterRole"],
        );
        assert_eq!(Listed::read("nothing"), None);
    }

    fn kustomization(change: Value) -> FluxObject {
        let mut object = json!({
            "metadata": {"namespace": "flux-system", "name": "apps", "generation": 1},
            "spec": {"sourceRef": {"kind": "GitRepository", "name": "flux-system"}, "dependsOn": [{"name": "infra"}]},
            "status": {
                "observedGeneration": 1, "lastAppliedRevision": "main@sha1:a",
                "conditions": [{"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded"}],
            },
        });
        for (pointer, value) in change.as_object().expect("a map") {
            let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
            object.pointer_mut(parent).expect("a parent")[key] = value.clone();
        }
        FluxObject::read(&object, &Kind::KUSTOMIZATION).expect("a kustomization")
    }

    #[test]
    fn a_kustomization_is_ready_at_its_source_s_revision() {
        let source = |revision: &str| FluxObject {
            status: Status { artifact: Some(Artifact { revision: revision.to_owned() }), ..Status::default() },
            ..FluxObject::default()
        };
        let check = |change: Value, at: &str, expected: Health| {
            assert_eq!(kustomization(change.clone()).health(Some(&source(at))), expected, "{change}");
        };
        check(json!({}), "main@sha1:a", Health::Ready);
        let behind = "has applied main@sha1:a, its source is at main@sha1:b";
        check(json!({}), "main@sha1:b", Health::Waiting(behind.into()));
        check(
            json!({"/metadata/generation": 2}),
            "main@sha1:a",
            Health::Waiting("its last change has not been looked at yet".into()),
        );
        check(
            json!({"/spec/suspend": true}),
            "main@sha1:a",
            Health::Failed("is suspended; resume it, for nothing of it is applied meanwhile".into()),
        );
        check(
            json!({"/status": {"observedGeneration": -1}}),
            "main@sha1:a",
            Health::Waiting("its controller has not looked at it yet".into()),
        );
    }

    #[test]
    fn references_stay_in_the_own_namespace_unless_they_say_more() {
        let object = kustomization(json!({"/spec/dependsOn": [{"name": "a"}, {"name": "b", "namespace": "n"}]}));
        assert_eq!(object.dependencies(), ["Kustomization/flux-system/a", "Kustomization/n/b"]);
        assert_eq!(object.sources(), ["GitRepository/flux-system/flux-system"]);
    }
}
