//! Whether a configuration may be written by somebody: keys, storages, bridges.
//!
//! The order is qemu-server's: pool, default storage, the number, drives, keys,
//! bridges. What is refused first is what a client sees.

use std::collections::BTreeMap;

use super::Request;
use super::setting::{self, Need};
use crate::hypervisor::birth::DriveSource;
use crate::hypervisor::config::{PropertyString, is_drive};
use crate::hypervisor::storage::split_volume_id;
use crate::hypervisor::{Principal, Refusal};
use crate::world::World;

type Settings = BTreeMap<String, String>;

/// Checks a create.
///
/// # Errors
///
/// 403 and 400 for rights and contents that are missing, 500 for storages that
/// are.
pub(super) fn may_create(request: &Request<'_>, id: u32, settings: &Settings) -> Result<(), Refusal> {
    let (world, who) = (&*request.world, request.who);
    let pool = request.parameters.text("pool");
    let default = request.parameters.text("storage");
    if let Some(pool) = pool.filter(|pool| !world.proxmox.pools.contains_key(*pool)) {
        return Err(Refusal::forbidden(&format!("pool '{pool}' does not exist")));
    }
    if let Some(storage) = default {
        world.proxmox.require(who, &format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    }
    let on_pool = pool.is_some_and(|pool| world.proxmox.may(who, &format!("/pool/{pool}"), &["VM.Allocate"]));
    if !on_pool && !world.proxmox.may(who, &format!("/vms/{id}"), &["VM.Allocate"]) {
        return Err(Refusal::forbidden_without_detail());
    }
    if request.parameters.flag("start") {
        world.proxmox.require_on_vm(who, id, pool, &["VM.PowerMgmt"], false)?;
    }
    let host = request.parameters.host();
    for (key, value) in settings.iter().filter(|(key, _)| is_drive(key)) {
        check_drive(world, who, host, id, pool, (key, value), default)?;
    }
    check_keys(world, who, id, pool, settings.iter().map(|(key, value)| (key.as_str(), value.as_str())))?;
    check_bridges(world, who, settings)
}

/// Checks a change.
///
/// # Errors
///
/// As [`may_create`]; new volumes are refused by name, for this lab makes them
/// only at birth.
pub(super) fn may_change(
    request: &Request<'_>,
    id: u32,
    settings: &Settings,
    removals: &[String],
) -> Result<(), Refusal> {
    let (world, who, host) = (&*request.world, request.who, request.parameters.host());
    let removed = removals.iter().map(|key| (key.as_str(), "socket"));
    let written = settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    check_keys(world, who, id, None, removed.chain(written))?;
    for (key, value) in settings.iter().filter(|(key, _)| is_drive(key)) {
        check_drive(world, who, host, id, None, (key, value), None)?;
        let source = DriveSource::parse(value, None).map_err(Refusal::failure)?;
        if matches!(source, DriveSource::New { .. } | DriveSource::CloudInit { .. }) {
            return Err(Refusal::failure(format!("this lab does not simulate new volumes in a change ('{key}')")));
        }
    }
    if let Some(key) = removals.iter().find(|key| is_drive(key)) {
        world.proxmox.require_on_vm(who, id, None, &["VM.Config.Disk"], false)?;
        return Err(Refusal::failure(format!("this lab does not simulate the detaching of drives ('{key}')")));
    }
    check_bridges(world, who, settings)
}

fn check_keys<'a>(
    world: &World,
    who: &Principal,
    id: u32,
    pool: Option<&str>,
    keys: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), Refusal> {
    if who.is_root() {
        return Ok(());
    }
    for (key, value) in keys.filter(|(key, _)| !is_drive(key)) {
        match setting::need(key, value) {
            Need::All(privileges) => world.proxmox.require_on_vm(who, id, pool, privileges, false)?,
            Need::Any(privileges) => world.proxmox.require_on_vm(who, id, pool, privileges, true)?,
            Need::Root if key.starts_with("serial") => {
                return Err(Refusal::failure(format!("only root can set '{key}' config for real devices")));
            }
            Need::Root => return Err(Refusal::failure(format!("only root can set '{key}' config"))),
        }
        // It changes how the host starts, so the host's administrator must agree.
        if key == "startup" {
            world.proxmox.require(who, "/", &["Sys.Modify"])?;
        }
    }
    Ok(())
}

