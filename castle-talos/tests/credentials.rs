//! kubeconfig and talosconfig, minted offline.

mod site;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use castle_core::node::NodeSite;
use castle_core::{Env, Result, SecretText};
use castle_talos::{SecretsBundle, kubeconfig, talosconfig};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use serde_json::Value;
use site::{NEW_YEAR, blue, bundle, env, fortress};
use x509_parser::oid_registry::{OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519};
use x509_parser::prelude::{FromDer, X509Certificate};

const DAY: u64 = 24 * 3600;

type Mint = fn(&Env, &NodeSite, Option<&SecretText>) -> Result<SecretText>;
const BOTH: [(&str, Mint); 2] = [("kubeconfig", kubeconfig::mint), ("talosconfig", talosconfig::mint)];

fn read(text: &SecretText) -> Value {
    serde_saphyr::from_str(text.expose()).expect("YAML")
}

fn decoded(value: &Value) -> pem::Pem {
    let text = STANDARD.decode(value.as_str().expect("a text")).expect("base64");
    pem::parse(String::from_utf8(text).expect("PEM is text")).expect("PEM")
}

/// A server that trusts this authority takes the certificate at this time.
fn is_accepted(authority: &str, certificate: &[u8], at: u64) -> bool {
    let mut roots = RootCertStore::empty();
    let der = pem::parse(authority).expect("PEM").into_contents();
    roots.add(CertificateDer::from(der)).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("roots");
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
    verifier.verify_client_cert(&CertificateDer::from(certificate.to_vec()), &[], at).is_ok()
}

#[test]
fn the_kubeconfig_is_an_administrator_s() {
    let bundle = bundle(1);
    let site = fortress(&bundle);
    let found = read(&kubeconfig::mint(&env(1, NEW_YEAR), &site, None).expect("minted"));
    assert_eq!((found["kind"].as_str(), found["current-context"].as_str()), (Some("Config"), Some("admin@fortress")));
    let cluster = &found["clusters"][0];
    assert_eq!(cluster["name"], "fortress");
    assert_eq!(cluster["cluster"]["server"], "https://192.168.1.210:6443");
    let ca = STANDARD.decode(cluster["cluster"]["certificate-authority-data"].as_str().expect("text")).expect("base64");
    assert!(ca == bundle.kubernetes.certificate.as_bytes());
    let context = &found["contexts"][0];
    assert_eq!(context["name"], "admin@fortress");
    assert_eq!(
        context["context"],
        serde_json::json!({"cluster": "fortress", "namespace": "default", "user": "admin@fortress"})
    );
    let user = &found["users"][0];
    assert_eq!(user["name"], "admin@fortress");
    assert_eq!(decoded(&user["user"]["client-key-data"]).tag(), "EC PRIVATE KEY");

    let block = decoded(&user["user"]["client-certificate-data"]);
    let (_, certificate) = X509Certificate::from_der(block.contents()).expect("a certificate");
    let subject = certificate.subject();
    let one = |mut names: Vec<String>| names.pop().filter(|_| names.is_empty());
    let text = |name: &x509_parser::x509::AttributeTypeAndValue<'_>| name.as_str().expect("text").to_owned();
    assert_eq!(one(subject.iter_organization().map(text).collect()).as_deref(), Some("system:masters"));
    assert_eq!(one(subject.iter_common_name().map(text).collect()).as_deref(), Some("admin"));
    assert_eq!(certificate.public_key().algorithm.algorithm, OID_KEY_TYPE_EC_PUBLIC_KEY);
    let usage = certificate.key_usage().expect("well formed").expect("present").value;
    assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
    check_validity(&certificate);
    assert!(is_accepted(&bundle.kubernetes.certificate, block.contents(), NEW_YEAR));
    assert!(!is_accepted(&bundle.os.certificate, block.contents(), NEW_YEAR));
    assert!(!is_accepted(&bundle.kubernetes.certificate, block.contents(), NEW_YEAR + 366 * DAY));
}

fn check_validity(certificate: &X509Certificate<'_>) {
    let extended = certificate.extended_key_usage().expect("well formed").expect("present").value;
    assert!(extended.client_auth && !extended.server_auth && !extended.any && extended.other.is_empty());
    assert!(!certificate.is_ca());
    let validity = certificate.validity();
    let began = i64::try_from(NEW_YEAR).expect("small");
    assert_eq!(validity.not_before.timestamp(), began - 10);
    assert_eq!(validity.not_after.timestamp(), began + 8760 * 3600);
    assert_eq!(certificate.raw_serial().len(), 16);
}

