use std::time::Duration;

use castle_core::handover::Health;
use castle_lab::runtime;

use crate::house::{House, project};

const NAMESPACE: &str = "metallb-system";
const SERVICE: &str = "metallb-webhook-service";

#[test]
fn the_gate_opens_when_the_webhook_truly_answers() {
    runtime::run_virtual(|| async {
        for seed in 0..8 {
            let house = House::start_with(seed, project(), |world| {
                world.workloads.delay_webhook(NAMESPACE, SERVICE, Duration::from_secs(40));
            })
            .await;
            let handover = house.open();
            house.plant(&handover).await;
            let (_, _) = house
                .until(&handover, true, |state| {
                    state.webhooks.iter().any(|webhook| webhook.gates && webhook.health == Health::Ready)
                })
                .await;
            let seen = house.lab.clock().elapsed();
            let truth = house.lab.with_world(|world| world.workloads.webhook_true_since(NAMESPACE, SERVICE));
            let truth =
                truth.unwrap_or_else(|| panic!("seed {seed}: the gate opened at {seen:?}, the truth is not yet"));
            assert!(truth <= seen, "seed {seed}: {seen:?} is before {truth:?}");
            assert!(seen - truth <= Duration::from_secs(1), "seed {seed}: {seen:?} is late, the truth was {truth:?}");
        }
    });
}

#[test]
fn without_the_dry_run_the_gate_would_open_too_early() {
    // What the objects say, as castle would read them if it asked no webhook.
    runtime::run_virtual(|| async {
        let mut early = 0;
        for seed in 0..3 {
            let house = House::start_with(seed, project(), |world| {
                world.workloads.delay_webhook(NAMESPACE, SERVICE, Duration::from_secs(40));
            })
            .await;
            let handover = house.open();
            house.plant(&handover).await;
            let ready = |_: &castle_core::handover::HandoverState| {
                house.all(&castle_lab::kube::Resource::named("discovery.k8s.io", "endpointslices")).iter().any(
                    |slice| {
                        slice["metadata"]["labels"]["kubernetes.io/service-name"] == SERVICE
                            && slice["endpoints"][0]["conditions"]["ready"] == true
                    },
                )
            };
            house.until(&handover, true, ready).await;
            let now = house.lab.clock().elapsed();
            let truth = house.lab.with_world(|world| world.workloads.webhook_true_since(NAMESPACE, SERVICE));
            early += usize::from(truth.is_none_or(|truth| truth > now));
        }
        assert_eq!(early, 3);
    });
}
