//! Secret stores that break one rule each.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use castle_core::conformance::SecretsHarness;
use castle_core::conformance::secrets::{self, RULES};
use castle_core::memory::MemorySecrets;
use castle_core::{Error, ErrorKind, Meter, Result, Secret, SecretBytes, SecretKey, SecretStore};

use super::{all_rules_are_broken, catches, run};

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    TrimsLines,
    FailsOnAbsent,
    CreateOverwrites,
    LooksThenWrites,
    AlwaysSaysWritten,
    WritesEqualValues,
    PrefixOfText,
    PrefixIsForgiving,
    DeleteFailsOnAbsent,
    DeleteTakesChildren,
    ErrorShowsValue,
    DebugShowsValue,
}

/// Flaw, the rule that catches it, and what that rule says.
const CAUGHT: [(Flaw, &str, &str); 12] = [
    (Flaw::TrimsLines, RULES[0], "holds"),
    (Flaw::FailsOnAbsent, RULES[1], "NotFound"),
    (Flaw::CreateOverwrites, RULES[2], "succeeded where already_exists was due"),
    (Flaw::LooksThenWrites, RULES[3], "of 8 won"),
    (Flaw::AlwaysSaysWritten, RULES[4], "what put of"),
    (Flaw::WritesEqualValues, RULES[4], "sent writes"),
    (Flaw::PrefixOfText, RULES[5], "the keys below"),
    (Flaw::PrefixIsForgiving, RULES[5], "succeeded where invalid_spec was due"),
    (Flaw::DeleteFailsOnAbsent, RULES[6], "NotFound"),
    (Flaw::DeleteTakesChildren, RULES[6], "the keys below"),
    (Flaw::ErrorShowsValue, RULES[7], "the error of a second create shows a value"),
    (Flaw::DebugShowsValue, RULES[7], "Debug of the store shows a value"),
];

#[derive(Clone)]
struct Broken {
    flaw: Flaw,
    inner: MemorySecrets,
}

impl Broken {
    fn new(flaw: Flaw) -> Self {
        Self { flaw, inner: MemorySecrets::new() }
    }
}

impl SecretsHarness for Broken {
    fn store(&self) -> Arc<dyn SecretStore> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl SecretStore for Broken {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn meter(&self) -> &Meter {
        self.inner.meter()
    }

    async fn get(&self, key: &SecretKey) -> Result<Option<SecretBytes>> {
        let read = self.inner.get(key).await?;
        match (self.flaw, read) {
            (Flaw::FailsOnAbsent, None) => Err(Error::new(ErrorKind::NotFound, format!("no `{key}`"))),
            (Flaw::TrimsLines, Some(value)) => Ok(Some(Secret::new(value.expose().trim_ascii_end().to_vec()))),
            (_, read) => Ok(read),
        }
    }

    async fn create(&self, key: &SecretKey, value: &SecretBytes) -> Result<()> {
        match self.flaw {
            Flaw::CreateOverwrites => self.inner.put(key, value).await.map(drop),
            Flaw::LooksThenWrites => {
                if self.inner.get(key).await?.is_some() {
                    return Err(Error::new(ErrorKind::AlreadyExists, "it exists"));
                }
                tokio::task::yield_now().await;
                self.inner.put(key, value).await.map(drop)
            }
            Flaw::ErrorShowsValue => self
                .inner
                .create(key, value)
                .await
                .map_err(|error| Error::new(error.kind(), "it exists").with("value", hex::encode(value.expose()))),
            _ => self.inner.create(key, value).await,
        }
    }

    async fn put(&self, key: &SecretKey, value: &SecretBytes) -> Result<bool> {
        if self.flaw == Flaw::WritesEqualValues {
            self.meter().count_write();
        }
        Ok(self.inner.put(key, value).await? || self.flaw == Flaw::AlwaysSaysWritten)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<SecretKey>> {
        match self.flaw {
            Flaw::PrefixOfText if SecretKey::check_prefix(prefix).is_ok() => {
                let keys = self.inner.list("").await?;
                Ok(keys.into_iter().filter(|key| key.as_str().starts_with(prefix)).collect())
            }
            Flaw::PrefixIsForgiving => self.inner.list(prefix).await.or(Ok(Vec::new())),
            _ => self.inner.list(prefix).await,
        }
    }

    async fn delete(&self, key: &SecretKey) -> Result<()> {
        if self.flaw == Flaw::DeleteFailsOnAbsent && self.inner.get(key).await?.is_none() {
            return Err(Error::new(ErrorKind::NotFound, format!("no `{key}`")));
        }
        if self.flaw == Flaw::DeleteTakesChildren {
            for child in self.inner.list(key.as_str()).await? {
                self.inner.delete(&child).await?;
            }
        }
        self.inner.delete(key).await
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.flaw {
            // As a derived Debug over plain bytes would.
            Flaw::DebugShowsValue => {
                f.debug_struct("Broken").field("secrets", &b"planted-7f3c-value".to_vec()).finish()
            }
            _ => self.inner.fmt(f),
        }
    }
}

#[test]
fn the_store_in_memory_keeps_every_rule() {
    let lines = run(secrets::all(|| Broken::new(Flaw::None)));
    assert_eq!(lines.len(), RULES.len());
    assert_eq!(lines[0], "conformance secrets memory reads_back_what_was_written ok");
}

#[test]
fn every_rule_catches_the_store_that_breaks_it() {
    for (flaw, rule, complaint) in CAUGHT {
        catches(rule, &format!("{flaw:?}"), complaint, async move {
            let store = Broken::new(flaw);
            match rule {
                "reads_back_what_was_written" => secrets::reads_back_what_was_written(&store).await,
                "absent_is_none" => secrets::absent_is_none(&store).await,
                "create_never_overwrites" => secrets::create_never_overwrites(&store).await,
                "one_creator_wins" => secrets::one_creator_wins(&store).await,
                "an_equal_put_is_no_write" => secrets::an_equal_put_is_no_write(&store).await,
                "lists_below_a_prefix" => secrets::lists_below_a_prefix(&store).await,
                "delete_is_idempotent" => secrets::delete_is_idempotent(&store).await,
                "values_stay_hidden" => secrets::values_stay_hidden(&store).await,
                unknown => unreachable!("no rule is called {unknown}"),
            }
        });
    }
    all_rules_are_broken(&RULES, CAUGHT.map(|(_, rule, _)| rule));
}