#[test]
fn the_talosconfig_asks_the_control_planes_and_never_the_vip() {
    let bundle = bundle(2);
    let site = fortress(&bundle);
    let found = read(&talosconfig::mint(&env(2, NEW_YEAR), &site, None).expect("minted"));
    assert_eq!(found["context"], "fortress");
    let context = &found["contexts"]["fortress"];
    assert_eq!(context["endpoints"], serde_json::json!(["192.168.1.211", "192.168.1.212", "192.168.1.213"]));
    let ca = STANDARD.decode(context["ca"].as_str().expect("text")).expect("base64");
    assert!(ca == bundle.os.certificate.as_bytes());
    assert_eq!(decoded(&context["key"]).tag(), "ED25519 PRIVATE KEY");
    let block = decoded(&context["crt"]);
    let (_, certificate) = X509Certificate::from_der(block.contents()).expect("a certificate");
    let names: Vec<_> = certificate.subject().iter_attributes().map(|name| name.as_str().expect("text")).collect();
    assert_eq!(names, ["os:admin"], "one role and no name");
    assert_eq!(certificate.public_key().algorithm.algorithm, OID_SIG_ED25519);
    let usage = certificate.key_usage().expect("well formed").expect("present").value;
    assert!(usage.digital_signature() && !usage.key_encipherment() && !usage.key_cert_sign());
    check_validity(&certificate);
    assert!(is_accepted(&bundle.os.certificate, block.contents(), NEW_YEAR));
}

#[test]
fn what_is_kept_stays_while_it_serves() {
    let (one, other) = (bundle(3), bundle(4));
    let site = fortress(&one);
    for (name, mint) in BOTH {
        let kept = mint(&env(3, NEW_YEAR), &site, None).expect("minted");
        let again = |days: u64, site: &NodeSite, kept: &SecretText| {
            mint(&env(5, NEW_YEAR + days * DAY), site, Some(kept)).expect("minted").expose() == kept.expose()
        };
        assert!(again(0, &site, &kept) && again(335, &site, &kept), "{name}: 30 days are left");
        assert!(!again(336, &site, &kept), "{name}: 29 days are left");
        assert!(!again(400, &site, &kept), "{name}: it has expired");
        assert!(!again(0, &fortress(&other), &kept), "{name}: another life");
        assert!(!again(0, &blue(&one), &kept), "{name}: another endpoint");
        for broken in ["", "hunter2", "a: [", "context: x\ncontexts: {}\n"] {
            assert!(!again(0, &site, &SecretText::from(broken.to_owned())), "{name}: {broken:?}");
        }
        // A clock that was set back: not valid yet.
        assert!(mint(&env(5, NEW_YEAR - DAY), &site, Some(&kept)).expect("minted").expose() != kept.expose(), "{name}");
    }
}

#[test]
fn a_bundle_that_cannot_be_used_is_named_without_its_values() {
    let mut site = blue(&bundle(6));
    let text = String::from_utf8(site.bundle.expose().clone()).expect("YAML");
    let secret = read(&SecretText::from(text.clone()))["cluster"]["secret"].as_str().expect("text").to_owned();
    site.bundle = text.replace(&secret, "hunter2").into_bytes().into();
    for (name, mint) in BOTH {
        let error = mint(&env(7, NEW_YEAR), &site, None).expect_err(name);
        assert_eq!(
            error.to_string(),
            "the secrets bundle cannot be used: cluster.secret: is not the base64 of 32 bytes"
        );
        assert!(!format!("{error:?}{}", error.chain()).contains("hunter2"));
    }
    // An authority whose key castle cannot sign with is as good as none.
    let mut rsa: SecretsBundle = bundle(8);
    rsa.kubernetes.key =
        SecretText::from("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n".to_owned());
    let error = kubeconfig::mint(&env(7, NEW_YEAR), &blue(&rsa), None).expect_err("no such key");
    assert!(error.chain().contains("castle cannot sign with"), "{}", error.chain());
}

/// Only what castle wrote for this cluster may be overwritten, whatever its life.
#[test]
fn a_credential_is_known_as_its_cluster_s_by_any_life_and_nothing_else_is() {
    let (one, another) = (bundle(3), bundle(4));
    let (site, former, other) = (blue(&one), blue(&another), fortress(&one));
    let (name, others) = (&site.project.cluster.name, &other.project.cluster.name);
    let text = |text: &str| castle_core::Secret::new(text.to_owned());
    type IsOf = fn(&castle_core::Name, &SecretText) -> bool;
    let both: [(Mint, IsOf); 2] = [(kubeconfig::mint, kubeconfig::is_of), (talosconfig::mint, talosconfig::is_of)];
    for (mint, is_of) in both {
        let own = mint(&env(3, NEW_YEAR), &site, None).expect("minted");
        assert!(is_of(name, &own) && !is_of(others, &own));
        assert!(is_of(name, &mint(&env(3, NEW_YEAR), &former, None).expect("minted")));
        for foreign in ["", "precious", "a: b", "{}", "[1]", "apiVersion: v1\nkind: Config\n"] {
            assert!(!is_of(name, &text(foreign)), "{foreign}");
        }
    }
    let kube = kubeconfig::mint(&env(3, NEW_YEAR), &site, None).expect("minted");
    let talos = talosconfig::mint(&env(3, NEW_YEAR), &site, None).expect("minted");
    assert!(!kubeconfig::is_of(name, &talos) && !talosconfig::is_of(name, &kube), "each is its own kind");
}
