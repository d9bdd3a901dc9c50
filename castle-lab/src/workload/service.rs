//! Services: what the API server gives each of them, addresses above all.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::fields;
use crate::kube::Resource;
use crate::world::World;

/// The service network is 10.96.0.0/12; its first addresses are for those who ask
/// for one.
const NETWORK: u32 = 0x0A60_0000;
const SIZE: u32 = 1 << 20;
const RESERVED: u32 = 256;
/// The ports of nodes that services may take.
const NODE_PORTS: std::ops::Range<u32> = 30_000..32_768;

impl World {
    /// Fills in what services were applied without.
    pub(super) fn control_services(&mut self) {
        let services = self.all(&Resource::SERVICES);
        let text = |service: &Value| fields::text(service, &["spec", "clusterIP"]).to_owned();
        let mut addresses: BTreeSet<String> = services.iter().map(|service| text(service)).collect();
        let ports = |service: &Value| {
            let ports = fields::list(service, &["spec", "ports"]).iter();
            ports.map(|port| fields::number(port, &["nodePort"], 0)).collect::<Vec<_>>()
        };
        let mut taken: BTreeSet<u64> = services.iter().flat_map(|service| ports(service)).collect();
        for service in &services {
            let kind = fields::text(service, &["spec", "type"]);
            if kind == "ExternalName" || fields::is_terminating(service) {
                continue;
            }
            let mut filled = Value::clone(service);
            let entity = format!("{}/{}", fields::namespace(service), fields::name(service));
            if text(service).is_empty() {
                let address = self.draw_free(&entity, "cluster address", RESERVED..SIZE, |number| {
                    addresses.insert(std::net::Ipv4Addr::from(NETWORK + number).to_string())
                });
                filled["spec"]["clusterIP"] = json!(std::net::Ipv4Addr::from(NETWORK + address).to_string());
            }
            let own = filled["spec"]["clusterIP"].clone();
            let is_outside = ["LoadBalancer", "NodePort"].contains(&kind);
            for (key, value) in [
                ("clusterIPs", json!([own])),
                ("sessionAffinity", json!("None")),
                ("ipFamilies", json!(["IPv4"])),
                ("ipFamilyPolicy", json!("SingleStack")),
                ("internalTrafficPolicy", json!("Cluster")),
            ] {
                fill(&mut filled["spec"], key, value);
            }
            if is_outside {
                fill(&mut filled["spec"], "externalTrafficPolicy", json!("Cluster"));
            }
            if kind == "LoadBalancer" {
                fill(&mut filled["spec"], "allocateLoadBalancerNodePorts", json!(true));
            }
            for (nth, port) in filled["spec"]["ports"].as_array_mut().into_iter().flatten().enumerate() {
                let same = port["port"].clone();
                fill(port, "protocol", json!("TCP"));
                fill(port, "targetPort", same);
                if is_outside && port.get("nodePort").is_none() {
                    let act = format!("node port {nth}");
                    let number = self.draw_free(&entity, &act, NODE_PORTS, |number| taken.insert(u64::from(number)));
                    port["nodePort"] = json!(number);
                }
            }
            if service.get("status").is_none() {
                filled["status"] = json!({"loadBalancer": {}});
                self.report(service, filled["status"].clone());
                // The write above has taken a resource version.
                fields::forget_version(&mut filled);
            }
            if filled["spec"] != service["spec"] {
                self.wish(filled);
            }
        }
    }

    /// Draws a number of a range that nobody has.
    fn draw_free(
        &self,
        entity: &str,
        act: &str,
        range: std::ops::Range<u32>,
        mut take: impl FnMut(u32) -> bool,
    ) -> u32 {
        let size = f64::from(range.end - range.start);
        let drawn = |nth| range.start + (self.draws().unit(entity, act, nth) * size) as u32;
        // A thousand draws of a range that is nearly empty: one of them is free.
        (0..1000).map(drawn).find(|number| take(*number)).unwrap_or(range.start)
    }
}

fn fill(section: &mut Value, key: &str, value: Value) {
    if section.get(key).is_none_or(Value::is_null) {
        section[key] = value;
    }
}
