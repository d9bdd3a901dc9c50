//! Remnants of former lives, named.
//!
//! A cluster that is born on used disks, under used ids or at used addresses
//! hangs in ways that look like a network fault: etcd waits in `Preparing` for
//! members that died with the former life. Each such remnant has a name here,
//! what gives it away, and what removes it. Judging is pure: [`named`] sees what
//! was observed and asks nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use castle_core::words::heard;
use castle_core::{EtcdService, Ghost, Member};

use crate::cosi::{Affiliate, ClusterMember};
use crate::etcd::{RUNNING, shown, strangers_among};

/// Everything that was observed in one round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scene {
    /// The id of this life's cluster.
    pub cluster_id: String,
    /// The declared nodes and what was found at their addresses.
    pub nodes: Vec<Sighting>,
    /// What answers at the VIP.
    pub vip: Option<(IpAddr, VipAnswer)>,
}

/// What was found at one node's address.
#[derive(Debug, Clone)]
pub(crate) struct Sighting {
    pub node: String,
    pub address: IpAddr,
    pub control_plane: bool,
    pub seen: Seen,
}

/// See [`castle_core::NodeState`]; with what only ghosts need.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    Silent,
    /// With the partitions that are not blank.
    Maintenance(Vec<Residue>),
    /// Another machine of this cluster, or one in maintenance that is not ours.
    OtherMachine(String),
    /// A certificate of somebody else; `talos` if a Talos authority signed it.
    Foreign {
        why: String,
        talos: bool,
    },
    Ours(Box<Testimony>),
}

/// A partition that holds something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Residue {
    pub label: String,
    pub content: String,
    pub device: String,
}

impl std::fmt::Display for Residue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "partition {} on {} holds {}", self.label, self.device, self.content)
    }
}

/// What a node of ours says about the cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Testimony {
    /// `None`: it does not know yet.
    pub cluster_id: Option<String>,
    pub affiliates: Vec<Affiliate>,
    pub members: Vec<ClusterMember>,
    pub etcd: EtcdService,
    pub etcd_members: Vec<Member>,
    /// Its own id in etcd.
    pub etcd_id: Option<u64>,
    pub holds_vip: bool,
}

/// What answers at the VIP's API port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VipAnswer {
    Silent,
    /// A certificate of this cluster.
    Ours,
    /// A certificate of somebody else.
    Foreign(String),
}

const CURE_DISK: &str = "destroy the machine with its disks and run `castle create` again";

/// Every ghost in the scene, without repetition.
pub(crate) fn named(scene: &Scene) -> Vec<Ghost> {
    let mut found = Found::default();
    disks_and_certificates(scene, &mut found);
    discovery(scene, &mut found);
    etcd(scene, &mut found);
    learners(scene, &mut found);
    vip(scene, &mut found);
    found.0.into_iter().collect()
}

#[derive(Default)]
struct Found(BTreeSet<Ghost>);

impl Found {
    fn add(&mut self, kind: &'static str, node: &str, evidence: impl Into<String>, cure: impl Into<String>) {
        self.0.insert(Ghost { kind, node: node.to_owned(), evidence: evidence.into(), cure: cure.into() });
    }
}

impl Scene {
    fn ours(&self) -> impl Iterator<Item = (&Sighting, &Testimony)> {
        self.nodes.iter().filter_map(|sighting| match &sighting.seen {
            Seen::Ours(testimony) => Some((sighting, testimony.as_ref())),
            _ => None,
        })
    }

    fn control_planes(&self) -> impl Iterator<Item = (&Sighting, &Testimony)> {
        self.ours().filter(|(sighting, _)| sighting.control_plane)
    }

    fn declared(&self) -> Vec<(&str, IpAddr)> {
        let control_planes = self.nodes.iter().filter(|sighting| sighting.control_plane);
        control_planes.map(|sighting| (sighting.node.as_str(), sighting.address)).collect()
    }
}

