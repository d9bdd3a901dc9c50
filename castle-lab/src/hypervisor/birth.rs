//! Making a machine: the stub that reserves the number, the disks, and the one
//! write that holds everything else.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::config::{self, Config, PropertyString};
use super::storage::{self, Volume};
use super::task::Birth;
use super::worker::{Action, Flow, LOCK_PATIENCE, Step};
use super::{Hypervisor, Maker, Principal, Refusal, Vm};
use crate::latency::Latency;
use crate::world::World;

/// The volume that a drive needs.
#[derive(Debug, Clone)]
pub(crate) struct Allocation {
    pub drive: String,
    pub storage: String,
    pub source: Source,
    pub options: PropertyString,
}

/// What a new volume holds.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// Nothing, so many bytes of it.
    Empty(u64),
    /// The variables of the firmware.
    Firmware,
    /// The cloud-init ISO.
    CloudInit,
    /// A copy of an image.
    Import(String),
}

/// What a create was asked for, checked and in order.
#[derive(Debug, Clone, Default)]
pub struct MachineOrder {
    /// The number.
    pub id: u32,
    /// The configuration as the request spelled it.
    pub settings: BTreeMap<String, String>,
    /// The pool to join.
    pub pool: Option<String>,
    /// Where drives go that name no storage.
    pub storage: Option<String>,
    /// Whether to start it afterwards.
    pub start: bool,
}

/// How a drive's value begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriveSource {
    /// `none` or `cdrom`.
    NoVolume,
    /// `<storage>:cloudinit`.
    CloudInit {
        /// The storage.
        storage: String,
    },
    /// `<storage>:<GiB>`, perhaps with `import-from`.
    New {
        /// The storage.
        storage: String,
        /// The size in bytes.
        size: u64,
        /// The image to copy.
        import_from: Option<String>,
    },
    /// A volume that exists.
    Existing(String),
}

impl DriveSource {
    /// Reads a drive's value; `default` is the storage of drives that name none.
    ///
    /// # Errors
    ///
    /// The text that Proxmox VE dies with when no storage is named.
    pub fn parse(value: &str, default: Option<&str>) -> Result<Self, String> {
        let drive = PropertyString::parse(value);
        let volume = drive.first().unwrap_or("none").to_owned();
        if volume == "none" || volume == "cdrom" {
            return Ok(Self::NoVolume);
        }
        let (storage, name) = match volume.split_once(':') {
            Some((storage, name)) => (Some(storage), name),
            None => (default, volume.as_str()),
        };
        let named =
            || storage.map(str::to_owned).ok_or_else(|| "no storage ID specified (and no default storage)".to_owned());
        if name == "cloudinit" {
            return Ok(Self::CloudInit { storage: named()? });
        }
        match name.parse::<f64>() {
            Ok(gib) if name.starts_with(|c: char| c.is_ascii_digit()) => Ok(Self::New {
                storage: named()?,
                size: (gib * (1_u64 << 30) as f64) as u64,
                import_from: drive.get("import-from").map(str::to_owned),
            }),
            _ => Ok(Self::Existing(volume)),
        }
    }
}

/// The image that Proxmox VE's firmware variables come from, in bytes.
const FIRMWARE_VARIABLES: u64 = 528 << 10;
/// An extent of a logical volume: sizes are rounded up to it.
const EXTENT: u64 = 4 << 20;

