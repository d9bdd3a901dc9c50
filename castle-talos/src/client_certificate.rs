//! Certificates of administrators, signed offline by the bundle's authorities.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use castle_core::node::NodeSite;
use castle_core::{Env, Error, ErrorKind, Result, Secret, SecretText};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::SecretsBundle;
use crate::authority::{self, Authority, CERTIFICATE, ED25519_KEY, ED25519_PKCS8};

/// One year of 365 days, as Talos gives its own.
const LIFETIME: Duration = Duration::from_secs(8760 * 3600);

/// What must be left of a certificate that is handed out again: an operator who
/// asks today wants to work for a while.
const LEFT_MIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// How far the reader's clock may lag behind ours.
const BACKDATE: Duration = Duration::from_secs(10);

/// A certificate and its key, both PEM.
pub(crate) struct ClientCertificate {
    pub certificate: String,
    pub key: SecretText,
}

/// Who a certificate is for.
pub(crate) struct Subject {
    /// The user, for Kubernetes.
    pub common_name: Option<&'static str>,
    /// The group, for Kubernetes; the role, for Talos.
    pub organization: &'static str,
}

impl Subject {
    /// Whom Talos obeys in everything: castle itself, and the administrator of a
    /// talosconfig.
    pub const OS_ADMIN: Self = Self { common_name: None, organization: "os:admin" };
    /// Whom Kubernetes obeys in everything.
    pub const KUBERNETES_ADMIN: Self = Self { common_name: Some("admin"), organization: "system:masters" };
}

impl ClientCertificate {
    /// With an ECDSA P-256 key, drawn from the system's chance: ring takes no other.
    pub fn ecdsa(env: &Env, authority: &Authority, subject: &Subject) -> Result<Self> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(authority::failed)?;
        let usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        let certificate = sign(env, authority, subject, &pair, usages)?;
        Ok(Self { certificate, key: authority::ecdsa_pem(&pair)? })
    }

    /// With an Ed25519 key, drawn from the injected chance.
    pub fn ed25519(env: &Env, authority: &Authority, subject: &Subject) -> Result<Self> {
        let der = Secret::new([&ED25519_PKCS8[..], &env.random32()].concat());
        let pair = authority::ed25519_pair(der.expose()).map_err(authority::failed)?;
        let certificate = sign(env, authority, subject, &pair, vec![KeyUsagePurpose::DigitalSignature])?;
        Ok(Self { certificate, key: authority::to_pem(ED25519_KEY, der.expose().clone()) })
    }
}

fn sign(
    env: &Env,
    authority: &Authority,
    subject: &Subject,
    pair: &KeyPair,
    usages: Vec<KeyUsagePurpose>,
) -> Result<String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, subject.organization);
    if let Some(name) = subject.common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.is_ca = IsCa::NoCa;
    params.key_usages = usages;
    // Talos' API wants clientAuth and nothing else.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let mut serial = env.random32()[..16].to_vec();
    // Positive and without a leading zero, so that it always has 16 bytes.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from(serial));
    let began = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now(env));
    params.not_before = began - BACKDATE;
    params.not_after = began + LIFETIME;
    let certificate = params.signed_by(pair, &authority.issuer()?).map_err(authority::failed)?;
    Ok(authority::to_pem(CERTIFICATE, certificate.der().to_vec()).expose().clone())
}

/// Seconds since 1970 by the injected wall clock.
fn now(env: &Env) -> u64 {
    env.clock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Whether a kept certificate, base64 of PEM, is valid now and for 30 days more,
/// and came from this authority.
pub(crate) fn serves_on(env: &Env, authority: &Authority, certificate: &str) -> bool {
    let Some(block) = pem_of(certificate) else { return false };
    let Ok(issuer) = authority::block(&authority.certificate) else { return false };
    let (Ok((_, kept)), Ok((_, issuer))) =
        (X509Certificate::from_der(block.contents()), X509Certificate::from_der(issuer.contents()))
    else {
        return false;
    };
    let seconds = |duration: u64| i64::try_from(duration).unwrap_or(i64::MAX);
    let (now, validity) = (seconds(now(env)), kept.validity());
    kept.issuer() == issuer.subject()
        && validity.not_before.timestamp() <= now
        && validity.not_after.timestamp() - now >= seconds(LEFT_MIN.as_secs())
}

fn pem_of(base64: &str) -> Option<pem::Pem> {
    let bytes = STANDARD.decode(base64).ok()?;
    authority::block(std::str::from_utf8(&bytes).ok()?).ok()
}

/// Base64 of a text, as both forms of credentials carry PEM.
pub(crate) fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

/// The bundle of a site.
pub(crate) fn bundle(site: &NodeSite) -> Result<SecretsBundle> {
    SecretsBundle::parse(&site.bundle).map_err(|problems| {
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::new(ErrorKind::InvalidSpec, format!("the secrets bundle cannot be used: {}", told.join("; ")))
            .hint("restore the bundle in the secret store; nothing else knows this cluster's keys")
    })
}
