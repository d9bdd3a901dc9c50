//! The default house: what stands there before castle builds anything.

use std::time::Duration;

use castle_core::Project;

use super::access::{CASTLE_USER, Token};
use super::admin::MachineWish;
use super::host::{Bridge, Host};
use super::storage::{Storage, StorageKind, Volume};
use crate::node::ImageContent;
use crate::world::World;

/// The virtual size of a Talos disk image: a resize always follows its import.
pub const IMAGE_SIZE: u64 = 1246 << 20;
/// What the image file takes, compressed as qcow2.
const IMAGE_FILE: u64 = 150 << 20;
/// The number of the machine that every house has and that is nobody's business.
pub const STRANGER: u32 = 100;
/// The name of castle's token.
pub const CASTLE_TOKEN: &str = "castle@pve!main";

/// What castle's user and token may do in their pool, and nothing else there.
pub const OPERATOR_PRIVILEGES: [&str; 15] = [
    "VM.Allocate",
    "VM.Audit",
    "VM.Clone",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.PowerMgmt",
    "VM.Snapshot",
    "VM.GuestAgent.Audit",
    "Pool.Audit",
];

/// What the image of a project holds: it was built by the factory at this url,
/// whose path names the schematic.
fn image_content(project: &Project, url: &str) -> ImageContent {
    let schematic = url.split('/').find(|part| part.len() == 64 && part.chars().all(|c| c.is_ascii_hexdigit()));
    ImageContent {
        release: project.cluster.talos.clone(),
        schematic: schematic.unwrap_or_default().to_owned(),
        extensions: project.image.extensions.clone(),
        boots: true,
    }
}

impl World {
    /// The house that a project is declared for: its hosts with their memory, its
    /// storages, bridge and pools, the Talos images its machines are born from,
    /// castle's user with a token of least privilege, root with a password, and a
    /// stranger's machine with the number 100.
    #[must_use]
    pub fn home(project: &Project, seed: u64) -> Self {
        let mut world = Self::empty(seed);
        world.build_hosts(project);
        for machine in &project.machines {
            let host = machine.host.as_str();
            world.build_storage(host, &machine.storage, StorageKind::LvmThin, &["images", "rootdir"], 400 << 30);
            let files = ["backup", "import", "iso", "snippets", "vztmpl"];
            world.build_storage(host, &machine.image.storage, StorageKind::Dir, &files, 100 << 30);
            world.add_image(host, &machine.image.storage, &machine.image.file);
            world.nodes.images.0.insert(machine.image.file.clone(), image_content(project, &machine.image.url));
            world.proxmox.pools.entry(machine.pool.clone()).or_default();
        }
        world.grant_least_privilege(project);
        world.admin_create(MachineWish { memory: 1024, ..MachineWish::new(STRANGER, "homeassistant").running() });
        if project.gitops.is_some() {
            world.furnish_repository(project);
            world.furnish_vault(project);
        }
        world.broadcast_until(Duration::ZERO);
        world
    }

    fn build_hosts(&mut self, project: &Project) {
        let network = &project.network;
        // The tenth address of the subnet is as good as any for the host itself.
        let own = network.subnet.hosts().nth(9).unwrap_or(network.gateway);
        let bridge = Bridge {
            name: network.bridge.clone(),
            cidr: format!("{own}/{}", network.subnet.prefix_len()),
            gateway: Some(network.gateway.to_string()),
            vlan_aware: true,
        };
        for (name, budget) in &project.hosts {
            // The kernel keeps some of what was bought: 32 GiB show as 33.5e9 bytes.
            let memory = budget.memory.as_bytes() / 1000 * 976;
            let host = Host { bridges: vec![bridge.clone()], ..Host::new(name.as_str(), memory, 12) };
            self.proxmox.hosts.insert(name.as_str().to_owned(), host);
            self.build_storage(name.as_str(), "local", StorageKind::Dir, &["backup", "import", "iso"], 100 << 30);
            let disks = ["images", "rootdir"];
            self.build_storage(name.as_str(), "local-lvm", StorageKind::LvmThin, &disks, 400 << 30);
        }
    }

    /// Adds a storage, or adds contents to the one that is there.
    fn build_storage(&mut self, host: &str, name: &str, kind: StorageKind, contents: &[&str], total: u64) {
        let key = (host.to_owned(), name.to_owned());
        let storage =
            self.proxmox.storages.entry(key).or_insert_with(|| Storage::new(host, name, kind, contents, total));
        storage.contents.extend(contents.iter().map(|&content| content.to_owned()));
    }

    /// Puts an image file onto a storage of a host, if it is not there.
    ///
    /// # Panics
    ///
    /// If the host has no such storage.
    pub fn add_image(&mut self, host: &str, storage: &str, file: &str) {
        let key = (host.to_owned(), storage.to_owned());
        let storage = self.proxmox.storages.get_mut(&key).expect("the house has the storage");
        let format = file.rsplit('.').next().unwrap_or("raw").to_owned();
        let image = Volume {
            content: "import".to_owned(),
            format,
            size: IMAGE_SIZE,
            written: IMAGE_FILE,
            owner: None,
            created_at: Duration::ZERO,
            image: None,
        };
        storage.volumes.entry(format!("import/{file}")).or_insert(image);
    }

    fn grant_least_privilege(&mut self, project: &Project) {
        let secret = self.generated_uuid(0, "token secret");
        let password = self.generated_uuid(0, "root password");
        let access = &mut self.proxmox.access;
        access.users.insert("root@pam".to_owned(), Some(castle_core::Secret::new(password)));
        access.users.insert(CASTLE_USER.to_owned(), None);
        access.tokens.insert(CASTLE_TOKEN.to_owned(), Token { secret, separated: true, expires: 0 });
        access.define_role("CastleOperator", &OPERATOR_PRIVILEGES);
        access.define_role("CastleDisks", &["Datastore.AllocateSpace", "Datastore.Audit"]);
        access.define_role("CastleImages", &["Datastore.AllocateTemplate", "Datastore.Audit"]);
        access.define_role("CastleNetwork", &["SDN.Use"]);
        access.define_role("CastleHost", &["Sys.Audit"]);
        let mut grants = std::collections::BTreeSet::new();
        for machine in &project.machines {
            grants.insert((format!("/pool/{}", machine.pool), "CastleOperator"));
            grants.insert((format!("/storage/{}", machine.image.storage), "CastleImages"));
            grants.insert((format!("/storage/{}", machine.storage), "CastleDisks"));
            grants.insert((format!("/sdn/zones/localnetwork/{}", machine.nic.bridge), "CastleNetwork"));
            grants.insert((format!("/nodes/{}", machine.host), "CastleHost"));
        }
        for (path, role) in grants {
            // A separated token has nothing but what both were given.
            access.grant(&path, CASTLE_USER, role);
            access.grant(&path, CASTLE_TOKEN, role);
        }
    }

    /// castle's token as an option document holds it, `castle@pve!main=<uuid>`.
    /// `None` after it was revoked.
    #[must_use]
    pub fn castle_token(&self) -> Option<String> {
        self.proxmox.access.tokens.get(CASTLE_TOKEN).map(|token| format!("{CASTLE_TOKEN}={}", token.secret))
    }

    /// The password of `root@pam`, for clients that log in with a ticket.
    #[must_use]
    pub fn root_password(&self) -> Option<&str> {
        self.proxmox.access.users.get("root@pam")?.as_ref().map(|password| password.expose().as_str())
    }
}
