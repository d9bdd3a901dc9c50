//! MetalLB: addresses of the house for services of type LoadBalancer, and who
//! answers for them in the segment.
//!
//! The controller gives addresses from pools, the speakers announce them. Layer 2
//! only; pools of IPv6 are accepted and never used.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{fields, startup};
use crate::kube::Resource;
use crate::world::World;

/// Where MetalLB's own manifest puts everything.
const NAMESPACE: &str = "metallb-system";
const CONTROLLER: &str = "controller";
const SPEAKER: &str = "speaker";
/// The annotations that ask for an address: today's spelling and the former one.
const WISHES: [&str; 2] = ["metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs"];
const POOL_WISHES: [&str; 2] = ["metallb.io/address-pool", "metallb.universe.tf/address-pool"];

/// Pools of addresses.
pub(super) const POOLS: Resource =
    Resource { group: Cow::Borrowed("metallb.io"), plural: Cow::Borrowed("ipaddresspools") };
const ADVERTISEMENTS: Resource =
    Resource { group: Cow::Borrowed("metallb.io"), plural: Cow::Borrowed("l2advertisements") };

/// The first and the last address of an entry of a pool: `a.b.c.d/n`, or
/// `a.b.c.d-e.f.g.h`.
fn range(entry: &str) -> Result<(IpAddr, IpAddr), String> {
    let address = |text: &str| text.trim().parse::<IpAddr>().ok();
    if let Some((first, last)) = entry.split_once('-') {
        let bounds = address(first).zip(address(last));
        let (first, last) = bounds.ok_or_else(|| format!("invalid IP range {entry:?}"))?;
        if first.is_ipv4() != last.is_ipv4() || first > last {
            return Err(format!("invalid IP range {entry:?}: start IP {first} is after the end IP {last}"));
        }
        return Ok((first, last));
    }
    let invalid = || format!("invalid CIDR {entry:?}");
    let (head, length) = entry.split_once('/').ok_or_else(invalid)?;
    let (base, length) = (address(head).ok_or_else(invalid)?, length.trim().parse::<u32>().map_err(|_| invalid())?);
    match base {
        IpAddr::V4(base) if length <= 32 => {
            let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
            let first = u32::from(base) & !hosts;
            Ok((Ipv4Addr::from(first).into(), Ipv4Addr::from(first | hosts).into()))
        }
        IpAddr::V6(_) if length <= 128 => Ok((base, base)),
        _ => Err(invalid()),
    }
}

/// What MetalLB's webhooks say of an object, as far as one object can be judged.
pub(super) fn judge(object: &Value) -> Result<(), String> {
    if fields::text(object, &["kind"]) != "IPAddressPool" {
        return Ok(());
    }
    let name = fields::name(object);
    let entries = fields::list(object, &["spec", "addresses"]);
    if entries.is_empty() {
        return Err(format!("parsing address pool {name}: pool has no prefixes defined"));
    }
    for entry in entries {
        let entry = entry.as_str().unwrap_or("");
        range(entry).map_err(|why| format!("parsing address pool {name}: {why} in pool {name:?}"))?;
    }
    Ok(())
}

/// A pool as the controller sees it.
struct Pool {
    name: String,
    ranges: Vec<(Ipv4Addr, Ipv4Addr)>,
    gives_by_itself: bool,
    avoids_buggy: bool,
}

impl Pool {
    fn of(object: &Value) -> Self {
        let entries = fields::list(object, &["spec", "addresses"]).iter().filter_map(Value::as_str);
        let ranges = entries.filter_map(|entry| match range(entry) {
            Ok((IpAddr::V4(first), IpAddr::V4(last))) => Some((first, last)),
            _ => None,
        });
        let flag = |key: &str| object.pointer(&format!("/spec/{key}")).and_then(Value::as_bool);
        Self {
            name: fields::name(object).to_owned(),
            ranges: ranges.collect(),
            gives_by_itself: flag("autoAssign") != Some(false),
            avoids_buggy: flag("avoidBuggyIPs") == Some(true),
        }
    }

