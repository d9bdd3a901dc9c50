//! The rules of [`SecretStore`].

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::future::join_all;

use super::{done, refused};
use crate::{Error, ErrorKind, Secret, SecretBytes, SecretKey, SecretStore};

/// What a suite needs of a backend that keeps secrets.
pub trait SecretsHarness: Send + Sync {
    /// A handle on the storage: each call opens the same storage anew, and it is
    /// empty before the first.
    fn store(&self) -> Arc<dyn SecretStore>;
}

/// The rules, in the order of the table.
pub const RULES: [&str; 8] = [
    "reads_back_what_was_written",
    "absent_is_none",
    "create_never_overwrites",
    "one_creator_wins",
    "an_equal_put_is_no_write",
    "lists_below_a_prefix",
    "delete_is_idempotent",
    "values_stay_hidden",
];

/// Runs every rule, each on a harness of its own from `fresh`. One line for each
/// rule that held.
///
/// # Panics
///
/// At the first rule that is broken.
pub async fn all<H: SecretsHarness>(fresh: impl Fn() -> H) -> Vec<String> {
    reads_back_what_was_written(&fresh()).await;
    absent_is_none(&fresh()).await;
    create_never_overwrites(&fresh()).await;
    one_creator_wins(&fresh()).await;
    an_equal_put_is_no_write(&fresh()).await;
    lists_below_a_prefix(&fresh()).await;
    delete_is_idempotent(&fresh()).await;
    values_stay_hidden(&fresh()).await;
    let name = fresh().store().name();
    RULES.iter().map(|rule| format!("conformance secrets {name} {rule} ok")).collect()
}

/// What was created or put is read back, byte for byte, also by a handle that
/// was opened later and for keys that are prefixes of others.
pub async fn reads_back_what_was_written(harness: &dyn SecretsHarness) {
    const RULE: &str = RULES[0];
    let values = [
        ("empty", Vec::new()),
        ("line", b"one line\n".to_vec()),
        ("every-byte", (0..=255).collect()),
        ("big", vec![0xA5; 64 << 10]),
        ("a", b"a prefix of the next".to_vec()),
        ("a/b", b"between".to_vec()),
        ("a/b/c.d_e-f", b"deep".to_vec()),
    ];
    for (how, root) in [("create", "created"), ("put", "put")] {
        let store = harness.store();
        for (name, bytes) in &values {
            let key = key(&format!("{root}/{name}"));
            let value = Secret::new(bytes.clone());
            match how {
                "create" => done(RULE, &format!("create of `{key}`"), store.create(&key, &value).await),
                _ => {
                    let wrote = done(RULE, &format!("put of `{key}`"), store.put(&key, &value).await);
                    assert!(wrote, "{RULE}: put of the absent `{key}` said that it wrote nothing in {store:?}");
                }
            }
        }
        for store in [store, harness.store()] {
            for (name, bytes) in &values {
                holds(RULE, &*store, &key(&format!("{root}/{name}")), bytes).await;
            }
        }
    }
}

/// An absent key reads as `None`, not as an error; so do the parents and
/// children of a present one.
pub async fn absent_is_none(harness: &dyn SecretsHarness) {
    const RULE: &str = RULES[1];
    let store = harness.store();
    for absent in ["talos", "talos/1", "talos/1/began", "talos/1/began/x", "talos/10"] {
        is_absent(RULE, &*store, &key(absent)).await;
    }
    done(RULE, "create of `talos/1/began`", store.create(&key("talos/1/began"), &bytes("x")).await);
    for absent in ["talos", "talos/1", "talos/1/began/x", "talos/1/bega", "talos/10"] {
        is_absent(RULE, &*store, &key(absent)).await;
    }
}

