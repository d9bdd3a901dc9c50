//! What must hold among the nodes at every moment.

use crate::world::World;

impl World {
    /// Every rule about nodes that does not hold, and every deed that broke one.
    pub(crate) fn broken_node_invariants(&self) -> Vec<String> {
        let mut broken = self.nodes.misdeeds.clone();
        for (address, vip) in &self.nodes.vips {
            let others = self.nodes.iter().filter(|node| node.is_reachable() && node.ip() == Some(*address));
            broken.extend(others.map(|node| {
                format!("{address} is held by node {} and is the own address of node {}", vip.holder, node.vm)
            }));
        }
        for etcd in self.nodes.etcds.values() {
            let learners = etcd.members.values().filter(|member| member.learner).count();
            if learners > 1 {
                broken.push(format!("etcd {:016x} has {learners} learners", etcd.id));
            }
        }
        broken
    }

    /// Notes a configuration that came over a connection on which the uuid was not
    /// read before.
    pub(crate) fn note_unproved(&mut self, vm: u32) {
        let name = self.nodes.of(vm).map(|node| node.name.clone()).unwrap_or_default();
        let line = format!("{:.3} s: {name}", self.now().as_secs_f64());
        self.nodes.plants.unproved.push(line);
    }

    /// How often etcd was born for a Talos cluster id.
    #[must_use]
    pub fn bootstraps_of(&self, cluster_id: &str) -> usize {
        self.nodes.bootstraps.iter().filter(|(_, id, _)| id == cluster_id).count()
    }

    /// How often etcd was born at all.
    #[must_use]
    pub fn bootstraps(&self) -> usize {
        self.nodes.bootstraps.len()
    }

    /// Every configuration that a node took in maintenance over a connection on
    /// which its uuid was not read before: the client has either pinned the
    /// certificate, which leaves no sign on the wire, or trusted blindly. A test
    /// that knows of no pin asserts that there are none.
    #[must_use]
    pub fn unproved_configurations(&self) -> &[String] {
        &self.nodes.plants.unproved
    }
}
