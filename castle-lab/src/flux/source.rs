//! The source controller: repositories that are fetched.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::apply::{set_finalizer, write_status};
use super::configuration::{interval, is_suspended, requested_at};
use super::{FluxEvent, Place, REPOSITORIES, object};
use crate::draw::Draws;
use crate::git::Branch;
use crate::kube::Selection;
use crate::latency::Latency;
use crate::world::{Event, World};

/// The field manager of the source controller.
const MANAGER: &str = "source-controller";
/// The first wait after a failure, and the longest (the controller's defaults).
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(750), Duration::from_secs(15 * 60));

/// What the controller knows of one source.
#[derive(Clone, Default)]
pub(super) struct Source {
    uid: String,
    generation: i64,
    requested_at: String,
    token: u64,
    failures: u32,
    /// What is being fetched: its revision and its files.
    fetching: Option<Artifact>,
    /// What was fetched last.
    artifact: Option<Artifact>,
}

/// A fetched commit.
#[derive(Clone)]
pub(super) struct Artifact {
    /// `main@sha1:..`.
    pub revision: String,
    /// Its files.
    pub branch: Arc<Branch>,
}

/// Why a fetch failed: the reason and the message.
type Failure = (&'static str, String);

impl World {
    /// What a source was last fetched as.
    pub(super) fn artifact(&self, place: &Place) -> Option<Artifact> {
        self.flux.sources.get(place)?.artifact.clone()
    }

    pub(super) fn follow_sources(&mut self) {
        let objects: Vec<_> = self.kubernetes.list(&REPOSITORIES, &Selection::default()).cloned().collect();
        let places: Vec<_> = objects.iter().map(|object| place_of(object)).collect();
        self.flux.sources.retain(|place, _| places.contains(place));
        for (place, object) in places.into_iter().zip(objects) {
            if object["metadata"].get("deletionTimestamp").is_some() {
                self.flux.sources.remove(&place);
                if let Err(refusal) = set_finalizer(&mut self.kubernetes, &REPOSITORIES, &object, false, MANAGER) {
                    self.log(format!("source-controller could not let {} go: {refusal}", place.1));
                }
                continue;
            }
            let uid = object::text(&object, &["metadata", "uid"]).to_owned();
            let source = self.flux.sources.entry(place.clone()).or_default();
            if source.uid != uid {
                *source = Source { uid, ..Source::default() };
            }
            let mut wanted = (object::generation(&object), requested_at(&object).to_owned());
            if wanted.1.is_empty() {
                // A request that was taken away asks for nothing.
                wanted.1.clone_from(&source.requested_at);
            }
            let is_new = source.token == 0 || (source.generation, source.requested_at.clone()) != wanted;
            if is_new && !is_suspended(&object) {
                (source.generation, source.requested_at) = wanted;
                if let Err(refusal) = set_finalizer(&mut self.kubernetes, &REPOSITORIES, &object, true, MANAGER) {
                    self.log(format!("source-controller could not write {}: {refusal}", place.1));
                }
                self.look_at_source(&place);
            }
        }
    }

    /// The controller is down; what it has fetched stays on its disk.
    pub(super) fn forget_sources(&mut self) {
        for source in self.flux.sources.values_mut() {
            (source.token, source.fetching, source.failures) = (0, None, 0);
        }
    }

    pub(super) fn source_is_due(&mut self, place: &Place, token: u64) {
        if self.flux.sources.get(place).is_some_and(|source| source.token == token) {
            self.look_at_source(place);
        }
    }

    /// Asks the repository where the branch stands, and begins to fetch it.
    fn look_at_source(&mut self, place: &Place) {
        let token = self.flux.next_token();
        let Ok(object) = self.kubernetes.get(&REPOSITORIES, &place.0, &place.1).cloned() else { return };
        let outcome = self.head_of(&object);
        let Some(source) = self.flux.sources.get_mut(place) else { return };
        (source.token, source.fetching) = (token, None);
        let poll = FluxEvent::Poll { place: place.clone(), token };
        match outcome {
            Err(failure) => {
                source.failures += 1;
                let doubled = BACK_OFF.0.saturating_mul(1_u32.checked_shl(source.failures - 1).unwrap_or(u32::MAX));
                self.write_source_failure(&object, &failure);
                self.at(self.now() + doubled.min(BACK_OFF.1), Event::Flux(poll));
            }
            Ok(artifact) if source.artifact.as_ref().is_some_and(|known| known.revision == artifact.revision) => {
                source.failures = 0;
                self.write_source_success(&object, &artifact);
                self.at(self.now() + interval(&object), Event::Flux(poll));
            }
            Ok(artifact) => {
                let time = fetch_time(self.draws, place, &artifact.branch.commit);
                source.fetching = Some(artifact);
                let mut status = object["status"].clone();
                let now = self.wall_stamp();
                let generation = object::generation(&object);
                let message = "building artifact: new upstream revision";
                for (kind, state) in [("Reconciling", "True"), ("Ready", "Unknown")] {
                    object::set_condition(&mut status, &now, generation, (kind, state, "Progressing", message));
                }
                self.write_source(&object, status);
                self.at(self.now() + time, Event::Flux(FluxEvent::Fetched { place: place.clone(), token }));
            }
        }
    }

    pub(super) fn source_is_fetched(&mut self, place: &Place, token: u64) {
        let Ok(object) = self.kubernetes.get(&REPOSITORIES, &place.0, &place.1).cloned() else { return };
        let Some(source) = self.flux.sources.get_mut(place).filter(|source| source.token == token) else { return };
        let Some(artifact) = source.fetching.take() else { return };
        source.artifact = Some(artifact.clone());
        source.failures = 0;
        self.write_source_success(&object, &artifact);
        let poll = FluxEvent::Poll { place: place.clone(), token };
        self.at(self.now() + interval(&object), Event::Flux(poll));
    }

    /// Where the branch of a source stands, if the repository lets us in.
    fn head_of(&self, object: &Value) -> Result<Artifact, Failure> {
        let url = object::text(object, &["spec", "url"]);
        let failed = |why: &str| {
            let message = format!("failed to checkout and determine revision: unable to clone '{url}': {why}");
            Err(("GitOperationFailed", message))
        };
        let (mut username, mut password) = (String::new(), String::new());
        let secret = object::text(object, &["spec", "secretRef", "name"]);
        if !secret.is_empty() {
            let namespace = object::namespace(object);
            let pairs = self.pairs("Secret", namespace, secret).map_err(|why| {
                ("AuthenticationFailed", format!("failed to get secret '{namespace}/{secret}': {why}"))
            })?;
            let field = |key: &str| pairs.get(key).cloned().unwrap_or_default();
            (username, password) = (field("username"), field("password"));
            let missing = match (username.is_empty(), password.is_empty()) {
                (false, false) => None,
                (true, _) => Some("username"),
                (_, true) => Some("password"),
            };
            if let Some(key) = missing {
                let why = format!("secret '{namespace}/{secret}': key '{key}' not found");
                return Err(("AuthenticationFailed", format!("failed to configure authentication options: {why}")));
            }
        }
        let Some(path) = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map(|(_, path)| path) else {
            return failed("the URL has no path");
        };
        if self.git.accounts.admit(&username, &password).is_none() {
            return failed("authentication required");
        }
        let Some(repository) = self.git.repository(path) else { return failed("repository not found") };
        if let Some(field) = unknown_field(&object["spec"]) {
            return failed(&format!("`spec.{field}` is not among the features that this house fetches"));
        }
        let reference = &object["spec"]["ref"];
        let other = ["tag", "semver", "name", "commit"].into_iter().find(|field| reference.get(field).is_some());
        if let Some(field) = other {
            return failed(&format!("`spec.ref.{field}` is not among the features that this house fetches"));
        }
        let branch = match object::text(reference, &["branch"]) {
            "" => "master",
            branch => branch,
        };
        match repository.head(branch) {
            Some(head) => {
                let revision = format!("{branch}@sha1:{}", head.commit);
                let known = self.flux.sources.get(&place_of(object)).and_then(|source| source.artifact.as_ref());
                let branch = match known.filter(|known| known.revision == revision) {
                    Some(known) => Arc::clone(&known.branch),
                    None => Arc::new(head.clone()),
                };
                Ok(Artifact { revision, branch })
            }
            None => failed(&format!("couldn't find remote ref \"refs/heads/{branch}\"")),
        }
    }

    fn write_source_failure(&mut self, object: &Value, (reason, message): &Failure) {
        let mut status = object["status"].clone();
        let (now, generation) = (self.wall_stamp(), object::generation(object));
        let progress = "reconciliation in progress";
        for condition in [
            ("Reconciling", "True", "ProgressingWithRetry", progress),
            ("FetchFailed", "True", reason, message.as_str()),
            ("Ready", "False", reason, message),
        ] {
            object::set_condition(&mut status, &now, generation, condition);
        }
        status["lastHandledReconcileAt"] = json!(requested_at(object));
        self.write_source(object, status);
    }

    fn write_source_success(&mut self, object: &Value, artifact: &Artifact) {
        let mut status = object["status"].clone();
        let (now, generation) = (self.wall_stamp(), object::generation(object));
        let revision = &artifact.revision;
        let message = format!("stored artifact for revision '{revision}'");
        for kind in ["Reconciling", "FetchFailed"] {
            object::remove_condition(&mut status, kind);
        }
        for kind in ["Ready", "ArtifactInStorage"] {
            object::set_condition(&mut status, &now, generation, (kind, "True", "Succeeded", &message));
        }
        status["observedGeneration"] = json!(generation);
        let token = requested_at(object);
        if !token.is_empty() {
            status["lastHandledReconcileAt"] = json!(token);
        }
        if status["artifact"]["revision"] != **revision {
            let (namespace, name) = (object::namespace(object), object::name(object));
            let path = format!("gitrepository/{namespace}/{name}/{}.tar.gz", artifact.branch.commit);
            let digest = hex::encode(Sha256::digest(&artifact.branch.commit));
            status["artifact"] = json!({
                "revision": revision,
                "digest": format!("sha256:{digest}"),
                "path": path,
                "url": format!("http://source-controller.flux-system.svc.cluster.local./{path}"),
                "lastUpdateTime": now,
                "size": artifact.branch.files.values().map(Vec::len).sum::<usize>(),
            });
        }
        self.write_source(object, status);
    }

    fn write_source(&mut self, object: &Value, mut status: Value) {
        if status["lastHandledReconcileAt"] == "" {
            status.as_object_mut().map(|fields| fields.remove("lastHandledReconcileAt"));
        }
        // Read again: the finalizer may have been added since.
        let Ok(live) = self.kubernetes.get(&REPOSITORIES, object::namespace(object), object::name(object)).cloned()
        else {
            return;
        };
        if let Err(refusal) = write_status(&mut self.kubernetes, &live, status, MANAGER) {
            self.log(format!("source-controller could not write {}: {refusal}", object::name(object)));
        }
    }

    /// The wall time as conditions have it.
    pub(crate) fn wall_stamp(&self) -> String {
        let seconds = i64::try_from(self.wall().as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
    }
}

/// A field of a source's specification that is not known here.
fn unknown_field(spec: &Value) -> Option<&str> {
    const KNOWN: [&str; 7] = ["interval", "provider", "ref", "secretRef", "suspend", "timeout", "url"];
    spec.as_object()?.keys().map(String::as_str).find(|field| !KNOWN.contains(field))
}

/// How long the first fetch of a commit takes, for one source.
pub(super) fn fetch_time(draws: Draws, place: &Place, commit: &str) -> Duration {
    draws.duration(Latency::GIT_FETCH, &format!("{}/{}", place.0, place.1), &format!("fetch {commit}"), 0)
}

/// Namespace and name of an object.
pub(super) fn place_of(object: &Value) -> Place {
    (object::namespace(object).to_owned(), object::name(object).to_owned())
}
