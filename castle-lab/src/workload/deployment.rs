//! Deployments: one replica set for each template, and the roll-out from one to
//! the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::fields;
use crate::kube::Resource;
use crate::world::World;

/// After this without progress a roll-out is given up (Kubernetes' default).
const DEADLINE: u64 = 600;
/// The annotation that numbers roll-outs.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// How a roll-out goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    /// When it last went on.
    since: Duration,
    /// What has been reached: the template, pods of it, ready ones, old ones gone.
    reached: (String, u64, u64, u64),
    /// Whether it was complete.
    complete: bool,
}

/// A short name for a template, in the alphabet of apimachinery's random names.
fn template_hash(template: &Value) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let digest = Sha256::digest(template.to_string().as_bytes());
    digest.iter().take(10).map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

/// How many pods a roll-out may have too many and too few.
fn latitude(deployment: &Value, wanted: u64) -> (u64, u64) {
    if fields::text(deployment, &["spec", "strategy", "type"]) == "Recreate" {
        return (0, wanted);
    }
    let share = |key: &str, up: bool| {
        fields::share(deployment.pointer(&format!("/spec/strategy/rollingUpdate/{key}")), "25%", wanted, up)
    };
    let (surge, missing) = (share("maxSurge", true), share("maxUnavailable", false));
    // With neither nothing could ever move.
    if surge == 0 && missing == 0 { (0, 1) } else { (surge, missing) }
}

fn replicas(set: &Value) -> u64 {
    fields::number(set, &["spec", "replicas"], 1)
}

fn counted(set: &Value, field: &str) -> u64 {
    fields::number(set, &["status", field], 0)
}

/// The replica sets of a Deployment: the one of its template, and the older ones.
struct Sets {
    /// The short name of the template.
    hash: String,
    new: Option<Arc<Value>>,
    old: Vec<Arc<Value>>,
}

impl Sets {
    fn all(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.new.iter().chain(&self.old)
    }

    fn sum(&self, field: &str) -> u64 {
        self.all().map(|set| counted(set, field)).sum()
    }
}

impl World {
    /// The short name of a workload's template.
    pub(super) fn hash_of(&mut self, workload: &Value) -> String {
        let (uid, generation) = (fields::uid(workload), fields::number(workload, &["metadata", "generation"], 0));
        match self.workloads.templates.get(uid) {
            Some((of, hash)) if *of == generation => hash.clone(),
            _ => {
                let hash = template_hash(&workload["spec"]["template"]);
                self.workloads.templates.insert(uid.to_owned(), (generation, hash.clone()));
                hash
            }
        }
    }

    fn sets_of(&mut self, deployment: &Value, sets: &[Arc<Value>]) -> Sets {
        let hash = self.hash_of(deployment);
        let name = format!("{}-{hash}", fields::name(deployment));
        let mine = |set: &&Arc<Value>| fields::controller(set) == Some(("Deployment", fields::uid(deployment)));
        let (new, old) = sets.iter().filter(mine).cloned().partition(|set| fields::name(set) == name);
        let new: Vec<Arc<Value>> = new;
        Sets { hash, new: new.into_iter().next(), old }
    }

    /// Makes the replica set of each template, and moves pods over to it.
    pub(super) fn control_deployments(&mut self) {
        let sets = self.all(&Resource::REPLICA_SETS);
        for deployment in self.all(&Resource::DEPLOYMENTS) {
            if fields::is_terminating(&deployment) {
                continue;
            }
            let sets = self.sets_of(&deployment, &sets);
            self.roll(&deployment, &sets);
        }
    }

