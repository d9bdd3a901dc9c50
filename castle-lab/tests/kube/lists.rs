use castle_lab::kube::{Delete, FieldSelector, LabelSelector, ListOptions, Resource, Selection, Store};

use crate::{names, node, pod, store};

fn pods() -> Store {
    let mut store = store();
    for (name, app, node, phase) in [
        ("coredns-a", "kube-dns", "cp-01", "Running"),
        ("coredns-b", "kube-dns", "cp-02", "Pending"),
        ("flannel-a", "flannel", "cp-01", "Running"),
        ("proxy-a", "kube-proxy", "cp-01", "Running"),
    ] {
        store.put(pod(name, app, node, phase)).unwrap();
    }
    store
}

fn check(labels: &str, fields: &str, expected: &[&str]) {
    let store = pods();
    let selection = Selection {
        namespace: Some("kube-system".into()),
        labels: LabelSelector::parse(labels).unwrap(),
        fields: FieldSelector::parse(fields, store.kind(&Resource::PODS).unwrap()).unwrap(),
    };
    assert_eq!(names(store.list(&Resource::PODS, &selection).cloned()), expected, "`{labels}` `{fields}`");
}

#[test]
fn labels_select() {
    check("", "", &["coredns-a", "coredns-b", "flannel-a", "proxy-a"]);
    check("k8s-app=flannel", "", &["flannel-a"]);
    check("k8s-app==kube-dns", "", &["coredns-a", "coredns-b"]);
    check("k8s-app!=kube-dns", "", &["flannel-a", "proxy-a"]);
    check("k8s-app in (flannel, kube-proxy)", "", &["flannel-a", "proxy-a"]);
    check("k8s-app notin (flannel,kube-proxy)", "", &["coredns-a", "coredns-b"]);
    check("k8s-app,!x", "", &["coredns-a", "coredns-b", "flannel-a", "proxy-a"]);
    check("x", "", &[]);
}

#[test]
fn fields_select() {
    check("", "spec.nodeName=cp-01", &["coredns-a", "flannel-a", "proxy-a"]);
    check("", "status.phase!=Running", &["coredns-b"]);
    check("k8s-app=kube-dns", "status.phase=Running,spec.nodeName=cp-01", &["coredns-a"]);
    check("", "metadata.name=proxy-a,metadata.namespace=kube-system", &["proxy-a"]);
}

#[test]
fn what_is_no_selector_is_refused() {
    let store = pods();
    let kind = store.kind(&Resource::PODS).unwrap();
    let refusal = FieldSelector::parse("spec.containers=x", kind).unwrap_err();
    assert_eq!((refusal.code, refusal.message.as_str()), (400, "field label not supported: spec.containers"));
    for text in ["a b=c", "=x", "k8s-app in x"] {
        assert_eq!(LabelSelector::parse(text).unwrap_err().code, 400, "{text}");
    }
}

#[test]
fn all_pages_show_one_moment() {
    let mut store = pods();
    let everything = Selection::default();
    let page = |store: &Store, token: Option<String>| {
        let options = ListOptions { limit: 2, continue_token: token };
        store.page(&Resource::PODS, &everything, &options)
    };
    let first = page(&store, None).unwrap();
    assert_eq!((names(first.items.clone()), first.remaining), (vec!["coredns-a".into(), "coredns-b".into()], Some(2)));
    // Between the pages the world goes on.
    store.delete(&Resource::PODS, "kube-system", "flannel-a", &Delete::default()).unwrap();
    store.put(pod("zz", "late", "cp-01", "Pending")).unwrap();
    let second = page(&store, first.continue_token.clone()).unwrap();
    assert_eq!(names(second.items), ["flannel-a", "proxy-a"]);
    assert_eq!((second.revision, second.continue_token), (first.revision, None));
    // Until the moment is forgotten.
    store.compact(store.revision());
    let refusal = page(&store, first.continue_token).unwrap_err();
    assert_eq!((refusal.code, refusal.reason), (410, "Expired"));
    assert_eq!(page(&store, Some("xyz".into())).unwrap_err().code, 400);
}

#[test]
fn a_field_that_is_absent_is_false() {
    let mut store = store();
    store.put(node("cp-01")).unwrap();
    let mut cordoned = node("cp-02");
    cordoned["spec"] = serde_json::json!({"unschedulable": true});
    store.put(cordoned).unwrap();
    let select = |text: &str| {
        let fields = FieldSelector::parse(text, store.kind(&Resource::NODES).unwrap()).unwrap();
        let selection = Selection { fields, ..Selection::default() };
        names(store.list(&Resource::NODES, &selection).cloned())
    };
    assert_eq!(select("spec.unschedulable=true"), ["cp-02"]);
    assert_eq!(select("spec.unschedulable=false"), ["cp-01"]);
}
