//! What a test does to nodes: residue on disks, strangers on addresses, machines
//! that never come up.
//!
//! All of these are methods of [`World`], named `plant_*`. Those about disks,
//! addresses and boots work on a machine's number before the machine exists, so
//! that a test can prepare a birth.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use castle_core::SecretText;

use super::boot::{Api, Stage};
use super::disk::{DataDirectory, Disk, ImageContent, Residue};
use super::etcd::{EtcdCluster, EtcdMember};
use super::resource::Table;
use super::{Affiliate, MachineType, Node, Nodes};
use crate::latency::Latency;
use crate::world::World;

/// What is planted and has not happened yet.
#[derive(Debug, Clone, Default)]
pub struct Plants {
    residue: BTreeMap<u32, Vec<Residue>>,
    pub(crate) addresses: BTreeMap<u32, IpAddr>,
    pub(crate) dead_bridges: BTreeSet<String>,
    pub(crate) skewed: BTreeSet<u32>,
    pub(crate) configured_by: BTreeMap<u32, SecretText>,
    pub(crate) api_refusal: Option<(Duration, Duration)>,
    pub(crate) unproved: Vec<String>,
    strangers: u32,
}

impl World {
    /// Leaves something on the disk of a machine. A machine that does not exist
    /// yet finds it on its disk when it is first switched on.
    pub fn plant_residue(&mut self, machine: u32, residue: Residue) {
        self.nodes.plants.residue.entry(machine).or_default().push(residue);
        if self.nodes.nodes.contains_key(&machine) {
            self.leave_residue(machine);
        }
    }

    pub(crate) fn leave_residue(&mut self, machine: u32) {
        for residue in self.nodes.plants.residue.remove(&machine).unwrap_or_default() {
            self.log(format!("something is left on the disk of node {machine}"));
            match residue {
                Residue::Config(text) => {
                    let decoded = super::config::decode(&text);
                    let node_id = hex::encode(self.draw_bytes(&machine.to_string(), "residue"));
                    let Some(node) = self.nodes.nodes.get_mut(&machine) else { continue };
                    if let Ok(super::config::Decoded::Complete(config)) = decoded {
                        node.disk.config = Some(std::sync::Arc::new(*config));
                        node.disk.node_id = Some(node_id);
                    }
                }
                Residue::Ephemeral => {
                    if let Some(node) = self.nodes.nodes.get_mut(&machine) {
                        node.disk.ephemeral = true;
                    }
                }
                Residue::Etcd { members } => self.leave_etcd(machine, members),
            }
        }
    }

    fn leave_etcd(&mut self, machine: u32, members: u8) {
        let cluster = self.etcd_id(machine, "residue etcd");
        let own = self.etcd_id(machine, "residue member");
        let mut old = EtcdCluster { id: cluster, leader: own, term: 7, ..EtcdCluster::default() };
        for number in 0..members.max(1) {
            let id = own.wrapping_add(u64::from(number));
            // Only the first is this machine; the others are gone for good.
            let lives_on = if number == 0 { machine } else { u32::MAX };
            let name = format!("old-cp-{:02}", number + 1);
            old.members.insert(id, EtcdMember { id, name, address: None, machine: lives_on, learner: false });
        }
        self.nodes.etcds.insert(cluster, old);
        if let Some(node) = self.nodes.nodes.get_mut(&machine) {
            (node.disk.ephemeral, node.disk.etcd) = (true, Some(DataDirectory { cluster, member: own }));
        }
    }

    /// Lets a machine answer at another address than its hypervisor's drive says.
    /// Plant it before the lab opens its doors.
    pub fn plant_address(&mut self, machine: u32, address: IpAddr) {
        self.nodes.plants.addresses.insert(machine, address);
        if let Some(node) = self.nodes.nodes.get_mut(&machine) {
            node.address = node.address.map(|(_, length)| (address, length));
        }
        self.log(format!("node {machine} answers at {address}"));
    }

