//! Whose certificates are taken, judged by castle's wall clock.

use std::sync::Arc;

use castle_core::{Clock, options};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use x509_parser::time::ASN1Time;

use crate::dial::Wall;

/// Whose certificates a server may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Signed by an authority that this machine's system trusts, for the host.
    System,
    /// Signed by one of these authorities, for the host. PEM.
    Authorities(String),
    /// The leaf's SHA-256 is one of these, whatever its name and its time.
    Fingerprints(Vec<[u8; 32]>),
    /// For the host and valid now, whoever signed it. Enough to see that a site is
    /// served; too little to send it a secret.
    NameOnly,
}

impl Trust {
    /// What an option document says: nothing said is [`Trust::System`].
    #[must_use]
    pub fn of(declared: Option<&options::Trust>) -> Self {
        match declared {
            None => Self::System,
            Some(options::Trust::Authorities(pem)) => Self::Authorities(pem.clone()),
            Some(options::Trust::Fingerprints(pins)) => Self::Fingerprints(pins.clone()),
        }
    }

    /// The TLS settings, or why there are none.
    pub(super) fn config(&self, clock: &Clock) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let judge = |judge| Arc::new(Verifier { judge, provider: Arc::clone(&provider) });
        // Never the process default: an embedder may have compiled a second provider in.
        let builder = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(Wall(clock.clone())))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default protocol versions");
        let builder = match self {
            Self::System => builder.with_root_certificates(system_roots()?),
            Self::Authorities(pem) => builder.with_root_certificates(roots(pem)?),
            Self::Fingerprints(pins) if pins.is_empty() => return Err("pins no fingerprint".into()),
            Self::Fingerprints(pins) => {
                builder.dangerous().with_custom_certificate_verifier(judge(Judge::Pins(pins.clone())))
            }
            Self::NameOnly => builder.dangerous().with_custom_certificate_verifier(judge(Judge::NameOnly)),
        };
        let mut config = builder.with_no_client_auth();
        // A resumed session shows no certificate, so a changed one would go unseen.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| "is not PEM that holds certificates".to_owned())?;
        roots.add(certificate).map_err(|why| format!("holds a certificate that cannot be used: {why}"))?;
    }
    if roots.is_empty() { Err("holds no certificate".into()) } else { Ok(roots) }
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems carry some authorities that webpki does not read; the others count.
    roots.add_parsable_certificates(found.certs);
    match found.errors.first() {
        Some(why) if roots.is_empty() => Err(format!("finds no authorities that the system trusts: {why}")),
        None if roots.is_empty() => Err("finds no authorities that the system trusts".into()),
        _ => Ok(roots),
    }
}

#[derive(Debug)]
enum Judge {
    Pins(Vec<[u8; 32]>),
    NameOnly,
}

#[derive(Debug)]
struct Verifier {
    judge: Judge,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.judge {
            Judge::Pins(pins) => {
                let found: [u8; 32] = Sha256::digest(end_entity.as_ref()).into();
                if !pins.contains(&found) {
                    return Err(CertificateError::ApplicationVerificationFailure.into());
                }
            }
            Judge::NameOnly => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                check_time(end_entity, now)?;
            }
        }
        Ok(ServerCertVerified::assertion())
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

fn check_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let bad = || rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).map_err(|_| bad())?;
    let seconds = i64::try_from(now.as_secs()).map_err(|_| bad())?;
    let now = ASN1Time::from_timestamp(seconds).map_err(|_| bad())?;
    let validity = certificate.validity();
    if now < validity.not_before {
        Err(CertificateError::NotValidYet.into())
    } else if now > validity.not_after {
        Err(CertificateError::Expired.into())
    } else {
        Ok(())
    }
}
