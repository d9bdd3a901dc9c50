use castle_lab::kube::{Backend, Delete, Hand, Part, Patch, Refusal, Resource, Store};
use serde_json::{Value, json};

use crate::{hand, store};

fn guard(change: fn(&mut Value)) -> Store {
    let mut store = store();
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "guard", "namespace": "kube-system"},
        "spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 443}]},
    });
    store.create(service, &hand()).unwrap();
    let mut configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "guard"},
        "webhooks": [{
            "name": "guard.castle.example",
            "clientConfig": {
                "caBundle": "Y2E=",
                "service": {"name": "guard", "namespace": "kube-system", "path": "/validate"},
            },
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["configmaps"],
            }],
        }],
    });
    change(&mut configuration["webhooks"][0]);
    store.create(configuration, &hand()).unwrap();
    store
}

fn config(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}})
}

fn write(store: &mut Store) -> Result<(), Refusal> {
    store.create(config("vars"), &hand().dry()).map(drop)
}

#[track_caller]
fn unreachable(store: &mut Store, expected: &str) {
    let refusal = write(store).unwrap_err();
    assert_eq!((refusal.code, refusal.reason), (500, "InternalError"));
    assert_eq!(
        refusal.message,
        format!(
            "Internal error occurred: failed calling webhook \"guard.castle.example\": failed to call webhook: \
             Post \"https://guard.kube-system.svc:443/validate?timeout=10s\": {expected}"
        )
    );
}

#[test]
fn a_webhook_that_cannot_be_asked_forbids_the_write() {
    let mut store = guard(|_| {});
    unreachable(&mut store, "no endpoints available for service \"guard\"");
    store.set_webhook_backend("kube-system", "guard", Backend::Refuses);
    unreachable(&mut store, "dial tcp 10.96.7.7:443: connect: connection refused");
    store.set_webhook_backend("kube-system", "guard", Backend::TimesOut);
    unreachable(&mut store, "context deadline exceeded");
    store.set_webhook_backend("kube-system", "guard", Backend::Answers(|_| Ok(())));
    assert!(write(&mut store).is_ok());
    store.delete(&Resource::SERVICES, "kube-system", "guard", &Delete::default()).unwrap();
    unreachable(&mut store, "service \"guard\" not found");
}

#[test]
fn a_webhook_without_an_authority_is_not_believed() {
    let mut store = guard(|webhook| drop(webhook["clientConfig"]["caBundle"].take()));
    store.set_webhook_backend("kube-system", "guard", Backend::Answers(|_| Ok(())));
    unreachable(&mut store, "tls: failed to verify certificate: x509: certificate signed by unknown authority");
}

#[test]
fn a_webhook_judges_what_is_written() {
    let mut store = guard(|_| {});
    let judge = |object: &Value| match object["metadata"]["name"].as_str() {
        Some("bad") => Err("the name is bad".to_owned()),
        _ => Ok(()),
    };
    store.set_webhook_backend("kube-system", "guard", Backend::Answers(judge));
    assert!(store.apply(config("good"), &hand()).is_ok());
    let refusal = store.apply(config("bad"), &hand()).unwrap_err();
    assert_eq!((refusal.code, refusal.reason), (403, "Forbidden"));
    assert_eq!(refusal.message, "admission webhook \"guard.castle.example\" denied the request: the name is bad");
    assert!(store.get(&Resource::CONFIG_MAPS, "default", "bad").is_err());
    store.remove_webhook_backend("kube-system", "guard");
    let patch = Patch::Merge(json!({"data": {"a": "1"}}));
    let refused = store.patch(&Resource::CONFIG_MAPS, "default", "good", &patch, Part::Main, &hand());
    assert_eq!(refused.unwrap_err().code, 500);
    assert!(
        store.delete(&Resource::CONFIG_MAPS, "default", "good", &Delete::default()).is_ok(),
        "it asks of no deletion"
    );
}

#[test]
fn a_webhook_that_may_fail_lets_pass() {
    let mut store = guard(|webhook| webhook["failurePolicy"] = json!("Ignore"));
    assert!(write(&mut store).is_ok());
}

#[test]
fn a_dry_run_needs_a_webhook_without_side_effects() {
    let mut store = guard(|webhook| webhook["sideEffects"] = json!("Some"));
    store.set_webhook_backend("kube-system", "guard", Backend::Answers(|_| Ok(())));
    let refusal = write(&mut store).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.message.as_str()),
        (400, "admission webhook \"guard.castle.example\" does not support dry run")
    );
    assert!(store.create(config("vars"), &Hand::of("tester")).is_ok());
}

#[test]
fn selectors_narrow_what_a_webhook_asks_for() {
    let mut store = guard(|webhook| {
        webhook["namespaceSelector"] = json!({"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["default"]},
        ]});
    });
    assert!(write(&mut store).is_ok());
    let mut store = guard(|webhook| webhook["objectSelector"] = json!({"matchLabels": {"guarded": "yes"}}));
    assert!(write(&mut store).is_ok());
    let mut guarded = config("vars");
    guarded["metadata"]["labels"] = json!({"guarded": "yes"});
    assert_eq!(store.create(guarded, &hand()).unwrap_err().code, 500);
    let mut store = guard(|webhook| webhook["rules"][0]["scope"] = json!("Cluster"));
    assert!(write(&mut store).is_ok());
}

#[test]
fn what_the_rules_forbid_never_comes_to_a_webhook() {
    let mut store = guard(|_| {});
    let refusal = store.create(config("Not_A_Name"), &hand()).unwrap_err();
    assert_eq!(refusal.code, 422);
}
