//! Runs a graph of steps: what is ready runs at once, under named limits.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::step::{Step, Verdict};
use crate::{Context, Error, ErrorKind, EventKind, Result, StepOutcome};

/// Shares of the named limits: how many steps of each may act at once. A limit
/// that is not named here does not limit.
pub type Shares = BTreeMap<String, usize>;

/// How a round of steps ended.
#[derive(Debug, Default)]
pub struct Round {
    /// How many steps acted and were confirmed.
    pub done: usize,
    /// The first error; the acts that ran beside it were allowed to end.
    pub error: Option<Error>,
    /// Steps that did not begin, or were stopped.
    pub left: Vec<String>,
    /// Those of them that had acted and only waited. What they waited for may come true
    /// before the next look.
    pub dropped: Vec<String>,
}

/// Runs `steps` until all are done, one fails, or the caller asks to stop.
///
/// Ready steps begin in the order of `steps`: put first what others wait for. A
/// share is kept for each urgent step that is not ready yet, from all but those that
/// it waits for itself.
/// A failure lets the running acts end and begins no new step: the round is
/// over, and the caller looks at the world again. A step that has acted and only waits
/// is dropped then: what it waits for may be the work of a step that will not begin,
/// and the next look finds what came of it.
///
/// # Errors
///
/// [`ErrorKind::InvalidSpec`] if two steps share a name, or a step needs one
/// that does not exist, or the needs form a circle. Nothing has begun then. Steps
/// that keep their shares from each other end the round with
/// [`ErrorKind::Unexpected`].
pub async fn run(steps: &[Box<dyn Step>], shares: &Shares, cx: &Context) -> Result<Round> {
    check(steps)?;
    let mut round = Round::default();
    let mut waiting: Vec<usize> = (0..steps.len()).collect();
    let mut finished: BTreeSet<&str> = BTreeSet::new();
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    let over = CancellationToken::new();
    let mut running = FuturesUnordered::new();
    let ways: BTreeMap<&str, BTreeSet<&str>> =
        steps.iter().filter(|step| step.is_urgent()).map(|step| (step.id(), way_to(step.as_ref(), steps))).collect();
    loop {
        if round.error.is_none() && !cx.cancel().is_cancelled() {
            let mut urgent: BTreeSet<usize> =
                waiting.iter().copied().filter(|&index| steps[index].is_urgent()).collect();
            waiting.retain(|&index| {
                let step = &steps[index];
                let ready = step.needs().iter().all(|need| finished.contains(need.as_str()));
                let free = step.limit().is_none_or(|limit| {
                    let used = taken.get(limit).copied().unwrap_or(0);
                    let keeps = |other: &&usize| {
                        let other = &steps[**other];
                        other.limit() == Some(limit) && !ways[other.id()].contains(step.id())
                    };
                    let kept = if step.is_urgent() { 0 } else { urgent.iter().filter(keeps).count() };
                    shares.get(limit).is_none_or(|share| used + kept < (*share).max(1))
                });
                if !(ready && free) {
                    return true;
                }
                if let Some(limit) = step.limit() {
                    *taken.entry(limit).or_default() += 1;
                }
                urgent.remove(&index);
                let over = &over;
                running.push(async move { (index, run_step(step.as_ref(), cx, over).await) });
                false
            });
        }
        let Some((index, result)) = running.next().await else { break };
        let step = &steps[index];
        if let Some(limit) = step.limit()
            && let Some(used) = taken.get_mut(limit)
        {
            *used -= 1;
        }
        let (outcome, error) = match result {
            Ok(StepOutcome::Done) => {
                round.done += 1;
                (StepOutcome::Done, None)
            }
            Ok(outcome) => (outcome, None),
            Err(error) if error.kind() == ErrorKind::Cancelled => (StepOutcome::Cancelled, Some(error)),
            Err(error) => {
                over.cancel();
                (StepOutcome::Failed, Some(error))
            }
        };
        let told = error.as_ref().filter(|_| outcome == StepOutcome::Failed).map(Error::chain);
        cx.log().push(EventKind::StepEnded { step: step.id().to_owned(), outcome, error: told });
        match error {
            None if outcome == StepOutcome::Cancelled => {
                round.left.push(step.id().to_owned());
                round.dropped.push(step.id().to_owned());
            }
            None => {
                finished.insert(step.id());
            }
            Some(error) => {
                round.left.push(step.id().to_owned());
                // A real failure says more than the stop that may follow it.
                if round.error.as_ref().is_none_or(|first| first.kind() == ErrorKind::Cancelled) {
                    round.error = Some(error.with("step", step.id()));
                }
            }
        }
    }
    round.left.extend(waiting.iter().map(|&index| steps[index].id().to_owned()));
    if round.error.is_none() && !round.left.is_empty() {
        round.error = Some(match cx.cancel().is_cancelled() {
            true => Error::cancelled(),
            false => stuck(&round.left),
        });
    }
    Ok(round)
}

