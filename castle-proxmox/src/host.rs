//! What is shared by all who work on one host: the look at it, and how much
//! may happen there at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use castle_core::{Clock, Limits};
use tokio::sync::Semaphore;

use crate::client::Client;
use crate::watch::Watch;

/// Requests that change something in flight on one host. Its three workers each
/// serve one request at a time, and one must stay free for questions.
const WRITES_AT_ONCE: usize = 2;

/// One host.
#[derive(Debug)]
pub(crate) struct Host {
    pub watch: Watch,
    pub writes: Semaphore,
    imports: Mutex<BTreeMap<String, Arc<Semaphore>>>,
    limits: Limits,
}

impl Host {
    /// The imports into one storage that may run at once.
    pub(crate) fn imports(&self, storage: &str) -> Arc<Semaphore> {
        let mut imports = self.imports.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Semaphore::new(self.limits.imports_per_storage.max(1)));
        imports.entry(storage.to_owned()).or_insert_with(fresh).clone()
    }
}

/// The hosts that were met so far.
#[derive(Debug)]
pub(crate) struct Hosts {
    met: Mutex<BTreeMap<String, Arc<Host>>>,
    client: Arc<Client>,
    clock: Clock,
    limits: Limits,
}

impl Hosts {
    pub(crate) fn new(client: Arc<Client>, clock: Clock, limits: Limits) -> Self {
        Self { met: Mutex::default(), client, clock, limits }
    }

    pub(crate) fn named(&self, node: &str) -> Arc<Host> {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || {
            Arc::new(Host {
                watch: Watch::new(node, self.client.clone(), self.clock.clone()),
                writes: Semaphore::new(WRITES_AT_ONCE),
                imports: Mutex::default(),
                limits: self.limits,
            })
        };
        met.entry(node.to_owned()).or_insert_with(fresh).clone()
    }
}
