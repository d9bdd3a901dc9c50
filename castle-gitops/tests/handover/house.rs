//! A cluster whose nodes are only objects, a repository, and castle beside it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use castle_core::handover::{HandoverSpec, HandoverState, ManifestSource, Nudge, Repository, SeedPart};
use castle_core::step::Verdict;
use castle_core::{Context, GitOps, Handover, ImageRef, Kubernetes, Meter, Options, Project, SecretText};
use castle_gitops::FluxGitOps;
use castle_gitops::kubernetes::KubeClient;
use castle_lab::journal::Entry;
use castle_lab::kube::{Resource, Selection};
use castle_lab::{Lab, World};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::cluster::Authority;

pub const ESO: &str = "infrastructure/external-secrets/components.yaml";
pub const URL: &str = "https://git.castle.internal/tazlab-k8s.git";
pub const PATH: &str = "/tazlab-k8s.git";
const API: &str = "192.168.1.250:6443";

/// The project `blue`, handed over.
pub fn project() -> Project {
    let folder = format!("{}/../examples/projects/blue/proxmox/castle.yaml", env!("CARGO_MANIFEST_DIR"));
    let naming = |_: &castle_core::Cluster, image: &castle_core::ImageSpec| {
        let url = "https://example.org/talos".into();
        Ok(ImageRef { storage: image.storage.clone(), file: "talos.qcow2".into(), url })
    };
    let mut project = Project::parse(&std::fs::read_to_string(folder).unwrap(), naming).unwrap();
    project.network.load_balancers = Some(("192.168.1.230".parse().unwrap(), "192.168.1.239".parse().unwrap()));
    project.gitops = Some(HandoverSpec {
        repository: Repository { url: URL.into(), branch: "main".into(), path: "clusters/blue".into() },
        seed: SeedPart::ALL.to_vec(),
        flux: None,
        external_secrets: Some(ManifestSource::Repository(ESO.into())),
    });
    project
}

pub fn kustomizations() -> Resource {
    Resource::named("kustomize.toolkit.fluxcd.io", "kustomizations")
}

pub fn sources() -> Resource {
    Resource::named("source.toolkit.fluxcd.io", "gitrepositories")
}

pub struct House {
    pub lab: Lab,
    pub project: Arc<Project>,
    pub options: Options,
    pub gitops: FluxGitOps,
    pub kubernetes: KubeClient,
    pub cx: Context,
    kubeconfig: SecretText,
}

impl House {
    pub async fn start(seed: u64) -> Self {
        Self::start_with(seed, project(), |_| {}).await
    }

    /// Three Ready nodes, an API that serves, the template's repository.
    pub async fn start_with(seed: u64, project: Project, change: impl FnOnce(&mut World)) -> Self {
        let authority = Authority::new();
        let mut world = World::home(&project, seed);
        world.kubernetes.identity = Some(authority.server_at(&["192.168.1.250"]));
        world.kubernetes.serve();
        // In a world without hosts the nodes are objects only, and up.
        world.proxmox.hosts.clear();
        for number in 1..=3 {
            world.kubernetes.put(node(number)).unwrap();
        }
        change(&mut world);
        let api: SocketAddr = API.parse().unwrap();
        let lab = Lab::builder(&project).seed(seed).world(world).cluster_at(api).start().await.unwrap();
        let run = lab.new_run();
        let options = lab.options(run).unwrap();
        let env = lab.env(run);
        let kubernetes = KubeClient::new(&options, &env);
        let gitops = FluxGitOps::new(&options, &env, kubernetes.clone(), env!("CARGO_MANIFEST_DIR"));
        let kubeconfig = authority.kubeconfig(&authority, "system:masters", 2100);
        let kubeconfig = castle_core::Secret::new(kubeconfig.expose().replace(crate::cluster::ENDPOINT, API));
        Self { lab, project: Arc::new(project), options, gitops, kubernetes, cx: Context::new(env), kubeconfig }
    }

