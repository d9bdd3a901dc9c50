//! external-secrets: stores and the secrets they give.
//!
//! The controller acts while the Deployment `external-secrets/external-secrets` is
//! Available. It knows stores of Infisical for the whole cluster, and external
//! secrets that name their keys one by one. What it cannot do (other providers,
//! `dataFrom`, templates with contents) is refused by name, in the status.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::draw::Draws;
use crate::flux::object;
use crate::kube::{Hand, Part, Resource, Selection};
use crate::latency::Latency;
use crate::world::{Event, World};

/// Stores for the whole cluster.
const STORES: Resource = Resource {
    group: std::borrow::Cow::Borrowed("external-secrets.io"),
    plural: std::borrow::Cow::Borrowed("clustersecretstores"),
};
/// External secrets.
const SECRETS: Resource = Resource {
    group: std::borrow::Cow::Borrowed("external-secrets.io"),
    plural: std::borrow::Cow::Borrowed("externalsecrets"),
};
/// The field manager of the controller.
const MANAGER: &str = "external-secrets";
/// The first wait after a failure, and the longest (the controller's rate limiter).
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(7 * 60));
/// How often a store is looked at (`--store-requeue-interval`).
const STORE_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Namespace and name; stores have no namespace.
type Place = (String, String);

/// external-secrets' own memory, beside the objects in the store.
#[derive(Debug, Clone, Default)]
pub struct ExternalSecrets {
    seen: u64,
    is_active: bool,
    known: BTreeMap<(Kind, Place), Known>,
    tokens: u64,
}

/// What the controller looks after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A store.
    Store,
    /// An external secret.
    Secret,
}

/// What it knows of one object.
#[derive(Debug, Clone, Default)]
struct Known {
    uid: String,
    /// What it last acted for: the generation, and the annotations and labels.
    reason: String,
    token: u64,
    failures: u32,
}

/// What is due in external-secrets: an object is looked at, unless it was since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExternalSecretsEvent {
    kind: Kind,
    place: Place,
    token: u64,
}

/// How long a store takes to become valid.
pub(crate) fn store_time(draws: Draws, namespace: &str, name: &str) -> Duration {
    draws.duration(Latency::SECRET_STORE_VALID, &format!("{namespace}/{name}"), "store valid", 0)
}

/// How long an external secret takes to be synced.
pub(crate) fn sync_time(draws: Draws, namespace: &str, name: &str) -> Duration {
    draws.duration(Latency::EXTERNAL_SECRET_SYNC, &format!("{namespace}/{name}"), "secret synced", 0)
}

impl World {
    /// Something is due in external-secrets.
    pub(crate) fn external_secrets_happen(&mut self, event: &ExternalSecretsEvent) {
        let known = self.external_secrets.known.get(&(event.kind, event.place.clone()));
        if !self.external_secrets_are_active() || known.is_none_or(|known| known.token != event.token) {
            return;
        }
        match event.kind {
            Kind::Store => self.judge_store(&event.place),
            Kind::Secret => self.sync_secret(&event.place),
        }
    }

    fn external_secrets_are_active(&self) -> bool {
        self.is_available("external-secrets", "external-secrets")
    }

    /// Draws the consequences of changed objects, and of a controller that came up
    /// or went down.
    pub(crate) fn follow_external_secrets(&mut self) {
        let (revision, is_active) = (self.kubernetes.revision(), self.external_secrets_are_active());
        let (seen, was_active) = (self.external_secrets.seen, self.external_secrets.is_active);
        if (revision, is_active) == (seen, was_active) {
            return;
        }
        (self.external_secrets.seen, self.external_secrets.is_active) = (revision, is_active);
        if revision < seen || !is_active {
            // Another life, or a controller that has forgotten everything.
            self.external_secrets.known.clear();
        }
        if !is_active {
            return;
        }
        let concerns = |resource: &Resource| resource.group == "external-secrets.io" || *resource == Resource::SECRETS;
        let is_woken = is_active != was_active
            || revision < seen
            || match self.kubernetes.changes_after(seen) {
                Ok(mut changes) => changes.any(|change| concerns(&change.resource)),
                Err(_) => true,
            };
        if is_woken {
            self.look_after(Kind::Store);
            self.look_after(Kind::Secret);
        }
    }

