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
/// The fields below which a text is a quantity.
const AMOUNTS: [&str; 9] =
    ["limits", "requests", "capacity", "hard", "sizeLimit", "divisor", "podFixed", "averageValue", "tolerance"];
/// The maps of labels that select, and that are owned as a whole.
const SELECTIONS: [&str; 3] = ["nodeSelector", "matchLabels", "selector"];
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
    let entry = applied_by(live, manager);
    let fields = entry.and_then(|entry| entry["fieldsV1"].as_object());
    covers(live, wanted, &Place::of(fields))?;
    match entry {
        Some(_) => fields.map_or(Ok(()), |fields| leftover(fields, wanted, "")),
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

/// Where in an object a comparison is.
struct Place<'a> {
    path: String,
    /// What the manager holds below, as far as the server tells it apart: nothing
    /// below what is owned as a whole.
    fields: Option<&'a Map<String, Value>>,
    meaning: Meaning,
}

/// What the texts of a place stand for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Whatever is below, texts are texts.
    Words,
    Plain,
    /// Quantities, which the server writes in its own way.
    Amounts,
}

impl<'a> Place<'a> {
    fn of(fields: Option<&'a Map<String, Value>>) -> Self {
        Self { path: String::new(), fields, meaning: Meaning::Plain }
    }

    fn below(&self, key: &str) -> Self {
        let meaning = match (self.meaning, key) {
            (Meaning::Words, _) | (_, "metadata" | "data" | "stringData" | "openAPIV3Schema") => Meaning::Words,
            (_, "env" | "args" | "command") => Meaning::Plain,
            (_, key) if AMOUNTS.contains(&key) => Meaning::Amounts,
            // A metric of an autoscaler.
            (_, "value") if self.path.ends_with(".target") => Meaning::Amounts,
            (meaning, _) => meaning,
        };
        let fields = self.fields.and_then(|fields| fields.get(&format!("f:{key}"))?.as_object());
        Self { path: format!("{}.{key}", self.path), fields, meaning }
    }

    /// The place of a list's element, known by its keys.
    fn element(&self, element: &Value) -> Self {
        let fields = self.fields.and_then(|fields| {
            let entry =
                |(key, _): &(&String, &Value)| key.strip_prefix("k:").is_some_and(|keys| has_keys(element, keys));
            fields.iter().find(entry)?.1.as_object()
        });
        Self { path: self.path.clone(), fields, meaning: self.meaning }
    }

    /// Whether the manager holds single things below, of the form `k` (elements by
    /// their keys), `v` (elements by their value) or `f` (fields): only then may others
    /// hold more of it.
    fn is_shared(&self, form: &str) -> bool {
        self.fields.is_some_and(|fields| fields.keys().any(|key| key.split_once(':').is_some_and(|(f, _)| f == form)))
    }
}

/// Whether everything of `wanted` is in `live`. What the server adds is no
/// difference, and neither is its way to write a quantity.
fn covers(live: &Value, wanted: &Value, at: &Place<'_>) -> Result<(), String> {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            for (key, value) in wanted {
                let at = at.below(key);
                match live.get(key) {
                    // A controller collects the rules of such a role.
                    Some(_) if key == "rules" && wanted.contains_key("aggregationRule") => {}
                    Some(live) => covers(live, value, &at)?,
                    // What is empty may be left out by the server.
                    None if is_empty(value) => {}
                    None => return Err(at.path),
                }
            }
            // The server adds fields to objects, and nothing to a selection by labels.
            let name = at.path.rsplit('.').next().unwrap_or_default();
            let is_selection = SELECTIONS.contains(&name) && at.meaning != Meaning::Words && !at.is_shared("f");
            match live.iter().find(|(key, value)| is_selection && value.is_string() && !wanted.contains_key(*key)) {
                Some((key, _)) => Err(at.below(key).path),
                None => Ok(()),
            }
        }
        (Value::Array(wanted), Value::Array(live)) => {
            let is_same = wanted.len() == live.len()
                && wanted.iter().zip(live).all(|(wanted, live)| covers(live, wanted, &at.element(wanted)).is_ok());
            // A list that is owned as a whole has to be as it is wanted: what was taken out of
            // it leaves no trace among the fields. Only where elements are owned one by one
            // others may add theirs, and the server may order them.
            let is_within = || {
                (at.is_shared("k") || at.is_shared("v"))
                    && wanted.iter().all(|wanted| {
                        let at = at.element(wanted);
                        live.iter().any(|live| covers(live, wanted, &at).is_ok())
                    })
            };
            if is_same || is_within() { Ok(()) } else { Err(at.path.clone()) }
        }
        (Value::Number(wanted), Value::Number(live)) if wanted.as_f64() == live.as_f64() => Ok(()),
        (wanted, live) if wanted == live => Ok(()),
        (wanted, live) if at.meaning == Meaning::Amounts && quantity::are_equal(wanted, live) => Ok(()),
        (wanted, live) if is_empty(wanted) && is_empty(live) => Ok(()),
        _ => Err(at.path.clone()),
    }
}

