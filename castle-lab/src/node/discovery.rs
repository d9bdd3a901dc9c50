//! The discovery service: who says that it belongs to a cluster, and the entries
//! of those who say nothing any more.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::config::{MachineConfig, MachineType};
use super::{Due, Node};
use crate::latency::Latency;
use crate::world::World;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affiliate {
    /// The cluster that it was announced for.
    pub cluster_id: String,
    /// The identity that the node drew for itself; new after a wipe.
    pub node_id: String,
    /// The host name.
    pub hostname: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Control plane or worker.
    pub machine_type: MachineType,
    /// The release that it runs.
    pub release: String,
    /// The machine that refreshes it; `None`: nobody does.
    pub machine: Option<u32>,
    /// When it runs out; `None`: it is refreshed.
    pub expires: Option<Duration>,
}

/// All entries of all clusters, by the identity of their node.
#[derive(Debug, Clone, Default)]
pub struct Discovery {
    /// The entries.
    pub affiliates: BTreeMap<String, Affiliate>,
}

impl World {
    /// A node tells of itself, if its configuration says so.
    pub(crate) fn announce(&mut self, vm: u32) {
        let Some(node) = self.nodes.nodes.get(&vm) else { return };
        let Some((config, node_id)) = node.config().zip(node.disk.node_id.clone()) else { return };
        if !config.discovery {
            return;
        }
        let affiliate = Affiliate {
            cluster_id: config.cluster_id.clone(),
            node_id: node_id.clone(),
            hostname: node.hostname(),
            addresses: node.ip().into_iter().collect(),
            machine_type: config.machine_type,
            release: node.image.release.clone(),
            machine: Some(vm),
            expires: None,
        };
        self.nodes.discovery.affiliates.insert(node_id, affiliate);
        self.wake_joiners();
    }

    /// A node is not there any more: its entry runs out.
    pub(crate) fn stop_refreshing(&mut self, vm: u32) {
        let until = self.now() + Latency::DISCOVERY_TTL;
        let mut is_any = false;
        for entry in self.nodes.discovery.affiliates.values_mut().filter(|entry| entry.machine == Some(vm)) {
            (entry.machine, entry.expires, is_any) = (None, Some(until), true);
        }
        if is_any {
            self.plan_anyway(vm, Latency::DISCOVERY_TTL, Due::Expire);
        }
    }

    /// A node that is reset takes its entry back.
    pub(crate) fn withdraw(&mut self, vm: u32) {
        self.nodes.discovery.affiliates.retain(|_, entry| entry.machine != Some(vm));
    }

    pub(crate) fn expire_affiliates(&mut self) {
        let now = self.now();
        self.nodes.discovery.affiliates.retain(|_, entry| entry.expires.is_none_or(|at| at > now));
        self.wake_joiners();
    }

    /// The entries that a node sees: those of its own cluster id.
    pub(crate) fn affiliates_of(&self, config: &MachineConfig) -> impl Iterator<Item = &Affiliate> {
        let id = config.discovery_id();
        self.nodes.discovery.affiliates.values().filter(move |entry| entry.cluster_id == id)
    }

    /// The addresses of the other control planes that a node knows.
    pub(crate) fn control_planes_known_to(&self, vm: u32, config: &MachineConfig) -> Vec<IpAddr> {
        let own = self.nodes.nodes.get(&vm).and_then(Node::ip);
        let entries = self.affiliates_of(config).filter(|entry| entry.machine_type == MachineType::ControlPlane);
        let mut addresses: Vec<IpAddr> = entries.flat_map(|entry| entry.addresses.iter().copied()).collect();
        addresses.sort();
        addresses.dedup();
        addresses.retain(|address| Some(*address) != own);
        addresses
    }
}
