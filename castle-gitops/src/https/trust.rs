//! Whose certificates are taken, judged by castle's wall clock.

use castle_core::{Clock, options};
use castle_wire::{Judge, Shown};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use x509_parser::time::ASN1Time;

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
        let config = match self {
            Self::System => castle_wire::builder(clock).with_root_certificates(system_roots()?).with_no_client_auth(),
            Self::Authorities(pem) => {
                castle_wire::builder(clock).with_root_certificates(castle_wire::authorities(pem)?).with_no_client_auth()
            }
            Self::Fingerprints(pins) if pins.is_empty() => return Err("pins no fingerprint".into()),
            Self::Fingerprints(pins) => castle_wire::judged(Whose::Pins(pins.clone()), clock).with_no_client_auth(),
            Self::NameOnly => castle_wire::judged(Whose::NameOnly, clock).with_no_client_auth(),
        };
        Ok(castle_wire::finished(config, "http/1.1"))
    }
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

/// Whose certificate is taken, beyond what authorities vouch for.
#[derive(Debug)]
enum Whose {
    Pins(Vec<[u8; 32]>),
    NameOnly,
}

impl Judge for Whose {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error> {
        match self {
            Self::Pins(pins) => {
                let found: [u8; 32] = Sha256::digest(shown.leaf.as_ref()).into();
                if pins.contains(&found) {
                    Ok(())
                } else {
                    Err(CertificateError::ApplicationVerificationFailure.into())
                }
            }
            Self::NameOnly => {
                verify_server_name(&ParsedCertificate::try_from(shown.leaf)?, shown.dialled)?;
                check_time(shown.leaf, shown.now)
            }
        }
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
