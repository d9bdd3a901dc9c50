//! Daemon sets: one pod of a template on every node that it may go to.

use std::sync::Arc;

use serde_json::{Value, json};

use super::pod::{self, Process, by_owner};
use super::replica_set::pod_of;
use super::{fields, scheduler};
use crate::kube::Resource;
use crate::world::World;

/// The label that names the template of a daemon's pod.
const HASH: &str = "controller-revision-hash";

fn is_of(pod: &Value, hash: &str) -> bool {
    fields::text(pod, &["metadata", "labels", HASH]) == hash
}

impl World {
    /// Makes a pod for each node, and replaces those of an older template, one
    /// after the other.
    pub(super) fn control_daemon_sets(&mut self) {
        let (pods, nodes) = (self.all(&Resource::PODS), self.all(&Resource::NODES));
        let owned = by_owner(&pods);
        for set in self.all(&Resource::DAEMON_SETS) {
            if fields::is_terminating(&set) {
                continue;
            }
            let hash = self.hash_of(&set);
            let mine = owned.get(fields::uid(&set)).map_or(&[][..], Vec::as_slice);
            let on = |node: &Value| {
                mine.iter()
                    .filter(|pod| fields::text(pod, &["spec", "nodeName"]) == fields::name(node))
                    .collect::<Vec<_>>()
            };
            let spec = &set["spec"]["template"]["spec"];
            let missing: Vec<&Arc<Value>> =
                nodes.iter().filter(|node| scheduler::fits(spec, node, true) && on(node).is_empty()).collect();
            let is_whole = missing.is_empty() && mine.iter().all(|pod| pod::is_ready(pod));
            for node in missing {
                let mut pod = pod_of(&set, &[(HASH, hash.as_str())]);
                pod["spec"]["nodeName"] = json!(fields::name(node));
                let key = (fields::namespace(&set).to_owned(), fields::name(&set).to_owned());
                self.make_pod(pod, Process::of(key, pod::part_of(&set)));
            }
            for node in nodes.iter().filter(|node| !scheduler::fits(spec, node, true)) {
                for pod in on(node) {
                    self.remove(&Resource::PODS, pod);
                }
            }
            // At most one is missing at a time; what is not ready may go at once.
            let old = |pod: &&&Arc<Value>| !is_of(pod, &hash);
            let sick = mine.iter().filter(old).find(|pod| !pod::is_ready(pod));
            let next = sick.or_else(|| mine.iter().filter(|_| is_whole).find(old));
            let waits = fields::text(&set, &["spec", "updateStrategy", "type"]) == "OnDelete";
            if let Some(pod) = next.filter(|_| !waits) {
                self.remove(&Resource::PODS, pod);
            }
        }
    }

    /// Counts pods into the status of their daemon sets.
    pub(super) fn report_daemon_sets(&mut self) {
        let (pods, nodes) = (self.all(&Resource::PODS), self.all(&Resource::NODES));
        let owned = by_owner(&pods);
        for set in self.all(&Resource::DAEMON_SETS) {
            let hash = self.hash_of(&set);
            let spec = &set["spec"]["template"]["spec"];
            let desired = nodes.iter().filter(|node| scheduler::fits(spec, node, true)).count();
            let mine = owned.get(fields::uid(&set)).map_or(&[][..], Vec::as_slice);
            let ready = mine.iter().filter(|pod| pod::is_ready(pod)).count();
            let mut status = json!({
                "currentNumberScheduled": mine.len(),
                "desiredNumberScheduled": desired,
                "numberMisscheduled": 0,
                "numberReady": ready,
                "observedGeneration": set["metadata"]["generation"],
            });
            let updated = mine.iter().filter(|pod| is_of(pod, &hash)).count();
            let missing = desired.saturating_sub(ready);
            for (field, count) in
                [("updatedNumberScheduled", updated), ("numberAvailable", ready), ("numberUnavailable", missing)]
            {
                // Kubernetes leaves zeroes out.
                if count > 0 {
                    status[field] = json!(count);
                }
            }
            self.report(&set, status);
        }
    }
}
