//! The kustomize controller: Kustomizations that are built, applied and waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::apply::{apply, inventory, set_finalizer, write_status};
use super::build::{BuildError, build, variables};
use super::configuration::{
    dependencies, interval, is_suspended, requested_at, retry_interval, source, timeout, waits,
};
use super::health::{Status, status};
use super::prune::{find, prune};
use super::source::{Artifact, place_of};
use super::{FluxEvent, KUSTOMIZATIONS, Place, REPOSITORIES, Stuck, object};
use crate::kube::{Resource, Selection};
use crate::latency::Latency;
use crate::world::{Event, World};

/// The field manager of what the controller writes about its own objects.
const MANAGER: &str = "gotk-kustomize-controller";

/// What was built, by a digest of everything that it was built from.
pub(super) type Builds = BTreeMap<String, Arc<Result<Vec<Value>, BuildError>>>;

/// So many builds are kept: more than a house has Kustomizations.
const BUILDS_MAX: usize = 256;

/// What the controller knows of one Kustomization.
#[derive(Clone, Default)]
pub(super) struct Kustomization {
    uid: String,
    /// What it last had a reason to be tried for.
    reasons: Reasons,
    /// What the try that is going on, or the last one, began with.
    begun: Reasons,
    /// A reason came that was not followed yet.
    is_due: bool,
    /// The token at which it was stuck.
    stuck_at: Option<String>,
    token: u64,
    work: Work,
}

/// What makes the controller try a Kustomization.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Reasons {
    generation: i64,
    requested_at: String,
    /// The revision of its source.
    revision: String,
    /// The versions of what its variables come from, where that is watched.
    configuration: Vec<String>,
}

/// What is being done with a Kustomization.
#[derive(Clone, Default)]
enum Work {
    /// Nothing until something is due.
    #[default]
    Idle,
    /// It is being built.
    Building { artifact: Artifact, built: Arc<Result<Vec<Value>, BuildError>> },
    /// What it applied is not well yet.
    Examining { revision: String, since: Duration },
}

