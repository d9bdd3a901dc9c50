//! What is laid over built objects: namespaces, labels, images, patches.

use serde_json::{Map, Value, json};

use super::object;
use crate::kube::{self, LabelSelector};

/// Kinds without a namespace, besides those whose name begins with `Cluster`.
const WITHOUT_NAMESPACE: [&str; 14] = [
    "APIService",
    "CSIDriver",
    "CustomResourceDefinition",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
];

/// Whether a kind has no namespace, as far as kustomize can know.
pub(crate) fn is_without_namespace(kind: &str) -> bool {
    kind.starts_with("Cluster") || WITHOUT_NAMESPACE.contains(&kind)
}

/// Puts all objects into a namespace; a `Namespace` among them takes its name.
pub(crate) fn set_namespace(objects: &mut [Value], namespace: &str) {
    for object in objects {
        match object::kind(object) {
            "Namespace" => object["metadata"]["name"] = json!(namespace),
            kind if is_without_namespace(kind) => {}
            _ => object["metadata"]["namespace"] = json!(namespace),
        }
    }
}

/// Adds labels to objects, to their selectors and to their pods.
pub(crate) fn add_labels(objects: &mut [Value], labels: &Value, selectors: bool, templates: bool) {
    let Some(labels) = labels.as_object().filter(|labels| !labels.is_empty()) else { return };
    for object in objects {
        add(&mut object["metadata"], "labels", labels);
        if selectors {
            match object::kind(object) {
                "Service" if object.pointer("/spec/selector").is_some() => add(&mut object["spec"], "selector", labels),
                "Deployment" | "DaemonSet" | "StatefulSet" | "ReplicaSet" => {
                    add(&mut object["spec"]["selector"], "matchLabels", labels);
                }
                _ => {}
            }
        }
        if templates && object.pointer("/spec/template/metadata").is_some() {
            add(&mut object["spec"]["template"]["metadata"], "labels", labels);
        }
    }
}

/// Adds annotations to objects and to their pods.
pub(crate) fn add_annotations(objects: &mut [Value], annotations: &Value) {
    let Some(annotations) = annotations.as_object().filter(|annotations| !annotations.is_empty()) else { return };
    for object in objects {
        add(&mut object["metadata"], "annotations", annotations);
        if object.pointer("/spec/template/metadata").is_some() {
            add(&mut object["spec"]["template"]["metadata"], "annotations", annotations);
        }
    }
}

fn add(home: &mut Value, field: &str, pairs: &Map<String, Value>) {
    if !home[field].is_object() {
        home[field] = json!({});
    }
    if let Some(present) = home[field].as_object_mut() {
        present.extend(pairs.clone());
    }
}

/// Changes the images of containers, wherever pods are described.
pub(crate) fn set_images(objects: &mut [Value], images: &Value) {
    for change in images.as_array().map_or(&[][..], Vec::as_slice) {
        objects.iter_mut().for_each(|object| set_image(object, change));
    }
}

fn set_image(value: &mut Value, change: &Value) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                if ["containers", "initContainers"].contains(&key.as_str()) {
                    for container in inner.as_array_mut().into_iter().flatten() {
                        let image = object::text(container, &["image"]);
                        if name_of(image) == object::text(change, &["name"]) && !image.is_empty() {
                            container["image"] = json!(changed(image, change));
                        }
                    }
                } else {
                    set_image(inner, change);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| set_image(inner, change)),
        _ => {}
    }
}

/// An image's name without tag and digest. A colon before the last slash belongs
/// to the registry's port.
fn name_of(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    match name.rfind(':') {
        Some(colon) if !name[colon..].contains('/') => &name[..colon],
        _ => name,
    }
}

fn changed(image: &str, change: &Value) -> String {
    let text = |key: &str| Some(object::text(change, &[key])).filter(|text| !text.is_empty());
    let old = name_of(image);
    let name = text("newName").unwrap_or(old);
    match (text("digest"), text("newTag")) {
        (Some(digest), _) => format!("{name}@{digest}"),
        (None, Some(tag)) => format!("{name}:{tag}"),
        (None, None) => format!("{name}{}", &image[old.len()..]),
    }
}

/// A patch and what it is for.
pub(crate) struct Patch {
    content: Value,
    target: Value,
}

impl Patch {
    /// Reads a patch: a list of operations (RFC 6902) or a strategic merge patch.
    pub(crate) fn read(content: &str, target: &Value) -> Result<Self, String> {
        let content: Value =
            serde_saphyr::from_str(content).map_err(|error| format!("unable to parse SM or JSON patch: {error}"))?;
        let known = ["group", "version", "kind", "name", "namespace", "labelSelector"];
        if let Some(field) = target.as_object().and_then(|map| map.keys().find(|key| !known.contains(&key.as_str()))) {
            return Err(format!("`patches.target.{field}` is not among the features that this house builds"));
        }
        for field in ["kind", "name", "namespace"] {
            let wanted = object::text(target, &[field]);
            if wanted != ".*" && wanted.contains(['*', '+', '?', '(', '[', '|', '^', '$']) {
                return Err(format!(
                    "the expression `{wanted}` in `patches.target.{field}` is not among the features that this house builds"
                ));
            }
        }
        if content.is_array() && !target.is_object() {
            return Err("must specify a target for JSON patch".to_owned());
        }
        Ok(Self { content, target: target.clone() })
    }

    /// Changes the objects that it is for.
    pub(crate) fn apply(&self, objects: &mut Vec<Value>) -> Result<(), String> {
        let labels = LabelSelector::parse(object::text(&self.target, &["labelSelector"])).map_err(|why| why.message)?;
        let chosen: Vec<usize> =
            (0..objects.len()).filter(|&at| self.is_for(&objects[at]) && labels.matches(&objects[at])).collect();
        if chosen.is_empty() && !self.target.is_object() {
            return Err(format!("no resource matches strategic merge patch {:?}", object::subject(&self.content)));
        }
        let mut gone = Vec::new();
        for at in chosen {
            let object = &mut objects[at];
            if self.content.is_array() {
                kube::operate(object, &self.content)?;
            } else if self.content["$patch"] == "delete" {
                gone.push(at);
            } else {
                let mut content = self.content.clone();
                // A patch with a target may not rename what it is laid over.
                if let Some(metadata) = content.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.remove("name");
                    metadata.remove("namespace");
                }
                for key in ["apiVersion", "kind"] {
                    content.as_object_mut().map(|fields| fields.remove(key));
                }
                // The merge keys of lists are known for the kinds of Kubernetes only.
                if object::group(object).contains('.') && !object::group(object).ends_with(".k8s.io") {
                    kube::merge_patch(object, &content);
                } else {
                    kube::strategic_merge(object, &content);
                }
            }
        }
        for at in gone.into_iter().rev() {
            objects.remove(at);
        }
        Ok(())
    }

    fn is_for(&self, object: &Value) -> bool {
        if !self.target.is_object() {
            let same = |path: &[&str]| object::text(&self.content, path) == object::text(object, path);
            let namespace = object::namespace(&self.content);
            return same(&["kind"])
                && same(&["metadata", "name"])
                && object::group(&self.content) == object::group(object)
                && (namespace.is_empty() || namespace == object::namespace(object));
        }
        let wants = |key: &str, found: &str| {
            let wanted = object::text(&self.target, &[key]);
            wanted.is_empty() || wanted == ".*" || wanted == found
        };
        wants("group", object::group(object))
            && wants("version", object::version(object))
            && wants("kind", object::kind(object))
            && wants("name", object::name(object))
            && wants("namespace", object::namespace(object))
    }
}
