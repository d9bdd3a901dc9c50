//! What the discovery service tells the nodes of one cluster, as resources that all
//! of them share: each knows every other one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::config::MachineType;
use super::discovery::Affiliate;
use super::resource::{Contents, Key};
use super::spec::{Spec, Value};
use crate::world::World;

/// The entries of one cluster, and the resources that follow from them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Members {
    entries: Vec<Affiliate>,
    resources: BTreeMap<Key, Arc<Spec>>,
}

impl Members {
    fn of(entries: Vec<Affiliate>) -> Self {
        let mut contents = Contents::default();
        let mut names = BTreeSet::new();
        for entry in &entries {
            let addresses = Value::List(entry.addresses.iter().map(|ip| Value::Address(*ip)).collect());
            let system = format!("Talos ({})", entry.release);
            let kind = match entry.machine_type {
                MachineType::ControlPlane => Value::Enum("controlplane", 2),
                MachineType::Worker => Value::Enum("worker", 3),
            };
            let is_control_plane = entry.machine_type == MachineType::ControlPlane;
            let mut affiliate = Spec::new()
                .with("nodeId", 1, entry.node_id.as_str())
                .with("addresses", 2, addresses.clone())
                .with("hostname", 3, entry.hostname.as_str())
                .with("nodename", 4, entry.hostname.as_str())
                .with("operatingSystem", 5, system.as_str())
                .with("machineType", 6, kind.clone());
            let mut member = Spec::new()
                .with("nodeId", 1, entry.node_id.as_str())
                .with("addresses", 2, addresses)
                .with("hostname", 3, entry.hostname.as_str())
                .with("machineType", 4, kind)
                .with("operatingSystem", 5, system);
            if is_control_plane {
                let port = Spec::new().with("port", 1, 6443);
                affiliate = affiliate.with("controlPlane", 8, port.clone());
                member = member.with("controlPlane", 6, port);
            }
            contents.put("Affiliates", entry.node_id.as_str(), affiliate);
            // Two identities of one name: Talos keeps a member for each.
            let twin = !names.insert(entry.hostname.as_str());
            let id = if twin { format!("{}-{}", entry.hostname, entry.node_id) } else { entry.hostname.clone() };
            contents.put("Members", id, member);
        }
        Self { resources: contents.0, entries }
    }

    /// Members and affiliates, by their keys.
    pub(crate) fn resources(&self) -> impl Iterator<Item = (&Key, &Arc<Spec>)> {
        self.resources.iter()
    }
}

impl World {
    /// Brings what the discovery service tells to the present, for each cluster that a
    /// node is part of.
    pub(crate) fn refresh_members(&mut self) {
        let clusters: BTreeMap<String, _> =
            self.nodes.configured().map(|(_, _, config)| (config.discovery_id(), Arc::clone(config))).collect();
        let fresh = clusters.into_iter().map(|(id, config)| {
            let known =
                self.nodes.members.get(&id).filter(|known| known.entries.iter().eq(self.affiliates_of(&config)));
            let made = || Arc::new(Members::of(self.affiliates_of(&config).cloned().collect()));
            let members = known.map_or_else(made, Arc::clone);
            (id, members)
        });
        self.nodes.members = fresh.collect();
    }
}
