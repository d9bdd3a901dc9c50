use castle_lab::kube::{Delete, Part, Patch, Refusal, Resource, Store};
use serde_json::{Value, json};

use crate::{hand, node, pod, store};

fn meta<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"][key].as_str().unwrap_or("")
}

fn delete(store: &mut Store, resource: &Resource, namespace: &str, name: &str) -> Result<bool, Refusal> {
    store.delete(resource, namespace, name, &Delete::default()).map(|(_, is_gone)| is_gone)
}

#[test]
fn each_write_takes_the_next_number_and_keeps_the_identity() {
    let mut store = store();
    let first = store.put(node("cp-01")).unwrap();
    let other = store.put(node("cp-02")).unwrap();
    assert_eq!(store.revision().to_string(), meta(&other, "resourceVersion"));
    let mut wanted = node("cp-01");
    wanted["status"]["conditions"][0]["status"] = json!("True");
    let second = store.put(wanted.clone()).unwrap();
    assert_eq!(meta(&second, "uid"), meta(&first, "uid"));
    assert_ne!(meta(&second, "uid"), meta(&other, "uid"));
    assert_eq!(store.revision().to_string(), meta(&second, "resourceVersion"));
    // Nothing changed, so nothing was written.
    let before = store.revision();
    store.put(wanted).unwrap();
    assert_eq!(store.revision(), before);
}

#[test]
fn two_seeds_make_two_worlds_and_one_seed_makes_one() {
    let uid = |seed| {
        let mut store = Store::new(castle_lab::Draws::new(seed), std::time::Duration::ZERO);
        store.serve();
        meta(&store.put(node("cp-01")).unwrap(), "uid").to_owned()
    };
    assert_eq!(uid(1), uid(1));
    assert_ne!(uid(1), uid(2));
    let text = uid(1);
    let parts: Vec<_> = text.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12], "{text}");
    assert_eq!(&text[14..15], "4", "{text}");
}

#[test]
fn who_writes_on_an_old_version_is_refused() {
    let mut store = store();
    let old = store.put(pod("a", "dns", "cp-01", "Running")).unwrap();
    let mut newer = Value::clone(&old);
    newer["metadata"]["labels"]["x"] = json!("y");
    store.update(newer.clone(), Part::Main, &hand()).unwrap();
    let refusal = store.update(newer, Part::Main, &hand()).unwrap_err();
    assert_eq!((refusal.code, refusal.reason), (409, "Conflict"));
    assert_eq!(
        refusal.message,
        "Operation cannot be fulfilled on pods \"a\": the object has been modified; please apply your changes to the \
         latest version and try again"
    );
    // Without a version there is nothing to conflict with.
    assert!(store.update(pod("a", "dns", "cp-01", "Running"), Part::Main, &hand()).is_ok());
}

#[test]
fn the_status_and_the_rest_are_written_apart() {
    let mut store = store();
    let made = store.put(pod("a", "dns", "cp-01", "Running")).unwrap();
    let mut changed = Value::clone(&made);
    changed["status"]["phase"] = json!("Failed");
    changed["metadata"]["labels"]["x"] = json!("y");
    let main = store.update(changed.clone(), Part::Main, &hand()).unwrap();
    assert_eq!((main["status"]["phase"].as_str(), meta(&main["metadata"], "x")), (Some("Running"), ""));
    assert_eq!(main["metadata"]["labels"]["x"], "y");
    changed["metadata"]["resourceVersion"] = main["metadata"]["resourceVersion"].clone();
    changed["metadata"]["labels"]["x"] = json!("z");
    let status = store.update(changed, Part::Status, &hand()).unwrap();
    assert_eq!((&status["status"]["phase"], &status["metadata"]["labels"]["x"]), (&json!("Failed"), &json!("y")));
}

#[test]
fn the_generation_counts_wishes_only() {
    let mut store = store();
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "coredns", "namespace": "kube-system"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"k8s-app": "kube-dns"}}},
    });
    assert_eq!(store.put(deployment.clone()).unwrap()["metadata"]["generation"], 1);
    let patch = |store: &mut Store, changes: Value| {
        let resource = Resource::DEPLOYMENTS;
        store.patch(&resource, "kube-system", "coredns", &Patch::Merge(changes), Part::Main, &hand()).unwrap()
    };
    assert_eq!(patch(&mut store, json!({"metadata": {"labels": {"a": "b"}}}))["metadata"]["generation"], 1);
    assert_eq!(patch(&mut store, json!({"spec": {"replicas": 3}}))["metadata"]["generation"], 2);
    let node = store.put(node("cp-01")).unwrap();
    assert_eq!(node["metadata"].get("generation"), None, "nodes have none");
    let refusal = store
        .patch(
            &Resource::DEPLOYMENTS,
            "kube-system",
            "coredns",
            &Patch::Merge(json!({"spec": {"selector": {"matchLabels": {"k8s-app": "x"}}}})),
            Part::Main,
            &hand(),
        )
        .unwrap_err();
    assert_eq!(
        refusal.message,
        "Deployment.apps \"coredns\" is invalid: spec.selector: Invalid value: field is immutable"
    );
}

