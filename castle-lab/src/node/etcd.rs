//! etcd across the control planes: born once, joined one by one, quorate or not.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::disk::DataDirectory;
use super::{Due, Node};
use crate::latency::Latency;
use crate::world::World;

/// What etcd does on one control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EtcdState {
    /// It was not started.
    Off,
    /// It has no data and asks to be let in.
    Preparing {
        /// Since when.
        since: Duration,
    },
    /// It was asked to give birth to a cluster.
    Founding,
    /// It starts with the data that it found.
    Returning,
    /// It learns and does not vote.
    Learning {
        /// When it will have caught up.
        until: Duration,
    },
    /// It votes.
    Running,
    /// It has given up.
    Failed,
}

/// One etcd cluster, as its members remember it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EtcdCluster {
    /// Its id.
    pub id: u64,
    /// The id of the Talos cluster that it was born in.
    pub cluster_id: String,
    /// The fingerprint of its authority.
    pub authority: String,
    /// Its members, by id.
    pub members: BTreeMap<u64, EtcdMember>,
    /// Who leads; changes only when the leader is gone.
    pub leader: u64,
    /// How often a leader was elected.
    pub term: u64,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdMember {
    /// Its id.
    pub id: u64,
    /// The host name of its node.
    pub name: String,
    /// The address of its node.
    pub address: Option<IpAddr>,
    /// The machine that it runs on.
    pub machine: u32,
    /// Whether it only learns.
    pub learner: bool,
}

/// A restart with data: a second to start, five to the first health check
/// (Talos' code).
const RETURN: Duration = Duration::from_secs(6);
/// A learner that has not caught up is tried again after this (Talos' code).
const PROMOTE_RETRY: Duration = Duration::from_secs(15);
const WAITING: &str = "etcd is waiting to join the cluster";

impl World {
    /// etcd of a control plane starts; its image comes first.
    pub(crate) fn etcd_starts(&mut self, vm: u32, pull: Duration) {
        let now = self.now();
        self.session_mut(vm, |session| {
            session.etcd = EtcdState::Preparing { since: now };
            session.services.enter(now, "etcd", "Preparing", "Running pre state");
        });
        self.plan(vm, pull, Due::EtcdImage);
    }

    pub(crate) fn etcd_image_pulled(&mut self, vm: u32) {
        self.session_mut(vm, |session| session.etcd_image = true);
        let Some(node) = self.nodes.nodes.get(&vm) else { return };
        let founding = node.session.as_ref().is_some_and(|session| session.etcd == EtcdState::Founding);
        if founding {
            self.found(vm);
        } else if node.disk.etcd.is_some() {
            let now = self.now();
            self.session_mut(vm, |session| {
                session.etcd = EtcdState::Returning;
                session.services.enter(now, "etcd", "Running", "Started task etcd (PID 2000) for container etcd");
            });
            self.plan(vm, RETURN, Due::EtcdUp);
        } else {
            self.plan(vm, Latency::ETCD_JOIN_TIMEOUT, Due::EtcdTimeout);
            self.etcd_join(vm);
        }
    }

    /// `Bootstrap`: an etcd with one member is born here. The caller has checked
    /// that the node can do it.
    pub(crate) fn etcd_bootstrap(&mut self, vm: u32) {
        let (cluster, member) = (self.etcd_id(vm, "etcd cluster"), self.etcd_id(vm, "etcd member"));
        let now = self.now();
        let Some(node) = self.nodes.nodes.get_mut(&vm) else { return };
        let Some(config) = node.config().cloned() else { return };
        node.disk.etcd = Some(DataDirectory { cluster, member });
        let founder = EtcdMember { id: member, name: node.hostname(), address: node.ip(), machine: vm, learner: false };
        let authority = config.etcd_ca.as_ref().map(super::config::Authority::fingerprint).unwrap_or_default();
        let has_image = node.session.as_ref().is_some_and(|session| session.etcd_image);
        let born = EtcdCluster {
            id: cluster,
            cluster_id: config.cluster_id.clone(),
            authority,
            members: BTreeMap::from([(member, founder)]),
            leader: member,
            term: 2,
        };
        self.nodes.etcds.insert(cluster, born);
        self.nodes.bootstraps.push((now, config.cluster_id.clone(), cluster));
        let lives = self.nodes.bootstraps.iter().filter(|(_, id, _)| *id == config.cluster_id).count();
        if lives > 1 {
            self.nodes.misdeeds.push(format!("bootstrap number {lives} in one life, on node {vm}"));
        }
        self.kubernetes.begin_life();
        self.session_mut(vm, |session| {
            session.etcd = EtcdState::Founding;
            session.services.enter(now, "etcd", "Finished", "Bootstrap requested");
            session.services.enter(now, "etcd", "Starting", "Starting service");
        });
        self.log(format!("node {vm} gives birth to etcd {cluster:016x}"));
        if has_image {
            self.found(vm);
        }
    }

