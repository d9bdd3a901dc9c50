use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;
use castle_core::conformance::secrets::{self, ReadOnlySecretsHarness};
use castle_core::{ErrorKind, SecretKey, SecretStore};
use castle_gitops::secrets::SopsSecrets;
use serde_json::json;
use tempfile::TempDir;

use crate::seal::{MODIFIED, Seal};

/// A folder with an identity for it.
struct Safe {
    folder: TempDir,
    identity: Identity,
}

impl Safe {
    fn new() -> Self {
        let safe = Self { folder: TempDir::new().unwrap(), identity: Identity::generate() };
        fs::write(safe.key_file(), format!("# made for a test\n{}\n", safe.identity.to_string().expose_secret()))
            .unwrap();
        safe
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("secrets")
    }

    fn key_file(&self) -> std::path::PathBuf {
        self.folder.path().join("keys.txt")
    }

    fn store(&self) -> SopsSecrets {
        SopsSecrets::new(self.root(), self.key_file()).unwrap()
    }

    /// What a key holds, as text, or the chain of the error and its kind.
    async fn get(&self, key: &str) -> Result<Option<String>, (ErrorKind, String)> {
        match self.store().get(&key.parse().unwrap()).await {
            Ok(value) => Ok(value.map(|value| String::from_utf8(value.expose().clone()).unwrap())),
            Err(error) => Err((error.kind(), error.chain())),
        }
    }

    async fn holds(&self, key: &str, expected: &str) {
        assert_eq!(self.get(key).await, Ok(Some(expected.to_owned())), "{key}");
    }

    async fn refuses(&self, key: &str, kind: ErrorKind, why: &str) {
        let (found, chain) = self.get(key).await.expect_err(key);
        assert_eq!(found, kind, "{chain}");
        assert!(chain.contains(why), "{chain} instead of {why}");
    }
}

/// Each secret in a binary file of its own, in the order of their writing.
struct Harness(Mutex<Vec<Safe>>);

impl ReadOnlySecretsHarness for Harness {
    fn store_of(&self, secrets: &[(SecretKey, Vec<u8>)]) -> Arc<dyn SecretStore> {
        let safe = Safe::new();
        fs::create_dir_all(safe.root()).unwrap();
        for (key, value) in secrets {
            let mut seal = Seal::new();
            let data = seal.value(&["data"], std::str::from_utf8(value).unwrap(), "str");
            let file = json!({"data": data, "sops": seal.json(&safe.identity)});
            safe.write(&format!("{key}.sops"), &file.to_string());
        }
        let store = safe.store();
        self.0.lock().unwrap().push(safe);
        Arc::new(store)
    }
}

#[tokio::test]
async fn sops_keeps_every_rule_of_reading() {
    let lines = secrets::reading(&Harness(Mutex::default())).await;
    println!("{}", lines.join("\n"));
    assert_eq!(lines.len(), secrets::READING_RULES.len());
    assert!(lines[0].starts_with("conformance secrets sops "), "{lines:?}");
}

/// A file with every type, comments, a list, and values that stay readable.
fn rich(safe: &Safe) -> String {
    let mut seal = Seal::new();
    let comment = seal.value(&[], "for people", "comment");
    let text = seal.value(&["1"], "a bundle\nof lines", "str");
    let number = seal.value(&["deep", "number"], "42", "int");
    let yes = seal.value(&["deep", "yes"], "True", "bool");
    let float = seal.value(&["deep", "float"], "1.5", "float");
    let first = seal.value(&["list"], "one", "str");
    let second = seal.value(&["list"], "two", "str");
    seal.plain("v1");
    seal.plain("7");
    seal.plain("True");
    let sops = seal.yaml(&safe.identity, "    unencrypted_suffix: _unencrypted\n");
    format!(
        "#{comment}\n1: {text}\ndeep:\n    number: {number}\n    yes: {yes}\n    float: {float}\n    nothing: null\n    \
         empty: \"\"\nlist:\n    - {first}\n    - {second}\nversion_unencrypted: v1\ncount_unencrypted: 7\n\
         on_unencrypted: true\n{sops}"
    )
}

