//! What travels with every call: time, the wish to stop, and where to tell why one waits.

use tokio_util::sync::CancellationToken;

use crate::{Clock, Env, Error, EventKind, EventLog, Result};

/// The company of every call into a port.
///
/// It carries the injected time and chance, the caller's wish to stop, and the
/// name of the step on whose behalf the call is made, so that a wait can say
/// why it waits.
#[derive(Debug, Clone)]
pub struct Context {
    env: Env,
    cancel: CancellationToken,
    log: EventLog,
    step: Option<String>,
}

impl Context {
    /// A context with a log of its own and no step.
    #[must_use]
    pub fn new(env: Env) -> Self {
        let log = EventLog::new(env.clock.clone());
        Self { env, cancel: CancellationToken::new(), log, step: None }
    }

    /// A context that reports to `log` and stops with `cancel`.
    #[must_use]
    pub fn reporting_to(env: Env, cancel: CancellationToken, log: EventLog) -> Self {
        Self { env, cancel, log, step: None }
    }

    /// The same, on behalf of a step.
    #[must_use]
    pub fn for_step(&self, step: impl Into<String>) -> Self {
        Self { step: Some(step.into()), ..self.clone() }
    }

    /// Time and chance.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.env.clock
    }

    /// The event log.
    #[must_use]
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    /// The caller's wish to stop.
    #[must_use]
    pub fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Tells why the current step waits. Say what must become true, without
    /// counting seconds: an unchanged reason is told once.
    pub fn waiting(&self, why: impl Into<String>) {
        if let Some(step) = &self.step {
            self.log.push(EventKind::StepWaiting { step: step.clone(), why: why.into() });
        }
    }

    /// Tells the operator something.
    pub fn notice(&self, text: impl Into<String>) {
        self.log.push(EventKind::Notice { text: text.into() });
    }

    /// Fails if the caller asked to stop. To be asked before each request that
    /// changes the world, never between a request and its answer.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Cancelled`].
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }
}
