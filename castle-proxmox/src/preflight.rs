//! What would stop a birth, found by reads only, each with the command that
//! clears it.

use std::collections::{BTreeMap, BTreeSet};

use castle_core::{ByteSize, Inventory, MachineSpec, Power, Problem, Slot, Standing};

use crate::provider::ProxmoxProvider;
use crate::rights::{Rights, bridge_path, missing};
use crate::wire::{Interface, Permissions, Pool, Storage, Version, Volume};
use crate::{Error, Refusal, Result};

/// The oldest release that castle speaks with.
const OLDEST: u32 = 9;

/// What an import takes beyond its disk: the firmware's variables and the
/// cloud-init drive.
const BESIDE_THE_DISK: ByteSize = ByteSize::bytes(8 << 20);

/// What the image itself fills of a disk that is grown later.
const IMAGE: ByteSize = ByteSize::bytes(1536 << 20);

impl ProxmoxProvider {
    /// Looks for what would stop the birth of `specs`, beside what `inventory`
    /// shows already. What does not depend on each other is asked at once: a
    /// birth waits for the answers.
    ///
    /// # Errors
    ///
    /// Only when Proxmox VE cannot be asked at all: no answer, a wrong
    /// certificate, a refused token.
    pub(crate) async fn check_house(
        &self,
        specs: &[MachineSpec],
        inventory: &Inventory,
    ) -> castle_core::Result<Vec<Problem>> {
        let (version, permissions, pools) = futures::join!(
            self.client.get::<Version>(&["version"], &[]),
            self.client.get::<Permissions>(&["access", "permissions"], &[]),
            self.client.get::<Vec<Pool>>(&["pools"], &[]),
        );
        let mut found: Vec<Problem> = too_old(&version?).into_iter().collect();
        let rights = Rights::read(permissions?);
        found.extend(missing(&rights, specs, self.client.token_id()));
        found.extend(specs.iter().filter_map(|spec| id_problem(spec, inventory.slots.get(&spec.id))));
        found.extend(pool_problems(&rights, specs, &pools?));
        let known: Vec<&str> = inventory.hosts.keys().map(String::as_str).collect();
        for (host, specs) in by_host(specs) {
            let Some(state) = inventory.hosts.get(host) else {
                let hint = format!("correct the name in castle.yaml; the hosts are: {}", known.join(", "));
                found.push(Problem::error("host-unknown", host, "Proxmox VE knows no such host").hint(hint));
                continue;
            };
            if !state.online {
                let hint = "start it, or repair its way to the others; `pvecm status` shows it";
                found.push(Problem::error("host-offline", host, "the host is not online").hint(hint));
                continue;
            }
            found.extend(memory_problem(host, &specs, inventory));
            match self.host_problems(&rights, host, &specs, inventory).await {
                Ok(problems) => found.extend(problems),
                Err(error) => found.push(
                    Problem::error("host-not-checked", host, castle_core::Error::from(error).chain())
                        .hint("see that the host answers, then check again"),
                ),
            }
        }
        Ok(found)
    }

    async fn host_problems(
        &self,
        rights: &Rights,
        host: &str,
        specs: &[&MachineSpec],
        inventory: &Inventory,
    ) -> Result<Vec<Problem>> {
        let mut found = Vec::new();
        let (storage, network) = (["nodes", host, "storage"], ["nodes", host, "network"]);
        let (storages, interfaces) = futures::join!(
            self.client.get::<Vec<Storage>>(&storage, &[]),
            self.client.get::<Vec<Interface>>(&network, &[]),
        );
        let (storages, interfaces) = (storages?, interfaces?);
        let storage_named = |name: &str| storages.iter().find(|entry| entry.storage.as_deref() == Some(name));

        let mut disks: BTreeMap<&str, Vec<&MachineSpec>> = BTreeMap::new();
        let mut images: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
        let mut bridges: BTreeMap<&str, &MachineSpec> = BTreeMap::new();
        for spec in specs {
            disks.entry(&spec.storage).or_default().push(spec);
            images.insert((&spec.image.storage, &spec.image.file, &spec.image.url));
            bridges.insert(&spec.nic.bridge, spec);
        }
        for (name, specs) in disks {
            // What may not be seen is told as a missing right.
            if !rights.has(&format!("/storage/{name}"), "Datastore.Audit") {
                continue;
            }
            match usable(host, name, "images", storage_named(name)) {
                Ok(storage) => found.extend(room_problem(host, name, storage, &specs, inventory)),
                Err(problem) => found.push(*problem),
            }
        }
        for (name, file, url) in images {
            if !rights.has(&format!("/storage/{name}"), "Datastore.Audit") {
                continue;
            }
            match usable(host, name, "import", storage_named(name)) {
                Ok(_) => found.extend(self.image_problem(host, name, file, url).await?),
                Err(problem) => found.push(*problem),
            }
        }
        for (bridge, spec) in bridges {
            let is_there = interfaces.iter().any(|entry| entry.iface.as_deref() == Some(bridge));
            if rights.has(&bridge_path(spec), "SDN.Use") && !is_there {
                found.push(no_bridge(host, bridge, &interfaces));
            }
        }
        Ok(found)
    }

