//! MetalLB's late webhook: ready to everybody who looks, and refusing to everybody
//! who asks.

use std::time::Duration;

use castle_lab::kube::{Hand, Resource};
use castle_lab::workload::{self, METALLB_WEBHOOK_SERVICE};
use serde_json::json;

use crate::cluster::{Cluster, metallb, pool};

const NAMESPACE: &str = "metallb-system";

fn refusal(cluster: &mut Cluster) -> Option<String> {
    let pool = pool("home", &["192.168.1.240-192.168.1.250"]);
    cluster.world.kubernetes.create(pool, &Hand::of("probe").dry()).err().map(|refusal| refusal.message.to_string())
}

fn bundle(cluster: &Cluster) -> String {
    let webhooks = Resource::named("admissionregistration.k8s.io", "validatingwebhookconfigurations");
    let configuration = cluster.get(&webhooks, "", "metallb-webhook-configuration");
    configuration["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned()
}

fn slice_is_ready(cluster: &Cluster) -> bool {
    cluster.all(&Resource::ENDPOINT_SLICES, NAMESPACE).iter().any(|slice| {
        slice["metadata"]["labels"]["kubernetes.io/service-name"] == METALLB_WEBHOOK_SERVICE
            && slice["endpoints"][0]["conditions"]["ready"] == true
            && slice["ports"][0]["port"] == 9443
    })
}

fn applied(seed: u64) -> Cluster {
    let mut cluster = Cluster::of(2, seed);
    for object in metallb() {
        cluster.apply(object);
    }
    cluster
}

#[test]
fn the_webhook_refuses_while_everything_looks_ready() {
    let mut raced = 0;
    for seed in 0..40 {
        let mut cluster = applied(seed);
        assert!(refusal(&mut cluster).unwrap().contains("no endpoints available for service"), "seed {seed}");
        let ready_at = cluster.until("the slice is ready", slice_is_ready);
        let draws = cluster.world.draws();
        assert_eq!(ready_at, workload::ready_after(draws, NAMESPACE, "controller", None), "seed {seed}");
        let truth = workload::webhook_after(draws, NAMESPACE, "controller", None, METALLB_WEBHOOK_SERVICE);
        if truth > ready_at {
            raced += 1;
            assert!(cluster.is_available(NAMESPACE, "controller"));
            assert_eq!(cluster.world.workloads.webhook_true_since(NAMESPACE, METALLB_WEBHOOK_SERVICE), None);
            let said = refusal(&mut cluster).unwrap();
            assert!(said.ends_with(":443: connect: connection refused"), "seed {seed}: {said}");
            // The certificate is handed out before anybody listens.
            cluster.until("the certificate is handed out", |cluster| !bundle(cluster).is_empty());
            assert!(cluster.world.now() < truth, "seed {seed}");
            assert!(refusal(&mut cluster).unwrap().contains("connection refused"));
        }
        let since = cluster.until("the webhook answers", |cluster| {
            cluster.world.workloads.webhook_true_since(NAMESPACE, METALLB_WEBHOOK_SERVICE).is_some()
        });
        assert_eq!(since, truth, "seed {seed}");
        assert_eq!(refusal(&mut cluster), None, "seed {seed}");
    }
    assert!(raced > 30, "only {raced} of 40 seeds have a race");
}

#[test]
fn its_judge_knows_a_bad_pool() {
    let mut cluster = applied(7);
    cluster.world.settle();
    let bad = pool("home", &["192.168.1.250-192.168.1.240"]);
    let said = cluster.world.kubernetes.create(bad, &Hand::of("probe").dry()).unwrap_err();
    assert_eq!(said.code, 403);
    assert!(said.message.contains("\"ipaddresspoolvalidationwebhook.metallb.io\" denied the request"), "{said}");
}

#[test]
fn a_webhook_can_be_made_later_than_it_is() {
    let (mut plain, mut late) = (applied(7), applied(7));
    let by = Duration::from_secs(90);
    late.world.workloads.delay_webhook(NAMESPACE, METALLB_WEBHOOK_SERVICE, by);
    late.world.follow();
    let truth = |cluster: &mut Cluster| {
        cluster.until("the webhook answers", |cluster| {
            cluster.world.workloads.webhook_true_since(NAMESPACE, METALLB_WEBHOOK_SERVICE).is_some()
        })
    };
    let running = workload::running_after(late.world.draws(), NAMESPACE, "controller", None);
    let lateness = workload::webhook_lateness(late.world.draws(), NAMESPACE, METALLB_WEBHOOK_SERVICE);
    assert_eq!(truth(&mut late), running + lateness + by);
    assert!(truth(&mut plain) < late.world.now());
}

#[test]
fn a_webhook_goes_with_its_pod_and_comes_back_later() {
    let mut cluster = applied(7);
    cluster.world.settle();
    assert_eq!(refusal(&mut cluster), None);
    let pod = cluster
        .all(&Resource::PODS, NAMESPACE)
        .into_iter()
        .find(|pod| pod["metadata"]["labels"]["app"] == "controller");
    let name = pod.unwrap()["metadata"]["name"].as_str().unwrap().to_owned();
    cluster.delete(&Resource::PODS, NAMESPACE, &name);
    assert!(refusal(&mut cluster).unwrap().contains("no endpoints"));
    assert_eq!(cluster.world.workloads.webhook_true_since(NAMESPACE, METALLB_WEBHOOK_SERVICE), None);
    cluster.world.settle();
    assert_eq!(refusal(&mut cluster), None);
    // An authority that somebody wiped is written again.
    let wiped = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]);
    let webhooks = Resource::named("admissionregistration.k8s.io", "validatingwebhookconfigurations");
    let (patch, part) = (castle_lab::kube::Patch::Json(wiped), castle_lab::kube::Part::Main);
    let kubernetes = &mut cluster.world.kubernetes;
    kubernetes.patch(&webhooks, "", "metallb-webhook-configuration", &patch, part, &Hand::of("somebody")).unwrap();
    assert!(refusal(&mut cluster).unwrap().contains("x509"));
    cluster.world.follow();
    assert_eq!(refusal(&mut cluster), None);
}
