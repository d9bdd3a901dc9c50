//! Which engine run is at the other end of a connection.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::{Deserialize, Serialize};

use crate::wire::{Ending, Line};

/// One run of an engine against the lab, told by its source address.
///
/// A process that dies leaves requests in flight. Each run has a source address
/// of its own, so that the lab can tell a dead run's bytes from its successor's
/// and keep them from the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub u32);

impl RunId {
    /// Everybody whose source address was not allotted: foreign clients.
    pub const FOREIGN: Self = Self(0);
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::FOREIGN => f.write_str("foreign"),
            Self(number) => write!(f, "run {number}"),
        }
    }
}

/// Where run number `number` comes from: an address of the loopback network
/// that belongs to it alone within its lab.
fn source_of(number: u32) -> IpAddr {
    // 127.32.0.1 and up: away from 127.0.0.1, where everybody else comes from,
    // and below 127.64.0.0/10, where public labs listen.
    let host = number % (32 << 16);
    IpAddr::V4(Ipv4Addr::new(127, 32 + (host >> 16) as u8, (host >> 8) as u8, host as u8))
}

/// Which runs there are, which of them live, and their open lines.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    allotted: u32,
    sources: BTreeMap<IpAddr, RunId>,
    dead: BTreeSet<RunId>,
    lines: BTreeMap<u64, (RunId, Weak<Line>)>,
    next_line: u64,
}

impl Runs {
    /// Goes on after the runs of an earlier lab around the same world.
    pub(crate) fn resumed(allotted: u32, dead: BTreeSet<RunId>) -> Self {
        Self { book: Mutex::new(Book { allotted, dead, ..Book::default() }) }
    }

    /// Allots the next run.
    ///
    /// Where the loopback network has one address only (not on Linux), every run
    /// comes from 127.0.0.1, which then names the newest run.
    pub(crate) fn allot(&self) -> (RunId, IpAddr) {
        self.locked(|book| {
            book.allotted += 1;
            let run = RunId(book.allotted);
            let own = source_of(book.allotted);
            let source = match std::net::UdpSocket::bind((own, 0)) {
                Ok(_) => own,
                Err(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            };
            book.sources.insert(source, run);
            (run, source)
        })
    }

    /// How many runs were allotted.
    pub(crate) fn allotted(&self) -> u32 {
        self.locked(|book| book.allotted)
    }

    /// Who comes from this address.
    pub(crate) fn at(&self, source: IpAddr) -> RunId {
        self.locked(|book| book.sources.get(&source).copied().unwrap_or(RunId::FOREIGN))
    }

    /// Where the run comes from, if this lab allotted it.
    pub(crate) fn source(&self, run: RunId) -> Option<IpAddr> {
        self.locked(|book| book.sources.iter().find(|(_, owner)| **owner == run).map(|(source, _)| *source))
    }

    /// Whether the run's process died.
    pub(crate) fn is_dead(&self, run: RunId) -> bool {
        self.locked(|book| book.dead.contains(&run))
    }

    /// Registers an open connection. `None`: the run is dead.
    pub(crate) fn open(&self, run: RunId) -> Option<Arc<Line>> {
        self.locked(|book| {
            if book.dead.contains(&run) {
                return None;
            }
            book.lines.retain(|_, (_, line)| line.strong_count() > 0);
            let line = Arc::new(Line::default());
            book.lines.insert(book.next_line, (run, Arc::downgrade(&line)));
            book.next_line += 1;
            Some(line)
        })
    }

    /// How many connections were registered so far.
    pub(crate) fn connections(&self) -> u64 {
        self.locked(|book| book.next_line)
    }

    /// How many connections are open.
    pub(crate) fn open_connections(&self) -> usize {
        self.locked(|book| book.lines.values().filter(|(_, line)| line.strong_count() > 0).count())
    }

    /// Marks the run dead and resets all its connections.
    pub(crate) fn kill(&self, run: RunId) {
        let lines = self.locked(|book| {
            book.dead.insert(run);
            let lines: Vec<_> =
                book.lines.values().filter(|(owner, _)| *owner == run).filter_map(|(_, line)| line.upgrade()).collect();
            book.lines.retain(|_, (owner, _)| *owner != run);
            lines
        });
        for line in lines {
            line.end(Ending::Reset);
        }
    }

    fn locked<T>(&self, look: impl FnOnce(&mut Book) -> T) -> T {
        look(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
