//! What a node says about itself, as COSI resources with versions.
//!
//! The contents follow from the node's state; [`Table`] compares them with what
//! was there before, counts versions and remembers what changed, for watches.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::boot::{Api, Session, Stage};
use super::disk::{Disk, ImageContent};
use super::members::Members;
use super::spec::{Spec, Value};
use super::{Node, Vip};
use crate::world::World;

/// A kind of resource: its type, its namespace, and whether only administrators
/// may read it.
pub const KINDS: &[(&str, &str, bool)] = &[
    ("SystemInformations.hardware.talos.dev", "hardware", false),
    ("MachineStatuses.runtime.talos.dev", "runtime", false),
    ("Services.v1alpha1.talos.dev", "runtime", false),
    ("Members.cluster.talos.dev", "cluster", false),
    ("Affiliates.cluster.talos.dev", "cluster", false),
    ("Infos.cluster.talos.dev", "cluster", false),
    ("Identities.cluster.talos.dev", "cluster", false),
    ("SystemDisks.block.talos.dev", "runtime", false),
    ("Disks.block.talos.dev", "runtime", false),
    ("DiscoveredVolumes.block.talos.dev", "runtime", false),
    ("VolumeStatuses.block.talos.dev", "runtime", false),
    ("AddressStatuses.net.talos.dev", "network", false),
    ("LinkStatuses.net.talos.dev", "network", false),
    ("HostnameStatuses.net.talos.dev", "network", false),
    ("TimeStatuses.v1alpha1.talos.dev", "runtime", false),
    ("EtcdMembers.etcd.talos.dev", "etcd", false),
    ("Versions.runtime.talos.dev", "runtime", false),
    ("MachineConfigs.config.talos.dev", "config", true),
    ("NodeStatuses.kubernetes.talos.dev", "k8s", false),
    ("Nodenames.kubernetes.talos.dev", "k8s", false),
    ("MachineTypes.config.talos.dev", "config", false),
    ("ExtensionStatuses.runtime.talos.dev", "runtime", false),
    ("PlatformMetadatas.talos.dev", "runtime", false),
];

/// The namespaces of a node.
pub const NAMESPACES: &[&str] =
    &["hardware", "runtime", "cluster", "cluster-raw", "network", "etcd", "config", "k8s", "controlplane", "meta"];

/// The place of a resource: namespace, type, id.
pub type Key = (&'static str, &'static str, String);

/// One resource as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its place.
    pub key: Key,
    /// Counts its changes, from 1.
    pub version: u64,
    /// When it appeared.
    pub created: Duration,
    /// When it changed last.
    pub updated: Duration,
    /// Its content.
    pub spec: Arc<Spec>,
}

/// What happened to a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It appeared.
    Created(Resource),
    /// It is another than it was.
    Updated {
        /// As it was.
        old: Resource,
        /// As it is.
        new: Resource,
    },
    /// It is gone.
    Destroyed(Resource),
}

impl Change {
    /// The resource that it happened to.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        match self {
            Self::Created(resource) | Self::Destroyed(resource) | Self::Updated { new: resource, .. } => resource,
        }
    }
}

/// The resources of one boot, and all that happened to them.
#[derive(Debug, Clone, Default)]
pub struct Table {
    resources: BTreeMap<Key, Resource>,
    changes: Vec<Change>,
    basis: Option<Box<Basis>>,
}

/// What the resources of one node were made from: while it is the same, so are they.
/// A house has hundreds of nodes, and an event concerns one or two of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Basis {
    name: String,
    uuid: String,
    mac: String,
    address: Option<(IpAddr, u8)>,
    image: ImageContent,
    disk_size: u64,
    disk: Disk,
    session: Session,
    held: Vec<IpAddr>,
    members: Arc<Members>,
}

impl Basis {
    fn is_of(&self, node: &Node, session: &Session, held: &[IpAddr], members: &Arc<Members>) -> bool {
        // All fields by name, so that a new one has to choose.
        let Node {
            vm: _,
            name,
            uuid,
            mac,
            address,
            image,
            memory: _,
            cpus: _,
            disk_size,
            disk,
            session: _,
            table: _,
            boots: _,
            firmware: _,
            curse: _,
            incarnation: _,
            running_since: _,
        } = node;
        (name, uuid, mac, address, disk_size) == (&self.name, &self.uuid, &self.mac, &self.address, &self.disk_size)
            && session == &self.session
            && disk == &self.disk
            && image == &self.image
            && held == self.held
            && members == &self.members
    }

