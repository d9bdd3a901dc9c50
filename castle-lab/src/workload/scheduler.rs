//! Which node a pod goes to.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::fields;
use crate::kube::Resource;
use crate::world::World;

/// Whether a pod may go to a node: taints and the node selector. Daemons bear the
/// taints of a node that is not ready or is cordoned.
pub(super) fn fits(spec: &Value, node: &Value, is_daemon: bool) -> bool {
    let labels = node.pointer("/metadata/labels");
    let selector = spec.get("nodeSelector").and_then(Value::as_object);
    let is_selected =
        selector.into_iter().flatten().all(|(key, value)| labels.and_then(|it| it.get(key)) == Some(value));
    let cordoned = node.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true);
    is_selected
        && (is_daemon || !cordoned)
        && fields::list(node, &["spec", "taints"]).iter().all(|taint| {
            let key = fields::text(taint, &["key"]);
            let is_passing = ["not-ready", "unreachable", "unschedulable"]
                .iter()
                .any(|end| key.strip_prefix("node.kubernetes.io/") == Some(end));
            fields::text(taint, &["effect"]) == "PreferNoSchedule"
                || is_daemon && is_passing
                || fields::list(spec, &["tolerations"]).iter().any(|toleration| tolerates(toleration, taint))
        })
}

/// Whether a toleration bears a taint.
pub(super) fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let part = |key: &str| fields::text(toleration, &[key]);
    let same = |key: &str| part(key).is_empty() || part(key) == fields::text(taint, &[key]);
    let is_equal = || part("value") == fields::text(taint, &["value"]);
    same("effect") && same("key") && (part("operator") == "Exists" || !part("key").is_empty() && is_equal())
}

/// How many pods are on a node, of one owner (by uid) and of all (under no name).
type Loads = BTreeMap<(String, String), u64>;

fn owner_of(pod: &Value) -> &str {
    fields::controller(pod).map_or("-", |(_, uid)| uid)
}

fn count(loads: &mut Loads, pod: &Value, home: &str) {
    for owner in [owner_of(pod), ""] {
        *loads.entry((home.to_owned(), owner.to_owned())).or_default() += 1;
    }
}

impl World {
    /// Binds waiting pods to nodes: to the one with the fewest pods of the same
    /// owner, then with the fewest pods, then by name.
    pub(super) fn schedule_pods(&mut self) {
        let pods = self.all(&Resource::PODS);
        let waits = |pod: &&Arc<Value>| {
            let is_bound = !fields::text(pod, &["spec", "nodeName"]).is_empty();
            // CoreDNS' pods belong to the model of the nodes.
            let is_foreign = fields::controller(pod).is_none() && fields::namespace(pod) == "kube-system";
            !is_bound && !is_foreign && !fields::is_terminating(pod)
        };
        if !pods.iter().any(|pod| waits(&pod)) {
            return;
        }
        let nodes = self.all(&Resource::NODES);
        let mut loads = Loads::new();
        for pod in &pods {
            let home = fields::text(pod, &["spec", "nodeName"]);
            if !home.is_empty() {
                count(&mut loads, pod, home);
            }
        }
        for pod in pods.iter().filter(waits) {
            let of = |node: &Value, owner: &str| {
                loads.get(&(fields::name(node).to_owned(), owner.to_owned())).copied().unwrap_or(0)
            };
            let own = owner_of(pod);
            let home = nodes
                .iter()
                .filter(|node| fits(&pod["spec"], node, false))
                .min_by_key(|node| (of(node, own), of(node, ""), fields::name(node).to_owned()));
            match home {
                Some(node) => {
                    let home = fields::name(node).to_owned();
                    let mut bound = Value::clone(pod);
                    bound["spec"]["nodeName"] = json!(home);
                    self.wish(bound);
                    count(&mut loads, pod, &home);
                }
                None => self.say_why_unscheduled(pod, &nodes),
            }
        }
    }

    fn say_why_unscheduled(&mut self, pod: &Arc<Value>, nodes: &[Arc<Value>]) {
        let message = match nodes.len() {
            0 => "no nodes available to schedule pods".to_owned(),
            count => format!("0/{count} nodes are available: {count} node(s) had untolerated taint(s) or did not fit."),
        };
        let now = self.stamp();
        let condition = fields::follow_condition(pod, "PodScheduled", "False", ("Unschedulable", &message), &now);
        self.report(pod, json!({"phase": "Pending", "conditions": [condition]}));
    }
}