/// `create` of a present key fails with `AlreadyExists` and changes nothing.
pub async fn create_never_overwrites(harness: &dyn SecretsHarness) {
    const RULE: &str = RULES[2];
    let store = harness.store();
    let project_key = key("project-key");
    done(RULE, "the first create", store.create(&project_key, &bytes("first")).await);
    for (what, value) in [("another value", "second"), ("the same value", "first"), ("an empty value", "")] {
        for store in [&store, &harness.store()] {
            let again = store.create(&project_key, &bytes(value)).await;
            refused(RULE, &format!("create of a present key with {what}"), ErrorKind::AlreadyExists, again);
            holds(RULE, &**store, &project_key, b"first").await;
        }
    }
    let put = key("put");
    done(RULE, "put", store.put(&put, &bytes("first")).await);
    let again = store.create(&put, &bytes("second")).await;
    refused(RULE, "create of a key that was put", ErrorKind::AlreadyExists, again);
    holds(RULE, &*store, &put, b"first").await;
}

/// Of concurrent `create`s exactly one succeeds, and all read its value.
pub async fn one_creator_wins(harness: &dyn SecretsHarness) {
    const RULE: &str = RULES[3];
    for round in 0..8 {
        let contested = key(&format!("talos/{round}"));
        let creators: Vec<_> = (0..8).map(|number| (harness.store(), bytes(&format!("creator {number}")))).collect();
        let ends = join_all(creators.iter().map(|(store, value)| store.create(&contested, value))).await;
        let winners: Vec<usize> =
            ends.iter().enumerate().filter(|(_, end)| end.is_ok()).map(|(number, _)| number).collect();
        let [winner] = winners[..] else {
            panic!("{RULE}: creators {winners:?} of 8 won `{contested}` in round {round}: {ends:#?}");
        };
        for (number, end) in ends.into_iter().enumerate().filter(|(number, _)| *number != winner) {
            refused(RULE, &format!("creator {number}"), ErrorKind::AlreadyExists, end);
        }
        for (store, _) in &creators {
            holds(RULE, &**store, &contested, format!("creator {winner}").as_bytes()).await;
        }
    }
}

/// `put` of an equal value writes nothing and says so; of another value it
/// replaces the whole.
pub async fn an_equal_put_is_no_write(harness: &dyn SecretsHarness) {
    const RULE: &str = RULES[4];
    let (store, fact) = (harness.store(), key("talos/1/complete"));
    let put = async |value: &str| done(RULE, &format!("put of {value:?}"), store.put(&fact, &bytes(value)).await);
    assert!(put("a long value").await, "{RULE}: the first put said that it wrote nothing: {store:?}");
    for expected in ["a long value", "short", ""] {
        let wrote = put(expected).await;
        assert_eq!(wrote, expected != "a long value", "{RULE}: what put of {expected:?} said: {store:?}");
        let before = store.meter().total();
        let wrote = put(expected).await;
        let after = store.meter().total();
        assert!(!wrote, "{RULE}: put of an equal {expected:?} said that it wrote: {store:?}");
        assert_eq!(before.write, after.write, "{RULE}: put of an equal {expected:?} sent writes: {after:?}");
        holds(RULE, &*store, &fact, expected.as_bytes()).await;
    }
    done(RULE, "create", store.create(&key("created"), &bytes("x")).await);
    let wrote = done(RULE, "put of what was created", store.put(&key("created"), &bytes("x")).await);
    assert!(!wrote, "{RULE}: put of the value that was created said that it wrote: {store:?}");
}

