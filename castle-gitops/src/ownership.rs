//! Who owns an object, and whether it is what castle would apply.

use serde_json::{Map, Value};

use crate::manifest::text;
use crate::quantity;

/// The field manager of what Flux shall own: it absorbs every manager whose name
/// begins with `kubectl` on its first apply, so nothing needs to be released.
pub(crate) const PLANTED: &str = "kubectl-castle";
/// The field manager of what castle keeps.
pub(crate) const KEPT: &str = "castle";
/// The label of what castle keeps, and its value.
pub(crate) const KEPT_LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "castle");

/// Field managers whose applies mean that GitOps owns the object.
const ENGINES: [&str; 3] = ["kustomize-controller", "helm-controller", "flux-operator"];
/// The command line of Flux: what it installed is not castle's to change.
const FLUX_CLI: &str = "flux";

/// Whether conflicts with this manager are no conflict: castle's own, of today or
/// of an older release.
pub(crate) fn is_castle(manager: &str) -> bool {
    [KEPT, PLANTED]
        .iter()
        .any(|own| manager == *own || manager.strip_prefix(own).is_some_and(|rest| rest.starts_with('-')))
}

/// Whether castle yields to this manager.
pub(crate) fn is_engine(manager: &str) -> bool {
    ENGINES.contains(&manager) || manager == FLUX_CLI
}

/// Who owns the object, if it is not castle's to write: Flux, by its labels or by
/// its applies, or an ExternalSecret that makes it.
pub(crate) fn holder(live: &Value) -> Option<String> {
    for (kind, prefix) in [("Kustomization", "kustomize"), ("HelmRelease", "helm")] {
        let label = |what: &str| {
            let key = format!("{prefix}.toolkit.fluxcd.io/{what}");
            live["metadata"]["labels"][key].as_str().unwrap_or("").to_owned()
        };
        let (namespace, name) = (label("namespace"), label("name"));
        if !name.is_empty() && !namespace.is_empty() {
            return Some(format!("{kind}/{namespace}/{name}"));
        }
    }
    for owner in live["metadata"]["ownerReferences"].as_array().into_iter().flatten() {
        if owner["kind"] == "ExternalSecret" {
            return Some(format!("ExternalSecret/{}/{}", text(live, "/metadata/namespace"), text(owner, "/name")));
        }
    }
    entries(live)
        .filter(|entry| text(entry, "/subresource").is_empty())
        .find(|entry| {
            let manager = text(entry, "/manager");
            manager == FLUX_CLI || (ENGINES.contains(&manager) && entry["operation"] == "Apply")
        })
        .map(|entry| format!("the field manager {}", text(entry, "/manager")))
}

fn entries(live: &Value) -> impl Iterator<Item = &Value> {
    live["metadata"]["managedFields"].as_array().into_iter().flatten()
}

/// What a manager has applied: its entry among the managed fields.
pub(crate) fn applied_by<'a>(live: &'a Value, manager: &str) -> Option<&'a Value> {
    entries(live).find(|entry| {
        entry["manager"] == manager && entry["operation"] == "Apply" && text(entry, "/subresource").is_empty()
    })
}

/// Whether applying `wanted` by `manager` would change nothing. The error is the
/// first field that differs.
pub(crate) fn equals(live: &Value, wanted: &Value, manager: &str) -> Result<(), String> {
    covers(live, wanted, "")?;
    match applied_by(live, manager) {
        Some(entry) => match entry["fieldsV1"].as_object() {
            Some(fields) => leftover(fields, wanted, ""),
            None => Ok(()),
        },
        // An apply of nothing but a name leaves no entry.
        None if is_bare(wanted) => Ok(()),
        None => Err(format!("no field is managed by {manager}")),
    }
}

fn is_bare(wanted: &Value) -> bool {
    let is_named_only = |metadata: &Value| {
        metadata.as_object().is_some_and(|map| map.keys().all(|key| matches!(key.as_str(), "name" | "namespace")))
    };
    wanted.as_object().is_some_and(|map| {
        map.iter().all(|(key, value)| match key.as_str() {
            "apiVersion" | "kind" => true,
            "metadata" => is_named_only(value),
            _ => false,
        })
    })
}

