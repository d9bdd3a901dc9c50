//! The secrets bundle, with material made at test time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use castle_core::{Clock, Env, Identity, Pace, Secret, SecretBytes, SeededEntropy};
use castle_talos::{Authority, SecretsBundle, TalosIdentity};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519};
use x509_parser::prelude::{FromDer, X509Certificate};

/// 2026-01-01T00:00:00Z.
const NEW_YEAR: u64 = 1_767_225_600;

fn env(seed: u64) -> Env {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(NEW_YEAR);
    Env { clock: Clock::resumed(Pace::Real, Duration::ZERO, wall), entropy: Arc::new(SeededEntropy::new(seed)) }
}

fn bundle(seed: u64) -> SecretsBundle {
    SecretsBundle::generate(&env(seed)).expect("keys can be made")
}

fn text(bundle: &SecretsBundle) -> String {
    String::from_utf8(bundle.to_yaml().expose().clone()).expect("YAML is text")
}

fn told(text: &str) -> Vec<String> {
    let problems = SecretsBundle::parse(&SecretBytes::from(text.as_bytes().to_vec())).expect_err("a bad bundle");
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn authorities_are_those_that_talos_makes() {
    let bundle = bundle(1);
    for (authority, organization, ed25519) in [
        (&bundle.etcd, Some("etcd"), false),
        (&bundle.kubernetes, Some("kubernetes"), false),
        (&bundle.aggregator, None, false),
        (&bundle.os, Some("talos"), true),
    ] {
        let der = pem::parse(&authority.certificate).expect("PEM");
        assert_eq!(der.tag(), "CERTIFICATE");
        let (rest, certificate) = X509Certificate::from_der(der.contents()).expect("a certificate");
        assert!(rest.is_empty());
        let organizations: Vec<_> =
            certificate.subject().iter_organization().map(|name| name.as_str().expect("text")).collect();
        assert_eq!(organizations, organization.into_iter().collect::<Vec<_>>());
        assert_eq!(certificate.subject().iter_attributes().count(), organizations.len());
        assert_eq!(certificate.subject(), certificate.issuer());
        assert!(certificate.is_ca());
        let usage = certificate.key_usage().expect("well formed").expect("present").value;
        assert!(usage.key_cert_sign() && usage.digital_signature() && !usage.crl_sign());
        let extended = certificate.extended_key_usage().expect("well formed").expect("present").value;
        assert!(extended.server_auth && extended.client_auth);
        let validity = certificate.validity();
        assert_eq!(validity.not_before.timestamp(), i64::try_from(NEW_YEAR).expect("small"));
        assert_eq!(validity.not_after.timestamp() - validity.not_before.timestamp(), 87_600 * 3600);
        assert_eq!(certificate.raw_serial().len(), 16);
        let algorithm = &certificate.public_key().algorithm;
        if ed25519 {
            assert_eq!(algorithm.algorithm, OID_SIG_ED25519);
        } else {
            assert_eq!(algorithm.algorithm, OID_KEY_TYPE_EC_PUBLIC_KEY);
            let curve = algorithm.parameters.as_ref().expect("named").as_oid().expect("an oid");
            assert_eq!(curve, OID_EC_P256);
        }
        let key = pem::parse(authority.key.expose()).expect("PEM");
        let (label, length) = if ed25519 { ("ED25519 PRIVATE KEY", 48) } else { ("EC PRIVATE KEY", 121) };
        assert_eq!((key.tag(), key.contents().len()), (label, length));
    }
    let service = pem::parse(bundle.service_account_key.expose()).expect("PEM");
    assert_eq!((service.tag(), service.contents().len()), ("EC PRIVATE KEY", 121));
}

#[test]
fn ids_and_tokens_have_their_forms_and_follow_from_the_seed() {
    let mut ids = BTreeSet::new();
    for seed in 0..20 {
        let (one, two) = (bundle(seed), bundle(seed));
        assert_eq!(one.cluster_id, two.cluster_id);
        assert_eq!(one.trustd_token.expose(), two.trustd_token.expose());
        assert_eq!(URL_SAFE.decode(&one.cluster_id).expect("base64").len(), 32);
        assert_eq!(STANDARD.decode(one.cluster_secret.expose()).expect("base64").len(), 32);
        for token in [&one.bootstrap_token, &one.trustd_token] {
            let (id, secret) = token.expose().split_once('.').expect("a dot");
            assert_eq!((id.len(), secret.len()), (6, 16));
            assert!(token.expose().bytes().all(|b| matches!(b, b'.' | b'0'..=b'9' | b'a'..=b'z')));
        }
        assert_ne!(one.bootstrap_token.expose(), one.trustd_token.expose());
        ids.insert(one.cluster_id);
    }
    assert_eq!(ids.len(), 20);
}

#[test]
fn a_bundle_is_read_back_byte_for_byte() {
    for seed in 0..5 {
        let bundle = bundle(seed);
        let again = SecretsBundle::parse(&bundle.to_yaml()).expect("our own text");
        assert!(again.to_yaml().same_as(&bundle.to_yaml()));
    }
}

#[test]
fn the_port_s_identity_is_the_bundle_s() {
    let bundle = TalosIdentity.generate(&env(7)).expect("keys can be made");
    let id = TalosIdentity.cluster_id(&bundle).expect("our own text");
    assert_eq!(id, self::bundle(7).cluster_id);
    let error = TalosIdentity.cluster_id(&Secret::new(b"cluster: {id: hunter2}".to_vec())).expect_err("no bundle");
    assert_eq!(error.kind().code(), "invalid_spec");
    assert!(error.to_string().contains("cluster.secret: is missing"), "{error}");
    assert!(!format!("{error:?}{}", error.chain()).contains("hunter2"));
}

#[test]
fn a_key_of_another_authority_is_found() {
    let (one, two) = (bundle(1), bundle(2));
    let swapped = |key: &Authority, certificate: &Authority| Authority {
        certificate: certificate.certificate.clone(),
        key: key.key.clone(),
    };
    let mixed = SecretsBundle { etcd: swapped(&two.etcd, &one.etcd), os: swapped(&two.os, &one.os), ..one };
    let complaint = "holds a certificate and a key that do not belong together";
    assert_eq!(told(&text(&mixed)), [format!("certs.etcd: {complaint}"), format!("certs.os: {complaint}")]);
}

#[test]
fn damage_is_named_and_no_value_is_shown() {
    let good = bundle(3);
    let secret = good.cluster_secret.expose().clone();
    let token = good.trustd_token.expose().clone();
    let key = STANDARD.encode(good.etcd.key.expose());
    let damaged_key = {
        let mut block = pem::parse(good.etcd.key.expose()).expect("PEM").into_contents();
        block[20] ^= 1;
        STANDARD.encode(pem::encode(&pem::Pem::new("EC PRIVATE KEY", block)))
    };
    let cases = [
        (&secret, "c2hvcnQ=".to_owned(), "cluster.secret: is not the base64 of 32 bytes"),
        (&token, "UPPER1.0123456789abcdef".to_owned(), "trustdinfo.token: has not the form of a token"),
        (&key, "bm8gcGVt".to_owned(), "certs.etcd: has a `key` that holds no PEM block"),
        (&key, "%%%".to_owned(), "certs.etcd: has a `key` that is not the base64 of PEM"),
        (&key, damaged_key, "certs.etcd: holds a key that is damaged"),
    ];
    for (from, to, wanted) in cases {
        let changed = text(&good).replace(from.as_str(), &format!("{to:?}"));
        assert_eq!(told(&changed), [wanted]);
    }
    for (changed, wanted) in [
        (text(&good).replace("trustdinfo:", "trustedinfo:"), "secrets bundle: unknown key"),
        (text(&good).replace("cluster:", "cluster: {}\ncluster:"), "secrets bundle: a key appears twice (line 1)"),
    ] {
        assert_eq!(told(&changed), [wanted]);
    }
    assert_eq!(told("").len(), 10, "everything is missing");
    let shown = format!("{good:?}");
    for hidden in [&secret, &token, good.etcd.key.expose(), good.service_account_key.expose()] {
        assert!(!shown.contains(hidden.as_str()));
    }
}
