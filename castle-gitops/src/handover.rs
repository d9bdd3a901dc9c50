//! The handover of a cluster to Flux.
//!
//! Castle plants what Flux needs to live, says how far it is, and asks it not to
//! wait where waiting is pointless. Everything else is Flux': an object that it
//! owns is never written here. Nothing is remembered: a fresh handle reads the
//! same from the cluster and from the repository.

mod error;
mod preflight;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use castle_core::handover::{FluxItem, HandoverState, Health, Nudge, Probe, SeedPart};
use castle_core::step::Verdict;
use castle_core::{Context, Env, Meter, Options, Problem, Project, Result, Retry, SecretText, port};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde_json::Value;
use tokio::sync::Notify;

pub use error::Error;

use crate::flux::{self, FluxObject, ROOT};
use crate::git;
use crate::graph::Graph;
use crate::kubernetes::KubeClient;
use crate::kubernetes::follow::Follower;
use crate::kubernetes::object::Kind;
use crate::look::{self, Asker, Looks, Watched};
use crate::manifest::text;
use crate::nudge::{self, Asked};
use crate::plant::{self, Settled, Standing};
use crate::probe;
use crate::readiness;
use crate::seed::{Origins, Planned, VAULT};
use crate::webhooks::Gate;

/// The name in reports and in request counts.
const NAME: &str = "git";
/// Where no watch can tell, it is asked again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// After this it is looked again whether a controller is still silent, and whether
/// an item may be asked once more.
const LISTEN: Duration = Duration::from_secs(5);
/// How long it is believed where the branch stands.
const HEAD: Duration = Duration::from_secs(30);
/// The same while Flux has fetched another commit, or waits for nothing else.
const HEAD_IN_DOUBT: Duration = Duration::from_secs(5);
/// The controllers without which Flux applies nothing.
const CONTROLLERS: [&str; 2] = ["source-controller", "kustomize-controller"];

/// Hands clusters over to Flux.
pub struct FluxGitOps {
    options: Arc<Options>,
    env: Env,
    kubernetes: KubeClient,
    folder: PathBuf,
    meter: Arc<Meter>,
}

impl FluxGitOps {
    /// Prepares handovers. `folder` is where `castle.yaml` lies: files of the seed
    /// are named from there. Sends nothing.
    #[must_use]
    pub fn new(options: &Options, env: &Env, kubernetes: KubeClient, folder: impl Into<PathBuf>) -> Self {
        Self {
            options: Arc::new(options.clone()),
            env: env.clone(),
            kubernetes,
            folder: folder.into(),
            meter: Arc::default(),
        }
    }
}

impl FluxGitOps {
    /// Where the seed of a project comes from. Asks nobody.
    fn origins(&self, project: &Project) -> Result<Origins> {
        let spec =
            project.gitops.clone().ok_or_else(|| Error::NothingToHandOver { project: project.project.to_string() })?;
        let reader = git::Reader::new(&self.options, &self.env, &spec.repository)?.counted_on(Arc::clone(&self.meter));
        Ok(Origins::new(Arc::clone(&self.options), self.env.clone(), spec, self.folder.clone(), reader))
    }
}

impl fmt::Debug for FluxGitOps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FluxGitOps").field("folder", &self.folder).finish_non_exhaustive()
    }
}

#[async_trait]
impl port::gitops::GitOps for FluxGitOps {
    fn name(&self) -> &'static str {
        NAME
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    /// To be called inside the runtime that will send the requests.
    async fn preflight(&self, _cx: &Context, project: &Arc<Project>) -> Result<Vec<Problem>> {
        preflight::problems(self.origins(project)).await
    }

    /// To be called inside the runtime that will send the requests.
    fn open(
        &self,
        _cx: &Context,
        project: &Arc<Project>,
        kubeconfig: &SecretText,
    ) -> Result<Arc<dyn port::gitops::Handover>> {
        let origins = self.origins(project)?;
        for part in &origins.spec.seed {
            origins.secret(*part)?;
        }
        let api = self.kubernetes.open(kubeconfig)?;
        Ok(Arc::new(FluxHandover {
            looks: Arc::new(Looks::new(api, self.env.clock.clone())),
            origins,
            gate: Gate::default(),
            settled: Settled::default(),
            asked: Asked::default(),
            shared: Arc::default(),
            opened: Arc::default(),
        }))
    }
}

/// The handover of one cluster.
struct FluxHandover {
    looks: Arc<Looks>,
    origins: Origins,
    gate: Gate,
    settled: Settled,
    asked: Asked,
    shared: Arc<Mutex<Shared>>,
    /// Tells watches that something was left open meanwhile.
    opened: Arc<Notify>,
}

