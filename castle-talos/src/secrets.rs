//! The secrets bundle of a cluster, in the form of `talosctl gen secrets`.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use castle_core::yaml::{self, Quoting};
use castle_core::{Env, Error, ErrorKind, Identity, Problem, Result, Secret, SecretBytes, SecretText};
use serde::{Deserialize, Serialize};

use crate::authority::{self, Authority};

/// The key that encrypts Kubernetes' secrets in etcd.
#[derive(Debug, Clone)]
pub enum EncryptionSecret {
    /// For XSalsa20 with Poly1305: what new clusters use.
    Secretbox(SecretText),
    /// For AES-CBC: what old clusters use.
    AesCbc(SecretText),
}

/// Everything that makes a cluster itself: id, tokens and authorities.
///
/// Whoever holds it holds the cluster. It outlives machines, and its text is
/// what `talosctl gen secrets` writes and `talosctl gen config --with-secrets`
/// reads, so an operator can go on without castle.
///
/// ```
/// use castle_core::Env;
/// use castle_talos::SecretsBundle;
///
/// let bundle = SecretsBundle::generate(&Env::real()).unwrap();
/// let again = SecretsBundle::parse(&bundle.to_yaml()).unwrap();
/// assert_eq!(again.cluster_id, bundle.cluster_id);
/// ```
#[derive(Debug, Clone)]
pub struct SecretsBundle {
    /// The cluster's id. No secret.
    pub cluster_id: String,
    /// Encrypts what nodes tell the discovery service; base64 of 32 bytes.
    pub cluster_secret: SecretText,
    /// Lets a kubelet join.
    pub bootstrap_token: SecretText,
    /// Encrypts Kubernetes' secrets in etcd; base64 of 32 bytes.
    pub encryption: EncryptionSecret,
    /// Lets a machine join.
    pub trustd_token: SecretText,
    /// Signs etcd's members.
    pub etcd: Authority,
    /// Signs Kubernetes' components and its administrators.
    pub kubernetes: Authority,
    /// Signs the API server's calls to extension servers.
    pub aggregator: Authority,
    /// Signs service account tokens; PEM.
    pub service_account_key: SecretText,
    /// Signs Talos' nodes and its administrators.
    pub os: Authority,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Document {
    cluster: Option<ClusterText>,
    secrets: Option<SecretsText>,
    #[serde(rename = "trustdinfo")]
    trustd: Option<TrustdText>,
    certs: Option<CertsText>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ClusterText {
    id: Option<String>,
    secret: Option<String>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct SecretsText {
    bootstraptoken: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secretboxencryptionsecret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aescbcencryptionsecret: Option<String>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct TrustdText {
    token: Option<String>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct CertsText {
    etcd: Option<PairText>,
    k8s: Option<PairText>,
    k8saggregator: Option<PairText>,
    k8sserviceaccount: Option<PairText>,
    os: Option<PairText>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct PairText {
    #[serde(skip_serializing_if = "Option::is_none")]
    crt: Option<String>,
    key: Option<String>,
}

impl SecretsBundle {
    /// Draws a new bundle: ids, tokens and the Talos key from the injected
    /// chance, ECDSA keys from the system's (ring takes no other). Authorities
    /// are valid for ten years from the clock's wall time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unexpected`] if a key cannot be made.
    pub fn generate(env: &Env) -> Result<Self> {
        Ok(Self {
            // In the URL's alphabet: ids stand in labels, paths and uuids' names.
            cluster_id: URL_SAFE.encode(env.random32()),
            cluster_secret: Secret::new(STANDARD.encode(env.random32())),
            bootstrap_token: token(env),
            encryption: EncryptionSecret::Secretbox(Secret::new(STANDARD.encode(env.random32()))),
            trustd_token: token(env),
            etcd: Authority::ecdsa(env, Some("etcd"))?,
            kubernetes: Authority::ecdsa(env, Some("kubernetes"))?,
            aggregator: Authority::ecdsa(env, None)?,
            service_account_key: authority::ecdsa_key()?,
            os: Authority::ed25519(env, "talos")?,
        })
    }

    /// The bundle as YAML: what [`SecretsBundle::parse`] and `talosctl` read.
    #[must_use]
    pub fn to_yaml(&self) -> SecretBytes {
        let pair = |authority: &Authority| {
            Some(PairText {
                crt: Some(STANDARD.encode(&authority.certificate)),
                key: Some(STANDARD.encode(authority.key.expose())),
            })
        };
        let (secretbox, aescbc) = match &self.encryption {
            EncryptionSecret::Secretbox(secret) => (Some(secret.expose().clone()), None),
            EncryptionSecret::AesCbc(secret) => (None, Some(secret.expose().clone())),
        };
        let document = Document {
            cluster: Some(ClusterText {
                id: Some(self.cluster_id.clone()),
                secret: Some(self.cluster_secret.expose().clone()),
            }),
            secrets: Some(SecretsText {
                bootstraptoken: Some(self.bootstrap_token.expose().clone()),
                secretboxencryptionsecret: secretbox,
                aescbcencryptionsecret: aescbc,
            }),
            trustd: Some(TrustdText { token: Some(self.trustd_token.expose().clone()) }),
            certs: Some(CertsText {
                etcd: pair(&self.etcd),
                k8s: pair(&self.kubernetes),
                k8saggregator: pair(&self.aggregator),
                k8sserviceaccount: Some(PairText {
                    crt: None,
                    key: Some(STANDARD.encode(self.service_account_key.expose())),
                }),
                os: pair(&self.os),
            }),
        };
        // As talosctl lays it out: each value on one line.
        let options = serde_saphyr::ser_options! { indent_step: 4, prefer_block_scalars: false };
        let text = serde_saphyr::to_string_with_options(&document, options).expect("texts in structs are YAML");
        Secret::new(text.into_bytes())
    }

    /// Reads a bundle, castle's or one of `talosctl gen secrets`.
    ///
    /// # Errors
    ///
    /// The first error of syntax, type or key alone; else everything that is
    /// missing or malformed. No problem shows a value.
    pub fn parse(text: &SecretBytes) -> Result<Self, Vec<Problem>> {
        let text = std::str::from_utf8(text.expose())
            .map_err(|_| vec![Problem::error("invalid-secrets", "secrets bundle", "is no text")])?;
        let document: Document = yaml::read(text, "secrets bundle", Quoting::Never).map_err(|problem| vec![problem])?;
        let mut reader = Reader(Vec::new());
        let bundle = reader.bundle(document);
        match bundle {
            Some(bundle) if reader.0.is_empty() => Ok(bundle),
            _ => Err(reader.0),
        }
    }
}

/// Six and sixteen characters of `0-9a-z`, joined by a dot.
fn token(env: &Env) -> SecretText {
    const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut token = String::with_capacity(23);
    while token.len() < 23 {
        for byte in env.random32() {
            // 252 is the last multiple of 36: beyond it some characters would be likelier.
            if byte < 252 && token.len() < 23 {
                token.push(char::from(ALPHABET[usize::from(byte % 36)]));
            }
            if token.len() == 6 {
                token.push('.');
            }
        }
    }
    Secret::new(token)
}

fn is_token(text: &str) -> bool {
    let good = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z'));
    text.split_once('.').is_some_and(|(id, secret)| id.len() == 6 && secret.len() == 16 && good(id) && good(secret))
}

fn is_key_of_32_bytes(text: &str) -> bool {
    STANDARD.decode(text).is_ok_and(|bytes| Secret::new(bytes).expose().len() == 32)
}

/// Reads part after part and keeps what is wrong.
struct Reader(Vec<Problem>);

impl Reader {
    fn refuse(&mut self, subject: &str, message: &str) {
        let hint = "write the bundle anew with `talosctl gen secrets`, or restore it";
        self.0.push(Problem::error("invalid-secrets", subject, message).hint(hint));
    }

    fn bundle(&mut self, document: Document) -> Option<SecretsBundle> {
        let cluster = document.cluster.unwrap_or_default();
        let id =
            self.text("cluster.id", cluster.id, "holds control characters", |id| !id.chars().any(char::is_control));
        let secret = self.text("cluster.secret", cluster.secret, "is not the base64 of 32 bytes", is_key_of_32_bytes);
        let secrets = document.secrets.unwrap_or_default();
        let form = "has not the form of a token";
        let bootstrap_token = self.text("secrets.bootstraptoken", secrets.bootstraptoken, form, is_token);
        let encryption = self.encryption(secrets.secretboxencryptionsecret, secrets.aescbcencryptionsecret);
        let trustd_token = match document.trustd {
            Some(trustd) => self.text("trustdinfo.token", trustd.token, form, is_token),
            None => {
                self.refuse("trustdinfo", "is missing");
                None
            }
        };
        let certs = document.certs.unwrap_or_default();
        let etcd = self.authority("certs.etcd", certs.etcd);
        let kubernetes = self.authority("certs.k8s", certs.k8s);
        let aggregator = self.authority("certs.k8saggregator", certs.k8saggregator);
        let service_account_key = self.service_account("certs.k8sserviceaccount", certs.k8sserviceaccount);
        let os = self.authority("certs.os", certs.os);
        Some(SecretsBundle {
            cluster_id: id?.expose().clone(),
            cluster_secret: secret?,
            bootstrap_token: bootstrap_token?,
            encryption: encryption?,
            trustd_token: trustd_token?,
            etcd: etcd?,
            kubernetes: kubernetes?,
            aggregator: aggregator?,
            service_account_key: service_account_key?,
            os: os?,
        })
    }

    fn text(
        &mut self,
        subject: &str,
        text: Option<String>,
        complaint: &str,
        good: impl FnOnce(&str) -> bool,
    ) -> Option<SecretText> {
        match text.filter(|text| !text.is_empty()).map(Secret::new) {
            None => self.refuse(subject, "is missing"),
            Some(text) if good(text.expose()) => return Some(text),
            Some(_) => self.refuse(subject, complaint),
        }
        None
    }

    fn encryption(&mut self, secretbox: Option<String>, aescbc: Option<String>) -> Option<EncryptionSecret> {
        let form = "is not the base64 of 32 bytes";
        match (secretbox, aescbc) {
            (None, None) => {
                self.refuse("secrets", "has neither `secretboxencryptionsecret` nor `aescbcencryptionsecret`");
                None
            }
            (None, aescbc) => self
                .text("secrets.aescbcencryptionsecret", aescbc, form, |text| STANDARD.decode(text).is_ok())
                .map(EncryptionSecret::AesCbc),
            // Talos prefers it where both are given.
            (secretbox, _) => self
                .text("secrets.secretboxencryptionsecret", secretbox, form, is_key_of_32_bytes)
                .map(EncryptionSecret::Secretbox),
        }
    }

    fn authority(&mut self, subject: &str, pair: Option<PairText>) -> Option<Authority> {
        let Some(pair) = pair else {
            self.refuse(subject, "is missing");
            return None;
        };
        let certificate = decoded(pair.crt, "`crt`").and_then(|(text, block)| {
            if block.tag() == authority::CERTIFICATE {
                Ok((text, block))
            } else {
                Err("has a `crt` that is none".into())
            }
        });
        let key = private_key(pair.key);
        match (certificate, key) {
            (Ok((certificate, certificate_block)), Ok((key, key_block))) => {
                match authority::complaint_of_pair(&certificate_block, &key_block) {
                    None => return Some(Authority { certificate: certificate.expose().clone(), key }),
                    Some(complaint) => self.refuse(subject, complaint),
                }
            }
            (Err(one), Err(two)) => self.refuse(subject, &format!("{one} and {two}")),
            (Err(complaint), Ok(_)) | (Ok(_), Err(complaint)) => self.refuse(subject, &complaint),
        }
        None
    }

    fn service_account(&mut self, subject: &str, pair: Option<PairText>) -> Option<SecretText> {
        let Some(pair) = pair else {
            self.refuse(subject, "is missing");
            return None;
        };
        private_key(pair.key).map(|(text, _)| text).map_err(|complaint| self.refuse(subject, &complaint)).ok()
    }
}

/// Decodes base64 of PEM. The error is a complaint without any of its content.
fn decoded(text: Option<String>, what: &str) -> Result<(SecretText, pem::Pem), String> {
    let text = Secret::new(text.filter(|text| !text.is_empty()).ok_or_else(|| format!("has no {what}"))?);
    let decoded = STANDARD.decode(text.expose()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = Secret::new(decoded.ok_or_else(|| format!("has a {what} that is not the base64 of PEM"))?);
    match authority::block(decoded.expose()) {
        Ok(block) => Ok((decoded, block)),
        Err(complaint) => Err(format!("has a {what} that {complaint}")),
    }
}

fn private_key(text: Option<String>) -> Result<(SecretText, pem::Pem), String> {
    let (text, block) = decoded(text, "`key`")?;
    match authority::complaint_of_key(&block) {
        None => Ok((text, block)),
        Some(complaint) => Err(complaint.to_owned()),
    }
}

/// Makes and reads bundles for castle's lives.
#[derive(Debug, Clone, Copy, Default)]
pub struct TalosIdentity;

impl Identity for TalosIdentity {
    fn generate(&self, env: &Env) -> Result<SecretBytes> {
        SecretsBundle::generate(env).map(|bundle| bundle.to_yaml())
    }

    fn cluster_id(&self, bundle: &SecretBytes) -> Result<String> {
        SecretsBundle::parse(bundle).map(|bundle| bundle.cluster_id).map_err(|problems| {
            let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Error::new(ErrorKind::InvalidSpec, format!("the secrets bundle cannot be used: {}", told.join("; ")))
                .hint("restore the bundle in the secret store; nothing else knows this cluster's keys")
        })
    }
}
