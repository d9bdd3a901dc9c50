//! The shared address: who holds it, and who gets it next.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::time::Duration;

use super::Due;
use crate::latency::Latency;
use crate::world::World;

/// A shared address that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vip {
    /// The machine that holds it.
    pub holder: u32,
    /// The link that carries it.
    pub link: String,
}

/// How often a candidate asks (Talos' code).
pub(crate) const CAMPAIGN: Duration = Duration::from_secs(1);

impl World {
    /// A node that has become fit runs for its shared addresses. The first time
    /// it takes [`Latency::VIP`] from the bootstrap on.
    pub(crate) fn plan_campaign(&mut self, vm: u32) {
        let now = self.now();
        let born = self.nodes.nodes.get(&vm).and_then(|node| node.disk.etcd).and_then(|data| {
            let births = self.nodes.bootstraps.iter();
            births.filter(|(_, _, etcd)| *etcd == data.cluster).map(|(at, _, _)| *at).next_back()
        });
        let first = born.map_or(now, |born| born + Latency::VIP);
        self.plan(vm, first.saturating_sub(now).max(CAMPAIGN), Due::Campaign);
    }

    /// Takes every shared address that is free, if the node is fit: its etcd and
    /// its kubelet are well.
    pub(crate) fn campaign(&mut self, vm: u32) {
        let Some(node) = self.nodes.nodes.get(&vm) else { return };
        let Some((session, config)) = node.session.as_ref().zip(node.config()) else { return };
        if !session.services.is_healthy("etcd") || !session.services.is_healthy("kubelet") {
            return;
        }
        let mut taken = Vec::new();
        for (address, link) in config.vips.clone() {
            if let Entry::Vacant(free) = self.nodes.vips.entry(address) {
                free.insert(Vip { holder: vm, link });
                taken.push(address);
            }
        }
        for address in taken {
            self.log(format!("node {vm} holds {address}"));
            self.wake_workers();
            self.wake_kubelets();
        }
    }

    /// A holder is gone: its addresses are free after a while.
    pub(crate) fn release_vips(&mut self, vm: u32, after: Duration) {
        let held: BTreeSet<IpAddr> =
            self.nodes.vips.iter().filter(|(_, vip)| vip.holder == vm).map(|(address, _)| *address).collect();
        if !held.is_empty() {
            self.plan_anyway(vm, after, Due::Campaign);
        }
    }

    /// A lease has run out: whoever is fit may take what it held.
    pub(crate) fn campaign_of_all(&mut self) {
        let fit = |vm: &u32, world: &Self| {
            let session = world.nodes.nodes.get(vm).and_then(|node| node.session.as_ref());
            session.is_some_and(|session| session.services.is_healthy("etcd"))
        };
        let lost: Vec<IpAddr> =
            self.nodes.vips.iter().filter(|(_, vip)| !fit(&vip.holder, self)).map(|(address, _)| *address).collect();
        for address in lost {
            self.nodes.vips.remove(&address);
        }
        let candidates: Vec<u32> = self.nodes.nodes.keys().copied().collect();
        for vm in candidates {
            self.campaign(vm);
        }
    }
}
