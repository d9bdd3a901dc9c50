//! Secrets in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::{Error, ErrorKind, Meter, Result, SecretBytes, SecretKey, SecretStore};

/// A secret store that lives as long as its last handle. For labs and tests.
///
/// Clones share the secrets and the meter.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use castle_core::memory::MemorySecrets;
/// use castle_core::{Secret, SecretStore};
///
/// let (store, key) = (MemorySecrets::new(), "talos/1".parse().unwrap());
/// store.create(&key, &Secret::new(b"bundle".to_vec())).await.unwrap();
/// let read = store.clone().get(&key).await.unwrap().expect("it was created");
/// assert_eq!(read.expose(), b"bundle");
/// # });
/// ```
#[derive(Clone, Default)]
pub struct MemorySecrets(Arc<Shared>);

#[derive(Default)]
struct Shared {
    secrets: Mutex<BTreeMap<SecretKey, SecretBytes>>,
    silent: AtomicBool,
    meter: Meter,
}

impl MemorySecrets {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on no call is answered ([`ErrorKind::Unreachable`]), or, with
    /// `false`, all are again. A silent call changes nothing.
    pub fn silence(&self, silent: bool) {
        self.0.silent.store(silent, Ordering::SeqCst);
    }

    fn secrets(&self) -> Result<MutexGuard<'_, BTreeMap<SecretKey, SecretBytes>>> {
        if self.0.silent.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unreachable, "the secret store does not answer").with("store", "memory"));
        }
        // No code that holds the lock can panic halfway through a change.
        Ok(self.0.secrets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl SecretStore for MemorySecrets {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn meter(&self) -> &Meter {
        &self.0.meter
    }

    async fn get(&self, key: &SecretKey) -> Result<Option<SecretBytes>> {
        self.0.meter.count_read();
        Ok(self.secrets()?.get(key).cloned())
    }

    async fn create(&self, key: &SecretKey, value: &SecretBytes) -> Result<()> {
        self.0.meter.count_write();
        let mut secrets = self.secrets()?;
        if secrets.contains_key(key) {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("secret `{key}` exists"))
                .hint("read it: another run created it first"));
        }
        secrets.insert(key.clone(), value.clone());
        Ok(())
    }

    async fn put(&self, key: &SecretKey, value: &SecretBytes) -> Result<bool> {
        self.0.meter.count_read();
        let mut secrets = self.secrets()?;
        if secrets.get(key).is_some_and(|present| present.same_as(value)) {
            return Ok(false);
        }
        self.0.meter.count_write();
        secrets.insert(key.clone(), value.clone());
        Ok(true)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<SecretKey>> {
        SecretKey::check_prefix(prefix)?;
        self.0.meter.count_read();
        Ok(self.secrets()?.keys().filter(|key| key.is_below(prefix)).cloned().collect())
    }

    async fn delete(&self, key: &SecretKey) -> Result<()> {
        self.0.meter.count_write();
        self.secrets()?.remove(key);
        Ok(())
    }
}

impl fmt::Debug for MemorySecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets = self.0.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("MemorySecrets").field("keys", &secrets.keys().collect::<Vec<_>>()).finish()
    }
}
