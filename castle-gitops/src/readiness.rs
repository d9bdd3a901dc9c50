//! When an object is as wanted: the rules of kstatus, which Flux waits by.

use castle_core::handover::Health;
use castle_core::words::heard;
use serde_json::Value;

use crate::manifest::text;

/// The condition of a type, if the object has it.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// A condition's reason and message.
pub(crate) fn said(condition: &Value) -> String {
    let parts = [text(condition, "/reason"), text(condition, "/message")];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "no reason is given".to_owned() } else { heard(&parts.join(": ")) }
}

/// How an object fares, in the order of kstatus' tests.
pub(crate) fn health(object: &Value) -> Health {
    let waiting = |why: &str| Health::Waiting(why.to_owned());
    if !text(object, "/metadata/deletionTimestamp").is_empty() {
        return waiting("is being deleted");
    }
    let generation = object["metadata"]["generation"].as_i64();
    let observed = object["status"]["observedGeneration"].as_i64();
    if observed.is_some() && observed != generation {
        return waiting("its last change has not been looked at yet");
    }
    let is = |kind: &str, status: &str| condition(object, kind).filter(|condition| condition["status"] == status);
    if let Some(stalled) = is("Stalled", "True") {
        return Health::Failed(said(stalled));
    }
    if let Some(reconciling) = is("Reconciling", "True") {
        return Health::Waiting(said(reconciling));
    }
    let group = text(object, "/apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
    match (group, text(object, "/kind")) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet" | "ReplicaSet") => replicas(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("batch", "Job") => match is("Failed", "True") {
            Some(failed) => Health::Failed(said(failed)),
            None if text(object, "/status/startTime").is_empty() => waiting("has not started"),
            None => Health::Ready,
        },
        ("", "Pod") => pod(object),
        ("", "PersistentVolumeClaim") => match text(object, "/status/phase") {
            "Bound" => Health::Ready,
            phase => waiting(&format!("is {}", if phase.is_empty() { "not bound" } else { phase })),
        },
        ("", "Service") => {
            let is_balanced = text(object, "/spec/type") == "LoadBalancer";
            if is_balanced && text(object, "/spec/clusterIP").is_empty() {
                waiting("has no address")
            } else {
                Health::Ready
            }
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            match (is("Established", "True"), is("NamesAccepted", "False")) {
                (_, Some(refused)) => Health::Failed(said(refused)),
                (Some(_), None) => Health::Ready,
                (None, None) => waiting("is not established"),
            }
        }
        _ => match condition(object, "Ready") {
            Some(ready) if ready["status"] == "True" => Health::Ready,
            Some(ready) => Health::Waiting(said(ready)),
            None => Health::Ready,
        },
    }
}

fn deployment(object: &Value) -> Health {
    let progressing = condition(object, "Progressing");
    if let Some(late) = progressing.filter(|late| late["reason"] == "ProgressDeadlineExceeded") {
        return Health::Failed(said(late));
    }
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    for (field, what) in [
        ("replicas", "made"),
        ("updatedReplicas", "updated"),
        ("availableReplicas", "available"),
        ("readyReplicas", "ready"),
    ] {
        let count = object["status"][field].as_i64().unwrap_or(0);
        let is_over = field == "replicas" && count > object["status"]["updatedReplicas"].as_i64().unwrap_or(0);
        if count < wanted {
            return Health::Waiting(format!("{count} of {wanted} pods are {what}"));
        }
        if is_over {
            return Health::Waiting("pods of the former version are still there".into());
        }
    }
    match condition(object, "Available").filter(|available| available["status"] != "True") {
        Some(missing) => Health::Waiting(said(missing)),
        None => Health::Ready,
    }
}

fn replicas(object: &Value) -> Health {
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let ready = object["status"]["readyReplicas"].as_i64().unwrap_or(0);
    if ready < wanted { Health::Waiting(format!("{ready} of {wanted} pods are ready")) } else { Health::Ready }
}