/// `list` names every key below the prefix, in order, and no other; a prefix
/// that cannot hold keys is an error, never an empty answer.
pub async fn lists_below_a_prefix(harness: &dyn SecretsHarness) {
    const RULE: &str = RULES[5];
    let store = harness.store();
    check_list(RULE, &*store, "", &[]).await;
    check_list(RULE, &*store, "talos", &[]).await;
    let mut keys =
        ["talos/2", "talos/1/ended", "project-key", "talos/10", "talos", "talos/1", "talos/1/began", "talos-x/1"];
    for name in keys {
        done(RULE, &format!("create of `{name}`"), store.create(&key(name), &bytes(name)).await);
    }
    keys.sort_unstable();
    let again = harness.store();
    check_list(RULE, &*again, "", &keys).await;
    check_list(RULE, &*again, "talos", &["talos/1", "talos/1/began", "talos/1/ended", "talos/10", "talos/2"]).await;
    check_list(RULE, &*again, "talos/1", &["talos/1/began", "talos/1/ended"]).await;
    check_list(RULE, &*again, "talos/1/began", &[]).await;
    check_list(RULE, &*again, "absent", &[]).await;
    for bad in ["talos/", "/", "../talos", "talos/../talos", "."] {
        refused(RULE, &format!("list of {bad:?}"), ErrorKind::InvalidSpec, again.list(bad).await);
    }
}

/// `delete` of an absent key succeeds; of a present one it removes that key and
/// neither its parents nor its children.
pub async fn delete_is_idempotent(harness: &dyn SecretsHarness) {
    const RULE: &str = RULES[6];
    let store = harness.store();
    done(RULE, "delete in an empty store", store.delete(&key("talos/1")).await);
    for name in ["talos", "talos/1", "talos/1/began"] {
        done(RULE, &format!("create of `{name}`"), store.create(&key(name), &bytes(name)).await);
    }
    for time in ["first", "second"] {
        done(RULE, &format!("the {time} delete"), store.delete(&key("talos/1")).await);
        is_absent(RULE, &*harness.store(), &key("talos/1")).await;
        check_list(RULE, &*store, "", &["talos", "talos/1/began"]).await;
    }
    done(RULE, "create after delete", store.create(&key("talos/1"), &bytes("again")).await);
    holds(RULE, &*store, &key("talos/1"), b"again").await;
    for name in ["talos/1/began", "talos/1", "talos"] {
        done(RULE, &format!("delete of `{name}`"), store.delete(&key(name)).await);
    }
    check_list(RULE, &*store, "", &[]).await;
}

/// No error, no `Debug` shows a value, plain or encoded.
pub async fn values_stay_hidden(harness: &dyn SecretsHarness) {
    const RULE: &str = RULES[7];
    const PLANTED: &str = "planted-7f3c-value";
    const OTHER: &str = "another-91be-value";
    let (store, planted) = (harness.store(), key("project-key"));
    let hidden = |what: &str, text: &str| {
        for value in [PLANTED, OTHER] {
            let forms = [
                value.to_owned(),
                hex::encode(value),
                hex::encode_upper(value),
                BASE64.encode(value),
                format!("{:?}", value.as_bytes()).trim_matches(['[', ']']).to_owned(),
            ];
            // `{:#?}` puts each number of a list on a line of its own.
            let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for form in forms {
                assert!(!text.contains(&form) && !flat.contains(&form), "{RULE}: {what} shows a value: {text}");
            }
        }
    };
    let hidden_error = |what: &str, error: Error| {
        let context: Vec<_> = error.context().collect();
        let all = format!("{error}\n{error:?}\n{error:#?}\n{}\n{:?}\n{context:?}", error.chain(), error.advice());
        hidden(what, &all);
    };
    done(RULE, "create", store.create(&planted, &bytes(PLANTED)).await);
    hidden("Debug of the store", &format!("{store:?}\n{store:#?}"));
    let again = store.create(&planted, &bytes(OTHER)).await;
    hidden_error("the error of a second create", refused(RULE, "a second create", ErrorKind::AlreadyExists, again));
    hidden("Debug after a refused create", &format!("{store:?}\n{store:#?}"));
    let read = done(RULE, "get", store.get(&planted).await);
    hidden("Debug of what was read", &format!("{read:?}\n{read:#?}"));
    done(RULE, "put", store.put(&planted, &bytes(OTHER)).await);
    hidden("Debug after put", &format!("{store:?}\n{store:#?}"));
    let keys = done(RULE, "list", store.list("").await);
    hidden("the list of keys", &format!("{keys:?}"));
}

