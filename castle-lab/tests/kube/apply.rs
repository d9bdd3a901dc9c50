use castle_lab::kube::{Hand, Part, Patch, Refusal, Resource, Store};
use serde_json::{Value, json};

use crate::store;

fn config(data: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "vars", "namespace": "default"},
        "data": data,
    })
}

fn web(containers: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"spec": {"containers": containers}}},
    })
}

fn live(store: &Store) -> Value {
    Value::clone(store.get(&Resource::CONFIG_MAPS, "default", "vars").unwrap())
}

/// Each manager with the way it wrote and its fields.
fn owners(object: &Value) -> Vec<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or("").to_owned();
            let sub = text("subresource");
            let way = if sub.is_empty() { text("operation") } else { format!("{} {sub}", text("operation")) };
            (format!("{} {way}", text("manager")), entry["fieldsV1"].clone())
        })
        .collect()
}

fn apply(store: &mut Store, manager: &str, object: Value) -> Result<Value, Refusal> {
    store.apply(object, &Hand::of(manager)).map(|applied| Value::clone(&applied))
}

#[test]
fn what_is_applied_is_owned() {
    let mut store = store();
    let made = apply(&mut store, "castle", config(json!({"a": "1", "b": "2"}))).unwrap();
    assert_eq!(owners(&made), [("castle Apply".to_owned(), json!({"f:data": {"f:a": {}, "f:b": {}}}))]);
    let entry = &made["metadata"]["managedFields"][0];
    assert_eq!(
        (&entry["apiVersion"], &entry["fieldsType"], &entry["time"]),
        (&json!("v1"), &json!("FieldsV1"), &json!("2025-11-21T07:51:28Z"))
    );
    // The same again writes nothing.
    let before = store.revision();
    apply(&mut store, "castle", config(json!({"a": "1", "b": "2"}))).unwrap();
    assert_eq!(store.revision(), before);
}

#[test]
fn a_manager_has_the_time_of_its_last_change() {
    const NOW: &str = "2025-11-21T07:51:28Z";
    const LONG_AGO: &str = "2025-01-01T00:00:00Z";
    let mut store = store();
    let mut made = apply(&mut store, "castle", config(json!({"a": "1"}))).unwrap();
    let time = |object: &Value| object["metadata"]["managedFields"][0]["time"].as_str().unwrap().to_owned();
    assert_eq!(time(&made), NOW);
    // Whoever names the managers may also say when they wrote. The time alone would
    // be no reason to write.
    made["metadata"]["managedFields"][0]["time"] = json!(LONG_AGO);
    let revision = store.revision();
    store.update(made.clone(), Part::Main, &Hand::of("tester")).unwrap();
    assert_eq!(store.revision(), revision);
    made["data"]["b"] = json!("2");
    store.update(made, Part::Main, &Hand::of("tester")).unwrap();
    assert_eq!(time(&live(&store)), LONG_AGO);

    let unchanged = apply(&mut store, "castle", config(json!({"a": "1"}))).unwrap();
    assert_eq!(time(&unchanged), LONG_AGO);
    let changed = apply(&mut store, "castle", config(json!({"a": "9"}))).unwrap();
    assert_eq!(time(&changed), NOW, "the fields are the same ones, with another value");
}

#[test]
fn what_is_applied_no_more_goes() {
    let mut store = store();
    let mut first = config(json!({"a": "1", "b": "2"}));
    first["metadata"]["labels"] = json!({"x": "y"});
    apply(&mut store, "castle", first).unwrap();
    apply(&mut store, "other", config(json!({"b": "2", "c": "3"}))).unwrap();
    let left = apply(&mut store, "castle", config(json!({"a": "1"}))).unwrap();
    assert_eq!(left["data"], json!({"a": "1", "b": "2", "c": "3"}), "what the other holds stays");
    assert_eq!(left["metadata"].get("labels"), None);
    assert_eq!(left["metadata"]["name"], "vars");
    let left = apply(&mut store, "other", config(json!({"c": "3"}))).unwrap();
    assert_eq!(left["data"], json!({"a": "1", "c": "3"}));
}

