//! The graph of Flux: everything that is reachable from the root.

use std::collections::{BTreeMap, BTreeSet};

use castle_core::handover::{FluxItem, Health};

use crate::flux::{self, FluxObject};

/// The objects of Flux in a cluster, by their ids.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph(BTreeMap<String, FluxObject>);

impl Graph {
    pub(crate) fn of(objects: impl IntoIterator<Item = FluxObject>) -> Self {
        Self(objects.into_iter().map(|object| (object.id(), object)).collect())
    }

    pub(crate) fn get(&self, id: &str) -> Option<&FluxObject> {
        self.0.get(id)
    }

    pub(crate) fn root(&self) -> Option<&FluxObject> {
        self.get(&flux::root_id())
    }

    /// The kinds of sources that somebody refers to: `HelmRepository`.
    pub(crate) fn source_kinds(&self) -> BTreeSet<String> {
        let kind = |id: String| id.split('/').next().unwrap_or("").to_owned();
        self.0.values().flat_map(FluxObject::sources).map(kind).collect()
    }

    /// The inventory, over all Kustomizations, by `kind/namespace/name`.
    pub(crate) fn lists(&self, kind: &str, namespace: &str, name: &str) -> bool {
        self.0.values().any(|object| {
            object.inventory().any(|listed| listed.kind == kind && listed.namespace == namespace && listed.name == name)
        })
    }

    /// How an object fares, its source considered.
    pub(crate) fn health(&self, object: &FluxObject) -> Health {
        let source = object.sources().first().and_then(|id| self.get(id));
        object.health(source)
    }

    /// What must be ready before an object can be, as ids.
    pub(crate) fn needs(&self, object: &FluxObject) -> Vec<String> {
        let mut needs = object.sources();
        needs.extend(object.dependencies());
        // Who waits for its objects waits for the Kustomizations among them.
        if object.spec.wait {
            needs.extend(object.children());
        }
        needs
    }

    /// Whether everything that a waiting object depends on is as Flux wants it: ready,
    /// observed, and at the same revision where both read the same source.
    pub(crate) fn dependencies_are_ready(&self, object: &FluxObject) -> bool {
        object.dependencies().iter().all(|id| {
            self.get(id).is_some_and(|dependency| {
                self.health(dependency).is_ready()
                    && (dependency.sources() != object.sources() || self.is_current(dependency))
            })
        })
    }

    fn is_current(&self, object: &FluxObject) -> bool {
        let source = object.sources().first().and_then(|id| self.get(id));
        match source.and_then(FluxObject::revision) {
            Some(revision) => object.revision() == Some(revision) || object.kind != "Kustomization",
            None => false,
        }
    }

    /// Everything that is reachable from the root: sources, then Kustomizations and
    /// releases, those first that others wait for.
    pub(crate) fn items(&self) -> Vec<FluxItem> {
        let reached = self.reached();
        let mut items: BTreeMap<String, FluxItem> =
            reached.iter().map(|(id, by)| (id.clone(), self.item(id, by, &reached))).collect();
        let is_source = |id: &String| id.contains("Repository/");
        let mut order: Vec<FluxItem> = Vec::new();
        let sources: Vec<_> = items.keys().filter(|id| is_source(id)).cloned().collect();
        order.extend(sources.iter().filter_map(|id| items.remove(id)));
        while !items.is_empty() {
            let free = |item: &FluxItem| item.depends_on.iter().all(|id| !items.contains_key(id));
            let mut ids: Vec<_> = items.iter().filter(|(_, item)| free(item)).map(|(id, _)| id.clone()).collect();
            if ids.is_empty() {
                // They wait for each other in a ring; Flux says so on each of them.
                ids.extend(items.keys().next().cloned());
            }
            order.extend(ids.iter().filter_map(|id| items.remove(id)));
        }
        order
    }

    /// The ids that can be reached, each with who names it.
    fn reached(&self) -> BTreeMap<String, String> {
        let mut reached = BTreeMap::new();
        let mut open = vec![(flux::root_id(), String::new())];
        while let Some((id, by)) = open.pop() {
            if reached.contains_key(&id) {
                continue;
            }
            if let Some(object) = self.get(&id) {
                let next = object.sources().into_iter().chain(object.dependencies()).chain(object.children());
                open.extend(next.map(|next| (next, id.clone())));
            }
            reached.insert(id, by);
        }
        // A root that is not planted is not an item.
        if self.root().is_none() {
            reached.clear();
        }
        reached
    }

