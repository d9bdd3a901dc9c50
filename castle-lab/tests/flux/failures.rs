//! What goes wrong, and the words that Flux has for it.

use std::time::Duration;

use castle_lab::kube::Resource;
use serde_json::json;

use crate::house::{House, condition, is_ready, kustomizations, message, reason, repositories};

fn chaperon(name: &str, path: &str, more: &str) -> String {
    format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata:\n  name: {name}\n  namespace: \
         flux-system\nspec:\n  interval: 10m\n  retryInterval: 90s\n  path: {path}\n  prune: true\n  sourceRef: \
         {{kind: GitRepository, name: flux-system}}\n{more}"
    )
}

fn config_map(name: &str, namespace: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\ndata:\n  key: \
         \"{value}\"\n"
    )
}

/// A house with one Kustomization of that content more, planted.
fn house_with(content: &[(&str, &str)], more: &str) -> House {
    let mut house = House::new(7);
    let own = chaperon("extra", "./extra", more);
    let mut changes = vec![("clusters/blue/extra.yaml", Some(own.as_str()))];
    changes.extend(content.iter().map(|(path, text)| (*path, Some(*text))));
    house.push(&changes);
    house.plant();
    house
}

#[track_caller]
fn check(content: &[(&str, &str)], more: &str, expected: (&str, &str)) {
    let mut house = house_with(content, more);
    house.until("a failure", |house| condition(&house.kustomization("extra"), "Ready")["status"] == "False");
    let extra = house.kustomization("extra");
    assert_eq!((reason(&extra).as_str(), message(&extra).as_str()), expected);
    assert_eq!(condition(&extra, "Reconciling")["reason"], "ProgressingWithRetry");
    assert_eq!(extra["status"]["observedGeneration"], -1, "a failure does not advance it");
    let tries = house.world.flux.reconciliations("extra");
    let now = house.world.now();
    house.world.advance_to(now + Duration::from_millis(89_999));
    assert_eq!(house.world.flux.reconciliations("extra"), tries);
    house.world.advance_to(now + Duration::from_secs(90));
    assert_eq!(house.world.flux.reconciliations("extra"), tries + 1, "retryInterval has passed");
}

#[test]
fn a_refused_object_is_named_with_its_reason() {
    check(
        &[("extra/a.yaml", &config_map("a", "nowhere", "1"))],
        "",
        ("ReconciliationFailed", "ConfigMap/nowhere/a not found: namespaces \"nowhere\" not found"),
    );
    check(
        &[("extra/a.yaml", "apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: a, namespace: default}\n")],
        "",
        (
            "ReconciliationFailed",
            "Thing/default/a dry-run failed: no matches for kind \"Thing\" in version \"example.org/v1\"",
        ),
    );
}

#[test]
fn what_cannot_be_built_says_why() {
    check(
        &[("elsewhere/a.yaml", "")],
        "",
        ("ArtifactFailed", "kustomization path not found: stat /tmp/kustomization/extra: no such file or directory"),
    );
    check(
        &[("extra/a.yaml", &config_map("a", "default", "${absent}"))],
        "  postBuild:\n    substitute: {present: here}\n",
        ("BuildFailed", "envsubst error in ConfigMap/default/a: variable not set (strict mode): \"absent\""),
    );
    check(
        &[("extra/a.yaml", &config_map("a", "default", "1"))],
        "  postBuild:\n    substituteFrom: [{kind: ConfigMap, name: missing}]\n",
        ("BuildFailed", "substitute from 'ConfigMap/missing' error: configmaps \"missing\" not found"),
    );
    check(
        &[("extra/kustomization.yaml", "resources: []\nhelmCharts: []\n")],
        "",
        ("BuildFailed", "extra/kustomization.yaml: `helmCharts` is not among the features that this house builds"),
    );
}

#[test]
fn a_late_webhook_refuses_in_kubernetes_words_and_is_tried_again_after_the_retry_interval() {
    // In this world the webhook answers seconds after MetalLB is ready.
    let mut house = House::new(1);
    house.plant();
    let is_refused = |house: &House| reason(&house.kustomization("metallb-pools")) == "ReconciliationFailed";
    house.nudging_until("pools that are tried too early", is_refused);
    let pools = house.kustomization("metallb-pools");
    let said = message(&pools);
    assert!(
        said.starts_with(
            "IPAddressPool/metallb-system/load-balancers dry-run failed (InternalError): Internal error occurred: \
             failed calling webhook \"ipaddresspoolvalidationwebhook.metallb.io\": failed to call webhook: Post \
             \"https://metallb-webhook-service.metallb-system.svc:443/validate-metallb-io-v1beta1-ipaddresspool?timeout=10s\": "
        ),
        "{said}"
    );
    let failed = house.world.now();
    let ready = house.until("pools", |house| is_ready(&house.kustomization("metallb-pools")));
    assert!(ready >= failed + Duration::from_secs(120), "retryInterval is two minutes: {failed:?} {ready:?}");
}

