//! What the server says it can do.

use serde_json::{Value, json};

use super::route::Discovery;
use crate::kube::{Kind, Kinds, Refusal, Resource, Store};

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];

/// The media type of the document that holds all groups at once.
pub(super) const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// One of the classic documents.
pub(super) fn document(kinds: &Kinds, which: &Discovery) -> Result<Value, Refusal> {
    match which {
        Discovery::Core => Ok(json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        })),
        Discovery::Groups => {
            let groups: Vec<_> = kinds.groups().iter().map(|(name, versions)| group(name, versions)).collect();
            Ok(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        Discovery::Group(name) => {
            let groups = kinds.groups();
            let versions = groups.get(name.as_str()).ok_or_else(Refusal::no_resource)?;
            let mut document = group(name, versions);
            document["kind"] = json!("APIGroup");
            document["apiVersion"] = json!("v1");
            Ok(document)
        }
        Discovery::Version(group, version) => {
            let resources: Vec<_> = rows(kinds, group, version).flat_map(classic_rows).collect();
            if resources.is_empty() {
                return Err(Refusal::no_resource());
            }
            let group_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
            Ok(json!({
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": group_version,
                "resources": resources,
            }))
        }
    }
}

/// The document with everything: of the core group, or of all others.
pub(super) fn aggregated(kinds: &Kinds, is_core: bool) -> Value {
    let groups = kinds.groups();
    let groups: Vec<_> = match is_core {
        true => vec![("", vec!["v1"])],
        false => groups.into_iter().collect(),
    };
    let items: Vec<_> = groups
        .into_iter()
        .map(|(group, versions)| {
            let versions: Vec<_> = versions
                .into_iter()
                .map(|version| {
                    let resources: Vec<_> =
                        rows(kinds, group, version).map(|kind| aggregated_row(kind, version)).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

/// `/version`.
pub(super) fn version(store: &Store) -> Value {
    let plain = store.version.trim_start_matches('v');
    let mut numbers = plain.split('.');
    json!({
        "major": numbers.next().unwrap_or(""),
        "minor": numbers.next().unwrap_or(""),
        "gitVersion": store.version,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "go1.26",
        "compiler": "gc",
        "platform": "linux/amd64",
    })
}

/// `/openapi/v3` and below: which paths take which parameters, and the schemas of
/// custom kinds. Kubernetes' own have none here: what is written is checked by the
/// server.
pub(super) fn open_api(store: &Store, rest: &str) -> Result<Value, Refusal> {
    let kinds = store.kinds();
    let trees = || {
        kinds.iter().flat_map(|kind| {
            kind.versions.iter().map(move |version| match kind.resource.group.as_ref() {
                "" => (format!("api/{version}"), kind, version),
                group => (format!("apis/{group}/{version}"), kind, version),
            })
        })
    };
    let tree = match rest.strip_prefix("v3") {
        Some("") => {
            let mut paths = json!({});
            for (tree, ..) in trees() {
                paths[&tree] = json!({"serverRelativeURL": format!("/openapi/v3/{tree}")});
            }
            return Ok(json!({"paths": paths}));
        }
        Some(tree) => tree.trim_start_matches('/'),
        // The second version of the document is not written here.
        None => return Err(Refusal::no_resource()),
    };
    let (mut paths, mut schemas) = (json!({}), json!({}));
    for (_, kind, version) in trees().filter(|(known, ..)| known == tree) {
        if let Some(schema) = schema(store, kind, version) {
            let home: Vec<_> = kind.resource.group.split('.').rev().collect();
            schemas[format!("{}.{version}.{}", home.join("."), kind.kind)] = schema;
        }
        let inside = if kind.namespaced { "namespaces/{namespace}/" } else { "" };
        let path = format!("/{tree}/{inside}{}/{{name}}", kind.resource.plural);
        let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
        paths[&path] = json!({
            "patch": {
                "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
                "x-kubernetes-action": "patch",
                "x-kubernetes-group-version-kind": {
                    "group": kind.resource.group, "version": version, "kind": kind.kind,
                },
            },
        });
    }
    if paths.as_object().is_none_or(serde_json::Map::is_empty) {
        return Err(Refusal::no_resource());
    }
    Ok(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

/// The schema of one version of a custom kind, as its definition has it.
fn schema(store: &Store, kind: &Kind, version: &str) -> Option<Value> {
    let definition = store.get(&Resource::DEFINITIONS, "", &kind.resource.to_string()).ok()?;
    let versions = definition.pointer("/spec/versions")?.as_array()?;
    let mut schema =
        versions.iter().find(|known| known["name"] == version)?.pointer("/schema/openAPIV3Schema")?.clone();
    schema.as_object_mut()?.insert(
        "x-kubernetes-group-version-kind".to_owned(),
        json!([{"group": kind.resource.group, "version": version, "kind": kind.kind}]),
    );
    Some(schema)
}

fn rows<'a>(kinds: &'a Kinds, group: &str, version: &str) -> impl Iterator<Item = &'a Kind> {
    kinds
        .iter()
        .filter(move |kind| kind.resource.group == group && kind.versions.iter().any(|served| served == version))
}

fn group(name: &str, versions: &[&str]) -> Value {
    let version = |version: &str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({
        "name": name,
        "versions": versions.iter().map(|one| version(one)).collect::<Vec<_>>(),
        "preferredVersion": version(versions.first().copied().unwrap_or("v1")),
    })
}

fn classic_rows(kind: &Kind) -> Vec<Value> {
    let mut row = json!({
        "name": kind.resource.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": VERBS,
    });
    if !kind.short_names.is_empty() {
        row["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        row["categories"] = json!(kind.categories);
    }
    let mut rows = vec![row];
    if kind.has_status {
        rows.push(json!({
            "name": format!("{}/status", kind.resource.plural),
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": STATUS_VERBS,
        }));
    }
    rows
}

fn aggregated_row(kind: &Kind, version: &str) -> Value {
    let response = json!({"group": kind.resource.group, "version": version, "kind": kind.kind});
    let mut row = json!({
        "resource": kind.resource.plural,
        "responseKind": response,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": VERBS,
    });
    if !kind.short_names.is_empty() {
        row["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        row["categories"] = json!(kind.categories);
    }
    if kind.has_status {
        row["subresources"] = json!([{"subresource": "status", "responseKind": response, "verbs": STATUS_VERBS}]);
    }
    row
}
