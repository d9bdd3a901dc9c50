//! Deployments and daemon sets over time.

use std::time::Duration;

use castle_lab::kube::Resource;
use castle_lab::workload;
use serde_json::json;

use crate::cluster::{Cluster, deployment, service};

#[test]
fn a_deployment_comes_up_after_exactly_its_drawn_time() {
    let mut cluster = Cluster::of(2, 7);
    cluster.apply(deployment("default", "shell", 3, "v1"));
    assert_eq!(cluster.condition("default", "shell", "Available"), "False MinimumReplicasUnavailable");
    assert_eq!(cluster.condition("default", "shell", "Progressing"), "True ReplicaSetUpdated");
    // The control plane's taint keeps them off; the workers share them.
    let homes: Vec<_> = cluster.pods("default").iter().map(|line| line[..5].to_owned()).collect();
    assert_eq!(homes, ["wk-01", "wk-01", "wk-02"]);
    let ready = workload::ready_after(cluster.world.draws(), "default", "shell", None);
    let at = cluster.until("it is available", |cluster| cluster.is_available("default", "shell"));
    assert_eq!(at, ready);
    let deployment = cluster.get(&Resource::DEPLOYMENTS, "default", "shell");
    let status = &deployment["status"];
    for field in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
        assert_eq!(status[field], 3, "{field} of {status:#}");
    }
    assert_eq!(status["observedGeneration"], deployment["metadata"]["generation"]);
    assert!(status.get("unavailableReplicas").is_none());
    assert_eq!(cluster.condition("default", "shell", "Progressing"), "True NewReplicaSetAvailable");
}

#[test]
fn another_template_replaces_pods_without_losing_availability() {
    let mut cluster = Cluster::of(2, 7);
    cluster.apply(service("default", "shell", "shell", "ClusterIP"));
    cluster.apply(deployment("default", "shell", 3, "v1"));
    cluster.until("it is available", |cluster| cluster.is_available("default", "shell"));
    cluster.apply(deployment("default", "shell", 3, "v2"));
    assert_eq!(cluster.condition("default", "shell", "Progressing"), "True ReplicaSetUpdated");
    let images = |cluster: &Cluster| {
        let pods = cluster.all(&Resource::PODS, "default");
        let mut tags: Vec<_> = pods
            .iter()
            .map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned())
            .collect();
        tags.sort();
        tags
    };
    assert_eq!(images(&cluster), ["v1", "v1", "v1", "v2"], "one too many, none missing");
    while cluster.condition("default", "shell", "Progressing") != "True NewReplicaSetAvailable" {
        assert!(cluster.is_available("default", "shell"));
        let next = cluster.world.next_event_at().expect("the roll-out goes on");
        cluster.world.advance_to(next);
    }
    assert_eq!(images(&cluster), ["v2", "v2", "v2"]);
    let sets = cluster.all(&Resource::REPLICA_SETS, "default");
    let mut revisions: Vec<_> = sets
        .iter()
        .map(|set| {
            let revision = set["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().unwrap();
            (revision.to_owned(), set["spec"]["replicas"].as_u64().unwrap())
        })
        .collect();
    revisions.sort();
    assert_eq!(revisions, [("1".to_owned(), 0), ("2".to_owned(), 3)]);
}

#[test]
fn a_recreation_ends_the_old_pods_first() {
    let mut cluster = Cluster::of(1, 7);
    let mut recreated = deployment("default", "shell", 2, "v1");
    recreated["spec"]["strategy"] = json!({"type": "Recreate"});
    cluster.apply(recreated.clone());
    cluster.until("it is available", |cluster| cluster.is_available("default", "shell"));
    recreated["spec"]["template"]["spec"]["containers"][0]["image"] = json!("registry.example/shell:v2");
    cluster.apply(recreated);
    assert_eq!(cluster.pods("default"), ["wk-01 Pending unready ContainerCreating"; 2]);
    cluster.until("it is available again", |cluster| cluster.is_available("default", "shell"));
    assert_eq!(cluster.pods("default").len(), 2);
}

#[test]
fn an_image_that_cannot_be_pulled_ends_at_the_deadline_and_can_be_mended() {
    let mut cluster = Cluster::of(1, 7);
    cluster.world.workloads.break_image("registry.example/shell");
    cluster.apply(deployment("default", "shell", 1, "v1"));
    cluster.until("the pull fails", |cluster| cluster.pods("default")[0].ends_with("ImagePullBackOff"));
    let given_up = cluster.until("it is given up", |cluster| {
        cluster.condition("default", "shell", "Progressing") == "False ProgressDeadlineExceeded"
    });
    assert_eq!(given_up, Duration::from_secs(600));
    cluster.world.settle();
    cluster.world.workloads.mend_image("registry.example/shell");
    cluster.world.follow();
    let ready = workload::ready_after(cluster.world.draws(), "default", "shell", None);
    let at = cluster.until("it is available", |cluster| cluster.is_available("default", "shell"));
    assert_eq!(at, given_up + ready);
    assert_eq!(cluster.condition("default", "shell", "Progressing"), "True NewReplicaSetAvailable");
}