impl World {
    /// Reserves the number by a stub and forks the create.
    ///
    /// # Errors
    ///
    /// The 500 for a number that is taken: nothing was changed.
    pub fn create_machine(&mut self, host: &str, who: &Principal, order: MachineOrder) -> Result<String, Refusal> {
        let MachineOrder { id, mut settings, pool, storage, start } = order;
        let failed = format!("unable to create VM {id} - ");
        if let Some(taken) = self.proxmox.vms.get(&id) {
            return Err(Refusal::failure(format!("{failed}VM {id} already exists on node '{}'", taken.host)));
        }
        for (key, value) in &mut settings {
            let is_card = key.strip_prefix("net").is_some_and(|index| index.parse::<u8>().is_ok());
            if is_card && config::network_card(value).1.is_none() {
                let mac = self.generated_mac(id);
                *value = config::with_hardware_address(value, &mac);
            }
        }
        self.place(Vm {
            id,
            host: host.to_owned(),
            config: Config::stub("create"),
            running_since: None,
            pid: 0,
            maker: if who.is_castle() { Maker::Castle } else { Maker::Admin },
            incarnation: 0,
            answers_acpi: true,
        });

        let mut draft = Config::default();
        let mut allocations = Vec::new();
        for (key, value) in &settings {
            if !config::is_drive(key) {
                draft.set(key, value.as_str());
                continue;
            }
            let source = match DriveSource::parse(value, storage.as_deref()) {
                Ok(DriveSource::New { import_from: Some(image), storage, .. }) => (storage, Source::Import(image)),
                Ok(DriveSource::New { storage, .. }) if key == "efidisk0" => (storage, Source::Firmware),
                Ok(DriveSource::New { storage, .. }) if key == "tpmstate0" => (storage, Source::Empty(EXTENT)),
                Ok(DriveSource::New { storage, size, .. }) => (storage, Source::Empty(size)),
                Ok(DriveSource::CloudInit { storage }) => (storage, Source::CloudInit),
                _ => {
                    draft.set(key, value.as_str());
                    continue;
                }
            };
            let (storage, source) = source;
            let options = PropertyString::parse(value);
            allocations.push(Allocation { drive: key.clone(), storage, source, options });
        }
        let steps = self.create_program(host, id, &failed, allocations, pool.as_deref(), start);
        let birth = Birth { draft, ..Birth::default() };
        Ok(self.fork(host, "qmcreate", id, who, steps, Some(birth)))
    }

    fn create_program(
        &mut self,
        host: &str,
        id: u32,
        failed: &str,
        allocations: Vec<Allocation>,
        pool: Option<&str>,
        start: bool,
    ) -> VecDeque<Step> {
        let imports =
            u32::try_from(allocations.iter().filter(|drive| matches!(drive.source, Source::Import(_))).count())
                .unwrap_or(u32::MAX);
        let latency = if imports > 0 { Latency::CREATE_IMPORT } else { Latency::CREATE_EMPTY };
        let whole = self.draw(latency, &id.to_string(), "qmcreate");
        let hold = |storage: &str| {
            let key = (host.to_owned(), storage.to_owned());
            self.proxmox.storages.get(&key).map_or(Duration::ZERO, |storage| storage.lock_hold)
        };
        let held: Duration = allocations.iter().map(|drive| hold(&drive.storage)).sum();
        let rest = whole.saturating_sub(held);

        // A create waits only one second for the machine's lock file (qemu-server).
        let machine_lock = Hypervisor::machine_lock(host, id);
        let mut steps = VecDeque::from([Step::Lock { name: machine_lock.clone(), patience: Duration::from_secs(1) }]);
        for allocation in allocations {
            let lock = Hypervisor::storage_lock(host, &allocation.storage);
            let import = match &allocation.source {
                Source::Import(image) => Some(image.clone()),
                _ => None,
            };
            let within = match &import {
                Some(image) => format!("{failed}cannot import from '{image}' - "),
                None => failed.to_owned(),
            };
            steps.extend([
                Step::Within(within),
                Step::Lock { name: lock.clone(), patience: LOCK_PATIENCE },
                Step::Wait(hold(&allocation.storage)),
                Step::Act(Action::Allocate(allocation)),
                Step::Unlock(lock),
            ]);
            // The copy itself runs outside the storage's lock.
            if import.is_some() {
                steps.push_back(Step::Wait(rest / imports));
            }
        }
        if imports == 0 {
            steps.push_back(Step::Wait(rest));
        }
        steps.extend([
            Step::Within(failed.to_owned()),
            Step::Strike,
            Step::Act(Action::WriteConfig),
            Step::StrikeHalfway,
        ]);
        steps.extend(pool.map(|pool| Step::Act(Action::JoinPool(pool.to_owned()))));
        steps.push_back(Step::Unlock(machine_lock));
        steps.extend(start.then_some(Step::Act(Action::AutoStart)));
        steps
    }

    /// Puts a machine into the world, as a new incarnation of its number.
    pub(crate) fn place(&mut self, mut vm: Vm) {
        self.incarnations += 1;
        vm.incarnation = self.incarnations;
        self.proxmox.vms.insert(vm.id, vm);
    }

