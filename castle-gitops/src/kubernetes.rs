//! The Kubernetes port on the kube crate.
//!
//! Of kube come the requests, the types and the reading of watches. Connections,
//! trust, time and patience are castle's own: kube's would pick the process's
//! provider of TLS, dial without the map, and repeat on their own.

mod dial;
mod error;
pub(crate) mod follow;
pub(crate) mod object;
mod wire;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use castle_core::options::{DialMap, Options};
use castle_core::port::kubernetes as port;
use castle_core::port::kubernetes::{CniState, KubeNode};
use castle_core::words::heard;
use castle_core::{Clock, Context, Env, Meter, SecretText};
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;

pub use error::{Cause, Error, Result};

use crate::dial::{Network, Tasks};
use crate::kubeconfig::Access;

/// The name in reports and in request counts.
const NAME: &str = "kubernetes";
/// Where the system pods live.
const SYSTEM: &str = "kube-system";
/// The values of the labels `k8s-app` or `app` that name a network plugin: the one
/// that Talos brings, and those that people bring instead.
const PLUGINS: [&str; 5] = ["flannel", "cilium", "calico-node", "kube-router", "kindnet"];
/// The label of the cluster's DNS, whatever serves it.
const DNS: &str = "kube-dns";
/// The label of what carries services to pods, where no plugin does.
const PROXY: &str = "kube-proxy";

/// Opens the APIs of clusters.
///
/// Of the options the dial map and the source address are used; `env` gives the
/// clock that certificates are judged by.
#[derive(Clone)]
pub struct KubeClient {
    dial: DialMap,
    source: Option<IpAddr>,
    clock: Clock,
    meter: Arc<Meter>,
}

impl KubeClient {
    /// Prepares access. Sends nothing.
    #[must_use]
    pub fn new(options: &Options, env: &Env) -> Self {
        Self { dial: options.dial.clone(), source: options.source, clock: env.clock.clone(), meter: Arc::default() }
    }
}

impl fmt::Debug for KubeClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeClient").finish_non_exhaustive()
    }
}

#[async_trait]
impl port::Kubernetes for KubeClient {
    fn name(&self) -> &'static str {
        NAME
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    /// To be called inside the runtime that will send the requests: kube keeps a
    /// task of its own there, which ends with the last handle to the API.
    fn connect(&self, _cx: &Context, kubeconfig: &SecretText) -> castle_core::Result<Arc<dyn port::KubeApi>> {
        Ok(Arc::new(self.open(kubeconfig)?))
    }
}

impl KubeClient {
    pub(crate) fn open(&self, kubeconfig: &SecretText) -> Result<KubeApi> {
        let access = Access::read(kubeconfig).map_err(|why| Error::BadKubeconfig { why })?;
        let server = dial::Server::of(&access.server)?;
        let dialer = server.dialer(access, &Network::of(&self.dial, self.source, &self.clock))?;
        let (client, tasks) = wire::client(&server, dialer, &self.clock, Arc::clone(&self.meter));
        Ok(KubeApi { client, server: Arc::new(server), clock: self.clock.clone(), _tasks: tasks })
    }
}

/// The API of one cluster.
#[derive(Clone)]
pub struct KubeApi {
    client: kube::Client,
    server: Arc<dial::Server>,
    clock: Clock,
    /// The connections end with the last handle.
    _tasks: Tasks,
}

impl fmt::Debug for KubeApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeApi").field("server", &self.server.shown).finish_non_exhaustive()
    }
}

impl KubeApi {
    fn nodes_api(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    fn pods_api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), SYSTEM)
    }
}

#[async_trait]
impl port::KubeApi for KubeApi {
    async fn serves(&self, _cx: &Context) -> castle_core::Result<()> {
        let request = http::Request::get("/readyz").body(Vec::new()).expect("a path and no body are a request");
        let said = wire::within(&self.clock, &self.server, "GET /readyz", self.client.request_text(request)).await?;
        if said.trim() == "ok" {
            return Ok(());
        }
        Err(Error::Malformed { request: "GET /readyz".into(), why: "it is not `ok`".into() }.into())
    }

    async fn nodes(&self, _cx: &Context) -> castle_core::Result<Vec<KubeNode>> {
        let api = self.nodes_api();
        let params = ListParams::default();
        let list = wire::within(&self.clock, &self.server, "GET nodes", api.list(&params)).await?;
        Ok(list.items.into_iter().map(node).collect())
    }

