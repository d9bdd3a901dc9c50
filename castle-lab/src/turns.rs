//! In which order the requests of several runs have their effect.
//!
//! Two operators who work at once meet in every order that their requests can
//! have. Chance finds few of these orders; said as data, all of them can be tried.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use castle_core::Clock;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::run::{RunId, Runs};

/// A run that was not heard of for so long, in the lab's time, gives up the turns
/// that stand before another's: it waits for something that the other one does,
/// or for nothing. Below the five seconds that castle waits for an answer.
const SILENCE: Duration = Duration::from_secs(2);

/// An order: whose request comes next.
///
/// ```
/// use castle_lab::{RunId, turns::Turns};
///
/// // From their fourth requests on: one of the first run, then two of the second.
/// let (one, two) = (RunId(1), RunId(2));
/// let turns = Turns { order: vec![one, two, two], from: [(one, 3), (two, 3)].into() };
/// let text = serde_json::to_string(&turns).unwrap();
/// assert_eq!(serde_json::from_str::<Turns>(&text).unwrap(), turns);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turns {
    /// Whose request has its effect next, and next, until none is left; then
    /// requests have their effects as they come.
    pub order: Vec<RunId>,
    /// From which of its requests on, counted from 0, a run waits for its turn. A
    /// run that is not named never waits.
    pub from: BTreeMap<RunId, u64>,
}

/// How an order was kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Turns that a request took.
    pub taken: usize,
    /// Turns of runs that were over, dead or silent.
    pub given_up: usize,
}

/// Lets requests have their effects in a given order.
///
/// A request waits on its way to its effect, so the client sees a slow server.
/// The lab runs on one thread and an effect waits for nothing, so who is let
/// through has its effect before the next one is; but for who meets a lock file
/// that another holds, which comes when it has it.
#[derive(Debug, Default)]
pub struct Turnstile {
    book: Mutex<Book>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct Book {
    order: VecDeque<RunId>,
    from: BTreeMap<RunId, u64>,
    /// Requests that wait, by their places among those of their run.
    waiting: BTreeSet<(RunId, u64)>,
    /// When each run was heard of last.
    heard: BTreeMap<RunId, Duration>,
    left: BTreeSet<RunId>,
    kept: Kept,
}

impl Turnstile {
    /// Gives the order. What is left of an earlier one is void.
    pub fn gate(&self, turns: Turns) {
        self.locked(|book| {
            book.order = turns.order.into();
            book.from = turns.from;
            book.kept = Kept::default();
        });
        self.moved.notify_waiters();
    }

    /// The run is over: its turns are given up.
    pub fn leave(&self, run: RunId) {
        self.locked(|book| book.left.insert(run));
        self.moved.notify_waiters();
    }

    /// How the order was kept so far.
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.locked(|book| book.kept)
    }

    /// Somebody died.
    pub(crate) fn tell(&self) {
        self.moved.notify_waiters();
    }

    /// Waits until the request has its turn.
    pub(crate) async fn pass(&self, run: RunId, index: u64, runs: &Runs, clock: &Clock) {
        let now = clock.elapsed();
        let is_gated = self.locked(|book| {
            book.heard.insert(run, now);
            let gated = !book.order.is_empty() && book.from.get(&run).is_some_and(|from| index >= *from);
            gated && book.waiting.insert((run, index))
        });
        if !is_gated {
            return;
        }
        let _place = Place { turnstile: self, request: (run, index) };
        loop {
            let moved = self.moved.notified();
            let now = clock.elapsed();
            match self.locked(|book| book.next(run, index, now, runs)) {
                Next::Through => return,
                Next::Wait(None) => moved.await,
                Next::Wait(Some(until)) => {
                    // Looked at again either way.
                    clock.within(until.saturating_sub(now), moved).await;
                }
            }
        }
    }

