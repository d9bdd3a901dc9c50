//! What the administrator of the house does by hand, at once and past every
//! lock. Tests use it to be the stranger, the colleague and the cleaner.

use std::time::Duration;

use super::config::{self, Config, PropertyString};
use super::storage::{Volume, split_volume_id};
use super::task::Exit;
use super::{Maker, Vm};
use crate::world::World;

/// A machine that the administrator makes.
#[derive(Debug, Clone)]
pub struct MachineWish {
    /// The number.
    pub id: u32,
    /// The host; empty is the first one.
    pub host: String,
    /// The name.
    pub name: String,
    /// Memory in MiB.
    pub memory: u64,
    /// The pool, if any.
    pub pool: Option<String>,
    /// The storage of its disk; empty is the first one that holds images.
    pub storage: String,
    /// Whether it runs.
    pub running: bool,
    /// Whether it is a template.
    pub template: bool,
    /// Further keys of its configuration: `description`, `smbios1`, `tags`, ...
    pub settings: Vec<(String, String)>,
}

impl MachineWish {
    /// A small machine that is off, on the first host.
    pub fn new(id: u32, name: impl Into<String>) -> Self {
        Self {
            id,
            host: String::new(),
            name: name.into(),
            memory: 1024,
            pool: None,
            storage: String::new(),
            running: false,
            template: false,
            settings: Vec::new(),
        }
    }

    /// In a pool.
    #[must_use]
    pub fn in_pool(mut self, pool: impl Into<String>) -> Self {
        self.pool = Some(pool.into());
        self
    }

    /// Running.
    #[must_use]
    pub fn running(mut self) -> Self {
        self.running = true;
        self
    }

    /// With one more key of its configuration.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((key.into(), value.into()));
        self
    }
}

impl World {
    /// The administrator makes a machine. A machine that had the number is
    /// destroyed first.
    ///
    /// # Panics
    ///
    /// If the world has no host, or the wish names a host, storage or pool that
    /// it does not have: the test is wrong.
    pub fn admin_create(&mut self, wish: MachineWish) {
        let MachineWish { id, host, name, memory, pool, storage, running, template, settings } = wish;
        self.admin_destroy(id);
        let host = if host.is_empty() {
            self.proxmox.hosts.keys().next().expect("the world has a host").clone()
        } else {
            host
        };
        let now = self.now;
        let found = self.proxmox.storages.values_mut().find(|candidate| {
            let named = storage.is_empty() || candidate.name == storage;
            candidate.host == host && named && candidate.contents.contains("images")
        });
        let found = found.expect("the host has a storage for images");
        let disk = found.next_disk_name(id, found.default_format());
        let volume_id = found.volume_id(&disk);
        let size = 8 << 30;
        let format = found.default_format().to_owned();
        let volume = Volume {
            content: "images".into(),
            format,
            size,
            written: 1 << 30,
            owner: Some(id),
            created_at: now,
            image: None,
        };
        found.volumes.insert(disk, volume);

        let mut config = Config::default();
        for (key, value) in [("boot", "order=scsi0"), ("cores", "2"), ("ostype", "l26"), ("scsihw", "virtio-scsi-pci")]
        {
            config.set(key, value);
        }
        config.set("name", name.as_str());
        config.set("memory", memory.to_string());
        config.set("scsi0", format!("{volume_id},size=8G"));
        let mac = self.generated_mac(id);
        config.set("net0", format!("virtio={mac},bridge=vmbr0"));
        let uuid = self.generated_uuid(id, "smbios");
        config.set("smbios1", format!("uuid={uuid}"));
        if template {
            config.set("template", "1");
        }
        for (key, value) in settings {
            config.set(&key, if key == "tags" { config::stored_tags(&value) } else { value });
        }
        self.place(Vm {
            id,
            host,
            config,
            running_since: running.then_some(now),
            pid: if running { 0x0020_0000 + id } else { 0 },
            maker: Maker::Admin,
            incarnation: 0,
            answers_acpi: true,
        });
        if let Some(pool) = pool {
            self.proxmox.pools.get_mut(&pool).expect("the pool exists").insert(id);
        }
        self.log(format!("the administrator made VM {id} ({name})"));
    }

    /// The administrator copies a machine in full: description, tags, addresses
    /// and all, as Proxmox VE copies them. Hardware address, uuid and generation
    /// id are new. The copy is off, and in the pool of its source.
    ///
    /// # Panics
    ///
    /// If there is no such source.
    pub fn admin_clone(&mut self, source: u32, new_id: u32, name: &str) {
        let mut vm = self.proxmox.vms.get(&source).expect("the source exists").clone();
        let pool = self.proxmox.pool_of(source).map(str::to_owned);
        self.admin_destroy(new_id);
        let now = self.now;
        let drives: Vec<(String, String)> =
            vm.config.volumes().map(|(drive, volume)| (drive.to_owned(), volume.to_owned())).collect();
        for (drive, volume) in drives {
            let Some((storage, old)) = split_volume_id(&volume) else { continue };
            let Some(storage) = self.proxmox.storages.get_mut(&(vm.host.clone(), storage.to_owned())) else { continue };
            let Some(copied) = storage.volumes.get(old).cloned() else { continue };
            let new = if old.contains("cloudinit") {
                storage.volume_name(new_id, "cloudinit", &copied.format)
            } else {
                storage.next_disk_name(new_id, &copied.format)
            };
            let mut value = PropertyString::parse(vm.config.get(&drive).unwrap_or_default());
            value.set_first(storage.volume_id(&new));
            storage.volumes.insert(new, Volume { owner: Some(new_id), created_at: now, ..copied });
            vm.config.set(&drive, value.to_string());
        }
        let cards: Vec<(String, String)> = vm
            .config
            .iter()
            .filter(|(key, _)| key.strip_prefix("net").is_some_and(|index| index.parse::<u8>().is_ok()))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        for (key, value) in cards {
            let mac = self.generated_mac(new_id);
            vm.config.set(&key, config::with_hardware_address(&value, &mac));
        }
        let mut smbios = PropertyString::parse(vm.config.get("smbios1").unwrap_or_default());
        smbios.set("uuid", self.generated_uuid(new_id, "smbios"));
        vm.config.set("smbios1", smbios.to_string());
        let generation = self.generated_uuid(new_id, "vmgenid");
        vm.config.set("vmgenid", generation);
        vm.config.set("name", name);
        vm.config.remove("protection");
        vm.config.remove("lock");
        vm.config.remove("template");
        self.place(Vm { id: new_id, running_since: None, pid: 0, maker: Maker::Admin, ..vm });
        if let Some(members) = pool.and_then(|pool| self.proxmox.pools.get_mut(&pool)) {
            members.insert(new_id);
        }
        self.log(format!("the administrator cloned VM {source} to {new_id}"));
    }

