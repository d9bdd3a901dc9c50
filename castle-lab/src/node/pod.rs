//! The objects that nodes keep in Kubernetes: themselves, and the pods that
//! carry the cluster.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{MachineType, Node};

/// How far a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has no node.
    Pending,
    /// Its containers are made.
    Creating,
    /// It runs and is ready.
    Ready,
}

fn time(unix: u64) -> String {
    let seconds = i64::try_from(unix).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX).to_string()
}

fn condition(kind: &str, status: &str, reason: &str, message: &str, now: u64) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastHeartbeatTime": time(now), "lastTransitionTime": time(now),
    })
}

/// A node's object, as its kubelet writes it.
pub(crate) fn node(node: &Node, now: u64, ready: bool) -> Value {
    let ready = if ready {
        condition("Ready", "True", "KubeletReady", "kubelet is posting ready status", now)
    } else {
        let message = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                       message:Network plugin returns error: cni plugin not initialized";
        condition("Ready", "False", "KubeletNotReady", message, now)
    };
    object(
        node,
        vec![
            condition(
                "MemoryPressure",
                "False",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
                now,
            ),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure", now),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available", now),
            ready,
        ],
    )
}

/// The same after its kubelet fell silent, as the node controller writes it.
pub(crate) fn lost_node(node: &Node, now: u64) -> Value {
    let message = "Kubelet stopped posting node status.";
    object(node, vec![condition("Ready", "Unknown", "NodeStatusUnknown", message, now)])
}

fn object(node: &Node, conditions: Vec<Value>) -> Value {
    let hostname = node.hostname();
    let config = node.config().or(node.disk.config.as_ref());
    let is_control_plane = config.is_some_and(|config| config.machine_type == MachineType::ControlPlane);
    let mut labels = json!({
        "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "kubernetes.io/hostname": hostname,
        "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux",
    });
    let mut spec = json!({"podCIDR": format!("10.244.{}.0/24", node.vm % 256)});
    if is_control_plane {
        labels["node-role.kubernetes.io/control-plane"] = json!("");
        labels["node.kubernetes.io/exclude-from-external-load-balancers"] = json!("");
        spec["taints"] = json!([{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]);
    }
    let address = node.ip().map(|ip| ip.to_string()).unwrap_or_default();
    let release = node.image.release.clone();
    let room = json!({
        "cpu": node.cpus.to_string(), "memory": format!("{}Ki", node.memory >> 10),
        "ephemeral-storage": format!("{}Ki", node.disk_size >> 10), "pods": "110",
    });
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": hostname, "labels": labels},
        "spec": spec,
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": hostname}],
            "capacity": room,
            "allocatable": room,
            "conditions": conditions,
            "nodeInfo": {
                "machineID": node.uuid.replace('-', ""),
                "systemUUID": node.uuid,
                "bootID": node.session.as_ref().map(|session| session.boot_id.clone()).unwrap_or_default(),
                "kernelVersion": "6.18.44-talos",
                "osImage": format!("Talos ({release})"),
                "containerRuntimeVersion": "containerd://2.2.7",
                "kubeletVersion": config.map(|config| config.kubernetes.clone()).unwrap_or_default(),
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
        },
    })
}

/// The API server, the controller manager and the scheduler of a control plane.
pub(crate) fn static_pods(node: &Node, now: u64) -> Vec<Value> {
    let names = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
    let made =
        names.iter().map(|name| pod(&format!("{name}-{}", node.hostname()), name, Some(node), now, Phase::Ready));
    made.collect()
}

/// The pods that every node needs: flannel and the proxy.
pub(crate) fn network_pods(node: &Node, now: u64, phase: Phase) -> Vec<Value> {
    let suffix = &node.uuid.replace('-', "")[..5.min(node.uuid.len())];
    let names = [("kube-flannel", "flannel"), ("kube-proxy", "kube-proxy")];
    names.iter().map(|(name, app)| pod(&format!("{name}-{suffix}"), app, Some(node), now, phase)).collect()
}

/// The two pods of CoreDNS, on the node that carries them.
pub(crate) fn dns_pods(home: Option<&str>, phase: Phase, now: u64) -> Vec<Value> {
    ["coredns-7c65d6cfc9-4gq2n", "coredns-7c65d6cfc9-x8zrt"]
        .iter()
        .map(|name| {
            let mut dns = pod(name, "kube-dns", None, now, phase);
            dns["metadata"]["labels"] = json!({"k8s-app": "kube-dns", "pod-template-hash": "7c65d6cfc9"});
            if let Some(home) = home {
                dns["spec"]["nodeName"] = json!(home);
            }
            dns
        })
        .collect()
}

fn pod(name: &str, app: &str, node: Option<&Node>, now: u64, phase: Phase) -> Value {
    let status = |ready: bool| if ready { "True" } else { "False" };
    let is_ready = phase == Phase::Ready;
    let mut ready = condition("Ready", status(is_ready), "", "", now);
    let mut conditions = vec![condition("PodScheduled", status(phase != Phase::Pending), "", "", now)];
    match phase {
        Phase::Pending => {
            let message = "0 nodes are available: network is not ready.";
            conditions = vec![condition("PodScheduled", "False", "Unschedulable", message, now)];
        }
        Phase::Creating => {
            ready["reason"] = json!("ContainersNotReady");
            ready["message"] = json!(format!("containers with unready status: [{app}]"));
            conditions.push(ready);
        }
        Phase::Ready => conditions.push(ready),
    }
    let host = node.and_then(Node::ip).map(|ip| ip.to_string());
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "kube-system", "labels": {"k8s-app": app, "tier": "control-plane"}},
        "spec": {
            "hostNetwork": node.is_some(),
            "containers": [{"name": app, "image": format!("registry.k8s.io/{app}")}],
        },
        "status": {
            "phase": if is_ready { "Running" } else { "Pending" },
            "conditions": conditions,
            "containerStatuses": if phase == Phase::Pending { json!([]) } else { json!([{
                "name": app, "ready": is_ready, "restartCount": 0, "image": format!("registry.k8s.io/{app}"),
                "imageID": "",
                "state": if is_ready {
                    json!({"running": {"startedAt": time(now)}})
                } else {
                    json!({"waiting": {"reason": "ContainerCreating"}})
                },
            }]) },
        },
    });
    if let Some(node) = node {
        object["spec"]["nodeName"] = json!(node.hostname());
    }
    if let Some(host) = host {
        object["status"]["hostIP"] = json!(host);
        object["status"]["podIP"] = json!(host);
    }
    if is_ready {
        object["status"]["startTime"] = json!(time(now));
    }
    object
}