#[test]
fn a_crashing_container_is_restarted_ever_more_rarely() {
    let mut cluster = Cluster::of(1, 7);
    cluster.world.workloads.crash("default", "shell");
    cluster.apply(deployment("default", "shell", 1, "v1"));
    let began = cluster.until("it crashes", |cluster| cluster.pods("default")[0].ends_with("CrashLoopBackOff"));
    let restarts = |cluster: &Cluster| {
        cluster.all(&Resource::PODS, "default")[0]["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap()
    };
    assert_eq!(restarts(&cluster), 1);
    cluster.until("it crashed thrice", |cluster| restarts(cluster) == 3);
    assert_eq!(cluster.world.now() - began, Duration::from_secs(30));
    cluster.world.settle();
    assert!(!cluster.is_available("default", "shell"));
    cluster.world.workloads.stop_crashing("default", "shell");
    cluster.world.follow();
    cluster.until("it is available", |cluster| cluster.is_available("default", "shell"));
}

#[test]
fn a_daemon_set_has_a_pod_on_each_node_that_it_tolerates() {
    let mut cluster = Cluster::of(2, 7);
    let mut daemons = deployment("default", "agent", 1, "v1");
    daemons["kind"] = json!("DaemonSet");
    daemons["spec"].as_object_mut().unwrap().remove("replicas");
    cluster.apply(daemons.clone());
    let count = |cluster: &Cluster, field: &str| {
        cluster.get(&Resource::DAEMON_SETS, "default", "agent")["status"][field].as_u64().unwrap_or(0)
    };
    assert_eq!((count(&cluster, "desiredNumberScheduled"), count(&cluster, "numberReady")), (2, 0));
    cluster.until("both are ready", |cluster| count(cluster, "numberReady") == 2);
    cluster.node("wk-03", "True", false);
    assert_eq!(count(&cluster, "desiredNumberScheduled"), 3);
    assert_eq!(count(&cluster, "numberUnavailable"), 1);
    cluster.until("all are ready", |cluster| count(cluster, "numberAvailable") == 3);
    // One after the other: two are always there.
    daemons["spec"]["template"]["spec"]["containers"][0]["image"] = json!("registry.example/agent:v2");
    cluster.apply(daemons);
    while count(&cluster, "updatedNumberScheduled") < 3 || count(&cluster, "numberReady") < 3 {
        assert!(count(&cluster, "numberReady") >= 2);
        let next = cluster.world.next_event_at().expect("the roll-out goes on");
        cluster.world.advance_to(next);
    }
}

#[test]
fn what_nobody_owns_any_more_is_gone() {
    let mut cluster = Cluster::of(1, 7);
    cluster.apply(service("default", "shell", "shell", "ClusterIP"));
    cluster.apply(deployment("default", "shell", 2, "v1"));
    cluster.until("it is available", |cluster| cluster.is_available("default", "shell"));
    cluster.delete(&Resource::DEPLOYMENTS, "default", "shell");
    assert!(cluster.all(&Resource::REPLICA_SETS, "default").is_empty());
    assert!(cluster.all(&Resource::PODS, "default").is_empty());
    let slices = cluster.all(&Resource::ENDPOINT_SLICES, "default");
    let own = |slice: &serde_json::Value| slice["metadata"]["labels"]["kubernetes.io/service-name"] == "shell";
    assert_eq!(slices.iter().find(|slice| own(slice)).unwrap()["endpoints"], json!([]));
    cluster.delete(&Resource::SERVICES, "default", "shell");
    assert!(!cluster.all(&Resource::ENDPOINT_SLICES, "default").iter().any(|slice| own(slice)));
}

#[test]
fn one_seed_is_one_history() {
    let digest = |seed: u64| {
        let mut cluster = Cluster::of(2, seed);
        cluster.apply(service("default", "shell", "shell", "LoadBalancer"));
        cluster.apply(deployment("default", "shell", 3, "v1"));
        cluster.until("it is available", |cluster| cluster.is_available("default", "shell"));
        cluster.apply(deployment("default", "shell", 2, "v2"));
        cluster.world.settle();
        let kinds = [Resource::PODS, Resource::REPLICA_SETS, Resource::SERVICES, Resource::ENDPOINT_SLICES];
        kinds.iter().flat_map(|kind| cluster.all(kind, "default")).map(|object| object.to_string()).collect::<String>()
    };
    assert_eq!(digest(7), digest(7));
    assert_ne!(digest(7), digest(8));
}

#[test]
fn a_cluster_at_rest_writes_nothing_more() {
    let mut cluster = Cluster::of(2, 7);
    cluster.apply(service("default", "shell", "shell", "LoadBalancer"));
    cluster.apply(deployment("default", "shell", 3, "v1"));
    cluster.world.settle();
    let revision = cluster.world.kubernetes.revision();
    for number in 0..3 {
        let mut node = cluster.get(&Resource::NODES, "", "wk-01");
        node["metadata"]["labels"] = json!({"number": number.to_string()});
        cluster.world.kubernetes.put(node).unwrap();
        cluster.world.follow();
    }
    assert!(cluster.world.next_event_at().is_none());
    // Only the labels themselves.
    assert_eq!(cluster.world.kubernetes.revision(), revision + 3);
}

#[test]
fn applying_once_more_what_stands_changes_nothing() {
    let mut cluster = Cluster::of(2, 7);
    let mut objects = crate::cluster::metallb();
    objects.push(service("default", "shell", "shell", "LoadBalancer"));
    objects.push(deployment("default", "shell", 3, "v1"));
    for object in &objects {
        cluster.apply(object.clone());
    }
    cluster.world.settle();
    for object in objects {
        let revision = cluster.world.kubernetes.revision();
        let after = cluster.apply(object);
        assert_eq!(cluster.world.kubernetes.revision(), revision, "{after:#}");
    }
    assert!(cluster.is_available("default", "shell"));
}
