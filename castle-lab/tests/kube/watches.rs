use castle_lab::kube::{ChangeKind, Delete, Resource};

use crate::{node, store};

#[test]
fn changes_are_told_in_order_from_any_version() {
    let mut store = store();
    let began = store.revision();
    store.put(node("cp-01")).unwrap();
    let mut ready = node("cp-01");
    ready["status"]["conditions"][0]["status"] = serde_json::json!("True");
    store.put(ready).unwrap();
    store.delete(&Resource::NODES, "", "cp-01", &Delete::default()).unwrap();
    let told: Vec<_> =
        store.changes_after(began).unwrap().map(|change| (change.revision - began, change.kind)).collect();
    assert_eq!(told, [(1, ChangeKind::Added), (2, ChangeKind::Modified), (3, ChangeKind::Deleted)]);
    let last = store.changes_after(began + 2).unwrap().next().unwrap();
    assert_eq!(last.object["metadata"]["resourceVersion"], (began + 3).to_string(), "a deletion has its own version");
    assert_eq!(last.object["status"]["conditions"][0]["status"], "True", "and shows the object as it last was");
    assert_eq!(store.changes_after(store.revision()).unwrap().count(), 0);
}

#[test]
fn what_was_compacted_is_gone() {
    let mut store = store();
    let began = store.revision();
    store.put(node("cp-01")).unwrap();
    store.compact(store.revision());
    let refusal = store.changes_after(began).err().unwrap();
    assert_eq!((refusal.code, refusal.reason), (410, "Expired"));
    assert_eq!(refusal.message, format!("too old resource version: {began} ({})", began + 1));
    assert!(store.changes_after(store.revision()).is_ok());
}

#[test]
fn a_long_history_is_forgotten_from_its_beginning() {
    let mut store = store();
    let began = store.revision();
    for round in 0..10_000 {
        let mut changed = node("cp-01");
        changed["metadata"]["labels"]["round"] = serde_json::json!(round.to_string());
        store.put(changed).unwrap();
    }
    assert!(store.changes_after(began).is_err());
    assert!(store.changes_after(store.revision() - 1_000).is_ok());
}
