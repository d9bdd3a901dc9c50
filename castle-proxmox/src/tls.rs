//! Whether the server is the one that was meant.
//!
//! Two ways, both with ring and both by castle's wall clock: the server's leaf
//! is vouched for by given authorities, or its SHA-256 is one of a pinned set.
//! A pin replaces the chain and the name, never the handshake: the server still
//! proves that it holds the key of the certificate it shows. A pinned leaf is
//! accepted past its expiry too, as Proxmox hosts do among themselves: the pin
//! names one key, and `pveupdate` renews in time by making another.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use castle_core::Clock;
use castle_core::options::Trust;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The SHA-256 of a certificate, as Proxmox VE prints it: upper-case hex
/// digits with colons.
///
/// ```
/// let print = castle_proxmox::Fingerprint::from([0xAB; 32]);
/// assert!(print.to_string().starts_with("AB:AB:"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate.as_ref()).into())
    }

    pub(crate) fn list(prints: &[Self]) -> String {
        prints.iter().map(Self::to_string).collect::<Vec<_>>().join(", ")
    }
}

impl From<[u8; 32]> for Fingerprint {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(":")?;
            }
            write!(f, "{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The TLS settings for a server that was declared as `name`.
///
/// `name` is what the certificate is judged by, even when a dial map sends the
/// connection elsewhere.
pub(crate) fn client_config(trust: &Trust, name: ServerName<'static>, clock: &Clock) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let judge = match trust {
        Trust::Authorities(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|_| bad("is not PEM that holds certificates"))?;
                roots.add(certificate).map_err(|why| bad(format!("holds a certificate that cannot be used: {why}")))?;
            }
            if roots.is_empty() {
                return Err(bad("holds no certificate"));
            }
            let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .map_err(|why| bad(format!("cannot be used: {why}")))?;
            Judge::Authorities { inner, name }
        }
        Trust::Fingerprints(pins) if pins.is_empty() => return Err(bad("pins no fingerprint")),
        Trust::Fingerprints(pins) => Judge::Pins(pins.iter().copied().map(Fingerprint::from).collect()),
    };
    let verifier = Arc::new(Verifier { judge, provider: provider.clone() });
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(WallClock(clock.clone())))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default protocol versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // A resumed session shows no certificate, so a changed one would go unseen.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn bad(why: impl Into<String>) -> Error {
    Error::BadOption { option: "proxmox.trust", why: why.into() }
}

/// Castle's wall clock, which a lab may set to another year.
#[derive(Debug)]
struct WallClock(Clock);

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.wall().duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

#[derive(Debug)]
enum Judge {
    Authorities { inner: Arc<WebPkiServerVerifier>, name: ServerName<'static> },
    Pins(Vec<Fingerprint>),
}

#[derive(Debug)]
struct Verifier {
    judge: Judge,
    provider: Arc<CryptoProvider>,
}

/// Why a certificate was refused; found again in the chain of a transport error.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Distrust {
    #[error("the certificate {found} is not a pinned one")]
    Changed { expected: Vec<Fingerprint>, found: Fingerprint },
    #[error("the certificate {found} is refused: {why}")]
    Refused { found: Fingerprint, why: String },
}

/// Looks for an error of one type among the causes of a transport error.
pub(crate) fn among_causes<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<T>() {
            return Some(found);
        }
        next = match (cause.downcast_ref::<rustls::Error>(), cause.downcast_ref::<std::io::Error>()) {
            (Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner)))), _) => {
                Some(inner.as_ref() as _)
            }
            // `io::Error::source` skips the error that it wraps.
            (None, Some(io)) => io.get_ref().map(|inner| inner as _),
            _ => cause.source(),
        };
    }
    None
}

impl From<Distrust> for rustls::Error {
    fn from(distrust: Distrust) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(distrust))))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _dialled: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = Fingerprint::of(end_entity);
        match &self.judge {
            Judge::Pins(pins) if pins.contains(&found) => Ok(ServerCertVerified::assertion()),
            Judge::Pins(pins) => Err(Distrust::Changed { expected: pins.clone(), found }.into()),
            Judge::Authorities { inner, name } => inner
                .verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
                .map_err(|why| Distrust::Refused { found, why: why.to_string() }.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
