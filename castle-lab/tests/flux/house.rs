//! A cluster whose nodes are only objects, a repository, and the hand that plants
//! the seed and nudges, as castle would without a request's delay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use castle_core::handover::{HandoverSpec, ManifestSource, Repository, SeedPart};
use castle_core::{Cluster as Named, ImageRef, ImageSpec, Project};
use castle_lab::World;
use castle_lab::git::template::{IDENTITY_SECRET, VAULT_ENVIRONMENT, VAULT_PROJECT, vault_names, vault_path};
use castle_lab::git::{Branch, template};
use castle_lab::infisical::Place;
use castle_lab::kube::{Hand, Part, Patch, Resource, Selection};
use serde_json::{Value, json};

pub const ESO: &str = "infrastructure/external-secrets/components.yaml";
pub const URL: &str = "https://git.castle.internal/tazlab-k8s.git";
pub const PATH: &str = "/tazlab-k8s.git";

pub fn kustomizations() -> Resource {
    Resource::named("kustomize.toolkit.fluxcd.io", "kustomizations")
}

pub fn repositories() -> Resource {
    Resource::named("source.toolkit.fluxcd.io", "gitrepositories")
}

fn naming(_: &Named, image: &ImageSpec) -> castle_core::Result<ImageRef> {
    Ok(ImageRef { storage: image.storage.clone(), file: "talos.qcow2".into(), url: "https://example.org/talos".into() })
}

