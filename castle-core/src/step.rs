//! The unit of work: a condition, and an act that brings it about.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{Context, Error, Result};

/// Whether a condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Met,
    /// It may hold later; why it does not yet.
    NotYet(Cow<'static, str>),
    /// It can never hold by waiting; why.
    Never(Cow<'static, str>),
}

/// One step of a plan.
///
/// The engine probes, acts unless the condition holds, and probes again until it
/// does. Two rules make a step survive a power cut anywhere: acting twice equals
/// acting once, and a cut between act and probe leaves a world that the planner
/// recognises.
#[async_trait]
pub trait Step: Send + Sync {
    /// Its name, unique in the plan: `machine/blue-cp-01/create`.
    fn id(&self) -> &str;

    /// The steps that must be done before it.
    fn needs(&self) -> &[String];

    /// How long it may take, from its first request.
    fn deadline(&self) -> Duration;

    /// The named limit that it takes a share of while it acts.
    fn limit(&self) -> Option<&str> {
        None
    }

    /// Whether a share of its limit is kept for it while it is not ready: what most
    /// others wait for must not queue behind them.
    fn is_urgent(&self) -> bool {
        false
    }

    /// What the plan's own observation already says, so that a fresh plan does
    /// not ask everything twice. `None`: probe before acting.
    fn observed(&self) -> Option<Verdict> {
        None
    }

    /// Whether the condition holds. Changes nothing that the plan is about; at most it
    /// notes in the secret store what it saw, as the birth of etcd, so that no later
    /// run does it again.
    ///
    /// # Errors
    ///
    /// When it cannot be told; the step fails with it.
    async fn probe(&self, cx: &Context) -> Result<Verdict>;

    /// Brings the condition about, or begins to.
    async fn act(&self, cx: &Context) -> Result<()>;

    /// What to do when the deadline passes: where to look, what the usual causes are.
    fn advice(&self) -> Option<String> {
        None
    }

    /// What its deadline means, where it means more than that time is up. `why` is what
    /// it waited for last. `None`: a deadline exceeded.
    fn overdue(&self, _why: &str) -> Option<Error> {
        None
    }

    /// Wake-ups after which it is worth probing again. `None`: the act itself
    /// awaits the effect, so one probe after it must find the condition met.
    fn watch(&self, _cx: &Context) -> Option<BoxStream<'static, ()>> {
        None
    }
}
