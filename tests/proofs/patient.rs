//! Operators that seldom ask whether the API serves.
//!
//! While it does not, castle asks twice a second, which is most of what a wait of
//! forty seconds costs the lab. Nothing about the birth of etcd hangs on it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use castle_core::{CniState, Context, KubeApi, KubeNode, Kubernetes, Meter, Result, SecretText};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::rig::Meddler;

/// How often they ask, in the lab's time.
const PAUSE: Duration = Duration::from_secs(10);

/// castle as it is, but for the pauses.
pub struct Patient;

impl Meddler for Patient {
    fn kubernetes(&self, real: Arc<dyn Kubernetes>) -> Arc<dyn Kubernetes> {
        Arc::new(PatientKubernetes(real))
    }
}

#[derive(Debug)]
struct PatientKubernetes(Arc<dyn Kubernetes>);

#[async_trait]
impl Kubernetes for PatientKubernetes {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn meter(&self) -> &Meter {
        self.0.meter()
    }
    fn connect(&self, cx: &Context, kubeconfig: &SecretText) -> Result<Arc<dyn KubeApi>> {
        Ok(Arc::new(PatientApi(self.0.connect(cx, kubeconfig)?)))
    }
}

#[derive(Debug)]
struct PatientApi(Arc<dyn KubeApi>);

#[async_trait]
impl KubeApi for PatientApi {
    async fn serves(&self, cx: &Context) -> Result<()> {
        self.0.serves(cx).await
    }
    async fn nodes(&self, cx: &Context) -> Result<Vec<KubeNode>> {
        self.0.nodes(cx).await
    }
    async fn cni(&self, cx: &Context) -> Result<CniState> {
        self.0.cni(cx).await
    }
    fn watch(&self, cx: &Context) -> BoxStream<'static, ()> {
        let clock = cx.clock().clone();
        stream::unfold(clock, |clock| async move {
            clock.sleep(PAUSE).await;
            Some(((), clock))
        })
        .boxed()
    }
}