    pub fn open(&self) -> Arc<dyn Handover> {
        self.gitops.open(&self.cx, &self.project, &self.kubeconfig).unwrap()
    }

    pub fn requests(&self) -> &Meter {
        self.kubernetes.meter()
    }

    /// Plants the whole seed, part by part.
    pub async fn plant(&self, handover: &Arc<dyn Handover>) {
        for part in SeedPart::ALL {
            handover.plant(&self.cx, part).await.unwrap_or_else(|error| panic!("{part}: {}", error.chain()));
            let verdict = handover.stands(&self.cx, part).await.unwrap();
            assert_eq!(verdict, Verdict::Met, "{part}");
        }
    }

    /// Observes and nudges at every wake until the cluster is handed over.
    pub async fn complete(&self, handover: &Arc<dyn Handover>) -> (HandoverState, Vec<Nudge>) {
        self.until(handover, true, HandoverState::is_handed_over).await
    }

    /// The same, until a state is as wanted; nudging only if asked to.
    pub async fn until(
        &self,
        handover: &Arc<dyn Handover>,
        nudging: bool,
        wanted: impl Fn(&HandoverState) -> bool,
    ) -> (HandoverState, Vec<Nudge>) {
        let mut wakes = handover.watch(&self.cx);
        let mut nudges = Vec::new();
        let mut last = HandoverState::default();
        let clock = self.lab.clock();
        let waiting = async {
            while wakes.next().await.is_some() {
                last = match handover.observe(&self.cx).await {
                    Ok(state) => state,
                    Err(error) if error.retry_class() == castle_core::Retry::AfterObserving => continue,
                    Err(error) => panic!("{}", error.chain()),
                };
                if wanted(&last) {
                    return;
                }
                if nudging {
                    nudges.extend(handover.nudge(&self.cx, &last).await.unwrap());
                }
            }
        };
        if clock.within(Duration::from_secs(3600), waiting).await.is_none() {
            panic!("{:?} {:#?}\n{nudges:#?}\n{}", last.why_not(), last.items, self.picture());
        }
        (last, nudges)
    }

    pub fn find(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Value> {
        self.lab
            .with_world(|world| world.kubernetes.get(resource, namespace, name).ok().map(|object| Value::clone(object)))
    }

    pub fn all(&self, resource: &Resource) -> Vec<Value> {
        self.lab.with_world(|world| {
            world.kubernetes.list(resource, &Selection::default()).map(|object| Value::clone(object)).collect()
        })
    }

    /// Writes to the API server so far, dry runs left out.
    pub fn writes(&self) -> Vec<Entry> {
        let is_write = |entry: &Entry| {
            entry.backend == "kubernetes" && !["GET", "WATCH"].iter().any(|verb| entry.kind.starts_with(verb))
        };
        self.lab.journal().entries().into_iter().filter(is_write).collect()
    }

    pub fn picture(&self) -> String {
        let mut lines = Vec::new();
        for object in self.all(&sources()).iter().chain(&self.all(&kustomizations())) {
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.iter().find(|condition| condition["type"] == "Ready").cloned().unwrap_or_default();
            lines.push(format!("{} {} {}", object["metadata"]["name"], ready["reason"], ready["message"]));
        }
        self.lab.with_world(|world| {
            lines.extend(world.trace().iter().rev().take(30).map(|(at, line)| format!("{at:?} {line}")));
        });
        lines.join("\n")
    }

    pub fn managers(&self, resource: &Resource, namespace: &str, name: &str) -> Vec<String> {
        let object = self.find(resource, namespace, name).unwrap_or_else(|| panic!("{name} is missing"));
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["manager"].as_str().unwrap().to_owned()).collect()
    }
}

fn node(number: u8) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": format!("node-{number}"), "labels": {"kubernetes.io/os": "linux"}},
        "spec": {"podCIDR": format!("10.244.{number}.0/24")},
        "status": {
            "addresses": [{"type": "InternalIP", "address": format!("192.168.1.{number}")}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}
