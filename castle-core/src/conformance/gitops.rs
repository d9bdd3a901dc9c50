//! The rules of [`Handover`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;

use super::done;
use crate::handover::SeedPart;
use crate::step::Verdict;
use crate::{Context, Handover};

/// What a suite needs of a cluster that is to be handed over: a way in, and the
/// engine's side of it.
#[async_trait]
pub trait HandoverHarness: Send + Sync {
    /// A handle on the handover: each call opens the same cluster and the same
    /// repository anew. Nothing is planted before the first.
    async fn handover(&self) -> Arc<dyn Handover>;

    /// The company of the calls.
    fn context(&self) -> Context;

    /// The backend's name in the list of rules that held.
    fn name(&self) -> &'static str;

    /// The parts of the seed, in the order of planting; the last is Flux.
    fn seed(&self) -> Vec<SeedPart>;

    /// How many requests that may change something were sent so far.
    async fn writes(&self) -> u64;

    /// Lets the engine run until it owns what it will own of the seed, and leaves
    /// something there that differs from what castle would plant.
    async fn take_over(&self);

    /// What the engine owns, as it stands, without the marks of nudges. Asks the
    /// cluster, not the handover.
    async fn owned(&self) -> Vec<String>;
}

/// The rules, in the order of the table.
pub const RULES: [&str; 5] = [
    "a_planted_part_stands",
    "planting_again_writes_nothing",
    "what_flux_owns_is_left_alone",
    "a_new_handle_sees_the_same",
    "a_watch_begins_with_the_present",
];

/// How long a watch may take to open.
const OPENING: Duration = Duration::from_secs(5);

/// Runs every rule, each on a cluster of its own from `fresh`. One line for each
/// rule that held.
///
/// # Panics
///
/// At the first rule that is broken.
pub async fn all<H: HandoverHarness>(fresh: impl AsyncFn() -> H) -> Vec<String> {
    a_planted_part_stands(&fresh().await).await;
    planting_again_writes_nothing(&fresh().await).await;
    what_flux_owns_is_left_alone(&fresh().await).await;
    a_new_handle_sees_the_same(&fresh().await).await;
    a_watch_begins_with_the_present(&fresh().await).await;
    let name = fresh().await.name();
    RULES.iter().map(|rule| format!("conformance handover {name} {rule} ok")).collect()
}

/// What was planted is seen as planted, also by a handle that was opened later, and
/// what was not is not.
pub async fn a_planted_part_stands(harness: &dyn HandoverHarness) {
    const RULE: &str = RULES[0];
    let (cx, seed) = (harness.context(), harness.seed());
    let handover = harness.handover().await;
    for (place, part) in seed.iter().enumerate() {
        for (other, expected) in seed.iter().enumerate().map(|(other, part)| (part, other < place)) {
            stands(RULE, harness, &cx, *other, expected).await;
        }
        done(RULE, &format!("planting {part}"), handover.plant(&cx, *part).await);
    }
    for part in seed {
        stands(RULE, harness, &cx, part, true).await;
    }
}

/// Planting twice writes nothing the second time, whoever planted first.
pub async fn planting_again_writes_nothing(harness: &dyn HandoverHarness) {
    const RULE: &str = RULES[1];
    let (cx, seed) = (harness.context(), harness.seed());
    plant_all(RULE, harness, &cx).await;
    let before = harness.writes().await;
    assert!(before > 0, "{RULE}: planting wrote nothing the first time");
    let handover = harness.handover().await;
    for part in seed {
        done(RULE, &format!("planting {part} again"), handover.plant(&cx, part).await);
        let after = harness.writes().await;
        assert_eq!(after, before, "{RULE}: planting {part} again wrote");
    }
}

/// An object that the engine owns is never written, except its nudge.
pub async fn what_flux_owns_is_left_alone(harness: &dyn HandoverHarness) {
    const RULE: &str = RULES[2];
    let (cx, seed) = (harness.context(), harness.seed());
    plant_all(RULE, harness, &cx).await;
    harness.take_over().await;
    let (owned, before) = (harness.owned().await, harness.writes().await);
    assert!(!owned.is_empty(), "{RULE}: the engine owns nothing after it took over");
    let handover = harness.handover().await;
    for part in seed {
        done(RULE, &format!("planting {part} again"), handover.plant(&cx, part).await);
        let now = harness.owned().await;
        assert_eq!(now, owned, "{RULE}: planting {part} changed what the engine owns");
    }
    let state = done(RULE, "observing", handover.observe(&cx).await);
    let nudges = done(RULE, "nudging", handover.nudge(&cx, &state).await);
    let now = harness.owned().await;
    assert_eq!(now, owned, "{RULE}: nudging changed more than the nudges");
    let wrote = harness.writes().await - before;
    assert_eq!(wrote, nudges.len() as u64, "{RULE}: writes beside the nudges {nudges:?}");
}

/// The state is read from the cluster and the repository, and remembered nowhere.
pub async fn a_new_handle_sees_the_same(harness: &dyn HandoverHarness) {
    const RULE: &str = RULES[3];
    let cx = harness.context();
    let old = harness.handover().await;
    let nothing = done(RULE, "observing an empty cluster", old.observe(&cx).await);
    assert!(!nothing.is_handed_over(), "{RULE}: an empty cluster is handed over: {nothing:#?}");
    plant_all(RULE, harness, &cx).await;
    for handover in [&old, &harness.handover().await] {
        let seen = done(RULE, "observing", handover.observe(&cx).await);
        assert!(seen.planted, "{RULE}: the root is planted, and is not seen: {seen:#?}");
    }
    // At rest: while the engine runs, two looks differ by what happens between them.
    harness.take_over().await;
    let seen = done(RULE, "observing", old.observe(&cx).await);
    let anew = done(RULE, "observing anew", harness.handover().await.observe(&cx).await);
    assert_eq!(seen, anew, "{RULE}: two handles see different states");
}

/// A watch begins with a wake, whether or not anything happens.
pub async fn a_watch_begins_with_the_present(harness: &dyn HandoverHarness) {
    const RULE: &str = RULES[4];
    let cx = harness.context();
    for planted in [false, true] {
        if planted {
            plant_all(RULE, harness, &cx).await;
        }
        let mut wakes = harness.handover().await.watch(&cx);
        let first = cx.clock().within(OPENING, wakes.next()).await;
        assert_eq!(first, Some(Some(())), "{RULE}: what a watch began with (planted: {planted})");
    }
}

async fn plant_all(rule: &str, harness: &dyn HandoverHarness, cx: &Context) {
    let handover = harness.handover().await;
    for part in harness.seed() {
        done(rule, &format!("planting {part}"), handover.plant(cx, part).await);
    }
}

async fn stands(rule: &str, harness: &dyn HandoverHarness, cx: &Context, part: SeedPart, expected: bool) {
    let verdict = done(rule, &format!("looking at {part}"), harness.handover().await.stands(cx, part).await);
    assert_eq!(verdict == Verdict::Met, expected, "{rule}: how {part} is seen: {verdict:?}");
}
