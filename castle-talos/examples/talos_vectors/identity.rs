//! Schematics and secrets bundles.

use castle_core::Secret;
use castle_talos::{Schematic, SecretsBundle};
use serde_json::Value;

use super::{Tally, Vectors, same};

/// What castle's schematics are made of.
const KNOWN: [&str; 2] = ["systemExtensions", "extraKernelArgs"];

pub fn schematics(cases: &Value, tally: &mut Tally) {
    for case in cases.as_array().into_iter().flatten() {
        let name = case["name"].as_str().unwrap_or_default();
        let text = |key: &str| case[key].as_str().unwrap_or_default();
        let Some(canonical) = read(text("canonical")) else {
            tally.skip(&format!("schematic/{name}"), "castle builds no image with this");
            continue;
        };
        tally.check(&format!("schematic/{name}"), compared(&canonical, text("canonical"), text("id")));
        for input in case["inputs"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let outcome = match read(input) {
                Some(schematic) => compared(&schematic, text("canonical"), text("id")),
                None => Err("not read".to_owned()),
            };
            tally.check(&format!("schematic/{name}/{input}"), outcome);
        }
    }
}

fn compared(schematic: &Schematic, canonical: &str, id: &str) -> Result<(), String> {
    let told = |error: castle_core::Error| error.chain();
    same(&schematic.canonical().map_err(told)?, canonical)?;
    same(&schematic.id().map_err(told)?, id)
}

/// `None` if it speaks of more than extensions and kernel arguments.
fn read(text: &str) -> Option<Schematic> {
    let read: Value = serde_saphyr::from_str(text).ok()?;
    let only = |value: &Value, known: &[&str]| {
        value.as_object().is_none_or(|keys| keys.keys().all(|key| known.contains(&key.as_str())))
    };
    let words = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let customization = &read["customization"];
    (only(&read, &["customization"]) && only(customization, &KNOWN)).then(|| Schematic {
        extensions: words(&customization["systemExtensions"]["officialExtensions"]),
        kernel_args: words(&customization["extraKernelArgs"]),
    })
}

pub fn bundles(vectors: &Vectors, tally: &mut Tally) {
    for file in ["secrets/valid.yaml", "gen/secrets.yaml"] {
        let outcome = vectors.bytes(file).and_then(|text| {
            let bundle =
                SecretsBundle::parse(&Secret::new(text.clone())).map_err(|problems| format!("{problems:?}"))?;
            let value = |bytes: &[u8]| serde_saphyr::from_slice::<Value>(bytes).map_err(|error| error.to_string());
            if value(bundle.to_yaml().expose())? == value(&text)? {
                Ok(())
            } else {
                Err("written otherwise".to_owned())
            }
        });
        tally.check(file, outcome);
    }
    let outcome = vectors.bytes("secrets/invalid.yaml").and_then(|text| {
        let problems = SecretsBundle::parse(&Secret::new(text)).err().ok_or("accepted")?;
        // In castle's own words, the same six faults in the same order.
        let subjects: Vec<&str> = problems.iter().map(|problem| problem.subject.as_str()).collect();
        let wanted = ["cluster.secret", "secrets", "trustdinfo", "certs.etcd", "certs.k8saggregator", "certs.os"];
        same(&subjects.join("\n"), &wanted.join("\n"))
    });
    tally.check("secrets/invalid.yaml", outcome);
}
