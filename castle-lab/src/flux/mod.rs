//! Flux: sources and Kustomizations, as far as a closed list of features goes.
//!
//! The two controllers act while their Deployments are Available and the API
//! server serves, and write as the real ones do: by server-side apply, with the
//! status of their objects apart. Time is what the table of latencies says and what
//! is constant in Flux' code: 30 s for a dependency that is not ready, 5 s between
//! two looks at the health of what was applied, `retryInterval` after a failure.
//!
//! What is left out: Helm, images, notifications, other sources than Git, several
//! controllers sharing the work, and the number of workers that bounds how many
//! Kustomizations are in work at once (four in Flux).

mod apply;
mod build;
mod configuration;
mod health;
mod ideal;
mod kustomization;
mod kustomize;
pub(crate) mod object;
mod prune;
mod source;
mod substitute;
mod transform;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

pub use health::{Status, status};
pub use ideal::{HandoverIdeal, NodesReady, ideal};

use crate::kube::Resource;
use crate::world::World;
use kustomization::{Builds, Kustomization};
use source::Source;

/// Namespace and name.
pub(crate) type Place = (String, String);

/// The namespace of the controllers.
const HOME: &str = "flux-system";

/// Sources of the kind `GitRepository`.
const REPOSITORIES: Resource = Resource {
    group: std::borrow::Cow::Borrowed("source.toolkit.fluxcd.io"),
    plural: std::borrow::Cow::Borrowed("gitrepositories"),
};

/// Flux' Kustomizations.
const KUSTOMIZATIONS: Resource = Resource {
    group: std::borrow::Cow::Borrowed("kustomize.toolkit.fluxcd.io"),
    plural: std::borrow::Cow::Borrowed("kustomizations"),
};

/// Flux' own memory, beside the objects in the store.
#[derive(Clone, Default)]
pub struct Flux {
    seen: u64,
    /// Whether the source controller works, and the kustomize controller.
    active: (bool, bool),
    sources: BTreeMap<Place, Source>,
    kustomizations: BTreeMap<Place, Kustomization>,
    stuck: BTreeMap<String, Stuck>,
    reconciliations: BTreeMap<String, u64>,
    builds: Builds,
    tokens: u64,
}

/// How firmly a Kustomization is stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// It is not looked at until somebody asks for it by
    /// `reconcile.fluxcd.io/requestedAt`.
    UntilNudged,
    /// It is never looked at.
    Forever,
}

/// What is due in Flux. The number tells whether it still counts: whatever begins
/// anew makes what was planned before void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FluxEvent {
    /// A source is looked at.
    Poll { place: Place, token: u64 },
    /// A source is fetched.
    Fetched { place: Place, token: u64 },
    /// A Kustomization is tried.
    Try { place: Place, token: u64 },
    /// A Kustomization is built: it is applied.
    Apply { place: Place, token: u64 },
    /// The health of what was applied is looked at.
    Health { place: Place, token: u64 },
}

impl Flux {
    /// From now on the controller overlooks the Kustomization of that name.
    pub fn stick(&mut self, kustomization: &str, how: Stuck) {
        self.stuck.insert(kustomization.to_owned(), how);
    }

    /// The controller looks at the Kustomization of that name again, when it next
    /// has a reason to.
    pub fn release(&mut self, kustomization: &str) {
        self.stuck.remove(kustomization);
    }

    /// How often the Kustomization of that name was tried, in all lives.
    #[must_use]
    pub fn reconciliations(&self, kustomization: &str) -> u64 {
        self.reconciliations.get(kustomization).copied().unwrap_or(0)
    }

    fn next_token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }
}

impl fmt::Debug for Flux {
    /// Without what was built, some of which are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flux")
            .field("active", &self.active)
            .field("sources", &self.sources.keys().collect::<Vec<_>>())
            .field("kustomizations", &self.kustomizations.keys().collect::<Vec<_>>())
            .field("stuck", &self.stuck)
            .field("reconciliations", &self.reconciliations)
            .finish_non_exhaustive()
    }
}