/// What is read at one call and used at another, for as long as it is good.
#[derive(Debug, Default)]
struct Shared {
    /// The branch's commit, and when it was read.
    head: Option<(String, Duration)>,
    /// What only asking again can tell, and after which time: the gate, the branch,
    /// a silence, probes by name.
    open: BTreeMap<String, Duration>,
}

impl fmt::Debug for FluxHandover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FluxHandover").field("cluster", &self.looks.api).finish_non_exhaustive()
    }
}

#[async_trait]
impl port::gitops::Handover for FluxHandover {
    async fn stands(&self, cx: &Context, part: SeedPart) -> Result<Verdict> {
        let asker = part.name();
        if let Some(secret) = self.origins.secret(part)? {
            return self.verdict(std::slice::from_ref(&secret), asker).await;
        }
        if part == SeedPart::Flux
            && let Some(refusal) = self.other_root("root").await?
        {
            return Ok(Verdict::Never(refusal.to_string().into()));
        }
        if self.is_taken_over(part, asker).await? {
            return Ok(Verdict::Met);
        }
        let seed = self.origins.seed(&self.head(cx).await?).await?;
        self.verdict(seed.part(part), asker).await
    }

    async fn plant(&self, cx: &Context, part: SeedPart) -> Result<()> {
        self.looks.changed(None);
        if let Some(secret) = self.origins.secret(part)? {
            return plant::plant(cx, &self.looks, &self.settled, std::slice::from_ref(&secret)).await;
        }
        if part == SeedPart::Flux {
            self.refuse_others().await?;
        }
        if self.is_taken_over(part, "plant").await? {
            return Ok(());
        }
        let seed = self.origins.seed(&self.head(cx).await?).await?;
        plant::plant(cx, &self.looks, &self.settled, seed.part(part)).await
    }

    async fn observe(&self, cx: &Context) -> Result<HandoverState> {
        const ASKER: Asker = "observe";
        let graph = self.graph(ASKER).await?;
        let gates = self.gate.look(&self.looks, "gate").await?;
        let services = self.looks.all(&Kind::SERVICE, ASKER).await?;
        let root = graph.root();
        let mut state = HandoverState {
            head: None,
            unread: None,
            planted: root.is_some(),
            applied: root.map(|root| root.status.last_applied_revision.clone()).filter(|applied| !applied.is_empty()),
            items: graph.items(),
            webhooks: gates.webhooks,
            without_address: services.iter().filter_map(without_address).collect(),
        };
        self.open("gate", gates.is_to_be_asked_again, AGAIN);
        let unheard = self.explain_silence(&graph, &mut state.items).await?;
        self.open("silence", unheard, LISTEN);
        let fetched = root.and_then(|root| graph.get(root.sources().first()?)).and_then(FluxObject::revision);
        state.head = self.believed_head(fetched, HEAD_IN_DOUBT).map(|commit| self.revision(&commit));
        // What looks done is not taken on belief.
        if state.head.is_none() || state.is_handed_over() {
            let read = self.head(cx).await;
            self.open("branch", read.is_err(), AGAIN);
            state.head = match read {
                Ok(commit) => Some(self.revision(&commit)),
                Err(error) if error.retry_class() == Retry::Never => return Err(error),
                Err(error) => {
                    state.unread = Some(error.chain());
                    None
                }
            };
        }
        Ok(state)
    }

    async fn nudge(&self, cx: &Context, before: &HandoverState) -> Result<Vec<Nudge>> {
        let graph = self.graph("nudge").await?;
        let nudged = nudge::nudge(cx, &self.looks, &graph, &self.asked, before).await?;
        self.open("nudges", nudged.is_to_be_asked_again, LISTEN);
        Ok(nudged.nudges)
    }

    async fn ask(&self, _cx: &Context, probe: &Probe) -> Result<Verdict> {
        let found = probe::ask(&self.looks, &self.origins.options, &self.origins.env, probe).await?;
        self.open(&format!("probe {}", probe.name), found.is_to_be_asked_again, AGAIN);
        Ok(found.verdict)
    }

    fn watch(&self, cx: &Context) -> BoxStream<'static, ()> {
        let looks = Arc::clone(&self.looks);
        let listener = Arc::new(move |kind: Option<&Kind>| looks.changed(kind));
        let follower = Follower::new(self.looks.api.clone(), look::followed(), listener);
        let watcher = Watcher {
            follower,
            shared: Arc::clone(&self.shared),
            opened: Arc::clone(&self.opened),
            clock: cx.clock().clone(),
            is_first: true,
            _watched: self.looks.watched(),
        };
        stream::unfold(watcher, |mut watcher| async move {
            watcher.next_wake().await;
            Some(((), watcher))
        })
        .boxed()
    }
}