    async fn image_problem(&self, host: &str, storage: &str, file: &str, url: &str) -> Result<Option<Problem>> {
        let path = ["nodes", host, "storage", storage, "content"];
        let volumes: Vec<Volume> = match self.client.get(&path, &[("content", "import".to_owned())]).await {
            Ok(volumes) => volumes,
            Err(error) if unlisted(&error) => {
                let message = format!("the storage was not listed: {error}");
                return Ok(Some(
                    Problem::error("image-not-checked", format!("{storage}:import/{file}"), message)
                        .hint(format!("see `pvesm list {storage}` on {host}")),
                ));
            }
            Err(error) => return Err(error),
        };
        let wanted = format!("{storage}:import/{file}");
        if volumes.iter().any(|volume| volume.volid.as_deref() == Some(&wanted)) {
            return Ok(None);
        }
        Ok(Some(Problem::error("image-missing", wanted, format!("the image is not on {host}")).hint(format!(
            "`pvesh create /nodes/{host}/storage/{storage}/download-url --content import --filename {file} --url \
                 {url}`"
        ))))
    }
}

fn pool_problems(rights: &Rights, specs: &[MachineSpec], pools: &[Pool]) -> Vec<Problem> {
    let wanted: BTreeSet<&str> = specs.iter().map(|spec| spec.pool.as_str()).collect();
    let is_there = |pool: &str| pools.iter().any(|entry| entry.poolid.as_deref() == Some(pool));
    wanted
        .into_iter()
        // Without the right to see it, its absence would prove nothing.
        .filter(|pool| rights.has(&format!("/pool/{pool}"), "Pool.Audit") && !is_there(pool))
        .map(|pool| {
            Problem::error("pool-missing", pool, "there is no such pool").hint(format!("`pveum pool add {pool}`"))
        })
        .collect()
}

/// Whether a listing failed for a reason of the storage, not of the host.
fn unlisted(error: &Error) -> bool {
    matches!(
        error.refusal(),
        Some(Refusal::Forbidden { .. } | Refusal::StorageUnavailable | Refusal::NoSuchVolume | Refusal::Other)
    )
}

fn too_old(version: &Version) -> Option<Problem> {
    let text = version.version.as_deref().unwrap_or("");
    let major: u32 = text.split('.').next()?.parse().unwrap_or(0);
    (major < OLDEST).then(|| {
        Problem::error("version", "proxmox", format!("Proxmox VE {text} is too old: castle speaks with {OLDEST}"))
            .hint("upgrade the hosts: `pve8to9 --full` says whether they are ready")
    })
}

fn by_host(specs: &[MachineSpec]) -> BTreeMap<&str, Vec<&MachineSpec>> {
    let mut hosts: BTreeMap<&str, Vec<&MachineSpec>> = BTreeMap::new();
    for spec in specs {
        hosts.entry(spec.host.as_str()).or_default().push(spec);
    }
    hosts
}

fn id_problem(spec: &MachineSpec, slot: Option<&Slot>) -> Option<Problem> {
    let (id, node) = (spec.id, &spec.node);
    let subject = format!("{node} ({id})");
    let elsewhere = format!("declare another id for {node}, or move the machine that has {id}: `qm config {id}`");
    match slot {
        None | Some(Slot::Absent) => None,
        Some(Slot::Hidden) => {
            let message = "the id is taken by something that the token may not see";
            Some(Problem::error("id-taken", subject, message).hint(elsewhere))
        }
        Some(Slot::Unknown(why)) => {
            let message = format!("it is not known whether the id is free: {why}");
            Some(Problem::error("id-unknown", subject, message).hint("check again when the host answers"))
        }
        Some(Slot::Present(machine)) => match &machine.standing {
            Standing::Ours(_) | Standing::InCreation => None,
            Standing::Stub(text) => Some(Problem::error("id-half-made", subject, "the id is taken").hint(text)),
            standing @ (Standing::Undeclared(_) | Standing::Foreign(_)) => {
                let message = format!("the id is taken by `{}`, {standing}", machine.name);
                Some(Problem::error("id-taken", subject, message).hint(elsewhere))
            }
        },
    }
}

/// Whether the machine has its disk already.
fn has_disk(spec: &MachineSpec, inventory: &Inventory) -> bool {
    matches!(inventory.slots.get(&spec.id), Some(Slot::Present(machine)) if machine.disk.is_some())
}

