//! What the API server fills in and what it refuses, for the kinds that exist
//! here. Unknown fields pass, as they do for clients that do not ask for
//! strictness.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::kind::{Kind, Resource};
use super::object;
use super::refusal::Refusal;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
    '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// The maps of text that an object may have, and how Go's decoder names them.
const TEXTS: [(&[&str], &str, &str); 5] = [
    (&["metadata", "labels"], "", "ObjectMeta.metadata.labels"),
    (&["metadata", "annotations"], "", "ObjectMeta.metadata.annotations"),
    (&["data"], "ConfigMap", "ConfigMap.data"),
    (&["data"], "Secret", "Secret.data"),
    (&["stringData"], "Secret", "Secret.stringData"),
];

/// Refuses a map of text with something else in it: the mistake of a manifest
/// that leaves out the quotes.
fn check_texts(kind: &Kind, object: &Value) -> Result<(), Refusal> {
    let refuse = |why: String| {
        let (name, version) = (&kind.kind, kind.version());
        Err(Refusal::bad_request(format!("{name} in version \"{version}\" cannot be handled as a {name}: {why}")))
    };
    for (path, of_kind, field) in TEXTS {
        let is_meant = of_kind.is_empty() || kind.resource.group.is_empty() && kind.kind == of_kind;
        let found = path.iter().try_fold(object, |inner, key| inner.get(key));
        for value in found.and_then(Value::as_object).filter(|_| is_meant).into_iter().flat_map(|map| map.values()) {
            let wrong = match value {
                Value::Bool(_) => "bool",
                Value::Number(_) => "number",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
                Value::String(text) if field == "Secret.data" && STANDARD.decode(text).is_err() => {
                    return refuse("illegal base64 data".to_owned());
                }
                Value::String(_) | Value::Null => continue,
            };
            return refuse(format!("json: cannot unmarshal {wrong} into Go struct field {field} of type string"));
        }
    }
    Ok(())
}

/// Checks what every object must be like.
pub(super) fn check(kind: &Kind, object: &Value) -> Result<(), Refusal> {
    check_texts(kind, object)?;
    let name = object::name(object);
    let mut causes = Vec::new();
    if name.is_empty() {
        causes.push(("metadata.name", "FieldValueRequired", "Required value: name or generateName is required".into()));
    } else if kind.resource.group == "rbac.authorization.k8s.io" {
        // The names of roles are steps of a path: `system:nodes`.
        if [".", ".."].contains(&name) || name.contains(['/', '%']) {
            let why = format!("Invalid value: \"{name}\": may not contain '/' or '%', nor be '.' or '..'");
            causes.push(("metadata.name", "FieldValueInvalid", why));
        }
    } else if !is_subdomain(name) {
        causes.push(("metadata.name", "FieldValueInvalid", format!("Invalid value: \"{name}\": {SUBDOMAIN}")));
    }
    let namespace = object::namespace(object);
    if kind.namespaced && namespace.is_empty() {
        causes.push(("metadata.namespace", "FieldValueRequired", "Required value".into()));
    }
    if !kind.namespaced && !namespace.is_empty() {
        causes.push(("metadata.namespace", "FieldValueForbidden", "Forbidden: not allowed on this type".into()));
    }
    if causes.is_empty() { Ok(()) } else { Err(Refusal::invalid(kind, name, &causes)) }
}

/// Checks what a write may not change.
pub(super) fn check_change(kind: &Kind, before: &Value, after: &Value) -> Result<(), Refusal> {
    let mut causes = Vec::new();
    let mut immutable = |field: &'static str| {
        let pointer = format!("/{}", field.replace('.', "/"));
        if before.pointer(&pointer) != after.pointer(&pointer) && before.pointer(&pointer).is_some() {
            causes.push((field, "FieldValueInvalid", "Invalid value: field is immutable".to_owned()));
        }
    };
    match &kind.resource {
        resource if *resource == Resource::SECRETS => immutable("type"),
        resource if *resource == Resource::DEFINITIONS => immutable("spec.scope"),
        resource if resource.group == "rbac.authorization.k8s.io" => immutable("roleRef"),
        resource if *resource == Resource::SERVICES => immutable("spec.clusterIP"),
        resource if [Resource::DEPLOYMENTS, Resource::DAEMON_SETS, Resource::REPLICA_SETS].contains(resource) => {
            immutable("spec.selector");
        }
        resource if *resource == Resource::PODS && !object::text(before, &["spec", "nodeName"]).is_empty() => {
            immutable("spec.nodeName");
        }
        _ => {}
    }
    let is_frozen = before.get("immutable").and_then(Value::as_bool) == Some(true);
    if is_frozen && (before.get("data") != after.get("data") || after.get("immutable") != before.get("immutable")) {
        let why = "Forbidden: field is immutable when `immutable` is set".to_owned();
        causes.push(("data", "FieldValueForbidden", why));
    }
    if causes.is_empty() { Ok(()) } else { Err(Refusal::invalid(kind, object::name(after), &causes)) }
}

/// Fills in what Kubernetes fills in and what others rely on here.
pub(super) fn set_defaults(kind: &Kind, object: &mut Value) {
    match &kind.resource {
        resource if *resource == Resource::NAMESPACES => {
            let name = object::name(object).to_owned();
            if !object["metadata"]["labels"].is_object() {
                object["metadata"]["labels"] = json!({});
            }
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(name);
            fill(object, "spec", "finalizers", json!(["kubernetes"]));
            fill(object, "status", "phase", json!("Active"));
        }
        resource if *resource == Resource::PODS => {
            fill(object, "spec", "restartPolicy", json!("Always"));
            fill(object, "status", "phase", json!("Pending"));
        }
        resource if *resource == Resource::SECRETS => {
            let plain = object.as_object_mut().and_then(|fields| fields.remove("stringData"));
            if let Some(Value::Object(plain)) = plain {
                for (key, value) in plain {
                    let bytes = value.as_str().unwrap_or("").as_bytes();
                    fill(object, "data", &key, Value::Null);
                    object["data"][&key] = json!(STANDARD.encode(bytes));
                }
            }
            if object.get("type").is_none() {
                object["type"] = json!("Opaque");
            }
        }
        resource if *resource == Resource::SERVICES => fill(object, "spec", "type", json!("ClusterIP")),
        _ => {}
    }
}

/// Sets a field of a section unless it is set.
fn fill(object: &mut Value, section: &str, field: &str, value: Value) {
    if !object[section].is_object() {
        object[section] = json!({});
    }
    if object[section].get(field).is_none() {
        object[section][field] = value;
    }
}

fn is_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        let ends_well = |end: Option<char>| end.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && ends_well(label.chars().next())
            && ends_well(label.chars().last())
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_subdomains() {
        for (name, is_good) in
            [("cp-01", true), ("a.b", true), ("A", false), ("a_b", false), ("-a", false), ("a..b", false)]
        {
            assert_eq!(is_subdomain(name), is_good, "{name}");
        }
    }
}
