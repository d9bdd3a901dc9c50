//! The Kubernetes store: the rules by which objects are written, found and
//! followed.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod admission;
mod apply;
mod definitions;
mod lists;
mod manifest;
mod owners;
mod watches;
mod wire;
mod writes;

use std::time::Duration;

use castle_lab::Draws;
use castle_lab::kube::{Hand, Resource, Store};
use serde_json::{Value, json};

/// A store that serves, an hour after its beginning.
fn store() -> Store {
    let mut store = Store::new(Draws::new(7), Duration::from_secs(1_763_711_488));
    store.serve();
    store
}

/// Somebody who writes.
fn hand() -> Hand {
    Hand::of("tester")
}

fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "KubeletNotReady"}]},
    })
}

fn pod(name: &str, app: &str, node: &str, phase: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "kube-system", "labels": {"k8s-app": app}},
        "spec": {"nodeName": node, "containers": [{"name": app}]},
        "status": {"phase": phase},
    })
}

fn names(objects: impl IntoIterator<Item = std::sync::Arc<Value>>) -> Vec<String> {
    objects.into_iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_fresh_server_has_its_own_namespaces() {
    let store = store();
    let found = names(store.list(&Resource::NAMESPACES, &Default::default()).cloned());
    assert_eq!(found, ["default", "kube-node-lease", "kube-public", "kube-system"]);
    let default = store.get(&Resource::NAMESPACES, "", "default").unwrap();
    assert_eq!(default["status"]["phase"], "Active");
    assert_eq!(default["metadata"]["labels"]["kubernetes.io/metadata.name"], "default");
    assert_eq!(default["metadata"]["creationTimestamp"], "2025-11-21T07:51:28Z");
}

#[test]
fn another_life_has_nothing_of_the_former() {
    let mut store = store();
    store.put(node("cp-01")).unwrap();
    let before = store.get(&Resource::NODES, "", "cp-01").unwrap()["metadata"]["uid"].clone();
    // A server that comes back finds what is in etcd.
    store.stop_serving();
    store.serve();
    assert!(store.get(&Resource::NODES, "", "cp-01").is_ok());
    store.begin_life();
    assert!(!store.is_serving());
    store.serve();
    assert_eq!(store.get(&Resource::NODES, "", "cp-01").unwrap_err().reason, "NotFound");
    let again = store.put(node("cp-01")).unwrap();
    assert_ne!(again["metadata"]["uid"], before, "another object has another uid");
}
