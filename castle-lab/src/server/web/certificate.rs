//! Which certificate an ingress shows: the one of the host that the client asks
//! for, else one of its own making.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use castle_core::Clock;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::pki::WallOf;
use crate::workload::Shown;

/// How long the certificate of an ingress' own making is valid.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Chooses by the name that the client asks for.
#[derive(Debug)]
pub(super) struct Chooser {
    by_host: BTreeMap<String, Arc<CertifiedKey>>,
    own: Arc<CertifiedKey>,
}

impl Chooser {
    /// A chooser among these certificates. One that cannot be used is left out, as
    /// ingress controllers do, and said in the log.
    pub(super) fn of(shown: &[Shown], wall: Duration) -> Result<Self, String> {
        let provider = rustls::crypto::ring::default_provider();
        let mut by_host = BTreeMap::new();
        for Shown { host, certificate, key } in shown {
            match certified(certificate, key, &provider) {
                Ok(usable) => drop(by_host.entry(host.clone()).or_insert(usable)),
                Err(error) => tracing::warn!(host, error, "the certificate of a host cannot be used"),
            }
        }
        Ok(Self { by_host, own: own(wall, &provider)? })
    }

    fn choose(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let name = name.unwrap_or_default().to_ascii_lowercase();
        let wildcard = || self.by_host.get(&format!("*.{}", name.split_once('.')?.1));
        Arc::clone(self.by_host.get(&name).or_else(wildcard).unwrap_or(&self.own))
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name()))
    }
}

/// What a door accepts TLS with.
pub(super) fn serving(chooser: Chooser, clock: &Clock) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(WallOf(clock.clone())))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(chooser));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certified(certificate: &str, key: &str, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, String> {
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| "its certificate is not PEM")?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| "its key is not PEM")?;
    let usable = CertifiedKey::from_der(chain, key, provider).map_err(|error| error.to_string())?;
    Ok(Arc::new(usable))
}

/// The certificate that an ingress makes for itself when it starts.
fn own(wall: Duration, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, String> {
    let made = || -> Result<_, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(vec!["ingress.local".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "default certificate of the ingress");
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(wall.as_secs());
        params.not_after = params.not_before + YEAR;
        let certificate = params.self_signed(&key)?;
        Ok((certificate, key))
    };
    let (certificate, key) = made().map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let usable = CertifiedKey::from_der(vec![certificate.der().clone()], key, provider);
    usable.map(Arc::new).map_err(|error| error.to_string())
}