    /// Plans the work on what is new or changed.
    fn look_after(&mut self, kind: Kind) {
        let resource = if kind == Kind::Store { &STORES } else { &SECRETS };
        let objects: Vec<_> = self.kubernetes.list(resource, &Selection::default()).cloned().collect();
        let place_of = |object: &Value| (object::namespace(object).to_owned(), object::name(object).to_owned());
        let places: Vec<Place> = objects.iter().map(|object| place_of(object)).collect();
        self.external_secrets.known.retain(|(known, place), _| *known != kind || places.contains(place));
        for (place, object) in places.into_iter().zip(objects) {
            let uid = object::text(&object, &["metadata", "uid"]).to_owned();
            // A missing target is a reason too: the controller watches what it owns.
            let target = target_of(&object);
            let is_missing = kind == Kind::Secret
                && object::is_true(&object, "Ready")
                && self.kubernetes.get(&Resource::SECRETS, &place.0, &target).is_err();
            let metadata = &object["metadata"];
            let reason =
                format!("{} {} {} {is_missing}", metadata["generation"], metadata["annotations"], metadata["labels"]);
            let known = self.external_secrets.known.entry((kind, place.clone())).or_default();
            if known.uid == uid && known.reason == reason {
                continue;
            }
            let was_missing = known.reason.ends_with("true");
            let is_new = known.uid != uid;
            (known.uid, known.reason) = (uid, reason);
            if !is_new && was_missing && !is_missing {
                continue;
            }
            known.failures = 0;
            let time = match kind {
                Kind::Store => store_time(self.draws(), &place.0, &place.1),
                Kind::Secret => sync_time(self.draws(), &place.0, &place.1),
            };
            self.plan_external_secrets(kind, &place, time);
        }
    }

    fn plan_external_secrets(&mut self, kind: Kind, place: &Place, after: Duration) {
        self.external_secrets.tokens += 1;
        let token = self.external_secrets.tokens;
        if let Some(known) = self.external_secrets.known.get_mut(&(kind, place.clone())) {
            known.token = token;
        }
        let event = ExternalSecretsEvent { kind, place: place.clone(), token };
        self.at(self.now() + after, Event::ExternalSecrets(event));
    }

    /// Plans the next look after one that failed, or went well.
    fn plan_next(&mut self, kind: Kind, place: &Place, is_well: bool, interval: Option<Duration>) {
        let Some(known) = self.external_secrets.known.get_mut(&(kind, place.clone())) else { return };
        known.failures = if is_well { 0 } else { known.failures.saturating_add(1) };
        let doubled =
            BACK_OFF.0.saturating_mul(1_u32.checked_shl(known.failures.saturating_sub(1)).unwrap_or(u32::MAX));
        let after = if is_well { interval } else { Some(doubled.min(BACK_OFF.1)) };
        if let Some(after) = after {
            self.plan_external_secrets(kind, place, after);
        }
    }

    /// Whether a store lets its secrets be read.
    fn judge_store(&mut self, place: &Place) {
        let Ok(store) = self.kubernetes.get(&STORES, &place.0, &place.1).cloned() else { return };
        let verdict = self.store_is_valid(&store);
        let mut status = store["status"].clone();
        let now = self.wall_stamp();
        let (state, reason, message) = match &verdict {
            Ok(()) => ("True", "Valid", "store validated".to_owned()),
            Err((reason, why)) => ("False", *reason, why.clone()),
        };
        set_ready(&mut status, &now, (state, reason, &message));
        if verdict.is_ok() {
            status["capabilities"] = json!("ReadOnly");
        }
        self.write_external_secrets(&store, status);
        self.plan_next(Kind::Store, place, verdict.is_ok(), Some(STORE_INTERVAL));
    }

