//! Certificate authorities in the form that Talos makes and reads.

use std::time::{Duration, SystemTime};

use castle_core::{Env, Error, ErrorKind, Result, Secret, SecretText};
use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SerialNumber, SigningKey,
};

/// How long an authority is valid: ten years of 8,760 hours, as Talos counts them.
const LIFETIME: Duration = Duration::from_secs(87_600 * 3600);

pub(crate) const CERTIFICATE: &str = "CERTIFICATE";
pub(crate) const ED25519_KEY: &str = "ED25519 PRIVATE KEY";
const EC_KEY: &str = "EC PRIVATE KEY";
const RSA_KEY: &str = "RSA PRIVATE KEY";
const ANY_KEY: &str = "PRIVATE KEY";

// The parts of the DER of a private key around its bytes; nothing in between varies.
pub(crate) const ED25519_PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const P256_SEC1_HEAD: [u8; 7] = [0x30, 0x77, 2, 1, 1, 4, 0x20];
const P256_SEC1_CURVE: [u8; 17] = [0xa0, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 0xa1, 0x44, 3, 0x42, 0];
const P256_PKCS8_HEAD: [u8; 36] = [
    0x30, 0x81, 0x87, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 3, 1, 7, 4, 0x6d, 0x30, 0x6b, 2, 1, 1, 4, 0x20,
];
const P256_PKCS8_PUBLIC: [u8; 5] = [0xa1, 0x44, 3, 0x42, 0];

/// A certificate authority: its certificate and its key, both PEM.
#[derive(Debug, Clone)]
pub struct Authority {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: SecretText,
}

impl Authority {
    /// An ECDSA P-256 authority for etcd or Kubernetes. Without an
    /// `organization` its subject is empty.
    pub(crate) fn ecdsa(env: &Env, organization: Option<&str>) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let certificate = certify(env, organization, &key)?;
        Ok(Self { certificate, key: ecdsa_pem(&key)? })
    }

    /// An Ed25519 authority for the Talos API.
    pub(crate) fn ed25519(env: &Env, organization: &str) -> Result<Self> {
        // The short form of the key, without the public half that ring adds: the
        // one that Go writes.
        let der = Secret::new([&ED25519_PKCS8[..], &env.random32()].concat());
        let key = ed25519_pair(der.expose()).map_err(failed)?;
        let certificate = certify(env, Some(organization), &key)?;
        Ok(Self { certificate, key: to_pem(ED25519_KEY, der.expose().clone()) })
    }
}

impl Authority {
    /// The authority, ready to sign. Its name is taken from the certificate as it
    /// is encoded there: Go compares names byte by byte.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSpec`] if the pair cannot be used; nothing of it is shown.
    pub(crate) fn issuer(&self) -> Result<Issuer<'static, KeyPair>> {
        let unusable = |why: &str| {
            Error::new(ErrorKind::InvalidSpec, format!("an authority of the secrets bundle {why}"))
                .hint("restore the bundle in the secret store")
        };
        let certificate = block(&self.certificate).map_err(unusable)?;
        let key = block(self.key.expose()).map_err(unusable)?;
        let pair = key_pair(&key)
            .ok_or_else(|| unusable("has a key that castle cannot sign with; it knows Ed25519 and P-256"))?
            .map_err(|_| unusable("has a key that is damaged"))?;
        Issuer::from_ca_cert_der(&certificate.contents().into(), pair)
            .map_err(|_| unusable("has a certificate that cannot be read"))
    }
}

/// A key that signs service account tokens.
pub(crate) fn ecdsa_key() -> Result<SecretText> {
    ecdsa_pem(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?)
}

fn certify(env: &Env, organization: Option<&str>, key: &impl SigningKey) -> Result<String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.key_identifier_method = KeyIdMethod::PreSpecified(env.random32()[..20].to_vec());
    let mut serial = env.random32()[..16].to_vec();
    // Positive and without a leading zero, so that it always has 16 bytes.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from(serial));
    let now = env.clock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now.as_secs());
    params.not_after = params.not_before + LIFETIME;
    let certificate = params.self_signed(key).map_err(failed)?;
    Ok(to_pem(CERTIFICATE, certificate.der().to_vec()).expose().clone())
}

