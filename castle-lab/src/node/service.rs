//! The services of a node, as it tells of them.

use std::collections::BTreeMap;
use std::time::Duration;

/// The events that a node keeps of each service.
const EVENTS_MAX: usize = 64;

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// Its state in Talos' words: `Preparing`, `Running`, ...
    pub state: &'static str,
    /// Whether its health check passes; `None` until the first one.
    pub healthy: Option<bool>,
    /// What it said last.
    pub message: String,
    /// When that was.
    pub since: Duration,
    /// What became of it: when, state, message.
    pub events: Vec<(Duration, &'static str, String)>,
}

impl Service {
    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == "Running"
    }

    /// Whether it runs and its health check passes.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.is_running() && self.healthy == Some(true)
    }
}

/// The services of one boot, by id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Services(pub BTreeMap<&'static str, Service>);

impl Services {
    /// A service changes its state.
    pub fn enter(&mut self, now: Duration, id: &'static str, state: &'static str, message: impl Into<String>) {
        let message = message.into();
        let service = self.0.entry(id).or_default();
        if service.state == state && service.message == message {
            return;
        }
        service.state = state;
        service.healthy = None;
        service.note(now, state, message);
    }

    /// A health check comes to another result.
    pub fn check(&mut self, now: Duration, id: &'static str, result: Result<(), &str>) {
        let service = self.0.entry(id).or_default();
        let message = match result {
            Ok(()) => "Health check successful".to_owned(),
            Err(text) => format!("Health check failed: {text}"),
        };
        if service.healthy != Some(result.is_ok()) || service.message != message {
            service.healthy = Some(result.is_ok());
            service.note(now, service.state, message);
        }
    }

    /// A service that starts and is well at once.
    pub fn run(&mut self, now: Duration, id: &'static str) {
        self.enter(now, id, "Running", format!("Started task {id} (PID 1100) for container {id}"));
        self.check(now, id, Ok(()));
    }

    /// A service by its id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Service> {
        self.0.get(id)
    }

    /// Whether a service is well.
    #[must_use]
    pub fn is_healthy(&self, id: &str) -> bool {
        self.get(id).is_some_and(Service::is_healthy)
    }
}

impl Service {
    fn note(&mut self, now: Duration, state: &'static str, message: String) {
        self.since = now;
        self.events.push((now, state, message.clone()));
        let excess = self.events.len().saturating_sub(EVENTS_MAX);
        self.events.drain(..excess);
        self.message = message;
    }
}