/// Why a try failed: the reason, the message, and when it is tried again.
type Failure = (&'static str, String, Duration);

impl World {
    pub(super) fn follow_kustomizations(&mut self) {
        let objects: Vec<_> = self.kubernetes.list(&KUSTOMIZATIONS, &Selection::default()).cloned().collect();
        let places: Vec<_> = objects.iter().map(|object| place_of(object)).collect();
        self.flux.kustomizations.retain(|place, _| places.contains(place));
        for (place, object) in places.into_iter().zip(objects) {
            if object["metadata"].get("deletionTimestamp").is_some() {
                self.finalize_kustomization(&place, &object);
                continue;
            }
            let uid = object::text(&object, &["metadata", "uid"]).to_owned();
            let mut reasons = self.reasons_for(&object);
            let known = self.flux.kustomizations.entry(place.clone()).or_default();
            if known.uid != uid {
                *known = Kustomization { uid, ..Kustomization::default() };
            }
            if reasons.requested_at.is_empty() {
                // A request that was taken away asks for nothing.
                reasons.requested_at.clone_from(&known.reasons.requested_at);
            }
            if known.token == 0 || known.reasons != reasons {
                (known.reasons, known.is_due) = (reasons, true);
            }
            if !known.is_due || is_suspended(&object) {
                continue;
            }
            let is_free = match known.work {
                Work::Idle => true,
                Work::Building { .. } => false,
                Work::Examining { .. } => self.health_checks_can_be_cancelled(),
            };
            if is_free {
                if let Err(refusal) = set_finalizer(&mut self.kubernetes, &KUSTOMIZATIONS, &object, true, MANAGER) {
                    self.log(format!("kustomize-controller could not write {}: {refusal}", place.1));
                }
                self.try_kustomization(&place);
            }
        }
    }

    /// The controller is down: what it was about is begun anew.
    pub(super) fn forget_kustomizations(&mut self) {
        for known in self.flux.kustomizations.values_mut() {
            (known.token, known.work, known.is_due) = (0, Work::Idle, false);
        }
    }

    pub(super) fn kustomization_is_due(&mut self, place: &Place, token: u64) {
        if self.flux.kustomizations.get(place).is_some_and(|known| known.token == token) {
            self.try_kustomization(place);
        }
    }

    fn reasons_for(&self, object: &Value) -> Reasons {
        let revision = source(object)
            .and_then(|place| {
                let source = self.kubernetes.get(&REPOSITORIES, &place.0, &place.1).ok()?;
                Some(object::text(source, &["status", "artifact", "revision"]).to_owned())
            })
            .unwrap_or_default();
        let sources = object["spec"]["postBuild"]["substituteFrom"].as_array();
        let configuration = sources
            .into_iter()
            .flatten()
            .filter_map(|reference| {
                let is_secret = object::kind(reference) == "Secret";
                let resource = if is_secret { Resource::SECRETS } else { Resource::CONFIG_MAPS };
                let name = object::text(reference, &["name"]);
                let found = self.kubernetes.get(&resource, object::namespace(object), name).ok()?;
                (found["metadata"]["labels"]["reconcile.fluxcd.io/watch"] == "Enabled")
                    .then(|| object::text(found, &["metadata", "resourceVersion"]).to_owned())
            })
            .collect();
        Reasons {
            generation: object::generation(object),
            requested_at: requested_at(object).to_owned(),
            revision,
            configuration,
        }
    }

    /// Whether a reason that comes while health is looked at ends the looking. It
    /// is a feature gate of the controller.
    fn health_checks_can_be_cancelled(&self) -> bool {
        let Ok(controller) = self.kubernetes.get(&Resource::DEPLOYMENTS, super::HOME, "kustomize-controller") else {
            return false;
        };
        let containers = controller.pointer("/spec/template/spec/containers").and_then(Value::as_array);
        containers
            .into_iter()
            .flatten()
            .filter_map(|container| container["args"].as_array())
            .flatten()
            .any(|argument| argument.as_str().is_some_and(|text| text.contains("CancelHealthCheckOnNewRevision=true")))
    }

    /// Whether a fault keeps the controller from this Kustomization.
    fn is_stuck(&mut self, place: &Place, object: &Value) -> bool {
        let Some(how) = self.flux.stuck.get(&place.1).copied() else { return false };
        let Some(known) = self.flux.kustomizations.get_mut(place) else { return false };
        let now = requested_at(object).to_owned();
        let before = known.stuck_at.get_or_insert_with(|| now.clone());
        if how == Stuck::UntilNudged && *before != now {
            known.stuck_at = None;
            self.flux.stuck.remove(&place.1);
            return false;
        }
        true
    }

    /// Begins a try: everything that can be known at once is.
    fn try_kustomization(&mut self, place: &Place) {
        let Ok(object) = self.kubernetes.get(&KUSTOMIZATIONS, &place.0, &place.1).cloned() else { return };
        let token = self.flux.next_token();
        let is_stuck = self.is_stuck(place, &object);
        let reasons = self.reasons_for(&object);
        let Some(known) = self.flux.kustomizations.get_mut(place) else { return };
        (known.token, known.is_due, known.work) = (token, false, Work::Idle);
        known.begun = reasons.clone();
        known.reasons = reasons;
        if is_suspended(&object) || is_stuck {
            return;
        }
        *self.flux.reconciliations.entry(place.1.clone()).or_default() += 1;
        let artifact = match self.ready_artifact(&object) {
            Ok(artifact) => artifact,
            Err(failure) => return self.kustomization_failed(place, &object, &failure, None),
        };
        let built = self.built(&object, &artifact);
        let count = built.as_ref().as_ref().map_or(0, Vec::len);
        let revision = artifact.revision.clone();
        let within = object::in_words(timeout(&object));
        let message = format!("Building manifests for revision {revision} with a timeout of {within}");
        let mut status = object["status"].clone();
        self.mark(&mut status, &object, ("Ready", "Unknown", "Progressing", "Reconciliation in progress"));
        self.mark(&mut status, &object, ("Reconciling", "True", "Progressing", &message));
        status["lastAttemptedRevision"] = json!(revision);
        self.write_kustomization(&object, status);
        if let Some(known) = self.flux.kustomizations.get_mut(place) {
            known.work = Work::Building { artifact, built };
        }
        let event = FluxEvent::Apply { place: place.clone(), token };
        self.at(self.now() + build_time(count), Event::Flux(event));
    }

    /// What a Kustomization is built from, if nothing has to come before it.
    fn ready_artifact(&self, object: &Value) -> Result<Artifact, Failure> {
        let reference = &object["spec"]["sourceRef"];
        let place = source(object);
        let found = place.as_ref().filter(|place| self.kubernetes.get(&REPOSITORIES, &place.0, &place.1).is_ok());
        let Some(place) = found else {
            let named = (object::kind(reference), object::name(&json!({"metadata": reference})).to_owned());
            let home = place.as_ref().map_or(object::namespace(object), |place| place.0.as_str());
            let message = format!("Source '{}/{home}/{}' not found", named.0, named.1);
            return Err(("ArtifactFailed", message, retry_interval(object)));
        };
        let Some(artifact) = self.artifact(place) else {
            let wait = Latency::DEPENDENCY_REQUEUE;
            let message = format!("Source artifact not found, retrying in {}", object::in_words(wait));
            return Err(("ArtifactFailed", message, wait));
        };
        for dependency in dependencies(object) {
            let name = format!("{}/{}", dependency.0, dependency.1);
            let not_ready = |why: String| Err(("DependencyNotReady", why, Latency::DEPENDENCY_REQUEUE));
            let Ok(found) = self.kubernetes.get(&KUSTOMIZATIONS, &dependency.0, &dependency.1) else {
                let why = format!("kustomizations.kustomize.toolkit.fluxcd.io \"{}\" not found", dependency.1);
                return not_ready(format!("dependency '{name}' not found: {why}"));
            };
            let observed = found["status"]["observedGeneration"].as_i64();
            if observed != Some(object::generation(found)) || !object::is_true(found, "Ready") {
                return not_ready(format!("dependency '{name}' is not ready"));
            }
            let applied = object::text(found, &["status", "lastAppliedRevision"]);
            if source(found).as_ref() == Some(place) && applied != artifact.revision {
                return not_ready(format!("dependency '{name}' revision is not up to date"));
            }
        }
        Ok(artifact)
    }

    /// Builds, or remembers what was built of the same.
    fn built(&mut self, object: &Value, artifact: &Artifact) -> Arc<Result<Vec<Value>, BuildError>> {
        let namespace = object::namespace(object).to_owned();
        let variables = variables(object, |kind, name| self.pairs(kind, &namespace, name));
        let key = format!(
            "{}/{} {} {} {variables:?}",
            namespace,
            object::name(object),
            artifact.branch.commit,
            object["spec"]
        );
        // Variables may be secrets, and keys are printed one day.
        let key = hex::encode(Sha256::digest(key));
        if let Some(known) = self.flux.builds.get(&key) {
            return Arc::clone(known);
        }
        if self.flux.builds.len() >= BUILDS_MAX {
            self.flux.builds.clear();
        }
        let built = Arc::new(build(&artifact.branch.files, object, &variables));
        self.flux.builds.insert(key, Arc::clone(&built));
        built
    }

    /// A Kustomization is built: apply it, remove what it does not want any more,
    /// and look at the health of what it applied.
    pub(super) fn kustomization_is_built(&mut self, place: &Place, token: u64) {
        let Ok(object) = self.kubernetes.get(&KUSTOMIZATIONS, &place.0, &place.1).cloned() else { return };
        let Some(known) = self.flux.kustomizations.get_mut(place).filter(|known| known.token == token) else { return };
        let Work::Building { artifact, built } = std::mem::take(&mut known.work) else { return };
        let revision = artifact.revision;
        let retry = retry_interval(&object);
        let failed = |reason: &'static str, why: &str| Err((reason, why.to_owned(), retry));
        let applied = match built.as_ref() {
            Err(BuildError::Path(why)) => failed("ArtifactFailed", why),
            Err(BuildError::Build(why)) => failed("BuildFailed", why),
            Ok(objects) => match apply(&mut self.kubernetes, objects) {
                Err(why) => failed("ReconciliationFailed", &why),
                Ok(()) => Ok(inventory(objects)),
            },
        };
        let after = match applied {
            Ok(after) => after,
            Err(failure) => return self.kustomization_failed(place, &object, &failure, None),
        };
        let before = object["status"]["inventory"].clone();
        let pruned = match object["spec"]["prune"] == true {
            true => prune(&mut self.kubernetes, &object, &before, &after),
            false => Ok(()),
        };
        // It may have applied itself.
        let Ok(object) = self.kubernetes.get(&KUSTOMIZATIONS, &place.0, &place.1).cloned() else { return };
        if let Err(why) = pruned {
            return self.kustomization_failed(place, &object, &("PruneFailed", why, retry), Some(after));
        }
        let mut status = object["status"].clone();
        status["inventory"] = after;
        if waits(&object) || object["spec"]["healthChecks"].as_array().is_some_and(|checks| !checks.is_empty()) {
            let within = object::in_words(timeout(&object));
            let message = format!("Running health checks for revision {revision} with a timeout of {within}");
            self.mark(&mut status, &object, ("Reconciling", "True", "Progressing", &message));
            self.mark(&mut status, &object, ("Healthy", "Unknown", "Progressing", &message));
            self.write_kustomization(&object, status);
            let since = self.now();
            if let Some(known) = self.flux.kustomizations.get_mut(place) {
                known.work = Work::Examining { revision, since };
            }
            self.kustomization_is_examined(place, token);
        } else {
            object::remove_condition(&mut status, "Healthy");
            self.kustomization_succeeded(place, &object, status, &revision);
        }
    }

    /// Looks at the health of what was applied.
    pub(super) fn kustomization_is_examined(&mut self, place: &Place, token: u64) {
        let Ok(object) = self.kubernetes.get(&KUSTOMIZATIONS, &place.0, &place.1).cloned() else { return };
        let Some(known) = self.flux.kustomizations.get(place).filter(|known| known.token == token) else { return };
        let Work::Examining { revision, since } = known.work.clone() else { return };
        let passed = self.now() - since;
        let unwell = self.unwell(&object);
        if unwell.is_empty() {
            let mut status = object["status"].clone();
            let message = format!("Health check passed in {}", object::in_words(passed));
            self.mark(&mut status, &object, ("Healthy", "True", "Succeeded", &message));
            return self.kustomization_succeeded(place, &object, status, &revision);
        }
        let listed: Vec<_> =
            unwell.iter().map(|(subject, status)| format!("{subject} status: '{}'", status.name())).collect();
        let listed = listed.join(", ");
        let within = timeout(&object);
        let message = if unwell.iter().all(|(_, status)| *status == Status::Failed) {
            let after = object::in_words(passed);
            format!("health check failed after {after}: failed early due to stalled resources: [{listed}]")
        } else if passed >= within {
            format!("health check failed after {}: timeout waiting for: [{listed}]", object::in_words(within))
        } else {
            let event = FluxEvent::Health { place: place.clone(), token };
            let next = Latency::HEALTH_POLL.min(within - passed);
            return self.at(self.now() + next, Event::Flux(event));
        };
        let mut failing = Value::clone(&object);
        self.mark(&mut failing["status"], &object, ("Healthy", "False", "HealthCheckFailed", &message));
        let failure = ("HealthCheckFailed", message, retry_interval(&object));
        self.kustomization_failed(place, &failing, &failure, None);
    }

    /// What is waited for and not as wanted.
    fn unwell(&self, object: &Value) -> Vec<(String, Status)> {
        let own = object::id(object);
        let wanted: Vec<(String, Option<Arc<Value>>)> = if waits(object) {
            let entries = object["status"]["inventory"]["entries"].as_array();
            entries
                .into_iter()
                .flatten()
                .map(|entry| object::text(entry, &["id"]))
                .filter(|id| *id != own)
                .map(|id| {
                    let found = find(&self.kubernetes, id).and_then(|(resource, namespace, name)| {
                        self.kubernetes.get(&resource, &namespace, &name).ok().cloned()
                    });
                    (found.as_ref().map_or_else(|| id.to_owned(), |found| object::subject(found)), found)
                })
                .collect()
        } else {
            let checks = object["spec"]["healthChecks"].as_array();
            checks
                .into_iter()
                .flatten()
                .map(|check| {
                    let (namespace, name) = (object::text(check, &["namespace"]), object::text(check, &["name"]));
                    let api_version = object::text(check, &["apiVersion"]);
                    let found = self
                        .kubernetes
                        .kinds()
                        .of_object(api_version, object::kind(check))
                        .and_then(|kind| self.kubernetes.get(&kind.resource, namespace, name).ok().cloned());
                    (format!("{}/{namespace}/{name}", object::kind(check)), found)
                })
                .collect()
        };
        wanted
            .into_iter()
            .map(|(subject, found)| (subject, status(found.as_deref())))
            .filter(|(_, status)| *status != Status::Current)
            .collect()
    }

    fn kustomization_succeeded(&mut self, place: &Place, object: &Value, mut status: Value, revision: &str) {
        let message = format!("Applied revision: {revision}");
        object::remove_condition(&mut status, "Reconciling");
        self.mark(&mut status, object, ("Ready", "True", "ReconciliationSucceeded", &message));
        if let Some(known) = self.flux.kustomizations.get(place) {
            status["observedGeneration"] = json!(known.begun.generation);
        }
        status["lastAppliedRevision"] = json!(revision);
        status["lastAttemptedRevision"] = json!(revision);
        self.end_try(place, object, status, interval(object));
    }

    fn kustomization_failed(&mut self, place: &Place, object: &Value, failure: &Failure, inventory: Option<Value>) {
        let (reason, message, wait) = failure;
        let mut status = object["status"].clone();
        if let Some(inventory) = inventory {
            status["inventory"] = inventory;
        }
        let progress = match object::condition(object, "Reconciling") {
            Some(condition) => object::text(condition, &["message"]).to_owned(),
            None => "Reconciliation in progress".to_owned(),
        };
        self.mark(&mut status, object, ("Reconciling", "True", "ProgressingWithRetry", &progress));
        self.mark(&mut status, object, ("Ready", "False", reason, message));
        self.end_try(place, object, status, *wait);
    }

    /// The end of every try: the request is handled, the next try is planned.
    fn end_try(&mut self, place: &Place, object: &Value, mut status: Value, wait: Duration) {
        let Some(known) = self.flux.kustomizations.get_mut(place) else { return };
        known.work = Work::Idle;
        let token = known.token;
        if !known.begun.requested_at.is_empty() {
            status["lastHandledReconcileAt"] = json!(known.begun.requested_at);
        }
        self.write_kustomization(object, status);
        self.at(self.now() + wait, Event::Flux(FluxEvent::Try { place: place.clone(), token }));
    }

    /// Somebody deleted a Kustomization: what it applied goes first.
    fn finalize_kustomization(&mut self, place: &Place, object: &Value) {
        self.flux.kustomizations.remove(place);
        if object["spec"]["prune"] == true && !is_suspended(object) {
            let before = object["status"]["inventory"].clone();
            if let Err(why) = prune(&mut self.kubernetes, object, &before, &json!({})) {
                // It is looked at again with the next change.
                self.log(format!("Kustomization {} cannot go: {why}", place.1));
                return;
            }
        }
        if let Err(refusal) = set_finalizer(&mut self.kubernetes, &KUSTOMIZATIONS, object, false, MANAGER) {
            self.log(format!("kustomize-controller could not write {}: {refusal}", place.1));
        }
    }

    fn mark(&self, status: &mut Value, object: &Value, condition: (&str, &str, &str, &str)) {
        object::set_condition(status, &self.wall_stamp(), object::generation(object), condition);
    }

    fn write_kustomization(&mut self, object: &Value, status: Value) {
        // Read again: the finalizer may have been added since.
        let (namespace, name) = (object::namespace(object), object::name(object));
        let Ok(live) = self.kubernetes.get(&KUSTOMIZATIONS, namespace, name).cloned() else { return };
        if let Err(refusal) = write_status(&mut self.kubernetes, &live, status, MANAGER) {
            self.log(format!("kustomize-controller could not write {name}: {refusal}"));
        }
    }
}

/// How long a build and an apply of so many objects takes.
pub(super) fn build_time(objects: usize) -> Duration {
    Latency::KUSTOMIZE_BUILD + Latency::KUSTOMIZE_OBJECT * u32::try_from(objects).unwrap_or(u32::MAX)
}