    fn found(&mut self, vm: u32) {
        let (now, wait) = (self.now(), self.draw(Latency::BOOTSTRAP, &vm.to_string(), "bootstrap"));
        self.session_mut(vm, |session| {
            session.services.enter(now, "etcd", "Running", "Started task etcd (PID 2000) for container etcd");
        });
        self.plan(vm, wait, Due::EtcdUp);
    }

    pub(crate) fn etcd_up(&mut self, vm: u32) {
        self.session_mut(vm, |session| session.etcd = EtcdState::Running);
        self.etcd_changed();
    }

    /// Asks the known control planes to be let in. Nothing happens while nobody
    /// can: whoever changes that wakes it.
    pub(crate) fn etcd_join(&mut self, vm: u32) {
        let Some(node) = self.nodes.nodes.get(&vm) else { return };
        let Some((session, config)) = node.session.as_ref().zip(node.config()) else { return };
        let waits = matches!(session.etcd, EtcdState::Preparing { .. }) && session.etcd_image;
        if !waits || node.disk.etcd.is_some() {
            return;
        }
        let now = self.now();
        match self.cluster_to_join(vm, config) {
            Err(why) => {
                self.session_mut(vm, |session| session.services.enter(now, "etcd", "Preparing", why));
            }
            Ok(None) => {}
            Ok(Some(cluster)) => self.let_in(vm, cluster),
        }
    }

    /// The etcd that would let this node in. `Err`: one that would not, and why.
    fn cluster_to_join(&self, vm: u32, config: &super::MachineConfig) -> Result<Option<u64>, String> {
        let own = self.nodes.nodes.get(&vm).and_then(Node::ip);
        let authority = config.etcd_ca.as_ref().map(super::config::Authority::fingerprint).unwrap_or_default();
        let mut found = None;
        for entry in self.affiliates_of(config).filter(|entry| entry.machine_type == super::MachineType::ControlPlane) {
            for address in entry.addresses.iter().filter(|address| Some(**address) != own) {
                let peer = self.nodes.behind(*address);
                let theirs = peer.and_then(Node::config).and_then(|config| config.etcd_ca.as_ref());
                if theirs.is_some_and(|theirs| theirs.fingerprint() != authority) {
                    return Err(format!(
                        "{WAITING}: {address}: tls: failed to verify certificate: x509: certificate signed by unknown \
                         authority"
                    ));
                }
                if entry.machine.is_none() {
                    // Its node is dead, and the entry lives on for half an hour.
                    return Err(format!("{WAITING}: {address}: context deadline exceeded"));
                }
                let Some(peer) = peer else { continue };
                let is_well = peer.session.as_ref().is_some_and(|session| session.services.is_healthy("etcd"));
                found = found.or(peer.disk.etcd.filter(|_| is_well).map(|data| data.cluster));
            }
        }
        let Some(cluster) = found.and_then(|id| self.nodes.etcds.get(&id)) else { return Ok(None) };
        if cluster.members.values().any(|member| member.learner) {
            return Err(format!("{WAITING}: etcdserver: too many learner members in cluster"));
        }
        Ok(Some(cluster.id))
    }

