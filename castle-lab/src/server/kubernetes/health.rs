//! `/readyz`, `/livez` and `/healthz`.

use super::query::Query;
use crate::front::Reply;
use crate::kube::{Refusal, Store};

/// The checks that the server reports, in its order.
const CHECKS: [&str; 7] = [
    "ping",
    "log",
    "etcd",
    "informer-sync",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
];

/// Answers one probe: all checks, or the one that is named.
pub(super) fn probe(store: &Store, path: &str, check: &str, query: &Query) -> Result<Reply, Refusal> {
    let text = |status: u16, body: String| {
        Reply::new(status, body)
            .header("content-type", "text/plain; charset=utf-8")
            .header("cache-control", "no-cache, private")
            .header("x-content-type-options", "nosniff")
    };
    if !check.is_empty() {
        // The names of checks that have a slash in them are not asked for one by one here.
        let is_known = CHECKS.contains(&check);
        return if is_known { Ok(text(200, "ok".into())) } else { Err(Refusal::no_resource()) };
    }
    let probe = path.rsplit('/').next().unwrap_or("healthz");
    let is_well = store.is_serving();
    if is_well && !query.has("verbose") {
        return Ok(text(200, "ok".into()));
    }
    let mut body = String::new();
    for check in CHECKS {
        // What is not up yet is what the server starts last.
        let is_failing = !is_well && check.starts_with("poststarthook/rbac");
        body.push_str(&if is_failing {
            format!("[-]{check} failed: reason withheld\n")
        } else {
            format!("[+]{check} ok\n")
        });
    }
    body.push_str(&format!("{probe} check {}\n", if is_well { "passed" } else { "failed" }));
    Ok(text(if is_well { 200 } else { 500 }, body))
}