struct Watcher {
    follower: Follower,
    shared: Arc<Mutex<Shared>>,
    opened: Arc<Notify>,
    clock: castle_core::Clock,
    is_first: bool,
    _watched: Watched,
}

impl Watcher {
    async fn next_wake(&mut self) {
        if std::mem::take(&mut self.is_first) {
            return;
        }
        loop {
            // Whoever polls once to see whether there is news leaves this call begun,
            // and asks its questions then: what they leave open counts from there.
            let opened = self.opened.notified();
            let again = locked(&self.shared).open.values().min().copied();
            let over = async {
                match again {
                    Some(again) => self.clock.sleep(again).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.follower.next_wake() => return,
                () = opened => {}
                // As good as woken: what cannot be watched is asked again.
                () = over => return,
            }
        }
    }
}

fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Every change is whole, also when its maker panics later.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A load balancer without an address, as `namespace/name`.
fn without_address(service: &Value) -> Option<String> {
    let has_address = ["ip", "hostname"]
        .iter()
        .any(|key| !text(service, &format!("/status/loadBalancer/ingress/0/{key}")).is_empty());
    let is_one = text(service, "/spec/type") == "LoadBalancer";
    let name = || format!("{}/{}", text(service, "/metadata/namespace"), text(service, "/metadata/name"));
    (is_one && !has_address).then(name)
}

impl FluxHandover {
    /// Notes whether something can only be told by asking again.
    fn open(&self, what: &str, is_open: bool, again: Duration) {
        let mut shared = locked(&self.shared);
        let changed = if is_open {
            shared.open.insert(what.to_owned(), again) != Some(again)
        } else {
            shared.open.remove(what).is_some()
        };
        drop(shared);
        if changed {
            self.opened.notify_waiters();
        }
    }

    fn revision(&self, commit: &str) -> String {
        format!("{}@sha1:{commit}", self.origins.spec.repository.branch)
    }

    /// The branch's commit, read at most a moment ago.
    async fn head(&self, cx: &Context) -> Result<String> {
        let now = cx.clock().elapsed();
        let known = locked(&self.shared).head.clone();
        if let Some((commit, _)) = known.filter(|(_, at)| now.saturating_sub(*at) < HEAD_IN_DOUBT) {
            return Ok(commit);
        }
        let commit = self.origins.reader.head(&self.origins.spec.repository.branch).await?;
        locked(&self.shared).head = Some((commit.clone(), now));
        Ok(commit)
    }

    /// Where the branch stands as far as it is known, while there is no reason to
    /// doubt it. `fetched`: what Flux has.
    fn believed_head(&self, fetched: Option<&str>, in_doubt: Duration) -> Option<String> {
        let (commit, at) = locked(&self.shared).head.clone()?;
        let age = self.origins.env.clock.elapsed().saturating_sub(at);
        let agrees = fetched.is_none_or(|fetched| fetched == self.revision(&commit));
        (age < if agrees { HEAD } else { in_doubt }).then_some(commit)
    }

    /// The objects of Flux.
    async fn graph(&self, asker: Asker) -> Result<Graph> {
        let mut objects = Vec::new();
        let listed = self.looks.list(&Kind::KUSTOMIZATION, asker).await?;
        if listed.is_none() {
            // Without its first kind there is no Flux to read.
            return Ok(Graph::default());
        }
        read(&mut objects, &Kind::KUSTOMIZATION, listed)?;
        read(&mut objects, &Kind::GIT_REPOSITORY, self.looks.list(&Kind::GIT_REPOSITORY, asker).await?)?;
        // A release is in some inventory, or nothing waits for it.
        let has_releases =
            objects.iter().any(|object| object.children().iter().any(|id| id.starts_with("HelmRelease/")));
        if has_releases {
            read(&mut objects, &Kind::HELM_RELEASE, self.looks.list(&Kind::HELM_RELEASE, asker).await?)?;
        }
        let kinds = Graph::of(objects.iter().cloned()).source_kinds();
        let in_inventory = |kind: &Kind| {
            let prefix = format!("{}/", kind.kind);
            objects.iter().any(|object| object.children().iter().any(|id| id.starts_with(&prefix)))
        };
        let others: Vec<_> = [Kind::OCI_REPOSITORY, Kind::HELM_REPOSITORY]
            .into_iter()
            .filter(|kind| kinds.contains(&*kind.kind) || in_inventory(kind))
            .collect();
        for kind in others {
            read(&mut objects, &kind, self.looks.list(&kind, asker).await?)?;
        }
        Ok(Graph::of(objects))
    }