    fn locked<T>(&self, look: impl FnOnce(&mut Book) -> T) -> T {
        look(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request in the queue; it leaves also when its client drops it.
struct Place<'a> {
    turnstile: &'a Turnstile,
    request: (RunId, u64),
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turnstile.locked(|book| book.waiting.remove(&self.request));
        self.turnstile.moved.notify_waiters();
    }
}

enum Next {
    Through,
    /// Until something moves, or until then, in the lab's time.
    Wait(Option<Duration>),
}

impl Book {
    fn next(&mut self, run: RunId, index: u64, now: Duration, runs: &Runs) -> Next {
        loop {
            let Some(&turn) = self.order.front() else { return Next::Through };
            let first = self.waiting.range((turn, 0)..=(turn, u64::MAX)).next().copied();
            let is_over = self.left.contains(&turn) || runs.is_dead(turn);
            match first {
                Some(first) if !is_over => {
                    if first != (run, index) {
                        return Next::Wait(None);
                    }
                    self.order.pop_front();
                    self.kept.taken += 1;
                    self.heard.insert(run, now);
                    return Next::Through;
                }
                None if !is_over => {
                    // A run that never sent anything is counted from the first look.
                    let given_up_at = *self.heard.entry(turn).or_insert(now) + SILENCE;
                    if given_up_at > now {
                        return Next::Wait(Some(given_up_at));
                    }
                }
                _ => {}
            }
            self.order.pop_front();
            self.kept.given_up += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use castle_core::Pace;
    use futures::future::join_all;

    use super::*;
    use crate::runtime;

    const ONE: RunId = RunId(1);
    const TWO: RunId = RunId(2);

    /// Sends requests (run, place, milliseconds) and returns the runs in the order
    /// of their effects, with when the last one had its effect.
    fn check(
        order: &[RunId],
        requests: &[(RunId, u64, u64)],
        runs: &Runs,
        over: Option<RunId>,
        expected: (&[RunId], Kept),
    ) -> Duration {
        let (effects, kept, took) = runtime::run_virtual(|| async {
            let (clock, turnstile, effects) = (Clock::new(Pace::Virtual), Turnstile::default(), Mutex::new(Vec::new()));
            turnstile.gate(Turns { order: order.to_vec(), from: [(ONE, 1), (TWO, 1)].into() });
            if let Some(run) = over {
                turnstile.leave(run);
            }
            let sent = requests.iter().map(|&(run, index, at)| {
                let (clock, turnstile, effects) = (&clock, &turnstile, &effects);
                async move {
                    clock.sleep(Duration::from_millis(at)).await;
                    turnstile.pass(run, index, runs, clock).await;
                    effects.lock().expect("nobody panics with it").push(run);
                }
            });
            join_all(sent).await;
            (effects.into_inner().expect("nobody panics with it"), turnstile.kept(), clock.elapsed())
        });
        assert_eq!((effects.as_slice(), kept), expected);
        took
    }

    #[test]
    fn requests_have_their_effects_in_the_order_of_the_turns() {
        let requests = [(ONE, 0, 1), (ONE, 1, 2), (ONE, 2, 3), (TWO, 1, 500), (TWO, 2, 501), (ONE, 3, 700)];
        let kept = Kept { taken: 4, given_up: 0 };
        check(
            &[TWO, ONE, TWO, ONE],
            &requests,
            &Runs::default(),
            None,
            // The first is not gated; after the last turn everybody goes as he comes.
            (&[ONE, TWO, ONE, TWO, ONE, ONE], kept),
        );
    }

    #[test]
    fn a_silent_run_gives_up_its_turns() {
        let kept = Kept { taken: 1, given_up: 2 };
        let took = check(&[TWO, TWO, ONE], &[(ONE, 1, 5)], &Runs::default(), None, (&[ONE], kept));
        assert!(took >= SILENCE && took < SILENCE * 2, "{took:?}");
    }

    #[test]
    fn runs_that_are_over_or_dead_give_up_their_turns_at_once() {
        let kept = Kept { taken: 1, given_up: 1 };
        let took = check(&[TWO, ONE], &[(ONE, 1, 5)], &Runs::default(), Some(TWO), (&[ONE], kept));
        assert!(took < SILENCE, "{took:?}");
        let dead = Runs::resumed(2, [TWO].into());
        let took = check(&[TWO, ONE], &[(ONE, 1, 5)], &dead, None, (&[ONE], kept));
        assert!(took < SILENCE, "{took:?}");
    }
}