    fn let_in(&mut self, vm: u32, cluster: u64) {
        let member = self.etcd_id(vm, "etcd member");
        let wait = self.draw(Latency::JOIN, &vm.to_string(), "join");
        let now = self.now();
        let Some(node) = self.nodes.nodes.get_mut(&vm) else { return };
        node.disk.etcd = Some(DataDirectory { cluster, member });
        let (name, address) = (node.hostname(), node.ip());
        let Some(joined) = self.nodes.etcds.get_mut(&cluster) else { return };
        // A former member of the same name is thrown out first.
        joined.members.retain(|_, other| other.name != name);
        joined.members.insert(member, EtcdMember { id: member, name, address, machine: vm, learner: true });
        self.session_mut(vm, |session| {
            session.etcd = EtcdState::Learning { until: now + wait };
            session.services.enter(now, "etcd", "Running", "Started task etcd (PID 2000) for container etcd");
        });
        self.log(format!("node {vm} learns in etcd {cluster:016x}"));
        self.etcd_changed();
        self.plan(vm, wait, Due::EtcdPromote);
    }

    /// A learner that has caught up becomes a voter, if there is a quorum to say so.
    pub(crate) fn etcd_promote(&mut self, vm: u32) {
        let now = self.now();
        let Some(node) = self.nodes.nodes.get(&vm) else { return };
        let caught_up = matches!(node.session.as_ref().map(|session| session.etcd),
            Some(EtcdState::Learning { until }) if until <= now);
        let Some(data) = node.disk.etcd.filter(|_| caught_up) else { return };
        if !self.has_quorum(data.cluster) {
            return;
        }
        if let Some(member) =
            self.nodes.etcds.get_mut(&data.cluster).and_then(|etcd| etcd.members.get_mut(&data.member))
        {
            member.learner = false;
        }
        self.session_mut(vm, |session| session.etcd = EtcdState::Running);
        self.log(format!("node {vm} votes in etcd"));
        self.etcd_changed();
        self.wake_joiners();
    }

    pub(crate) fn etcd_gives_up(&mut self, vm: u32) {
        let now = self.now();
        self.session_mut(vm, |session| {
            if matches!(session.etcd, EtcdState::Preparing { .. }) {
                session.etcd = EtcdState::Failed;
                let text = "Failed to run pre stage: failed to build initial etcd cluster: failed to build cluster \
                            arguments: 1 error(s) occurred: timeout";
                session.services.enter(now, "etcd", "Failed", text);
            }
        });
    }

    /// Everybody who waits to be let in asks at its next attempt.
    pub(crate) fn wake_joiners(&mut self) {
        let now = self.now();
        let waiting: Vec<(u32, Duration)> = self
            .nodes
            .configured()
            .filter_map(|(node, session, _)| match session.etcd {
                EtcdState::Preparing { since } if session.etcd_image => Some((node.vm, since)),
                _ => None,
            })
            .collect();
        for (vm, since) in waiting {
            let step = Latency::ETCD_JOIN_RETRY.as_nanos();
            let into = now.saturating_sub(since).as_nanos() % step;
            let wait = Duration::from_nanos(u64::try_from((step - into) % step).unwrap_or(0));
            self.plan(vm, wait, Due::EtcdJoin);
        }
    }

    /// Whether more than half of the voters of an etcd run.
    #[must_use]
    pub fn has_quorum(&self, cluster: u64) -> bool {
        let Some(etcd) = self.nodes.etcds.get(&cluster) else { return false };
        let voters = etcd.members.values().filter(|member| !member.learner);
        let (all, alive) = voters.fold((0, 0), |(all, alive), member| {
            let runs = self.runs_member(member.machine, DataDirectory { cluster, member: member.id });
            (all + 1, alive + usize::from(runs))
        });
        alive * 2 > all
    }

    fn runs_member(&self, vm: u32, data: DataDirectory) -> bool {
        self.nodes.nodes.get(&vm).is_some_and(|node| {
            let is_up = node.session.as_ref().is_some_and(|session| session.etcd == EtcdState::Running);
            is_up && node.disk.etcd == Some(data)
        })
    }