fn check_drive(
    world: &World,
    who: &Principal,
    host: &str,
    id: u32,
    pool: Option<&str>,
    (key, value): (&str, &str),
    default: Option<&str>,
) -> Result<(), Refusal> {
    let hypervisor = &world.proxmox;
    let drive = PropertyString::parse(value);
    let source = DriveSource::parse(value, default).map_err(Refusal::failure)?;
    let is_cdrom = drive.get("media") == Some("cdrom") || matches!(source, DriveSource::CloudInit { .. });
    let privileges: &[&str] = match source {
        DriveSource::CloudInit { .. } => &["VM.Config.Cloudinit", "VM.Config.CDROM"],
        _ if is_cdrom => &["VM.Config.CDROM"],
        _ => &["VM.Config.Disk"],
    };
    // One after the other, so that the one that is missing is named.
    for privilege in privileges {
        hypervisor.require_on_vm(who, id, pool, &[privilege], false)?;
    }
    match source {
        DriveSource::NoVolume => Ok(()),
        DriveSource::CloudInit { storage } => hypervisor.storage(host, &storage).map(|_| ()),
        DriveSource::New { storage, import_from, .. } => {
            hypervisor.require(who, &format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
            let found = hypervisor.storage(host, &storage)?;
            if !found.contents.contains("images") {
                let text = format!("storage '{storage}' does not support vm images");
                return Err(Refusal::parameter("storage", text));
            }
            match import_from {
                Some(image) => check_import(world, who, host, key, &image),
                None => Ok(()),
            }
        }
        DriveSource::Existing(volume) => {
            let Some((storage, _)) = split_volume_id(&volume) else {
                return Err(Refusal::failure("Only root can pass arbitrary filesystem paths."));
            };
            let path = format!("/storage/{storage}");
            hypervisor.require_any(who, &path, &["Datastore.AllocateSpace", "Datastore.Audit"])?;
            hypervisor.storage(host, storage).map(|_| ())
        }
    }
}

fn check_import(world: &World, who: &Principal, host: &str, key: &str, image: &str) -> Result<(), Refusal> {
    let Some((storage, name)) = split_volume_id(image) else {
        return if who.is_root() {
            Err(Refusal::failure(format!("this lab does not simulate imports from paths ('{image}')")))
        } else {
            Err(Refusal::failure("Only root can pass arbitrary filesystem paths."))
        };
    };
    let found = world.proxmox.storage(host, storage)?;
    let content = match name.split_once('/') {
        Some(("import", _)) => "import",
        Some(("iso", _)) => "iso",
        Some((other, _)) if other.parse::<u32>().is_err() => other,
        _ => "images",
    };
    if !["images", "import", "iso"].contains(&content) {
        let text = format!("{image} has wrong type '{content}' - needs to be 'images' or 'import'");
        return Err(Refusal::parameter(key, text));
    }
    if let Some(owner) = found.volumes.get(name).and_then(|volume| volume.owner) {
        return world.proxmox.require(who, &format!("/vms/{owner}"), &["VM.Clone"]);
    }
    let path = format!("/storage/{storage}");
    world.proxmox.require_any(who, &path, &["Datastore.AllocateSpace", "Datastore.Audit"])
}

fn check_bridges(world: &World, who: &Principal, settings: &Settings) -> Result<(), Refusal> {
    let cards = settings.iter().filter(|(key, _)| key.strip_prefix("net").is_some_and(|n| n.parse::<u8>().is_ok()));
    for (_, card) in cards {
        let card = PropertyString::parse(card);
        let Some(bridge) = card.get("bridge") else { continue };
        let path = match card.get("tag") {
            Some(tag) => format!("/sdn/zones/localnetwork/{bridge}/{tag}"),
            None => format!("/sdn/zones/localnetwork/{bridge}"),
        };
        world.proxmox.require(who, &path, &["SDN.Use"])?;
    }
    Ok(())
}
