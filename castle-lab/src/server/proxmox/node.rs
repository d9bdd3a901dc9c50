//! Hosts: the list, their live status, their networks.

use serde_json::{Map, Value, json};

use super::cluster::{REPOSITORY, VERSION};
use super::{Outcome, Request};
use crate::hypervisor::{Host, Hypervisor, Refusal};
use crate::world::World;

/// `GET /nodes`.
pub(super) fn list(request: &mut Request<'_>) -> Outcome {
    let world = &*request.world;
    let hosts = world.proxmox.hosts.values().map(|host| {
        let may_look = world.proxmox.may(request.who, &format!("/nodes/{}", host.name), &["Sys.Audit"]);
        summary(world, &world.proxmox, host, may_look)
    });
    Ok(Value::Array(hosts.collect()).into())
}

/// A host as lists show it: whether it is up is fresh, its numbers are as old as
/// its last broadcast, and without Sys.Audit there are none.
pub(super) fn summary(world: &World, view: &Hypervisor, host: &Host, may_look: bool) -> Value {
    let mut entry = Map::from_iter([
        ("id".to_owned(), json!(format!("node/{}", host.name))),
        ("type".to_owned(), json!("node")),
        ("node".to_owned(), json!(host.name)),
        ("status".to_owned(), json!(if host.online { "online" } else { "offline" })),
    ]);
    let mut set = |name: &str, value: Value| entry.insert(name.to_owned(), value);
    if let (true, true, Some(said)) = (may_look, host.online, world.fresh_broadcast(view, &host.name)) {
        set("level", json!(""));
        set("maxcpu", json!(host.cpus));
        set("cpu", json!(0.05));
        set("maxmem", json!(host.memory));
        set("mem", json!(said.memory_used));
        set("uptime", json!(said.at.saturating_sub(host.booted_at).as_secs()));
        set("maxdisk", json!(100_u64 << 30));
        set("disk", json!(10_u64 << 30));
    }
    Value::Object(entry)
}

/// `GET /nodes/{node}/status`: live.
pub(super) fn status(request: &mut Request<'_>) -> Outcome {
    let world = &*request.world;
    let host = host(request)?;
    let used = world.proxmox.memory_used(&host.name).min(host.memory);
    let free = host.memory - used;
    let uptime = world.now().saturating_sub(host.booted_at).as_secs();
    Ok(json!({
        "pveversion": format!("pve-manager/{VERSION}/{REPOSITORY}"),
        "kversion": "Linux 6.17.2-1-pve",
        "uptime": uptime,
        "cpu": 0.05,
        "wait": 0,
        "idle": 0,
        // The load is text here, as the kernel prints it.
        "loadavg": ["0.42", "0.40", "0.38"],
        "cpuinfo": {
            "cpus": host.cpus,
            "cores": host.cpus / 2,
            "sockets": 1,
            "model": "Simulated CPU",
            "mhz": "3000.000",
            "hvm": "1",
        },
        "memory": {"total": host.memory, "used": used, "free": free, "available": free},
        "swap": {"total": 0, "used": 0, "free": 0},
        "ksm": {"shared": 0},
        "rootfs": {"total": 100_u64 << 30, "used": 10_u64 << 30, "free": 90_u64 << 30, "avail": 90_u64 << 30},
        "current-kernel": {"sysname": "Linux", "release": "6.17.2-1-pve", "machine": "x86_64"},
    })
    .into())
}

/// `GET /nodes/{node}/network`: the host's interfaces; bridges need a right.
pub(super) fn network(request: &mut Request<'_>) -> Outcome {
    let hypervisor = &request.world.proxmox;
    let host = host(request)?;
    let wanted = request.parameters.text("type");
    let mut entries = Vec::new();
    let bridges_match =
        wanted.is_none_or(|wanted| ["bridge", "any_bridge", "any_local_bridge", "include_sdn"].contains(&wanted));
    for bridge in host.bridges.iter().filter(|_| bridges_match) {
        let path = format!("/sdn/zones/localnetwork/{}", bridge.name);
        if !hypervisor.may_any(request.who, &path, &["SDN.Audit", "SDN.Use"]) {
            continue;
        }
        let (address, netmask) = bridge.cidr.split_once('/').unwrap_or((&bridge.cidr, ""));
        let mut entry = json!({
            "iface": bridge.name,
            "type": "bridge",
            "active": 1,
            "autostart": 1,
            "exists": 1,
            "method": "static",
            "method6": "manual",
            "families": ["inet"],
            "address": address,
            "netmask": netmask,
            "cidr": bridge.cidr,
            "bridge_ports": "eno1",
            "bridge_stp": "off",
            "bridge_fd": "0",
            "priority": 3,
        });
        if let Some(gateway) = &bridge.gateway {
            entry["gateway"] = json!(gateway);
        }
        if bridge.vlan_aware {
            entry["bridge_vlan_aware"] = json!(1);
        }
        entries.push(entry);
    }
    if wanted.is_none_or(|wanted| wanted == "eth") {
        entries.push(json!({
            "iface": "eno1", "type": "eth", "active": 1, "exists": 1, "method": "manual", "method6": "manual",
            "families": ["inet"], "priority": 2,
        }));
    }
    Ok(Value::Array(entries).into())
}

fn host<'a>(request: &'a Request<'_>) -> Result<&'a Host, Refusal> {
    let name = request.parameters.host();
    // The proxy has found it already.
    request.world.proxmox.hosts.get(name).ok_or_else(|| Refusal::failure(format!("no such cluster node '{name}'")))
}