fn disks_and_certificates(scene: &Scene, found: &mut Found) {
    for Sighting { node, seen, .. } in &scene.nodes {
        match seen {
            Seen::Maintenance(residues) => {
                for residue in residues {
                    let kind = if residue.label == "STATE" { "old-configuration" } else { "ephemeral-residue" };
                    found.add(kind, node, residue.to_string(), CURE_DISK);
                }
            }
            Seen::Foreign { why, talos: true } => found.add(
                "old-configuration",
                node,
                format!("it {why}: it was configured with another cluster's authority"),
                format!("{CURE_DISK}; if the machine is somebody else's, give it another address"),
            ),
            Seen::Foreign { why, talos: false } => found.add(
                "foreign-certificate",
                node,
                format!("it {why}"),
                "find out who has the node's address and give it another one",
            ),
            Seen::OtherMachine(why) => found.add(
                "foreign-machine",
                node,
                why.clone(),
                "find the machine with that uuid and give it another address, or destroy it with its disks",
            ),
            Seen::Ours(testimony) => {
                if let Some(other) = testimony.cluster_id.as_ref().filter(|id| **id != scene.cluster_id) {
                    found.add(
                        "wrong-cluster-id",
                        node,
                        format!("it counts itself to cluster {other}, and this life is {}", scene.cluster_id),
                        CURE_DISK,
                    );
                }
            }
            Seen::Silent => {}
        }
    }
}

fn discovery(scene: &Scene, found: &mut Found) {
    let declared: BTreeSet<IpAddr> = scene.nodes.iter().map(|sighting| sighting.address).collect();
    let vip = scene.vip.as_ref().map(|(address, _)| *address);
    let cure = "reset the machine that left it, or wait until the discovery service forgets it, 30 minutes after it \
                died; a new life with a new cluster id does not see it";
    // Each node tells of the same affiliates: the first that does stands for all.
    let mut affiliates: BTreeMap<&str, (&str, &Affiliate)> = BTreeMap::new();
    for (sighting, testimony) in scene.ours() {
        for affiliate in &testimony.affiliates {
            affiliates.entry(&affiliate.node_id).or_insert((&sighting.node, affiliate));
        }
    }
    let mut at: BTreeMap<IpAddr, Vec<(&str, &Affiliate)>> = BTreeMap::new();
    for (seen_by, affiliate) in affiliates.values() {
        for address in affiliate.addresses.iter().filter(|address| Some(**address) != vip) {
            at.entry(*address).or_default().push((seen_by, affiliate));
        }
        let is_declared = affiliate.addresses.iter().any(|address| declared.contains(address));
        if affiliate.machine_type == "controlplane" && !affiliate.addresses.is_empty() && !is_declared {
            found.add(
                "stale-affiliate",
                seen_by,
                format!(
                    "the discovery service knows the control plane {} at {}, which is not declared",
                    name_of(affiliate),
                    listed(&affiliate.addresses)
                ),
                cure,
            );
        }
    }
    for (address, affiliates) in at {
        if let [(seen_by, first), .., (_, last)] = affiliates[..] {
            found.add(
                "stale-affiliate",
                seen_by,
                format!(
                    "the discovery service knows {} identities at {address}: {} and {}",
                    affiliates.len(),
                    first.node_id,
                    last.node_id
                ),
                cure,
            );
        }
    }
    for (sighting, testimony) in scene.ours() {
        let mut at: BTreeMap<IpAddr, BTreeSet<(&str, &str)>> = BTreeMap::new();
        for member in &testimony.members {
            for address in member.addresses.iter().filter(|address| Some(**address) != vip) {
                at.entry(*address).or_default().insert((&member.hostname, &member.node_id));
            }
        }
        for (address, members) in at.into_iter().filter(|(_, members)| members.len() > 1) {
            let members: Vec<String> = members.into_iter().map(|(name, id)| heard(&format!("{name} ({id})"))).collect();
            found.add(
                "doubled-member",
                &sighting.node,
                format!("{address} is more than one member of the cluster: {}", members.join(" and ")),
                cure,
            );
        }
    }
}

fn name_of(affiliate: &Affiliate) -> &str {
    [&affiliate.nodename, &affiliate.hostname, &affiliate.node_id]
        .into_iter()
        .find(|name| !name.is_empty())
        .map_or("?", String::as_str)
}