    fn has(&self, address: Ipv4Addr) -> bool {
        self.ranges.iter().any(|(first, last)| (first..=last).contains(&&address))
    }

    fn first_free(&self, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        let all = self.ranges.iter().flat_map(|(first, last)| u32::from(*first)..=u32::from(*last)).map(Ipv4Addr::from);
        let is_buggy = |address: &Ipv4Addr| [0, 255].contains(&address.octets()[3]);
        let mut usable = all.filter(|address| !(self.avoids_buggy && is_buggy(address)));
        usable.find(|address| !taken.contains(address))
    }
}

fn annotation<'a>(object: &'a Value, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| object.pointer("/metadata/annotations")?.get(*key)?.as_str())
}

/// The address that a service has.
pub(super) fn address_of(service: &Value) -> Option<Ipv4Addr> {
    let ingress = fields::list(service, &["status", "loadBalancer", "ingress"]);
    ingress.iter().find_map(|ingress| fields::text(ingress, &["ip"]).parse().ok())
}

/// The address that a service asks for.
fn wish_of(service: &Value) -> Option<Ipv4Addr> {
    let asked = annotation(service, &WISHES).unwrap_or(fields::text(service, &["spec", "loadBalancerIP"]));
    asked.split(',').find_map(|text| text.trim().parse().ok())
}

/// Whether MetalLB serves it: other classes are for other load balancers.
fn is_ours(service: &Value) -> bool {
    let class = fields::text(service, &["spec", "loadBalancerClass"]);
    fields::text(service, &["spec", "type"]) == "LoadBalancer" && (class.is_empty() || class.starts_with("metallb"))
}

impl World {
    fn pools(&self) -> Vec<Pool> {
        let pools = self.all(&POOLS);
        pools.iter().filter(|pool| fields::namespace(pool) == NAMESPACE).map(|pool| Pool::of(pool)).collect()
    }

    /// The controller: gives services their addresses, and takes back what no pool
    /// has any more.
    pub(super) fn control_load_balancers(&mut self, wakes: &mut BTreeSet<Duration>) {
        let controller = self.kubernetes.get(&Resource::DEPLOYMENTS, NAMESPACE, CONTROLLER);
        if !controller.is_ok_and(|controller| fields::condition(controller, "Available") == "True") {
            return;
        }
        let (now, pools) = (self.now(), self.pools());
        let services = self.all(&Resource::SERVICES);
        let mut taken: BTreeSet<Ipv4Addr> = services.iter().filter_map(|service| address_of(service)).collect();
        let mut waiting = BTreeMap::new();
        for service in &services {
            let present = address_of(service);
            if !is_ours(service) {
                if present.is_some() && fields::text(service, &["spec", "type"]) != "LoadBalancer" {
                    self.give(service, None);
                }
                continue;
            }
            let (wish, pool) = (wish_of(service), annotation(service, &POOL_WISHES));
            let may = |candidate: &&Pool| match pool {
                Some(name) => candidate.name == name,
                None => wish.is_some() || candidate.gives_by_itself,
            };
            let fits = |address: Ipv4Addr| {
                pools.iter().filter(may).any(|pool| pool.has(address)) && wish.is_none_or(|wish| wish == address)
            };
            if present.is_some_and(fits) {
                continue;
            }
            let found = match wish {
                Some(wish) => Some(wish).filter(|wish| fits(*wish) && !taken.contains(wish)),
                None => pools.iter().filter(may).find_map(|pool| pool.first_free(&taken)),
            };
            let Some(address) = found else {
                // Kubernetes shows it as pending.
                if present.is_some() {
                    self.give(service, None);
                }
                continue;
            };
            let uid = fields::uid(service);
            let since = self.workloads.waiting.get(uid).copied().unwrap_or(now);
            let (namespace, name) = (fields::namespace(service), fields::name(service));
            let due = since + startup::load_balancer_after(self.draws(), namespace, name);
            if now < due {
                wakes.insert(due);
                waiting.insert(uid.to_owned(), since);
                continue;
            }
            taken.insert(address);
            self.log(format!("service {namespace}/{name} has the address {address}"));
            self.give(service, Some(address));
        }
        self.workloads.waiting = waiting;
    }

