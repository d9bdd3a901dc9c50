//! What happened to the objects, for those who watch.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::kind::Resource;
use super::object;

/// So many changes are remembered; a real API server forgets by time (etcd's
/// compaction every five minutes), which no watcher can tell apart.
const CHANGES_MAX: usize = 8192;

/// What kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// It was written.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change of one object.
#[derive(Clone)]
pub struct Change {
    /// Its resource version: one counter for all objects.
    pub revision: u64,
    /// What kind of change.
    pub kind: ChangeKind,
    /// Whose collection.
    pub resource: Resource,
    /// The object after the change; a deleted one as it last was, with the
    /// resource version of its deletion.
    pub object: Arc<Value>,
    /// The object before the change.
    pub before: Option<Arc<Value>>,
}

impl fmt::Debug for Change {
    /// Without the object, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {} {}", self.revision, self.kind, self.resource, object::name(&self.object))
    }
}

/// The changes that are still remembered, the oldest first.
#[derive(Clone, Default)]
pub(crate) struct History {
    changes: VecDeque<Change>,
    /// Everything up to this resource version is forgotten.
    forgotten: u64,
}

impl History {
    pub(crate) fn push(&mut self, change: Change) {
        self.changes.push_back(change);
        while self.changes.len() > CHANGES_MAX {
            if let Some(oldest) = self.changes.pop_front() {
                self.forgotten = oldest.revision;
            }
        }
    }

    /// Forgets everything up to `revision`.
    pub(crate) fn compact(&mut self, revision: u64) {
        self.forgotten = self.forgotten.max(revision);
        while self.changes.front().is_some_and(|change| change.revision <= self.forgotten) {
            self.changes.pop_front();
        }
    }

    /// Whether every change after `revision` is remembered.
    pub(crate) fn reaches(&self, revision: u64) -> bool {
        revision >= self.forgotten
    }

    /// The oldest resource version from which one can still go on.
    pub(crate) fn oldest(&self) -> u64 {
        self.forgotten
    }

    /// The changes after `revision`.
    pub(crate) fn after(&self, revision: u64) -> impl DoubleEndedIterator<Item = &Change> {
        let start = self.changes.partition_point(|change| change.revision <= revision);
        self.changes.range(start..)
    }
}