#[test]
fn health_is_waited_for_until_the_timeout() {
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: never, namespace: default}\nspec:\n  \
                      selector: {matchLabels: {app: never}}\n  template:\n    metadata: {labels: {app: never}}\n    \
                      spec:\n      nodeSelector: {house: elsewhere}\n      containers: [{name: a, image: a}]\n";
    let mut house = house_with(&[("extra/a.yaml", deployment)], "  timeout: 32s\n  wait: true\n");
    let examined = house
        .until("a health check", |house| condition(&house.kustomization("extra"), "Healthy")["status"] == "Unknown");
    let extra = house.kustomization("extra");
    assert_eq!(reason(&extra), "Progressing");
    let progress = condition(&extra, "Reconciling")["message"].as_str().unwrap().to_owned();
    assert!(progress.starts_with("Running health checks for revision main@sha1:"), "{progress}");
    assert!(progress.ends_with("with a timeout of 32s"), "{progress}");
    let failed = house.until("its end", |house| reason(&house.kustomization("extra")) == "HealthCheckFailed");
    assert_eq!(failed - examined, Duration::from_secs(32));
    assert_eq!(
        message(&house.kustomization("extra")),
        "health check failed after 32s: timeout waiting for: [Deployment/default/never status: 'InProgress']"
    );
}

#[test]
fn a_request_ends_a_health_check_where_the_controller_may_be_disturbed() {
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: never, namespace: default}\nspec:\n  \
                      selector: {matchLabels: {app: never}}\n  template:\n    metadata: {labels: {app: never}}\n    \
                      spec:\n      nodeSelector: {house: elsewhere}\n      containers: [{name: a, image: a}]\n";
    let mut house = house_with(&[("extra/a.yaml", deployment)], "  timeout: 5m\n  wait: true\n");
    house.until("a health check", |house| condition(&house.kustomization("extra"), "Healthy")["status"] == "Unknown");
    let tries = house.world.flux.reconciliations("extra");
    house.request(&kustomizations(), "extra", "now");
    assert_eq!(house.world.flux.reconciliations("extra"), tries + 1);
}

#[test]
fn a_source_without_credentials_waits_longer_each_time() {
    let mut house = House::new(7);
    let components = house.documents("clusters/blue/flux-system/gotk-components.yaml");
    components.into_iter().for_each(|object| drop(house.apply(object)));
    for object in house.documents("clusters/blue/flux-system/gotk-sync.yaml") {
        house.apply(object);
    }
    let source = |house: &House| house.find(&repositories(), "flux-system", "flux-system").unwrap();
    house.until("a failure", |house| condition(&source(house), "FetchFailed")["status"] == "True");
    assert_eq!(reason(&source(&house)), "AuthenticationFailed");
    assert_eq!(
        message(&source(&house)),
        "failed to get secret 'flux-system/flux-system': secrets \"flux-system\" not found"
    );
    house.until("the root", |house| reason(&house.kustomization("flux-system")) == "ArtifactFailed");
    assert_eq!(message(&house.kustomization("flux-system")), "Source artifact not found, retrying in 30s");
    house.secret("flux-system", "flux-system", &[("username", "git"), ("password", "wrong")]);
    house.until("another failure", |house| reason(&source(house)) == "GitOperationFailed");
    assert!(message(&source(&house)).ends_with("authentication required"), "{}", message(&source(&house)));
    // The cause is gone; the controller would look again only after its back-off.
    let token = house.world.git.accounts.0["git"].token.expose().clone();
    house.secret("flux-system", "flux-system", &[("username", "git"), ("password", &token)]);
    house.request(&repositories(), "flux-system", "now");
    house.until("the artifact", |house| is_ready(&source(house)));
    assert_eq!(condition(&source(&house), "FetchFailed"), serde_json::Value::Null);
}

#[test]
fn nothing_happens_without_controllers() {
    let mut house = House::new(7);
    house.plant();
    house.nudging_until("everything ready", House::all_ready);
    let mut controller = house.find(&Resource::DEPLOYMENTS, "flux-system", "kustomize-controller").unwrap();
    controller["spec"]["replicas"] = json!(0);
    controller["metadata"]["managedFields"] = json!([]);
    for key in ["resourceVersion", "managedFields"] {
        controller["metadata"].as_object_mut().unwrap().remove(key);
    }
    house.world.kubernetes.update(controller, castle_lab::kube::Part::Main, &Default::default()).unwrap();
    house.world.follow();
    let tries = house.world.flux.reconciliations("flux-system");
    house.until("no controller", |house| {
        let controller = house.find(&Resource::DEPLOYMENTS, "flux-system", "kustomize-controller").unwrap();
        controller["status"]["availableReplicas"].as_u64().unwrap_or(0) == 0
    });
    house.request(&kustomizations(), "flux-system", "now");
    let now = house.world.now();
    house.world.advance_to(now + Duration::from_secs(900));
    assert_eq!(house.world.flux.reconciliations("flux-system"), tries);
}
