//! Certificates that nodes make: fresh ones in maintenance, and those that the
//! authorities of a machine configuration sign.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use castle_core::Clock;
use rcgen::{
    Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::config::Authority;
use crate::pki::WallOf;

/// The name that every node in maintenance shows.
pub const MAINTENANCE: &str = "maintenance-service.talos.dev";

/// How long a node's own certificates are valid. They are made anew after half.
pub const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The head and the middle of an `EC PRIVATE KEY` of the curve P-256.
const SEC1_HEAD: [u8; 7] = [0x30, 0x77, 2, 1, 1, 4, 0x20];
const SEC1_PUBLIC: usize = SEC1_HEAD.len() + 32 + 12;
const PKCS8_HEAD: [u8; 36] = [
    0x30, 0x81, 0x87, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 3, 1, 7, 4, 0x6d, 0x30, 0x6b, 2, 1, 1, 4, 0x20,
];

/// Whom a server lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// Everybody; nobody is asked for a certificate.
    Anybody,
    /// Whoever has a certificate of the authority, and strangers as anonymous.
    Known,
    /// Only whoever has a certificate of the authority.
    Required,
}

/// What a server's certificate says.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The common name.
    pub name: String,
    /// Its DNS names.
    pub names: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A server of its own making, as a node in maintenance has it.
///
/// # Errors
///
/// What the library says against it.
pub fn self_signed(subject: &Subject, clock: &Clock, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, String> {
    let key = KeyPair::generate_for(&PKCS_ED25519).map_err(|error| error.to_string())?;
    let certificate =
        params(subject, since_epoch(clock), LIFETIME)?.self_signed(&key).map_err(|error| error.to_string())?;
    server(vec![certificate.der().clone()], &key, None, Clients::Anybody, clock, protocols)
}

/// A server whose certificate the authority signs, and whose clients it judges.
///
/// # Errors
///
/// A sentence if the authority has no key, or one that cannot be read.
pub fn signed(
    authority: &Authority,
    subject: &Subject,
    clients: Clients,
    clock: &Clock,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, String> {
    let (certificate, key) = issue(authority, subject, since_epoch(clock), LIFETIME)?;
    let root = certificate_of(authority)?;
    server(vec![certificate.der().clone()], &key, Some(root), clients, clock, protocols)
}

/// A server's certificate and its key that the authority signs, valid for
/// `lifetime` after `wall`, the time since 1970.
///
/// # Errors
///
/// A sentence if the authority has no key, or one that cannot be read.
pub fn issue(
    authority: &Authority,
    subject: &Subject,
    wall: Duration,
    lifetime: Duration,
) -> Result<(Certificate, KeyPair), String> {
    let root = certificate_of(authority)?;
    let issuer_key = key_of(authority)?;
    let algorithm = issuer_key.algorithm();
    let key = KeyPair::generate_for(algorithm).map_err(|error| error.to_string())?;
    let issuer = Issuer::from_ca_cert_der(&root, issuer_key).map_err(|error| error.to_string())?;
    let certificate = params(subject, wall, lifetime)?.signed_by(&key, &issuer).map_err(|error| error.to_string())?;
    Ok((certificate, key))
}

fn since_epoch(clock: &Clock) -> Duration {
    clock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The organizations and the common name in a client's certificate.
#[must_use]
pub fn identity_of(certificate: &CertificateDer<'_>) -> (Vec<String>, Option<String>) {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return (Vec::new(), None) };
    let subject = parsed.subject();
    let organizations = subject.iter_organization().filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
    let name = subject.iter_common_name().find_map(|name| name.as_str().ok()).map(str::to_owned);
    (organizations, name)
}

fn params(subject: &Subject, wall: Duration, lifetime: Duration) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::new(subject.names.clone()).map_err(|error| error.to_string())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject.name.as_str());
    params.subject_alt_names.extend(subject.addresses.iter().copied().map(SanType::IpAddress));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(wall.as_secs());
    // A minute of grace, for clients whose clock is behind.
    params.not_before = now - Duration::from_secs(60);
    params.not_after = now + lifetime;
    Ok(params)
}

fn server(
    chain: Vec<CertificateDer<'static>>,
    key: &KeyPair,
    root: Option<CertificateDer<'static>>,
    clients: Clients,
    clock: &Clock,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let private_key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let builder = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(WallOf(clock.clone())))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = match (clients, root) {
        (Clients::Anybody, _) | (_, None) => builder.with_no_client_auth(),
        (_, Some(root)) => {
            let mut roots = RootCertStore::empty();
            roots.add(root).map_err(|error| error.to_string())?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if clients == Clients::Known { verifier.allow_unauthenticated() } else { verifier };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| error.to_string())?)
        }
    }
    .with_single_cert(chain, private_key)
    .map_err(|error| error.to_string())?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The authority's certificate.
///
/// # Errors
///
/// A sentence if there is none.
pub fn certificate_of(authority: &Authority) -> Result<CertificateDer<'static>, String> {
    let block = pem::parse(&authority.certificate).map_err(|_| "the authority has no certificate".to_owned())?;
    Ok(CertificateDer::from(block.into_contents()))
}

fn key_of(authority: &Authority) -> Result<KeyPair, String> {
    let text = authority.key.as_ref().ok_or("the authority has no key")?;
    let block = pem::parse(text.expose()).map_err(|_| "the authority's key is no PEM".to_owned())?;
    let der = block.contents();
    let pkcs8 = match der.strip_prefix(&SEC1_HEAD) {
        Some(rest) if der.len() > SEC1_PUBLIC => {
            [&PKCS8_HEAD[..], &rest[..32], &[0xa1, 0x44, 3, 0x42, 0], &der[der.len() - 65..]].concat()
        }
        _ => der.to_vec(),
    };
    [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256]
        .into_iter()
        .find_map(|algorithm| KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.as_slice().into(), algorithm).ok())
        .ok_or_else(|| "the authority's key is neither Ed25519 nor P-256".to_owned())
}