impl World {
    /// Something is due in Flux.
    pub(crate) fn flux_happens(&mut self, event: &FluxEvent) {
        let (sources, kustomizations) = self.flux_is_active();
        match event {
            FluxEvent::Poll { place, token } if sources => self.source_is_due(place, *token),
            FluxEvent::Fetched { place, token } if sources => self.source_is_fetched(place, *token),
            FluxEvent::Try { place, token } if kustomizations => self.kustomization_is_due(place, *token),
            FluxEvent::Apply { place, token } if kustomizations => self.kustomization_is_built(place, *token),
            FluxEvent::Health { place, token } if kustomizations => self.kustomization_is_examined(place, *token),
            // A controller that is down has forgotten what it planned; it looks at
            // everything anew when it is back.
            _ => {}
        }
    }

    /// Draws the consequences of changed objects and of controllers that came up or
    /// went down. A pushed commit has none until its source is looked at.
    pub(crate) fn follow_flux(&mut self) {
        let (revision, active) = (self.kubernetes.revision(), self.flux_is_active());
        let (seen, was_active) = (self.flux.seen, self.flux.active);
        if (revision, active) == (seen, was_active) {
            return;
        }
        (self.flux.seen, self.flux.active) = (revision, active);
        let is_another_life = revision < seen;
        if is_another_life {
            self.flux.sources.clear();
            self.flux.kustomizations.clear();
        }
        // Nothing but the objects of Flux, and what their variables come from, wakes it.
        let concerns = |resource: &Resource| {
            let plurals = ["gitrepositories", "kustomizations", "configmaps", "secrets"];
            plurals.contains(&resource.plural.as_ref())
        };
        let is_woken = is_another_life
            || active != was_active
            || match self.kubernetes.changes_after(seen) {
                Ok(mut changes) => changes.any(|change| concerns(&change.resource)),
                // Too old to be remembered: look at everything.
                Err(_) => true,
            };
        if !is_woken {
            return;
        }
        match active.0 {
            true => self.follow_sources(),
            false => self.forget_sources(),
        }
        match active.1 {
            true => self.follow_kustomizations(),
            false => self.forget_kustomizations(),
        }
    }

    /// Whether the source controller works, and the kustomize controller.
    fn flux_is_active(&self) -> (bool, bool) {
        (self.is_available(HOME, "source-controller"), self.is_available(HOME, "kustomize-controller"))
    }

    /// Whether a Deployment is Available with at least one pod, and its pods can
    /// reach the API server.
    pub(crate) fn is_available(&self, namespace: &str, deployment: &str) -> bool {
        self.kubernetes.is_serving()
            && self.kubernetes.get(&Resource::DEPLOYMENTS, namespace, deployment).is_ok_and(|deployment| {
                // One that wants no pod is Available too.
                let pods = deployment["status"]["availableReplicas"].as_u64().unwrap_or(0);
                pods > 0 && object::is_true(deployment, "Available")
            })
    }

    /// The pairs of a `ConfigMap` or of a `Secret`, as text.
    ///
    /// # Errors
    ///
    /// Kubernetes' words if it is not there.
    pub(crate) fn pairs(&self, kind: &str, namespace: &str, name: &str) -> Result<BTreeMap<String, String>, String> {
        let resource = if kind == "Secret" { Resource::SECRETS } else { Resource::CONFIG_MAPS };
        let object = self.kubernetes.get(&resource, namespace, name).map_err(|refusal| refusal.message)?;
        let data = object["data"].as_object();
        Ok(data.into_iter().flatten().map(|(key, value)| (key.clone(), plain(kind, value))).collect())
    }
}

/// A value of a `ConfigMap`, or of a `Secret`, which has it in base64.
fn plain(kind: &str, value: &Value) -> String {
    use base64::Engine as _;
    let text = value.as_str().unwrap_or("");
    if kind != "Secret" {
        return text.to_owned();
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    String::from_utf8_lossy(&decoded).into_owned()
}
