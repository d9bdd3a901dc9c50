//! A cluster whose nodes are only objects, and the objects that tests apply.

use std::sync::Arc;
use std::time::Duration;

use castle_lab::World;
use castle_lab::kube::{Delete, Hand, Resource, Selection};
use serde_json::{Value, json};

pub struct Cluster {
    pub world: World,
}

impl Cluster {
    /// A control plane that takes no workloads, and so many workers, all Ready.
    pub fn of(workers: u8, seed: u64) -> Self {
        Self::within(World::empty(seed), workers)
    }

    /// The same in a world that has more.
    pub fn within(mut world: World, workers: u8) -> Self {
        world.kubernetes.serve();
        let mut cluster = Self { world };
        cluster.node("cp-01", "True", true);
        for number in 1..=workers {
            cluster.node(&format!("wk-0{number}"), "True", false);
        }
        cluster
    }

    /// Says how a node is.
    pub fn node(&mut self, name: &str, ready: &str, is_control_plane: bool) {
        let number: u8 = name.bytes().fold(0, u8::wrapping_add);
        let mut spec = json!({"podCIDR": format!("10.244.{number}.0/24")});
        if is_control_plane {
            spec["taints"] = json!([{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]);
        }
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "spec": spec,
            "status": {
                "addresses": [{"type": "InternalIP", "address": format!("192.168.1.{number}")}],
                "conditions": [{"type": "Ready", "status": ready}],
            },
        });
        self.world.kubernetes.put(node).unwrap();
        self.world.follow();
    }

    /// Writes an object as somebody would who applies manifests.
    pub fn apply(&mut self, object: Value) -> Arc<Value> {
        let written = self.world.kubernetes.apply(object, &Hand::of("test").forcing()).unwrap();
        self.world.follow();
        written
    }

    pub fn delete(&mut self, resource: &Resource, namespace: &str, name: &str) {
        self.world.kubernetes.delete(resource, namespace, name, &Delete::default()).unwrap();
        self.world.follow();
    }

    pub fn namespace(&mut self, name: &str) {
        self.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    }

    pub fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Value {
        Value::clone(self.world.kubernetes.get(resource, namespace, name).unwrap())
    }

    pub fn all(&self, resource: &Resource, namespace: &str) -> Vec<Arc<Value>> {
        self.world.kubernetes.list(resource, &Selection::in_namespace(namespace)).cloned().collect()
    }

    pub fn wait(&mut self, duration: Duration) {
        let now = self.world.now();
        self.world.advance_to(now + duration);
    }

    /// Lets events happen until it holds, and says when that was.
    #[track_caller]
    pub fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let now = self.world.now();
        self.world.advance_to(now);
        while !holds(self) {
            match self.world.next_event_at() {
                Some(at) => self.world.advance_to(at),
                None => panic!("it never came to pass that {what}:\n{}", self.picture()),
            }
        }
        self.world.now()
    }

    /// `Available=True MinimumReplicasAvailable` of a Deployment.
    pub fn condition(&self, namespace: &str, name: &str, kind: &str) -> String {
        let deployment = self.get(&Resource::DEPLOYMENTS, namespace, name);
        let conditions = deployment["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == kind);
        found.map_or_else(
            || "none".to_owned(),
            |found| format!("{} {}", found["status"].as_str().unwrap(), found["reason"].as_str().unwrap()),
        )
    }

    pub fn is_available(&self, namespace: &str, name: &str) -> bool {
        self.condition(namespace, name, "Available").starts_with("True")
    }

    /// The pods of a namespace in one line each: node, phase, readiness, why they wait.
    pub fn pods(&self, namespace: &str) -> Vec<String> {
        let line = |pod: &Arc<Value>| {
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let is_ready = conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True");
            let waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_str().unwrap_or("-");
            format!(
                "{} {} {} {waiting}",
                pod["spec"]["nodeName"].as_str().unwrap_or("-"),
                pod["status"]["phase"].as_str().unwrap_or("-"),
                if is_ready { "ready" } else { "unready" },
            )
        };
        let mut lines: Vec<_> = self.all(&Resource::PODS, namespace).iter().map(line).collect();
        lines.sort();
        lines
    }

    fn picture(&self) -> String {
        let story = self.world.trace().iter().map(|(at, what)| format!("{:>10.3}  {what}\n", at.as_secs_f64()));
        let everything = self.world.kubernetes.list(&Resource::PODS, &ALL).map(|pod| format!("{pod:#}\n"));
        story.chain(everything).collect()
    }
}

static ALL: std::sync::LazyLock<Selection> = std::sync::LazyLock::new(Selection::default);

/// A Deployment of one container, whose image's tag is told.
pub fn deployment(namespace: &str, name: &str, replicas: u64, tag: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": name,
                    "image": format!("registry.example/{name}:{tag}"),
                    "ports": [{"name": "http", "containerPort": 8080}],
                }]},
            },
        },
    })
}

pub fn service(namespace: &str, name: &str, app: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "type": kind,
            "selector": {"app": app},
            "ports": [
                {"name": "http", "port": 80, "targetPort": "http"},
                {"name": "https", "port": 443, "targetPort": 8443},
            ],
        },
    })
}

/// A definition of a kind of MetalLB that takes anything.
fn definition(kind: &str, plural: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.metallb.io")},
        "spec": {
            "group": "metallb.io",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{
                "name": "v1beta1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

pub fn pool(name: &str, addresses: &[&str]) -> Value {
    json!({
        "apiVersion": "metallb.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": {"name": name, "namespace": "metallb-system"},
        "spec": {"addresses": addresses},
    })
}

pub fn advertisement() -> Value {
    json!({
        "apiVersion": "metallb.io/v1beta1",
        "kind": "L2Advertisement",
        "metadata": {"name": "home", "namespace": "metallb-system"},
        "spec": {"ipAddressPools": ["home"]},
    })
}

/// MetalLB as its manifest has it: kinds, controller, speakers, webhook.
pub fn metallb() -> Vec<Value> {
    let mut controller = deployment("metallb-system", "controller", 1, "v0.16.1");
    controller["spec"]["template"]["spec"]["containers"][0]["ports"] =
        json!([{"name": "webhook-server", "containerPort": 9443}]);
    let template = json!({
        "metadata": {"labels": {"app": "speaker"}},
        "spec": {
            "hostNetwork": true,
            "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}],
            "containers": [{"name": "speaker", "image": "registry.example/speaker:v0.16.1"}],
        },
    });
    vec![
        definition("IPAddressPool", "ipaddresspools"),
        definition("L2Advertisement", "l2advertisements"),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": "metallb-system",
            "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
        }}),
        controller,
        json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "speaker", "namespace": "metallb-system"},
            "spec": {"selector": {"matchLabels": {"app": "speaker"}}, "template": template},
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "metallb-webhook-service", "namespace": "metallb-system"},
            "spec": {"selector": {"app": "controller"}, "ports": [{"port": 443, "targetPort": 9443}]},
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "metallb-webhook-configuration"},
            "webhooks": [{
                "name": "ipaddresspoolvalidationwebhook.metallb.io",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "clientConfig": {"service": {
                    "name": "metallb-webhook-service",
                    "namespace": "metallb-system",
                    "path": "/validate-metallb-io-v1beta1-ipaddresspool",
                }},
                "rules": [{
                    "apiGroups": ["metallb.io"],
                    "apiVersions": ["v1beta1"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["ipaddresspools"],
                }],
            }],
        }),
    ]
}