    fn of(node: &Node, session: &Session, held: Vec<IpAddr>, members: Arc<Members>) -> Self {
        Self {
            name: node.name.clone(),
            uuid: node.uuid.clone(),
            mac: node.mac.clone(),
            address: node.address,
            image: node.image.clone(),
            disk_size: node.disk_size,
            disk: node.disk.clone(),
            session: session.clone(),
            held,
            members,
        }
    }
}

impl Table {
    /// One resource.
    #[must_use]
    pub fn get(&self, namespace: &str, kind: &str, id: &str) -> Option<&Resource> {
        self.resources.values().find(|found| found.key.0 == namespace && found.key.1 == kind && found.key.2 == id)
    }

    /// All resources of a kind, by id.
    pub fn list<'a>(&'a self, namespace: &'a str, kind: &'a str) -> impl Iterator<Item = &'a Resource> {
        self.resources.values().filter(move |found| found.key.0 == namespace && found.key.1 == kind)
    }

    /// How much has happened.
    #[must_use]
    pub fn position(&self) -> usize {
        self.changes.len()
    }

    /// What happened since a position.
    pub fn since(&self, position: usize) -> impl Iterator<Item = &Change> {
        self.changes.iter().skip(position)
    }

    fn replace(&mut self, now: Duration, contents: BTreeMap<Key, Arc<Spec>>) {
        let gone: Vec<Key> = self.resources.keys().filter(|key| !contents.contains_key(*key)).cloned().collect();
        for key in gone {
            self.changes.extend(self.resources.remove(&key).map(Change::Destroyed));
        }
        for (key, spec) in contents {
            match self.resources.get_mut(&key) {
                Some(known) if known.spec == spec => {}
                Some(known) => {
                    let old = known.clone();
                    (known.version, known.updated, known.spec) = (known.version + 1, now, spec);
                    self.changes.push(Change::Updated { old, new: known.clone() });
                }
                None => {
                    let made = Resource { key: key.clone(), version: 1, created: now, updated: now, spec };
                    self.changes.push(Change::Created(made.clone()));
                    self.resources.insert(key, made);
                }
            }
        }
    }
}

/// Gathers resources under their keys.
#[derive(Default)]
pub(super) struct Contents(pub(super) BTreeMap<Key, Arc<Spec>>);

impl Contents {
    pub(super) fn put(&mut self, kind: &str, id: impl Into<String>, spec: Spec) {
        let known = KINDS.iter().find(|(name, _, _)| name.split('.').next() == Some(kind));
        if let Some((name, namespace, _)) = known {
            self.0.insert((namespace, name, id.into()), Arc::new(spec));
        }
    }
}

impl World {
    /// Brings the resources of every node to the present.
    pub(crate) fn refresh_tables(&mut self) {
        let now = self.now();
        self.refresh_members();
        let mut fresh = Vec::new();
        for node in self.nodes.iter() {
            let Some(session) = &node.session else { continue };
            let holds = |(vip, held): (&IpAddr, &Vip)| (held.holder == node.vm).then_some(*vip);
            let held: Vec<IpAddr> = self.nodes.vips.iter().filter_map(holds).collect();
            let members = session.config.as_ref().and_then(|config| self.nodes.members.get(&config.discovery_id()));
            let members = members.map(Arc::clone).unwrap_or_default();
            if node.table.basis.as_ref().is_some_and(|basis| basis.is_of(node, session, &held, &members)) {
                continue;
            }
            let contents = contents(node, session, &held, &members);
            fresh.push((node.vm, contents.0, Basis::of(node, session, held, members)));
        }
        for (vm, contents, basis) in fresh {
            if let Some(node) = self.nodes.nodes.get_mut(&vm) {
                node.table.replace(now, contents);
                node.table.basis = Some(Box::new(basis));
            }
        }
    }
}

fn contents(node: &Node, session: &Session, held: &[IpAddr], members: &Members) -> Contents {
    let mut contents = Contents::default();
    if session.api == Api::Off {
        return contents;
    }
    hardware(&mut contents, node, session);
    volumes(&mut contents, node);
    network(&mut contents, node, held);
    services(&mut contents, node, session);
    cluster(&mut contents, node, session, members);
    contents
}

