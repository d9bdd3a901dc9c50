//! Machines: lists, configuration, power, life and death.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::schema::Kind;
use super::{Outcome, Request, placement, setting};
use crate::hypervisor::birth::MachineOrder;
use crate::hypervisor::config::split_list;
use crate::hypervisor::{Change, PropertyString, Refusal, Vm};
use crate::world::World;

/// `GET /nodes/{node}/qemu`: what the host itself knows, not what was broadcast.
pub(super) fn list(request: &mut Request<'_>) -> Outcome {
    let world = &*request.world;
    let host = request.parameters.host();
    let seen = world
        .proxmox
        .vms
        .values()
        .filter(|vm| vm.host == host && world.proxmox.may(request.who, &format!("/vms/{}", vm.id), &["VM.Audit"]));
    Ok(Value::Array(seen.map(|vm| Value::Object(live(world, vm))).collect()).into())
}

/// `GET …/status/current`.
pub(super) fn status(request: &mut Request<'_>) -> Outcome {
    let vm = request.world.proxmox.vm(request.parameters.host(), request.parameters.machine())?;
    let mut entry = live(request.world, vm);
    entry.insert("ha".to_owned(), json!({"managed": 0}));
    if vm.is_running() {
        entry.insert("running-machine".to_owned(), json!("pc-q35-10.1"));
        entry.insert("running-qemu".to_owned(), json!("10.1.2"));
    }
    let agent = vm.config.get("agent").and_then(|agent| PropertyString::parse(agent).first_or("enabled"));
    if agent.is_some_and(|enabled| enabled == "1") {
        entry.insert("agent".to_owned(), json!(1));
    }
    Ok(Value::Object(entry).into())
}

fn live(world: &World, vm: &Vm) -> Map<String, Value> {
    let state = if vm.is_running() { "running" } else { "stopped" };
    let uptime = vm.running_since.map_or(0, |since| world.now().saturating_sub(since).as_secs());
    let mut entry = Map::from_iter([
        ("vmid".to_owned(), json!(vm.id)),
        ("name".to_owned(), json!(vm.name())),
        ("status".to_owned(), json!(state)),
        ("qmpstatus".to_owned(), json!(state)),
        ("uptime".to_owned(), json!(uptime)),
        ("cpus".to_owned(), json!(vm.cpus())),
        ("cpu".to_owned(), json!(if vm.is_running() { 0.02 } else { 0.0 })),
        ("maxmem".to_owned(), json!(vm.memory())),
        ("mem".to_owned(), json!(if vm.is_running() { vm.memory() / 2 } else { 0 })),
        ("maxdisk".to_owned(), json!(vm.disk_size())),
    ]);
    for name in ["disk", "diskread", "diskwrite", "netin", "netout"] {
        entry.insert(name.to_owned(), json!(0));
    }
    let mut set = |name: &str, value: Value| entry.insert(name.to_owned(), value);
    if vm.is_running() {
        set("pid", json!(vm.pid));
    }
    if let Some(lock) = vm.lock() {
        set("lock", json!(lock));
    }
    if let Some(tags) = vm.config.get("tags").filter(|tags| !tags.is_empty()) {
        set("tags", json!(tags));
    }
    if vm.is_template() {
        set("template", json!(1));
    }
    entry
}

/// `GET …/config`: with what waits for the next cold start, unless `current`.
pub(super) fn config(request: &mut Request<'_>) -> Outcome {
    let vm = request.world.proxmox.vm(request.parameters.host(), request.parameters.machine())?;
    if let Some(snapshot) = request.parameters.text("snapshot") {
        return Err(Refusal::failure(format!("snapshot '{snapshot}' does not exist")));
    }
    let values: Vec<(String, String)> = if request.parameters.flag("current") {
        vm.config.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    } else {
        vm.config.upcoming().into_iter().collect()
    };
    let mut entry: Map<String, Value> = values.into_iter().map(|(key, value)| typed(key, value)).collect();
    entry.insert("digest".to_owned(), json!(vm.config.digest()));
    Ok(Value::Object(entry).into())
}

/// Numbers and switches are numbers on the wire, all else is text.
fn typed(key: String, value: String) -> (String, Value) {
    let numeric = setting::of(&key).is_some_and(|setting| {
        matches!(setting.kind, Kind::Boolean | Kind::Integer { .. }) || setting.name == "cpulimit"
    });
    let shown = match value.parse::<i64>() {
        Ok(number) if numeric => json!(number),
        _ if key == "cipassword" => json!("**********"),
        _ => json!(value),
    };
    (key, shown)
}

