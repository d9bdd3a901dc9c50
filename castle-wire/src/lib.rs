//! What castle's adapters share of TLS.
//!
//! Every connection of castle is judged the same way: with ring and never with the
//! process's default provider (an embedder may have compiled a second one in), by
//! castle's own wall clock (a lab may set it to another year), and without resumed
//! sessions (they show no certificate, so a changed one would go unseen). Whose
//! certificate is taken differs from adapter to adapter: that is a [`Judge`].

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use castle_core::Clock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
    WantsVerifier,
};

/// What a server shows in its handshake.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Its own certificate.
    pub leaf: &'a CertificateDer<'a>,
    /// What is to lead from there to an authority.
    pub intermediates: &'a [CertificateDer<'a>],
    /// The name that was dialled.
    pub dialled: &'a ServerName<'a>,
    /// The stapled answer of the authority, empty if there is none.
    pub ocsp: &'a [u8],
    /// The time by castle's clock.
    pub now: UnixTime,
}

/// Decides whether a server is the one that was meant.
///
/// Whatever it decides, the server still proves in the handshake that it holds the
/// key of the certificate it shows.
pub trait Judge: fmt::Debug + Send + Sync {
    /// Accepts what is shown, or says why not. A reason of one's own goes into
    /// [`refusal`], and is found again by [`among_causes`].
    ///
    /// # Errors
    ///
    /// Why the server is not believed.
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error>;
}

/// A refusal that carries its own reason through the layers of a transport.
pub fn refusal(reason: impl StdError + Send + Sync + 'static) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(reason))))
}

/// The beginning of TLS settings: ring, and castle's wall clock.
#[must_use]
pub fn builder(clock: &Clock) -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_details(Arc::new(ring::default_provider()), Arc::new(WallClock(clock.clone())))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default protocol versions")
}

/// TLS settings in which `judge` decides.
#[must_use]
pub fn judged(judge: impl Judge + 'static, clock: &Clock) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let verifier = Verifier { judge, provider: ring::default_provider() };
    builder(clock).dangerous().with_custom_certificate_verifier(Arc::new(verifier))
}

/// The end of TLS settings: one application protocol, no resumed sessions.
#[must_use]
pub fn finished(mut config: ClientConfig, protocol: &str) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    config
}

/// The authorities of a PEM text.
///
/// # Errors
///
/// What is wrong with the text, to be said after its name: `holds no certificate`.
pub fn authorities(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| "is not PEM that holds certificates".to_owned())?;
        roots.add(certificate).map_err(|why| format!("holds a certificate that cannot be used: {why}"))?;
    }
    if roots.is_empty() { Err("holds no certificate".into()) } else { Ok(roots) }
}

/// Who checks chains up to these authorities, for judges that ask for more.
///
/// # Errors
///
/// Why the authorities cannot be used.
pub fn vouched_by(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, String> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
        .build()
        .map_err(|why| format!("cannot be used: {why}"))
}

/// Looks for an error of one type among the causes of a transport error: a
/// [`refusal`]'s reason, an `io::Error`'s inner error, and every source.
pub fn among_causes<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
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

/// Castle's wall clock.
struct WallClock(Clock);

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.wall().duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

#[derive(Debug)]
struct Verifier<J> {
    judge: J,
    provider: CryptoProvider,
}

impl<J: Judge> ServerCertVerifier for Verifier<J> {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        dialled: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge.judge(&Shown { leaf, intermediates, dialled, ocsp, now })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use castle_core::{Clock, Pace};

    use super::*;

    fn check_authorities(pem: &str, expected: &str) {
        let found = authorities(pem).map(|roots| roots.len().to_string()).unwrap_or_else(|why| why);
        assert_eq!(found, expected);
    }

    #[test]
    fn authorities_are_read_or_refused_in_words() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
        check_authorities(&certificate.pem(), "1");
        check_authorities(&format!("{0}{0}", certificate.pem()), "2");
        check_authorities("", "holds no certificate");
        check_authorities(&key.serialize_pem(), "holds no certificate");
        check_authorities("-----BEGIN CERTIFICATE-----\n!\n", "is not PEM that holds certificates");
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(authorities(broken).is_err_and(|why| why.starts_with("holds a certificate that cannot be used")));
    }

    #[derive(Debug, PartialEq)]
    struct Reason(u8);

    impl fmt::Display for Reason {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "reason {}", self.0)
        }
    }

    impl StdError for Reason {}

    #[test]
    fn a_reason_is_found_again_below_the_transport() {
        let wrapped = io::Error::other(refusal(Reason(7)));
        assert_eq!(among_causes::<Reason>(&wrapped), Some(&Reason(7)));
        assert_eq!(among_causes::<Reason>(&io::Error::other(wrapped)), Some(&Reason(7)));
        assert_eq!(among_causes::<Reason>(&io::Error::other("nothing of ours")), None);
    }

    #[derive(Debug)]
    struct Nobody;

    impl Judge for Nobody {
        fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error> {
            Err(refusal(Reason(shown.leaf.first().copied().unwrap_or(0))))
        }
    }

    #[test]
    fn settings_ask_the_judge_and_resume_nothing() {
        let config = finished(judged(Nobody, &Clock::new(Pace::Real)).with_no_client_auth(), "h2");
        assert_eq!(config.alpn_protocols, [b"h2".to_vec()]);
        assert!(format!("{:?}", config.resumption).contains("NoClientSessionStorage"), "{:?}", config.resumption);
        let verifier = Verifier { judge: Nobody, provider: ring::default_provider() };
        let leaf = CertificateDer::from(vec![9]);
        let name = ServerName::try_from("castle.example").expect("a name");
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1));
        let refused = verifier.verify_server_cert(&leaf, &[], &name, &[], now).expect_err("the judge refuses");
        assert_eq!(among_causes::<Reason>(&refused), Some(&Reason(9)));
    }
}