    fn store_is_valid(&self, store: &Value) -> Result<(), (&'static str, String)> {
        let provider = &store["spec"]["provider"];
        let Some(infisical) = provider.get("infisical") else {
            let kinds: Vec<_> = provider.as_object().into_iter().flatten().map(|(kind, _)| kind.as_str()).collect();
            let why = format!("this house has no provider {}", kinds.join(", "));
            return Err(("InvalidStoreConfiguration", why));
        };
        let credentials = &infisical["auth"]["universalAuthCredentials"];
        let read = |field: &str| {
            let selector = &credentials[field];
            let part = |key: &str| object::text(selector, &[key]);
            let (namespace, name, key) = (part("namespace"), part("name"), part("key"));
            let pairs = self.pairs("Secret", namespace, name).map_err(|why| {
                (
                    "InvalidProviderConfig",
                    format!("cannot get Kubernetes secret \"{name}\" from namespace \"{namespace}\": {why}"),
                )
            })?;
            pairs.get(key).cloned().ok_or_else(|| {
                let why = format!("cannot find secret data for key: \"{key}\" in secret \"{namespace}/{name}\"");
                ("InvalidProviderConfig", why)
            })
        };
        let (client_id, client_secret) = (read("clientId")?, read("clientSecret")?);
        if self.infisical.identity_is_valid(&client_id, &client_secret) {
            Ok(())
        } else {
            let why = "failed to authenticate via universal auth: status-code=401 \"Invalid credentials\"";
            Err(("InvalidProviderConfig", why.to_owned()))
        }
    }

    /// Reads what an external secret asks for, and writes the Secret.
    fn sync_secret(&mut self, place: &Place) {
        let Ok(external) = self.kubernetes.get(&SECRETS, &place.0, &place.1).cloned() else { return };
        let synced = self.read_values(&external).and_then(|values| self.write_target(&external, &values));
        let mut status = external["status"].clone();
        let now = self.wall_stamp();
        match &synced {
            Ok(()) => {
                set_ready(&mut status, &now, ("True", "SecretSynced", "secret synced"));
                status["refreshTime"] = json!(now);
                status["syncedResourceVersion"] = json!(format!("{}-castle", object::generation(&external)));
                status["binding"] = json!({"name": target_of(&external)});
            }
            Err(why) => {
                self.log(format!("external secret {}/{} is not synced: {why}", place.0, place.1));
                set_ready(&mut status, &now, ("False", "SecretSyncedError", why));
            }
        }
        self.write_external_secrets(&external, status);
        let is_once = external["spec"]["refreshPolicy"] == "CreatedOnce";
        let interval = object::duration(object::text(&external, &["spec", "refreshInterval"]));
        let interval = interval.filter(|interval| !interval.is_zero() && !is_once);
        self.plan_next(Kind::Secret, place, synced.is_ok(), interval);
    }

    fn read_values(&self, external: &Value) -> Result<BTreeMap<String, String>, String> {
        let spec = &external["spec"];
        let unknown = |what: &str| Err(format!("`{what}` is not among the features of this house"));
        if spec.get("dataFrom").is_some() {
            return unknown("dataFrom");
        }
        let contents = ["data", "templateFrom"].into_iter().find(|key| spec["target"]["template"].get(key).is_some());
        if let Some(field) = contents {
            return unknown(&format!("target.template.{field}"));
        }
        let reference = &spec["secretStoreRef"];
        let (kind, name) = (object::kind(reference), object::text(reference, &["name"]));
        if kind != "ClusterSecretStore" {
            return unknown(&format!("secretStoreRef.kind: {kind}"));
        }
        let store = self.kubernetes.get(&STORES, "", name).map_err(|_| {
            format!("could not get {kind} \"{name}\", ClusterSecretStore.external-secrets.io \"{name}\" not found")
        })?;
        if !object::is_true(store, "Ready") {
            return Err(format!("the desired SecretStore {name} is not ready"));
        }
        let scope = &store["spec"]["provider"]["infisical"]["secretsScope"];
        let part = |key: &str| object::text(scope, &[key]);
        let mut values = BTreeMap::new();
        for entry in spec["data"].as_array().into_iter().flatten() {
            let key = object::text(entry, &["remoteRef", "key"]);
            let (folder, secret) = remote(part("secretsPath"), key);
            let value = self.infisical.value(part("projectSlug"), part("environmentSlug"), &folder, &secret);
            let value =
                value.ok_or_else(|| format!("could not get secret data from provider: secret \"{key}\" not found"))?;
            values.insert(object::text(entry, &["secretKey"]).to_owned(), value.to_owned());
        }
        Ok(values)
    }

