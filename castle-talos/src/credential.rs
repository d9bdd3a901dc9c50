//! Who castle is to the nodes of a life.

use std::fmt;

use castle_core::{Env, Secret, SecretBytes};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::client_certificate::{ClientCertificate, Subject};
use crate::{Error, Result, SecretsBundle, authority};

/// An administrator's certificate for one life, and the authorities that the
/// nodes of this life show.
pub(crate) struct Credentials {
    bundle: SecretBytes,
    cluster_id: String,
    os: CertificateDer<'static>,
    kubernetes: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: SecretBytes,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the bundle and signs a new certificate.
    pub(crate) fn of(bundle: &SecretBytes, env: &Env) -> Result<Self> {
        let parsed = SecretsBundle::parse(bundle).map_err(|problems| Error::BadBundle {
            why: problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        })?;
        let made = ClientCertificate::ed25519(env, &parsed.os, &Subject::OS_ADMIN)
            .map_err(|why| Error::BadBundle { why: why.chain() })?;
        Ok(Self {
            bundle: bundle.clone(),
            cluster_id: parsed.cluster_id,
            os: der(&parsed.os.certificate)?.into(),
            kubernetes: der(&parsed.kubernetes.certificate)?.into(),
            certificate: der(&made.certificate)?.into(),
            // The label that Talos gives its keys is not the standard's; its content is.
            key: Secret::new(der(made.key.expose())?),
        })
    }

    /// Whether they are those of `bundle`.
    pub(crate) fn are_of(&self, bundle: &SecretBytes) -> bool {
        self.bundle.same_as(bundle)
    }

    /// The cluster's id. No secret.
    pub(crate) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    pub(crate) fn os_authority(&self) -> &CertificateDer<'static> {
        &self.os
    }

    pub(crate) fn kubernetes_authority(&self) -> &CertificateDer<'static> {
        &self.kubernetes
    }

    /// The certificate chain and the key that castle shows.
    pub(crate) fn client(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivatePkcs8KeyDer::from(self.key.expose().clone());
        (vec![self.certificate.clone()], PrivateKeyDer::Pkcs8(key))
    }
}

/// The content of a PEM block.
fn der(pem: &str) -> Result<Vec<u8>> {
    let block = authority::block(pem).map_err(|why| Error::BadBundle { why: format!("an authority {why}") })?;
    Ok(block.into_contents())
}