    fn roll(&mut self, deployment: &Arc<Value>, sets: &Sets) {
        if deployment.pointer("/spec/paused").and_then(Value::as_bool) == Some(true) {
            return;
        }
        let wanted = replicas(deployment);
        let (surge, missing) = latitude(deployment, wanted);
        let is_recreation = fields::text(deployment, &["spec", "strategy", "type"]) == "Recreate";
        let total: u64 = sets.all().map(|set| replicas(set)).sum();
        let present = sets.new.as_ref().map_or(0, |set| replicas(set));
        // Up: as far as the surge lets it; a recreation waits until the old are gone.
        let old_remain = sets.old.iter().any(|set| replicas(set) + counted(set, "replicas") > 0);
        let room = if is_recreation && old_remain { 0 } else { (wanted + surge).saturating_sub(total) };
        let target = wanted.min(present + room);
        match &sets.new {
            None => self.make_set(deployment, sets, target),
            Some(set) => self.scale(set, target),
        }
        // Down: what was not available anyway, then what the new ones replace.
        let available = sets.new.as_ref().map_or(0, |set| counted(set, "availableReplicas"));
        let least = wanted.saturating_sub(missing) + present.saturating_sub(available);
        let mut may_go = if is_recreation { total } else { total.saturating_sub(least) };
        let mut targets: Vec<u64> = sets.old.iter().map(|set| replicas(set)).collect();
        for only_sick in [true, false] {
            for (set, target) in sets.old.iter().zip(&mut targets) {
                let healthy = if only_sick { counted(set, "availableReplicas") } else { 0 };
                let gone = target.saturating_sub(healthy).min(may_go);
                (*target, may_go) = (*target - gone, may_go - gone);
            }
        }
        for (set, target) in sets.old.iter().zip(targets) {
            self.scale(set, target);
        }
    }

    fn scale(&mut self, set: &Arc<Value>, target: u64) {
        if replicas(set) == target {
            return;
        }
        let (namespace, name) = (fields::namespace(set), fields::name(set));
        let Ok(current) = self.kubernetes.get(&Resource::REPLICA_SETS, namespace, name) else { return };
        let mut set = Value::clone(current);
        set["spec"]["replicas"] = json!(target);
        self.wish(set);
    }

