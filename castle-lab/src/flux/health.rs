//! How an object fares, by the rules of `kstatus`.

use serde_json::Value;

use super::object;

/// What `kstatus` says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// As wanted.
    Current,
    /// On its way.
    InProgress,
    /// It will not come by waiting.
    Failed,
    /// Its deletion was asked for.
    Terminating,
    /// It is not there.
    NotFound,
}

impl Status {
    /// As Flux prints it in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Current => "Current",
            Self::InProgress => "InProgress",
            Self::Failed => "Failed",
            Self::Terminating => "Terminating",
            Self::NotFound => "NotFound",
        }
    }
}

/// How an object fares; `None` if it is not there.
#[must_use]
pub fn status(object: Option<&Value>) -> Status {
    let Some(object) = object else { return Status::NotFound };
    if object["metadata"].get("deletionTimestamp").is_some_and(|at| !at.is_null()) {
        return Status::Terminating;
    }
    let observed = object["status"]["observedGeneration"].as_i64();
    if observed.is_some_and(|observed| observed != object::generation(object)) {
        return Status::InProgress;
    }
    if object::is_true(object, "Reconciling") {
        return Status::InProgress;
    }
    if object::is_true(object, "Stalled") {
        return Status::Failed;
    }
    let key = (object::group(object), object::kind(object));
    match key {
        ("apps", "Deployment") => deployment(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("apps", "StatefulSet") => replicated(object, "currentReplicas"),
        ("apps", "ReplicaSet") => replicated(object, "fullyLabeledReplicas"),
        ("batch", "Job") => job(object),
        ("", "Pod") => pod(object),
        ("", "PersistentVolumeClaim") => current_if(object::text(object, &["status", "phase"]) == "Bound"),
        ("", "Service") => {
            let is_balancer = object::text(object, &["spec", "type"]) == "LoadBalancer";
            current_if(!is_balancer || !object::text(object, &["spec", "clusterIP"]).is_empty())
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => match object::condition(object, "NamesAccepted") {
            Some(names) if names["status"] == "False" => Status::Failed,
            _ => current_if(object::is_true(object, "Established")),
        },
        ("", "ConfigMap" | "Secret") | ("batch", "CronJob") | ("policy", "PodDisruptionBudget") => Status::Current,
        _ => match object::condition(object, "Ready") {
            Some(ready) => current_if(ready["status"] == "True"),
            None => Status::Current,
        },
    }
}

fn current_if(is_current: bool) -> Status {
    if is_current { Status::Current } else { Status::InProgress }
}

fn number(object: &Value, field: &str) -> i64 {
    object["status"][field].as_i64().unwrap_or(0)
}

fn deployment(object: &Value) -> Status {
    let progressing = object::condition(object, "Progressing");
    if progressing.is_some_and(|condition| condition["reason"] == "ProgressDeadlineExceeded") {
        return Status::Failed;
    }
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let replicas = number(object, "replicas");
    let (updated, available) = (number(object, "updatedReplicas"), number(object, "availableReplicas"));
    let is_rolled_out = progressing.is_some_and(|condition| condition["reason"] == "NewReplicaSetAvailable");
    current_if(
        wanted == replicas
            && updated >= wanted
            && available >= updated
            && number(object, "readyReplicas") >= wanted
            && is_rolled_out
            && object::is_true(object, "Available"),
    )
}

fn daemon_set(object: &Value) -> Status {
    let Some(wanted) = object["status"]["desiredNumberScheduled"].as_i64() else { return Status::InProgress };
    let fields = ["currentNumberScheduled", "updatedNumberScheduled", "numberAvailable", "numberReady"];
    current_if(
        object["status"]["observedGeneration"].is_i64() && fields.iter().all(|field| number(object, field) >= wanted),
    )
}

fn replicated(object: &Value, third: &str) -> Status {
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let fields = ["replicas", "readyReplicas", third];
    current_if(fields.iter().all(|field| number(object, field) >= wanted))
}

fn job(object: &Value) -> Status {
    if object::is_true(object, "Failed") {
        return Status::Failed;
    }
    let is_started = !object::text(object, &["status", "startTime"]).is_empty();
    current_if(is_started || object::is_true(object, "Complete"))
}

fn pod(object: &Value) -> Status {
    let crashes = object.pointer("/status/containerStatuses").and_then(Value::as_array).is_some_and(|containers| {
        containers
            .iter()
            .any(|container| object::text(container, &["state", "waiting", "reason"]) == "CrashLoopBackOff")
    });
    match object::text(object, &["status", "phase"]) {
        "Succeeded" => Status::Current,
        "Failed" => Status::Failed,
        "Running" if object::is_true(object, "Ready") => Status::Current,
        _ if crashes => Status::Failed,
        _ => Status::InProgress,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(object: Value, expected: Status) {
        assert_eq!(status(Some(&object)), expected, "{object}");
    }

    fn deployment(status: Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "blog", "generation": 2},
            "spec": {"replicas": 2}, "status": status})
    }

    #[test]
    fn a_deployment_is_current_when_all_its_pods_are() {
        let conditions = json!([{"type": "Available", "status": "True"},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]);
        let mut full = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2,
            "availableReplicas": 2, "conditions": conditions});
        check(deployment(full.clone()), Status::Current);
        full["readyReplicas"] = json!(1);
        check(deployment(full.clone()), Status::InProgress);
        full["observedGeneration"] = json!(1);
        check(deployment(full), Status::InProgress);
        check(deployment(json!({})), Status::InProgress);
        let late = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
        check(deployment(json!({"conditions": late})), Status::Failed);
    }

    #[test]
    fn a_custom_object_is_judged_by_its_conditions_if_it_has_any() {
        let custom = |status: Value| {
            json!({"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "a", "generation": 1},
                "status": status})
        };
        check(custom(json!({})), Status::Current);
        check(custom(json!({"observedGeneration": -1})), Status::InProgress);
        check(custom(json!({"conditions": [{"type": "Ready", "status": "True"}]})), Status::Current);
        check(custom(json!({"conditions": [{"type": "Ready", "status": "Unknown"}]})), Status::InProgress);
        check(custom(json!({"conditions": [{"type": "Stalled", "status": "True"}]})), Status::Failed);
        let both = json!([{"type": "Ready", "status": "True"}, {"type": "Reconciling", "status": "True"}]);
        check(custom(json!({"conditions": both})), Status::InProgress);
    }

    #[test]
    fn a_load_balancer_is_current_without_its_address() {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.9"}});
        check(service, Status::Current);
        assert_eq!(status(None), Status::NotFound);
    }
}
