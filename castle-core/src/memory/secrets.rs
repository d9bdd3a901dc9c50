//! Secrets in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::{Error, ErrorKind, Meter, Result, Secret, SecretBytes, SecretKey, SecretStore};

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

/// What happens to a single read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFault {
    /// No answer comes ([`ErrorKind::Unreachable`]).
    Lost,
    /// The value comes back cut short by its last byte; a list comes back as it is.
    Damaged,
}

#[derive(Default)]
struct Shared {
    secrets: Mutex<BTreeMap<SecretKey, SecretBytes>>,
    silent: AtomicBool,
    /// How many reads pass before each fault strikes.
    faults: Mutex<Vec<(usize, ReadFault)>>,
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

    /// Strikes one read (`get` or `list`) alone: the one that comes after `pass` others.
    pub fn fail_read(&self, pass: usize, fault: ReadFault) {
        self.faults().push((pass, fault));
    }

    /// How many of the faults of single reads have not struck yet.
    #[must_use]
    pub fn faults_left(&self) -> usize {
        self.faults().len()
    }

    fn faults(&self) -> MutexGuard<'_, Vec<(usize, ReadFault)>> {
        self.0.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What strikes this read.
    fn strike(&self) -> Option<ReadFault> {
        let mut faults = self.faults();
        let struck = faults.iter().position(|(pass, _)| *pass == 0).map(|place| faults.remove(place).1);
        faults.iter_mut().for_each(|(pass, _)| *pass = pass.saturating_sub(1));
        struck
    }

    fn secrets(&self) -> Result<MutexGuard<'_, BTreeMap<SecretKey, SecretBytes>>> {
        if self.0.silent.load(Ordering::SeqCst) {
            return Err(silent());
        }
        // No code that holds the lock can panic halfway through a change.
        Ok(self.0.secrets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn silent() -> Error {
    Error::new(ErrorKind::Unreachable, "the secret store does not answer").with("store", "memory")
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
        let fault = self.strike();
        let value = self.secrets()?.get(key).cloned();
        match fault {
            Some(ReadFault::Lost) => Err(silent()),
            Some(ReadFault::Damaged) => Ok(value.map(|value| {
                let whole = value.expose();
                Secret::new(whole[..whole.len().saturating_sub(1)].to_vec())
            })),
            None => Ok(value),
        }
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
        if self.strike() == Some(ReadFault::Lost) {
            return Err(silent());
        }
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