fn network(contents: &mut Contents, node: &Node, held: &[IpAddr]) {
    let link = "eth0";
    let status = Spec::new()
        .with("index", 1, 2)
        .with("type", 2, Value::Enum("ether", 1))
        .with("hardwareAddr", 5, node.mac.as_str())
        .with("permanentAddr", 30, node.mac.as_str())
        .with("mtu", 7, 1500)
        .with("operationalState", 10, Value::Enum("up", 6))
        .with("driver", 15, "virtio_net")
        .with("linkState", 22, true);
    contents.put("LinkStatuses", link, status);
    let held = held.iter().map(|vip| (*vip, full(*vip)));
    for (address, length) in node.address.into_iter().chain(held) {
        let family = if address.is_ipv4() { Value::Enum("inet4", 2) } else { Value::Enum("inet6", 10) };
        let status = Spec::new()
            .with("address", 1, Value::Prefix(address, length))
            .with("linkIndex", 6, 2)
            .with("linkName", 7, link)
            .with("family", 8, family)
            .with("scope", 9, Value::Enum("global", 0));
        contents.put("AddressStatuses", format!("{link}/{address}/{length}"), status);
    }
    let hostname = Spec::new().with("hostname", 1, node.hostname()).with("domainname", 2, "");
    contents.put("HostnameStatuses", "hostname", hostname);
}

fn cluster(contents: &mut Contents, node: &Node, session: &Session, members: &Members) {
    let Some(config) = session.config.as_ref() else {
        contents.put("MachineTypes", "machine-type", Spec::verbatim("unknown"));
        return;
    };
    contents.put("MachineTypes", "machine-type", Spec::verbatim(config.machine_type.name()));
    contents.put("MachineConfigs", "v1alpha1", Spec::verbatim(config.text.expose().as_str()));
    if let Some(stored) = &node.disk.config {
        contents.put("MachineConfigs", "persistent", Spec::verbatim(stored.text.expose().as_str()));
    }
    let node_id = node.disk.node_id.clone().unwrap_or_default();
    contents.put("Identities", "local", Spec::new().with("nodeId", 1, node_id));
    let info = Spec::new().with("clusterId", 1, config.cluster_id.as_str()).with(
        "clusterName",
        2,
        config.cluster_name.as_str(),
    );
    contents.put("Infos", "current", info);
    contents.0.extend(members.resources().map(|(key, spec)| (key.clone(), Arc::clone(spec))));
    if let Some(data) = node.disk.etcd.filter(|_| session.services.get("etcd").is_some_and(|s| s.is_running())) {
        contents.put("EtcdMembers", "local", Spec::new().with("memberID", 1, format!("{:016x}", data.member)));
    }
    contents.put("Nodenames", "nodename", Spec::new().with("nodename", 1, node.hostname()));
    if session.registered {
        let status = Spec::new()
            .with("nodename", 1, node.hostname())
            .with("nodeReady", 2, session.ready_at.is_some())
            .with("unschedulable", 3, false);
        contents.put("NodeStatuses", node.hostname(), status);
    }
}