#[test]
fn every_refusal_has_kubernetes_words() {
    let mut store = store();
    store.put(node("cp-01")).unwrap();
    let bad = |kind: &str, name: &str, namespace: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}});
    let cases: Vec<(Refusal, u16, &str)> = vec![
        (store.get(&Resource::NODES, "", "x").unwrap_err(), 404, "nodes \"x\" not found"),
        (store.get(&Resource::DEPLOYMENTS, "a", "x").unwrap_err(), 404, "deployments.apps \"x\" not found"),
        (store.create(node("cp-01"), &hand()).unwrap_err(), 409, "nodes \"cp-01\" already exists"),
        (store.create(bad("ConfigMap", "a", "nowhere"), &hand()).unwrap_err(), 404, "namespaces \"nowhere\" not found"),
        (
            store.create(bad("ConfigMap", "a", ""), &hand()).unwrap_err(),
            422,
            "ConfigMap \"a\" is invalid: metadata.namespace: Required value",
        ),
        (
            delete(&mut store, &Resource::NAMESPACES, "", "kube-system").unwrap_err(),
            403,
            "namespaces \"kube-system\" is forbidden: this namespace may not be deleted",
        ),
    ];
    for (refusal, code, message) in cases {
        assert_eq!((refusal.code, refusal.message.as_str()), (code, message));
        let status = refusal.to_status();
        assert_eq!(
            (&status["kind"], &status["status"], &status["code"]),
            (&json!("Status"), &json!("Failure"), &json!(code))
        );
    }
    let refusal = store.create(node("Cp_01"), &hand()).unwrap_err();
    assert_eq!((refusal.code, refusal.details.unwrap()["causes"][0]["field"].clone()), (422, json!("metadata.name")));
}

#[test]
fn a_dry_run_leaves_no_trace() {
    let mut store = store();
    let before = store.revision();
    let shown = store.create(node("cp-01"), &hand().dry()).unwrap();
    assert_eq!(meta(&shown, "uid").len(), 36);
    assert!(store.get(&Resource::NODES, "", "cp-01").is_err());
    assert_eq!(store.revision(), before);
}

#[test]
fn a_deletion_waits_for_finalizers_and_keeps_its_preconditions() {
    let mut store = store();
    let mut held = pod("a", "dns", "cp-01", "Running");
    held["metadata"]["finalizers"] = json!(["castle/test"]);
    let made = store.put(held).unwrap();
    let other = Delete { uid: Some("x".into()), ..Delete::default() };
    let refusal = store.delete(&Resource::PODS, "kube-system", "a", &other).unwrap_err();
    assert_eq!(refusal.code, 409);
    assert!(
        refusal.message.contains(&format!(
            "the UID in the precondition (x) does not match the UID in record ({})",
            meta(&made, "uid")
        )),
        "{refusal}"
    );
    assert!(!delete(&mut store, &Resource::PODS, "kube-system", "a").unwrap());
    let waiting = store.get(&Resource::PODS, "kube-system", "a").unwrap();
    assert!(!meta(waiting, "deletionTimestamp").is_empty());
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    store.patch(&Resource::PODS, "kube-system", "a", &free, Part::Main, &hand()).unwrap();
    assert!(store.get(&Resource::PODS, "kube-system", "a").is_err());
}

#[test]
fn a_namespace_goes_with_what_is_inside() {
    let mut store = store();
    let object = |kind: &str, name: &str, namespace: Option<&str>| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}});
    let mut namespace = object("Namespace", "flux-system", None);
    namespace["metadata"].as_object_mut().unwrap().remove("namespace");
    store.put(namespace).unwrap();
    let mut held = object("Secret", "key", Some("flux-system"));
    held["metadata"]["finalizers"] = json!(["castle/test"]);
    held["stringData"] = json!({"age": "abc"});
    assert_eq!(store.put(held).unwrap()["data"]["age"], "YWJj");
    store.put(object("ConfigMap", "vars", Some("flux-system"))).unwrap();
    assert!(!delete(&mut store, &Resource::NAMESPACES, "", "flux-system").unwrap());
    assert!(store.get(&Resource::CONFIG_MAPS, "flux-system", "vars").is_err());
    let closing = store.get(&Resource::NAMESPACES, "", "flux-system").unwrap();
    assert_eq!(closing["status"]["phase"], "Terminating");
    let refusal = store.put(object("ConfigMap", "late", Some("flux-system"))).unwrap_err();
    assert_eq!(refusal.code, 403);
    assert!(refusal.message.contains("because it is being terminated"), "{refusal}");
    let free = Patch::Merge(json!({"metadata": {"finalizers": []}}));
    store.patch(&Resource::SECRETS, "flux-system", "key", &free, Part::Main, &hand()).unwrap();
    assert!(store.get(&Resource::NAMESPACES, "", "flux-system").is_err(), "the last object took it along");
}

#[test]
fn a_generated_name_is_drawn() {
    let mut store = store();
    let made = |store: &mut Store| {
        let object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"generateName": "coredns-", "namespace": "kube-system"},
            "spec": {"containers": []},
        });
        meta(&store.create(object, &hand()).unwrap(), "name").to_owned()
    };
    let (one, two) = (made(&mut store), made(&mut store));
    assert!(one.starts_with("coredns-") && one.len() == 13 && one != two, "{one} {two}");
}

#[test]
fn a_map_of_text_holds_text() {
    let mut store = store();
    let mut check = |kind: &str, field: &str, value: Value, expected: &str| {
        let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", "namespace": "default"}});
        match field.split_once('.') {
            Some((outer, inner)) => object[outer][inner] = value,
            None => object[field] = value,
        }
        let refusal = store.create(object, &hand()).unwrap_err();
        let expected = format!("{kind} in version \"v1\" cannot be handled as a {kind}: {expected}");
        assert_eq!((refusal.code, refusal.message), (400, expected));
    };
    check(
        "ConfigMap",
        "data",
        json!({"port": 80}),
        "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
    );
    check(
        "ConfigMap",
        "metadata.labels",
        json!({"on": true}),
        "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
    );
    check("Secret", "data", json!({"key": "no base64!"}), "illegal base64 data");
}