/// What a suite needs of a backend that castle only reads.
pub trait ReadOnlySecretsHarness: Send + Sync {
    /// A store that holds these secrets and no others, however they came there.
    fn store_of(&self, secrets: &[(SecretKey, Vec<u8>)]) -> Arc<dyn SecretStore>;
}

/// The rules of a store that castle only reads, in their order.
pub const READING_RULES: [&str; 5] =
    ["reads_what_lies_there", "absent_is_none", "lists_below_a_prefix", "writing_is_unsupported", "values_stay_hidden"];

/// Runs every rule of a store that castle only reads. One line for each rule that
/// held.
///
/// # Panics
///
/// At the first rule that is broken.
pub async fn reading(harness: &dyn ReadOnlySecretsHarness) -> Vec<String> {
    reads_what_lies_there(harness).await;
    reading_absent_is_none(harness).await;
    reading_lists_below_a_prefix(harness).await;
    writing_is_unsupported(harness).await;
    reading_values_stay_hidden(harness).await;
    let name = harness.store_of(&[]).name();
    READING_RULES.iter().map(|rule| format!("conformance secrets {name} {rule} ok")).collect()
}

/// What lies there is read byte for byte, as often as it is asked for.
pub async fn reads_what_lies_there(harness: &dyn ReadOnlySecretsHarness) {
    const RULE: &str = READING_RULES[0];
    let long = "0123456789abcdef".repeat(512);
    let texts = [
        ("empty", ""),
        ("blue/talos/1", "a bundle"),
        ("blue/talos/1.born", " blanks at both ends "),
        ("blue/talos/1.complete", "two\nlines\n"),
        ("blue/talos/2", "quotes \" and ' and # and: ${HOME}, \u{e9}"),
        ("long", &long),
    ];
    let secrets: Vec<_> = texts.iter().map(|(name, text)| (key(name), text.as_bytes().to_vec())).collect();
    let store = harness.store_of(&secrets);
    for _ in 0..2 {
        for (key, value) in &secrets {
            holds(RULE, &*store, key, value).await;
        }
    }
}

/// What does not lie there reads as `None`; so do the parents and children of what
/// does.
pub async fn reading_absent_is_none(harness: &dyn ReadOnlySecretsHarness) {
    const RULE: &str = READING_RULES[1];
    let empty = harness.store_of(&[]);
    let store = harness.store_of(&[(key("blue/talos/1"), b"x".to_vec())]);
    for absent in ["blue", "blue/talos", "blue/talos/1/began", "blue/talos/10", "blue/talos/1.born", "project-key"] {
        is_absent(RULE, &*empty, &key(absent)).await;
        is_absent(RULE, &*store, &key(absent)).await;
    }
}

/// `list` names every key below the prefix, in order, and no other.
pub async fn reading_lists_below_a_prefix(harness: &dyn ReadOnlySecretsHarness) {
    const RULE: &str = READING_RULES[2];
    let mut keys =
        ["blue/talos/2", "blue/talos/1.born", "project-key", "blue/talos/10", "blue/talos/1", "green/talos/1"];
    let secrets: Vec<_> = keys.iter().map(|name| (key(name), name.as_bytes().to_vec())).collect();
    keys.sort_unstable();
    let store = harness.store_of(&secrets);
    check_list(RULE, &*store, "", &keys).await;
    let below = ["blue/talos/1", "blue/talos/1.born", "blue/talos/10", "blue/talos/2"];
    check_list(RULE, &*store, "blue/talos", &below).await;
    check_list(RULE, &*store, "blue", &below).await;
    check_list(RULE, &*store, "blue/talos/1", &[]).await;
    check_list(RULE, &*store, "absent", &[]).await;
    check_list(RULE, &*harness.store_of(&[]), "", &[]).await;
    refused(RULE, "list of \"blue/\"", ErrorKind::InvalidSpec, store.list("blue/").await);
}

