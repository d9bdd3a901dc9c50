//! Secrets in files keep every rule of the port.

use std::sync::Arc;

use castle_core::SecretStore;
use castle_core::conformance::{SecretsHarness, secrets};
use castle_gitops::secrets::FileSecrets;
use tempfile::TempDir;

struct Folder(TempDir);

impl SecretsHarness for Folder {
    fn store(&self) -> Arc<dyn SecretStore> {
        // Below the temporary folder, so that the store makes its own root.
        Arc::new(FileSecrets::open(self.0.path().join("deep/secrets")).expect("a root that does not exist yet is fine"))
    }
}

#[tokio::test]
async fn files_keep_every_rule() {
    let lines = secrets::all(|| Folder(TempDir::new().expect("a temporary folder"))).await;
    println!("{}", lines.join("\n"));
    assert_eq!(lines.len(), secrets::RULES.len());
    assert!(lines[0].starts_with("conformance secrets files "), "{lines:?}");
}
