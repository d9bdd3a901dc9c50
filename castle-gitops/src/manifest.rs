//! Manifests: YAML of many documents, read into objects and ordered for applying.

use std::fmt;

use serde_json::Value;

use crate::kubernetes::object::{Kind, Kinds};

/// Larger manifests are not read: the biggest that people apply have a few MiB.
const LARGEST: usize = 16 << 20;

/// What is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct BadManifest {
    /// The file or the URL, with the document's number.
    pub place: String,
    /// What is wrong.
    pub why: String,
}

/// An object of a manifest, with its kind.
#[derive(Clone, PartialEq)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) value: Value,
}

impl Object {
    pub(crate) fn namespace(&self) -> &str {
        text(&self.value, "/metadata/namespace")
    }

    pub(crate) fn name(&self) -> &str {
        text(&self.value, "/metadata/name")
    }

    /// Whether others can only be applied once this one is served.
    pub(crate) fn is_ground(&self) -> bool {
        matches!(
            (&*self.kind.group, &*self.kind.kind),
            ("", "Namespace") | ("apiextensions.k8s.io", "CustomResourceDefinition")
        )
    }

    /// When it is applied: first what others stand on, then what runs, at last what
    /// sets off a run of its own.
    pub(crate) fn stage(&self) -> u8 {
        match &*self.kind.kind {
            _ if self.is_ground() => 0,
            "DaemonSet" | "Deployment" | "StatefulSet" | "Job" | "CronJob" => 2,
            "Kustomization" | "HelmRelease" => 4,
            _ if rank(self) >= ORDER.len() => 3,
            _ => 1,
        }
    }

    pub(crate) fn is_definition(&self) -> bool {
        &*self.kind.kind == "CustomResourceDefinition" && &*self.kind.group == "apiextensions.k8s.io"
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace() {
            "" => write!(f, "{}/{}", self.kind.kind, self.name()),
            namespace => write!(f, "{}/{namespace}/{}", self.kind.kind, self.name()),
        }
    }
}

/// No content: it may be a Secret's.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({self})")
    }
}