    fn item(&self, id: &str, by: &str, reached: &BTreeMap<String, String>) -> FluxItem {
        let mut parts = id.splitn(3, '/').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        let (kind, namespace, name) = (part(), part(), part());
        let Some(object) = self.get(id) else {
            let health = Health::Waiting(format!("{by} names it, and it does not exist"));
            let depends_on = Vec::new();
            return FluxItem {
                kind,
                namespace,
                name,
                health,
                revision: None,
                depends_on,
                changed_at: None,
                suspended: false,
            };
        };
        let depends_on = self.needs(object).into_iter().filter(|id| reached.contains_key(id)).collect();
        FluxItem {
            kind,
            namespace,
            name,
            health: self.health(object),
            revision: object.revision().map(str::to_owned),
            depends_on,
            changed_at: object.condition("Ready").and_then(flux::Condition::seconds),
            suspended: object.spec.suspend,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kubernetes::object::Kind;

    fn kustomization(name: &str, needs: &[&str], children: &[&str], ready: &str) -> FluxObject {
        let needs: Vec<Value> = needs.iter().map(|name| json!({"name": name})).collect();
        let entries: Vec<Value> = children.iter().map(|id| json!({"id": id, "v": "v1"})).collect();
        let object = json!({
            "metadata": {"namespace": "flux-system", "name": name, "generation": 1},
            "spec": {"sourceRef": {"kind": "GitRepository", "name": "flux-system"}, "dependsOn": needs},
            "status": {
                "observedGeneration": 1, "lastAppliedRevision": "main@sha1:a", "inventory": {"entries": entries},
                "conditions": [{"type": "Ready", "status": ready, "reason": "R", "message": "m",
                    "lastTransitionTime": "2026-11-21T12:00:07Z"}],
            },
        });
        FluxObject::read(&object, &Kind::KUSTOMIZATION).expect("a kustomization")
    }

    fn source(revision: &str) -> FluxObject {
        let object = json!({
            "metadata": {"namespace": "flux-system", "name": "flux-system", "generation": 1},
            "status": {"observedGeneration": 1, "artifact": {"revision": revision},
                "conditions": [{"type": "Ready", "status": "True"}]},
        });
        FluxObject::read(&object, &Kind::GIT_REPOSITORY).expect("a source")
    }

    const APPS: &str = "flux-system_apps_kustomize.toolkit.fluxcd.io_Kustomization";
    const INFRA: &str = "flux-system_infra_kustomize.toolkit.fluxcd.io_Kustomization";

    #[test]
    fn what_the_root_names_is_reached_in_the_order_of_its_needs() {
        let graph = Graph::of([
            kustomization("flux-system", &[], &[APPS, INFRA, "_flux-system__Namespace"], "True"),
            kustomization("apps", &["infra"], &["flux-system_gone_helm.toolkit.fluxcd.io_HelmRelease"], "False"),
            kustomization("infra", &[], &[], "True"),
            kustomization("stranger", &[], &[], "False"),
            source("main@sha1:a"),
        ]);
        let items = graph.items();
        let shown: Vec<_> = items.iter().map(|item| format!("{} {:?}", item.id(), item.health)).collect();
        assert_eq!(
            shown,
            [
                "GitRepository/flux-system/flux-system Ready",
                "HelmRelease/flux-system/gone Waiting(\"Kustomization/flux-system/apps names it, and it does not exist\")",
                "Kustomization/flux-system/flux-system Ready",
                "Kustomization/flux-system/infra Ready",
                "Kustomization/flux-system/apps Waiting(\"R: m\")",
            ]
        );
        assert_eq!(items[4].depends_on, ["GitRepository/flux-system/flux-system", "Kustomization/flux-system/infra"]);
        assert_eq!(items[4].changed_at, Some(1_795_262_407));
        assert!(graph.lists("Namespace", "", "flux-system"));
    }

    #[test]
    fn a_dependency_of_an_older_revision_is_not_ready() {
        let of = |revision: &str| {
            Graph::of([
                kustomization("apps", &["infra"], &[], "False"),
                kustomization("infra", &[], &[], "True"),
                source(revision),
            ])
        };
        let check = |graph: Graph, expected| {
            let apps = graph.get("Kustomization/flux-system/apps").expect("it is there");
            assert_eq!(graph.dependencies_are_ready(apps), expected);
        };
        check(of("main@sha1:a"), true);
        check(of("main@sha1:b"), false);
        check(Graph::of([kustomization("apps", &["infra"], &[], "False"), source("main@sha1:a")]), false);
    }

    #[test]
    fn a_ring_ends() {
        let graph = Graph::of([
            kustomization("flux-system", &[], &[APPS, INFRA], "True"),
            kustomization("apps", &["infra"], &[], "False"),
            kustomization("infra", &["apps"], &[], "False"),
            source("main@sha1:a"),
        ]);
        assert_eq!(graph.items().len(), 4);
        assert_eq!(Graph::default().items(), []);
    }
}
