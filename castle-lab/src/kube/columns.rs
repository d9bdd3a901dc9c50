//! Objects as rows, the way `kubectl get` shows them: the API server makes the
//! cells, the client only aligns them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::kind::{Kind, Resource};
use super::object;

mod custom;

pub(super) use custom::PrinterColumn;

/// A column: its title and whether it is shown only with `-o wide`.
type Column = (&'static str, bool);

/// A `Table` of objects. `wall` is the time since 1970, for their ages;
/// `include` is what the client wants of each object: `None`, `Metadata` or
/// `Object`.
#[must_use]
pub fn table(
    kind: &Kind,
    version: &str,
    objects: &[Arc<Value>],
    list_metadata: Value,
    wall: Duration,
    include: &str,
) -> Value {
    let custom = kind.columns(version);
    let columns = columns_of(&kind.resource);
    let definitions: Vec<_> = match custom {
        Some(custom) => custom::definitions(custom),
        None => columns
            .iter()
            .map(|(title, is_wide)| {
                json!({
                    "name": title,
                    "type": if is_number(title) { "integer" } else { "string" },
                    "format": if *title == "Name" { "name" } else { "" },
                    "description": "",
                    "priority": i32::from(*is_wide),
                })
            })
            .collect(),
    };
    let rows: Vec<_> = objects
        .iter()
        .map(|object| {
            let cells: Vec<_> = match custom {
                Some(custom) => custom::cells(custom, object, wall),
                None => columns.iter().map(|(title, _)| cell(&kind.resource, object, title, wall)).collect(),
            };
            let mut row = json!({"cells": cells});
            match include {
                "None" => {}
                "Object" => row["object"] = Value::clone(object),
                _ => {
                    row["object"] = json!({
                        "kind": "PartialObjectMetadata",
                        "apiVersion": "meta.k8s.io/v1",
                        "metadata": object["metadata"],
                    });
                }
            }
            row
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn columns_of(resource: &Resource) -> &'static [Column] {
    match resource.plural.as_ref() {
        "nodes" => &[
            ("Name", false),
            ("Status", false),
            ("Roles", false),
            ("Age", false),
            ("Version", false),
            ("Internal-IP", true),
            ("External-IP", true),
            ("OS-Image", true),
            ("Kernel-Version", true),
            ("Container-Runtime", true),
        ],
        "pods" => &[
            ("Name", false),
            ("Ready", false),
            ("Status", false),
            ("Restarts", false),
            ("Age", false),
            ("IP", true),
            ("Node", true),
            ("Nominated Node", true),
            ("Readiness Gates", true),
        ],
        "namespaces" => &[("Name", false), ("Status", false), ("Age", false)],
        "services" => &[
            ("Name", false),
            ("Type", false),
            ("Cluster-IP", false),
            ("External-IP", false),
            ("Port(s)", false),
            ("Age", false),
            ("Selector", true),
        ],
        "deployments" => {
            &[("Name", false), ("Ready", false), ("Up-to-date", false), ("Available", false), ("Age", false)]
        }
        "daemonsets" => &[
            ("Name", false),
            ("Desired", false),
            ("Current", false),
            ("Ready", false),
            ("Up-to-date", false),
            ("Available", false),
            ("Node Selector", false),
            ("Age", false),
        ],
        "replicasets" => &[("Name", false), ("Desired", false), ("Current", false), ("Ready", false), ("Age", false)],
        "statefulsets" => &[("Name", false), ("Ready", false), ("Age", false)],
        "customresourcedefinitions" => &[("Name", false), ("Created At", false)],
        "endpointslices" => {
            &[("Name", false), ("AddressType", false), ("Ports", false), ("Endpoints", false), ("Age", false)]
        }
        "ingresses" => {
            &[("Name", false), ("Class", false), ("Hosts", false), ("Address", false), ("Ports", false), ("Age", false)]
        }
        "validatingwebhookconfigurations" | "mutatingwebhookconfigurations" => {
            &[("Name", false), ("Webhooks", false), ("Age", false)]
        }
        "configmaps" => &[("Name", false), ("Data", false), ("Age", false)],
        "secrets" => &[("Name", false), ("Type", false), ("Data", false), ("Age", false)],
        "leases" => &[("Name", false), ("Holder", false), ("Age", false)],
        "events" => &[("Last Seen", false), ("Type", false), ("Reason", false), ("Object", false), ("Message", false)],
        _ => &[("Name", false), ("Age", false)],
    }
}

fn is_number(title: &str) -> bool {
    ["Desired", "Current", "Up-to-date", "Available", "Data", "Webhooks"].contains(&title)
}

fn cell(resource: &Resource, object: &Value, title: &str, wall: Duration) -> Value {
    let age = |field: &[&str]| object::age(object::text(object, field), wall);
    match title {
        "Name" => return json!(object::name(object)),
        "Age" => return json!(age(&["metadata", "creationTimestamp"])),
        _ => {}
    }
    let text = |path: &[&str]| or_none(object::text(object, path));
    let count = |pointer: &str| object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    match (resource.plural.as_ref(), title) {
        ("nodes", _) => json!(node_cell(object, title)),
        ("pods", _) => json!(pod_cell(object, title, wall)),
        ("namespaces", _) => json!(text(&["status", "phase"])),
        ("services", _) => json!(service_cell(object, title)),
        ("deployments", "Ready") => json!(format!("{}/{}", count("/status/readyReplicas"), count("/spec/replicas"))),
        ("statefulsets", "Ready") => json!(format!("{}/{}", count("/status/readyReplicas"), count("/spec/replicas"))),
        ("customresourcedefinitions", _) => json!(text(&["metadata", "creationTimestamp"])),
        ("endpointslices", _) => json!(slice_cell(object, title)),
        ("ingresses", _) => json!(ingress_cell(object, title)),
        (_, "Webhooks") => json!(object.get("webhooks").and_then(Value::as_array).map_or(0, Vec::len)),
        ("deployments", "Up-to-date") => json!(count("/status/updatedReplicas")),
        ("deployments", _) => json!(count("/status/availableReplicas")),
        ("daemonsets", "Desired") => json!(count("/status/desiredNumberScheduled")),
        ("daemonsets", "Current") => json!(count("/status/currentNumberScheduled")),
        ("daemonsets", "Ready") => json!(count("/status/numberReady").to_string()),
        ("daemonsets", "Up-to-date") => json!(count("/status/updatedNumberScheduled")),
        ("daemonsets", "Available") => json!(count("/status/numberAvailable")),
        ("daemonsets", _) => json!(labels(object.pointer("/spec/template/spec/nodeSelector"))),
        ("replicasets", "Desired") => json!(count("/spec/replicas")),
        ("replicasets", "Current") => json!(count("/status/replicas")),
        ("replicasets", _) => json!(count("/status/readyReplicas").to_string()),
        (_, "Data") => json!(object.get("data").and_then(Value::as_object).map_or(0, serde_json::Map::len)),
        (_, "Holder") => json!(text(&["spec", "holderIdentity"])),
        (_, "Last Seen") => json!(age(&["lastTimestamp"])),
        (_, "Reason") => json!(text(&["reason"])),
        (_, "Message") => json!(text(&["message"])),
        (_, "Object") => json!(format!(
            "{}/{}",
            object::text(object, &["involvedObject", "kind"]).to_lowercase(),
            object::text(object, &["involvedObject", "name"])
        )),
        _ => json!(text(&["type"])),
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

/// `a=b,c=d`.
fn labels(map: Option<&Value>) -> String {
    let pairs: Vec<_> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    or_none(&pairs.join(",")).to_owned()
}

/// The status of the condition of that type.
fn condition<'a>(object: &'a Value, wanted: &str) -> Option<&'a str> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| object::text(condition, &["type"]) == wanted)?.get("status")?.as_str()
}

fn node_cell(node: &Value, title: &str) -> String {
    let info = |key: &str| match object::text(node, &["status", "nodeInfo", key]) {
        "" => "<unknown>".to_owned(),
        text => text.to_owned(),
    };
    let address = |wanted: &str| {
        let addresses = node.pointer("/status/addresses").and_then(Value::as_array);
        let found = addresses.into_iter().flatten().find(|address| object::text(address, &["type"]) == wanted);
        or_none(found.map_or("", |address| object::text(address, &["address"]))).to_owned()
    };
    match title {
        "Status" => {
            let ready = match condition(node, "Ready") {
                Some("True") => "Ready",
                Some(_) => "NotReady",
                None => "Unknown",
            };
            let is_cordoned = node.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true);
            if is_cordoned { format!("{ready},SchedulingDisabled") } else { ready.to_owned() }
        }
        "Roles" => {
            let found = node.pointer("/metadata/labels").and_then(Value::as_object);
            let roles: Vec<_> = found
                .into_iter()
                .flatten()
                .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
                .collect();
            or_none(&roles.join(",")).to_owned()
        }
        "Version" => object::text(node, &["status", "nodeInfo", "kubeletVersion"]).to_owned(),
        "Internal-IP" => address("InternalIP"),
        "External-IP" => address("ExternalIP"),
        "OS-Image" => info("osImage"),
        "Kernel-Version" => info("kernelVersion"),
        _ => info("containerRuntimeVersion"),
    }
}

fn pod_cell(pod: &Value, title: &str, wall: Duration) -> String {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).map_or(0, Vec::len);
    let statuses = || pod.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten();
    match title {
        "Ready" => {
            let ready = statuses().filter(|status| status["ready"] == json!(true)).count();
            format!("{ready}/{containers}")
        }
        "Status" => pod_status(pod),
        "Restarts" => {
            let count: u64 = statuses().filter_map(|status| status["restartCount"].as_u64()).sum();
            let last = statuses()
                .map(|status| object::text(status, &["lastState", "terminated", "finishedAt"]))
                .filter(|at| !at.is_empty())
                .max();
            match last {
                Some(at) if count > 0 => format!("{count} ({} ago)", object::age(at, wall)),
                _ => count.to_string(),
            }
        }
        "IP" => or_none(object::text(pod, &["status", "podIP"])).to_owned(),
        "Node" => or_none(object::text(pod, &["spec", "nodeName"])).to_owned(),
        "Nominated Node" => or_none(object::text(pod, &["status", "nominatedNodeName"])).to_owned(),
        _ => match pod.pointer("/spec/readinessGates").and_then(Value::as_array) {
            Some(gates) if !gates.is_empty() => format!("0/{}", gates.len()),
            _ => "<none>".to_owned(),
        },
    }
}

/// The one word for a pod: the reason of what holds it, else its phase.
fn pod_status(pod: &Value) -> String {
    if object::is_terminating(pod) {
        return "Terminating".to_owned();
    }
    let states = |list: &str| pod.pointer(list).and_then(Value::as_array).into_iter().flatten();
    let total = pod.pointer("/spec/initContainers").and_then(Value::as_array).map_or(0, Vec::len);
    for (place, status) in states("/status/initContainerStatuses").enumerate() {
        let state = &status["state"];
        if state.pointer("/terminated/exitCode").and_then(Value::as_u64) == Some(0) {
            continue;
        }
        return match object::text(state, &["waiting", "reason"]) {
            "" | "PodInitializing" => format!("Init:{place}/{total}"),
            reason => format!("Init:{reason}"),
        };
    }
    let held = states("/status/containerStatuses").find_map(|status| {
        ["waiting", "terminated"]
            .into_iter()
            .map(|state| object::text(status, &["state", state, "reason"]))
            .find(|reason| !reason.is_empty())
    });
    let phase = object::text(pod, &["status", "phase"]);
    match (held, object::text(pod, &["status", "reason"])) {
        (Some(reason), _) => reason.to_owned(),
        (None, "") => phase.to_owned(),
        (None, reason) => reason.to_owned(),
    }
}

fn service_cell(service: &Value, title: &str) -> String {
    let list = |pointer: &str| service.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    match title {
        "Type" => object::text(service, &["spec", "type"]).to_owned(),
        "Cluster-IP" => or_none(object::text(service, &["spec", "clusterIP"])).to_owned(),
        "External-IP" => {
            let given: Vec<_> = list("/status/loadBalancer/ingress")
                .map(|ingress| object::text(ingress, &["ip"]))
                .chain(list("/spec/externalIPs").filter_map(Value::as_str))
                .filter(|ip| !ip.is_empty())
                .collect();
            match object::text(service, &["spec", "type"]) {
                "LoadBalancer" if given.is_empty() => "<pending>".to_owned(),
                _ => or_none(&given.join(",")).to_owned(),
            }
        }
        "Selector" => labels(service.pointer("/spec/selector")),
        _ => {
            let ports: Vec<_> = list("/spec/ports")
                .map(|port| {
                    let protocol = if port["protocol"].is_null() { "TCP" } else { object::text(port, &["protocol"]) };
                    match port["nodePort"].as_u64() {
                        Some(outer) if outer > 0 => format!("{}:{outer}/{protocol}", port["port"]),
                        _ => format!("{}/{protocol}", port["port"]),
                    }
                })
                .collect();
            or_none(&ports.join(",")).to_owned()
        }
    }
}

fn slice_cell(slice: &Value, title: &str) -> String {
    let list = |key: &str| slice.get(key).and_then(Value::as_array).into_iter().flatten();
    let joined = |found: Vec<String>, none: &str| if found.is_empty() { none.to_owned() } else { found.join(",") };
    match title {
        "AddressType" => object::text(slice, &["addressType"]).to_owned(),
        "Ports" => joined(list("ports").map(|port| port["port"].to_string()).collect(), "<unset>"),
        _ => {
            let addresses =
                list("endpoints").flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten());
            joined(addresses.filter_map(Value::as_str).map(str::to_owned).collect(), "<unset>")
        }
    }
}

fn ingress_cell(ingress: &Value, title: &str) -> String {
    let list = |pointer: &str| ingress.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let joined = |found: Vec<&str>| found.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(",");
    match title {
        "Class" => or_none(object::text(ingress, &["spec", "ingressClassName"])).to_owned(),
        "Hosts" => match joined(list("/spec/rules").map(|rule| object::text(rule, &["host"])).collect()) {
            none if none.is_empty() => "*".to_owned(),
            hosts => hosts,
        },
        "Address" => joined(list("/status/loadBalancer/ingress").map(|entry| object::text(entry, &["ip"])).collect()),
        _ if list("/spec/tls").next().is_some() => "80, 443".to_owned(),
        _ => "80".to_owned(),
    }
}
