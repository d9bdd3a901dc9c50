//! How long workloads take to come up, as pure functions of the seed: the model
//! and the ideal times ask the same ones.
//!
//! Where the table has a row for a whole workload (Flux, MetalLB, ..), the row is
//! drawn once and covers pulls, start and readiness. A row that speaks of several
//! workloads together (Flux' four Deployments) is drawn once for all of them in a
//! namespace: drawn for each, the last of them would be later than the row says.
//! Everything else takes a pull, a start and a readiness, one after the other.
//! All draws are keyed by namespace and name, or by namespace and row, so all pods
//! agree, and no repeat of a client's request changes them.

use std::time::Duration;

use crate::draw::Draws;
use crate::latency::Latency;

/// A row of the table that covers a workload's whole way.
struct Row {
    latency: Latency,
    /// What its one draw is called, where the row speaks of several workloads
    /// together. `None`: it speaks of one.
    together: Option<&'static str>,
    /// Values of the label `app.kubernetes.io/part-of`.
    parts: &'static [&'static str],
    /// How names of workloads begin.
    names: &'static [&'static str],
    /// Namespaces in which every workload is part of it.
    namespaces: &'static [&'static str],
}

/// The first row that fits is taken.
const ROWS: [Row; 5] = [
    Row {
        latency: Latency::FLUX_READY,
        together: Some("flux ready"),
        parts: &["flux"],
        names: &[],
        namespaces: &["flux-system"],
    },
    Row {
        latency: Latency::EXTERNAL_SECRETS_READY,
        together: Some("external-secrets ready"),
        parts: &["external-secrets"],
        names: &["external-secrets"],
        namespaces: &[],
    },
    Row {
        latency: Latency::METALLB_READY,
        together: Some("metallb ready"),
        parts: &["metallb"],
        names: &["metallb"],
        namespaces: &["metallb-system"],
    },
    Row {
        latency: Latency::INGRESS_READY,
        together: None,
        parts: &["ingress", "ingress-nginx", "traefik"],
        names: &["ingress", "traefik"],
        namespaces: &[],
    },
    Row {
        latency: Latency::WEB_POD_READY,
        together: None,
        parts: &["web", "blog"],
        names: &["web", "blog", "nginx"],
        namespaces: &[],
    },
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
        Some(Row { latency, together: Some(act), .. }) => draws.duration(*latency, namespace, act, 0),
        Some(Row { latency, together: None, .. }) => draws.duration(*latency, &entity, "ready", 0),
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
        for (namespace, name, part, latency, entity, act) in [
            ("flux-system", "source-controller", Some("flux"), Latency::FLUX_READY, "flux-system", "flux ready"),
            (
                "external-secrets",
                "external-secrets-webhook",
                None,
                Latency::EXTERNAL_SECRETS_READY,
                "external-secrets",
                "external-secrets ready",
            ),
            ("metallb-system", "controller", None, Latency::METALLB_READY, "metallb-system", "metallb ready"),
            ("ingress", "traefik", None, Latency::INGRESS_READY, "ingress/traefik", "ready"),
            ("blog", "blog", None, Latency::WEB_POD_READY, "blog/blog", "ready"),
            ("anywhere", "anything", Some("web"), Latency::WEB_POD_READY, "anywhere/anything", "ready"),
        ] {
            let drawn = draws.duration(latency, entity, act, 0);
            assert_eq!(ready_after(draws, namespace, name, part), drawn, "{namespace}/{name}");
        }
        let plain = ready_after(draws, "tools", "shell", None);
        assert_eq!(plain - restart_after(draws, "tools", "shell"), {
            draws.duration(Latency::IMAGE_PULL, "tools/shell", "image pull", 0)
        });
    }

    /// The median and the bounds of the last workload of a part, over many seeds.
    #[test]
    fn what_a_row_says_of_several_workloads_holds_for_the_last_of_them() {
        let flux = ["source-controller", "kustomize-controller", "helm-controller", "notification-controller"];
        let secrets = ["external-secrets", "external-secrets-webhook", "external-secrets-cert-controller"];
        for (namespace, names, latency) in [
            ("flux-system", &flux[..], Latency::FLUX_READY),
            ("external-secrets", &secrets[..], Latency::EXTERNAL_SECRETS_READY),
            ("metallb-system", &["controller", "speaker"][..], Latency::METALLB_READY),
        ] {
            let last =
                |seed| names.iter().map(|name| ready_after(Draws::new(seed), namespace, name, None)).max().unwrap();
            let mut times: Vec<Duration> = (0..2_001).map(last).collect();
            times.sort();
            let (median, wanted) = (times[1_000].as_secs_f64(), latency.p50.as_secs_f64());
            assert!((median / wanted - 1.0).abs() < 0.05, "{namespace}: {median} instead of {wanted}");
            let (low, high) = latency.bounds.unwrap();
            assert!(times[0] >= low && times[2_000] <= high, "{namespace}: {:?} to {:?}", times[0], times[2_000]);
        }
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
