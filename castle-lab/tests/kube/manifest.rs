//! Manifests that nobody here wrote: the real ones of Flux and its neighbours.
//! Without their folder these tests skip by name.

use std::path::PathBuf;
use std::time::Instant;

use castle_lab::kube::{Hand, Resource, Store};
use serde_json::{Value, json};

use crate::store;

/// The objects of a file of the shared folder.
fn objects(test: &str, file: &str) -> Option<Vec<Value>> {
    let folder = std::env::var_os("CASTLE_SHARED_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")), PathBuf::from);
    let Ok(text) = std::fs::read_to_string(folder.join("crds").join(file)) else {
        println!("skipped: {test} (crds/{file} is absent)");
        return None;
    };
    Some(serde_saphyr::from_multiple(&text).unwrap())
}

/// Applies the definitions and namespaces first, then the rest, as the CLI does.
fn apply(store: &mut Store, objects: &[Value]) {
    let is_first =
        |object: &&Value| ["CustomResourceDefinition", "Namespace"].contains(&object["kind"].as_str().unwrap());
    let hand = Hand::of("kubectl-castle");
    let (first, rest): (Vec<_>, Vec<_>) = objects.iter().partition(is_first);
    for object in first.into_iter().chain(rest) {
        if let Err(refusal) = store.apply(object.clone(), &hand) {
            panic!("{} {}: {refusal}", object["kind"], object["metadata"]["name"]);
        }
    }
}

#[test]
fn flux_is_installed_from_its_own_manifest() {
    let test = "flux_is_installed_from_its_own_manifest";
    let Some(objects) = objects(test, "flux/gotk-components-v2.9.4.yaml") else { return };
    let mut store = store();
    apply(&mut store, &objects);
    assert_eq!(objects.len(), 32);
    let definitions: Vec<_> = store.list(&Resource::DEFINITIONS, &Default::default()).cloned().collect();
    assert_eq!(definitions.len(), 11);
    for definition in definitions {
        let established = definition["status"]["conditions"][1].clone();
        assert_eq!((&established["type"], &established["status"]), (&json!("Established"), &json!("True")));
    }
    // Applied again, and as a dry run, nothing is written.
    let before = store.revision();
    apply(&mut store, &objects);
    assert_eq!(store.revision(), before);
    for object in &objects {
        store.apply(object.clone(), &Hand::of("kubectl-castle").dry().strict()).unwrap();
    }
    let sync = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": {"name": "flux-system", "namespace": "flux-system"},
        "spec": {
            "interval": "10m0s", "path": "./clusters/blue", "prune": true,
            "sourceRef": {"kind": "GitRepository", "name": "flux-system"},
        },
    });
    let made = store.apply(sync.clone(), &Hand::of("kubectl-castle")).unwrap();
    assert_eq!(made["status"], json!({"observedGeneration": -1}), "a wait must not end before it began");
    let mut wrong = sync.clone();
    wrong["spec"]["sourceRef"]["kind"] = json!("Repository");
    wrong["spec"]["interval"] = json!("soon");
    let refusal = store.apply(wrong, &Hand::of("kubectl-castle")).unwrap_err();
    assert_eq!(refusal.code, 422);
    assert!(refusal.message.contains("spec.interval in body should match"), "{refusal}");
    assert!(refusal.message.contains("spec.sourceRef.kind: Unsupported value: \"Repository\""), "{refusal}");
    let mut typo = sync;
    typo["spec"]["prun"] = json!(true);
    let refusal = store.apply(typo, &Hand::of("kubectl-castle")).unwrap_err();
    assert!(refusal.message.ends_with(".spec.prun: field not declared in schema"), "{refusal}");
}

#[test]
fn every_official_definition_is_served() {
    let test = "every_official_definition_is_served";
    for file in [
        "cert-manager/cert-manager.io_certificates.yaml",
        "cert-manager/cert-manager.io_clusterissuers.yaml",
        "crunchy-pgo/postgres-operator.crunchydata.com_postgresclusters.yaml",
        "external-secrets/external-secrets.io_clustersecretstores.yaml",
        "external-secrets/external-secrets.io_externalsecrets.yaml",
        "longhorn/longhorn.io_settings.yaml",
        "longhorn/longhorn.io_volumes.yaml",
        "metallb/metallb.io_ipaddresspools.yaml",
        "metallb/metallb.io_l2advertisements.yaml",
    ] {
        let Some(objects) = objects(test, file) else { return };
        apply(&mut store(), &objects);
    }
}

#[test]
fn a_store_of_the_vault_is_validated_quickly() {
    let test = "a_store_of_the_vault_is_validated_quickly";
    let file = "external-secrets/external-secrets.io_clustersecretstores.yaml";
    let Some(objects) = objects(test, file) else { return };
    let mut store = store();
    apply(&mut store, &objects);
    let vault = |slug: Value| {
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore",
            "metadata": {"name": "vault"},
            "spec": {"provider": {"infisical": {
                "hostAPI": "https://infisical.castle.internal",
                "auth": {"universalAuthCredentials": {
                    "clientId": {"name": "identity", "key": "clientId", "namespace": "external-secrets"},
                    "clientSecret": {"name": "identity", "key": "clientSecret", "namespace": "external-secrets"},
                }},
                "secretsScope": {"projectSlug": slug, "environmentSlug": "prod"},
            }}},
        })
    };
    #[expect(clippy::disallowed_methods, reason = "what is measured is this machine's own work")]
    let began = Instant::now();
    for round in 0..100 {
        store.apply(vault(json!(format!("castle-{round}"))), &Hand::of("castle")).unwrap();
    }
    let spent = began.elapsed();
    assert!(spent.as_secs() < 2, "a hundred writes took {spent:?}: the schema is read anew each time");
    let made = store.get(&Resource::named("external-secrets.io", "clustersecretstores"), "", "vault").unwrap();
    assert_eq!(made["spec"]["provider"]["infisical"]["secretsScope"]["secretsPath"], "/", "the default");
    let refusal = store.apply(vault(json!(5)), &Hand::of("castle")).unwrap_err();
    assert!(refusal.message.contains("must be of type string"), "{refusal}");
    let mut gone = vault(json!("castle"));
    gone["apiVersion"] = json!("external-secrets.io/v1beta1");
    let refusal = store.apply(gone, &Hand::of("castle")).unwrap_err();
    assert!(refusal.message.contains("no kind \"ClusterSecretStore\" is registered"), "{refusal}");
}
