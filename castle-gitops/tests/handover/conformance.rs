//! The handover to Flux keeps every rule of the port, on the lab's cluster.

use std::sync::Arc;

use async_trait::async_trait;
use castle_core::conformance::{HandoverHarness, gitops};
use castle_core::handover::SeedPart;
use castle_core::{Context, Handover};
use castle_lab::kube::{Hand, Part, Patch, Resource, Selection};
use castle_lab::runtime;
use serde_json::{Value, json};

use crate::house::House;

/// The hand by which the engine writes.
const ENGINE: &str = "kustomize-controller";

#[async_trait]
impl HandoverHarness for House {
    async fn handover(&self) -> Arc<dyn Handover> {
        self.open()
    }

    fn context(&self) -> Context {
        self.cx.clone()
    }

    fn name(&self) -> &'static str {
        "flux"
    }

    fn seed(&self) -> Vec<SeedPart> {
        SeedPart::ALL.to_vec()
    }

    async fn writes(&self) -> u64 {
        let entries = self.lab.journal().entries();
        entries.iter().filter(|entry| entry.write && entry.backend == "kubernetes").count() as u64
    }

    async fn take_over(&self) {
        self.complete(&self.open()).await;
        // As after an upgrade by the repository that castle has not read yet.
        let patch = Patch::Merge(json!({"spec": {"template": {"spec": {"containers": [
            {"name": "manager", "image": "registry.example/source-controller:v99"},
        ]}}}}));
        let (resource, hand) = (Resource::DEPLOYMENTS, Hand::of(ENGINE));
        self.lab.with_world(|world| {
            world.kubernetes.patch(&resource, "flux-system", "source-controller", &patch, Part::Main, &hand).unwrap();
            world.follow();
        });
        // Until its pods run again and nothing moves.
        self.lab.clock().sleep(std::time::Duration::from_secs(90)).await;
        let controller = self.find(&Resource::DEPLOYMENTS, "flux-system", "source-controller").unwrap();
        let image = &controller["spec"]["template"]["spec"]["containers"][0]["image"];
        assert_eq!(image, "registry.example/source-controller:v99", "Flux has brought its own back");
    }

    async fn owned(&self) -> Vec<String> {
        self.lab.with_world(|world| {
            let (store, every) = (&world.kubernetes, Selection::default());
            let all = store.kinds().iter().flat_map(|kind| store.list(&kind.resource, &every));
            all.filter(|object| is_engine_s(object)).map(|object| without_nudges(object).to_string()).collect()
        })
    }
}

fn is_engine_s(object: &Value) -> bool {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let mut managers = entries.filter_map(|entry| entry["manager"].as_str());
    managers.any(|manager| manager == ENGINE)
}

/// What is wanted of an object. Its state, and who wrote when, change by nudges.
fn without_nudges(object: &Value) -> Value {
    let mut object = object.clone();
    for (place, keys) in [
        ("", &["status"][..]),
        ("/metadata", &["resourceVersion", "managedFields"]),
        ("/metadata/annotations", &["reconcile.fluxcd.io/requestedAt", "reconcile.fluxcd.io/resetAt"]),
    ] {
        let Some(map) = object.pointer_mut(place).and_then(Value::as_object_mut) else { continue };
        for key in keys {
            map.remove(*key);
        }
    }
    object
}

#[test]
fn flux_keeps_every_rule() {
    runtime::run_virtual(|| async {
        let lines = gitops::all(async || House::start(7).await).await;
        println!("{}", lines.join("\n"));
        assert_eq!(lines.len(), gitops::RULES.len());
        assert_eq!(lines[0], "conformance handover flux a_planted_part_stands ok");
    });
}