pub(crate) fn failed(error: rcgen::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "a key or certificate could not be made").caused_by(error)
}

pub(crate) fn to_pem(label: &str, der: Vec<u8>) -> SecretText {
    Secret::new(pem::encode_config(&Pem::new(label, der), EncodeConfig::new().set_line_ending(LineEnding::LF)))
}

/// The private and the public half of a P-256 key in either of its forms.
fn p256_halves(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (private, rest) = if let Some(rest) = der.strip_prefix(&P256_SEC1_HEAD) {
        let (private, rest) = rest.split_at_checked(32)?;
        (private, rest.strip_prefix(&P256_SEC1_CURVE)?)
    } else {
        let (private, rest) = der.strip_prefix(&P256_PKCS8_HEAD)?.split_at_checked(32)?;
        (private, rest.strip_prefix(&P256_PKCS8_PUBLIC)?)
    };
    (rest.len() == 65).then_some((private, rest))
}

/// The key as `EC PRIVATE KEY`, the form that names its curve.
pub(crate) fn ecdsa_pem(key: &KeyPair) -> Result<SecretText> {
    let pkcs8 = Secret::new(key.serialize_der());
    let (private, public) = p256_halves(pkcs8.expose())
        .ok_or_else(|| Error::new(ErrorKind::Unexpected, "a new key has not the form of a P-256 key"))?;
    Ok(to_pem(EC_KEY, [&P256_SEC1_HEAD[..], private, &P256_SEC1_CURVE, public].concat()))
}

pub(crate) fn ed25519_pair(pkcs8: &[u8]) -> Result<KeyPair, rcgen::Error> {
    KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.into(), &PKCS_ED25519)
}

/// The one PEM block of a text. The error is a phrase without any of its content.
pub(crate) fn block(text: &str) -> Result<Pem, &'static str> {
    match pem::parse_many(text).as_deref() {
        Ok([block]) => Ok(block.clone()),
        Ok([]) | Err(_) => Err("holds no PEM block"),
        Ok(_) => Err("holds more than one PEM block"),
    }
}

/// Whether a PEM block is a private key that Talos reads. `Some`: why not.
pub(crate) fn complaint_of_key(key: &Pem) -> Option<&'static str> {
    match key.tag() {
        ED25519_KEY | EC_KEY | RSA_KEY | ANY_KEY => None,
        CERTIFICATE => Some("holds a certificate where its key belongs"),
        _ => Some("holds a key of a type that Talos does not read"),
    }
}

/// The key of a PEM block; `None` if it is of a type that Talos does not make for
/// authorities.
fn key_pair(key: &Pem) -> Option<Result<KeyPair, rcgen::Error>> {
    let der = key.contents();
    if der.starts_with(&ED25519_PKCS8[..4]) && key.tag() != EC_KEY {
        return Some(ed25519_pair(der));
    }
    let (private, public) = p256_halves(der)?;
    let pkcs8 = Secret::new([&P256_PKCS8_HEAD[..], private, &P256_PKCS8_PUBLIC, public].concat());
    // ring refuses a public half that does not follow from the private one.
    Some(KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.expose()[..].into(), &PKCS_ECDSA_P256_SHA256))
}

/// Whether `key` is a sound key and the certificate is about it. Judged for
/// Ed25519 and P-256, the types that Talos makes for authorities; a key of
/// another type is taken as it is. `Some`: why not.
pub(crate) fn complaint_of_pair(certificate: &Pem, key: &Pem) -> Option<&'static str> {
    let pair = key_pair(key)?;
    let is_about = |public: &[u8]| certificate.contents().windows(public.len()).any(|window| window == public);
    match pair {
        Ok(pair) if is_about(pair.public_key_raw()) => None,
        Ok(_) => Some("holds a certificate and a key that do not belong together"),
        Err(_) => Some("holds a key that is damaged"),
    }
}