fn is_running(spec: &MachineSpec, inventory: &Inventory) -> bool {
    matches!(inventory.slots.get(&spec.id), Some(Slot::Present(machine)) if machine.power == Power::Running)
}

fn memory_problem(host: &str, specs: &[&MachineSpec], inventory: &Inventory) -> Option<Problem> {
    let state = inventory.hosts.get(host)?;
    let (total, used) = (state.memory_total, state.memory_used);
    if total == ByteSize::default() {
        // Not told for want of Sys.Audit, which is a finding of its own.
        return None;
    }
    let all: ByteSize = specs.iter().map(|spec| spec.memory).sum();
    let more: ByteSize = specs.iter().filter(|spec| !is_running(spec, inventory)).map(|spec| spec.memory).sum();
    if all > total {
        return Some(
            Problem::error("memory", host, format!("the machines need {all}, the host has {total}"))
                .hint("declare less memory, or move a machine to another host"),
        );
    }
    (more + used > total && more > ByteSize::default()).then(|| {
        Problem::warning("memory-tight", host, format!("{used} of {total} are in use, and {more} more are needed"))
            .hint("stop what is not needed; `castle plan` refuses only what the declared budget does not hold")
    })
}

fn usable<'a>(
    host: &str,
    name: &str,
    content: &str,
    storage: Option<&'a Storage>,
) -> Result<&'a Storage, Box<Problem>> {
    let subject = format!("{host}/{name}");
    let refuse =
        |code, message: String, hint: String| Err(Box::new(Problem::error(code, &subject, message).hint(hint)));
    let Some(storage) = storage else {
        return refuse(
            "storage-missing",
            format!("{host} has no storage of this name"),
            format!("correct the name, or let {host} use it: `pvesm set {name} --nodes ..`; `pvesm status` lists them"),
        );
    };
    if storage.enabled == Some(false) {
        return refuse("storage-disabled", "it is disabled".into(), format!("`pvesm set {name} --disable 0`"));
    }
    if storage.active == Some(false) {
        let hint = format!("bring it online; `pvesm status --storage {name}` on {host} says more");
        return refuse("storage-offline", "it is not active".into(), hint);
    }
    let held: Vec<&str> = storage.content.as_deref().unwrap_or("").split(',').filter(|one| !one.is_empty()).collect();
    if !held.contains(&content) {
        let wanted = held.iter().copied().chain([content]).collect::<Vec<_>>().join(",");
        return refuse(
            "storage-content",
            format!("it does not hold content of type `{content}`"),
            format!("`pvesm set {name} --content {wanted}`"),
        );
    }
    Ok(storage)
}

/// Thin storages grant more than they have, so only what an import writes at
/// once is refused there; the rest is told.
fn room_problem(
    host: &str,
    name: &str,
    storage: &Storage,
    specs: &[&MachineSpec],
    inventory: &Inventory,
) -> Option<Problem> {
    let free = ByteSize::bytes(storage.avail?);
    let unborn: Vec<&&MachineSpec> = specs.iter().filter(|spec| !has_disk(spec, inventory)).collect();
    let whole: ByteSize = unborn.iter().map(|spec| spec.disk + BESIDE_THE_DISK).sum();
    let at_once: ByteSize = unborn.iter().map(|_| IMAGE + BESIDE_THE_DISK).sum();
    let is_thick = matches!(storage.kind.as_deref(), Some("lvm" | "iscsi" | "iscsidirect"));
    let needed = if is_thick { whole } else { at_once };
    let hint = format!("free space, or declare another storage; `pvesm list {name}` on {host} shows what fills it");
    let subject = format!("{host}/{name}");
    if free < needed {
        let message = format!("{needed} are needed, {free} are free");
        return Some(Problem::error("storage-full", subject, message).hint(hint));
    }
    (free < whole).then(|| {
        let message = format!("the disks may grow to {whole}, {free} are free");
        Problem::warning("storage-tight", subject, message).hint(hint)
    })
}

fn no_bridge(host: &str, bridge: &str, interfaces: &[Interface]) -> Problem {
    let bridges: Vec<&str> = interfaces
        .iter()
        .filter(|entry| entry.kind.as_deref().is_some_and(|kind| kind.to_lowercase().contains("bridge")))
        .filter_map(|entry| entry.iface.as_deref())
        .collect();
    Problem::error("bridge-missing", format!("{host}/{bridge}"), "the host has no such bridge").hint(format!(
        "correct `network.bridge` (there are: {}), or make it: `pvesh create /nodes/{host}/network --iface {bridge} \
         --type bridge --autostart 1 && pvesh set /nodes/{host}/network`",
        if bridges.is_empty() { "none".to_owned() } else { bridges.join(", ") }
    ))
}
