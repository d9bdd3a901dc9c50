//! What an access is made of: secrets that are given in one of three ways, and trust.

use std::path::Path;

use serde::Deserialize;
use serde_saphyr::Spanned;
use uuid::Uuid;

use super::{Sources, refuse};
use crate::options::{GitAccess, MachineIdentity, ProxmoxAccess, Trust};
use crate::value::locator::{UrlPath, is_https};
use crate::value::{self, Findings};
use crate::yaml::place;
use crate::{Secret, SecretText, Span};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProxmoxText {
    url: Spanned<String>,
    token: Option<Spanned<String>>,
    token_file: Option<Spanned<String>>,
    token_env: Option<Spanned<String>>,
    ca: Option<Spanned<String>>,
    ca_file: Option<Spanned<String>>,
    fingerprints: Option<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GitText {
    username: Option<Spanned<String>>,
    password: Option<Spanned<String>>,
    password_file: Option<Spanned<String>>,
    password_env: Option<Spanned<String>>,
    ca: Option<Spanned<String>>,
    ca_file: Option<Spanned<String>>,
    fingerprints: Option<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityText {
    client_id: Option<Spanned<String>>,
    client_id_file: Option<Spanned<String>>,
    client_id_env: Option<Spanned<String>>,
    client_secret: Option<Spanned<String>>,
    client_secret_file: Option<Spanned<String>>,
    client_secret_env: Option<Spanned<String>>,
}

/// The three ways to give a secret, by their keys.
pub(super) type Ways = [(&'static str, Option<Spanned<String>>); 3];

/// The keys of a trust, taken out of the mapping they stand in.
pub(super) struct TrustText {
    pub ca: Option<Spanned<String>>,
    pub ca_file: Option<Spanned<String>>,
    pub fingerprints: Option<Vec<Spanned<String>>>,
}

/// Which of the three ways a trust speaks of.
enum Way {
    Ca(Spanned<String>),
    CaFile(Spanned<String>),
    Fingerprints(Vec<Spanned<String>>),
}

/// Reads accesses: where findings go, and where referred values come from.
pub(super) struct Reader<'a> {
    pub findings: &'a mut Findings,
    pub base: &'a Path,
    pub sources: &'a dyn Sources,
}

impl Reader<'_> {
    pub fn proxmox(&mut self, text: Spanned<ProxmoxText>) -> Option<ProxmoxAccess> {
        let at = place(text.referenced);
        let text = text.value;
        let url_is_good = is_https(&text.url.value, UrlPath::Forbidden);
        if !url_is_good {
            let hint = "write `https://host:8006`, without user, path or query";
            let at = place(text.url.referenced);
            refuse(self.findings, "proxmox.url", "is not the address of an API", hint, at);
        }
        let ways = [("token", text.token), ("token_file", text.token_file), ("token_env", text.token_env)];
        let token = self.token("proxmox", ways, at);
        let trust = TrustText { ca: text.ca, ca_file: text.ca_file, fingerprints: text.fingerprints };
        let trust = self.trust("proxmox", "use the host's /etc/pve/pve-root-ca.pem, or `fingerprints`", trust, at);
        Some(ProxmoxAccess {
            url: Some(text.url.value.trim_end_matches('/').to_owned()).filter(|_| url_is_good)?,
            token: token?,
            trust: trust?,
        })
    }

    pub fn git(&mut self, text: Spanned<GitText>) -> Option<GitAccess> {
        let at = place(text.referenced);
        let text = text.value;
        let username = match text.username {
            // A colon would end the name and begin the password on the wire.
            Some(name) if name.value.is_empty() || name.value.contains([':', '\n']) => {
                let hint = "write a name without `:`; with a token `git` will do";
                refuse(self.findings, "git.username", "is not a user's name", hint, place(name.referenced));
                None
            }
            Some(name) => Some(name.value),
            None => Some("git".to_owned()),
        };
        let ways =
            [("password", text.password), ("password_file", text.password_file), ("password_env", text.password_env)];
        let password = self.secret("git", ways, at).map(|(secret, ..)| secret);
        let trust = TrustText { ca: text.ca, ca_file: text.ca_file, fingerprints: text.fingerprints };
        let trust = self.trust_if_declared("git", trust, at);
        Some(GitAccess { username: username?, password: password?, trust: trust? })
    }

    pub fn identity(&mut self, text: Spanned<IdentityText>) -> Option<MachineIdentity> {
        let at = place(text.referenced);
        let text = text.value;
        let id = [
            ("client_id", text.client_id),
            ("client_id_file", text.client_id_file),
            ("client_id_env", text.client_id_env),
        ];
        let secret = [
            ("client_secret", text.client_secret),
            ("client_secret_file", text.client_secret_file),
            ("client_secret_env", text.client_secret_env),
        ];
        let client_id = self.secret("identity", id, at).map(|(secret, ..)| secret);
        let client_secret = self.secret("identity", secret, at).map(|(secret, ..)| secret);
        Some(MachineIdentity { client_id: client_id?, client_secret: client_secret? })
    }

    /// A secret that is given here, in a file or in a variable, with the key and
    /// the place that gave it.
    pub fn secret(
        &mut self,
        subject: &str,
        ways: Ways,
        at: Option<Span>,
    ) -> Option<(SecretText, String, Option<Span>)> {
        let [here, in_file, _] = ways.each_ref().map(|(key, _)| *key);
        let (key, declared) = value::one_of(self.findings, "invalid-option", subject, ways, at)?;
        let subject = format!("{subject}.{key}");
        let at = place(declared.referenced);
        let found = if key == here {
            Secret::new(declared.value)
        } else if key == in_file {
            // Editors end a file with a line feed that belongs to nobody.
            Secret::new(self.file(&subject, &declared)?.expose().trim().to_owned())
        } else {
            let Some(value) = self.sources.variable(&declared.value) else {
                let hint = format!("export it, or use `{in_file}`");
                refuse(self.findings, &subject, "the environment variable is not set", &hint, at);
                return None;
            };
            Secret::new(value.trim().to_owned())
        };
        if found.expose().trim().is_empty() {
            refuse(self.findings, &subject, "is empty", "give the secret, or leave the mapping out", at);
            return None;
        }
        Some((found, subject, at))
    }

    fn token(&mut self, subject: &str, ways: Ways, at: Option<Span>) -> Option<SecretText> {
        let (found, subject, at) = self.secret(subject, ways, at)?;
        let token = Secret::new(found.expose().trim().to_owned());
        if !is_token(token.expose()) {
            let hint = "write it as `user@realm!name=uuid`; the uuid is shown once, when the token is made";
            refuse(self.findings, &subject, "is not an API token", hint, at);
            return None;
        }
        Some(token)
    }

    /// Reads the file that a key refers to.
    fn file(&mut self, subject: &str, path: &Spanned<String>) -> Option<SecretText> {
        match self.sources.file(&self.base.join(&path.value)) {
            Ok(text) => Some(Secret::new(text)),
            Err(error) => {
                let message = format!("the file cannot be read: {}", error.kind());
                let hint = "write a path that is relative to the folder of this document";
                refuse(self.findings, subject, &message, hint, place(path.referenced));
                None
            }
        }
    }

    /// `Some(None)`: the authorities that the system trusts.
    pub fn trust_if_declared(&mut self, subject: &str, text: TrustText, at: Option<Span>) -> Option<Option<Trust>> {
        if text.ca.is_none() && text.ca_file.is_none() && text.fingerprints.is_none() {
            return Some(None);
        }
        self.trust(subject, "use the authority's certificate, or `fingerprints`", text, at).map(Some)
    }

    fn trust(&mut self, subject: &str, where_from: &str, text: TrustText, at: Option<Span>) -> Option<Trust> {
        let choices = [
            ("ca", text.ca.map(Way::Ca)),
            ("ca_file", text.ca_file.map(Way::CaFile)),
            ("fingerprints", text.fingerprints.map(Way::Fingerprints)),
        ];
        let (key, way) = value::one_of(self.findings, "invalid-option", subject, choices, at)?;
        let subject = format!("{subject}.{key}");
        let (pem, at) = match way {
            Way::Fingerprints(prints) => return self.fingerprints(&subject, &prints, at),
            Way::Ca(text) => (text.value, place(text.referenced)),
            Way::CaFile(path) => (self.file(&subject, &path)?.expose().clone(), place(path.referenced)),
        };
        if !pem.contains("-----BEGIN CERTIFICATE-----") {
            refuse(self.findings, &subject, "holds no certificate in PEM", where_from, at);
            return None;
        }
        Some(Trust::Authorities(pem))
    }

    fn fingerprints(&mut self, subject: &str, texts: &[Spanned<String>], at: Option<Span>) -> Option<Trust> {
        if texts.is_empty() {
            let hint = "declare the SHA-256 of the host's certificate";
            refuse(self.findings, subject, "is empty, so no host could be trusted", hint, at);
            return None;
        }
        let mut prints = Some(Vec::with_capacity(texts.len()));
        for text in texts {
            let bytes = hex::decode(text.value.replace(':', "")).ok();
            let print = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            if print.is_none() {
                let (hint, at) = ("write 32 bytes as `AA:BB:..`", place(text.referenced));
                refuse(self.findings, subject, "is not the SHA-256 of a certificate", hint, at);
            }
            prints = prints.zip(print).map(|(mut prints, print)| {
                prints.push(print);
                prints
            });
        }
        prints.map(Trust::Fingerprints)
    }
}

/// Whether it has the form `user@realm!name=uuid`.
fn is_token(text: &str) -> bool {
    let parts = || {
        let (id, secret) = text.split_once('=')?;
        let (user, name) = id.split_once('!')?;
        let (user, realm) = user.rsplit_once('@')?;
        Some((user, realm, name, secret))
    };
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b':' | b'/'));
    parts().is_some_and(|(user, realm, name, secret)| {
        word(user) && word(realm) && word(name) && Uuid::try_parse(secret).is_ok()
    })
}
