use castle_lab::kube::{Delete, Propagation, Resource, Store};
use serde_json::{Value, json};

use crate::{hand, names, store};

fn object(name: &str, owners: &[&Value]) -> Value {
    let owners: Vec<_> = owners
        .iter()
        .map(|owner| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
            })
        })
        .collect();
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "ownerReferences": owners},
    })
}

/// Two owners, a child of each, a child of both, and a grandchild.
fn family() -> Store {
    let mut store = store();
    let mut make = |name: &str, owners: &[&Value]| Value::clone(&store.create(object(name, owners), &hand()).unwrap());
    let (one, two) = (make("one", &[]), make("two", &[]));
    let child = make("child-of-one", &[&one]);
    make("child-of-two", &[&two]);
    make("child-of-both", &[&one, &two]);
    make("grandchild", &[&child]);
    store
}

fn left(store: &Store) -> Vec<String> {
    names(store.list(&Resource::CONFIG_MAPS, &Default::default()).cloned())
}

fn delete(store: &mut Store, name: &str, propagation: Propagation) {
    let delete = Delete { propagation, ..Delete::default() };
    store.delete(&Resource::CONFIG_MAPS, "default", name, &delete).unwrap();
}

#[test]
fn what_is_owned_goes_with_its_owner() {
    for propagation in [Propagation::Background, Propagation::Foreground] {
        let mut store = family();
        delete(&mut store, "one", propagation);
        assert_eq!(left(&store), ["child-of-both", "child-of-two", "two"]);
        let shared = store.get(&Resource::CONFIG_MAPS, "default", "child-of-both").unwrap();
        assert_eq!(shared["metadata"]["ownerReferences"].as_array().unwrap().len(), 1);
        delete(&mut store, "two", propagation);
        assert!(left(&store).is_empty());
    }
}

#[test]
fn orphans_stay_and_forget() {
    let mut store = family();
    delete(&mut store, "one", Propagation::Orphan);
    assert_eq!(left(&store), ["child-of-both", "child-of-one", "child-of-two", "grandchild", "two"]);
    let orphan = store.get(&Resource::CONFIG_MAPS, "default", "child-of-one").unwrap();
    assert_eq!(orphan["metadata"].get("ownerReferences"), None);
}

#[test]
fn a_collection_that_nobody_wrote_has_not_changed() {
    let mut store = store();
    assert_eq!(store.last_change(&Resource::CONFIG_MAPS), 0);
    let namespaces = store.last_change(&Resource::NAMESPACES);
    let made = store.create(object("vars", &[]), &hand()).unwrap();
    assert_eq!(made["metadata"]["resourceVersion"], store.last_change(&Resource::CONFIG_MAPS).to_string());
    delete(&mut store, "vars", Propagation::Background);
    assert_eq!(store.last_change(&Resource::CONFIG_MAPS), store.revision());
    assert_eq!(store.last_change(&Resource::NAMESPACES), namespaces);
}
