//! The template's graph, from a planted seed to everything ready.

use std::time::Duration;

use castle_lab::flux::{NodesReady, Stuck, ideal};
use castle_lab::kube::{Hand, Part, Resource};

use crate::house::{House, condition, is_ready, kustomizations, message, name, reason, repositories};

#[test]
fn a_planted_seed_becomes_the_whole_graph() {
    let mut house = House::new(7);
    house.plant();
    house.nudging_until("everything ready", House::all_ready);
    let names: Vec<_> = house.all(&kustomizations()).iter().map(|object| name(object).to_owned()).collect();
    assert_eq!(names, ["blog", "eso-store", "external-secrets", "flux-system", "ingress", "metallb", "metallb-pools"]);
    let revision = format!("main@sha1:{}", house.branch().commit);
    let source = house.find(&repositories(), "flux-system", "flux-system").unwrap();
    assert_eq!(source["status"]["artifact"]["revision"], *revision);
    assert_eq!(message(&source), format!("stored artifact for revision '{revision}'"));
    let root = house.kustomization("flux-system");
    assert_eq!(message(&root), format!("Applied revision: {revision}"));
    for key in ["lastAppliedRevision", "lastAttemptedRevision"] {
        assert_eq!(root["status"][key], *revision, "{key}");
    }
    assert_eq!(root["metadata"]["finalizers"][0], "finalizers.fluxcd.io");
    assert_eq!(condition(&root, "Reconciling"), serde_json::Value::Null);
    let inventory = root["status"]["inventory"].to_string();
    for id in [
        "flux-system_cluster-vars__ConfigMap",
        "_kustomizations.kustomize.toolkit.fluxcd.io_apiextensions.k8s.io_CustomResourceDefinition",
        "flux-system_blog_kustomize.toolkit.fluxcd.io_Kustomization",
    ] {
        assert!(inventory.contains(id), "{id} in {inventory}");
    }
    let blog = house.find(&Resource::DEPLOYMENTS, "blog", "blog").unwrap();
    assert_eq!(blog["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"], "blog");
    assert_eq!(blog["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/namespace"], "flux-system");
    let page = house.find(&Resource::CONFIG_MAPS, "blog", "blog-page").unwrap();
    assert!(page["data"]["index.html"].as_str().unwrap().contains("<h1>The blog of blue</h1>"), "{page}");
    assert!(house.world.violations().is_empty(), "{:?}", house.world.violations());
    for complaint in ["could not", "did not come to rest", "is not synced"] {
        let said: Vec<_> = house.world.trace().iter().filter(|(_, line)| line.contains(complaint)).collect();
        assert!(said.is_empty(), "{said:?}");
    }
}

#[test]
fn what_castle_applied_belongs_to_flux_afterwards() {
    let mut house = House::new(7);
    house.plant();
    house.nudging_until("everything ready", House::all_ready);
    for (resource, namespace, name) in [
        (Resource::DEPLOYMENTS, "flux-system", "source-controller"),
        (Resource::DEPLOYMENTS, "external-secrets", "external-secrets"),
        (Resource::NAMESPACES, "", "flux-system"),
        (kustomizations(), "flux-system", "flux-system"),
    ] {
        let object = house.find(&resource, namespace, name).unwrap();
        let fields = object["metadata"]["managedFields"].as_array().unwrap();
        let managers: Vec<_> = fields.iter().map(|entry| entry["manager"].as_str().unwrap()).collect();
        assert!(managers.contains(&"kustomize-controller"), "{name}: {managers:?}");
        assert!(!managers.contains(&"kubectl-castle"), "{name}: {managers:?}");
    }
    // The credential is not in the repository, so it stays castle's.
    let secret = house.find(&Resource::SECRETS, "flux-system", "flux-system").unwrap();
    assert_eq!(secret["metadata"]["managedFields"][0]["manager"], "kubectl-castle");
}

#[test]
fn nudges_bring_a_run_near_the_ideal() {
    for seed in 0..12 {
        let mut nudged = House::new(seed);
        let begin = nudged.world.now();
        nudged.plant();
        let with = nudged.nudging_until("everything ready", House::all_ready);
        let mut patient = House::new(seed);
        patient.plant();
        let without = patient.until("everything ready", House::all_ready);
        let ideal =
            ideal(&nudged.project, &nudged.branch(), nudged.world.draws(), begin, &NodesReady::at(begin)).unwrap();
        let graph = ideal.kustomizations.values().copied().max().unwrap();
        assert!(graph <= with, "seed {seed}: the ideal {graph:?} is later than a run {with:?}");
        let lost = with - graph;
        assert!(lost < Duration::from_secs(7), "seed {seed}: {lost:?} more than the ideal {:?}", ideal.kustomizations);
        assert!(with + Duration::from_secs(30) < without, "seed {seed}: {with:?} {without:?}");
    }
}

#[test]
fn a_dependency_is_asked_for_every_thirty_seconds() {
    let mut house = House::new(7);
    house.plant();
    let seen = |house: &House| reason(&house.kustomization("blog")) == "DependencyNotReady";
    let first = house.until("the first refusal", seen);
    assert_eq!(message(&house.kustomization("blog")), "dependency 'flux-system/eso-store' is not ready");
    assert_eq!(house.world.flux.reconciliations("blog"), 1);
    house.world.advance_to(first + Duration::from_millis(29_999));
    assert_eq!(house.world.flux.reconciliations("blog"), 1);
    house.world.advance_to(first + Duration::from_millis(30_001));
    assert_eq!(house.world.flux.reconciliations("blog"), 2);
}

