//! Whether what answers at a node's address is the node.
//!
//! A configured node of ours shows a certificate that the life's own authority
//! signed for that very address. A node in maintenance has a certificate of
//! nobody: it is known by its common name, and proved by a pin of its key, or,
//! if the operator allows it, by the uuid that it says afterwards. All is judged
//! with ring and by castle's wall clock.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use castle_core::words::heard;
use castle_core::{Clock, ErrorKind};
use castle_wire::{Judge, Shown, refusal};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use crate::credential::Credentials;
use crate::{Error, Result};

/// The common name that a node in maintenance shows.
pub const MAINTENANCE_NAME: &str = "maintenance-service.talos.dev";

/// How a node in maintenance is proved before it is given secrets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum MaintenanceTrust {
    /// Its key is the one that its console shows: SHA-256 of the certificate's
    /// public key (SubjectPublicKeyInfo). For one machine at a time.
    Pin([u8; 32]),
    /// Any key is accepted, and the uuid that the node then says on the same
    /// connection must be that of the machine that was born for it. Somebody on
    /// the wire between castle and the node could say the same uuid.
    OnFirstUse,
}

impl fmt::Debug for MaintenanceTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pin(pin) => f.debug_tuple("Pin").field(&Fingerprint(*pin)).finish(),
            Self::OnFirstUse => f.write_str("OnFirstUse"),
        }
    }
}

/// The SHA-256 of a certificate's public key, printed and read as Talos' console
/// shows it: base64.
///
/// ```
/// use castle_talos::Fingerprint;
///
/// let shown = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=";
/// assert_eq!(shown.parse::<Fingerprint>().unwrap().to_string(), shown);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of a certificate; `None` if it cannot be read.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, read) = X509Certificate::from_der(certificate).ok()?;
        Some(Self(Sha256::digest(read.public_key().raw).into()))
    }
}

impl FromStr for Fingerprint {
    type Err = castle_core::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| {
            castle_core::Error::new(ErrorKind::InvalidSpec, format!("`{text}` is no fingerprint of a key"))
                .hint("copy it from the machine's console: 44 characters that end in `=`")
        })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a certificate was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// The node waits for a configuration, so it has no certificate of ours yet.
    #[error("waits for a configuration")]
    Maintenance,
    /// A node in maintenance shows another key than the pinned one.
    #[error("shows the key {found}, and {pinned} is pinned")]
    OtherKey {
        /// The pin.
        pinned: Fingerprint,
        /// The key shown.
        found: Fingerprint,
    },
    /// The certificate is signed by somebody else's authority.
    #[error("shows the certificate of {subject}, issued by {issuer}, which this cluster's authority did not sign")]
    Foreign {
        /// Whose it is.
        subject: String,
        /// Who signed it.
        issuer: String,
        /// Whether it looks like that of a Talos node of another cluster.
        talos: bool,
    },
    /// The certificate is ours, and for another address.
    #[error("shows a certificate of this cluster that is for another address ({subject})")]
    OtherAddress {
        /// Whose it is.
        subject: String,
    },
    /// The certificate is ours, and not valid at this time.
    #[error("shows a certificate of this cluster that is not valid now: {why}")]
    OtherTime {
        /// What is wrong.
        why: String,
    },
    /// The certificate cannot be read.
    #[error("shows a certificate that cannot be read")]
    Unreadable,
}

impl Distrust {
    /// Whether it may pass with time.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Maintenance | Self::OtherTime { .. })
    }

    pub(crate) fn meaning(&self) -> &'static str {
        match self {
            Self::Maintenance => "the node waits for a configuration",
            Self::OtherKey { .. } => "the node's key is not the pinned one, so nothing was sent",
            Self::Foreign { .. } => "the node's certificate is another cluster's, so nothing was sent",
            Self::OtherAddress { .. } => "another node of the cluster answers at the address",
            Self::OtherTime { .. } => "the node's clock and this one disagree",
            Self::Unreadable => "what answers is no Talos node",
        }
    }

    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::Maintenance => "run the same command again: it looks before it acts",
            Self::OtherKey { .. } => "compare with the fingerprint on the machine's console",
            Self::Foreign { .. } => {
                "find out who has the address; a machine of a former life must be destroyed with its disks"
            }
            Self::OtherAddress { .. } => "two nodes have the same address; compare `castle status` with castle.yaml",
            Self::OtherTime { .. } => "set both clocks by the same time server",
            Self::Unreadable => "find out what listens on port 50000 there",
        }
    }
}

/// The reason in a handshake's error, if it is one of ours.
pub(crate) fn distrust_in(error: &std::io::Error) -> Option<Distrust> {
    castle_wire::among_causes(error).cloned()
}

