//! How soon a handover can be complete, computed before the run.

use std::collections::BTreeMap;
use std::time::Duration;

use castle_core::Project;
use castle_core::handover::{ManifestSource, SeedPart};
use serde_json::Value;

use super::build::{BuildError, build, variables};
use super::configuration::{dependencies, waits};
use super::kustomization::build_time;
use super::kustomize::documents;
use super::source::{fetch_time, place_of};
use super::{HOME, Place, object};
use crate::draw::Draws;
use crate::external_secrets::{store_time, sync_time};
use crate::git::Branch;
use crate::workload::{load_balancer_after, ready_after, webhook_after};

/// The ideal times of a handover, as times of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandoverIdeal {
    /// Until the controllers of Flux are ready.
    pub flux_ready: Duration,
    /// Until the repository is fetched.
    pub source_ready: Duration,
    /// Until each Kustomization is ready, by its name.
    pub kustomizations: BTreeMap<String, Duration>,
    /// Until each webhook answers truly, by the name of its service.
    pub webhooks: BTreeMap<String, Duration>,
    /// Until each load balancer has its address, by `namespace/name`.
    pub load_balancers: BTreeMap<String, Duration>,
    /// Until the cluster is handed over: all of the above.
    pub handover_ready: Duration,
    /// Until everything that the repository declares also serves.
    pub apps_ready: Duration,
}

/// Since when nodes are ready.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodesReady {
    /// Those that take any pod: workers, where there are any.
    pub for_pods: Vec<Duration>,
    /// All of them: daemon sets tolerate what keeps others from control planes.
    pub all: Vec<Duration>,
}

impl NodesReady {
    /// Nodes that are ready at one moment and all take any pod.
    #[must_use]
    pub fn at(moment: Duration) -> Self {
        Self { for_pods: vec![moment], all: vec![moment] }
    }
}

/// Computes how soon a cluster can be handed over and serve, from its repository,
/// the seed and the keyed draws.
///
/// The seed is planted the moment the API answers (`api_at`). Requests take no time;
/// a repository is fetched as soon as its controller is ready, and a Kustomization
/// is tried at the very moment at which it can succeed: when its dependencies have
/// become ready, the definitions it needs exist and the webhooks in its way answer.
/// Health is seen at once. Nothing waits for a requeue of 30 s, for a poll of 5 s or
/// for a `retryInterval`. `nodes_ready_at` are the times at which nodes can take
/// pods; a Deployment needs the first of them, a daemon set all.
///
/// No run of castle is needed for it, and it is a lower bound of every run as long
/// as all nodes are registered by the time a daemon set is applied.
///
/// # Errors
///
/// Why the handover cannot be complete at all: what does not build, which
/// definition nobody brings, which Kustomizations wait for each other.
pub fn ideal(
    project: &Project,
    branch: &Branch,
    draws: Draws,
    api_at: Duration,
    nodes: &NodesReady,
) -> Result<HandoverIdeal, String> {
    let gitops = project.gitops.as_ref().ok_or("the project declares no `gitops`")?;
    let first_node = nodes.for_pods.iter().copied().min().unwrap_or(api_at).max(api_at);
    let last_node = nodes.all.iter().copied().max().unwrap_or(api_at).max(api_at);
    let mut walk = Walk { draws, first_node, last_node, applied: BTreeMap::new() };
    let home = format!("{}/flux-system", gitops.repository.path);
    let components = match &gitops.flux {
        Some(ManifestSource::Repository(path)) => path.clone(),
        Some(ManifestSource::Url { .. } | ManifestSource::File(_)) | None => format!("{home}/gotk-components.yaml"),
    };
    let mut seed = vec![components, format!("{home}/gotk-sync.yaml")];
    if let (true, Some(ManifestSource::Repository(path))) =
        (gitops.seed.contains(&SeedPart::ExternalSecrets), &gitops.external_secrets)
    {
        seed.push(path.clone());
    }
    for path in seed {
        documents(&branch.files, &path)?.into_iter().for_each(|object| walk.apply(object, api_at));
    }
    let flux = |name: &str| walk.workload("Deployment", HOME, name).unwrap_or(api_at);
    let (fetcher, builder) = (flux("source-controller"), flux("kustomize-controller"));
    let flux_ready = fetcher.max(builder);
    let root = walk.find("GitRepository", HOME, "flux-system").ok_or("the repository declares no root source")?;
    let source_ready = fetcher + fetch_time(draws, &place_of(root), &branch.commit);
    let ready = walk.kustomizations(branch, source_ready.max(builder))?;
    let webhooks = walk.webhooks();
    let load_balancers = walk.load_balancers()?;
    let latest = |times: &BTreeMap<String, Duration>| times.values().copied().max().unwrap_or(Duration::ZERO);
    let kustomizations: BTreeMap<_, _> = ready.into_iter().map(|((_, name), at)| (name, at)).collect();
    let handover_ready = flux_ready.max(latest(&kustomizations)).max(latest(&webhooks)).max(latest(&load_balancers));
    let serving = walk.applied.values().filter(|known| object::kind(&known.object) != "DaemonSet");
    let apps_ready = serving.map(|known| walk.well_at(known)).max().unwrap_or(handover_ready).max(handover_ready);
    Ok(HandoverIdeal { flux_ready, source_ready, kustomizations, webhooks, load_balancers, handover_ready, apps_ready })
}