    /// Whether an item waits for the first word of its controller. Where that is not
    /// ready, the item says so.
    async fn explain_silence(&self, graph: &Graph, items: &mut [FluxItem]) -> Result<bool> {
        let mut is_silent = false;
        for item in items {
            let Some(object) = graph.get(&item.id()).filter(|object| object.condition("Ready").is_none()) else {
                continue;
            };
            is_silent |= nudge::is_unheard(graph, object);
            let Health::Waiting(why) = &mut item.health else { continue };
            let controller = match item.kind.as_str() {
                "Kustomization" => "kustomize-controller",
                "HelmRelease" => "helm-controller",
                _ => "source-controller",
            };
            let deployments = self.looks.all(&Kind::DEPLOYMENT, "silence").await?;
            let state = deployments.iter().find(|object| is_in_root(object, controller)).map(readiness::health);
            match state {
                None => *why = format!("its {controller} does not exist"),
                Some(Health::Ready) => {}
                Some(Health::Waiting(state) | Health::Failed(state)) => {
                    *why = format!("its {controller} is not ready: {state}");
                }
            }
        }
        Ok(is_silent)
    }

    /// Whether objects stand as castle would apply them.
    async fn verdict(&self, planned: &[Planned], asker: Asker) -> Result<Verdict> {
        for (planned, standing) in plant::standings(&self.looks, &self.settled, planned, asker).await? {
            let object = &planned.object;
            let why = match standing {
                Standing::Equal | Standing::Held(_) => continue,
                Standing::Missing => format!("{object} does not exist"),
                Standing::Differs(field) => format!("{object} differs at {field}"),
            };
            return Ok(Verdict::NotYet(why.into()));
        }
        Ok(Verdict::Met)
    }

    /// Whether Flux lives and has a part in its own hands: then it brings back what
    /// is missing, and castle would not write it anyway.
    async fn is_taken_over(&self, part: SeedPart, asker: Asker) -> Result<bool> {
        let graph = self.graph(asker).await?;
        if graph.root().is_none_or(|root| root.status.last_applied_revision.is_empty()) {
            return Ok(false);
        }
        let deployments = self.looks.all(&Kind::DEPLOYMENT, asker).await?;
        let lives = CONTROLLERS.iter().all(|name| deployments.iter().any(|object| is_in_root(object, name)));
        Ok(lives
            && match part {
                SeedPart::Namespaces => {
                    self.origins.namespaces().into_iter().all(|name| graph.lists("Namespace", "", name))
                }
                SeedPart::ExternalSecrets => graph.lists("Deployment", VAULT, VAULT),
                SeedPart::Flux => graph.lists("Kustomization", ROOT, ROOT),
                SeedPart::MachineIdentity | SeedPart::GitCredentials => false,
            })
    }

    /// A root that follows something else than the declared.
    async fn other_root(&self, asker: Asker) -> Result<Option<Error>> {
        for kind in [Kind::KUSTOMIZATION, Kind::GIT_REPOSITORY] {
            for object in self.looks.all(&kind, asker).await?.iter() {
                if !is_in_root(object, ROOT) {
                    continue;
                }
                if let Some(what) = self.origins.difference(object) {
                    return Ok(Some(Error::OtherRoot { object: flux::id(&kind.kind, ROOT, ROOT), what }));
                }
            }
        }
        Ok(None)
    }

    /// Refuses to plant Flux where something else looks after it.
    async fn refuse_others(&self) -> Result<()> {
        if let Some(refusal) = self.other_root("root").await? {
            return Err(refusal.into());
        }
        let instances = self.looks.all(&Kind::FLUX_INSTANCE, "plant").await?;
        match instances.first() {
            Some(found) => {
                let name = format!("{}/{}", text(found, "/metadata/namespace"), text(found, "/metadata/name"));
                Err(Error::Operated { name }.into())
            }
            None => Ok(()),
        }
    }
}

fn is_in_root(object: &Value, name: &str) -> bool {
    text(object, "/metadata/namespace") == ROOT && text(object, "/metadata/name") == name
}

fn read(objects: &mut Vec<FluxObject>, kind: &Kind, listing: look::Listing) -> Result<(), Error> {
    for object in listing.iter().flat_map(|list| list.iter()) {
        objects.push(FluxObject::read(object, kind).map_err(|why| Error::Strange { why })?);
    }
    Ok(())
}