    /// Members came, went or changed: every health check comes to its result.
    pub(crate) fn etcd_changed(&mut self) {
        let now = self.now();
        let running: Vec<(u32, EtcdState, u64, u64)> = self
            .nodes
            .nodes
            .values()
            .filter_map(|node| {
                let (session, data) = (node.session.as_ref()?, node.disk.etcd?);
                Some((node.vm, session.etcd, data.cluster, data.member))
            })
            .collect();
        let mut recovered = Vec::new();
        for (vm, state, cluster, member) in running {
            let is_member = self.nodes.etcds.get(&cluster).is_some_and(|etcd| etcd.members.contains_key(&member));
            let result = match state {
                EtcdState::Running if !is_member => Err("etcdserver: the member has been permanently removed"),
                EtcdState::Running if self.has_quorum(cluster) => Ok(()),
                EtcdState::Running => Err("context deadline exceeded"),
                EtcdState::Learning { .. } => Err("etcdserver: rpc not supported for learner"),
                _ => continue,
            };
            let node = self.nodes.nodes.get(&vm).and_then(|node| node.session.as_ref());
            let was_well = node.is_some_and(|session| session.services.is_healthy("etcd"));
            if result.is_ok() && !was_well {
                recovered.push(vm);
            }
            self.session_mut(vm, |session| session.services.check(now, "etcd", result));
        }
        self.elect();
        for vm in &recovered {
            self.etcd_well(*vm);
        }
        if !recovered.is_empty() {
            self.wake_joiners();
            self.retry_promotions();
        }
        self.follow_api_servers();
    }

    /// A leader that is gone is replaced, where a quorum is left.
    fn elect(&mut self) {
        let clusters: Vec<u64> = self.nodes.etcds.keys().copied().filter(|id| self.has_quorum(*id)).collect();
        for id in clusters {
            let etcd = &self.nodes.etcds[&id];
            let alive = |member: &EtcdMember| {
                !member.learner && self.runs_member(member.machine, DataDirectory { cluster: id, member: member.id })
            };
            if etcd.members.get(&etcd.leader).is_some_and(&alive) {
                continue;
            }
            let next = etcd.members.values().find(|member| alive(member)).map(|member| member.id);
            if let (Some(next), Some(etcd)) = (next, self.nodes.etcds.get_mut(&id)) {
                (etcd.leader, etcd.term) = (next, etcd.term + 1);
            }
        }
    }

    fn retry_promotions(&mut self) {
        let now = self.now();
        let late: Vec<u32> = self
            .nodes
            .configured()
            .filter(|(_, session, _)| matches!(session.etcd, EtcdState::Learning { until } if until < now))
            .map(|(node, _, _)| node.vm)
            .collect();
        for vm in late {
            self.plan(vm, PROMOTE_RETRY, Due::EtcdPromote);
        }
    }

    /// etcd of a node has become well: what waits for that goes on.
    fn etcd_well(&mut self, vm: u32) {
        self.log(format!("etcd of node {vm} is well"));
        let is_planned =
            self.nodes.nodes.get(&vm).and_then(|node| node.session.as_ref()).is_none_or(|s| s.api_server_planned);
        if !is_planned {
            self.plan_api_server(vm);
        }
        self.plan_campaign(vm);
        self.settle_stage(vm);
    }

    /// Removes a member. False: there is none of that id.
    pub(crate) fn etcd_remove(&mut self, cluster: u64, member: u64) -> bool {
        let was_quorate = self.has_quorum(cluster);
        let Some(etcd) = self.nodes.etcds.get_mut(&cluster) else { return false };
        if etcd.members.remove(&member).is_none() {
            return false;
        }
        if was_quorate && !self.has_quorum(cluster) {
            self.nodes.misdeeds.push(format!("removing member {member:016x} lost the quorum of etcd {cluster:016x}"));
        }
        self.log(format!("member {member:016x} was removed from etcd"));
        self.etcd_changed();
        self.wake_joiners();
        true
    }

    /// An id as etcd draws them: any 64 bits but zero.
    pub(crate) fn etcd_id(&mut self, vm: u32, what: &str) -> u64 {
        let bytes = self.draw_bytes(&vm.to_string(), what);
        bytes.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte)) | 1
    }
}
