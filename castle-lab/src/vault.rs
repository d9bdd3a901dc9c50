//! The secret store of the simulated house.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use castle_core::{Error, ErrorKind, Meter, Result, SecretBytes, SecretKey, SecretStore};

use crate::floor::{Course, Floor};
use crate::front::{Act, Call};
use crate::latency::Latency;
use crate::run::RunId;
use crate::world::World;

const BACKEND: &str = "secrets";

/// A [`SecretStore`] whose secrets live in the world, so that they outlive the
/// engine and are carried over a power cut.
///
/// It speaks no protocol, but its calls are requests all the same: they stand in
/// the journal under `secrets`, faults strike them, and a dead run's calls do
/// not reach the world.
pub struct Vault {
    floor: Arc<Floor>,
    run: RunId,
    meter: Meter,
}

impl Vault {
    pub(crate) fn new(floor: Arc<Floor>, run: RunId) -> Self {
        Self { floor, run, meter: Meter::default() }
    }

    /// Asks once. `writes` says by the world at arrival whether the request will
    /// change it: a put of an equal value is a read.
    async fn ask<T>(
        &self,
        kind: &'static str,
        entity: &str,
        writes: impl FnOnce(&World) -> bool + Send,
        effect: impl FnOnce(&mut World) -> Result<T> + Send,
    ) -> Result<T> {
        let call = Call {
            method: kind.to_uppercase(),
            path: format!("/{entity}"),
            query: None,
            headers: Vec::new(),
            body: Bytes::new(),
            chunked: false,
            run: self.run,
        };
        let classify = |world: &World| {
            let write = writes(world);
            if write {
                self.meter.count_write();
            } else {
                self.meter.count_read();
            }
            Act {
                kind: kind.to_owned(),
                entity: entity.to_owned(),
                write,
                latency: Latency::ZERO,
                detail: String::new(),
            }
        };
        let silent = || Error::new(ErrorKind::Unreachable, "the secret store does not answer").with("secret", entity);
        let Some(arrival) = self.floor.arrive(self.run, BACKEND, classify, &call) else { return Err(silent()) };
        let course = self.floor.run_course(&arrival, self.run, effect).await;
        let (status, answer) = match course {
            Course::Answer(Ok(value)) => (200, Ok(value)),
            Course::Answer(Err(error)) => (409, Err(error)),
            Course::Status(reply) => {
                let kind = match reply.status {
                    401 => ErrorKind::Unauthenticated,
                    403 => ErrorKind::PermissionDenied,
                    429 => ErrorKind::RateLimited,
                    _ => ErrorKind::Unreachable,
                };
                let message = format!("the secret store answered {}", reply.status);
                (reply.status, Err(Error::new(kind, message).with("secret", entity)))
            }
            // Its caller has died with its run and learns nothing any more. A caller
            // in the same process must not go on, not even to its next line.
            Course::Ended(_) if self.floor.runs.is_dead(self.run) => return std::future::pending().await,
            Course::Ended(_) => return Err(silent()),
            // The caller's deadline is the only way out, as with a real store.
            Course::Silence => return std::future::pending().await,
        };
        match self.floor.finish(self.run, arrival.place, status, answer) {
            Course::Answer(answer) => answer,
            _ => Err(silent()),
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("run", &self.run).finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for Vault {
    fn name(&self) -> &'static str {
        BACKEND
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    async fn get(&self, key: &SecretKey) -> Result<Option<SecretBytes>> {
        self.ask("get", key.as_str(), |_| false, |world| Ok(world.ledger.secrets.0.get(key).cloned())).await
    }

    async fn create(&self, key: &SecretKey, value: &SecretBytes) -> Result<()> {
        let create = |world: &mut World| {
            let secrets = &mut world.ledger.secrets.0;
            if secrets.contains_key(key) {
                return Err(Error::new(ErrorKind::AlreadyExists, format!("secret `{key}` exists"))
                    .hint("read it: another run created it first"));
            }
            secrets.insert(key.clone(), value.clone());
            *world.ledger.versions.entry(key.clone()).or_default() += 1;
            Ok(())
        };
        self.ask("create", key.as_str(), |_| true, create).await
    }

    async fn put(&self, key: &SecretKey, value: &SecretBytes) -> Result<bool> {
        let differs = |world: &World| !world.ledger.secrets.0.get(key).is_some_and(|present| present.same_as(value));
        let put = |world: &mut World| {
            if !differs(world) {
                return Ok(false);
            }
            world.ledger.secrets.0.insert(key.clone(), value.clone());
            *world.ledger.versions.entry(key.clone()).or_default() += 1;
            Ok(true)
        };
        self.ask("put", key.as_str(), differs, put).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<SecretKey>> {
        SecretKey::check_prefix(prefix)?;
        let list =
            |world: &mut World| Ok(world.ledger.secrets.0.keys().filter(|key| key.is_below(prefix)).cloned().collect());
        self.ask("list", prefix, |_| false, list).await
    }

    async fn delete(&self, key: &SecretKey) -> Result<()> {
        self.ask(
            "delete",
            key.as_str(),
            |_| true,
            |world| {
                world.ledger.secrets.0.remove(key);
                Ok(())
            },
        )
        .await
    }
}
