//! Kubernetes on the nodes: API servers, kubelets, and the pods of the network.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::boot::{Api, Stage};
use super::certificate::{self, Subject};
use super::pod::{self, Phase};
use super::{Due, Node};
use crate::kube::KubeIdentity;
use crate::latency::Latency;
use crate::world::World;

/// How long the node controller waits for a silent kubelet, by the release of
/// Kubernetes: its default is 50 s from 1.32 on, and was 40 s before.
pub(crate) fn grace(release: &str) -> Duration {
    let mut numbers = release.trim_start_matches('v').split('.').map(str::parse::<u32>);
    let is_older = matches!((numbers.next(), numbers.next()), (Some(Ok(1)), Some(Ok(minor))) if minor < 32);
    Duration::from_secs(if is_older { 40 } else { 50 })
}

/// How long the API server's certificate is valid (Talos: a year).
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The first address of the service network, which is the API server's.
const SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));

impl World {
    pub(crate) fn kubelet_started(&mut self, vm: u32) {
        let now = self.now();
        // Drawn once in a boot: an API that comes and goes gives no second throw.
        let after = self.draw(Latency::NODE_REGISTERED, &vm.to_string(), "register");
        self.session_mut(vm, |session| {
            session.services.run(now, "kubelet");
            session.registers_after = after;
        });
        let etcd_well = |node: &Node| node.session.as_ref().is_some_and(|s| s.services.is_healthy("etcd"));
        if self.nodes.nodes.get(&vm).is_some_and(etcd_well) {
            self.plan_campaign(vm);
        }
        self.settle_stage(vm);
        if self.kubernetes.is_serving() {
            self.plan(vm, after, Due::Register);
        }
    }

    /// A boot is over once everything that it starts is up.
    pub(crate) fn settle_stage(&mut self, vm: u32) {
        let Some(node) = self.nodes.nodes.get(&vm) else { return };
        let Some(session) = node.session.as_ref() else { return };
        let is_up = session.api == Api::Configured && session.services.is_healthy("kubelet");
        let etcd = !node.is_control_plane() || session.services.is_healthy("etcd");
        if session.stage == Stage::Booting && is_up && etcd {
            self.session_mut(vm, |session| session.stage = Stage::Running);
            self.log(format!("node {vm} runs"));
        }
    }

    /// The static pods of a control plane start; their images come first.
    pub(crate) fn plan_api_server(&mut self, vm: u32) {
        let entity = vm.to_string();
        let (first, cached) = (
            self.draw(Latency::API_SERVER_FIRST, &entity, "api server"),
            self.draw(Latency::API_SERVER_CACHED, &entity, "api server again"),
        );
        let has_images = self.nodes.nodes.get(&vm).is_some_and(|node| node.disk.images);
        self.session_mut(vm, |session| session.api_server_planned = true);
        self.plan(vm, if has_images { cached } else { first }, Due::ApiServer);
    }

    pub(crate) fn api_server_up(&mut self, vm: u32) {
        let ticket = self.nodes.next_ticket();
        if let Some(node) = self.nodes.nodes.get_mut(&vm) {
            node.disk.images = true;
        }
        self.session_mut(vm, |session| session.api_server = Some(ticket));
        self.show_identity(vm);
        self.log(format!("the API server of node {vm} answers"));
        self.follow_api_servers();
        for pod in self.nodes.nodes.get(&vm).map(|node| pod::static_pods(node, self.unix_now())).unwrap_or_default() {
            self.put(pod);
        }
        if let Some((after, away)) = self.nodes.plants.api_refusal.take() {
            self.plan(vm, after, Due::ApiServerAway(true));
            self.plan(vm, after + away, Due::ApiServerAway(false));
        }
    }

    pub(crate) fn api_server_away(&mut self, vm: u32, away: bool) {
        let ticket = self.nodes.next_ticket();
        self.session_mut(vm, |session| session.api_server = (!away).then_some(ticket));
        self.follow_api_servers();
    }

