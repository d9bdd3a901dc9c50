//! Replica sets: so many pods of one template.

use std::sync::Arc;

use serde_json::{Value, json};

use super::pod::{self, Process};
use super::{fields, pod::by_owner};
use crate::kube::Resource;
use crate::world::World;

/// A pod of a template, for an owner to make.
pub(super) fn pod_of(owner: &Value, extra_labels: &[(&str, &str)]) -> Value {
    let template = &owner["spec"]["template"];
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": format!("{}-", fields::name(owner)),
            "namespace": fields::namespace(owner),
            "ownerReferences": fields::owned_by(owner),
        },
        "spec": template["spec"],
    });
    for key in ["labels", "annotations"] {
        if let Some(map) = template.pointer(&format!("/metadata/{key}")).filter(|map| map.is_object()) {
            pod["metadata"][key] = map.clone();
        }
    }
    for (key, value) in extra_labels {
        pod["metadata"]["labels"][*key] = json!(value);
    }
    pod
}

impl World {
    /// The workload behind a replica set: its Deployment, or itself.
    fn workload_of_set(&self, set: &Value) -> Process {
        let owner = fields::list(set, &["metadata", "ownerReferences"])
            .iter()
            .find(|owner| fields::text(owner, &["kind"]) == "Deployment");
        let deployment = owner.and_then(|owner| {
            let name = fields::text(owner, &["name"]);
            self.kubernetes.get(&Resource::DEPLOYMENTS, fields::namespace(set), name).ok()
        });
        let workload = deployment.map_or(set, |deployment| deployment);
        let key = (fields::namespace(workload).to_owned(), fields::name(workload).to_owned());
        Process::of(key, pod::part_of(workload))
    }

    /// Makes a pod, and the process that will run behind it.
    pub(super) fn make_pod(&mut self, pod: Value, process: Process) {
        if let Some(pod) = self.make(pod) {
            self.workloads.processes.insert(fields::uid(&pod).to_owned(), process);
        }
    }

    /// Makes pods that are missing and removes those that are too many: first the
    /// ones that are not ready, then the last by name.
    pub(super) fn control_replica_sets(&mut self) {
        let pods = self.all(&Resource::PODS);
        let owned = by_owner(&pods);
        for set in self.all(&Resource::REPLICA_SETS) {
            if fields::is_terminating(&set) {
                continue;
            }
            let mut mine: Vec<&Arc<Value>> = owned.get(fields::uid(&set)).cloned().unwrap_or_default();
            mine.retain(|pod| !fields::is_terminating(pod));
            let wanted = usize::try_from(fields::number(&set, &["spec", "replicas"], 1)).unwrap_or(usize::MAX);
            for _ in mine.len()..wanted {
                let process = self.workload_of_set(&set);
                self.make_pod(pod_of(&set, &[]), process);
            }
            mine.sort_by_key(|pod| (!pod::is_ready(pod), fields::name(pod).to_owned()));
            for pod in mine.iter().rev().take(mine.len().saturating_sub(wanted)) {
                self.remove(&Resource::PODS, pod);
            }
        }
    }

    /// Counts pods into the status of their replica sets.
    pub(super) fn report_replica_sets(&mut self) {
        let pods = self.all(&Resource::PODS);
        let owned = by_owner(&pods);
        for set in self.all(&Resource::REPLICA_SETS) {
            let mine = owned.get(fields::uid(&set)).map_or(&[][..], Vec::as_slice);
            let ready = mine.iter().filter(|pod| pod::is_ready(pod)).count();
            let mut status = json!({
                "replicas": mine.len(),
                "fullyLabeledReplicas": mine.len(),
                "observedGeneration": set["metadata"]["generation"],
            });
            if ready > 0 {
                status["readyReplicas"] = json!(ready);
                status["availableReplicas"] = json!(ready);
            }
            self.report(&set, status);
        }
    }
}
