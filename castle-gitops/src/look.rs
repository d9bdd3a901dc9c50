//! Looking at the cluster: lists of objects, each asked for as seldom as the
//! watches allow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use castle_core::Clock;
use serde_json::Value;

use crate::kubernetes::follow::Followed;
use crate::kubernetes::object::Kind;
use crate::kubernetes::{KubeApi, Result};

/// While a watch would have told of a change, a list is good for so long; the
/// end is for a watch that nobody reads.
const WATCHED: Duration = Duration::from_secs(5);
/// Without a watch, one look serves several questions that are asked at once.
const UNWATCHED: Duration = Duration::from_secs(1);

/// Who asks. Without a watch each question has a look of its own the second time
/// it is asked: whoever repeats a question wants to know what has become of it.
pub(crate) type Asker = &'static str;

/// The objects of a kind. `None`: the kind is not served.
pub(crate) type Listing = Option<Arc<Vec<Value>>>;

/// The collections that tell how a handover goes.
pub(crate) fn followed() -> Vec<Followed> {
    vec![
        // First, so that what definitions bring is known to be there.
        Followed::of(Kind::DEFINITION),
        Followed::defined(Kind::KUSTOMIZATION),
        Followed::defined(Kind::GIT_REPOSITORY),
        Followed::defined(Kind::HELM_RELEASE),
        Followed::of(Kind::DEPLOYMENT),
        Followed::of(Kind::SERVICE),
        Followed::of(Kind::ENDPOINT_SLICE),
        Followed::of(Kind::VALIDATING),
        Followed::of(Kind::MUTATING),
    ]
}

/// The lists of one cluster, shared by everything that asks about its handover.
/// Nothing here outlives a change: a fresh one sees the same.
pub(crate) struct Looks {
    pub(crate) api: KubeApi,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many watches are open.
    watches: usize,
    /// Counts what changed, for each kind and for all.
    changes: BTreeMap<Kind, u64>,
    changes_of_all: u64,
    lists: BTreeMap<Kind, Shelved>,
}

#[derive(Clone)]
struct Shelved {
    listing: Listing,
    taken: Duration,
    changes: (u64, u64),
    served: BTreeSet<Asker>,
}

impl Looks {
    pub(crate) fn new(api: KubeApi, clock: Clock) -> Self {
        Self { api, clock, state: Mutex::default() }
    }

    /// The objects of a kind, in all namespaces.
    pub(crate) async fn list(&self, kind: &Kind, asker: Asker) -> Result<Listing> {
        if let Some(listing) = self.shelved(kind, asker) {
            return Ok(listing);
        }
        let changes = self.state().changes(kind);
        let taken = self.clock.elapsed();
        let listing = self.api.list(kind).await?.map(Arc::new);
        let shelved = Shelved { listing: listing.clone(), taken, changes, served: BTreeSet::from([asker]) };
        self.state().lists.insert(kind.clone(), shelved);
        Ok(listing)
    }

    /// The same; a kind that is not served has no objects.
    pub(crate) async fn all(&self, kind: &Kind, asker: Asker) -> Result<Arc<Vec<Value>>> {
        Ok(self.list(kind, asker).await?.unwrap_or_default())
    }

    fn shelved(&self, kind: &Kind, asker: Asker) -> Option<Listing> {
        let now = self.clock.elapsed();
        let mut state = self.state();
        let changes = state.changes(kind);
        let is_watched = state.watches > 0 && followed().iter().any(|followed| followed.kind == *kind);
        let shelved = state.lists.get_mut(kind)?;
        let age = now.saturating_sub(shelved.taken);
        let is_good = if is_watched { age < WATCHED } else { age < UNWATCHED && shelved.served.insert(asker) };
        (is_good && shelved.changes == changes).then(|| shelved.listing.clone())
    }

    /// Something has changed: of one kind, or of any.
    pub(crate) fn changed(&self, kind: Option<&Kind>) {
        let mut state = self.state();
        match kind {
            Some(kind) => *state.changes.entry(kind.clone()).or_default() += 1,
            None => state.changes_of_all += 1,
        }
    }

    /// A watch begins that will tell of changes.
    pub(crate) fn watched(self: &Arc<Self>) -> Watched {
        self.state().watches += 1;
        Watched(Arc::clone(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is whole, also when its maker panics later.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn changes(&self, kind: &Kind) -> (u64, u64) {
        (self.changes.get(kind).copied().unwrap_or(0), self.changes_of_all)
    }
}

/// A watch that is open.
pub(crate) struct Watched(Arc<Looks>);

impl Drop for Watched {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.watches -= 1;
        // What happens from now on is told by nobody.
        state.changes_of_all += 1;
    }
}