#[test]
fn equal_values_are_shared_and_different_ones_conflict() {
    let mut store = store();
    apply(&mut store, "castle", config(json!({"a": "1", "b": "2"}))).unwrap();
    let shared = apply(&mut store, "flux", config(json!({"a": "1"}))).unwrap();
    assert_eq!(owners(&shared).len(), 2);
    let refusal = apply(&mut store, "flux", config(json!({"a": "9"}))).unwrap_err();
    assert_eq!((refusal.code, refusal.reason), (409, "Conflict"));
    assert_eq!(refusal.message, "Apply failed with 1 conflict: conflict with \"castle\": .data.a");
    assert_eq!(
        refusal.details.unwrap()["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"castle\"", "field": ".data.a"}])
    );
    let refusal = apply(&mut store, "flux", config(json!({"a": "9", "b": "8"}))).unwrap_err();
    assert_eq!(refusal.message, "Apply failed with 2 conflicts: conflicts with \"castle\":\n- .data.a\n- .data.b");
    assert_eq!(live(&store)["data"], json!({"a": "1", "b": "2"}), "a refused apply leaves everything alone");
    let forced = store.apply(config(json!({"a": "9"})), &Hand::of("flux").forcing()).unwrap();
    assert_eq!(forced["data"], json!({"a": "9", "b": "2"}));
    assert_eq!(
        owners(&forced),
        [
            ("castle Apply".to_owned(), json!({"f:data": {"f:b": {}}})),
            ("flux Apply".to_owned(), json!({"f:data": {"f:a": {}}})),
        ]
    );
}

#[test]
fn an_update_takes_what_it_changes() {
    let mut store = store();
    apply(&mut store, "castle", config(json!({"a": "1", "b": "2"}))).unwrap();
    let patch = Patch::Merge(json!({"data": {"a": "9", "c": "3"}}));
    let hand = Hand::of("kubectl-edit");
    let changed = store.patch(&Resource::CONFIG_MAPS, "default", "vars", &patch, Part::Main, &hand).unwrap();
    assert_eq!(
        owners(&changed),
        [
            ("castle Apply".to_owned(), json!({"f:data": {"f:b": {}}})),
            ("kubectl-edit Update".to_owned(), json!({"f:data": {"f:a": {}, "f:c": {}}})),
        ]
    );
    let refusal = apply(&mut store, "castle", config(json!({"a": "1", "b": "2"}))).unwrap_err();
    assert_eq!(refusal.message, "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using v1: .data.a");
    // What an update takes away belongs to nobody.
    let patch = Patch::Merge(json!({"data": {"b": null}}));
    let gone = store.patch(&Resource::CONFIG_MAPS, "default", "vars", &patch, Part::Main, &hand).unwrap();
    assert_eq!(owners(&gone).len(), 1);
}

#[test]
fn elements_of_lists_are_owned_by_their_keys() {
    let mut store = store();
    let port = json!({"containerPort": 80});
    apply(&mut store, "castle", web(json!([{"name": "web", "image": "web:1", "ports": [port]}]))).unwrap();
    let both = apply(&mut store, "mesh", web(json!([{"name": "proxy", "image": "proxy:1"}]))).unwrap();
    assert_eq!(
        both["spec"]["template"]["spec"]["containers"],
        json!([{"name": "web", "image": "web:1", "ports": [port]}, {"name": "proxy", "image": "proxy:1"}])
    );
    let castle = &owners(&both)[0];
    assert_eq!(castle.0, "castle Apply");
    assert_eq!(
        castle.1["f:spec"]["f:template"]["f:spec"]["f:containers"],
        json!({"k:{\"name\":\"web\"}": {
            ".": {}, "f:name": {}, "f:image": {},
            "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
        }})
    );
    assert_eq!(castle.1["f:spec"]["f:selector"], json!({}), "a selector is one value");
    let refusal = apply(&mut store, "mesh", web(json!([{"name": "web", "image": "web:2"}]))).unwrap_err();
    assert_eq!(
        refusal.message,
        "Apply failed with 1 conflict: conflict with \"castle\": \
         .spec.template.spec.containers[name=\"web\"].image"
    );
    let alone = apply(&mut store, "mesh", web(json!([]))).unwrap();
    assert_eq!(alone["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(), 1, "the proxy went");
}

#[test]
fn the_status_is_applied_apart() {
    let mut store = store();
    let mut wish = web(json!([]));
    wish["status"] = json!({"replicas": 7});
    let made = apply(&mut store, "castle", wish).unwrap();
    assert_eq!(made.get("status"), None, "the status is not the applier's");
    let said = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "status": {"replicas": 1, "conditions": [{"type": "Available", "status": "True"}]},
    });
    let ready = store.apply_part(said, Part::Status, &Hand::of("controller")).unwrap();
    assert_eq!(ready["status"]["replicas"], 1);
    let controller = owners(&ready).into_iter().find(|(who, _)| who == "controller Apply status").unwrap();
    assert_eq!(
        controller.1,
        json!({"f:status": {
            "f:replicas": {},
            "f:conditions": {"k:{\"type\":\"Available\"}": {".": {}, "f:type": {}, "f:status": {}}},
        }})
    );
    let again = apply(&mut store, "castle", web(json!([]))).unwrap();
    assert_eq!(again["status"]["replicas"], 1, "who applies the wish leaves the status alone");
    assert_eq!(again["metadata"]["resourceVersion"], ready["metadata"]["resourceVersion"]);
}

