//! Storages and what is on them.

use serde_json::{Map, Value, json};

use super::{Outcome, Request};
use crate::hypervisor::config::split_list;
use crate::hypervisor::{Hypervisor, Principal, Refusal, Storage, Volume};
use crate::world::World;

const READ: [&str; 2] = ["Datastore.Audit", "Datastore.AllocateSpace"];

/// `GET /nodes/{node}/storage`.
pub(super) fn list(request: &mut Request<'_>) -> Outcome {
    let hypervisor = &request.world.proxmox;
    let host = request.parameters.host();
    let wanted_contents: Vec<&str> = request.parameters.text("content").map(split_list).into_iter().flatten().collect();
    let matches = |storage: &&Storage| {
        storage.host == host
            && request.parameters.text("storage").is_none_or(|name| name == storage.name)
            && (!request.parameters.flag("enabled") || storage.enabled)
            && (wanted_contents.is_empty() || wanted_contents.iter().any(|content| storage.contents.contains(*content)))
            && hypervisor.may_any(request.who, &format!("/storage/{}", storage.name), &READ)
    };
    let entries = hypervisor.storages.values().filter(matches).map(|storage| {
        let mut entry = numbers(storage);
        entry.insert("storage".to_owned(), json!(storage.name));
        Value::Object(entry)
    });
    Ok(Value::Array(entries.collect()).into())
}

/// `GET /nodes/{node}/storage/{storage}/status`.
pub(super) fn status(request: &mut Request<'_>) -> Outcome {
    Ok(Value::Object(numbers(find(request)?)).into())
}

/// A storage's definition and, while it can be reached, its numbers.
fn numbers(storage: &Storage) -> Map<String, Value> {
    let contents: Vec<_> = storage.contents.iter().map(String::as_str).collect();
    let active = storage.enabled && storage.online;
    let mut entry = Map::from_iter([
        ("type".to_owned(), json!(storage.kind.name())),
        ("content".to_owned(), json!(contents.join(","))),
        ("enabled".to_owned(), json!(u8::from(storage.enabled))),
        ("active".to_owned(), json!(u8::from(active))),
        ("shared".to_owned(), json!(0)),
    ]);
    let (total, used) = if active { (storage.total, storage.used()) } else { (0, 0) };
    entry.insert("total".to_owned(), json!(total));
    entry.insert("used".to_owned(), json!(used));
    entry.insert("avail".to_owned(), json!(total - used));
    if total > 0 {
        entry.insert("used_fraction".to_owned(), json!(used as f64 / total as f64));
    }
    entry
}

/// `GET /nodes/{node}/storage/{storage}/content`. Each volume has its own right:
/// those of a machine need VM.Config.Disk **on the machine**, so a token whose
/// rights come from a pool does not see what a destroyed machine left behind.
pub(super) fn content(request: &mut Request<'_>) -> Outcome {
    let storage = find(request)?;
    if !storage.online {
        return Err(Refusal::failure(format!("storage '{}' is not online", storage.name)));
    }
    let world = &*request.world;
    let owner = request.parameters.text("vmid").map(|_| request.parameters.machine());
    let wanted = request.parameters.text("content");
    let entries = storage.volumes.iter().filter(|(_, volume)| {
        wanted.is_none_or(|content| content == volume.content)
            && owner.is_none_or(|id| volume.owner == Some(id))
            && may_see(&world.proxmox, request.who, storage, volume)
    });
    let entries = entries.map(|(name, volume)| {
        let mut entry = Map::from_iter([
            ("volid".to_owned(), json!(storage.volume_id(name))),
            ("content".to_owned(), json!(volume.content)),
            ("format".to_owned(), json!(volume.format)),
            ("ctime".to_owned(), json!(world.wall_at(volume.created_at).as_secs())),
        ]);
        // An image file is as large as the file, a disk is as large as the guest sees it.
        let size = if volume.content == "images" { volume.size } else { volume.written };
        entry.insert("size".to_owned(), json!(size));
        if let Some(owner) = volume.owner {
            entry.insert("vmid".to_owned(), json!(owner));
        }
        Value::Object(entry)
    });
    Ok(Value::Array(entries.collect()).into())
}

/// pve-storage, `check_volume_access` without a machine given.
fn may_see(hypervisor: &Hypervisor, who: &Principal, storage: &Storage, volume: &Volume) -> bool {
    let path = format!("/storage/{}", storage.name);
    if hypervisor.may(who, &path, &["Datastore.Allocate"]) {
        return true;
    }
    match volume.owner {
        Some(owner) => {
            hypervisor.may(who, &path, &["Datastore.Audit"])
                && hypervisor.may(who, &format!("/vms/{owner}"), &["VM.Config.Disk"])
        }
        None => hypervisor.may_any(who, &path, &READ),
    }
}

fn find<'a>(request: &'a Request<'_>) -> Result<&'a Storage, Refusal> {
    let (host, name) = (request.parameters.host(), request.parameters.text("storage").unwrap_or_default());
    request.world.proxmox.storage(host, name)
}

/// A storage as `/cluster/resources` shows it.
pub(super) fn resource(world: &World, view: &Hypervisor, host: &str, storage: &Storage) -> Value {
    let said = world.fresh_broadcast(view, host).and_then(|broadcast| broadcast.storage_used.get(&storage.name));
    let contents: Vec<_> = storage.contents.iter().map(String::as_str).collect();
    json!({
        "id": format!("storage/{host}/{}", storage.name),
        "type": "storage",
        "storage": storage.name,
        "node": host,
        "plugintype": storage.kind.name(),
        "content": contents.join(","),
        "shared": 0,
        "status": if said.is_some() && storage.online { "available" } else { "unknown" },
        "disk": said.copied().unwrap_or(0),
        "maxdisk": if said.is_some() { storage.total } else { 0 },
    })
}
