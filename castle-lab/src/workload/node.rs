//! What the cluster does about nodes: taints while they are not ready, and pods
//! that must go elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::{fields, scheduler};
use crate::kube::Resource;
use crate::world::World;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// How long a pod stays on a node that is not ready, unless it says otherwise
/// (the tolerations that Kubernetes gives every pod).
const TOLERATION: Duration = Duration::from_secs(300);
/// How long a pod outlives the object of its node (Kubernetes' pod collector).
const ORPHAN: Duration = Duration::from_secs(40);

/// What a scheduler and a service need to know of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Site {
    /// Whether its kubelet says that it is ready.
    pub(super) is_ready: bool,
    /// Its address.
    pub(super) address: String,
    /// What its pods have addresses of: `10.244.165.`.
    pub(super) prefix: String,
}

/// How long a pod stays on a node with that taint; without one the node is not
/// there any more. `None`: for ever.
fn patience(pod: &Value, taint: Option<&str>) -> Option<Duration> {
    let Some(key) = taint else { return Some(ORPHAN) };
    // Daemons stay with their node.
    if fields::controller(pod).is_some_and(|(kind, _)| kind == "DaemonSet") {
        return None;
    }
    let taint = json!({"key": key, "effect": "NoExecute"});
    let mut tolerations = fields::list(pod, &["spec", "tolerations"]).iter();
    match tolerations.find(|toleration| scheduler::tolerates(toleration, &taint)) {
        Some(toleration) => toleration["tolerationSeconds"].as_u64().map(Duration::from_secs),
        None => Some(TOLERATION),
    }
}

impl World {
    /// The nodes, by name.
    pub(super) fn sites(&self) -> BTreeMap<String, Site> {
        let site = |node: &Value| {
            let addresses = fields::list(node, &["status", "addresses"]);
            let internal = addresses.iter().find(|address| fields::text(address, &["type"]) == "InternalIP");
            let network = fields::text(node, &["spec", "podCIDR"]);
            Site {
                is_ready: fields::condition(node, "Ready") == "True",
                address: internal.map(|address| fields::text(address, &["address"]).to_owned()).unwrap_or_default(),
                prefix: network.rsplit_once('.').map(|(head, _)| format!("{head}.")).unwrap_or_default(),
            }
        };
        self.all(&Resource::NODES).iter().map(|node| (fields::name(node).to_owned(), site(node))).collect()
    }

    /// Marks nodes that are not ready, and sends the pods of those that stay so to
    /// others.
    pub(super) fn control_nodes(&mut self, wakes: &mut BTreeSet<Duration>) {
        let now = self.now();
        let mut away = BTreeMap::new();
        let nodes = self.all(&Resource::NODES);
        for node in &nodes {
            let taint = match fields::condition(node, "Ready") {
                "True" => None,
                "False" => Some(NOT_READY),
                _ => Some(UNREACHABLE),
            };
            if taint.is_some() {
                let name = fields::name(node);
                let since = self.workloads.away.get(name).copied().unwrap_or(now);
                away.insert(name.to_owned(), (since, taint));
            }
            self.taint(node, taint);
        }
        let pods = self.all(&Resource::PODS);
        for pod in &pods {
            let home = fields::text(pod, &["spec", "nodeName"]);
            if !home.is_empty() && nodes.iter().all(|node| fields::name(node) != home) {
                let since = self.workloads.away.get(home).copied().unwrap_or(now);
                away.insert(home.to_owned(), (since, None));
            }
        }
        for pod in &pods {
            let home = fields::text(pod, &["spec", "nodeName"]);
            let Some((since, key)) = away.get(home) else { continue };
            // A node's own pods are its kubelet's.
            let is_known = self.workloads.processes.contains_key(fields::uid(pod));
            let Some(patience) = patience(pod, *key).filter(|_| is_known) else { continue };
            if now >= *since + patience {
                let name = fields::name(pod);
                self.log(format!("pod {name} is taken off node {home}"));
                self.remove(&Resource::PODS, pod);
            } else {
                wakes.insert(*since + patience);
            }
        }
        self.workloads.away = away.into_iter().map(|(name, (since, _))| (name, since)).collect();
    }

    fn taint(&mut self, node: &Value, wanted: Option<&str>) {
        let taints = fields::list(node, &["spec", "taints"]);
        let is_ours = |taint: &&Value| [NOT_READY, UNREACHABLE].contains(&fields::text(taint, &["key"]));
        let is_right = |taint: &Value| wanted == Some(fields::text(taint, &["key"]));
        let ours = taints.iter().filter(is_ours);
        if ours.clone().count() == 2 * usize::from(wanted.is_some()) && ours.clone().all(is_right) {
            return;
        }
        let mut rest: Vec<Value> = taints.iter().filter(|taint| !is_ours(taint)).cloned().collect();
        if let Some(key) = wanted {
            rest.push(json!({"key": key, "effect": "NoSchedule"}));
            rest.push(json!({"key": key, "effect": "NoExecute", "timeAdded": self.stamp()}));
        }
        let mut node = node.clone();
        if !node["spec"].is_object() {
            node["spec"] = json!({});
        }
        if rest.is_empty() {
            node["spec"].as_object_mut().map(|spec| spec.remove("taints"));
        } else {
            node["spec"]["taints"] = Value::Array(rest);
        }
        self.wish(node);
    }
}