    fn give(&mut self, service: &Arc<Value>, address: Option<Ipv4Addr>) {
        let status = match address {
            Some(address) => json!({"loadBalancer": {"ingress": [{"ip": address.to_string(), "ipMode": "VIP"}]}}),
            None => json!({"loadBalancer": {}}),
        };
        self.report(service, status);
    }

    /// The service whose address some speaker announces. A speaker announces an
    /// address of an advertised pool while the service has a ready endpoint.
    pub(super) fn announced(&self, address: IpAddr) -> Option<Arc<Value>> {
        let IpAddr::V4(address) = address else { return None };
        let service = self.all(&Resource::SERVICES).into_iter().find(|service| address_of(service) == Some(address))?;
        let pool = self.pools().into_iter().find(|pool| pool.has(address))?;
        let advertises = |advertisement: &Arc<Value>| {
            let named = fields::list(advertisement, &["spec", "ipAddressPools"]);
            let selectors = fields::list(advertisement, &["spec", "ipAddressPoolSelectors"]);
            let is_named = named.iter().any(|name| name.as_str() == Some(pool.name.as_str()));
            fields::namespace(advertisement) == NAMESPACE && (is_named || named.is_empty() && selectors.is_empty())
        };
        let advertisements = self.all(&ADVERTISEMENTS);
        let is_advertised = advertisements.iter().any(advertises) && self.has_speaker();
        (is_advertised && !self.ready_behind(&service).is_empty()).then_some(service)
    }

    /// Whether a speaker runs on a node that is up.
    fn has_speaker(&self) -> bool {
        let Ok(set) = self.kubernetes.get(&Resource::DAEMON_SETS, NAMESPACE, SPEAKER) else { return false };
        let uid = fields::uid(set);
        self.all(&Resource::PODS).iter().any(|pod| {
            fields::controller(pod) == Some(("DaemonSet", uid))
                && super::pod::is_ready(pod)
                && self.is_up(fields::text(pod, &["spec", "nodeName"]))
        })
    }

    /// Whether the machine of a node is on the network. In a world without hosts a
    /// node is only an object, and up.
    pub(super) fn is_up(&self, node: &str) -> bool {
        self.proxmox.hosts.is_empty()
            || self.nodes.iter().any(|machine| machine.hostname() == node && machine.is_reachable())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(addresses: &[&str]) -> Value {
        json!({"kind": "IPAddressPool", "metadata": {"name": "home"}, "spec": {"addresses": addresses}})
    }

    #[test]
    fn a_pool_s_addresses_are_judged() {
        for (entry, why) in [
            ("192.168.1.240-192.168.1.250", ""),
            ("192.168.1.240/28", ""),
            ("fd00::/64", ""),
            ("192.168.1.250-192.168.1.240", "start IP 192.168.1.250 is after the end IP 192.168.1.240"),
            ("192.168.1.240", "invalid CIDR"),
            ("192.168.1.240/33", "invalid CIDR"),
            ("192.168.1.240-house", "invalid IP range"),
        ] {
            let said = judge(&pool(&[entry])).err().unwrap_or_default();
            assert!(said.contains(why) && said.is_empty() == why.is_empty(), "{entry}: {said}");
        }
        assert!(judge(&pool(&[])).unwrap_err().contains("no prefixes"));
    }

    #[test]
    fn a_pool_gives_its_first_free_address() {
        let address = |last: u8| Ipv4Addr::new(192, 168, 1, last);
        let home = Pool::of(&pool(&["192.168.1.240/30", "192.168.1.250-192.168.1.251"]));
        let mut taken = BTreeSet::new();
        for last in [240, 241, 242, 243, 250, 251] {
            assert_eq!(home.first_free(&taken), Some(address(last)));
            taken.insert(address(last));
        }
        assert_eq!(home.first_free(&taken), None);
        assert!(home.has(address(250)) && !home.has(address(249)));
    }
}
