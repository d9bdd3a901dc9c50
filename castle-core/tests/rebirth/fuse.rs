//! A fuse that blows at one write, and the ports behind it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use castle_core::handover::{HandoverState, Nudge, Probe, SeedPart};
use castle_core::memory::{MemoryCluster, MemoryGitOps, MemoryMachines, MemorySecrets};
use castle_core::step::Verdict;
use castle_core::{
    Birth, Capabilities, Context, Credential, Env, Ghost, GitOps, Handover, Inventory, Machine, MachineProvider,
    MachineSpec, Member, Meter, NodeOs, NodeSite, NodeState, NodeTarget, Owner, Power, Problem, Project, Removal,
    Result, SecretBytes, SecretKey, SecretStore, SecretText, Slot,
};
use futures::stream::BoxStream;
use tokio::sync::Notify;

/// When the power goes, beside a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before it takes effect.
    Before,
    /// When it has begun to take effect, and nobody heard of it.
    During,
    /// When it is done, and the answer is lost.
    After,
}

impl Moment {
    pub const ALL: [Self; 3] = [Self::Before, Self::During, Self::After];
}

/// Counts the writes of one engine, and cuts its power at one of them: from then on
/// nothing that it asked for comes back.
#[derive(Debug, Default)]
pub struct Fuse {
    blows: Option<(usize, Moment)>,
    writes: AtomicUsize,
    blown: AtomicBool,
    told: Notify,
    race: Race,
}

/// What another operator does between this engine's last look at a machine and its
/// removal.
#[derive(Default)]
struct Race(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl fmt::Debug for Race {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Race(..)")
    }
}

impl Fuse {
    pub fn that_holds() -> Arc<Self> {
        Arc::default()
    }

    pub fn that_blows(write: usize, moment: Moment) -> Arc<Self> {
        Arc::new(Self { blows: Some((write, moment)), ..Self::default() })
    }

    /// One that holds, and another operator who acts when the first removal is asked for.
    pub fn with_race(act: impl FnOnce() + Send + 'static) -> Arc<Self> {
        Arc::new(Self { race: Race(Mutex::new(Some(Box::new(act)))), ..Self::default() })
    }

    /// How many writes were asked for so far.
    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    /// Waits until it has blown.
    pub async fn blown(&self) {
        self.told.notified().await;
    }

    async fn blow<T>(&self) -> T {
        self.blown.store(true, Ordering::SeqCst);
        self.told.notify_one();
        std::future::pending().await
    }

    async fn write<T>(&self, act: impl Future<Output = T>) -> T {
        if self.blown.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        let number = self.writes.fetch_add(1, Ordering::SeqCst);
        let moment = self.blows.and_then(|(write, moment)| (write == number).then_some(moment));
        if moment == Some(Moment::Before) {
            return self.blow().await;
        }
        let mut act = Box::pin(act);
        if moment == Some(Moment::During) {
            let _ = futures::poll!(&mut act);
            return self.blow().await;
        }
        let result = act.await;
        match self.blown.load(Ordering::SeqCst) || moment == Some(Moment::After) {
            true => self.blow().await,
            false => result,
        }
    }
}

/// A port behind a fuse.
#[derive(Clone)]
pub struct Fused<P> {
    pub fuse: Arc<Fuse>,
    pub inner: P,
}