#[test]
fn a_request_is_answered_at_once_and_its_token_noted() {
    let mut house = House::new(7);
    house.plant();
    house.until("a refusal", |house| reason(&house.kustomization("blog")) == "DependencyNotReady");
    house.request(&kustomizations(), "blog", "now");
    assert_eq!(house.world.flux.reconciliations("blog"), 2);
    assert_eq!(house.kustomization("blog")["status"]["lastHandledReconcileAt"], "now");
}

#[test]
fn a_request_that_is_taken_away_asks_for_nothing() {
    let mut house = House::new(7);
    house.plant();
    house.nudging_until("everything ready", House::all_ready);
    house.request(&kustomizations(), "blog", "now");
    house.until("the answer", |house| is_ready(&house.kustomization("blog")));
    let tries = house.world.flux.reconciliations("blog");
    let mut blog = house.kustomization("blog");
    blog["metadata"]["annotations"] = serde_json::json!({});
    house.world.kubernetes.update(blog, Part::Main, &Hand::of("flux")).unwrap();
    house.world.follow();
    let now = house.world.now();
    house.world.advance_to(now + Duration::from_secs(60));
    assert_eq!(house.world.flux.reconciliations("blog"), tries);
}

#[test]
fn who_is_suspended_is_not_touched() {
    let mut house = House::new(7);
    house.plant();
    house.nudging_until("everything ready", House::all_ready);
    let patch = serde_json::json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": {"name": "blog", "namespace": "flux-system"}, "spec": {"suspend": true}});
    // What `kubectl` and its kin apply, Flux would take over and take away again.
    house.world.kubernetes.apply(patch, &Hand::of("flux")).unwrap();
    house.world.follow();
    let tries = house.world.flux.reconciliations("blog");
    house.request(&kustomizations(), "blog", "later");
    let now = house.world.now();
    house.world.advance_to(now + Duration::from_secs(1000));
    assert_eq!(house.world.flux.reconciliations("blog"), tries);
}

#[test]
fn a_stuck_kustomization_moves_when_it_is_asked_to() {
    let mut house = House::new(7);
    house.world.flux.stick("metallb", Stuck::UntilNudged);
    house.world.flux.stick("eso-store", Stuck::Forever);
    house.plant();
    house.until("children", |house| !house.kustomization("blog").is_null());
    let now = house.world.now();
    house.world.advance_to(now + Duration::from_secs(120));
    assert_eq!(house.world.flux.reconciliations("metallb"), 0);
    assert!(condition(&house.kustomization("metallb"), "Ready").is_null());
    house.request(&kustomizations(), "metallb", "please");
    house.request(&kustomizations(), "eso-store", "please");
    house.until("metallb", |house| is_ready(&house.kustomization("metallb")));
    assert_eq!(house.world.flux.reconciliations("eso-store"), 0);
    house.world.flux.release("eso-store");
    house.request(&kustomizations(), "eso-store", "again");
    house.nudging_until("everything ready", House::all_ready);
}

#[test]
fn a_new_commit_is_applied_when_the_source_is_looked_at() {
    let mut house = House::new(7);
    house.plant();
    house.nudging_until("everything ready", House::all_ready);
    let page = "<h1>Another page</h1>";
    house.push(&[("apps/blog/index.html", Some(page))]);
    let shown = |house: &House| {
        let page = house.find(&Resource::CONFIG_MAPS, "blog", "blog-page").unwrap();
        page["data"]["index.html"].as_str().unwrap().to_owned()
    };
    assert_ne!(shown(&house), page);
    house.request(&repositories(), "flux-system", "pushed");
    house.nudging_until("the page", |house| shown(house) == page);
    house.nudging_until("everything ready", House::all_ready);
    let revision = format!("main@sha1:{}", house.branch().commit);
    assert_eq!(house.kustomization("blog")["status"]["lastAppliedRevision"], *revision);
    let source = house.find(&repositories(), "flux-system", "flux-system").unwrap();
    assert_eq!(source["status"]["lastHandledReconcileAt"], "pushed");
}

#[test]
fn what_leaves_the_repository_leaves_the_cluster() {
    let mut house = House::new(7);
    house.plant();
    house.nudging_until("everything ready", House::all_ready);
    house.push(&[("clusters/blue/apps.yaml", None)]);
    house.request(&repositories(), "flux-system", "pushed");
    house.nudging_until("no blog", |house| house.kustomization("blog").is_null());
    // Its finalizer has let it go only after what it had applied.
    assert_eq!(house.find(&Resource::DEPLOYMENTS, "blog", "blog"), None);
    assert_eq!(house.find(&Resource::CONFIG_MAPS, "blog", "blog-page"), None);
    assert!(house.find(&Resource::DEPLOYMENTS, "traefik", "traefik").is_some());
}

#[test]
fn one_seed_makes_one_history() {
    let history = || {
        let mut house = House::new(3);
        house.plant();
        house.nudging_until("everything ready", House::all_ready);
        (house.world.now(), house.world.kubernetes.revision(), house.picture())
    };
    assert_eq!(history(), history());
}

#[test]
fn another_life_begins_with_nothing() {
    let mut house = House::new(7);
    house.plant();
    house.nudging_until("everything ready", House::all_ready);
    house.world.kubernetes.begin_life();
    house.world.follow();
    house.world.kubernetes.serve();
    house.nodes();
    assert!(house.all(&kustomizations()).is_empty());
    house.plant();
    house.nudging_until("everything ready again", House::all_ready);
}
