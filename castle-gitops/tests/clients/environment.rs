use std::sync::Arc;

use castle_core::conformance::secrets::{self, ReadOnlySecretsHarness};
use castle_core::{SecretKey, SecretStore};
use castle_gitops::secrets::EnvironmentSecrets;

struct Variables;

impl ReadOnlySecretsHarness for Variables {
    fn store_of(&self, secrets: &[(SecretKey, Vec<u8>)]) -> Arc<dyn SecretStore> {
        let variable = |(key, value): &(SecretKey, Vec<u8>)| {
            let name = key.as_str().to_uppercase().replace('-', "_").replace('/', "__").replace('.', "___");
            (format!("CASTLE_SECRET_{name}").into(), String::from_utf8(value.clone()).unwrap().into())
        };
        let others = [("HOME".into(), "/root".into()), ("castle_secret_x".into(), "x".into())];
        Arc::new(EnvironmentSecrets::of("CASTLE_SECRET_", secrets.iter().map(variable).chain(others)))
    }
}

#[tokio::test]
async fn the_environment_keeps_every_rule_of_reading() {
    let lines = secrets::reading(&Variables).await;
    println!("{}", lines.join("\n"));
    assert_eq!(lines.len(), secrets::READING_RULES.len());
    assert!(lines[0].starts_with("conformance secrets environment "), "{lines:?}");
}