    /// A hardware address as Proxmox VE generates it.
    pub(crate) fn generated_mac(&mut self, id: u32) -> String {
        let bytes = self.draw_bytes(&id.to_string(), "mac");
        format!("BC:24:11:{:02X}:{:02X}:{:02X}", bytes[0], bytes[1], bytes[2])
    }

    /// A random uuid.
    pub(crate) fn generated_uuid(&mut self, id: u32, what: &str) -> String {
        let mut bytes = self.draw_bytes(&id.to_string(), what);
        bytes[6] = bytes[6] & 0x0F | 0x40;
        bytes[8] = bytes[8] & 0x3F | 0x80;
        let text = hex::encode(bytes);
        [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
    }

    pub(crate) fn allocate(&mut self, task: usize, allocation: &Allocation) -> Result<Flow, String> {
        let (host, id) = (self.proxmox.tasks[task].host.clone(), self.proxmox.tasks[task].machine);
        let image = match &allocation.source {
            Source::Import(image) => Some(self.image_size(&host, image)?),
            _ => None,
        };
        let now = self.now;
        let storage = self.proxmox.storage(&host, &allocation.storage).map_err(|refusal| refusal.message)?;
        let round = |bytes: u64| match storage.kind {
            storage::StorageKind::LvmThin => bytes.next_multiple_of(EXTENT),
            storage::StorageKind::Dir => bytes,
        };
        let format = allocation.options.get("format").unwrap_or_else(|| storage.default_format()).to_owned();
        let (size, written) = match &allocation.source {
            Source::Empty(size) => (*size, 0),
            Source::Firmware => (round(FIRMWARE_VARIABLES), round(FIRMWARE_VARIABLES)),
            Source::CloudInit => (EXTENT, EXTENT),
            Source::Import(_) => image.unwrap_or((0, 0)),
        };
        let name = match allocation.source {
            Source::CloudInit => storage.volume_name(id, "cloudinit", &format),
            _ => storage.next_disk_name(id, &format),
        };
        if let Some(text) = storage.refuses(&name, written.max(EXTENT)) {
            return Err(text);
        }
        if storage.volumes.contains_key(&name) {
            // lvcreate's words; only an old volume of the same name can cause them.
            return Err(format!(
                "lvcreate 'pve/{name}' error:   Logical Volume \"{name}\" already exists in volume group \"pve\""
            ));
        }
        let volume = storage.volume_id(&name);
        let mut value = allocation.options.clone();
        value.remove("import-from");
        value.remove("format");
        value.set_first(volume.as_str());
        if matches!(allocation.source, Source::CloudInit) {
            value.set("media", "cdrom");
        } else {
            value.set("size", storage::print_size(size));
        }
        let copied = match &allocation.source {
            Source::Import(image) => image.rsplit('/').next().map(str::to_owned),
            _ => None,
        };
        let made = Volume {
            content: "images".to_owned(),
            format,
            size,
            written,
            owner: Some(id),
            created_at: now,
            image: copied,
        };
        let key = (host, allocation.storage.clone());
        let target = self.proxmox.storages.get_mut(&key).expect("the storage was found above");
        target.volumes.insert(name, made);

        let worker = &mut self.proxmox.tasks[task];
        worker.log.push(format!("{}: successfully created disk '{value}'", allocation.drive));
        let birth = worker.birth.as_mut().expect("only a create allocates");
        birth.volumes.push(volume);
        birth.drives.insert(allocation.drive.clone(), value.to_string());
        Ok(Flow::On)
    }

    /// The virtual size of an image and what a copy of it takes.
    fn image_size(&self, host: &str, image: &str) -> Result<(u64, u64), String> {
        let missing = || format!("could not get size of {image}");
        let (storage, name) = storage::split_volume_id(image).ok_or_else(missing)?;
        let storage = self.proxmox.storage(host, storage).map_err(|refusal| refusal.message)?;
        if !storage.online {
            return Err(format!("storage '{}' is not online", storage.name));
        }
        storage.volumes.get(name).map(|volume| (volume.size, volume.size)).ok_or_else(missing)
    }

    pub(crate) fn write_config(&mut self, task: usize) -> Result<Flow, String> {
        let id = self.proxmox.tasks[task].machine;
        let birth = self.proxmox.tasks[task].birth.clone().unwrap_or_default();
        let mut config = birth.draft;
        for (drive, value) in &birth.drives {
            config.set(drive, value.as_str());
        }
        config.set("meta", format!("creation-qemu=10.1.2,ctime={}", self.unix_now()));
        if let Some(tags) = config.get("tags").map(config::stored_tags) {
            config.set("tags", tags);
        }
        if let Some(description) = config.get("description").map(|text| text.trim_end().to_owned()) {
            config.set("description", description);
        }
        if config.get("boot").is_none() {
            let disk = config.iter().map(|(key, _)| key).find(|key| config::is_drive(key) && key.starts_with("scsi"));
            let order = format!("order={}", disk.unwrap_or("net0"));
            config.set("boot", order);
        }
        if config.get("smbios1").is_none() {
            let uuid = self.generated_uuid(id, "smbios");
            config.set("smbios1", format!("uuid={uuid}"));
        }
        match config.get("vmgenid") {
            None | Some("1") => {
                let uuid = self.generated_uuid(id, "vmgenid");
                config.set("vmgenid", uuid);
            }
            Some(_) => {}
        }
        // The number is held by the stub and by the lock file, so the machine is still ours.
        let vm = self.proxmox.vms.get_mut(&id).ok_or_else(|| "the reservation is gone".to_owned())?;
        vm.config = config;
        self.log(format!("VM {id} is complete"));
        Ok(Flow::On)
    }

    pub(crate) fn join_pool(&mut self, task: usize, pool: &str) -> Result<Flow, String> {
        let id = self.proxmox.tasks[task].machine;
        let members = self.proxmox.pools.get_mut(pool).ok_or_else(|| format!("pool '{pool}' does not exist"))?;
        members.insert(id);
        Ok(Flow::On)
    }

    pub(crate) fn auto_start(&mut self, task: usize) -> Result<Flow, String> {
        let worker = &mut self.proxmox.tasks[task];
        worker.log.push("Execute autostart".to_owned());
        let (host, id, owner) = (worker.host.clone(), worker.machine, worker.owner.clone());
        // A refused start is a warning: the create itself has succeeded.
        if let Err(refusal) = self.start_machine(&host, id, &owner) {
            self.proxmox.tasks[task].log.push(refusal.message);
        }
        Ok(Flow::On)
    }

    /// What a failed or interrupted task takes back: a create frees its volumes
    /// and unlinks its stub; the others have nothing to undo.
    pub(crate) fn clean_up(&mut self, task: usize) {
        let Some(birth) = self.proxmox.tasks[task].birth.clone() else { return };
        let (host, id) = (self.proxmox.tasks[task].host.clone(), self.proxmox.tasks[task].machine);
        for volume in &birth.volumes {
            if let Err(text) = self.remove_volume(&host, volume) {
                self.proxmox.tasks[task].log.push(text);
            }
        }
        let incarnation = self.proxmox.tasks[task].incarnation;
        if self.proxmox.vms.get(&id).is_some_and(|vm| Some(vm.incarnation) == incarnation) {
            self.proxmox.vms.remove(&id);
            self.log(format!("VM {id} was not born"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_read_as_proxmox_reads_them() {
        let import = "local-lvm:0,import-from=local:import/talos.qcow2,discard=on";
        assert_eq!(
            DriveSource::parse(import, None),
            Ok(DriveSource::New {
                storage: "local-lvm".into(),
                size: 0,
                import_from: Some("local:import/talos.qcow2".into())
            })
        );
        assert_eq!(
            DriveSource::parse("local-lvm:cloudinit", None),
            Ok(DriveSource::CloudInit { storage: "local-lvm".into() })
        );
        assert_eq!(
            DriveSource::parse("32", Some("local-lvm")),
            Ok(DriveSource::New { storage: "local-lvm".into(), size: 32 << 30, import_from: None })
        );
        assert_eq!(DriveSource::parse("none,media=cdrom", None), Ok(DriveSource::NoVolume));
        let existing = DriveSource::Existing("local-lvm:vm-421-disk-0".into());
        assert_eq!(DriveSource::parse("local-lvm:vm-421-disk-0,size=4G", None), Ok(existing));
        assert!(DriveSource::parse("32", None).is_err());
    }
}
