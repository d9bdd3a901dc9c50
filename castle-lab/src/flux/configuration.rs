//! What the objects of Flux say about themselves: intervals, requests, references.

use std::time::Duration;

use serde_json::Value;

use super::{Place, object};

/// The annotation that asks for a run.
const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
/// Where an interval cannot be read: the API server lets none through that cannot,
/// as long as the definition has its pattern.
const INTERVAL: Duration = Duration::from_secs(10 * 60);

/// The token of the last request for a run, empty if there was none.
pub(crate) fn requested_at(object: &Value) -> &str {
    object["metadata"]["annotations"][REQUESTED_AT].as_str().unwrap_or("")
}

/// Whether somebody suspended it.
pub(crate) fn is_suspended(object: &Value) -> bool {
    object["spec"]["suspend"] == true
}

/// How often it is looked at.
pub(crate) fn interval(object: &Value) -> Duration {
    field(object, "interval").unwrap_or(INTERVAL)
}

/// When it is tried again after a failure.
pub(crate) fn retry_interval(object: &Value) -> Duration {
    field(object, "retryInterval").unwrap_or_else(|| interval(object))
}

/// How long its health may take: the interval less half a minute, and not less
/// than half a minute.
pub(crate) fn timeout(object: &Value) -> Duration {
    const LEAST: Duration = Duration::from_secs(30);
    field(object, "timeout").unwrap_or_else(|| interval(object).saturating_sub(LEAST).max(LEAST))
}

fn field(object: &Value, name: &str) -> Option<Duration> {
    object::duration(object::text(object, &["spec", name]))
}

/// The `GitRepository` that it is built from; `None` for another kind of source.
pub(crate) fn source(object: &Value) -> Option<Place> {
    let reference = &object["spec"]["sourceRef"];
    (object::kind(reference) == "GitRepository").then(|| place(object, reference))
}

/// The Kustomizations that must be ready before it.
pub(crate) fn dependencies(object: &Value) -> impl Iterator<Item = Place> {
    object["spec"]["dependsOn"].as_array().into_iter().flatten().map(|reference| place(object, reference))
}

/// Whether it is waited for everything that it applies.
pub(crate) fn waits(object: &Value) -> bool {
    object["spec"]["wait"] == true
}

/// What a reference names, by default in the object's own namespace.
fn place(object: &Value, reference: &Value) -> Place {
    let namespace = object::text(reference, &["namespace"]);
    let home = if namespace.is_empty() { object::namespace(object) } else { namespace };
    (home.to_owned(), object::text(reference, &["name"]).to_owned())
}