    /// Puts a stranger's machine, in maintenance, on an address of ours: it has
    /// another uuid, and it answers first.
    pub fn plant_stranger(&mut self, address: IpAddr, uuid: &str) {
        let vm = Nodes::STRANGERS + self.nodes.plants.strangers;
        self.nodes.plants.strangers += 1;
        let image =
            ImageContent { release: "v1.13.9".into(), schematic: String::new(), extensions: Vec::new(), boots: true };
        let node = Node {
            vm,
            name: format!("stranger-{vm}"),
            uuid: uuid.to_lowercase(),
            mac: "52:54:00:00:00:01".to_owned(),
            address: Some((address, 24)),
            image,
            memory: 4 << 30,
            cpus: 2,
            disk_size: 20 << 30,
            disk: Disk::default(),
            session: None,
            table: Table::default(),
            boots: 0,
            firmware: Duration::ZERO,
            curse: None,
            incarnation: 0,
            running_since: None,
        };
        self.nodes.nodes.insert(vm, node);
        self.boot(vm, Duration::ZERO);
        // It was there long before the test: what its boot planned is void.
        if let Some(node) = self.nodes.nodes.get_mut(&vm) {
            node.boots += 1;
        }
        let ticket = self.nodes.next_ticket();
        self.session_mut(vm, |session| {
            (session.network, session.stage) = (true, Stage::Maintenance);
            (session.api, session.ticket) = (Api::Maintenance, ticket);
        });
        self.refresh_tables();
    }

    /// Takes a stranger away.
    pub fn remove_stranger(&mut self, address: IpAddr) {
        let found: Vec<u32> = self
            .nodes
            .iter()
            .filter(|node| node.vm >= Nodes::STRANGERS && node.ip() == Some(address))
            .map(|node| node.vm)
            .collect();
        for vm in found {
            self.power_lost(vm);
            self.nodes.nodes.remove(&vm);
        }
    }

    /// Somebody else configures a machine as soon as it waits in maintenance.
    pub fn plant_configuration(&mut self, machine: u32, text: impl Into<String>) {
        let text = text.into();
        let waits = self.nodes.of(machine).and_then(|node| node.session.as_ref());
        if waits.is_some_and(|session| session.api == Api::Maintenance) {
            if let Err(refused) = self.take_configuration(machine, &text) {
                self.log(format!("node {machine} refused what somebody gave it: {refused}"));
            }
        } else {
            self.nodes.plants.configured_by.insert(machine, SecretText::new(text));
        }
    }

    /// Machines on that bridge boot and reach nobody, or do again.
    pub fn plant_dead_bridge(&mut self, bridge: &str, dead: bool) {
        if dead {
            self.nodes.plants.dead_bridges.insert(bridge.to_owned());
        } else {
            self.nodes.plants.dead_bridges.remove(bridge);
        }
    }

    /// An image file that boots nowhere.
    pub fn plant_broken_image(&mut self, file: &str) {
        if let Some(content) = self.nodes.images.content(file) {
            self.nodes.images.0.insert(file.to_owned(), ImageContent { boots: false, ..content });
        }
    }

    /// The clock of a machine is not in sync, or is again. It takes effect at once.
    pub fn plant_skewed_clock(&mut self, machine: u32, skewed: bool) {
        if skewed {
            self.nodes.plants.skewed.insert(machine);
        } else {
            self.nodes.plants.skewed.remove(&machine);
        }
        self.session_mut(machine, |session| session.time_synced = !skewed);
        self.log(format!("the clock of node {machine} is {}", if skewed { "off" } else { "right" }));
    }

    /// The first API server that answers stops doing so after `after`, and answers
    /// again after `away` more.
    pub fn plant_api_refusal(&mut self, after: Duration, away: Duration) {
        self.nodes.plants.api_refusal = Some((after, away));
    }

    /// An entry of a dead node in the discovery service, half an hour before its end.
    pub fn plant_affiliate(&mut self, cluster_id: &str, hostname: &str, address: IpAddr, machine_type: MachineType) {
        let node_id = format!("ghost-{hostname}");
        let expires = self.now() + Latency::DISCOVERY_TTL;
        let entry = Affiliate {
            cluster_id: cluster_id.to_owned(),
            node_id: node_id.clone(),
            hostname: hostname.to_owned(),
            addresses: vec![address],
            machine_type,
            release: "v1.13.9".to_owned(),
            machine: None,
            expires: Some(expires),
        };
        self.nodes.discovery.affiliates.insert(node_id, entry);
        self.log(format!("a dead entry of {hostname} stands in the discovery service"));
        self.plan_anyway(0, Latency::DISCOVERY_TTL, super::Due::Expire);
    }

    /// A machine falls silent where it stands, as if its network cable was cut or
    /// its kernel hung: Proxmox VE still shows it as running.
    pub fn plant_silence(&mut self, machine: u32) {
        self.power_lost(machine);
    }
}