/// The text at a JSON pointer, or an empty one.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// Reads YAML of many documents, within bounds: what a repository holds may be
/// small and grow without end while it is read.
///
/// # Errors
///
/// Why it is not read.
pub(crate) fn yaml(bytes: &[u8]) -> Result<Vec<Value>, String> {
    if bytes.len() > LARGEST {
        return Err(format!("has {} bytes, {LARGEST} are read", bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 4_000_000,
            max_nodes: 2_000_000,
            max_depth: 128,
            max_aliases: 256,
            max_anchors: 256,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 16,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| format!("is not YAML that can be read: {error}"))
}

/// Reads the documents of a manifest, `List`s taken apart. `place` is for messages.
///
/// # Errors
///
/// What is no YAML, no object, or an object without kind or name.
pub(crate) fn documents(manifest: &[u8], place: &str) -> Result<Vec<Value>, BadManifest> {
    let bad = |at: Option<usize>, why: String| BadManifest {
        place: at.map_or_else(|| place.to_owned(), |number| format!("{place}, document {}", number + 1)),
        why,
    };
    let documents = yaml(manifest).map_err(|why| bad(None, why))?;
    let mut objects = Vec::new();
    for (number, document) in documents.into_iter().enumerate() {
        match document {
            Value::Null => {}
            Value::Object(map) if map.get("kind").and_then(Value::as_str) == Some("List") => match map.get("items") {
                Some(Value::Array(items)) => {
                    for item in items {
                        objects.push(checked(item.clone()).map_err(|why| bad(Some(number), why))?);
                    }
                }
                _ => return Err(bad(Some(number), "is a List without items".into())),
            },
            object => objects.push(checked(object).map_err(|why| bad(Some(number), why))?),
        }
    }
    Ok(objects)
}

fn checked(object: Value) -> Result<Value, String> {
    if !object.is_object() {
        return Err("is not an object".into());
    }
    for pointer in ["/apiVersion", "/kind", "/metadata/name"] {
        if text(&object, pointer).is_empty() {
            return Err(format!("has no {}", pointer[1..].replace('/', ".")));
        }
    }
    if object.get("apiVersion").and_then(Value::as_str) == Some("v1") && object.get("sops").is_some() {
        return Err(format!("{} is encrypted by SOPS, which a seed cannot be", text(&object, "/metadata/name")));
    }
    Ok(object)
}

/// Gives every object its kind and its namespace, and orders them: namespaces and
/// definitions first, then what others lean on, at last the custom objects.
///
/// # Errors
///
/// An object of a kind that neither Kubernetes nor the manifest defines.
pub(crate) fn objects(documents: Vec<Value>, place: &str) -> Result<Vec<Object>, BadManifest> {
    let kinds = Kinds::with_definitions(&documents);
    let mut objects = Vec::with_capacity(documents.len());
    for mut value in documents {
        let (version, kind) = (text(&value, "/apiVersion"), text(&value, "/kind"));
        let Some(kind) = kinds.get(version, kind) else {
            return Err(BadManifest {
                place: place.to_owned(),
                why: format!(
                    "{kind} {} is of version {version}, which the manifest does not define and castle does not know",
                    text(&value, "/metadata/name")
                ),
            });
        };
        if !kind.namespaced {
            if let Some(metadata) = value["metadata"].as_object_mut() {
                metadata.remove("namespace");
            }
        } else if text(&value, "/metadata/namespace").is_empty() {
            value["metadata"]["namespace"] = "default".into();
        }
        // What the server alone writes is no wish.
        if let Some(object) = value.as_object_mut() {
            object.remove("status");
        }
        if let Some(metadata) = value["metadata"].as_object_mut() {
            metadata.remove("creationTimestamp");
        }
        objects.push(Object { kind, value });
    }
    objects.sort_by_key(|object| (object.stage(), rank(object)));
    Ok(objects)
}

/// The kinds of Kubernetes' own in the order of applying.
const ORDER: [&str; 17] = [
    "Namespace",
    "CustomResourceDefinition",
    "ResourceQuota",
    "LimitRange",
    "PriorityClass",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "NetworkPolicy",
    "ConfigMap",
    "Secret",
    "Service",
    "DaemonSet",
    "Deployment",
    "StatefulSet",
];

/// The place in the order of applying; equals keep the manifest's order.
fn rank(object: &Object) -> usize {
    // A root before its source would only fail once.
    let last = match &*object.kind.kind {
        "Kustomization" | "HelmRelease" => ORDER.len() + 1,
        _ => ORDER.len(),
    };
    ORDER.iter().position(|kind| *kind == &*object.kind.kind).unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(manifest: &str, expected: Result<&[&str], &str>) {
        let found = documents(manifest.as_bytes(), "flux.yaml").and_then(|documents| objects(documents, "flux.yaml"));
        let shown = found.map(|objects| objects.iter().map(ToString::to_string).collect::<Vec<_>>());
        match expected {
            Ok(names) => assert_eq!(shown.expect("a good manifest"), names),
            Err(why) => assert_eq!(shown.expect_err("a bad manifest").to_string(), why),
        }
    }

    #[test]
    fn definitions_come_first_and_custom_objects_last() {
        check(
            "# a comment\n---\napiVersion: things.io/v1\nkind: Thing\nmetadata: {name: a, namespace: n}\n---\n\
             apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n---\n---\n\
             apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.things.io}\n\
             spec: {group: things.io, scope: Namespaced, names: {kind: Thing, plural: things}, versions: [{name: v1}]}\n\
             ---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: n, namespace: x}}\n",
            Ok(&["Namespace/n", "CustomResourceDefinition/things.things.io", "Deployment/default/d", "Thing/n/a"]),
        );
    }

    #[test]
    fn a_bomb_is_not_lit() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let inner = vec![format!("*a{}", level - 1); 9].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
        }
        assert!(text.len() < 1000, "{} bytes", text.len());
        let why = yaml(text.as_bytes()).expect_err("a billion elements");
        assert!(why.starts_with("is not YAML that can be read"), "{why}");
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        yaml(deep.as_bytes()).expect_err("it is too deep");
    }

    #[test]
    fn an_object_is_shown_without_its_content() {
        let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {password: aHVudGVyMg==}\n";
        let objects = documents(text.as_bytes(), "a").and_then(|documents| objects(documents, "a"));
        assert_eq!(format!("{:?}", objects.expect("a manifest")), "[Object(Secret/default/a)]");
    }

    #[test]
    fn what_cannot_be_applied_is_told_with_its_place() {
        check("apiVersion: v1\nkind: Secret\n", Err("flux.yaml, document 1: has no metadata.name"));
        check(
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n- a\n",
            Err("flux.yaml, document 2: is not an object"),
        );
        check(
            "apiVersion: things.io/v1\nkind: Thing\nmetadata: {name: a}\n",
            Err(
                "flux.yaml: Thing a is of version things.io/v1, which the manifest does not define and castle does not know",
            ),
        );
        check(
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nsops: {}\n",
            Err("flux.yaml, document 1: a is encrypted by SOPS, which a seed cannot be"),
        );
    }
}