fn full(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn hardware(contents: &mut Contents, node: &Node, session: &Session) {
    let information = Spec::new()
        .with("manufacturer", 1, "QEMU")
        .with("productName", 2, "Standard PC (Q35 + ICH9, 2009)")
        .with("version", 3, "pc-q35-10.1")
        .with("serialNumber", 4, "")
        .with("uuid", 5, node.uuid.as_str())
        .with("wakeUpType", 6, "Power Switch")
        .with("skuNumber", 7, "");
    contents.put("SystemInformations", "systeminformation", information);
    let version = Spec::new().with("version", 1, node.image.release.as_str()).with("name", 2, "Talos");
    contents.put("Versions", "version", version);
    let synced = Spec::new()
        .with("synced", 1, session.time_synced)
        .with("epoch", 2, u64::from(session.time_synced))
        .with("syncDisabled", 3, false);
    contents.put("TimeStatuses", "node", synced);
    let platform = Spec::new().with("platform", 1, "nocloud").with("hostname", 2, node.name.as_str());
    contents.put("PlatformMetadatas", "platformmetadata", platform);
    let schematic = (String::from("schematic"), node.image.schematic.clone());
    let named = node
        .image
        .extensions
        .iter()
        .map(|name| (name.rsplit('/').next().unwrap_or(name).to_owned(), node.image.release.clone()));
    for (index, (name, version)) in named.chain([schematic]).enumerate() {
        let metadata = Spec::new().with("name", 1, name).with("version", 2, version);
        let status = Spec::new().with("image", 1, format!("{index}.sqsh")).with("metadata", 2, metadata);
        contents.put("ExtensionStatuses", index.to_string(), status);
    }
}

fn volumes(contents: &mut Contents, node: &Node) {
    let disk = Spec::new()
        .with("size", 1, node.disk_size)
        .with("readonly", 4, false)
        .with("model", 5, "QEMU HARDDISK")
        .with("dev_path", 14, "/dev/sda");
    contents.put("Disks", "sda", disk);
    // A disk image is an installed system: the node has its system disk at once.
    let system = Spec::new().with("diskID", 1, "sda").with("devPath", 2, "/dev/sda");
    contents.put("SystemDisks", "system-disk", system);
    let encrypted = node.disk.config.as_ref().map(|config| config.encrypted.clone()).unwrap_or_default();
    for (number, (label, system)) in (1_u64..).zip(node.disk.partitions()) {
        let found = if encrypted.contains(label) { "luks" } else { system };
        let volume = Spec::new()
            .with("size", 1, 100 << 20)
            .with("name", 4, found)
            .with("partition_label", 12, label)
            .with("partition_index", 13, number)
            .with("type", 14, "partition")
            .with("dev_path", 17, format!("/dev/sda{number}"))
            .with("parent", 16, "sda");
        contents.put("DiscoveredVolumes", format!("sda{number}"), volume);
    }
    let volume = |label: &str, phase: Value| {
        let is_encrypted = encrypted.contains(label);
        let provider = if is_encrypted { Value::Enum("luks2", 1) } else { Value::Enum("none", 0) };
        let status = Spec::new().with("phase", 1, phase).with("location", 2, format!("/dev/disk/by-partlabel/{label}"));
        let system = if is_encrypted { Value::Enum("xfs", 2) } else { Value::Enum("none", 0) };
        status.with("filesystem", 10, system).with("encryptionProvider", 12, provider)
    };
    let ready = || Value::Enum("ready", 6);
    let missing = || Value::Enum("missing", 2);
    contents.put("VolumeStatuses", "META", volume("META", ready()));
    let is_configured = node.disk.config.is_some();
    contents.put("VolumeStatuses", "STATE", volume("STATE", if is_configured { ready() } else { missing() }));
    let is_formatted = node.disk.ephemeral;
    contents.put("VolumeStatuses", "EPHEMERAL", volume("EPHEMERAL", if is_formatted { ready() } else { missing() }));
    for name in node.disk.config.iter().flat_map(|config| config.user_volumes.iter()) {
        let id = format!("u-{name}");
        let status = volume(&id, ready());
        contents.put("VolumeStatuses", id, status);
    }
}

fn services(contents: &mut Contents, node: &Node, session: &Session) {
    for (id, service) in &session.services.0 {
        let status = Spec::new()
            .with("running", 1, service.is_running())
            .with("healthy", 2, service.healthy == Some(true))
            .with("unknown", 3, service.healthy.is_none());
        contents.put("Services", *id, status);
    }
    let stage = match session.stage {
        Stage::Booting => Value::Enum("booting", 1),
        Stage::Maintenance => Value::Enum("maintenance", 3),
        Stage::Running => Value::Enum("running", 4),
        Stage::Rebooting => Value::Enum("rebooting", 5),
        Stage::Resetting => Value::Enum("resetting", 7),
    };
    let unmet =
        if matches!(session.stage, Stage::Booting | Stage::Running) { unmet(node, session) } else { Vec::new() };
    let conditions = unmet
        .iter()
        .map(|(name, reason)| Value::Message(Spec::new().with("name", 1, *name).with("reason", 2, reason.as_str())));
    let status =
        Spec::new().with("ready", 1, unmet.is_empty()).with("unmetConditions", 2, conditions.collect::<Vec<_>>());
    contents.put("MachineStatuses", "machine", Spec::new().with("stage", 1, stage).with("status", 2, status));
}

/// What a node still misses, in Talos' names.
fn unmet(node: &Node, session: &Session) -> Vec<(&'static str, String)> {
    let mut unmet = Vec::new();
    if !session.time_synced {
        unmet.push(("time", "time is not synced".to_owned()));
    }
    let wanted = if node.is_control_plane() {
        &["apid", "trustd", "cri", "kubelet", "etcd"][..]
    } else {
        &["apid", "cri", "kubelet"]
    };
    let missing: Vec<String> = wanted
        .iter()
        .filter_map(|id| match session.services.get(id) {
            Some(service) if service.is_healthy() => None,
            Some(service) if service.is_running() => Some(format!("{id} not healthy")),
            _ => Some(format!("{id} not running")),
        })
        .collect();
    if !missing.is_empty() {
        unmet.push(("services", missing.join(", ")));
    }
    let hostname = node.hostname();
    if node.is_control_plane() && session.api_server.is_none() {
        unmet.push(("staticPods", format!("kube-system/kube-apiserver-{hostname} not ready")));
    }
    if session.ready_at.is_none() {
        unmet.push(("nodeReady", format!("node \"{hostname}\" is not ready")));
    }
    unmet
}
