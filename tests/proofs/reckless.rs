//! Operators that give birth to etcd on whichever control plane answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use castle_core::{
    Context, Env, Ghost, Kubernetes, Member, Meter, NodeOs, NodeRole, NodeSite, NodeState, NodeTarget, Problem,
    Project, Result, SecretBytes, SecretText,
};
use futures::stream::BoxStream;

use crate::patient::Patient;
use crate::rig::Meddler;

/// Takes the guards of a birth away: every operator has a favourite among the
/// control planes that answer, and asks nobody whether etcd lives.
#[derive(Debug, Default)]
pub struct Reckless {
    operators: AtomicUsize,
}

impl Meddler for Reckless {
    fn kubernetes(&self, real: Arc<dyn Kubernetes>) -> Arc<dyn Kubernetes> {
        Patient.kubernetes(real)
    }
    fn node_os(&self, real: Arc<dyn NodeOs>) -> Arc<dyn NodeOs> {
        let favourite = self.operators.fetch_add(1, Ordering::Relaxed);
        Arc::new(RecklessOs { real, favourite, answering: Mutex::default() })
    }
}

#[derive(Debug)]
struct RecklessOs {
    real: Arc<dyn NodeOs>,
    favourite: usize,
    /// The control planes that answered as ours.
    answering: Mutex<Vec<NodeTarget>>,
}

#[async_trait]
impl NodeOs for RecklessOs {
    fn name(&self) -> &'static str {
        self.real.name()
    }
    fn meter(&self) -> &Meter {
        self.real.meter()
    }
    fn validate(&self, project: &Project) -> Vec<Problem> {
        self.real.validate(project)
    }
    fn render(&self, site: &NodeSite, node: &NodeTarget) -> Result<SecretBytes> {
        self.real.render(site, node)
    }
    async fn look(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<NodeState> {
        let state = self.real.look(cx, site, node).await?;
        if node.spec.role == NodeRole::ControlPlane && matches!(state, NodeState::Ours(_)) {
            let mut answering = self.answering.lock().unwrap_or_else(PoisonError::into_inner);
            answering.retain(|known| known.spec.id != node.spec.id);
            answering.push(node.clone());
            answering.sort_by_key(|known| known.spec.id);
        }
        Ok(state)
    }
    fn watch(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> BoxStream<'static, ()> {
        self.real.watch(cx, site, node)
    }
    async fn apply(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<()> {
        self.real.apply(cx, site, node).await
    }
    async fn bootstrap(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<()> {
        let answering = self.answering.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let place = self.favourite % answering.len().max(1);
        self.real.bootstrap(cx, site, answering.get(place).unwrap_or(node)).await
    }
    async fn members(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<Vec<Member>> {
        // The first one is asked whether it votes by now; the others are not asked.
        let first = site.project.with_role(NodeRole::ControlPlane).next();
        if first.is_some_and(|first| first.id == node.spec.id) {
            return self.real.members(cx, site, node).await;
        }
        Ok(Vec::new())
    }
    async fn member_id(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<Option<u64>> {
        self.real.member_id(cx, site, node).await
    }
    async fn remove_member(&self, cx: &Context, site: &NodeSite, through: &NodeTarget, id: u64) -> Result<()> {
        self.real.remove_member(cx, site, through, id).await
    }
    async fn ghosts(&self, cx: &Context, site: &NodeSite, nodes: &[NodeTarget]) -> Result<Vec<Ghost>> {
        self.real.ghosts(cx, site, nodes).await
    }
    fn kubeconfig(&self, env: &Env, site: &NodeSite, kept: Option<&SecretText>) -> Result<SecretText> {
        self.real.kubeconfig(env, site, kept)
    }
    fn talosconfig(&self, env: &Env, site: &NodeSite, kept: Option<&SecretText>) -> Result<SecretText> {
        self.real.talosconfig(env, site, kept)
    }
    fn is_credential(&self, project: &Project, which: castle_core::Credential, text: &SecretText) -> bool {
        self.real.is_credential(project, which, text)
    }
}
