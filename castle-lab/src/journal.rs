//! Every request that the lab saw, in the order of arrival.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use castle_core::Requests;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::front::{Act, Call};
use crate::run::RunId;

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Its place in the journal, from 0.
    pub seq: u64,
    /// Its place among the requests of its run, from 0.
    pub index: u64,
    /// When it had arrived in full, in the lab's time.
    pub at: Duration,
    /// Who sent it.
    pub run: RunId,
    /// The server that it came to.
    pub backend: String,
    /// The stable name of the kind of request.
    pub kind: String,
    /// What it was about.
    pub entity: String,
    /// Whether it may change the world.
    pub write: bool,
    /// The method on the wire.
    pub method: String,
    /// The raw path on the wire, without the query.
    pub path: String,
    /// The parameters on one line, free of secrets.
    pub detail: String,
    /// Whether the world saw it.
    pub effect: bool,
    /// The status that was answered; `None` if no answer left the lab.
    pub status: Option<u16>,
    /// The length of the answer's body.
    pub bytes: u64,
    /// When the answer left, in the lab's time.
    pub finished: Option<Duration>,
    /// The fault that hit it.
    pub fault: Option<String>,
}

/// A handle to the lab's journal. Clones see the same entries.
///
/// It outlives the lab that writes it, so the journal of a run that was cut can
/// be read afterwards.
#[derive(Clone, Default)]
pub struct Journal {
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    entries: Vec<Entry>,
    /// How many entries each run has.
    counts: BTreeMap<RunId, u64>,
}

impl Journal {
    /// A journal without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All entries so far, in the order of arrival.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.locked(|book| book.entries.clone())
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.locked(|book| book.entries.len())
    }

    /// Whether nothing was asked yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a run asked each backend.
    #[must_use]
    pub fn requests(&self, run: RunId) -> BTreeMap<String, Requests> {
        self.locked(|book| {
            let mut counts = BTreeMap::<String, Requests>::new();
            for entry in book.entries.iter().filter(|entry| entry.run == run) {
                let count = counts.entry(entry.backend.clone()).or_default();
                *(if entry.write { &mut count.write } else { &mut count.read }) += 1;
            }
            counts
        })
    }

    /// A hash over what happened when: milliseconds of the lab's time, run, kind,
    /// entity and status of each request.
    ///
    /// Requests of the same millisecond are hashed in the order of their names:
    /// which of two sockets the kernel reports first says nothing about castle.
    #[must_use]
    pub fn digest(&self) -> String {
        self.locked(|book| {
            let mut lines: Vec<_> = book
                .entries
                .iter()
                .map(|entry| {
                    (
                        entry.at.as_millis(),
                        format!(
                            "{}\0{}\0{}\0{}\0{:?}\n",
                            entry.run, entry.backend, entry.kind, entry.entity, entry.status
                        ),
                    )
                })
                .collect();
            lines.sort();
            let mut hash = Sha256::new();
            for (at, line) in lines {
                hash.update(at.to_be_bytes());
                hash.update(line.as_bytes());
            }
            hex::encode(hash.finalize())
        })
    }

    /// Writes a request down and returns its places: in the journal and in its run.
    pub(crate) fn arrived(&self, at: Duration, backend: &str, call: &Call, act: &Act) -> (usize, u64) {
        crate::runtime::progressed(|| format!("{} {} {} of {}", backend, act.kind, act.entity, call.run));
        self.locked(|book| {
            let count = book.counts.entry(call.run).or_default();
            let index = *count;
            *count += 1;
            book.entries.push(Entry {
                seq: book.entries.len() as u64,
                index,
                at,
                run: call.run,
                backend: backend.to_owned(),
                kind: act.kind.clone(),
                entity: act.entity.clone(),
                write: act.write,
                method: call.method.clone(),
                path: call.path.clone(),
                detail: act.detail.clone(),
                effect: false,
                status: None,
                bytes: 0,
                finished: None,
                fault: None,
            });
            (book.entries.len() - 1, index)
        })
    }

    /// Completes the entry at `place`.
    pub(crate) fn amend(&self, place: usize, change: impl FnOnce(&mut Entry)) {
        self.locked(|book| {
            if let Some(entry) = book.entries.get_mut(place) {
                change(entry);
            }
        });
    }

    fn locked<T>(&self, look: impl FnOnce(&mut Book) -> T) -> T {
        // A panic elsewhere must not hide the journal that explains it.
        look(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("entries", &self.len()).finish()
    }
}

impl fmt::Display for Entry {
    /// One line for a log: time, run, backend, kind, entity, what became of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3}s  {}  {}  {} {}", self.at.as_secs_f64(), self.run, self.backend, self.kind, self.entity)?;
        if !self.detail.is_empty() {
            write!(f, "  [{}]", self.detail)?;
        }
        match self.status {
            Some(status) => write!(f, "  -> {status}")?,
            None => f.write_str("  -> no answer")?,
        }
        match &self.fault {
            Some(fault) => write!(f, "  ({fault})"),
            None => Ok(()),
        }
    }
}
