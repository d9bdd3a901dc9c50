//! Endpoint slices: which pods stand behind a service, and which of them are
//! ready.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{fields, pod};
use crate::kube::Resource;
use crate::world::World;

/// The label by which slices are found.
pub(super) const SERVICE: &str = "kubernetes.io/service-name";

/// The number of a service's target port on a pod.
fn target_port(port: &Value, pod: &Value) -> Option<u64> {
    match port.get("targetPort") {
        Some(Value::String(name)) => fields::list(pod, &["spec", "containers"])
            .iter()
            .flat_map(|container| fields::list(container, &["ports"]))
            .find(|known| fields::text(known, &["name"]) == name)
            .and_then(|known| known["containerPort"].as_u64()),
        Some(number) if number.as_u64().is_some_and(|number| number > 0) => number.as_u64(),
        _ => port["port"].as_u64(),
    }
}

impl World {
    /// Keeps one slice for each service with a selector.
    pub(super) fn control_endpoints(&mut self) {
        let pods = self.all(&Resource::PODS);
        let slices = self.all(&Resource::ENDPOINT_SLICES);
        for service in self.all(&Resource::SERVICES) {
            let selector = &service["spec"]["selector"];
            if !selector.is_object() || fields::is_terminating(&service) {
                continue;
            }
            let behind: Vec<&Arc<Value>> = pods
                .iter()
                .filter(|pod| {
                    fields::namespace(pod) == fields::namespace(&service) && fields::has_labels(selector, pod)
                })
                .filter(|pod| !fields::text(pod, &["status", "podIP"]).is_empty())
                .collect();
            let (endpoints, ports) = endpoints(&service, &behind);
            let known =
                slices.iter().find(|slice| fields::controller(slice) == Some(("Service", fields::uid(&service))));
            match known {
                Some(slice) if slice["endpoints"] == endpoints && slice["ports"] == ports => {}
                Some(slice) => {
                    let mut slice = Value::clone(slice);
                    (slice["endpoints"], slice["ports"]) = (endpoints, ports);
                    self.wish(slice);
                }
                None => self.make_slice(&service, endpoints, ports),
            }
        }
    }

    fn make_slice(&mut self, service: &Value, endpoints: Value, ports: Value) {
        let name = fields::name(service);
        let mut labels = json!({
            SERVICE: name,
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        });
        // The controller carries the service's labels over.
        for (key, value) in service.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten() {
            labels[key] = value.clone();
        }
        self.make(json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{name}-"),
                "namespace": fields::namespace(service),
                "labels": labels,
                "ownerReferences": fields::owned_by(service),
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": ports,
        }));
    }
}

/// The endpoints and the ports of a slice.
fn endpoints(service: &Value, pods: &[&Arc<Value>]) -> (Value, Value) {
    let shows_unready = service.pointer("/spec/publishNotReadyAddresses").and_then(Value::as_bool) == Some(true);
    let endpoint = |pod: &&Arc<Value>| {
        let serves = fields::condition(pod, "Ready") == "True";
        json!({
            "addresses": [fields::text(pod, &["status", "podIP"])],
            "conditions": {
                "ready": shows_unready || pod::is_ready(pod),
                "serving": serves,
                "terminating": fields::is_terminating(pod),
            },
            "nodeName": fields::text(pod, &["spec", "nodeName"]),
            "targetRef": {
                "kind": "Pod",
                "name": fields::name(pod),
                "namespace": fields::namespace(pod),
                "uid": fields::uid(pod),
            },
        })
    };
    let port = |port: &Value| {
        let pod = pods.first()?;
        Some(json!({
            "name": fields::text(port, &["name"]),
            "port": target_port(port, pod)?,
            "protocol": port.get("protocol").cloned().unwrap_or(json!("TCP")),
        }))
    };
    let ports = fields::list(service, &["spec", "ports"]).iter().filter_map(port).collect();
    (pods.iter().map(endpoint).collect(), ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_port_is_a_name_a_number_or_the_port_itself() {
        let pod = json!({"spec": {"containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]}});
        for (port, number) in [
            (json!({"port": 80, "targetPort": "web"}), Some(8080)),
            (json!({"port": 80, "targetPort": 9000}), Some(9000)),
            (json!({"port": 80}), Some(80)),
            (json!({"port": 80, "targetPort": "none"}), None),
        ] {
            assert_eq!(target_port(&port, &pod), number, "{port}");
        }
    }
}
