//! What control planes make together: etcd, the shared address, Kubernetes.

use std::time::Duration;

use castle_lab::World;
use castle_lab::kube::{Resource, Selection};
use castle_lab::node::request::Code;
use castle_lab::node::{EtcdState, Session, Stage};

use crate::house::{House, all_ready, blue, fortress, is_in_maintenance};

#[test]
fn blue_comes_up_to_all_nodes_ready() {
    let mut house = House::of(blue(), 7);
    house.raise();
    let born = house.world.now();
    let vip = "192.168.1.210".parse().unwrap();
    let well = house.until("etcd is well", |world| {
        world.nodes.get("blue-cp-01").unwrap().session.as_ref().unwrap().services.is_healthy("etcd")
    });
    assert!((well - born).as_secs() >= 12, "its image may take longer");
    let held = house.until("the shared address is held", |world| world.nodes.vips.contains_key(&vip));
    assert_eq!(held, (born + Duration::from_secs(20)).max(well + Duration::from_secs(1)));
    let serving = house.until("the API serves", |world| world.kubernetes.is_serving());
    assert_eq!((serving - well).as_secs(), 40, "three images to be pulled");
    assert!(house.world.nodes.api_server_behind(vip).is_some());
    let project = house.project.clone();
    let ready = house.until("all nodes are Ready", |world| all_ready(world, &project));
    assert!((60..=240).contains(&(ready - born).as_secs()), "{:?}", ready - born);
    let node = house.world.kubernetes.get(&Resource::NODES, "", "blue-wk-01").unwrap().clone();
    assert_eq!(node["status"]["nodeInfo"]["systemUUID"], "6f1c0000-0000-5000-8000-000000000431");
    let ready = node["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap();
    assert_eq!(ready["status"], "True");
    house.world.settle();
    assert_eq!(house.session("blue-cp-01").stage, Stage::Running);
    let status = house.yaml("blue-cp-01", "runtime", "MachineStatuses.runtime.talos.dev", "machine");
    assert!(status.contains("ready: true"), "{status}");
    assert_eq!(house.world.bootstraps(), 1);
    house.holds_its_rules();
}

#[test]
fn control_planes_join_one_after_the_other() {
    let mut house = House::of(fortress(), 7);
    house.raise();
    let votes =
        |world: &World, name: &str| world.nodes.get(name).unwrap().session.as_ref().unwrap().etcd == EtcdState::Running;
    house.until("the founder votes", |world| votes(world, "fortress-cp-01"));
    house.until("one learns", |world| world.nodes.etcds.values().any(|etcd| etcd.members.values().any(|m| m.learner)));
    let second =
        house.until("two vote", |world| ["fortress-cp-02", "fortress-cp-03"].iter().any(|name| votes(world, name)));
    let third =
        house.until("three vote", |world| ["fortress-cp-02", "fortress-cp-03"].iter().all(|name| votes(world, name)));
    // Their turn, an attempt every three seconds, and the steps of the learner.
    assert!((15..=49).contains(&(third - second).as_secs()), "{:?}", third - second);
    let etcd = house.world.nodes.etcds.values().next().unwrap();
    assert_eq!((house.world.nodes.etcds.len(), etcd.members.len()), (1, 3));
    house.holds_its_rules();
}

#[test]
fn bootstrap_asks_its_conditions_in_order() {
    let mut house = House::of(fortress(), 7);
    house.start();
    let refused = |answer: Result<(), castle_lab::node::request::Refused>| {
        let refused = answer.unwrap_err();
        (refused.code, refused.message)
    };
    house.until("it waits", |world| is_in_maintenance(world, "fortress-cp-01"));
    let early = refused(house.bootstrap("fortress-cp-01"));
    assert_eq!(early, (Code::FailedPrecondition, "bootstrap is not available yet".to_owned()));
    house.world.plant_skewed_clock(421, true);
    for name in ["fortress-cp-01", "fortress-wk-01"] {
        house.until("it waits", |world| is_in_maintenance(world, name));
        house.apply(name).unwrap();
    }
    let cri = |world: &World, name: &str| world.nodes.get(name).unwrap().session.as_ref().unwrap().cri;
    house.until("containers run", |world| cri(world, "fortress-cp-01") && cri(world, "fortress-wk-01"));
    let worker = refused(house.bootstrap("fortress-wk-01"));
    assert_eq!(worker, (Code::Unimplemented, "bootstrap is only available on control plane nodes".to_owned()));
    let skewed = refused(house.bootstrap("fortress-cp-01"));
    assert_eq!(skewed, (Code::FailedPrecondition, "time is not in sync yet".to_owned()));
    house.world.plant_skewed_clock(421, false);
    house.bootstrap("fortress-cp-01").unwrap();
    let again = refused(house.bootstrap("fortress-cp-01"));
    assert_eq!(again, (Code::AlreadyExists, "etcd data directory is not empty".to_owned()));
    house.holds_its_rules();
}

#[test]
fn a_second_bootstrap_in_one_life_is_a_violation() {
    let mut house = House::of(fortress(), 7);
    house.raise();
    house.until("the second can", |world| {
        world.nodes.get("fortress-cp-02").unwrap().session.as_ref().is_some_and(|session| session.cri)
    });
    house.bootstrap("fortress-cp-02").unwrap();
    house.wait(1);
    house.until("it is seen", |world| !world.violations().is_empty());
    assert!(house.world.violations()[0].contains("bootstrap number 2 in one life"), "{:?}", house.world.violations());
}

#[test]
fn losing_the_quorum_stops_the_api_and_getting_it_back_heals_it() {
    let mut house = House::of(fortress(), 7);
    house.raise();
    house.world.settle();
    assert!(house.world.kubernetes.is_serving());
    house.stop(422);
    assert!(house.world.kubernetes.is_serving(), "two of three are a quorum");
    house.stop(423);
    assert!(!house.world.kubernetes.is_serving());
    let services = &house.session("fortress-cp-01").services;
    assert_eq!(services.get("etcd").unwrap().message, "Health check failed: context deadline exceeded");
    house.power_on(422);
    house.until("the API serves again", |world| world.kubernetes.is_serving());
    house.world.settle();
    assert!(house.session("fortress-cp-02").services.is_healthy("etcd"), "its data was on its disk");
    house.holds_its_rules();
}

/// Each row of a node's way to Ready is drawn for itself, and CoreDNS after the
/// pod network of the node that carries it.
#[test]
fn a_node_registers_gets_its_network_and_reports_itself_ready() {
    let (mut dns_first, mut registered_at_once) = (0, 0);
    for seed in 0..30 {
        let mut house = House::of(blue(), seed);
        house.raise();
        let serving = house.until("the API serves", |world| world.kubernetes.is_serving());
        let node = |world: &World, holds: fn(&Session) -> bool| {
            world.nodes.get("blue-cp-01").and_then(|node| node.session.as_ref()).is_some_and(holds)
        };
        let kubelet = |session: &Session| session.services.is_healthy("kubelet");
        let begin = house.until("its kubelet is up", |world| node(world, kubelet)).max(serving);
        let registered = house.until("it is registered", |world| node(world, |session| session.registered));
        let cni = house.until("its network works", |world| node(world, |session| session.cni_at.is_some()));
        let is_pending = |world: &World| !dns_pods(world).iter().any(|pod| pod["status"]["phase"] == "Running");
        let was_pending = is_pending(&house.world);
        let ready = house.until("it is Ready", |world| node(world, |session| session.ready_at.is_some()));
        let within = |span: Duration, low: u64, high: u64| {
            assert!(span >= Duration::from_secs(low) && span <= Duration::from_secs(high), "seed {seed}: {span:?}");
        };
        within(registered - begin, 2, 15);
        within(cni - registered, 6, 30);
        within(ready - cni, 1, 5);
        let dns = house.until("CoreDNS is available", |world| !is_pending(world));
        let home = dns_pods(&house.world)[0]["spec"]["nodeName"].as_str().unwrap().to_owned();
        let (home_cni, home_ready) = (house.session(&home).cni_at.unwrap(), house.session(&home).ready_at.unwrap());
        if was_pending {
            within(dns - home_cni, 3, 15);
            assert!(dns >= home_ready, "seed {seed}");
        }
        dns_first += usize::from(dns == home_ready);
        registered_at_once += usize::from(registered == begin);
        house.holds_its_rules();
    }
    assert!(dns_first < 10 && registered_at_once == 0, "{dns_first} {registered_at_once}");
}

fn dns_pods(world: &World) -> Vec<serde_json::Value> {
    let system = Selection::in_namespace("kube-system");
    let pods = world.kubernetes.list(&Resource::PODS, &system);
    pods.filter(|pod| pod["metadata"]["labels"]["k8s-app"] == "kube-dns").map(|pod| (**pod).clone()).collect()
}

/// The images are on its disk: what is left is a container's start.
#[test]
fn a_node_that_comes_back_pulls_nothing_for_its_network() {
    for seed in 0..10 {
        let mut house = House::of(blue(), seed);
        house.raise();
        let project = house.project.clone();
        house.until("all nodes are Ready", |world| all_ready(world, &project));
        house.world.settle();
        for (vm, name) in [(421, "blue-cp-01"), (431, "blue-wk-01")] {
            house.stop(vm);
            house.power_on(vm);
            let has = |world: &World, holds: fn(&Session) -> bool| {
                world.nodes.get(name).and_then(|node| node.session.as_ref()).is_some_and(holds)
            };
            let registered = house.until("it is registered", |world| has(world, |session| session.registered));
            let cni = house.until("its network works", |world| has(world, |session| session.cni_at.is_some()));
            assert!((1..=10).contains(&(cni - registered).as_secs()), "seed {seed} {name}: {:?}", cni - registered);
            house.world.settle();
        }
        house.holds_its_rules();
    }
}
