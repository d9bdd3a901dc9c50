//! What a Kustomization builds, by what the cluster has afterwards.

use castle_lab::kube::Resource;
use serde_json::{Value, json};

use crate::house::{House, is_ready};

const EXTRA: &str = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata:\n  name: extra\n  \
                     namespace: flux-system\nspec:\n  interval: 10m\n  path: ./extra\n  prune: true\n  sourceRef: {kind: \
                     GitRepository, name: flux-system}\n";

/// The objects of a folder, applied.
#[track_caller]
fn built(content: &[(&str, &str)], more: &str) -> House {
    let mut house = House::new(7);
    let own = format!("{EXTRA}{more}");
    let mut changes = vec![("clusters/blue/extra.yaml", Some(own.as_str()))];
    changes.extend(content.iter().map(|(path, text)| (*path, Some(*text))));
    house.push(&changes);
    house.plant();
    house.until("the folder", |house| is_ready(&house.kustomization("extra")));
    house
}

fn config_map(house: &House, name: &str) -> Value {
    house.find(&Resource::CONFIG_MAPS, "default", name).unwrap_or_else(|| {
        let all = house.all(&Resource::CONFIG_MAPS);
        let names: Vec<_> = all.iter().map(|object| crate::house::name(object)).collect();
        panic!("no {name} among {names:?}")
    })
}

const MAP: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map, namespace: default}\ndata: {a: one, b: two}\n";
const POD: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {app: \
                   web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers: [{name: web, image: \
                   registry.lan:5000/web:1.0, envFrom: [{configMapRef: {name: settings}}]}]\n";

#[test]
fn a_plain_folder_is_taken_whole_with_folders_that_are_built() {
    let house = built(
        &[
            ("extra/a.yaml", MAP),
            ("extra/deep/b.yaml", &MAP.replace("name: map", "name: deep")),
            ("extra/own/kustomization.yaml", "namespace: default\nresources: [c.yaml]\n"),
            ("extra/own/c.yaml", &MAP.replace("name: map, namespace: default", "name: own")),
            ("extra/own/left-out.yaml", &MAP.replace("name: map", "name: left-out")),
            ("extra/notes.txt", "not a manifest"),
        ],
        "",
    );
    for name in ["map", "deep", "own"] {
        assert_eq!(config_map(&house, name)["data"]["a"], "one");
    }
    assert_eq!(house.find(&Resource::CONFIG_MAPS, "default", "left-out"), None);
}

#[test]
fn patches_images_labels_and_generators_are_laid_over() {
    let house = built(
        &[
            (
                "extra/kustomization.yaml",
                "namespace: default\nresources: [pod.yaml, map.yaml]\nlabels: [{pairs: {team: home}, includeSelectors: \
                 true}]\ncommonAnnotations: {who: us}\nimages: [{name: 'registry.lan:5000/web', newTag: \
                 '2.0'}]\nconfigMapGenerator: [{name: settings, literals: [COLOUR=blue]}]\npatches:\n  - target: {kind: \
                 ConfigMap, name: map}\n    patch: '[{op: replace, path: /data/a, value: three}]'\n  - patch: '{apiVersion: \
                 apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 2, template: {spec: {containers: \
                 [{name: web, env: [{name: A, value: b}]}]}}}}'\n",
            ),
            ("extra/pod.yaml", POD),
            ("extra/map.yaml", &MAP.replace(", namespace: default", "")),
        ],
        "",
    );
    assert_eq!(config_map(&house, "map")["data"], json!({"a": "three", "b": "two"}));
    let web = house.find(&Resource::DEPLOYMENTS, "default", "web").unwrap();
    let container = &web["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "registry.lan:5000/web:2.0");
    assert_eq!((&container["env"][0]["value"], &web["spec"]["replicas"]), (&json!("b"), &json!(2)));
    assert_eq!(web["spec"]["selector"]["matchLabels"], json!({"app": "web", "team": "home"}));
    assert_eq!(web["metadata"]["annotations"]["who"], "us");
    // The generated name carries a digest, also where the pod asks for it.
    let settings = container["envFrom"][0]["configMapRef"]["name"].as_str().unwrap();
    assert!(settings.starts_with("settings-") && settings.len() == 19, "{settings}");
    assert_eq!(config_map(&house, settings)["data"]["COLOUR"], "blue");
}

#[test]
fn what_flux_lays_over_itself_comes_last() {
    let more = "  targetNamespace: default\n  commonMetadata: {labels: {team: flux}}\n  patches:\n    - target: {kind: \
                ConfigMap}\n      patch: '[{op: add, path: /data/c, value: \"number ${number}\"}]'\n  postBuild:\n    substitute: \
                {number: '3'}\n    substituteFrom: [{kind: ConfigMap, name: maybe, optional: true}]\n";
    let house = built(&[("extra/map.yaml", &MAP.replace("a: one", "a: '${number} of ${all:=many}'"))], more);
    let map = config_map(&house, "map");
    assert_eq!((&map["data"]["a"], &map["data"]["c"]), (&json!("3 of many"), &json!("number 3")));
    assert_eq!(map["metadata"]["labels"]["team"], "flux");
}