/// An object and when it was first applied.
struct Known {
    object: Value,
    at: Duration,
}

struct Walk {
    draws: Draws,
    first_node: Duration,
    last_node: Duration,
    /// Everything that was applied, by its id.
    applied: BTreeMap<String, Known>,
}

impl Walk {
    fn apply(&mut self, object: Value, at: Duration) {
        self.applied.entry(object::id(&object)).or_insert(Known { object, at });
    }

    fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.known(kind, namespace, name).map(|known| &known.object)
    }

    fn known(&self, kind: &str, namespace: &str, name: &str) -> Option<&Known> {
        self.applied.values().find(|known| {
            let object = &known.object;
            (object::kind(object), object::namespace(object), object::name(object)) == (kind, namespace, name)
        })
    }

    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Known> {
        self.applied.values().filter(move |known| object::kind(&known.object) == kind)
    }

    /// When a workload is ready.
    fn workload(&self, kind: &str, namespace: &str, name: &str) -> Option<Duration> {
        self.known(kind, namespace, name).map(|known| self.well_at(known))
    }

    /// When each Kustomization is ready. None is tried before `begin`.
    fn kustomizations(&mut self, branch: &Branch, begin: Duration) -> Result<BTreeMap<Place, Duration>, String> {
        let mut ready: BTreeMap<Place, Duration> = BTreeMap::new();
        loop {
            let pending: Vec<(Place, Value, Duration)> = self
                .of_kind("Kustomization")
                .map(|known| (place_of(&known.object), known.object.clone(), known.at))
                .filter(|(place, _, _)| !ready.contains_key(place))
                .collect();
            if pending.is_empty() {
                return Ok(ready);
            }
            let free =
                pending.iter().find(|(_, object, _)| dependencies(object).all(|place| ready.contains_key(&place)));
            let Some((place, object, created)) = free else {
                let names: Vec<_> = pending.iter().map(|((_, name), _, _)| name.as_str()).collect();
                return Err(format!("these Kustomizations wait for each other or for none: {}", names.join(", ")));
            };
            let needed = dependencies(object).filter_map(|place| ready.get(&place)).copied().max();
            let start = begin.max(*created).max(needed.unwrap_or_default());
            let at = self.kustomization(branch, object, start)?;
            ready.insert(place.clone(), at);
        }
    }

    /// Applies one Kustomization that can begin at `start`; says when it is ready.
    fn kustomization(&mut self, branch: &Branch, kustomization: &Value, start: Duration) -> Result<Duration, String> {
        let namespace = object::namespace(kustomization);
        let variables = variables(kustomization, |kind, name| {
            let found = self.find(kind, namespace, name).ok_or_else(|| format!("{kind} \"{name}\" not found"))?;
            let pairs = found["data"].as_object().into_iter().flatten();
            Ok(pairs.map(|(key, value)| (key.clone(), value.as_str().unwrap_or("").to_owned())).collect())
        });
        let name = object::name(kustomization);
        let objects = build(&branch.files, kustomization, &variables).map_err(|error| match error {
            BuildError::Path(why) | BuildError::Build(why) => format!("Kustomization {name}: {why}"),
        })?;
        let mut at = start + build_time(objects.len());
        for object in &objects {
            at = at.max(self.possible_at(object, &objects).map_err(|why| format!("Kustomization {name}: {why}"))?);
        }
        let ids: Vec<_> = objects.iter().map(object::id).collect();
        objects.into_iter().for_each(|object| self.apply(object, at));
        if !waits(kustomization) {
            return Ok(at);
        }
        let applied = ids.iter().filter_map(|id| self.applied.get(id));
        Ok(applied.map(|known| self.well_at(known)).max().unwrap_or(at).max(at))
    }

    /// When an object can be written: its kind is known, and the webhooks in its way
    /// answer. `together` are the objects that are applied with it.
    fn possible_at(&self, object: &Value, together: &[Value]) -> Result<Duration, String> {
        let (group, kind) = (object::group(object), object::kind(object));
        let is_built_in = !group.contains('.') || group.ends_with(".k8s.io");
        let defines = |definition: &Value| {
            object::kind(definition) == "CustomResourceDefinition"
                && object::text(definition, &["spec", "group"]) == group
                && object::text(definition, &["spec", "names", "kind"]) == kind
        };
        let mut at = Duration::ZERO;
        if !is_built_in && !together.iter().any(defines) {
            let known = self.of_kind("CustomResourceDefinition").find(|known| defines(&known.object));
            at = known.map(|known| known.at).ok_or_else(|| format!("nobody defines the kind {kind} of {group}"))?;
        }
        let plural = format!("{}s", kind.to_ascii_lowercase());
        for known in self.of_kind("ValidatingWebhookConfiguration") {
            for webhook in known.object["webhooks"].as_array().into_iter().flatten() {
                let concerns = |rule: &Value| has(rule, "apiGroups", group) && has(rule, "resources", &plural);
                let is_guarded = webhook["rules"].as_array().into_iter().flatten().any(concerns);
                if is_guarded && webhook["failurePolicy"] != "Ignore" {
                    at = at.max(self.webhook_true_at(webhook).unwrap_or_default());
                }
            }
        }
        Ok(at)
    }

    /// When the webhook's server answers; `None` if no workload is behind it.
    fn webhook_true_at(&self, webhook: &Value) -> Option<Duration> {
        let service = &webhook["clientConfig"]["service"];
        let (namespace, name) = (object::text(service, &["namespace"]), object::text(service, &["name"]));
        let deployment = self.behind(namespace, name)?;
        let (workload, part_of) = (object::name(&deployment.object), part_of(&deployment.object));
        Some(deployment.at.max(self.first_node) + webhook_after(self.draws, namespace, workload, part_of, name))
    }

    /// The Deployment that a service leads to.
    fn behind(&self, namespace: &str, service: &str) -> Option<&Known> {
        let selector = self.find("Service", namespace, service)?["spec"]["selector"].as_object()?.clone();
        self.of_kind("Deployment").find(|known| {
            let labels = &known.object["spec"]["template"]["metadata"]["labels"];
            object::namespace(&known.object) == namespace && selector.iter().all(|(key, value)| labels[key] == *value)
        })
    }

    fn webhooks(&self) -> BTreeMap<String, Duration> {
        let configurations = self.of_kind("ValidatingWebhookConfiguration");
        let webhooks = configurations.flat_map(|known| known.object["webhooks"].as_array().into_iter().flatten());
        let timed = webhooks.filter_map(|webhook| {
            let name = object::text(webhook, &["clientConfig", "service", "name"]);
            Some((name.to_owned(), self.webhook_true_at(webhook)?))
        });
        timed.collect()
    }

    /// When each load balancer has its address, of which MetalLB's controller needs
    /// a pool.
    fn load_balancers(&self) -> Result<BTreeMap<String, Duration>, String> {
        let mut times = BTreeMap::new();
        for known in self.of_kind("Service").filter(|known| known.object["spec"]["type"] == "LoadBalancer") {
            let (namespace, name) = (object::namespace(&known.object), object::name(&known.object));
            let pool = self.of_kind("IPAddressPool").map(|known| known.at).min();
            let controller = self.workload("Deployment", "metallb-system", "controller");
            let (Some(pool), Some(controller)) = (pool, controller) else {
                return Err(format!("nobody gives the load balancer {namespace}/{name} an address"));
            };
            let since = known.at.max(pool).max(controller);
            times.insert(format!("{namespace}/{name}"), since + load_balancer_after(self.draws, namespace, name));
        }
        Ok(times)
    }

    /// When an object is as wanted.
    fn well_at(&self, known: &Known) -> Duration {
        let object = &known.object;
        let (namespace, name) = (object::namespace(object), object::name(object));
        let ready = || ready_after(self.draws, namespace, name, part_of(object));
        let secrets =
            || self.workload("Deployment", "external-secrets", "external-secrets").unwrap_or_default().max(known.at);
        match object::kind(object) {
            "Deployment" => known.at.max(self.first_node) + ready(),
            "DaemonSet" => known.at.max(self.last_node) + ready(),
            "ClusterSecretStore" | "SecretStore" => secrets() + store_time(self.draws, namespace, name),
            "ExternalSecret" => {
                let reference = &object["spec"]["secretStoreRef"];
                let store = self.applied.values().find(|store| {
                    object::kind(&store.object) == object::kind(reference)
                        && object::name(&store.object) == object::text(reference, &["name"])
                });
                let valid = store.map_or(Duration::ZERO, |store| self.well_at(store));
                secrets().max(valid) + sync_time(self.draws, namespace, name)
            }
            _ => known.at,
        }
    }
}

fn part_of(workload: &Value) -> Option<&str> {
    workload["metadata"]["labels"]["app.kubernetes.io/part-of"].as_str()
}

fn has(rule: &Value, field: &str, wanted: &str) -> bool {
    rule[field].as_array().into_iter().flatten().any(|entry| entry == wanted || entry == "*")
}
