//! Who may talk to the API server, and how it proves itself.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::refusal::Refusal;

/// The certificates of an API server. The node's model sets it when the API
/// server of a control plane comes up.
#[derive(Clone, PartialEq, Eq)]
pub struct KubeIdentity {
    /// The Kubernetes authority: it signed the server's certificate, and client
    /// certificates must come from it.
    pub ca_pem: String,
    /// The server's certificate, with the addresses of the node and the VIP.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: String,
}

impl fmt::Debug for KubeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeIdentity").finish_non_exhaustive()
    }
}

impl KubeIdentity {
    /// Reads the certificates, for a door that accepts with them.
    ///
    /// `time` judges the validity of client certificates.
    ///
    /// # Errors
    ///
    /// What rustls says of certificates or a key that cannot be used.
    pub fn door(&self, time: Arc<dyn TimeProvider>) -> Result<KubeDoor, rustls::Error> {
        let unreadable = |what: &str| rustls::Error::General(format!("the API server's {what} is not PEM"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(self.ca_pem.as_bytes()) {
            roots.add(authority.map_err(|_| unreadable("authority"))?)?;
        }
        let chain = CertificateDer::pem_slice_iter(self.cert_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| unreadable("certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(|_| unreadable("key"))?;
        let judge = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let mut config = ServerConfig::builder_with_details(provider, Arc::clone(&time))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(AnyClient(Arc::clone(&judge))))
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(KubeDoor { config: Arc::new(config), judge, time })
    }
}

/// How one API server accepts connections.
#[derive(Clone)]
pub struct KubeDoor {
    /// The configuration to accept TLS with. It asks for a client certificate
    /// and takes any, or none, as Kubernetes does: who is not known by it is
    /// told so by a status and not by a broken handshake.
    pub config: Arc<ServerConfig>,
    judge: Arc<dyn ClientCertVerifier>,
    time: Arc<dyn TimeProvider>,
}

impl fmt::Debug for KubeDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeDoor").finish_non_exhaustive()
    }
}

impl KubeDoor {
    /// Who the client is by the certificates that it showed in its handshake.
    ///
    /// # Errors
    ///
    /// 401 if they are not from this cluster's authority, or not valid now.
    pub fn user(&self, shown: &[CertificateDer<'_>]) -> Result<User, Refusal> {
        let Some((leaf, intermediates)) = shown.split_first() else { return Ok(User::anonymous()) };
        let now = self.time.current_time().ok_or_else(Refusal::unauthorized)?;
        self.judge.verify_client_cert(leaf, intermediates, now).map_err(|_| Refusal::unauthorized())?;
        User::of_certificate(leaf).ok_or_else(Refusal::unauthorized)
    }
}

/// Lets every client certificate pass the handshake whose key the client holds.
#[derive(Debug)]
struct AnyClient(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AnyClient {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The certificate's common name, or `system:anonymous`.
    pub name: String,
    /// The certificate's organisations, and what everybody is.
    pub groups: Vec<String>,
}

impl User {
    /// Somebody without a certificate.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { name: "system:anonymous".into(), groups: vec!["system:unauthenticated".into()] }
    }

    /// Whom a client certificate names: the common name is the user, the
    /// organisations are the groups. `None` if it cannot be read or names nobody.
    #[must_use]
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let mut groups: Vec<_> =
            subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
        groups.push("system:authenticated".into());
        Some(Self { name, groups })
    }

    /// Whether the user may do everything.
    #[must_use]
    pub fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == "system:masters")
    }

    fn is_authenticated(&self) -> bool {
        self.groups.iter().any(|group| group == "system:authenticated")
    }

    /// Judges a request for a path without objects (`/version`, `/api`): health
    /// and version are open to everybody, discovery to everybody with a name.
    ///
    /// # Errors
    ///
    /// 403 in Kubernetes' words.
    pub fn may_read_path(&self, verb: &str, path: &str) -> Result<(), Refusal> {
        const OPEN: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];
        let is_open = OPEN.iter().any(|open| path.trim_end_matches('/') == *open);
        let is_discovery = ["/api", "/apis", "/openapi", "/healthz", "/livez", "/readyz"]
            .iter()
            .any(|tree| path == *tree || path.starts_with(&format!("{tree}/")));
        if self.is_master() || verb == "get" && (is_open || is_discovery && self.is_authenticated()) {
            return Ok(());
        }
        Err(Refusal {
            details: Some(serde_json::json!({})),
            ..Refusal::new(403, "Forbidden", format!("forbidden: User \"{}\" cannot {verb} path \"{path}\"", self.name))
        })
    }
}