/// Everything that must be done before a step.
fn way_to<'a>(step: &'a dyn Step, steps: &'a [Box<dyn Step>]) -> BTreeSet<&'a str> {
    let mut way = BTreeSet::new();
    let mut ahead: Vec<&str> = step.needs().iter().map(String::as_str).collect();
    while let Some(id) = ahead.pop() {
        if way.insert(id) {
            let found = steps.iter().find(|step| step.id() == id);
            ahead.extend(found.into_iter().flat_map(|step| step.needs()).map(String::as_str));
        }
    }
    way
}

/// The error of steps that nothing but each other hinders.
fn stuck(left: &[String]) -> Error {
    Error::new(ErrorKind::Unexpected, format!("steps keep their shares from each other: {}", left.join(", ")))
        .hint("this is a fault of the plan, not of the declaration: report it with the output of `castle plan`")
}

fn check(steps: &[Box<dyn Step>]) -> Result<()> {
    let invalid = |text: String| Error::new(ErrorKind::InvalidSpec, text);
    let mut ids = BTreeSet::new();
    for step in steps {
        if !ids.insert(step.id()) {
            return Err(invalid(format!("two steps are named `{}`", step.id())));
        }
    }
    let mut done: BTreeSet<&str> = BTreeSet::new();
    loop {
        let before = done.len();
        for step in steps {
            if let Some(need) = step.needs().iter().find(|need| !ids.contains(need.as_str())) {
                return Err(invalid(format!("step `{}` needs `{need}`, which does not exist", step.id())));
            }
            if step.needs().iter().all(|need| done.contains(need.as_str())) {
                done.insert(step.id());
            }
        }
        if done.len() == steps.len() {
            return Ok(());
        }
        if done.len() == before {
            let stuck: Vec<_> = ids.difference(&done).copied().collect();
            return Err(invalid(format!("steps wait for each other in a circle: {}", stuck.join(", "))));
        }
    }
}

async fn run_step(step: &dyn Step, cx: &Context, over: &CancellationToken) -> Result<StepOutcome> {
    let cx = &cx.for_step(step.id());
    match cx.clock().within(step.deadline(), reach(step, cx, over)).await {
        Some(result) => result,
        None => {
            let why = cx.log().waiting().remove(step.id()).unwrap_or_else(|| "its act did not return".into());
            if let Some(error) = step.overdue(&why) {
                return Err(error);
            }
            let error = Error::new(
                ErrorKind::DeadlineExceeded,
                format!("`{}` was not done within {} s: {why}", step.id(), step.deadline().as_secs()),
            );
            let again = "run the same command again: it goes on from here; `deadlines` in castle.yaml gives more time";
            Err(error.hint(step.advice().unwrap_or_else(|| again.into())))
        }
    }
}

async fn reach(step: &dyn Step, cx: &Context, over: &CancellationToken) -> Result<StepOutcome> {
    let never = |why: &str| Error::new(ErrorKind::Unexpected, format!("`{}` can never be done: {why}", step.id()));
    let first = match step.observed() {
        Some(verdict) => verdict,
        None => step.probe(cx).await?,
    };
    match first {
        Verdict::Met => return Ok(StepOutcome::Skipped),
        Verdict::Never(why) => return Err(never(&why)),
        Verdict::NotYet(because) => {
            cx.log().push(EventKind::StepStarted { step: step.id().to_owned(), because: because.into_owned() });
        }
    }
    cx.check()?;
    // The stream is opened first, so that nothing that the act causes is missed.
    let mut wakes = step.watch(cx);
    step.act(cx).await?;
    loop {
        let why = match step.probe(cx).await? {
            Verdict::Met => return Ok(StepOutcome::Done),
            Verdict::Never(why) => return Err(never(&why)),
            Verdict::NotYet(why) => why,
        };
        cx.check()?;
        let Some(wakes) = &mut wakes else {
            return Err(Error::new(ErrorKind::Conflict, format!("`{}` acted, and yet {why}", step.id()))
                .hint("something else changes the same thing"));
        };
        cx.waiting(why.clone());
        tokio::select! {
            biased;
            () = cx.cancel().cancelled() => return Err(Error::cancelled()),
            () = over.cancelled() => return Ok(StepOutcome::Cancelled),
            wake = wakes.next() => if wake.is_none() {
                return Err(Error::new(ErrorKind::Unreachable, format!("`{}` lost its watch while {why}", step.id())));
            }
        }
    }
}