    fn make_set(&mut self, deployment: &Arc<Value>, sets: &Sets, count: u64) {
        let template = &deployment["spec"]["template"];
        let hash = &sets.hash;
        let numbers = sets.old.iter().map(|set| {
            set["metadata"]["annotations"][REVISION].as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
        });
        let revision = numbers.max().unwrap_or(0) + 1;
        let mut labels = template.pointer("/metadata/labels").cloned().filter(Value::is_object).unwrap_or(json!({}));
        labels["pod-template-hash"] = json!(hash);
        let mut template = template.clone();
        if !template["metadata"].is_object() {
            template["metadata"] = json!({});
        }
        template["metadata"]["labels"] = labels.clone();
        let mut selector = deployment["spec"]["selector"].clone();
        if !selector["matchLabels"].is_object() {
            selector = json!({"matchLabels": {}});
        }
        selector["matchLabels"]["pod-template-hash"] = json!(hash);
        self.make(json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{}-{hash}", fields::name(deployment)),
                "namespace": fields::namespace(deployment),
                "labels": labels,
                "annotations": {REVISION: revision.to_string()},
                "ownerReferences": fields::owned_by(deployment),
            },
            "spec": {"replicas": count, "selector": selector, "template": template},
        }));
    }

    /// Says how far each Deployment is.
    pub(super) fn report_deployments(&mut self, wakes: &mut BTreeSet<Duration>) {
        let all_sets = self.all(&Resource::REPLICA_SETS);
        let mut progress = BTreeMap::new();
        for deployment in self.all(&Resource::DEPLOYMENTS) {
            let sets = self.sets_of(&deployment, &all_sets);
            let uid = fields::uid(&deployment).to_owned();
            let known = self.workloads.progress.get(&uid).cloned();
            let going = self.progress(&deployment, &sets, known);
            let status = self.deployment_status(&deployment, &sets, &going, wakes);
            progress.insert(uid, going);
            self.report(&deployment, status);
        }
        self.workloads.progress = progress;
    }

    fn progress(&self, deployment: &Value, sets: &Sets, known: Option<Progress>) -> Progress {
        let now = self.now();
        let wanted = replicas(deployment);
        let new = |field: &str| sets.new.as_ref().map_or(0, |set| counted(set, field));
        let (updated, available) = (new("replicas"), new("availableReplicas"));
        let old: u64 = sets.old.iter().map(|set| counted(set, "replicas")).sum();
        let complete = sets.new.is_some() && updated == wanted && available == wanted && old == 0;
        let reached = (sets.hash.clone(), updated, available, old);
        match known {
            Some(known) => {
                let (before, after) = (&known.reached, &reached);
                let went_on = before.0 != after.0 || after.1 > before.1 || after.2 > before.2 || after.3 < before.3;
                // Once complete, a roll-out stays so until another template comes.
                let complete = complete || known.complete && before.0 == after.0;
                let since = if went_on { now } else { known.since };
                Progress { since, reached, complete }
            }
            None => Progress { since: now, reached, complete },
        }
    }

    fn deployment_status(
        &self,
        deployment: &Value,
        sets: &Sets,
        going: &Progress,
        wakes: &mut BTreeSet<Duration>,
    ) -> Value {
        let (now, stamp) = (self.now(), self.stamp());
        let wanted = replicas(deployment);
        let (total, ready, available) =
            (sets.sum("replicas"), sets.sum("readyReplicas"), sets.sum("availableReplicas"));
        let set_name = sets.new.as_ref().map_or("", |set| fields::name(set));
        let deadline = Duration::from_secs(fields::number(deployment, &["spec", "progressDeadlineSeconds"], DEADLINE));
        let (status, reason, message) = if going.complete {
            ("True", "NewReplicaSetAvailable", format!("ReplicaSet \"{set_name}\" has successfully progressed."))
        } else if now >= going.since + deadline {
            ("False", "ProgressDeadlineExceeded", format!("ReplicaSet \"{set_name}\" has timed out progressing."))
        } else {
            wakes.insert(going.since + deadline);
            match sets.new {
                None => ("True", "NewReplicaSetCreated", "Created new replica set".to_owned()),
                Some(_) => ("True", "ReplicaSetUpdated", format!("ReplicaSet \"{set_name}\" is progressing.")),
            }
        };
        let least = wanted.saturating_sub(latitude(deployment, wanted).1);
        let (enough, why) = if available >= least {
            ("True", ("MinimumReplicasAvailable", "Deployment has minimum availability."))
        } else {
            ("False", ("MinimumReplicasUnavailable", "Deployment does not have minimum availability."))
        };
        let updated = |mut condition: Value| {
            let kind = condition["type"].clone();
            let before = fields::list(deployment, &["status", "conditions"]).iter().find(|known| known["type"] == kind);
            let same = before
                .is_some_and(|known| ["status", "reason", "message"].iter().all(|key| known[*key] == condition[*key]));
            let at = before.filter(|_| same).map_or(json!(stamp), |known| known["lastUpdateTime"].clone());
            condition["lastUpdateTime"] = at;
            condition
        };
        let mut report = json!({
            "observedGeneration": deployment["metadata"]["generation"],
            "conditions": [
                updated(fields::follow_condition(deployment, "Available", enough, why, &stamp)),
                updated(fields::follow_condition(deployment, "Progressing", status, (reason, &message), &stamp)),
            ],
        });
        let counts = [
            ("replicas", total),
            ("updatedReplicas", sets.new.as_ref().map_or(0, |set| counted(set, "replicas"))),
            ("readyReplicas", ready),
            ("availableReplicas", available),
            ("unavailableReplicas", (wanted.max(total)).saturating_sub(available)),
        ];
        for (field, count) in counts {
            // Kubernetes leaves zeroes out.
            if count > 0 {
                report[field] = json!(count);
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latitude_is_a_quarter_unless_said_otherwise() {
        let plain = json!({"spec": {}});
        assert_eq!([1, 2, 3, 4, 10].map(|wanted| latitude(&plain, wanted)), [(1, 0), (1, 0), (1, 0), (1, 1), (3, 2)]);
        let strict = json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}});
        assert_eq!(latitude(&strict, 3), (0, 1));
        assert_eq!(latitude(&json!({"spec": {"strategy": {"type": "Recreate"}}}), 3), (0, 3));
    }
}
