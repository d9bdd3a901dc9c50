//! Decoding, validation, merging, patching, generating.

use std::collections::BTreeMap;

use castle_core::{NodeRole, Secret, SecretBytes};
use castle_talos::SecretsBundle;
use castle_talos::config::{Config, Generator, Installation, Rules, Version};
use serde_json::Value;

use super::{Tally, Vectors, same};

fn decode(text: &str) -> Result<Config, String> {
    Config::decode(&SecretBytes::from(text.as_bytes().to_vec()), Version::V1_14)
        .map_err(|refusal| refusal.talos_text().expose().clone())
}

fn written(config: &Config) -> String {
    String::from_utf8_lossy(config.encode().expose()).into_owned()
}

fn each<'a>(cases: &'a Value, group: &str) -> impl Iterator<Item = (String, &'a Value)> {
    let group = group.to_owned();
    let name = |case: &Value| case["name"].as_str().unwrap_or("unnamed").to_owned();
    cases.as_array().into_iter().flatten().map(move |case| (format!("{group}/{}", name(case)), case))
}

pub fn decoding(cases: &Value, tally: &mut Tally) {
    for (name, case) in each(cases, "decode") {
        let found = decode(case["input"].as_str().unwrap_or_default());
        let outcome = match (found, case["error"].as_str()) {
            (Ok(config), None) => {
                same(&config.len().to_string(), &case["documents"].as_u64().unwrap_or_default().to_string())
            }
            (Ok(_), Some(wanted)) => Err(format!("accepted instead of {wanted:?}")),
            (Err(found), wanted) => same(&found, wanted.unwrap_or("no error")),
        };
        tally.check(&name, outcome);
    }
}

pub fn validation(cases: &Value, tally: &mut Tally) {
    for (name, case) in each(cases, "validate") {
        let is = |key: &str| case[key].as_bool().unwrap_or_default();
        let rules = Rules { requires_install: is("requires_install"), strict: is("strict") };
        let wanted: Vec<&str> = case["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let outcome = decode(case["config"].as_str().unwrap_or_default()).and_then(|config| {
            let findings = config.findings(rules);
            let [found] = findings.as_slice() else { return Err("not one document".to_owned()) };
            if found.warnings != wanted {
                return Err(format!("warns {:?} instead of {wanted:?}", found.warnings));
            }
            match (found.error_text(), case["error"].as_str()) {
                (None, None) => Ok(()),
                // Whole, because the blank lines at the end count too.
                (Some(found), Some(wanted)) if found == wanted => Ok(()),
                (found, wanted) => Err(format!("{found:?} instead of {wanted:?}")),
            }
        });
        tally.check(&name, outcome);
    }
}

pub fn merging(vectors: &Vectors, tally: &mut Tally) {
    for case in ["001", "003"] {
        let file = |side: &str| vectors.text(&format!("merge/{case}/{side}.yaml"));
        let outcome = (|| {
            let merged = decode(&file("left")?)?.patched(&file("right")?).map_err(|refusal| refusal.to_string())?;
            // As documents: the vector is written by hand.
            same(&written(&merged), &written(&decode(&file("expected")?)?))
        })();
        tally.check(&format!("merge/{case}"), outcome);
    }
}

pub fn patching(vectors: &Vectors, tally: &mut Tally) {
    let patched = |folder: &str, base: &str, patches: &[&str]| -> Result<Config, String> {
        let mut config = decode(&vectors.text(&format!("patch/{folder}/{base}.yaml"))?)?;
        for patch in patches {
            let text = vectors.text(&format!("patch/{folder}/{patch}.yaml"))?;
            config = config.patched(&text).map_err(|refusal| refusal.talos_text().expose().clone())?;
        }
        Ok(config)
    };
    for (folder, base, patches) in [
        ("multidoc", "config", &["strategic1", "strategic2", "strategic3"][..]),
        ("delete", "config", &["strategic1"]),
        ("mixed", "base", &["patch"]),
    ] {
        let outcome = patched(folder, base, patches)
            .and_then(|config| same(&written(&config), &vectors.text(&format!("patch/{folder}/expected.yaml"))?));
        tally.check(&format!("patch/{folder}"), outcome);
    }
    for (folder, patch, wanted) in [
        ("multidoc", "jsonpatch", "JSON6902 patches are not supported for multi-document machine configuration"),
        (
            "delete-missing",
            "strategic1",
            "patch delete: path 'machine.network.hostname' in document '/v1alpha1': \
             failed to delete path 'machine.network.hostname': lookup failed",
        ),
    ] {
        let outcome = match patched(folder, "config", &[patch]) {
            Ok(_) => Err("accepted".to_owned()),
            Err(found) if found.contains(wanted) => Ok(()),
            Err(found) => Err(format!("{found:?} instead of {wanted:?}")),
        };
        tally.check(&format!("patch/{folder}/{patch}"), outcome);
    }
}

/// Every file of the generator is read and written back byte for byte; those of
/// contract 1.13 are generated too.
pub fn generating(vectors: &Vectors, tally: &mut Tally) {
    for (release, files) in [
        ("v1.12", &["base-controlplane", "base-worker"][..]),
        ("v1.13", &["base-controlplane", "base-worker", "overrides-controlplane", "overrides-worker"]),
        ("v1.14", &["base-controlplane", "base-worker", "overrides-controlplane", "overrides-worker"]),
    ] {
        for file in files {
            let path = format!("gen/{release}/{file}.yaml");
            let outcome = vectors.text(&path).and_then(|text| same(&written(&decode(&text)?), &text));
            tally.check(&format!("{path} (read and written)"), outcome);
        }
    }
    for (name, options, patched) in [("base", base(), false), ("overrides", overrides(), true)] {
        for (role, suffix) in [(NodeRole::ControlPlane, "controlplane"), (NodeRole::Worker, "worker")] {
            let path = format!("gen/v1.13/{name}-{suffix}.yaml");
            let outcome = (|| {
                let bundle = SecretsBundle::parse(&Secret::new(vectors.bytes("gen/secrets.yaml")?))
                    .map_err(|problems| format!("{problems:?}"))?;
                let mut config = options.generate(&bundle, role);
                if patched {
                    let patch = vectors.text("gen/patch-pre14.yaml")?;
                    config = config.patched(&patch).map_err(|refusal| refusal.to_string())?;
                }
                same(&written(&config), &vectors.text(&path)?)
            })();
            tally.check(&format!("{path} (generated)"), outcome);
        }
    }
}

fn base() -> Generator {
    Generator::new("base", "https://base:6443", "1.28.0")
}

fn overrides() -> Generator {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let pair = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    Generator {
        cert_sans: owned(&["foo", "bar"]),
        schedule_on_control_planes: Some(true),
        dns_domain: "example.com".to_owned(),
        local_api_port: Some(5443),
        sysctls: pair("foo", "bar"),
        custom_cni: owned(&["https://example.com/cni.yaml"]),
        mirrors: pair("ghcr.io", "https://ghcr.io.my-mirror.com"),
        install: Some(Installation {
            disk: Some("/dev/vda".to_owned()),
            image: None,
            kernel_args: owned(&["foo=bar", "bar=baz"]),
        }),
        ..base()
    }
}