/// TLS settings for a node of this life at `address`: its certificate is signed
/// by the bundle's Talos authority, ours by the same.
pub(crate) fn ours(credentials: &Credentials, address: IpAddr, clock: &Clock) -> Result<ClientConfig> {
    let judge = Whose::Authority { inner: vouched_by(credentials.os_authority())?, address };
    let (chain, key) = credentials.client();
    let config = castle_wire::judged(judge, clock)
        .with_client_auth_cert(chain, key)
        .map_err(|why| Error::BadBundle { why: format!("its Talos authority cannot sign for castle: {why}") })?;
    Ok(castle_wire::finished(config, "h2"))
}

/// TLS settings for a node in maintenance. No certificate of ours is shown.
pub(crate) fn maintenance(trust: MaintenanceTrust, clock: &Clock) -> ClientConfig {
    castle_wire::finished(castle_wire::judged(Whose::Maintenance(trust), clock).with_no_client_auth(), "h2")
}

/// TLS settings that only judge whether the Kubernetes API at `address` is this
/// cluster's.
pub(crate) fn kubernetes(credentials: &Credentials, address: IpAddr, clock: &Clock) -> Result<ClientConfig> {
    let judge = Whose::Authority { inner: vouched_by(credentials.kubernetes_authority())?, address };
    Ok(castle_wire::finished(castle_wire::judged(judge, clock).with_no_client_auth(), "h2"))
}

fn vouched_by(authority: &CertificateDer<'static>) -> Result<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    let bad = |why: String| Error::BadBundle { why: format!("an authority's certificate is none: {why}") };
    roots.add(authority.clone()).map_err(|why| bad(why.to_string()))?;
    castle_wire::vouched_by(roots).map_err(bad)
}

/// Whose certificate is taken.
#[derive(Debug)]
enum Whose {
    Authority { inner: Arc<WebPkiServerVerifier>, address: IpAddr },
    Maintenance(MaintenanceTrust),
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_common_name().next().and_then(|part| part.as_str().ok()).map(str::to_owned)
}

/// A name as one reads it; Talos' authorities have no common name.
fn readable(name: &X509Name<'_>) -> String {
    let shown = heard(&name.to_string());
    if shown.is_empty() { "nobody".to_owned() } else { shown }
}

fn is_in_maintenance(certificate: &X509Certificate<'_>) -> bool {
    common_name(certificate.subject()).as_deref() == Some(MAINTENANCE_NAME)
}

fn is_of_talos(name: &X509Name<'_>) -> bool {
    name.iter_organization().any(|part| part.as_str().is_ok_and(|text| text == "talos"))
}

fn foreign(certificate: &X509Certificate<'_>) -> Distrust {
    let (subject, issuer) = (readable(certificate.subject()), readable(certificate.issuer()));
    Distrust::Foreign { subject, issuer, talos: is_of_talos(certificate.issuer()) }
}

/// Why `authority` does not accept a certificate for `name`.
fn distrust_of(
    certificate: &CertificateDer<'_>,
    why: &rustls::Error,
    authority: &WebPkiServerVerifier,
    name: &ServerName<'_>,
) -> Distrust {
    let Ok((_, read)) = X509Certificate::from_der(certificate) else { return Distrust::Unreadable };
    let rustls::Error::InvalidCertificate(why) = why else { return foreign(&read) };
    match why {
        _ if is_in_maintenance(&read) => Distrust::Maintenance,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Distrust::OtherAddress { subject: readable(read.subject()) }
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            // The time is judged before the signature: whose it is shows at a time at
            // which it was valid.
            let began = u64::try_from(read.validity().not_before.timestamp()).unwrap_or_default();
            let then = UnixTime::since_unix_epoch(Duration::from_secs(began));
            match authority.verify_server_cert(certificate, &[], name, &[], then) {
                Ok(_) => Distrust::OtherTime { why: why.to_string() },
                Err(_) => foreign(&read),
            }
        }
        _ => foreign(&read),
    }
}

impl Judge for Whose {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error> {
        match self {
            Self::Authority { inner, address } => {
                // By the declared address, wherever a dial map leads.
                let name = ServerName::IpAddress((*address).into());
                inner
                    .verify_server_cert(shown.leaf, shown.intermediates, &name, shown.ocsp, shown.now)
                    .map(drop)
                    .map_err(|why| refusal(distrust_of(shown.leaf, &why, inner, &name)))
            }
            Self::Maintenance(trust) => {
                let Ok((_, read)) = X509Certificate::from_der(shown.leaf) else {
                    return Err(refusal(Distrust::Unreadable));
                };
                if !is_in_maintenance(&read) {
                    return Err(refusal(foreign(&read)));
                }
                let found = Fingerprint(Sha256::digest(read.public_key().raw).into());
                match *trust {
                    MaintenanceTrust::Pin(pin) if pin != found.0 => {
                        Err(refusal(Distrust::OtherKey { pinned: Fingerprint(pin), found }))
                    }
                    MaintenanceTrust::Pin(_) | MaintenanceTrust::OnFirstUse => Ok(()),
                }
            }
        }
    }
}
