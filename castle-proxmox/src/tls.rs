//! Whether the server is the one that was meant.
//!
//! Two ways, both with ring and both by castle's wall clock: the server's leaf
//! is vouched for by given authorities, or its SHA-256 is one of a pinned set.
//! A pin replaces the chain and the name, never the handshake: the server still
//! proves that it holds the key of the certificate it shows. A pinned leaf is
//! accepted past its expiry too, as Proxmox hosts do among themselves: the pin
//! names one key, and `pveupdate` renews in time by making another.

use std::fmt;
use std::sync::Arc;

use castle_core::Clock;
use castle_core::options::Trust;
use castle_wire::{Judge, Shown, refusal};
use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName};
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
    let judge = match trust {
        Trust::Authorities(pem) => {
            let inner = castle_wire::authorities(pem).and_then(castle_wire::vouched_by).map_err(bad)?;
            Whose::Authorities { inner, name }
        }
        Trust::Fingerprints(pins) if pins.is_empty() => return Err(bad("pins no fingerprint")),
        Trust::Fingerprints(pins) => Whose::Pins(pins.iter().copied().map(Fingerprint::from).collect()),
    };
    Ok(castle_wire::finished(castle_wire::judged(judge, clock).with_no_client_auth(), "http/1.1"))
}

fn bad(why: impl Into<String>) -> Error {
    Error::BadOption { option: "proxmox.trust", why: why.into() }
}

/// Whose certificate is taken.
#[derive(Debug)]
enum Whose {
    Authorities { inner: Arc<WebPkiServerVerifier>, name: ServerName<'static> },
    Pins(Vec<Fingerprint>),
}

/// Why a certificate was refused; found again in the chain of a transport error.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Distrust {
    #[error("the certificate {found} is not a pinned one")]
    Changed { expected: Vec<Fingerprint>, found: Fingerprint },
    #[error("the certificate {found} is refused: {why}")]
    Refused { found: Fingerprint, why: String },
}

impl Judge for Whose {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error> {
        let found = Fingerprint::of(shown.leaf);
        match self {
            Self::Pins(pins) if pins.contains(&found) => Ok(()),
            Self::Pins(pins) => Err(refusal(Distrust::Changed { expected: pins.clone(), found })),
            Self::Authorities { inner, name } => inner
                .verify_server_cert(shown.leaf, shown.intermediates, name, shown.ocsp, shown.now)
                .map(drop)
                .map_err(|why| refusal(Distrust::Refused { found, why: why.to_string() })),
        }
    }
}
