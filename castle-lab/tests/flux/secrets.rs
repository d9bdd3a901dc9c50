//! external-secrets: stores that become valid, secrets that are written.

use std::time::Duration;

use castle_lab::git::template::{VAULT_ENVIRONMENT, VAULT_PROJECT, vault_path};
use castle_lab::infisical::Place;
use castle_lab::kube::{Delete, Resource};
use serde_json::{Value, json};

use crate::house::{ESO, House, condition, message, reason};

fn stores() -> Resource {
    Resource::named("external-secrets.io", "clustersecretstores")
}

fn externals() -> Resource {
    Resource::named("external-secrets.io", "externalsecrets")
}

fn store() -> Value {
    let selector = |key: &str| json!({"name": "infisical-identity", "namespace": "external-secrets", "key": key});
    json!({
        "apiVersion": "external-secrets.io/v1",
        "kind": "ClusterSecretStore",
        "metadata": {"name": "vault"},
        "spec": {"provider": {"infisical": {
            "auth": {"universalAuthCredentials": {"clientId": selector("clientId"), "clientSecret": selector("clientSecret")}},
            "secretsScope": {"projectSlug": VAULT_PROJECT, "environmentSlug": VAULT_ENVIRONMENT,
                "secretsPath": vault_path(&crate::house::project())},
        }}},
    })
}

fn external(name: &str, key: &str) -> Value {
    json!({
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "refreshInterval": "1m",
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": "vault"},
            "data": [{"secretKey": "value", "remoteRef": {"key": key}}],
        },
    })
}

/// A house with external-secrets alone.
fn house(has_identity: bool) -> House {
    let mut house = House::new(7);
    house.documents(ESO).into_iter().for_each(|object| drop(house.apply(object)));
    if has_identity {
        identity(&mut house);
    }
    house.apply(store());
    house
}

fn identity(house: &mut House) {
    let (id, secret) = {
        let (id, identity) = house.world.infisical.identity("external-secrets").unwrap();
        (id.to_owned(), identity.client_secret.expose().clone())
    };
    house.secret("external-secrets", "infisical-identity", &[("clientId", &id), ("clientSecret", &secret)]);
}

fn value(house: &House, name: &str) -> Option<String> {
    use base64::Engine as _;
    let secret = house.find(&Resource::SECRETS, "default", name)?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(secret["data"]["value"].as_str()?).unwrap();
    Some(String::from_utf8(bytes).unwrap())
}

#[test]
fn a_store_is_valid_when_the_vault_knows_its_identity() {
    let mut house = house(false);
    let vault = |house: &House| house.find(&stores(), "", "vault").unwrap();
    house.until("a verdict", |house| !condition(&vault(house), "Ready").is_null());
    assert_eq!(reason(&vault(&house)), "InvalidProviderConfig");
    let said = "cannot get Kubernetes secret \"infisical-identity\" from namespace \"external-secrets\": secrets \
                \"infisical-identity\" not found";
    assert_eq!(message(&vault(&house)), said);
    house.secret("external-secrets", "infisical-identity", &[("clientId", "a"), ("clientSecret", "b")]);
    house.until("another verdict", |house| message(&vault(house)).contains("Invalid credentials"));
    identity(&mut house);
    house.until("a valid store", |house| reason(&vault(house)) == "Valid");
    assert_eq!(vault(&house)["status"]["capabilities"], "ReadOnly");
}

#[test]
fn a_secret_is_written_owned_and_refreshed() {
    let mut house = house(true);
    house.apply(external("key", "BLOG_TLS_KEY"));
    let found = |house: &House| house.find(&externals(), "default", "key").unwrap();
    house.until("the secret", |house| reason(&found(house)) == "SecretSynced");
    assert_eq!(value(&house, "key").unwrap(), "the value of BLOG_TLS_KEY");
    let secret = house.find(&Resource::SECRETS, "default", "key").unwrap();
    let owner = &secret["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["uid"]), (&json!("ExternalSecret"), &found(&house)["metadata"]["uid"]));
    // A change in the vault is seen at the next refresh, not before.
    let place = Place::new(VAULT_PROJECT, VAULT_ENVIRONMENT, &vault_path(&house.project));
    house.world.put_secret(&place, "BLOG_TLS_KEY", "another");
    let now = house.world.now();
    house.world.advance_to(now + Duration::from_secs(59));
    assert_eq!(value(&house, "key").unwrap(), "the value of BLOG_TLS_KEY");
    house.world.advance_to(now + Duration::from_secs(61));
    assert_eq!(value(&house, "key").unwrap(), "another");
    // A deleted target comes back.
    house.world.kubernetes.delete(&Resource::SECRETS, "default", "key", &Delete::default()).unwrap();
    house.world.follow();
    house.until("the secret again", |house| value(house, "key").is_some());
}

#[test]
fn a_missing_value_is_said_and_tried_again() {
    let mut house = house(true);
    house.apply(external("other", "NOT_THERE"));
    let found = |house: &House| house.find(&externals(), "default", "other").unwrap();
    house.until("a failure", |house| message(&found(house)).contains("NOT_THERE"));
    assert_eq!(reason(&found(&house)), "SecretSyncedError");
    assert_eq!(value(&house, "other"), None);
    let place = Place::new(VAULT_PROJECT, VAULT_ENVIRONMENT, &vault_path(&house.project));
    house.world.put_secret(&place, "NOT_THERE", "there now");
    house.until("the secret", |house| value(house, "other").is_some());
}
