//! How long workloads take to come up, as pure functions of the seed: the model
//! and the ideal times ask the same ones.
//!
//! Where the table has a row for a whole workload (Flux, MetalLB, ..), the row is
//! drawn once and covers pulls, start and readiness. Everything else takes a pull,
//! a start and a readiness, one after the other. All draws are keyed by the
//! workload's namespace and name, so all of its pods agree, and no repeat of a
//! client's request changes them.

use std::time::Duration;

use crate::draw::Draws;
use crate::latency::Latency;

/// A row of the table that covers a workload's whole way.
struct Row {
    latency: Latency,
    /// Values of the label `app.kubernetes.io/part-of`.
    parts: &'static [&'static str],
    /// How names of workloads begin.
    names: &'static [&'static str],
    /// Namespaces in which every workload is part of it.
    namespaces: &'static [&'static str],
}

/// The first row that fits is taken.
const ROWS: [Row; 5] = [
    Row { latency: Latency::FLUX_READY, parts: &["flux"], names: &[], namespaces: &["flux-system"] },
    Row {
        latency: Latency::EXTERNAL_SECRETS_READY,
        parts: &["external-secrets"],
        names: &["external-secrets"],
        namespaces: &[],
    },
    Row { latency: Latency::METALLB_READY, parts: &["metallb"], names: &["metallb"], namespaces: &["metallb-system"] },
    Row {
        latency: Latency::INGRESS_READY,
        parts: &["ingress", "ingress-nginx", "traefik"],
        names: &["ingress", "traefik"],
        namespaces: &[],
    },
    Row { latency: Latency::WEB_POD_READY, parts: &["web", "blog"], names: &["web", "blog", "nginx"], namespaces: &[] },
];

fn row(namespace: &str, name: &str, part_of: Option<&str>) -> Option<&'static Row> {
    let by_part = ROWS.iter().find(|row| part_of.is_some_and(|part| row.parts.contains(&part)));
    by_part.or_else(|| {
        ROWS.iter().find(|row| {
            row.namespaces.contains(&namespace) || row.names.iter().any(|beginning| name.starts_with(beginning))
        })
    })
}

fn entity(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// From a scheduled pod to a ready one, for the pods of that workload. `part_of`
/// is the workload's label `app.kubernetes.io/part-of`.
#[must_use]
pub fn ready_after(draws: Draws, namespace: &str, name: &str, part_of: Option<&str>) -> Duration {
    let entity = entity(namespace, name);
    match row(namespace, name, part_of) {
        Some(row) => draws.duration(row.latency, &entity, "ready", 0),
        None => draws.duration(Latency::IMAGE_PULL, &entity, "image pull", 0) + restart_after(draws, namespace, name),
    }
}

/// From a scheduled pod to a running one: not ready yet.
#[must_use]
pub fn running_after(draws: Draws, namespace: &str, name: &str, part_of: Option<&str>) -> Duration {
    let whole = ready_after(draws, namespace, name, part_of);
    let readiness = draws.duration(Latency::CONTAINER_READY, &entity(namespace, name), "container ready", 0);
    // A row that covers the whole way leaves at least half of it to pull and start.
    whole - readiness.min(whole / 2)
}

/// From a node that is back to a ready pod on it: the images are at hand.
#[must_use]
pub fn restart_after(draws: Draws, namespace: &str, name: &str) -> Duration {
    let entity = entity(namespace, name);
    draws.duration(Latency::CONTAINER_START, &entity, "container start", 0)
        + draws.duration(Latency::CONTAINER_READY, &entity, "container ready", 0)
}

/// From a running pod to the first true answer of the webhook behind that
/// service. Only MetalLB's is known to be late.
#[must_use]
pub fn webhook_lateness(draws: Draws, namespace: &str, service: &str) -> Duration {
    if service == METALLB_WEBHOOK_SERVICE {
        draws.duration(Latency::METALLB_WEBHOOK, &entity(namespace, service), "webhook", 0)
    } else {
        Duration::ZERO
    }
}

/// The service of MetalLB's webhooks.
pub const METALLB_WEBHOOK_SERVICE: &str = "metallb-webhook-service";

/// From a scheduled pod of that workload to the first true answer of the webhook
/// that it serves behind `service`. A service leads nobody to a pod that is not
/// ready, so this is never before [`ready_after`].
#[must_use]
pub fn webhook_after(draws: Draws, namespace: &str, name: &str, part_of: Option<&str>, service: &str) -> Duration {
    let true_after = running_after(draws, namespace, name, part_of) + webhook_lateness(draws, namespace, service);
    true_after.max(ready_after(draws, namespace, name, part_of))
}

/// From the moment at which service, pool and a ready MetalLB exist to the
/// service's address.
#[must_use]
pub fn load_balancer_after(draws: Draws, namespace: &str, service: &str) -> Duration {
    draws.duration(Latency::LOAD_BALANCER, &entity(namespace, service), "address", 0)
}

/// Whether that workload is an ingress controller: it leads requests on by
/// `Ingress` objects instead of answering itself.
#[must_use]
pub fn is_ingress(namespace: &str, name: &str, part_of: Option<&str>) -> bool {
    row(namespace, name, part_of).is_some_and(|row| row.latency == Latency::INGRESS_READY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_takes_the_row_that_its_part_or_name_says() {
        let draws = Draws::new(7);
        let drawn = |latency, entity: &str| draws.duration(latency, entity, "ready", 0);
        for (namespace, name, part, latency) in [
            ("flux-system", "source-controller", Some("flux"), Latency::FLUX_READY),
            ("external-secrets", "external-secrets-webhook", None, Latency::EXTERNAL_SECRETS_READY),
            ("metallb-system", "controller", None, Latency::METALLB_READY),
            ("ingress", "traefik", None, Latency::INGRESS_READY),
            ("blog", "blog", None, Latency::WEB_POD_READY),
            ("anywhere", "anything", Some("web"), Latency::WEB_POD_READY),
        ] {
            let entity = format!("{namespace}/{name}");
            assert_eq!(ready_after(draws, namespace, name, part), drawn(latency, &entity), "{entity}");
        }
        let plain = ready_after(draws, "tools", "shell", None);
        assert_eq!(plain - restart_after(draws, "tools", "shell"), {
            draws.duration(Latency::IMAGE_PULL, "tools/shell", "image pull", 0)
        });
    }

    #[test]
    fn running_comes_before_ready_and_a_webhook_after_both() {
        for seed in 0..200 {
            let draws = Draws::new(seed);
            let (namespace, name) = ("metallb-system", "controller");
            let (running, ready) =
                (running_after(draws, namespace, name, None), ready_after(draws, namespace, name, None));
            let serves = webhook_after(draws, namespace, name, None, METALLB_WEBHOOK_SERVICE);
            assert!(running < ready && ready <= serves, "seed {seed}: {running:?} {ready:?} {serves:?}");
        }
    }
}