/// `POST /nodes/{node}/qemu`.
pub(super) fn create(request: &mut Request<'_>) -> Outcome {
    let given = request.parameters;
    for unsupported in ["archive", "ha-managed"] {
        if given.text(unsupported).is_some_and(|value| value != "0") {
            return Err(Refusal::failure(format!("this lab does not simulate `{unsupported}`")));
        }
    }
    for dependent in ["force", "unique", "live-restore"] {
        if given.text(dependent).is_some() {
            return Err(Refusal::parameter(dependent, "missing property required by 'archive'"));
        }
    }
    let settings: std::collections::BTreeMap<String, String> = given
        .iter()
        .filter(|(name, _)| setting::of(name).is_some())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let id = given.machine();
    placement::may_create(request, id, &settings)?;
    let order = MachineOrder {
        id,
        settings,
        pool: given.text("pool").map(str::to_owned),
        storage: given.text("storage").map(str::to_owned),
        start: given.flag("start"),
    };
    let upid = request.world.create_machine(given.host(), request.who, order)?;
    Ok(json!(upid).into())
}

/// The kind of [`change`], which waits for the machine's lock file.
pub(super) const CHANGE: &str = "PUT qemu/config";

/// `PUT …/config`: synchronous.
pub(super) fn change(request: &mut Request<'_>) -> Outcome {
    refuse_skiplock(request)?;
    let given = request.parameters;
    let settings: std::collections::BTreeMap<String, String> = given
        .iter()
        .filter(|(name, _)| setting::of(name).is_some())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let removals: Vec<String> = given.text("delete").map(split_list).into_iter().flatten().map(str::to_owned).collect();
    let reverts = given.text("revert").is_some();
    if settings.is_empty() && removals.is_empty() && !reverts {
        return Err(Refusal::failure("no options specified"));
    }
    if reverts {
        return Err(Refusal::failure("this lab does not simulate `revert`"));
    }
    for key in &removals {
        if setting::of(key).is_none() {
            return Err(Refusal::parameter("delete", format!("unknown option '{key}'")));
        }
        if settings.contains_key(key) {
            let text = format!("you can't use '-{key}' and -delete {key}' at the same time");
            return Err(Refusal::parameter("delete", text));
        }
    }
    let (host, id) = (given.host(), given.machine());
    placement::may_change(request, id, &settings, &removals)?;
    let change = Change { settings, removals, digest: given.text("digest").map(str::to_owned) };
    request.world.change_machine(host, id, request.who, &change)?;
    Ok(Value::Null.into())
}

fn refuse_skiplock(request: &Request<'_>) -> Result<(), Refusal> {
    if request.parameters.flag("skiplock") && !request.who.is_root() {
        return Err(Refusal::parameter("skiplock", "Only root may use this option."));
    }
    Ok(())
}

/// `POST …/status/start`.
pub(super) fn start(request: &mut Request<'_>) -> Outcome {
    refuse_skiplock(request)?;
    let (host, id) = (request.parameters.host(), request.parameters.machine());
    Ok(json!(request.world.start_machine(host, id, request.who)?).into())
}

/// `POST …/status/stop`.
pub(super) fn stop(request: &mut Request<'_>) -> Outcome {
    refuse_skiplock(request)?;
    let (host, id) = (request.parameters.host(), request.parameters.machine());
    let overrule = request.parameters.flag("overrule-shutdown");
    Ok(json!(request.world.stop_machine(host, id, request.who, overrule)?).into())
}

/// `POST …/status/shutdown`.
pub(super) fn shut_down(request: &mut Request<'_>) -> Outcome {
    refuse_skiplock(request)?;
    let (host, id) = (request.parameters.host(), request.parameters.machine());
    let startup = request.world.proxmox.vm(host, id)?.config.get("startup").map(PropertyString::parse);
    let down = startup.and_then(|startup| startup.get("down").and_then(|down| down.parse().ok()));
    // A minute, unless the machine or the caller says otherwise.
    let timeout = Duration::from_secs(request.parameters.number("timeout").or(down).unwrap_or(60));
    let force = request.parameters.flag("forceStop");
    Ok(json!(request.world.shut_down_machine(host, id, request.who, timeout, force)?).into())
}

/// `PUT …/resize`.
pub(super) fn resize(request: &mut Request<'_>) -> Outcome {
    refuse_skiplock(request)?;
    let given = request.parameters;
    let (host, id) = (given.host(), given.machine());
    let (disk, size) = (given.text("disk").unwrap_or_default(), given.text("size").unwrap_or_default());
    let vm = request.world.proxmox.vm(host, id)?;
    let volume = vm.config.get(disk).and_then(|value| PropertyString::parse(value).first().map(str::to_owned));
    if let Some((storage, _)) = volume.as_deref().and_then(crate::hypervisor::storage::split_volume_id) {
        let path = format!("/storage/{storage}");
        request.world.proxmox.require(request.who, &path, &["Datastore.AllocateSpace"])?;
    }
    let digest = given.text("digest");
    Ok(json!(request.world.resize_machine(host, id, request.who, (disk, size), digest)?).into())
}

/// `DELETE /nodes/{node}/qemu/{vmid}`.
pub(super) fn destroy(request: &mut Request<'_>) -> Outcome {
    refuse_skiplock(request)?;
    let (host, id) = (request.parameters.host(), request.parameters.machine());
    let unreferenced = request.parameters.flag("destroy-unreferenced-disks");
    Ok(json!(request.world.destroy_machine(host, id, request.who, unreferenced)?).into())
}