    /// The administrator removes a machine with its volumes, whatever it is doing.
    /// Its tasks die without a last word. Nothing happens if there is none.
    pub fn admin_destroy(&mut self, id: u32) {
        let Some(host) = self.proxmox.vms.get(&id).map(|vm| vm.host.clone()) else { return };
        for task in self.running_tasks(id) {
            self.end(task, Exit::Vanished);
        }
        for ((of, _), storage) in &mut self.proxmox.storages {
            if *of == host {
                storage.volumes.retain(|_, volume| volume.owner != Some(id));
            }
        }
        for members in self.proxmox.pools.values_mut() {
            members.remove(&id);
        }
        self.proxmox.vms.remove(&id);
        self.log(format!("the administrator destroyed VM {id}"));
    }

    fn admin_write(&mut self, id: u32, key: &str, value: &str) {
        let vm = self.proxmox.vms.get_mut(&id).expect("the test names a machine that exists");
        if value.is_empty() {
            vm.config.remove(key);
        } else {
            vm.config.set(key, value);
        }
        self.segment_changed = true;
        self.log(format!("the administrator set {key} of VM {id}"));
    }

    /// The administrator renames a machine.
    ///
    /// # Panics
    ///
    /// If there is no such machine; so do the other writes below.
    pub fn admin_rename(&mut self, id: u32, name: &str) {
        self.admin_write(id, "name", name);
    }

    /// The administrator writes a machine's description; an empty one removes it.
    pub fn admin_set_description(&mut self, id: u32, description: &str) {
        self.admin_write(id, "description", description);
    }

    /// The administrator changes a machine's SMBIOS uuid.
    pub fn admin_set_uuid(&mut self, id: u32, uuid: &str) {
        self.admin_write(id, "smbios1", &format!("uuid={uuid}"));
    }

    /// The administrator writes any other key; an empty value removes it.
    pub fn admin_set(&mut self, id: u32, key: &str, value: &str) {
        self.admin_write(id, key, value);
    }

    /// From now on the machine counts as the administrator's: castle must leave
    /// it alone, whoever made it.
    pub fn admin_adopt(&mut self, id: u32) {
        let vm = self.proxmox.vms.get_mut(&id).expect("the test names a machine that exists");
        vm.maker = Maker::Admin;
        self.log(format!("the administrator took VM {id} over"));
    }

    /// The administrator pulls the plug of a machine.
    pub fn admin_stop(&mut self, id: u32) {
        let vm = self.proxmox.vms.get_mut(&id).expect("the test names a machine that exists");
        (vm.running_since, vm.pid) = (None, 0);
        vm.config.settle();
    }

    /// The administrator switches a machine on.
    pub fn admin_start(&mut self, id: u32) {
        let now = self.now;
        let vm = self.proxmox.vms.get_mut(&id).expect("the test names a machine that exists");
        vm.config.settle();
        (vm.running_since, vm.pid) = (Some(now), 0x0020_0000 + id);
        self.segment_changed = true;
    }

    /// Leaves what a killed create or clone leaves: a configuration with nothing
    /// but a lock, and no task that works on it.
    pub fn admin_leave_stub(&mut self, id: u32, lock: &str) {
        self.admin_destroy(id);
        let host = self.proxmox.hosts.keys().next().expect("the world has a host").clone();
        self.place(Vm {
            id,
            host,
            config: Config::stub(lock),
            running_since: None,
            pid: 0,
            maker: Maker::Admin,
            incarnation: 0,
            answers_acpi: true,
        });
        self.log(format!("VM {id} is a stub with the lock {lock}"));
    }

    /// Sets or clears the lock field of a machine: a backup that hangs, an
    /// `qm unlock`.
    pub fn admin_lock(&mut self, id: u32, lock: Option<&str>) {
        self.admin_write(id, "lock", lock.unwrap_or_default());
    }

    /// Leaves a volume of a machine that has none: what a failed removal leaves.
    ///
    /// # Panics
    ///
    /// If the host has no such storage.
    pub fn admin_leave_volume(&mut self, host: &str, storage: &str, id: u32) {
        let key = (host.to_owned(), storage.to_owned());
        let storage = self.proxmox.storages.get_mut(&key).expect("the test names a storage that exists");
        let name = storage.next_disk_name(id, storage.default_format());
        let format = storage.default_format().to_owned();
        let volume = Volume {
            content: "images".into(),
            format,
            size: 1 << 30,
            written: 1 << 20,
            owner: Some(id),
            created_at: Duration::ZERO,
            image: None,
        };
        storage.volumes.insert(name, volume);
    }
}
