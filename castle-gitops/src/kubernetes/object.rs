//! Objects of any kind: where their paths are, and the requests for them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::{Error, KubeApi, Result, wire};

/// A kind of object, and where the API has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    /// Empty for the core group.
    pub(crate) group: Cow<'static, str>,
    pub(crate) version: Cow<'static, str>,
    pub(crate) kind: Cow<'static, str>,
    pub(crate) plural: Cow<'static, str>,
    pub(crate) namespaced: bool,
}

impl Kind {
    pub(crate) const fn of(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
        namespaced: bool,
    ) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            kind: Cow::Borrowed(kind),
            plural: Cow::Borrowed(plural),
            namespaced,
        }
    }

    pub(crate) const NAMESPACE: Self = Self::of("", "v1", "Namespace", "namespaces", false);
    pub(crate) const NODE: Self = Self::of("", "v1", "Node", "nodes", false);
    pub(crate) const POD: Self = Self::of("", "v1", "Pod", "pods", true);
    pub(crate) const SECRET: Self = Self::of("", "v1", "Secret", "secrets", true);
    pub(crate) const SERVICE: Self = Self::of("", "v1", "Service", "services", true);
    pub(crate) const DEPLOYMENT: Self = Self::of("apps", "v1", "Deployment", "deployments", true);
    pub(crate) const DEFINITION: Self =
        Self::of("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false);
    pub(crate) const ENDPOINT_SLICE: Self = Self::of("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", true);
    pub(crate) const VALIDATING: Self = Self::of(
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        false,
    );
    pub(crate) const MUTATING: Self = Self::of(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        false,
    );
    pub(crate) const KUSTOMIZATION: Self =
        Self::of("kustomize.toolkit.fluxcd.io", "v1", "Kustomization", "kustomizations", true);
    pub(crate) const HELM_RELEASE: Self = Self::of("helm.toolkit.fluxcd.io", "v2", "HelmRelease", "helmreleases", true);
    pub(crate) const GIT_REPOSITORY: Self =
        Self::of("source.toolkit.fluxcd.io", "v1", "GitRepository", "gitrepositories", true);
    pub(crate) const OCI_REPOSITORY: Self =
        Self::of("source.toolkit.fluxcd.io", "v1", "OCIRepository", "ocirepositories", true);
    pub(crate) const HELM_REPOSITORY: Self =
        Self::of("source.toolkit.fluxcd.io", "v1", "HelmRepository", "helmrepositories", true);
    pub(crate) const FLUX_INSTANCE: Self =
        Self::of("fluxcd.controlplane.io", "v1", "FluxInstance", "fluxinstances", true);

    /// `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The name of its definition, if a definition makes it: `things.things.io`.
    pub(crate) fn definition(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    /// The path of a collection (`name` empty) or of an object. An empty namespace
    /// is all of them.
    pub(crate) fn path(&self, namespace: &str, name: &str) -> String {
        let mut path = match &*self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        if self.namespaced && !namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(&encoded(namespace));
        }
        path.push('/');
        path.push_str(&self.plural);
        if !name.is_empty() {
            path.push('/');
            path.push_str(&encoded(name));
        }
        path
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plural)
    }
}

