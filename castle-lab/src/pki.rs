//! The house's certificate authority and the certificates of its servers.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use castle_core::{Error, ErrorKind, Result, Secret, SecretText};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use sha2::{Digest, Sha256};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The certificate authority of the simulated house.
///
/// Its keys are random in every lab (no library signs with a seed), so nothing
/// that a test compares may contain a key, a certificate or a fingerprint.
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
}

/// What a server shows to its clients.
#[derive(Clone)]
pub struct ServerIdentity {
    /// The configuration to accept TLS with.
    pub config: Arc<ServerConfig>,
    /// The certificate as PEM text.
    pub certificate_pem: String,
    /// SHA-256 of the certificate's DER, in upper-case hex with colons, as
    /// Proxmox prints it.
    pub fingerprint: String,
}

/// A certificate and its key as text, for whoever serves with them elsewhere.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PEM.
    pub key_pem: SecretText,
}

impl Pki {
    /// Makes an authority that is valid from a day before `wall` for ten years.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unexpected`] if no key could be made.
    pub fn new(wall: SystemTime) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, "castle-lab house CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, wall, 3653 * DAY);
        let ca_pem = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), ca_pem })
    }

    /// The authority's certificate as PEM text: what a user would copy from the
    /// house.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Issues a server certificate for these names and addresses, valid from a
    /// day before `wall` for two years.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSpec`] if a name cannot stand in a certificate,
    /// [`ErrorKind::Unexpected`] if no key could be made.
    pub fn server(&self, names: &[String], addresses: &[IpAddr], wall: SystemTime) -> Result<ServerIdentity> {
        self.server_until(names, addresses, wall, 730 * DAY)
    }

    /// Issues a server certificate that runs out `lifetime` after `wall`: a
    /// house that forgot to renew.
    ///
    /// # Errors
    ///
    /// As [`Pki::server`].
    pub fn server_until(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        wall: SystemTime,
        lifetime: Duration,
    ) -> Result<ServerIdentity> {
        let (certificate, key) = self.issue(names, addresses, wall, lifetime)?;
        let private_key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private_key)
            })
            .map_err(|error| {
                Error::new(ErrorKind::Unexpected, "the lab's server certificate does not work").caused_by(error)
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(ServerIdentity {
            config: Arc::new(config),
            certificate_pem: certificate.pem(),
            fingerprint: fingerprint(certificate.der()),
        })
    }

    /// Issues a server certificate for these names, as text with its key, valid
    /// from a day before `wall` for two years.
    ///
    /// # Errors
    ///
    /// As [`Pki::server`].
    pub fn pair(&self, names: &[String], wall: SystemTime) -> Result<Pair> {
        let (certificate, key) = self.issue(names, &[], wall, 730 * DAY)?;
        Ok(Pair { certificate_pem: certificate.pem(), key_pem: Secret::new(key.serialize_pem()) })
    }

    fn issue(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        wall: SystemTime,
        lifetime: Duration,
    ) -> Result<(Certificate, KeyPair)> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        for name in names {
            let ascii = name.as_str().try_into().map_err(|error| {
                Error::new(ErrorKind::InvalidSpec, format!("`{name}` cannot stand in a certificate")).caused_by(error)
            })?;
            params.subject_alt_names.push(SanType::DnsName(ascii));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        if let Some(name) = names.first() {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_validity(&mut params, wall, lifetime);
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok((certificate, key))
    }
}

impl fmt::Debug for Pki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pki").finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// Lets rustls judge certificates by the lab's wall clock instead of the
/// machine's: a virtual year must be able to end a certificate's life.
#[derive(Debug, Clone)]
pub struct WallOf(pub castle_core::clock::Clock);

impl TimeProvider for WallOf {
    fn current_time(&self) -> Option<UnixTime> {
        let since = self.0.wall().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since))
    }
}

/// SHA-256 of a certificate's DER, as Proxmox prints it.
#[must_use]
pub fn fingerprint(der: &[u8]) -> String {
    let digest = Sha256::digest(der);
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

fn set_validity(params: &mut CertificateParams, wall: SystemTime, lifetime: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    // A day of grace before, for clients whose clock is behind.
    params.not_before = epoch + since.saturating_sub(DAY);
    params.not_after = epoch + since + lifetime;
}

fn failed(error: rcgen::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "the lab could not make a certificate").caused_by(error)
}