/// Whatever would have to be written is refused as `Unsupported`; what is wanted
/// and there already is not refused.
pub async fn writing_is_unsupported(harness: &dyn ReadOnlySecretsHarness) {
    const RULE: &str = READING_RULES[3];
    let (present, absent) = (key("project-key"), key("blue/talos/1"));
    let store = harness.store_of(&[(present.clone(), b"first".to_vec())]);
    refused(RULE, "create of an absent key", ErrorKind::Unsupported, store.create(&absent, &bytes("x")).await);
    refused(RULE, "create of a present key", ErrorKind::AlreadyExists, store.create(&present, &bytes("x")).await);
    refused(RULE, "put of an absent key", ErrorKind::Unsupported, store.put(&absent, &bytes("x")).await);
    refused(RULE, "put of another value", ErrorKind::Unsupported, store.put(&present, &bytes("x")).await);
    let wrote = done(RULE, "put of an equal value", store.put(&present, &bytes("first")).await);
    assert!(!wrote, "{RULE}: put of an equal value said that it wrote: {store:?}");
    refused(RULE, "delete of a present key", ErrorKind::Unsupported, store.delete(&present).await);
    done(RULE, "delete of an absent key", store.delete(&absent).await);
    holds(RULE, &*store, &present, b"first").await;
    assert_eq!(store.meter().total().write, 0, "{RULE}: writes were counted: {store:?}");
}

/// No error, no `Debug` shows a value.
pub async fn reading_values_stay_hidden(harness: &dyn ReadOnlySecretsHarness) {
    const RULE: &str = READING_RULES[4];
    const PLANTED: &str = "planted-7f3c-value";
    let store = harness.store_of(&[(key("project-key"), PLANTED.as_bytes().to_vec())]);
    let read = done(RULE, "get", store.get(&key("project-key")).await);
    let error = refused(
        RULE,
        "put of another value",
        ErrorKind::Unsupported,
        store.put(&key("project-key"), &bytes("another-91be-value")).await,
    );
    let shown =
        format!("{store:?}\n{store:#?}\n{read:?}\n{error:?}\n{error:#?}\n{}\n{:?}", error.chain(), error.advice());
    for value in [PLANTED, "another-91be-value"] {
        for form in [value.to_owned(), hex::encode(value), BASE64.encode(value)] {
            assert!(!shown.contains(&form), "{RULE}: a value is shown: {shown}");
        }
    }
}

fn key(text: &str) -> SecretKey {
    text.parse().expect("the suite's keys are paths")
}

fn bytes(text: &str) -> SecretBytes {
    Secret::new(text.as_bytes().to_vec())
}

async fn holds(rule: &str, store: &dyn SecretStore, key: &SecretKey, expected: &[u8]) {
    let read = done(rule, &format!("get of `{key}`"), store.get(key).await);
    let read = read.as_ref().map(|value| value.expose().as_slice());
    let shown = |value: Option<&[u8]>| value.map(|bytes| format!("{} bytes {:?}", bytes.len(), bytes.get(..32)));
    // Values of 64 KiB would bury the picture, so only their beginnings are shown.
    assert!(
        read == Some(expected),
        "{rule}: `{key}` holds {:?}, not {:?}: {store:?}",
        shown(read),
        shown(Some(expected))
    );
}

async fn is_absent(rule: &str, store: &dyn SecretStore, key: &SecretKey) {
    let read = done(rule, &format!("get of the absent `{key}`"), store.get(key).await);
    assert!(read.is_none(), "{rule}: the absent `{key}` has a value: {store:?}");
}

async fn check_list(rule: &str, store: &dyn SecretStore, prefix: &str, expected: &[&str]) {
    let keys = done(rule, &format!("list of {prefix:?}"), store.list(prefix).await);
    let names: Vec<&str> = keys.iter().map(SecretKey::as_str).collect();
    assert_eq!(names, expected, "{rule}: the keys below {prefix:?} in {store:?}");
}