#[tokio::test]
async fn a_yaml_file_gives_each_of_its_values() {
    let safe = Safe::new();
    safe.write("blue/talos.sops.yaml", &rich(&safe));
    safe.holds("blue/talos/1", "a bundle\nof lines").await;
    safe.holds("blue/talos/deep/number", "42").await;
    safe.holds("blue/talos/deep/yes", "true").await;
    safe.holds("blue/talos/deep/float", "1.5").await;
    safe.holds("blue/talos/deep/empty", "").await;
    safe.holds("blue/talos/version_unencrypted", "v1").await;
    safe.holds("blue/talos/on_unencrypted", "true").await;
    for absent in ["blue/talos/deep/nothing", "blue/talos/list", "blue/talos/deep", "blue/talos/sops/mac"] {
        assert_eq!(safe.get(absent).await, Ok(None), "{absent}");
    }
    assert_eq!(safe.store().list("blue/talos/deep").await.unwrap().len(), 4);
}

#[tokio::test]
async fn files_of_other_forms_are_read_too() {
    let safe = Safe::new();
    let mut seal = Seal::new();
    let value = seal.value(&["talos", "1.born"], "now", "str");
    let file = json!({"talos": {"1.born": value}, "sops": seal.json(&safe.identity)});
    safe.write("blue.json", &file.to_string());
    let mut seal = Seal::new();
    let (one, two) = (seal.value(&["TOKEN"], "two\nlines", "str"), seal.value(&["OTHER"], "x=y", "str"));
    let key = seal.data_key(&safe.identity).replace('\n', "\\n");
    let recipient = safe.identity.to_public();
    let mac = seal.mac();
    safe.write(
        "house.enc.env",
        &format!(
            "#for people\nTOKEN={one}\nOTHER={two}\nsops_age__list_0__map_enc={key}\n\
             sops_age__list_0__map_recipient={recipient}\nsops_lastmodified={MODIFIED}\nsops_mac={mac}\n\
             sops_unencrypted_suffix=_unencrypted\nsops_version=3.13.2\n"
        ),
    );
    let mut seal = Seal::new();
    let value = seal.value(&["project-key"], "0123", "str");
    safe.write("secrets.yaml", &format!("project-key: {value}\n{}", seal.yaml(&safe.identity, "")));
    safe.write("README.md", "not a secret");
    safe.write(".sops.yaml", "creation_rules: []\n");
    safe.holds("blue/talos/1.born", "now").await;
    safe.holds("house/TOKEN", "two\nlines").await;
    safe.holds("house/OTHER", "x=y").await;
    safe.holds("project-key", "0123").await;
    let all = safe.store().list("").await.unwrap();
    let names: Vec<_> = all.iter().map(SecretKey::as_str).collect();
    assert_eq!(names, ["blue/talos/1.born", "house/OTHER", "house/TOKEN", "project-key"]);
}

#[tokio::test]
async fn whatever_was_changed_is_not_given() {
    let safe = Safe::new();
    let good = rich(&safe);
    let check = async |from: &str, to: &str, why: &str| {
        assert!(good.contains(from), "{from} is not in {good}");
        safe.write("t.yaml", &good.replacen(from, to, 1));
        safe.refuses("t/1", ErrorKind::Unexpected, why).await;
    };
    let line = |name: &str| good.lines().find(|line| line.trim().starts_with(name)).unwrap().trim().to_owned();
    check("count_unencrypted: 7", "count_unencrypted: 8", "do not match its `mac`").await;
    check("    nothing: null\n", "    nothing: x\n", "do not match its `mac`").await;
    check(&format!("lastmodified: \"{MODIFIED}\""), "lastmodified: \"2026-11-22T12:00:00Z\"", "`mac` does not open")
        .await;
    check(&line("mac:"), "", "it has no `mac`").await;
    // A value in the place of another, and two values that changed places.
    let (number, yes) = (line("number:"), line("yes:"));
    check(&number, &yes.replace("yes:", "number:"), "the value of `deep.number` does not open").await;
    let list: Vec<_> = good.lines().filter(|line| line.trim().starts_with("- ENC[")).collect();
    check(&list.join("\n"), &[list[1], list[0]].join("\n"), "do not match its `mac`").await;
    check(&format!("    {number}\n"), "", "do not match its `mac`").await;
    safe.write("t.yaml", &good);
    safe.holds("t/1", "a bundle\nof lines").await;
}