/// Whether everything of `wanted` is in `live`. What the server adds is no
/// difference, and neither is its way to write a quantity.
fn covers(live: &Value, wanted: &Value, path: &str) -> Result<(), String> {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            for (key, value) in wanted {
                let path = format!("{path}.{key}");
                match live.get(key) {
                    Some(live) => covers(live, value, &path)?,
                    // What is empty may be left out by the server.
                    None if is_empty(value) => {}
                    None => return Err(path),
                }
            }
            Ok(())
        }
        (Value::Array(wanted), Value::Array(live)) => {
            let is_same = wanted.len() == live.len()
                && wanted.iter().zip(live).all(|(wanted, live)| covers(live, wanted, path).is_ok());
            // Others may add to a list whose elements have keys, and the server may order it.
            let is_within = || {
                wanted.iter().all(|wanted| wanted.is_object())
                    && wanted.iter().all(|wanted| live.iter().any(|live| covers(live, wanted, path).is_ok()))
            };
            if is_same || is_within() { Ok(()) } else { Err(path.to_owned()) }
        }
        (Value::Number(wanted), Value::Number(live)) if wanted.as_f64() == live.as_f64() => Ok(()),
        (wanted, live) if wanted == live || quantity::are_equal(wanted, live) => Ok(()),
        (wanted, live) if is_empty(wanted) && is_empty(live) => Ok(()),
        _ => Err(path.to_owned()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// Whether every field that the manager holds is still wanted; an apply would
/// remove the others.
fn leftover(fields: &Map<String, Value>, wanted: &Value, path: &str) -> Result<(), String> {
    for (key, inner) in fields {
        let (form, rest) = key.split_once(':').unwrap_or((key, ""));
        let (path, found) = match form {
            "f" => (format!("{path}.{rest}"), wanted.get(rest)),
            "k" => {
                let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
                let fits = |element: &&Value| {
                    keys.iter().all(|(key, value)| element.get(key).is_none_or(|found| found == value))
                };
                (format!("{path}[{rest}]"), wanted.as_array().and_then(|list| list.iter().find(fits)))
            }
            "v" => {
                let value: Value = serde_json::from_str(rest).unwrap_or_default();
                let found = wanted.as_array().and_then(|list| list.iter().find(|element| **element == value));
                (format!("{path}[{rest}]"), found)
            }
            // The thing itself, or a place in a list that is compared as a whole.
            _ => continue,
        };
        match (found, inner.as_object()) {
            (None, _) => return Err(path),
            (Some(found), Some(inner)) if !inner.is_empty() => leftover(inner, found, &path)?,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live(fields: Value) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "namespace": "n", "uid": "1", "labels": {"app": "a", "more": "b"}, "managedFields": [
                {"manager": PLANTED, "operation": "Apply", "fieldsV1": fields},
                {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "fieldsV1": {}},
            ]},
            "spec": {"replicas": 1, "strategy": {"type": "RollingUpdate"}, "template": {"spec": {"containers": [
                {"name": "c", "image": "i", "args": ["x", "y"], "resources": {"limits": {"cpu": "1"}},
                 "ports": [{"containerPort": 80, "protocol": "TCP"}]},
            ]}}},
        })
    }

    fn fields() -> Value {
        json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                ".": {}, "f:name": {}, "f:args": {}, "f:image": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
            }}}}},
        })
    }

    fn wanted() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "namespace": "n", "labels": {"app": "a"}, "annotations": {}},
            "spec": {"template": {"spec": {"containers": [
                {"name": "c", "image": "i", "args": ["x", "y"], "resources": {"limits": {"cpu": "1000m"}},
                 "ports": [{"containerPort": 80}]},
            ]}}},
        })
    }

    fn check(change: impl FnOnce(&mut Value, &mut Value), expected: Result<(), &str>) {
        let (mut live, mut wanted) = (live(fields()), wanted());
        change(&mut live, &mut wanted);
        assert_eq!(equals(&live, &wanted, PLANTED), expected.map_err(str::to_owned));
    }

    #[test]
    fn what_the_server_adds_is_no_difference() {
        check(|_, _| {}, Ok(()));
    }

    #[test]
    fn a_changed_a_missing_and_a_leftover_field_are_named() {
        check(|live, _| live["metadata"]["labels"]["app"] = json!("b"), Err(".metadata.labels.app"));
        check(|_, wanted| wanted["spec"]["paused"] = json!(true), Err(".spec.paused"));
        let args = "/spec/template/spec/containers/0/args";
        check(|live, _| *live.pointer_mut(args).unwrap() = json!(["y", "x"]), Err(".spec.template.spec.containers"));
        check(
            |_, wanted| {
                wanted.pointer_mut("/spec/template/spec/containers/0").unwrap().as_object_mut().unwrap().remove("args");
            },
            Err(".spec.template.spec.containers[{\"name\":\"c\"}].args"),
        );
    }

    #[test]
    fn equal_values_of_another_manager_are_not_ours() {
        check(
            |live, _| live["metadata"]["managedFields"][0]["manager"] = json!("kubectl"),
            Err("no field is managed by kubectl-castle"),
        );
        let bare = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
        assert_eq!(equals(&bare, &bare, PLANTED), Ok(()));
    }

    #[test]
    fn flux_owns_by_labels_or_by_applies_and_not_by_its_status() {
        let check =
            |object: Value, expected: Option<&str>| assert_eq!(holder(&object).as_deref(), expected, "{object}");
        let labels = json!({"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "f"});
        check(json!({"metadata": {"labels": labels}}), Some("Kustomization/f/apps"));
        let manager = |manager: &str, operation: &str, subresource: &str| {
            let entry = json!({"manager": manager, "operation": operation, "subresource": subresource});
            json!({"metadata": {"namespace": "f", "managedFields": [entry]}})
        };
        check(manager("kustomize-controller", "Apply", ""), Some("the field manager kustomize-controller"));
        check(manager("kustomize-controller", "Update", "status"), None);
        check(manager("helm-controller", "Update", ""), None);
        check(manager("flux", "Update", ""), Some("the field manager flux"));
        check(manager("kubectl-castle", "Apply", ""), None);
        let owner = json!([{"kind": "ExternalSecret", "name": "github"}]);
        check(json!({"metadata": {"namespace": "f", "ownerReferences": owner}}), Some("ExternalSecret/f/github"));
    }

    #[test]
    fn castle_s_own_hands_are_known() {
        for (manager, expected) in
            [("castle", true), ("kubectl-castle", true), ("castle-0", true), ("castlevania", false), ("kubectl", false)]
        {
            assert_eq!(is_castle(manager), expected, "{manager}");
        }
    }
}