#[test]
fn a_dry_run_of_an_apply_leaves_no_trace() {
    let mut store = store();
    apply(&mut store, "castle", config(json!({"a": "1"}))).unwrap();
    let before = store.revision();
    let shown = store.apply(config(json!({"a": "2"})), &Hand::of("castle").dry()).unwrap();
    assert_eq!((&shown["data"]["a"], live(&store)["data"]["a"].as_str()), (&json!("2"), Some("1")));
    let refusal = store.apply(config(json!({"a": "2"})), &Hand::of("other").dry()).unwrap_err();
    assert_eq!(refusal.code, 409, "a dry run conflicts too");
    assert_eq!(store.revision(), before);
}

#[test]
fn ownership_is_released_by_writing_the_managers() {
    let mut store = store();
    apply(&mut store, "castle", config(json!({"a": "1"}))).unwrap();
    apply(&mut store, "flux", config(json!({"a": "1"}))).unwrap();
    let release = Patch::Json(json!([
        {"op": "test", "path": "/metadata/managedFields/0/manager", "value": "castle"},
        {"op": "remove", "path": "/metadata/managedFields/0"},
    ]));
    let released =
        store.patch(&Resource::CONFIG_MAPS, "default", "vars", &release, Part::Main, &Hand::of("castle")).unwrap();
    assert_eq!(owners(&released), [("flux Apply".to_owned(), json!({"f:data": {"f:a": {}}}))]);
    assert_eq!(released["data"], json!({"a": "1"}));
    let gone = apply(&mut store, "flux", config(json!({}))).unwrap();
    assert!(gone["data"].as_object().is_none_or(serde_json::Map::is_empty), "nobody else held it: {gone}");
}

#[test]
fn an_object_that_nobody_tracked_is_taken_over_with_its_owner() {
    let mut store = store();
    apply(&mut store, "castle", config(json!({"a": "1"}))).unwrap();
    let nobody = Patch::Merge(json!({"metadata": {"managedFields": [{}]}}));
    let hand = Hand::of("tester");
    let lost = store.patch(&Resource::CONFIG_MAPS, "default", "vars", &nobody, Part::Main, &hand).unwrap();
    assert_eq!(owners(&lost), []);
    let refusal = apply(&mut store, "castle", config(json!({"a": "2"}))).unwrap_err();
    assert_eq!(refusal.message, "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a");
}

#[test]
fn an_apply_is_one_of_its_kind() {
    let mut store = store();
    let mut copied = apply(&mut store, "castle", config(json!({"a": "1"}))).unwrap();
    let refusal = store.apply(copied.clone(), &Hand::of("castle")).unwrap_err();
    assert_eq!((refusal.code, refusal.message.as_str()), (400, "metadata.managedFields must be nil"));
    copied["metadata"].as_object_mut().unwrap().remove("managedFields");
    copied["metadata"]["resourceVersion"] = json!("1");
    assert_eq!(store.apply(copied, &Hand::of("castle")).unwrap_err().reason, "Conflict");
}

#[test]
fn the_order_of_those_who_name_all_holds() {
    let mut store = store();
    apply(&mut store, "castle", web(json!([{"name": "a"}, {"name": "b"}]))).unwrap();
    let turned = apply(&mut store, "castle", web(json!([{"name": "b"}, {"name": "a"}]))).unwrap();
    assert_eq!(turned["spec"]["template"]["spec"]["containers"], json!([{"name": "b"}, {"name": "a"}]));
}
