//! The simulated home (placeholder of the floor's half: replace it, and keep
//! what the floor uses: `ledger`, `request_latency`, `empty`, `now`,
//! `advance_to`, `nth`, `draws`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::draw::Draws;
use crate::ledger::Ledger;

/// The simulated home.
#[derive(Debug, Clone)]
pub struct World {
    /// The floor's own page: runs, secrets, certificate authority, wall clock.
    pub ledger: Ledger,
    /// Whether requests take their drawn time.
    pub request_latency: bool,
    now: Duration,
    draws: Draws,
    counters: BTreeMap<(String, String), u64>,
}

impl World {
    /// A world with nothing in it. For tests of the floor.
    #[must_use]
    pub fn empty(seed: u64) -> Self {
        Self {
            ledger: Ledger::default(),
            request_latency: true,
            now: Duration::ZERO,
            draws: Draws::new(seed),
            counters: BTreeMap::new(),
        }
    }

    /// The time of the last event.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Lets everything happen that is due until `at`.
    pub fn advance_to(&mut self, at: Duration) {
        self.now = self.now.max(at);
    }

    /// Counts the draws for one entity and one act.
    pub fn nth(&mut self, entity: &str, act: &str) -> u64 {
        let counter = self.counters.entry((entity.to_owned(), act.to_owned())).or_default();
        *counter += 1;
        *counter - 1
    }

    /// The world's chance.
    #[must_use]
    pub fn draws(&self) -> Draws {
        self.draws
    }
}
