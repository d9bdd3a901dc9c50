//! Nodes that fall silent, come back, or are gone for good.

use std::time::Duration;

use castle_lab::kube::Resource;
use castle_lab::workload;

use crate::cluster::{Cluster, deployment, service};

fn standing(seed: u64) -> Cluster {
    let mut cluster = Cluster::of(2, seed);
    cluster.apply(service("default", "shell", "shell", "ClusterIP"));
    cluster.apply(deployment("default", "shell", 2, "v1"));
    cluster.until("it is available", |cluster| cluster.is_available("default", "shell"));
    cluster
}

fn ready_endpoints(cluster: &Cluster) -> usize {
    let slices = cluster.all(&Resource::ENDPOINT_SLICES, "default");
    let slice = slices.iter().find(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == "shell");
    slice.unwrap()["endpoints"].as_array().unwrap().iter().filter(|it| it["conditions"]["ready"] == true).count()
}

#[test]
fn pods_of_a_lost_node_go_to_another_after_five_minutes() {
    let mut cluster = standing(7);
    assert_eq!(ready_endpoints(&cluster), 2);
    cluster.node("wk-01", "Unknown", false);
    let lost = cluster.world.now();
    let taints = cluster.get(&Resource::NODES, "", "wk-01")["spec"]["taints"].clone();
    assert_eq!(taints[0]["key"], "node.kubernetes.io/unreachable");
    assert_eq!(taints[1]["effect"], "NoExecute");
    assert_eq!(ready_endpoints(&cluster), 1, "its pod is not asked any more");
    assert_eq!(cluster.condition("default", "shell", "Available"), "False MinimumReplicasUnavailable");
    cluster.wait(Duration::from_secs(299));
    assert!(cluster.pods("default").iter().any(|line| line.starts_with("wk-01")));
    let back = cluster.until("it is available again", |cluster| cluster.is_available("default", "shell"));
    let ready = workload::ready_after(cluster.world.draws(), "default", "shell", None);
    assert_eq!(back - lost, Duration::from_secs(300) + ready);
    assert_eq!(cluster.pods("default"), ["wk-02 Running ready -"; 2]);
}

#[test]
fn a_node_that_is_back_in_time_keeps_its_pods() {
    let mut cluster = standing(7);
    cluster.node("wk-01", "Unknown", false);
    cluster.wait(Duration::from_secs(100));
    cluster.node("wk-01", "True", false);
    let taints = cluster.get(&Resource::NODES, "", "wk-01")["spec"].get("taints").cloned();
    assert_eq!(taints, None);
    let back = cluster.world.now();
    let again = cluster.until("it is available again", |cluster| cluster.is_available("default", "shell"));
    assert_eq!(again - back, workload::restart_after(cluster.world.draws(), "default", "shell"));
    let homes: Vec<_> = cluster.pods("default").iter().map(|line| line[..5].to_owned()).collect();
    assert_eq!(homes, ["wk-01", "wk-02"]);
    cluster.wait(Duration::from_secs(600));
    assert_eq!(cluster.pods("default").len(), 2);
}

#[test]
fn pods_of_a_removed_node_are_replaced() {
    let mut cluster = standing(7);
    cluster.delete(&Resource::NODES, "", "wk-01");
    let gone = cluster.world.now();
    let both = |cluster: &Cluster| cluster.pods("default") == ["wk-02 Running ready -"; 2];
    let back = cluster.until("both run on the other", both);
    let ready = workload::ready_after(cluster.world.draws(), "default", "shell", None);
    assert_eq!(back - gone, Duration::from_secs(40) + ready);
}

#[test]
fn without_a_ready_node_pods_wait_and_say_why() {
    let mut cluster = Cluster::of(0, 7);
    cluster.node("wk-01", "False", false);
    cluster.apply(deployment("default", "shell", 1, "v1"));
    let pod = cluster.all(&Resource::PODS, "default")[0].clone();
    assert_eq!(pod["status"]["conditions"][0]["reason"], "Unschedulable");
    let why = pod["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(why.starts_with("0/2 nodes are available"), "{why}");
    cluster.wait(Duration::from_secs(20));
    cluster.node("wk-01", "True", false);
    let scheduled = cluster.world.now();
    let at = cluster.until("it is available", |cluster| cluster.is_available("default", "shell"));
    assert_eq!(at - scheduled, workload::ready_after(cluster.world.draws(), "default", "shell", None));
}

#[test]
fn another_life_begins_with_nothing() {
    let mut cluster = standing(7);
    cluster.world.kubernetes.begin_life();
    cluster.world.follow();
    cluster.world.kubernetes.serve();
    cluster.world.follow();
    assert!(cluster.pods("default").is_empty());
    cluster.node("wk-01", "True", false);
    let began = cluster.world.now();
    cluster.apply(deployment("default", "shell", 1, "v1"));
    let at = cluster.until("it is available", |cluster| cluster.is_available("default", "shell"));
    assert_eq!(at - began, workload::ready_after(cluster.world.draws(), "default", "shell", None));
}

#[test]
fn nothing_is_done_while_the_api_is_away_and_all_of_it_after() {
    let mut cluster = Cluster::of(1, 7);
    cluster.apply(deployment("default", "shell", 1, "v1"));
    cluster.world.kubernetes.stop_serving();
    cluster.wait(Duration::from_secs(120));
    assert!(!cluster.is_available("default", "shell"));
    cluster.world.kubernetes.serve();
    cluster.world.follow();
    assert!(cluster.is_available("default", "shell"), "its kubelet worked on");
}