#[tokio::test]
async fn what_nobody_vouches_for_is_not_given() {
    let safe = Safe::new();
    let mut seal = Seal::of_encrypted_only();
    let value = seal.value(&["a"], "vouched for", "str");
    let sops = seal.yaml(&safe.identity, "    mac_only_encrypted: true\n");
    safe.write("t.yaml", &format!("a: {value}\nb_unencrypted: by anybody\n{sops}"));
    safe.holds("t/a", "vouched for").await;
    safe.refuses("t/b_unencrypted", ErrorKind::Unsupported, "does not vouch for `t/b_unencrypted`").await;
    // The sum about all values is another one.
    safe.write(
        "t.yaml",
        &format!("a: {value}\n{}", sops.replace("mac_only_encrypted: true", "mac_only_encrypted: false")),
    );
    safe.refuses("t/a", ErrorKind::Unexpected, "do not match its `mac`").await;
}

#[tokio::test]
async fn each_thing_that_is_missing_has_its_name() {
    let safe = Safe::new();
    safe.refuses("t/1", ErrorKind::NotFound, "is not a folder").await;
    safe.write("t.yaml", &rich(&safe));
    let others = Identity::generate();
    let keys = safe.key_file();
    let with_keys = async |text: Option<&str>, kind, why: &str| {
        match text {
            Some(text) => fs::write(&keys, text).unwrap(),
            None => fs::remove_file(&keys).unwrap(),
        }
        safe.refuses("t/1", kind, why).await;
        safe.refuses("t/1", kind, keys_or_file(why, &keys)).await;
    };
    with_keys(None, ErrorKind::NotFound, "does not exist").await;
    with_keys(Some("# nothing\n"), ErrorKind::InvalidSpec, "holds no identity").await;
    with_keys(Some("AGE-SECRET-KEY-hunter2\n"), ErrorKind::InvalidSpec, "holds a line that is no identity").await;
    let wrong = others.to_string();
    let for_whom = safe.identity.to_public().to_string();
    with_keys(Some(wrong.expose_secret()), ErrorKind::PermissionDenied, &for_whom).await;
    let both = format!("{}\n{}\n", wrong.expose_secret(), safe.identity.to_string().expose_secret());
    fs::write(&keys, both).unwrap();
    safe.holds("t/1", "a bundle\nof lines").await;
    safe.write("plain.yaml", "1: hunter2\n");
    safe.refuses("plain/1", ErrorKind::InvalidSpec, "was never encrypted by SOPS").await;
    safe.write("pgp.yaml", "1: x\nsops:\n    pgp: []\n    mac: x\n");
    safe.refuses("pgp/1", ErrorKind::PermissionDenied, "nobody who uses age").await;
    safe.write("broken.yaml", "1: [hunter2\n");
    let (_, chain) = safe.get("broken/1").await.unwrap_err();
    assert!(chain.contains("broken.yaml") && !chain.contains("hunter2"), "{chain}");
    safe.write("broken.yaml", "");
    fs::remove_file(safe.root().join("broken.yaml")).unwrap();
    safe.write("t.yml", &rich(&safe));
    safe.refuses("t/1", ErrorKind::InvalidSpec, "lies in").await;
}

/// Errors about the key file name it; the others name the encrypted file.
fn keys_or_file<'a>(why: &str, keys: &'a Path) -> &'a str {
    if why.contains("age1") { "t.yaml" } else { keys.file_name().unwrap().to_str().unwrap() }
}

#[cfg(unix)]
#[tokio::test]
async fn links_to_folders_are_not_followed_and_links_to_files_are() {
    let safe = Safe::new();
    safe.write("blue/talos.yaml", &rich(&safe));
    std::os::unix::fs::symlink(".", safe.root().join("x")).unwrap();
    std::os::unix::fs::symlink("talos.yaml", safe.root().join("blue/linked.yaml")).unwrap();
    safe.holds("blue/talos/deep/yes", "true").await;
    safe.holds("blue/linked/deep/yes", "true").await;
    assert_eq!(safe.get("x/blue/talos/deep/yes").await, Ok(None));
}

#[tokio::test]
async fn each_thing_that_is_not_read_has_a_way_out_of_its_own() {
    let hint = async |name: &str, text: &str, key: &str| {
        let safe = Safe::new();
        safe.write(name, text);
        let error = safe.store().get(&key.parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.chain());
        error.advice().unwrap().to_owned()
    };
    let deep = hint(&format!("{}a.yaml", "d/".repeat(17)), "", "a").await;
    assert!(deep.contains("move the file up"), "{deep}");
    let long = hint("a.yaml", &"#\n".repeat(600_000), "a/b").await;
    assert!(long.contains("another folder"), "{long}");
}