fn listed(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn ids(members: &[Member]) -> BTreeSet<u64> {
    members.iter().map(|member| member.id).collect()
}

fn etcd(scene: &Scene, found: &mut Found) {
    let declared = scene.declared();
    let lists: Vec<(&str, &Testimony)> = scene
        .control_planes()
        .filter(|(_, testimony)| !testimony.etcd_members.is_empty())
        .map(|(sighting, testimony)| (sighting.node.as_str(), testimony))
        .collect();
    // The cluster is what most members agree on; the first of equals.
    let reference = lists.iter().rev().max_by_key(|(_, testimony)| {
        let own = ids(&testimony.etcd_members);
        lists.iter().filter(|(_, other)| !own.is_disjoint(&ids(&other.etcd_members))).count()
    });
    let Some((reference_node, reference)) = reference else { return };
    let cluster = ids(&reference.etcd_members);
    for (node, testimony) in &lists {
        let strangers = strangers_among(&testimony.etcd_members, &declared);
        let is_apart = cluster.is_disjoint(&ids(&testimony.etcd_members));
        // A cluster whose every member is a stranger was never this one.
        if is_apart || (!strangers.is_empty() && strangers.len() == testimony.etcd_members.len()) {
            let members: Vec<String> = testimony.etcd_members.iter().map(shown).collect();
            let beside = if is_apart { format!(", and {reference_node} knows none of them") } else { String::new() };
            found.add(
                "old-data-directory",
                node,
                format!("its etcd runs with old data: it lists {}{beside}", members.join(", ")),
                CURE_DISK,
            );
            continue;
        }
        for stranger in strangers {
            found.add(
                "impostor-member",
                node,
                format!("etcd counts {stranger}, which is no declared node"),
                "remove the member by its id (`castle members` shows it) through a healthy control plane",
            );
        }
    }
    for (sighting, testimony) in scene.control_planes() {
        let Some(own) = testimony.etcd_id else { continue };
        if cluster.is_disjoint(&ids(&testimony.etcd_members)) && !testimony.etcd_members.is_empty() {
            continue;
        }
        for twin in reference.etcd_members.iter().filter(|member| member.name == sighting.node && member.id != own) {
            found.add(
                "impostor-member",
                &sighting.node,
                format!("etcd counts {}, and the node itself is {own:016x}", shown(twin)),
                format!("remove the member {:016x} through a healthy control plane", twin.id),
            );
        }
    }
}

fn learners(scene: &Scene, found: &mut Found) {
    let mut learners: BTreeMap<u64, (&str, &Member)> = BTreeMap::new();
    for (sighting, testimony) in scene.control_planes() {
        for member in testimony.etcd_members.iter().filter(|member| member.learner) {
            learners.entry(member.id).or_insert((&sighting.node, member));
        }
    }
    for (seen_by, learner) in learners.values() {
        let is_its = |sighting: &&Sighting| {
            sighting.node == learner.name || (learner.name.is_empty() && learner.addresses.contains(&sighting.address))
        };
        let why = match scene.nodes.iter().find(is_its) {
            None => "it is no declared node".to_owned(),
            Some(Sighting { node, seen: Seen::Ours(testimony), .. }) => match &testimony.etcd {
                // It started, so it catches up and votes; or it is about to start.
                EtcdService { state, .. } if state == RUNNING || learner.name.is_empty() => continue,
                EtcdService { state, .. } => format!("etcd on {node} is {state:?}"),
            },
            Some(Sighting { node, seen: Seen::Silent, .. }) => format!("{node} does not answer"),
            Some(Sighting { node, .. }) => format!("{node} is not a node of this life"),
        };
        found.add(
            "stuck-learner",
            seen_by,
            format!("{} learns and will never vote: {why}; no other can join before it does", shown(learner)),
            format!("remove the member {:016x} through a healthy control plane", learner.id),
        );
    }
}

fn vip(scene: &Scene, found: &mut Found) {
    let Some((address, answer)) = &scene.vip else { return };
    let cure = "find out who has the address (`ip neigh` on the host shows its hardware address) and stop it";
    match answer {
        VipAnswer::Silent => {}
        VipAnswer::Foreign(why) => {
            found.add("unknown-vip-holder", "the VIP", format!("what answers at {address} {why}"), cure);
        }
        // A control plane that is silent may hold it.
        VipAnswer::Ours => {
            let all_known = scene
                .nodes
                .iter()
                .filter(|sighting| sighting.control_plane)
                .all(|sighting| !matches!(sighting.seen, Seen::Silent));
            if all_known && !scene.control_planes().any(|(_, testimony)| testimony.holds_vip) {
                found.add(
                    "unknown-vip-holder",
                    "the VIP",
                    format!("{address} answers for this cluster, and no declared control plane holds it"),
                    cure,
                );
            }
        }
    }
}

#[cfg(test)]
#[path = "ghosts_tests.rs"]
mod tests;