    /// The certificates that API servers show: signed by the authority in the
    /// configuration of this control plane.
    fn show_identity(&mut self, vm: u32) {
        let Some(config) = self.nodes.nodes.get(&vm).and_then(Node::config).cloned() else { return };
        let mut addresses: Vec<IpAddr> = self.nodes.iter().filter_map(Node::ip).collect();
        addresses.extend(config.vips.iter().map(|(vip, _)| *vip));
        addresses.extend(config.endpoint.parse::<IpAddr>());
        addresses.extend(self.nodes.mapped.iter().copied());
        addresses.extend([SERVICE, IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        addresses.sort();
        addresses.dedup();
        let own = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"];
        let mut names: Vec<String> = own.iter().map(|&name| name.to_owned()).collect();
        names.push("kubernetes.default.svc.cluster.local".to_owned());
        names.extend(self.nodes.iter().filter(|node| node.is_control_plane()).map(Node::hostname));
        names.extend(config.api_names.iter().filter(|name| name.parse::<IpAddr>().is_err()).cloned());
        let subject = Subject { name: "kube-apiserver".to_owned(), names, addresses };
        match certificate::issue(&config.kubernetes_ca, &subject, self.wall(), YEAR) {
            Ok((certificate, key)) => {
                self.kubernetes.identity = Some(KubeIdentity {
                    ca_pem: config.kubernetes_ca.certificate.clone(),
                    cert_pem: certificate.pem(),
                    key_pem: key.serialize_pem(),
                });
                if !config.kubernetes.is_empty() {
                    self.kubernetes.version.clone_from(&config.kubernetes);
                }
            }
            Err(text) => self.log(format!("node {vm} could not make its API server's certificate: {text}")),
        }
    }

    /// The API serves while some API server has an etcd that is well.
    pub(crate) fn follow_api_servers(&mut self) {
        let serves = self
            .nodes
            .configured()
            .any(|(_, session, _)| session.api_server.is_some() && session.services.is_healthy("etcd"));
        if serves && !self.kubernetes.is_serving() {
            self.kubernetes.serve();
            self.log("the Kubernetes API serves");
            self.wake_kubelets();
        } else if !serves && self.kubernetes.is_serving() {
            self.kubernetes.stop_serving();
            self.log("the Kubernetes API serves no more");
        }
    }

    pub(crate) fn wake_kubelets(&mut self) {
        if !self.kubernetes.is_serving() {
            return;
        }
        let waiting: Vec<(u32, Duration)> = self
            .nodes
            .configured()
            .filter(|(_, session, _)| session.services.is_healthy("kubelet") && !session.registered)
            .map(|(node, session, _)| (node.vm, session.registers_after))
            .collect();
        for (vm, after) in waiting {
            self.plan(vm, after, Due::Register);
        }
    }

    /// A kubelet makes its node's object, if the API is of its own cluster.
    pub(crate) fn register(&mut self, vm: u32) {
        let Some(node) = self.nodes.nodes.get(&vm) else { return };
        let Some((session, config)) = node.session.as_ref().zip(node.config()) else { return };
        let known = self
            .kubernetes
            .identity
            .as_ref()
            .is_some_and(|identity| identity.ca_pem.trim() == config.kubernetes_ca.certificate.trim());
        if session.registered || !self.kubernetes.is_serving() || !known {
            return;
        }
        let now = self.unix_now();
        let has_images = node.disk.network_images;
        let objects = [vec![pod::node(node, now, false)], pod::network_pods(node, now, Phase::Creating)].concat();
        let entity = vm.to_string();
        let wait = if has_images {
            // Nothing is left of the row but a container.
            self.draw(Latency::CONTAINER_START, &entity, "cni start")
                + self.draw(Latency::CONTAINER_READY, &entity, "cni ready")
        } else {
            self.draw(Latency::CNI_READY, &entity, "cni")
        };
        self.session_mut(vm, |session| session.registered = true);
        for object in objects {
            self.put(object);
        }
        self.follow_dns();
        self.log(format!("node {vm} is registered"));
        self.plan(vm, wait, Due::Cni);
    }

    /// The pods of the network are ready on a node.
    pub(crate) fn cni_up(&mut self, vm: u32) {
        let (now, unix_now) = (self.now(), self.unix_now());
        let Some(node) = self.nodes.nodes.get_mut(&vm) else { return };
        (node.disk.images, node.disk.network_images) = (true, true);
        let objects = pod::network_pods(node, unix_now, Phase::Ready);
        let wait = self.draw(Latency::NODE_READY, &vm.to_string(), "node ready");
        self.session_mut(vm, |session| session.cni_at = Some(now));
        for object in objects {
            self.put(object);
        }
        self.log(format!("the pod network of node {vm} works"));
        self.plan(vm, wait, Due::NodeReady);
    }

    /// A kubelet reports that its node is Ready.
    pub(crate) fn node_ready(&mut self, vm: u32) {
        let (now, unix_now) = (self.now(), self.unix_now());
        let Some(object) = self.nodes.nodes.get(&vm).map(|node| pod::node(node, unix_now, true)) else { return };
        self.session_mut(vm, |session| session.ready_at = Some(now));
        self.put(object);
        self.follow_dns();
        self.log(format!("node {vm} is Ready"));
    }

    /// A kubelet was silent for too long.
    pub(crate) fn node_lost(&mut self, vm: u32) {
        let now = self.unix_now();
        let Some(node) = self.nodes.nodes.get(&vm) else { return };
        if node.session.as_ref().is_some_and(|session| session.registered) || !self.kubernetes.is_serving() {
            return;
        }
        let object = pod::lost_node(node, now);
        self.put(object);
    }

    pub(crate) fn put(&mut self, object: serde_json::Value) {
        if let Err(refusal) = self.kubernetes.put(object) {
            // A component that is refused tries again later; the model does not need that.
            self.log(format!("the API server refused an object of the cluster's own: {refusal}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_is_the_default_of_the_release() {
        for (release, seconds) in [("v1.31.9", 40), ("v1.29.0", 40), ("v1.32.0", 50), ("v1.36.3", 50), ("1.36.3", 50)] {
            assert_eq!(grace(release).as_secs(), seconds, "{release}");
        }
    }
}
