//! How the places of an object belong together: which lists have elements with an
//! identity, and which maps and lists are one value.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::fields::Step;
use super::kind::Kind;
use super::schema::{ListKind, Schema};

/// The shape of one place.
#[derive(Clone, Copy)]
pub(super) enum Shape<'a> {
    /// A place of a type of Kubernetes' own: the plural of the kind, and the field.
    BuiltIn(&'a str, &'a str),
    /// A place of a custom kind.
    Custom(&'a Schema),
    /// Nothing is known: maps have fields, lists are one value.
    Free,
}

/// Maps of Kubernetes' own types that are one value (`+structType=atomic`, `+mapType=atomic`).
const ATOMIC_MAPS: [&str; 20] = [
    "selector",
    "labelSelector",
    "nodeSelector",
    "podSelector",
    "namespaceSelector",
    "objectSelector",
    "scopeSelector",
    "roleRef",
    "targetRef",
    "scaleTargetRef",
    "secretRef",
    "configMapRef",
    "secretKeyRef",
    "configMapKeyRef",
    "fieldRef",
    "resourceFieldRef",
    "involvedObject",
    "claimRef",
    "volumeClaimTemplate",
    "overhead",
];

impl<'a> Shape<'a> {
    /// The shape of a whole object of that version.
    pub(super) fn of(kind: &'a Kind, version: &str) -> Self {
        if !kind.is_custom {
            return Self::BuiltIn(&kind.resource.plural, "");
        }
        kind.schema(version).map_or(Self::Free, Self::Custom)
    }

    /// The shape of a field.
    pub(super) fn field(self, name: &'a str) -> Self {
        match self {
            Self::BuiltIn(plural, _) => Self::BuiltIn(plural, name),
            Self::Custom(schema) => schema.field(name).map_or(Self::Free, Self::Custom),
            Self::Free => Self::Free,
        }
    }

    /// The shape of the elements of a list.
    pub(super) fn element(self) -> Self {
        match self {
            Self::BuiltIn(plural, _) => Self::BuiltIn(plural, ""),
            Self::Custom(schema) => schema.element().map_or(Self::Free, Self::Custom),
            Self::Free => Self::Free,
        }
    }

    /// The metadata of any object.
    pub(super) fn metadata() -> Self {
        Self::BuiltIn("", "metadata")
    }

    /// Whether a map at this place is one value.
    pub(super) fn is_atomic_map(self) -> bool {
        match self {
            Self::BuiltIn(_, field) => ATOMIC_MAPS.contains(&field),
            Self::Custom(schema) => schema.is_atomic_map(),
            Self::Free => false,
        }
    }

    /// How the elements of the list at this place belong together.
    pub(super) fn list(self, elements: &[Value]) -> Cow<'a, ListKind> {
        match self {
            Self::BuiltIn(plural, field) => Cow::Owned(built_in_list(plural, field, elements)),
            Self::Custom(schema) => Cow::Borrowed(schema.list()),
            Self::Free => Cow::Owned(ListKind::Atomic),
        }
    }

    /// The step to an element of the list at this place; `None` in a list that is
    /// one value, and for an element without its keys.
    pub(super) fn step(self, list: &ListKind, element: &Value) -> Option<Step> {
        match list {
            ListKind::Atomic => None,
            ListKind::Set => Some(Step::Value(element.to_string())),
            ListKind::Map(keys) => Step::key(element, keys, |key| match self {
                Self::BuiltIn(..) => (key == "protocol").then(|| json!("TCP")),
                Self::Custom(schema) => schema.element()?.field(key)?.default_value().cloned(),
                Self::Free => None,
            }),
        }
    }
}

/// The list types of Kubernetes' own kinds, as their API declares them.
fn built_in_list(plural: &str, field: &str, elements: &[Value]) -> ListKind {
    let by = |keys: &[&str]| ListKind::Map(keys.iter().map(|key| (*key).to_owned()).collect());
    let has = |key: &str| elements.iter().any(|element| element.get(key).is_some());
    match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "webhooks"
        | "resourceClaims"
        | "matchConditions" => by(&["name"]),
        "imagePullSecrets" if plural != "serviceaccounts" => by(&["name"]),
        "secrets" if plural == "serviceaccounts" => by(&["name"]),
        "volumeMounts" => by(&["mountPath"]),
        "volumeDevices" => by(&["devicePath"]),
        "topologySpreadConstraints" => by(&["topologyKey", "whenUnsatisfiable"]),
        "ports" if has("containerPort") => by(&["containerPort", "protocol"]),
        "ports" if plural == "services" => by(&["port", "protocol"]),
        "conditions" => by(&["type"]),
        "addresses" if plural == "nodes" => by(&["type"]),
        "hostAliases" | "podIPs" | "hostIPs" => by(&["ip"]),
        "ownerReferences" => by(&["uid"]),
        "finalizers" => ListKind::Set,
        _ => ListKind::Atomic,
    }
}
