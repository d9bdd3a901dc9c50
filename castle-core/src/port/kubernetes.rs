//! What castle asks of Kubernetes.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{Context, Meter, Result, SecretText};

/// A Kubernetes node, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KubeNode {
    /// Its name.
    pub name: String,
    /// The uuid of its machine, as the kubelet read it, in lower case.
    pub system_uuid: String,
    /// Whether its Ready condition is true.
    pub ready: bool,
    /// Why not, in the condition's own words.
    pub why_not: String,
}

/// Whether the pods that carry the network are ready.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CniState {
    /// Pods of the network plugin and of the cluster's DNS that are wanted.
    pub wanted: usize,
    /// Those that are ready.
    pub ready: usize,
    /// The first that is not, and why.
    pub waiting: Option<String>,
}

impl CniState {
    /// Whether all that are wanted, and at least one, are ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.wanted > 0 && self.ready == self.wanted
    }
}

/// Opens the API of one cluster.
#[async_trait]
pub trait Kubernetes: Send + Sync + fmt::Debug {
    /// The backend's name in reports: `kubernetes`.
    fn name(&self) -> &'static str;

    /// Where its requests are counted.
    fn meter(&self) -> &Meter;

    /// Prepares a connection with this kubeconfig; asks nobody yet.
    ///
    /// # Errors
    ///
    /// `InvalidSpec` if the kubeconfig holds anything but inline certificates
    /// (commands, files, proxies, switched-off checks are refused), without
    /// showing any of it.
    fn connect(&self, cx: &Context, kubeconfig: &SecretText) -> Result<Arc<dyn KubeApi>>;
}

/// The API of one cluster.
///
/// # Cancellation
///
/// Every method only reads, so all of them may be dropped at any time. Each call
/// bounds its own requests.
#[async_trait]
pub trait KubeApi: Send + Sync + fmt::Debug {
    /// Whether the API serves: its readiness endpoint answers `ok`.
    ///
    /// # Errors
    ///
    /// How it does not serve: mostly `Unreachable`.
    async fn serves(&self, cx: &Context) -> Result<()>;

    /// The nodes.
    ///
    /// # Errors
    ///
    /// `Unreachable` while the API does not answer; `Unauthenticated` or
    /// `PermissionDenied` if it knows no such administrator.
    async fn nodes(&self, cx: &Context) -> Result<Vec<KubeNode>>;

    /// The pods of the network plugin and of CoreDNS.
    ///
    /// # Errors
    ///
    /// As [`KubeApi::nodes`].
    async fn cni(&self, cx: &Context) -> Result<CniState>;

    /// Wakes whenever nodes or system pods have changed, once at the beginning,
    /// and, while the API does not answer, after a back-off.
    fn watch(&self, cx: &Context) -> BoxStream<'static, ()>;
}