/// The project `blue`, handed over.
pub fn project() -> Project {
    let folder = format!("{}/../examples/projects/blue/proxmox/castle.yaml", env!("CARGO_MANIFEST_DIR"));
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

pub struct House {
    pub world: World,
    pub project: Project,
    nudged: BTreeMap<String, u64>,
}

impl House {
    /// Three Ready nodes, an API that serves, and the template's repository.
    pub fn new(seed: u64) -> Self {
        let project = project();
        let mut world = World::home(&project, seed);
        let place = Place::new(VAULT_PROJECT, VAULT_ENVIRONMENT, &vault_path(&project));
        for name in vault_names() {
            world.put_secret(&place, name, &format!("the value of {name}"));
        }
        world.kubernetes.serve();
        let mut house = Self { world, project, nudged: BTreeMap::new() };
        house.nodes();
        house
    }

    pub fn nodes(&mut self) {
        for number in 1..=3 {
            let node = json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": format!("node-{number}"), "labels": {"kubernetes.io/os": "linux"}},
                "spec": {"podCIDR": format!("10.244.{number}.0/24")},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": format!("192.168.1.{number}")}],
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            });
            self.world.kubernetes.put(node).unwrap();
        }
        self.world.follow();
    }

    pub fn branch(&self) -> Branch {
        self.world.git.repositories[PATH].head("main").unwrap().clone()
    }

    /// Changes files of the repository; `None` removes one.
    pub fn push(&mut self, changes: &[(&str, Option<&str>)]) {
        let mut files = self.branch().files;
        for (path, content) in changes {
            match content {
                Some(content) => drop(files.insert((*path).into(), content.as_bytes().to_vec())),
                None => drop(files.remove(*path)),
            }
        }
        self.world.commit_files(PATH, "main", files, "Change");
        self.world.follow();
    }

    pub fn documents(&self, path: &str) -> Vec<Value> {
        let files = self.branch().files;
        serde_saphyr::from_multiple(std::str::from_utf8(&files[path]).unwrap()).unwrap()
    }

    pub fn apply(&mut self, object: Value) -> Arc<Value> {
        let written = self.world.kubernetes.apply(object, &Hand::of("kubectl-castle")).unwrap();
        self.world.follow();
        written
    }

    pub fn plant_flux(&mut self) {
        let account = self.world.git.accounts.0["git"].token.expose().clone();
        let components = self.documents("clusters/blue/flux-system/gotk-components.yaml");
        components.into_iter().for_each(|object| drop(self.apply(object)));
        self.secret("flux-system", "flux-system", &[("username", "git"), ("password", &account)]);
        for object in self.documents("clusters/blue/flux-system/gotk-sync.yaml") {
            self.apply(object);
        }
    }

    /// Plants the whole seed at once.
    pub fn plant(&mut self) {
        self.documents(ESO).into_iter().for_each(|object| drop(self.apply(object)));
        let (client_id, client_secret) = {
            let (id, identity) = self.world.infisical.identity("external-secrets").unwrap();
            (id.to_owned(), identity.client_secret.expose().clone())
        };
        self.secret("external-secrets", IDENTITY_SECRET, &[("clientId", &client_id), ("clientSecret", &client_secret)]);
        self.plant_flux();
    }

    pub fn secret(&mut self, namespace: &str, name: &str, pairs: &[(&str, &str)]) {
        use base64::Engine as _;
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let data: BTreeMap<_, _> = pairs.iter().map(|(key, value)| (*key, encode(value))).collect();
        self.apply(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "data": data,
        }));
    }

    pub fn kustomization(&self, name: &str) -> Value {
        self.find(&kustomizations(), "flux-system", name).unwrap_or(Value::Null)
    }

    pub fn find(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Value> {
        self.world.kubernetes.get(resource, namespace, name).ok().map(|object| Value::clone(object))
    }

    pub fn all(&self, resource: &Resource) -> Vec<Arc<Value>> {
        self.world.kubernetes.list(resource, &Selection::default()).cloned().collect()
    }

    /// Asks for a run of a Kustomization, or of the root source.
    pub fn request(&mut self, resource: &Resource, name: &str, token: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": token}}}));
        let hand = Hand::of("kubectl-castle");
        self.world.kubernetes.patch(resource, "flux-system", name, &patch, Part::Main, &hand).unwrap();
        self.world.follow();
    }

    /// Lets events happen until it holds, and says when that was.
    #[track_caller]
    pub fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let end = self.world.now() + Duration::from_secs(3600);
        loop {
            if holds(self) {
                return self.world.now();
            }
            match self.world.next_event_at() {
                Some(at) if at <= end => self.world.advance_to(at),
                _ => panic!("{what} did not come:\n{}", self.picture()),
            }
        }
    }

    /// The same, while somebody nudges the moment that waiting has become pointless.
    #[track_caller]
    pub fn nudging_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let end = self.world.now() + Duration::from_secs(3600);
        loop {
            self.nudge();
            if holds(self) {
                return self.world.now();
            }
            match self.world.next_event_at() {
                Some(at) if at <= end => self.world.advance_to(at),
                _ => panic!("{what} did not come:\n{}", self.picture()),
            }
        }
    }

    fn nudge(&mut self) {
        let all = self.all(&kustomizations());
        let ready: BTreeSet<String> =
            all.iter().filter(|object| is_ready(object)).map(|object| name(object).to_owned()).collect();
        for object in &all {
            let reason = condition(object, "Ready")["reason"].as_str().unwrap_or("").to_owned();
            let needs: Vec<_> = object["spec"]["dependsOn"].as_array().into_iter().flatten().collect();
            let is_free = needs.iter().all(|need| ready.contains(need["name"].as_str().unwrap()));
            let webhook = self.world.workloads.webhook_true_since("metallb-system", "metallb-webhook-service");
            let is_due = match reason.as_str() {
                "DependencyNotReady" => is_free,
                "ReconciliationFailed" => webhook.is_some(),
                _ => false,
            };
            let tries = self.world.flux.reconciliations(name(object));
            if is_due && self.nudged.get(name(object)) != Some(&tries) {
                self.nudged.insert(name(object).to_owned(), tries);
                let token = format!("{:?} {tries}", self.world.now());
                self.request(&kustomizations(), name(object), &token);
            }
        }
    }

    pub fn all_ready(&self) -> bool {
        let all = self.all(&kustomizations());
        all.len() > 1 && all.iter().all(|object| is_ready(object))
    }

    /// What every object of Flux says.
    pub fn picture(&self) -> String {
        let mut lines = Vec::new();
        for resource in [repositories(), kustomizations()] {
            for object in self.all(&resource) {
                let ready = condition(&object, "Ready");
                lines.push(format!("{} {} {} {}", name(&object), ready["status"], ready["reason"], ready["message"]));
            }
        }
        lines.extend(self.world.trace().iter().map(|(at, line)| format!("{at:?} {line}")));
        lines.join("\n")
    }
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

pub fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or(Value::Null)
}

pub fn is_ready(object: &Value) -> bool {
    condition(object, "Ready")["status"] == "True"
        && object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

pub fn reason(object: &Value) -> String {
    condition(object, "Ready")["reason"].as_str().unwrap_or("").to_owned()
}

pub fn message(object: &Value) -> String {
    condition(object, "Ready")["message"].as_str().unwrap_or("").to_owned()
}

/// The files of a template, to compare.
pub fn files() -> BTreeMap<String, Vec<u8>> {
    template(&project())
}
