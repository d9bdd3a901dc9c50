//! What Talos' own test material says. It lies beside the project and may be absent.

use std::path::PathBuf;

use castle_core::{Identity, Secret};
use castle_talos::{Schematic, SecretsBundle, TalosIdentity};

/// A file of the vectors; `None`, and a line that says so, if it is absent.
#[allow(clippy::print_stdout)] // A skipped test says so by name.
fn vector(test: &str, file: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/talos-vectors")).join(file);
    let text = std::fs::read(path).ok();
    if text.is_none() {
        println!("skipped: {test} (talos-vectors/{file} is absent)");
    }
    text
}

#[test]
fn schematic_ids_are_the_factory_s() {
    let Some(text) = vector("schematic_ids_are_the_factory_s", "cases.json") else { return };
    let cases: serde_json::Value = serde_json::from_slice(&text).expect("the vectors are JSON");
    let words = |value: &serde_json::Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let mut checked = 0;
    for case in cases["schematic"].as_array().expect("a list of cases") {
        let canonical = case["canonical"].as_str().expect("a text");
        let read: serde_json::Value = serde_saphyr::from_str(canonical).expect("the canonical text is YAML");
        let customization = &read["customization"];
        let schematic = Schematic {
            extensions: words(&customization["systemExtensions"]["officialExtensions"]),
            kernel_args: words(&customization["extraKernelArgs"]),
        };
        let speaks_only_of_what_we_know = read.as_object().is_some_and(|keys| keys.len() == 1)
            && customization.as_object().is_none_or(|keys| {
                keys.keys().all(|key| ["systemExtensions", "extraKernelArgs"].contains(&key.as_str()))
            });
        if speaks_only_of_what_we_know {
            assert_eq!(schematic.canonical().expect("plain"), canonical, "{}", case["name"]);
            assert_eq!(schematic.id().expect("plain"), case["id"].as_str().expect("a text"), "{}", case["name"]);
            checked += 1;
        }
    }
    assert_eq!(checked, 5, "empty, three lists of extensions, kernel arguments");
}

#[test]
fn bundles_of_talosctl_are_read_and_written_back() {
    for file in ["secrets/valid.yaml", "gen/secrets.yaml"] {
        let Some(text) = vector("bundles_of_talosctl_are_read_and_written_back", file) else { return };
        let text = Secret::new(text);
        let bundle = SecretsBundle::parse(&text).unwrap_or_else(|problems| panic!("{file}: {problems:?}"));
        let again = SecretsBundle::parse(&bundle.to_yaml()).expect("our own text");
        assert!(again.to_yaml().same_as(&bundle.to_yaml()), "{file}");
        let read: serde_json::Value = serde_saphyr::from_slice(text.expose()).expect("YAML");
        let written: serde_json::Value = serde_saphyr::from_slice(bundle.to_yaml().expose()).expect("YAML");
        // Compared without printing: these are keys, if only of a test.
        assert!(read == written, "{file} is written back as it was");
        assert_eq!(TalosIdentity.cluster_id(&text).expect("a bundle"), read["cluster"]["id"].as_str().expect("a text"));
    }
}

#[test]
fn the_six_faults_of_a_bad_bundle_are_told_at_once() {
    let Some(text) = vector("the_six_faults_of_a_bad_bundle_are_told_at_once", "secrets/invalid.yaml") else { return };
    let problems = SecretsBundle::parse(&Secret::new(text)).expect_err("six faults");
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "cluster.secret: is missing",
            "secrets: has neither `secretboxencryptionsecret` nor `aescbcencryptionsecret`",
            "trustdinfo: is missing",
            "certs.etcd: has no `key`",
            "certs.k8saggregator: is missing",
            "certs.os: has no `crt` and holds a certificate where its key belongs",
        ]
    );
}