/// Encodes what may not stand in a path or in a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// The kinds that Kubernetes brings and a seed may hold.
const BUILT_IN: [Kind; 33] = [
    Kind::NAMESPACE,
    Kind::NODE,
    Kind::POD,
    Kind::SECRET,
    Kind::SERVICE,
    Kind::of("", "v1", "ConfigMap", "configmaps", true),
    Kind::of("", "v1", "ServiceAccount", "serviceaccounts", true),
    Kind::of("", "v1", "ResourceQuota", "resourcequotas", true),
    Kind::of("", "v1", "LimitRange", "limitranges", true),
    Kind::of("", "v1", "Endpoints", "endpoints", true),
    Kind::of("", "v1", "PersistentVolume", "persistentvolumes", false),
    Kind::of("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    Kind::DEPLOYMENT,
    Kind::of("apps", "v1", "DaemonSet", "daemonsets", true),
    Kind::of("apps", "v1", "StatefulSet", "statefulsets", true),
    Kind::of("apps", "v1", "ReplicaSet", "replicasets", true),
    Kind::of("batch", "v1", "Job", "jobs", true),
    Kind::of("batch", "v1", "CronJob", "cronjobs", true),
    Kind::of("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false),
    Kind::of("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", false),
    Kind::of("rbac.authorization.k8s.io", "v1", "Role", "roles", true),
    Kind::of("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", true),
    Kind::of("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", true),
    Kind::of("networking.k8s.io", "v1", "Ingress", "ingresses", true),
    Kind::of("networking.k8s.io", "v1", "IngressClass", "ingressclasses", false),
    Kind::of("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    Kind::of("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", false),
    Kind::of("storage.k8s.io", "v1", "StorageClass", "storageclasses", false),
    Kind::of("apiregistration.k8s.io", "v1", "APIService", "apiservices", false),
    Kind::ENDPOINT_SLICE,
    Kind::DEFINITION,
    Kind::VALIDATING,
    Kind::MUTATING,
];
/// The kinds of Flux that castle reads.
const FLUX: [Kind; 5] =
    [Kind::KUSTOMIZATION, Kind::HELM_RELEASE, Kind::GIT_REPOSITORY, Kind::OCI_REPOSITORY, Kind::HELM_REPOSITORY];

/// Kinds by version and name.
#[derive(Debug, Clone)]
pub(crate) struct Kinds(BTreeMap<(String, String), Kind>);

impl Kinds {
    /// What Kubernetes and Flux bring, and what these objects define.
    pub(crate) fn with_definitions(objects: &[Value]) -> Self {
        let mut kinds: BTreeMap<_, _> = BUILT_IN.into_iter().chain(FLUX).map(entry).collect();
        for object in objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition") {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
            for version in object["spec"]["versions"].as_array().into_iter().flatten() {
                kinds.extend([entry(Kind {
                    group: text("/spec/group").into(),
                    version: version["name"].as_str().unwrap_or("").to_owned().into(),
                    kind: text("/spec/names/kind").into(),
                    plural: text("/spec/names/plural").into(),
                    namespaced: text("/spec/scope") == "Namespaced",
                })]);
            }
        }
        Self(kinds)
    }

    pub(crate) fn get(&self, api_version: &str, kind: &str) -> Option<Kind> {
        self.0.get(&(api_version.to_owned(), kind.to_owned())).cloned()
    }
}

fn entry(kind: Kind) -> ((String, String), Kind) {
    ((kind.api_version(), kind.kind.to_string()), kind)
}

/// How an object is applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hand {
    /// The field manager.
    pub(crate) manager: &'static str,
    /// Whether fields are taken from others.
    pub(crate) force: bool,
}

impl KubeApi {
    /// Sends one request. `what` is for messages: `GET nodes`.
    pub(crate) async fn ask(
        &self,
        what: &str,
        method: http::Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Value> {
        let mut request = http::Request::builder().method(method).uri(path);
        let bytes = match body {
            Some((media, object)) => {
                request = request.header(http::header::CONTENT_TYPE, media);
                serde_json::to_vec(object).expect("an object of texts as keys is JSON")
            }
            None => Vec::new(),
        };
        let request = request.body(bytes).map_err(|error| Error::Malformed {
            request: what.to_owned(),
            why: format!("it cannot be sent: {error}"),
        })?;
        wire::within(&self.clock, &self.server, what, self.client.request(request)).await
    }

    /// The objects of a kind, all namespaces. `None`: the kind is not served.
    pub(crate) async fn list(&self, kind: &Kind) -> Result<Option<Vec<Value>>> {
        let what = format!("GET {}", kind.plural);
        let mut list = match self.ask(&what, http::Method::GET, &kind.path("", ""), None).await {
            Ok(list) => list,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        match list["items"].take() {
            Value::Array(mut items) => {
                // Kubernetes' own kinds leave both out of a list's items.
                for item in items.iter_mut().filter_map(Value::as_object_mut) {
                    item.entry("apiVersion").or_insert_with(|| kind.api_version().into());
                    item.entry("kind").or_insert_with(|| kind.kind.as_ref().into());
                }
                Ok(Some(items))
            }
            // Go writes an empty list so when nobody made it.
            Value::Null => Ok(Some(Vec::new())),
            _ => Err(Error::Malformed { request: what, why: "its items are not a list".into() }),
        }
    }

    /// One object, if it is there.
    pub(crate) async fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Option<Value>> {
        let what = format!("GET {}/{name}", kind.plural);
        match self.ask(&what, http::Method::GET, &kind.path(namespace, name), None).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Server-side apply. Unknown fields are refused instead of dropped.
    pub(crate) async fn apply(&self, kind: &Kind, object: &Value, hand: Hand) -> Result<Value> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("");
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let force = if hand.force { "&force=true" } else { "" };
        let path = format!(
            "{}?fieldManager={}&fieldValidation=Strict{force}",
            kind.path(namespace, name),
            encoded(hand.manager)
        );
        let what = format!("PATCH {}/{name}", kind.plural);
        self.ask(&what, http::Method::PATCH, &path, Some(("application/apply-patch+yaml", object))).await
    }

    /// A merge patch.
    pub(crate) async fn merge(
        &self,
        kind: &Kind,
        (namespace, name): (&str, &str),
        patch: &Value,
        manager: &str,
    ) -> Result<Value> {
        let path = format!("{}?fieldManager={}", kind.path(namespace, name), encoded(manager));
        let what = format!("PATCH {}/{name}", kind.plural);
        self.ask(&what, http::Method::PATCH, &path, Some(("application/merge-patch+json", patch))).await
    }

    /// Creates nothing, and says what the server and its webhooks would say.
    pub(crate) async fn create_dry(&self, kind: &Kind, object: &Value, manager: &str) -> Result<Value> {
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("");
        let path = format!("{}?dryRun=All&fieldManager={}", kind.path(namespace, ""), encoded(manager));
        let what = format!("POST {} (dry run)", kind.plural);
        self.ask(&what, http::Method::POST, &path, Some(("application/json", object))).await
    }

    /// The kind of that name in that version, if it is served.
    pub(crate) async fn find_kind(&self, api_version: &str, kind: &str) -> Result<Option<Kind>> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let path = match group {
            "" => format!("/api/{}", encoded(version)),
            group => format!("/apis/{}/{}", encoded(group), encoded(version)),
        };
        let resources = match self.ask(&format!("GET {path}"), http::Method::GET, &path, None).await {
            Ok(resources) => resources,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = resources["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|resource| resource["kind"] == kind && !resource["name"].as_str().unwrap_or("").contains('/'));
        Ok(found.map(|resource| Kind {
            group: group.to_owned().into(),
            version: version.to_owned().into(),
            kind: kind.to_owned().into(),
            plural: resource["name"].as_str().unwrap_or("").to_owned().into(),
            namespaced: resource["namespaced"] == true,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_knows_its_paths() {
        assert_eq!(Kind::SECRET.path("flux-system", "a b"), "/api/v1/namespaces/flux-system/secrets/a%20b");
        assert_eq!(Kind::NAMESPACE.path("x", "y"), "/api/v1/namespaces/y");
        assert_eq!(Kind::DEPLOYMENT.path("", ""), "/apis/apps/v1/deployments");
        assert_eq!(Kind::HELM_RELEASE.definition(), "helmreleases.helm.toolkit.fluxcd.io");
    }

    #[test]
    fn no_kind_is_named_twice() {
        assert_eq!(Kinds::with_definitions(&[]).0.len(), BUILT_IN.len() + FLUX.len());
    }
}