    async fn cni(&self, _cx: &Context) -> castle_core::Result<CniState> {
        let api = self.pods_api();
        let params = ListParams::default();
        let list = wire::within(&self.clock, &self.server, "GET pods", api.list(&params)).await?;
        Ok(cni(&list.items))
    }

    fn watch(&self, _cx: &Context) -> BoxStream<'static, ()> {
        follow::wakes(self.clone())
    }
}

/// What castle reads of a node.
fn node(node: Node) -> KubeNode {
    let status = node.status.unwrap_or_default();
    let condition = status.conditions.unwrap_or_default().into_iter().find(|condition| condition.type_ == "Ready");
    let ready = condition.as_ref().is_some_and(|condition| condition.status == "True");
    let why_not = match condition {
        _ if ready => String::new(),
        None => "the kubelet has not reported yet".to_owned(),
        Some(condition) => said(condition.reason, condition.message),
    };
    KubeNode {
        name: node.metadata.name.unwrap_or_default(),
        system_uuid: status.node_info.map(|info| info.system_uuid.to_lowercase()).unwrap_or_default(),
        ready,
        why_not,
    }
}

/// A condition's reason and message, as far as there are any.
fn said(reason: Option<String>, message: Option<String>) -> String {
    let parts: Vec<_> = [reason, message].into_iter().flatten().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "no reason is given".to_owned() } else { heard(&parts.join(": ")) }
}

/// Counts the pods that carry the network. A plugin or a DNS that has no pod yet
/// is one that is wanted and not ready: else a cluster would look done before its
/// manifests were applied.
fn cni(pods: &[Pod]) -> CniState {
    let mut state = CniState::default();
    let (mut has_plugin, mut has_dns) = (false, false);
    for pod in pods.iter().filter(|pod| is_wanted(pod)) {
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let role = |wanted: &[&str]| {
            ["k8s-app", "app"].iter().any(|key| labels.get(*key).is_some_and(|value| wanted.contains(&value.as_str())))
        };
        let (is_plugin, is_dns) = (role(&PLUGINS), role(&[DNS]));
        if !is_plugin && !is_dns && !role(&[PROXY]) {
            continue;
        }
        (has_plugin, has_dns) = (has_plugin | is_plugin, has_dns | is_dns);
        state.wanted += 1;
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        let condition = conditions.into_iter().find(|condition| condition.type_ == "Ready");
        if condition.as_ref().is_some_and(|condition| condition.status == "True") {
            state.ready += 1;
        } else if state.waiting.is_none() {
            let name = pod.metadata.name.as_deref().unwrap_or("a pod");
            let why = match condition {
                Some(condition) => said(condition.reason, condition.message),
                None => pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or("Pending".to_owned()),
            };
            state.waiting = Some(format!("{name}: {why}"));
        }
    }
    for (is_there, what) in [(has_plugin, "network plugin"), (has_dns, "cluster's DNS")] {
        if !is_there {
            state.wanted += 1;
            state.waiting.get_or_insert_with(|| format!("no pod of the {what} yet"));
        }
    }
    state
}

/// Whether the pod shall run: not one that has ended or is about to.
fn is_wanted(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, label: (&str, &str), status: &str) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "labels": {label.0: label.1}},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": status, "reason": "ContainersNotReady", "message": "installing"}
            ]},
        }))
        .expect("a pod")
    }

    fn check(pods: &[Pod], expected: (usize, usize, Option<&str>)) {
        let state = cni(pods);
        assert_eq!((state.ready, state.wanted, state.waiting.as_deref()), expected);
    }

    #[test]
    fn a_network_without_pods_is_not_ready() {
        check(&[], (0, 2, Some("no pod of the network plugin yet")));
        check(&[pod("kube-flannel-a", ("app", "flannel"), "True")], (1, 2, Some("no pod of the cluster's DNS yet")));
    }

    #[test]
    fn the_first_pod_that_waits_is_named_with_its_reason() {
        let pods = [
            pod("kube-flannel-a", ("k8s-app", "flannel"), "True"),
            pod("coredns-a", ("k8s-app", "kube-dns"), "False"),
            pod("kube-proxy-a", ("k8s-app", "kube-proxy"), "True"),
            pod("kube-apiserver-a", ("k8s-app", "kube-apiserver"), "False"),
        ];
        check(&pods, (2, 3, Some("coredns-a: ContainersNotReady: installing")));
    }

    #[test]
    fn a_node_without_a_report_says_so() {
        let bare: Node = serde_json::from_value(serde_json::json!({"metadata": {"name": "cp-01"}})).expect("a node");
        assert_eq!(node(bare).why_not, "the kubelet has not reported yet");
    }
}
