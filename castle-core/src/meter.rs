//! Counting requests where they are sent.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Requests of one backend: a login, a dry run and opening a watch are reads; a
/// retry is one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Requests {
    /// Requests that change nothing.
    pub read: u64,
    /// Requests that may change something.
    pub write: u64,
}

/// Requests by backend.
pub type RequestCounts = BTreeMap<&'static str, Requests>;

/// Counts the requests of one adapter.
#[derive(Debug, Default)]
pub struct Meter {
    read: AtomicU64,
    write: AtomicU64,
}

impl Meter {
    /// One more read was sent.
    pub fn count_read(&self) {
        self.read.fetch_add(1, Ordering::Relaxed);
    }

    /// One more write was sent.
    pub fn count_write(&self) {
        self.write.fetch_add(1, Ordering::Relaxed);
    }

    /// What was sent so far.
    pub fn total(&self) -> Requests {
        Requests { read: self.read.load(Ordering::Relaxed), write: self.write.load(Ordering::Relaxed) }
    }
}
