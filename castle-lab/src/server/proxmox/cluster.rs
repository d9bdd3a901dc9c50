//! What the cluster knows as a whole: version, free numbers, resources.

use serde_json::{Map, Value, json};

use super::{Outcome, Request, storage};
use crate::hypervisor::{Hypervisor, Refusal, Vm};
use crate::world::World;

/// The version that this lab speaks like.
pub(super) const VERSION: &str = "9.2.3";
/// The commit that a real house shows beside its version; eight digits are enough.
pub(super) const REPOSITORY: &str = "1ab5ca57";

/// `GET /version`.
pub(super) fn version(_request: &mut Request<'_>) -> Outcome {
    Ok(json!({"version": VERSION, "release": "9.2", "repoid": REPOSITORY}).into())
}

/// `GET /cluster/nextid`: the lowest free number, or whether one is free. It
/// reserves nothing, and it asks for no right.
pub(super) fn next_id(request: &mut Request<'_>) -> Outcome {
    let hypervisor = &request.world.proxmox;
    let Some(wanted) = request.parameters.text("vmid") else {
        return Ok(json!(hypervisor.next_id().to_string()).into());
    };
    let id = request.parameters.machine();
    if hypervisor.vms.contains_key(&id) {
        return Err(Refusal::parameter("vmid", format!("VM {id} already exists")));
    }
    Ok(json!(wanted).into())
}

/// `GET /cluster/resources`. Existence, host, tags, lock and pool are as fresh as
/// the files of the cluster; name, state and sizes are as old as the last
/// broadcast of the host.
pub(super) fn resources(request: &mut Request<'_>) -> Outcome {
    let world = &*request.world;
    let view = world.cluster_view();
    let kind = request.parameters.text("type");
    let wants = |name: &str| kind.is_none_or(|kind| kind == name);
    let mut entries = Vec::new();
    if wants("vm") {
        // Rights come from the pools as the view shows them, like everything else here.
        let seen = view.vms.values().filter(|vm| view.may(request.who, &format!("/vms/{}", vm.id), &["VM.Audit"]));
        entries.extend(seen.map(|vm| machine(world, view, vm)));
    }
    if wants("node") {
        for host in view.hosts.values() {
            let may_look = view.may(request.who, &format!("/nodes/{}", host.name), &["Sys.Audit"]);
            entries.push(super::node::summary(world, view, host, may_look));
        }
    }
    if wants("storage") {
        for ((host, name), found) in &view.storages {
            let path = format!("/storage/{name}");
            if view.may_any(request.who, &path, &["Datastore.Audit", "Datastore.AllocateSpace"]) {
                entries.push(storage::resource(world, view, host, found));
            }
        }
    }
    if wants("sdn") {
        for host in view.hosts.keys() {
            if view.may_any(request.who, "/sdn/zones/localnetwork", &["SDN.Audit", "SDN.Use"]) {
                let id = format!("sdn/{host}/localnetwork");
                entries.push(json!({"id": id, "type": "sdn", "sdn": "localnetwork", "node": host, "status": "ok"}));
            }
        }
    }
    Ok(Value::Array(entries).into())
}

fn machine(world: &World, view: &Hypervisor, vm: &Vm) -> Value {
    let mut entry = Map::from_iter([
        ("id".to_owned(), json!(format!("qemu/{}", vm.id))),
        ("type".to_owned(), json!("qemu")),
        ("vmid".to_owned(), json!(vm.id)),
        ("node".to_owned(), json!(vm.host)),
        ("status".to_owned(), json!("unknown")),
    ]);
    let mut set = |name: &str, value: Value| entry.insert(name.to_owned(), value);
    if let Some(pool) = view.pool_of(vm.id) {
        set("pool", json!(pool));
    }
    if let Some(tags) = vm.config.get("tags").filter(|tags| !tags.is_empty()) {
        set("tags", json!(tags));
    }
    if let Some(lock) = vm.lock() {
        set("lock", json!(lock));
    }
    let said = world.fresh_broadcast(view, &vm.host).and_then(|broadcast| broadcast.machines.get(&vm.id));
    if let Some(said) = said {
        set("status", json!(if said.running { "running" } else { "stopped" }));
        set("name", json!(said.name));
        set("template", json!(u8::from(said.template)));
        set("uptime", json!(said.uptime.as_secs()));
        set("maxcpu", json!(said.cpus));
        set("maxmem", json!(said.memory));
        set("maxdisk", json!(said.disk));
        set("cpu", json!(if said.running { 0.02 } else { 0.0 }));
        set("mem", json!(if said.running { said.memory / 2 } else { 0 }));
        for name in ["disk", "diskread", "diskwrite", "netin", "netout"] {
            set(name, json!(0));
        }
    }
    Value::Object(entry)
}