fn daemon_set(object: &Value) -> Health {
    let status = &object["status"];
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    if status["observedGeneration"].is_null() {
        return Health::Waiting("has not been looked at yet".into());
    }
    let wanted = count("desiredNumberScheduled");
    for (field, what) in
        [("currentNumberScheduled", "made"), ("updatedNumberScheduled", "updated"), ("numberReady", "ready")]
    {
        if count(field) < wanted {
            return Health::Waiting(format!("{} of {wanted} pods are {what}", count(field)));
        }
    }
    Health::Ready
}

fn pod(object: &Value) -> Health {
    match text(object, "/status/phase") {
        "Succeeded" => Health::Ready,
        "Failed" => Health::Failed("has failed".into()),
        "Running" => match condition(object, "Ready").filter(|ready| ready["status"] == "True") {
            Some(_) => Health::Ready,
            None => Health::Waiting(condition(object, "Ready").map_or_else(|| "is not ready".into(), said)),
        },
        phase => Health::Waiting(format!("is {}", if phase.is_empty() { "Pending" } else { phase })),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::flux;

    use super::*;

    fn check(object: Value, expected: &str) {
        let shown = match health(&object) {
            Health::Ready => "ready".to_owned(),
            Health::Waiting(why) => format!("waiting: {why}"),
            Health::Failed(why) => format!("failed: {why}"),
        };
        assert_eq!(shown, expected, "{object}");
    }

    fn deployment_of(status: Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status})
    }

    #[test]
    fn what_a_controller_says_is_short_and_steers_no_terminal() {
        let message = format!("\u{1b}[2J\n{}", "x".repeat(200_000));
        let told = said(&json!({"reason": "Failed", "message": message}));
        let condition = flux::Condition { reason: "Failed".into(), message, ..flux::Condition::default() };
        for told in [told, condition.said()] {
            assert!(told.starts_with("Failed: \u{FFFD}[2J xx") && told.ends_with('…'), "{}", told.len());
            assert!(told.chars().count() < 600);
        }
    }

    #[test]
    fn a_deployment_is_ready_when_all_its_pods_are() {
        check(deployment_of(json!({"observedGeneration": 1})), "waiting: its last change has not been looked at yet");
        check(deployment_of(json!({"observedGeneration": 2, "replicas": 1})), "waiting: 1 of 2 pods are made");
        let all = json!({
            "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2,
            "conditions": [{"type": "Available", "status": "True"}],
        });
        check(deployment_of(all), "ready");
        let late = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}]);
        check(
            deployment_of(json!({"observedGeneration": 2, "conditions": late})),
            "failed: ProgressDeadlineExceeded: timed out",
        );
    }

    #[test]
    fn what_flux_has_defaulted_and_not_seen_is_not_ready() {
        let object = json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"generation": 1}, "status": {"observedGeneration": -1}});
        check(object, "waiting: its last change has not been looked at yet");
    }

    #[test]
    fn custom_objects_are_judged_by_their_conditions() {
        let of =
            |conditions: Value| json!({"apiVersion": "a.io/v1", "kind": "A", "status": {"conditions": conditions}});
        check(of(json!([])), "ready");
        check(of(json!([{"type": "Ready", "status": "False", "reason": "No", "message": "way"}])), "waiting: No: way");
        check(of(json!([{"type": "Stalled", "status": "True", "reason": "Lost"}])), "failed: Lost");
        let both =
            json!([{"type": "Ready", "status": "True"}, {"type": "Reconciling", "status": "True", "message": "busy"}]);
        check(of(both), "waiting: busy");
    }

    #[test]
    fn definitions_claims_and_pods_have_rules_of_their_own() {
        let of =
            |version: &str, kind: &str, status: Value| json!({"apiVersion": version, "kind": kind, "status": status});
        let definition = |conditions: Value| {
            of("apiextensions.k8s.io/v1", "CustomResourceDefinition", json!({"conditions": conditions}))
        };
        check(definition(json!([{"type": "Established", "status": "True"}])), "ready");
        check(definition(json!([])), "waiting: is not established");
        check(of("v1", "PersistentVolumeClaim", json!({"phase": "Pending"})), "waiting: is Pending");
        check(of("v1", "Pod", json!({"phase": "Running"})), "waiting: is not ready");
        check(of("v1", "ConfigMap", json!({})), "ready");
        check(of("batch/v1", "Job", json!({})), "waiting: has not started");
    }
}