/// Whether the element of a list has these keys, which a field's name tells as
/// JSON. A key that the element leaves to the server's default is no difference.
fn has_keys(element: &Value, keys: &str) -> bool {
    let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
    keys.iter().all(|(key, value)| element.get(key).is_none_or(|found| found == value))
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
                let found = wanted.as_array().and_then(|list| list.iter().find(|element| has_keys(element, rest)));
                (format!("{path}[{rest}]"), found)
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

    /// Compares two specs of which the manager holds `fields`.
    fn compared(fields: Value, live: Value, wanted: Value) -> Result<(), String> {
        let managed = json!([{"manager": PLANTED, "operation": "Apply", "fieldsV1": fields}]);
        let mut live = live;
        live["metadata"]["managedFields"] = managed;
        equals(&live, &wanted, PLANTED)
    }

    #[test]
    fn an_element_that_a_list_without_keys_lost_is_seen() {
        let check = |list: &str, element: fn(&str) -> Value, live: &[&str], wanted: &[&str], is_equal: bool| {
            let of = |names: &[&str]| json!({list: names.iter().map(|name| element(name)).collect::<Vec<_>>()});
            let found = compared(json!({format!("f:{list}"): {}}), of(live), of(wanted));
            assert_eq!(found, if is_equal { Ok(()) } else { Err(format!(".{list}")) }, "{list} {live:?} {wanted:?}");
        };
        let rule = |name: &str| json!({"apiGroups": [""], "resources": [name], "verbs": ["get"]});
        let subject = |name: &str| json!({"kind": "ServiceAccount", "name": name, "namespace": "n"});
        let toleration = |name: &str| json!({"key": name, "operator": "Exists"});
        let source = |name: &str| json!({"configMapRef": {"name": name}});
        for (list, element) in [
            ("rules", rule as fn(&str) -> Value),
            ("subjects", subject),
            ("tolerations", toleration),
            ("envFrom", source),
        ] {
            check(list, element, &["a"], &["a"], true);
            check(list, element, &["a", "b"], &["a", "b"], true);
            check(list, element, &["a", "b"], &["a"], false);
            check(list, element, &["a"], &["a", "b"], false);
            check(list, element, &["a", "b"], &["b", "a"], false);
            check(list, element, &["a", "b"], &[], false);
        }
    }

    #[test]
    fn what_the_server_fills_in_is_no_difference_in_a_list_without_keys_either() {
        let wanted = json!({"subjects": [{"kind": "User", "name": "u"}]});
        let live = json!({"subjects": [{"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}]});
        assert_eq!(compared(json!({"f:subjects": {}}), live, wanted), Ok(()));
        let collected = json!({"aggregationRule": {"clusterRoleSelectors": []}, "rules": []});
        let live = json!({"aggregationRule": {"clusterRoleSelectors": []}, "rules": [{"verbs": ["get"]}]});
        assert_eq!(compared(json!({"f:aggregationRule": {}, "f:rules": {}}), live, collected), Ok(()));
    }

    #[test]
    fn others_may_add_to_a_list_whose_elements_are_owned_one_by_one() {
        let container = |name: &str| json!({"name": name, "image": "i", "tolerations": ["a"]});
        let fields = json!({"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}}}});
        let live = json!({"containers": [container("sidecar"), container("c")]});
        let wanted = json!({"containers": [{"name": "c", "image": "i"}]});
        assert_eq!(compared(fields.clone(), live, wanted.clone()), Ok(()));
        let other = json!({"containers": [container("sidecar")]});
        assert_eq!(compared(fields, other, wanted), Err(".containers".into()));
        let fields = json!({"f:finalizers": {"v:\"castle\"": {}}});
        let (live, wanted) = (json!({"finalizers": ["flux", "castle"]}), json!({"finalizers": ["castle"]}));
        assert_eq!(compared(fields, live, wanted), Ok(()));
    }

    #[test]
    fn a_label_that_a_selection_lost_is_seen() {
        let fields = || json!({"f:template": {"f:spec": {"f:nodeSelector": {}}}, "f:selector": {}});
        let of = |node: Value, labels: Value| json!({"template": {"spec": {"nodeSelector": node}}, "selector": {"matchLabels": labels}});
        let (one, two) = (json!({"a": "1"}), json!({"a": "1", "b": "2"}));
        let wanted = of(one.clone(), one.clone());
        assert_eq!(compared(fields(), wanted.clone(), wanted.clone()), Ok(()));
        let found = compared(fields(), of(two.clone(), one.clone()), wanted.clone());
        assert_eq!(found, Err(".template.spec.nodeSelector.b".into()));
        assert_eq!(compared(fields(), of(one, two), wanted), Err(".selector.matchLabels.b".into()));
        // Of a reference the server fills in what is left out.
        let (live, wanted) =
            (json!({"fieldRef": {"fieldPath": "a", "apiVersion": "v1"}}), json!({"fieldRef": {"fieldPath": "a"}}));
        assert_eq!(compared(json!({"f:fieldRef": {}}), live, wanted), Ok(()));
    }

    #[test]
    fn only_what_is_a_quantity_is_compared_as_one() {
        let check = |path: &[&str], one: &str, other: &str, is_equal: bool| {
            let nest = |inner: Value, wrap: &dyn Fn(&str, Value) -> Value| {
                path.iter().rev().fold(inner, |inner, key| wrap(key, inner))
            };
            let object = |text: &str| nest(json!(text), &|key, inner| json!({key: inner}));
            let fields = nest(json!({}), &|key, inner| json!({format!("f:{key}"): inner}));
            let found = compared(fields, object(one), object(other));
            assert_eq!(found.is_ok(), is_equal, "{path:?} {one} {other}");
        };
        check(&["spec", "resources", "limits", "cpu"], "1", "1000m", true);
        check(&["spec", "resources", "requests", "storage"], "1Gi", "1024Mi", true);
        check(&["spec", "hard", "limits.cpu"], "1", "1000m", true);
        check(&["spec", "emptyDir", "sizeLimit"], "1Gi", "1024Mi", true);
        check(&["spec", "env", "resourceFieldRef", "divisor"], "1", "1000m", true);
        check(&["spec", "resources", "limits", "cpu"], "1", "2", false);
        check(&["metadata", "labels", "version"], "1.10", "1.1", false);
        check(&["metadata", "labels", "limits"], "1.10", "1.1", false);
        check(&["spec", "template", "metadata", "annotations", "a"], "1k", "1000", false);
        check(&["data", "retries"], "1000", "1k", false);
        check(&["data", "limits", "cpu"], "1000", "1k", false);
        check(&["stringData", "a"], "1.0", "1", false);
        check(&["spec", "env", "value"], "1.0", "1", false);
        check(&["spec", "image"], "1.10", "1.1", false);
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
