//! From a commit and a Kustomization of Flux to the objects that it wants.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::kustomize::{self, Files};
use super::object;
use super::substitute::substitute;
use super::transform::{self, Patch};

/// The fields of a Kustomization that are known here.
const FIELDS: [&str; 16] = [
    "commonMetadata",
    "dependsOn",
    "force",
    "healthChecks",
    "images",
    "interval",
    "patches",
    "path",
    "postBuild",
    "prune",
    "retryInterval",
    "sourceRef",
    "suspend",
    "targetNamespace",
    "timeout",
    "wait",
];

/// The label with the name of the Kustomization that wants an object.
pub(crate) const OWNER_NAME: &str = "kustomize.toolkit.fluxcd.io/name";
/// The label with its namespace.
pub(crate) const OWNER_NAMESPACE: &str = "kustomize.toolkit.fluxcd.io/namespace";

/// Why a Kustomization cannot be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BuildError {
    /// Its folder is not in this revision.
    Path(String),
    /// Everything else.
    Build(String),
}

/// The objects that a Kustomization wants, in the order in which they are applied.
pub(crate) fn build(
    files: &Files,
    kustomization: &Value,
    variables: &Result<BTreeMap<String, String>, String>,
) -> Result<Vec<Value>, BuildError> {
    let spec = &kustomization["spec"];
    let folder = kustomize::clean(object::text(spec, &["path"])).map_err(BuildError::Path)?;
    if !kustomize::is_folder(files, &folder) {
        return Err(BuildError::Path(format!(
            "kustomization path not found: stat /tmp/kustomization/{folder}: no such file or directory"
        )));
    }
    built(files, &folder, kustomization, variables).map_err(BuildError::Build)
}

fn built(
    files: &Files,
    folder: &str,
    kustomization: &Value,
    variables: &Result<BTreeMap<String, String>, String>,
) -> Result<Vec<Value>, String> {
    let spec = &kustomization["spec"];
    let fields = spec.as_object().ok_or("the Kustomization has no spec")?;
    if let Some(field) = fields.keys().find(|field| !FIELDS.contains(&field.as_str())) {
        return Err(format!("`spec.{field}` is not among the features that this house builds"));
    }
    for dependency in spec["dependsOn"].as_array().into_iter().flatten() {
        let mut fields = dependency.as_object().into_iter().flatten().map(|(field, _)| field.as_str());
        if let Some(field) = fields.find(|field| !["name", "namespace"].contains(field)) {
            return Err(format!("`spec.dependsOn.{field}` is not among the features that this house builds"));
        }
    }
    let known = ["substitute", "substituteFrom"];
    let post_build = spec["postBuild"].as_object();
    if let Some(field) = post_build.and_then(|map| map.keys().find(|field| !known.contains(&field.as_str()))) {
        return Err(format!("`spec.postBuild.{field}` is not among the features that this house builds"));
    }
    if files.keys().any(|path| path == ".sourceignore" || path.ends_with("/.sourceignore")) {
        return Err("`.sourceignore` is not among the features that this house builds".to_owned());
    }
    let mut objects = kustomize::build(files, folder)?;
    for patch in spec["patches"].as_array().map_or(&[][..], Vec::as_slice) {
        Patch::read(object::text(patch, &["patch"]), &patch["target"])?.apply(&mut objects)?;
    }
    let namespace = object::text(spec, &["targetNamespace"]);
    if !namespace.is_empty() {
        transform::set_namespace(&mut objects, namespace);
    }
    transform::set_images(&mut objects, &spec["images"]);
    for object in &mut objects {
        if object::kind(object) == "Secret" && object.get("sops").is_some() {
            let subject = object::subject(object);
            return Err(format!(
                "{subject} is SOPS encrypted, configuring decryption is required for this secret to \
                                be reconciled"
            ));
        }
        if spec["postBuild"].is_object() {
            let variables = variables.as_ref().map_err(Clone::clone)?;
            substitute(object, variables)?;
        }
        for home in ["labels", "annotations"] {
            for (key, value) in spec["commonMetadata"][home].as_object().into_iter().flatten() {
                object["metadata"][home][key] = value.clone();
            }
        }
        object["metadata"]["labels"][OWNER_NAME] = json!(object::name(kustomization));
        object["metadata"]["labels"][OWNER_NAMESPACE] = json!(object::namespace(kustomization));
    }
    objects.sort_by_key(rank);
    Ok(objects)
}

/// The variables of a Kustomization: those of named objects in their order, then
/// its own. `read` gives the pairs of a `ConfigMap` or `Secret` by kind and name.
///
/// # Errors
///
/// Which object is missing.
pub(crate) fn variables(
    kustomization: &Value,
    read: impl Fn(&str, &str) -> Result<BTreeMap<String, String>, String>,
) -> Result<BTreeMap<String, String>, String> {
    let post_build = &kustomization["spec"]["postBuild"];
    let mut variables = BTreeMap::new();
    for source in post_build["substituteFrom"].as_array().map_or(&[][..], Vec::as_slice) {
        let (kind, name) = (object::text(source, &["kind"]), object::text(source, &["name"]));
        match read(kind, name) {
            Ok(pairs) => variables.extend(pairs),
            Err(_) if source["optional"] == true => {}
            Err(why) => return Err(format!("substitute from '{kind}/{name}' error: {why}")),
        }
    }
    for (key, value) in post_build["substitute"].as_object().into_iter().flatten() {
        variables.insert(key.clone(), value.as_str().unwrap_or("").to_owned());
    }
    Ok(variables)
}

/// Kinds that others stand on come first, those that can refuse others last.
fn rank(object: &Value) -> usize {
    const FIRST: [&str; 19] = [
        "CustomResourceDefinition",
        "Namespace",
        "ResourceQuota",
        "StorageClass",
        "ServiceAccount",
        "PodSecurityPolicy",
        "Role",
        "ClusterRole",
        "RoleBinding",
        "ClusterRoleBinding",
        "ConfigMap",
        "Secret",
        "Service",
        "LimitRange",
        "PriorityClass",
        "Deployment",
        "StatefulSet",
        "CronJob",
        "PodDisruptionBudget",
    ];
    match object::kind(object) {
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => FIRST.len() + 1,
        kind => FIRST.iter().position(|first| *first == kind).unwrap_or(FIRST.len()),
    }
}

/// Whether an object is applied before the others, because they need its kind or
/// its namespace.
pub(crate) fn is_first_stage(object: &Value) -> bool {
    ["CustomResourceDefinition", "Namespace", "ClusterRole"].contains(&object::kind(object))
}
