//! Workloads on nodes that are machines: from the first boot to a lost worker.

use std::sync::Arc;
use std::time::Duration;

use castle_lab::World;
use castle_lab::kube::{Hand, Resource, Selection};
use castle_lab::workload;
use serde_json::Value;

use crate::cluster::deployment;
use crate::house::{House, all_ready, blue, is_ready};

fn pods(world: &World) -> Vec<Arc<Value>> {
    world.kubernetes.list(&Resource::PODS, &Selection::in_namespace("default")).cloned().collect()
}

fn is_available(world: &World) -> bool {
    let deployment = world.kubernetes.get(&Resource::DEPLOYMENTS, "default", "shell").unwrap();
    deployment["status"]["availableReplicas"] == 2
}

fn homes(world: &World) -> Vec<String> {
    let mut homes: Vec<_> =
        pods(world).iter().map(|pod| pod["spec"]["nodeName"].as_str().unwrap_or("-").to_owned()).collect();
    homes.sort();
    homes
}

fn raised() -> House {
    let mut house = House::of(blue(), 7);
    house.raise();
    house.until("the API serves", |world| world.kubernetes.is_serving());
    let applied = house.world.kubernetes.apply(deployment("default", "shell", 2, "v1"), &Hand::of("test"));
    applied.unwrap();
    house.world.follow();
    house
}

#[test]
fn pods_start_on_the_first_worker_that_is_ready() {
    let mut house = raised();
    assert_eq!(homes(&house.world), ["-", "-"]);
    let scheduled =
        house.until("a worker is Ready", |world| ["blue-wk-01", "blue-wk-02"].iter().any(|name| is_ready(world, name)));
    assert!(!homes(&house.world).contains(&"-".to_owned()));
    let available = house.until("it is available", is_available);
    assert_eq!(available - scheduled, workload::ready_after(house.world.draws(), "default", "shell", None));
    // Every taint of the way is gone, only the control plane's stays.
    let project = house.project.clone();
    house.until("all nodes are Ready", |world| all_ready(world, &project));
    for name in ["blue-cp-01", "blue-wk-01", "blue-wk-02"] {
        let node = house.world.kubernetes.get(&Resource::NODES, "", name).unwrap();
        let taints = node["spec"]["taints"].as_array().map_or(0, Vec::len);
        assert_eq!(taints, usize::from(name == "blue-cp-01"), "{name}");
    }
    house.holds_its_rules();
}

#[test]
fn a_worker_that_lost_its_power_loses_its_pods_too() {
    let mut house = raised();
    let project = house.project.clone();
    house.until("it is available", is_available);
    house.until("all nodes are Ready", |world| all_ready(world, &project));
    let victim = homes(&house.world)[0].clone();
    let vm = house.node(&victim).vm;
    house.stop(vm);
    let off = house.world.now();
    let moved = house.until("its pods are elsewhere", |world| {
        is_available(world) && homes(world).iter().all(|home| *home != victim)
    });
    // The node controller's grace, the pods' toleration, and a start.
    let ready = workload::ready_after(house.world.draws(), "default", "shell", None);
    let wanted = Duration::from_secs(350) + ready;
    assert!(moved - off >= wanted && moved - off < wanted + Duration::from_secs(5), "{:?}", moved - off);
    house.holds_its_rules();
}