impl<P: fmt::Debug> fmt::Debug for Fused<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl MachineProvider for Fused<MemoryMachines> {
    fn name(&self) -> &'static str {
        "machines"
    }
    fn meter(&self) -> &Meter {
        self.inner.meter()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn validate(&self, spec: &MachineSpec) -> Vec<Problem> {
        self.inner.validate(spec)
    }
    async fn preflight(&self, cx: &Context, specs: &[MachineSpec], inventory: &Inventory) -> Result<Vec<Problem>> {
        self.inner.preflight(cx, specs, inventory).await
    }
    async fn list(&self, cx: &Context, owner: &Owner, specs: &[MachineSpec]) -> Result<Inventory> {
        self.inner.list(cx, owner, specs).await
    }
    async fn get(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> Result<Slot> {
        self.inner.get(cx, owner, spec).await
    }
    async fn ensure(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, birth: &Birth) -> Result<Machine> {
        self.fuse.write(self.inner.ensure(cx, owner, spec, birth)).await
    }
    async fn power(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, power: Power) -> Result<()> {
        self.fuse.write(self.inner.power(cx, owner, spec, power)).await
    }
    async fn destroy(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> Result<Removal> {
        let race = self.fuse.race.0.lock().unwrap().take();
        race.into_iter().for_each(|act| act());
        self.fuse.write(self.inner.destroy(cx, owner, spec)).await
    }
}

/// Secrets, and how often each was truly written.
#[derive(Clone, Default)]
pub struct Ledger {
    pub secrets: MemorySecrets,
    pub written: Arc<Mutex<BTreeMap<SecretKey, u32>>>,
}

impl Ledger {
    fn note(&self, key: &SecretKey) {
        *self.written.lock().unwrap().entry(key.clone()).or_default() += 1;
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.secrets.fmt(f)
    }
}

#[async_trait]
impl SecretStore for Fused<Ledger> {
    fn name(&self) -> &'static str {
        "secrets"
    }
    fn meter(&self) -> &Meter {
        self.inner.secrets.meter()
    }
    async fn get(&self, key: &SecretKey) -> Result<Option<SecretBytes>> {
        self.inner.secrets.get(key).await
    }
    async fn create(&self, key: &SecretKey, value: &SecretBytes) -> Result<()> {
        let act = async {
            self.inner.secrets.create(key, value).await?;
            self.inner.note(key);
            Ok(())
        };
        self.fuse.write(act).await
    }
    async fn put(&self, key: &SecretKey, value: &SecretBytes) -> Result<bool> {
        let act = async {
            let written = self.inner.secrets.put(key, value).await?;
            if written {
                self.inner.note(key);
            }
            Ok(written)
        };
        self.fuse.write(act).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<SecretKey>> {
        self.inner.secrets.list(prefix).await
    }
    async fn delete(&self, key: &SecretKey) -> Result<()> {
        self.fuse.write(self.inner.secrets.delete(key)).await
    }
}

#[async_trait]
impl NodeOs for Fused<MemoryCluster> {
    fn name(&self) -> &'static str {
        NodeOs::name(&self.inner)
    }
    fn meter(&self) -> &Meter {
        NodeOs::meter(&self.inner)
    }
    fn validate(&self, project: &Project) -> Vec<Problem> {
        self.inner.validate(project)
    }
    fn render(&self, site: &NodeSite, node: &NodeTarget) -> Result<SecretBytes> {
        self.inner.render(site, node)
    }
    async fn look(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<NodeState> {
        self.inner.look(cx, site, node).await
    }
    fn watch(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> BoxStream<'static, ()> {
        NodeOs::watch(&self.inner, cx, site, node)
    }
    async fn apply(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<()> {
        self.fuse.write(self.inner.apply(cx, site, node)).await
    }
    async fn bootstrap(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<()> {
        self.fuse.write(self.inner.bootstrap(cx, site, node)).await
    }
    async fn members(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<Vec<Member>> {
        self.inner.members(cx, site, node).await
    }
    async fn member_id(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> Result<Option<u64>> {
        self.inner.member_id(cx, site, node).await
    }
    async fn remove_member(&self, cx: &Context, site: &NodeSite, through: &NodeTarget, id: u64) -> Result<()> {
        self.inner.remove_member(cx, site, through, id).await
    }
    async fn ghosts(&self, cx: &Context, site: &NodeSite, nodes: &[NodeTarget]) -> Result<Vec<Ghost>> {
        self.inner.ghosts(cx, site, nodes).await
    }
    fn kubeconfig(&self, env: &Env, site: &NodeSite, kept: Option<&SecretText>) -> Result<SecretText> {
        self.inner.kubeconfig(env, site, kept)
    }
    fn talosconfig(&self, env: &Env, site: &NodeSite, kept: Option<&SecretText>) -> Result<SecretText> {
        self.inner.talosconfig(env, site, kept)
    }
    fn is_credential(&self, project: &Project, which: Credential, text: &SecretText) -> bool {
        self.inner.is_credential(project, which, text)
    }
}

#[async_trait]
impl GitOps for Fused<MemoryGitOps> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn meter(&self) -> &Meter {
        self.inner.meter()
    }
    async fn preflight(&self, cx: &Context, project: &Arc<Project>) -> Result<Vec<Problem>> {
        self.inner.preflight(cx, project).await
    }
    fn open(&self, cx: &Context, project: &Arc<Project>, kubeconfig: &SecretText) -> Result<Arc<dyn Handover>> {
        let inner = self.inner.open(cx, project, kubeconfig)?;
        Ok(Arc::new(Fused { fuse: self.fuse.clone(), inner }))
    }
}

#[async_trait]
impl Handover for Fused<Arc<dyn Handover>> {
    async fn stands(&self, cx: &Context, part: SeedPart) -> Result<Verdict> {
        self.inner.stands(cx, part).await
    }
    async fn plant(&self, cx: &Context, part: SeedPart) -> Result<()> {
        self.fuse.write(self.inner.plant(cx, part)).await
    }
    async fn observe(&self, cx: &Context) -> Result<HandoverState> {
        self.inner.observe(cx).await
    }
    async fn nudge(&self, cx: &Context, before: &HandoverState) -> Result<Vec<Nudge>> {
        self.fuse.write(self.inner.nudge(cx, before)).await
    }
    async fn ask(&self, cx: &Context, probe: &Probe) -> Result<Verdict> {
        self.inner.ask(cx, probe).await
    }
    fn watch(&self, cx: &Context) -> BoxStream<'static, ()> {
        self.inner.watch(cx)
    }
}