    fn write_target(&mut self, external: &Value, values: &BTreeMap<String, String>) -> Result<(), String> {
        let target = &external["spec"]["target"];
        let template = &target["template"];
        let data: BTreeMap<_, _> = values.iter().map(|(key, value)| (key, STANDARD.encode(value))).collect();
        let kind = match object::text(template, &["type"]) {
            "" => "Opaque",
            kind => kind,
        };
        let mut secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": target_of(external),
                "namespace": object::namespace(external),
                "labels": {"reconcile.external-secrets.io/managed": "true"},
            },
            "type": kind,
            "data": data,
        });
        for home in ["labels", "annotations"] {
            for (key, value) in template["metadata"][home].as_object().into_iter().flatten() {
                secret["metadata"][home][key] = value.clone();
            }
        }
        match object::text(target, &["creationPolicy"]) {
            "" | "Owner" => {
                secret["metadata"]["ownerReferences"] = json!([{
                    "apiVersion": external["apiVersion"],
                    "kind": "ExternalSecret",
                    "name": object::name(external),
                    "uid": external["metadata"]["uid"],
                    "controller": true,
                    "blockOwnerDeletion": true,
                }]);
            }
            "Orphan" => {}
            policy => return Err(format!("`target.creationPolicy: {policy}` is not among the features of this house")),
        }
        let hand = Hand::of(format!("externalsecrets.external-secrets.io/{}", object::name(external))).forcing();
        self.kubernetes.apply(secret, &hand).map(drop).map_err(|refusal| refusal.message)
    }

    fn write_external_secrets(&mut self, object: &Value, status: Value) {
        let mut object = object.clone();
        object["status"] = status;
        if let Err(refusal) = self.kubernetes.update(object, Part::Status, &Hand::of(MANAGER)) {
            self.log(format!("external-secrets could not write a status: {refusal}"));
        }
    }
}

/// The Secret that an external secret makes.
fn target_of(external: &Value) -> String {
    match object::text(external, &["spec", "target", "name"]) {
        "" => object::name(external).to_owned(),
        name => name.to_owned(),
    }
}

/// Folder and name of a key: `FOO` is under the store's path, `/a/FOO` is absolute.
fn remote(home: &str, key: &str) -> (String, String) {
    let (folder, name) = key.rsplit_once('/').unwrap_or(("", key));
    let folder = match (key.starts_with('/'), folder) {
        (true, folder) => format!("/{}", folder.trim_matches('/')),
        (false, "") => home.to_owned(),
        (false, folder) => format!("{}/{folder}", home.trim_end_matches('/')),
    };
    (folder, name.to_owned())
}

fn set_ready(status: &mut Value, now: &str, (state, reason, message): (&str, &str, &str)) {
    object::set_condition(status, now, 0, ("Ready", state, reason, message));
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        // external-secrets' conditions know no generation.
        condition.as_object_mut().map(|fields| fields.remove("observedGeneration"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_relative_or_absolute() {
        let found = ["FOO", "/a/FOO", "b/FOO", "/FOO"].map(|key| remote("/castle", key));
        let expected = [("/castle", "FOO"), ("/a", "FOO"), ("/castle/b", "FOO"), ("/", "FOO")];
        assert_eq!(found, expected.map(|(folder, name)| (folder.to_owned(), name.to_owned())));
    }
}
