//! Addresses of the house for services.

use castle_lab::kube::Resource;
use castle_lab::workload;
use serde_json::{Value, json};

use crate::cluster::{Cluster, advertisement, deployment, metallb, pool, service};

fn standing(seed: u64) -> Cluster {
    let mut cluster = Cluster::of(2, seed);
    for object in metallb() {
        cluster.apply(object);
    }
    cluster.world.settle();
    cluster
}

fn address(cluster: &Cluster, name: &str) -> Option<String> {
    let service = cluster.get(&Resource::SERVICES, "default", name);
    service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().map(str::to_owned)
}

#[test]
fn a_service_has_a_cluster_address_and_ports_at_once() {
    let mut cluster = Cluster::of(1, 7);
    cluster.apply(service("default", "inner", "shell", "ClusterIP"));
    cluster.apply(service("default", "outer", "shell", "LoadBalancer"));
    let (inner, outer) =
        (cluster.get(&Resource::SERVICES, "default", "inner"), cluster.get(&Resource::SERVICES, "default", "outer"));
    let own = |service: &Value| service["spec"]["clusterIP"].as_str().unwrap().parse::<std::net::Ipv4Addr>().unwrap();
    for service in [&inner, &outer] {
        assert_eq!(u32::from(own(service)) >> 20, 0x0A6, "{}", own(service));
        assert_eq!(service["spec"]["clusterIPs"][0], service["spec"]["clusterIP"]);
    }
    assert_ne!(own(&inner), own(&outer));
    assert_eq!(inner["spec"]["ports"][0].get("nodePort"), None);
    let port = outer["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30_000..32_768).contains(&port), "{port}");
    assert_eq!(outer["status"]["loadBalancer"], json!({}));
}

#[test]
fn a_service_waits_for_a_pool_and_then_for_its_address() {
    let mut cluster = standing(7);
    cluster.apply(service("default", "outer", "shell", "LoadBalancer"));
    cluster.world.settle();
    assert_eq!(address(&cluster, "outer"), None);
    let began = cluster.world.now();
    cluster.apply(pool("home", &["192.168.1.240-192.168.1.241"]));
    let at = cluster.until("it has an address", |cluster| address(cluster, "outer").is_some());
    assert_eq!(at - began, workload::load_balancer_after(cluster.world.draws(), "default", "outer"));
    assert_eq!(address(&cluster, "outer").as_deref(), Some("192.168.1.240"));
}

#[test]
fn an_address_is_given_to_who_asks_for_it_and_to_nobody_twice() {
    let mut cluster = standing(7);
    cluster.apply(pool("home", &["192.168.1.240-192.168.1.241"]));
    let mut wishing = service("default", "wishing", "shell", "LoadBalancer");
    wishing["metadata"]["annotations"] = json!({"metallb.io/loadBalancerIPs": "192.168.1.240"});
    cluster.apply(wishing);
    for name in ["any", "late"] {
        cluster.world.settle();
        cluster.apply(service("default", name, "shell", "LoadBalancer"));
    }
    cluster.world.settle();
    let given = ["wishing", "any", "late"].map(|name| address(&cluster, name));
    assert_eq!(given, [Some("192.168.1.240".to_owned()), Some("192.168.1.241".to_owned()), None]);
    // Another pool helps who still waits; who has an address keeps it.
    cluster.apply(pool("more", &["192.168.1.250/32"]));
    cluster.world.settle();
    assert_eq!(address(&cluster, "late").as_deref(), Some("192.168.1.250"));
    assert_eq!(address(&cluster, "any").as_deref(), Some("192.168.1.241"));
    cluster.delete(&Resource::named("metallb.io", "ipaddresspools"), "metallb-system", "more");
    assert_eq!(address(&cluster, "late"), None);
}

#[test]
fn without_its_controller_nothing_is_given() {
    let mut cluster = Cluster::of(1, 7);
    for object in metallb().into_iter().filter(|object| object["kind"] == "CustomResourceDefinition") {
        cluster.apply(object);
    }
    cluster.namespace("metallb-system");
    cluster.apply(pool("home", &["192.168.1.240-192.168.1.241"]));
    cluster.apply(advertisement());
    cluster.apply(service("default", "outer", "shell", "LoadBalancer"));
    cluster.apply(deployment("default", "shell", 1, "v1"));
    cluster.world.settle();
    assert_eq!(address(&cluster, "outer"), None);
}
