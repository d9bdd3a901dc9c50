//! CoreDNS: on which node it runs, and from when on it is available.

use std::time::Duration;

use super::{Due, pod};
use crate::latency::Latency;
use crate::world::World;

/// Whom CoreDNS' draws are for: there is one in a cluster.
pub(crate) const ENTITY: &str = "coredns";
/// What is drawn for it.
pub(crate) const ACT: &str = "available";

/// CoreDNS on the node that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dns {
    /// Its image is pulled, its containers start.
    Starting,
    /// It answers.
    Available,
}

impl World {
    /// CoreDNS goes to the first node that is Ready, and to another one once that
    /// is gone.
    pub(crate) fn follow_dns(&mut self) {
        let now = self.now();
        if !self.nodes.configured().any(|(_, session, _)| session.dns.is_some()) {
            let homes = self.nodes.configured().map(|(node, session, _)| (node.vm, session.cni_at, session.ready_at));
            let ready = homes.filter_map(|(vm, cni_at, ready_at)| Some((ready_at?, vm, cni_at?)));
            if let Some((ready_at, vm, cni_at)) = ready.min() {
                let drawn = self.draw(Latency::COREDNS_AVAILABLE, ENTITY, ACT);
                // The row counts from the pod network on. Whoever comes from a node that
                // is gone comes to one that may have its network for long.
                let begun = if ready_at == now { cni_at } else { now };
                self.session_mut(vm, |session| session.dns = Some(Dns::Starting));
                self.plan(vm, (begun + drawn).saturating_sub(now), Due::Dns);
            }
        }
        self.show_dns();
    }

    /// CoreDNS is available.
    pub(crate) fn dns_up(&mut self, vm: u32) {
        self.session_mut(vm, |session| session.dns = Some(Dns::Available));
        self.log(format!("CoreDNS is available on node {vm}"));
        self.show_dns();
    }

    fn show_dns(&mut self) {
        let now = self.unix_now();
        let home = self.nodes.configured().find_map(|(node, session, _)| Some((node.hostname(), session.dns?)));
        let phase = match &home {
            None => pod::Phase::Pending,
            Some((_, Dns::Starting)) => pod::Phase::Creating,
            Some((_, Dns::Available)) => pod::Phase::Ready,
        };
        for pod in pod::dns_pods(home.as_ref().map(|(hostname, _)| hostname.as_str()), phase, now) {
            self.put(pod);
        }
    }
}

/// When CoreDNS is available at the earliest, of nodes whose pod network is there
/// at the first and which are Ready at the second of these times.
pub(crate) fn available_at(nodes: impl Iterator<Item = (Duration, Duration)>, drawn: Duration) -> Option<Duration> {
    nodes.map(|(cni, ready)| ready.max(cni + drawn)).min()
}
