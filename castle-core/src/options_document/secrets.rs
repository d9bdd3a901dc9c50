//! `secrets` of an option document, and how it combines with the wish of a `castle.yaml`.
//!
//! Each key that the option document has wins; a key that says *where* (not how to
//! get in) and that it lacks comes from `castle.yaml`, if both speak of the same
//! kind of store. So a declaration that names a folder of an Infisical project
//! needs no more here than `infisical: {client_id: .., client_secret: ..}`, and a
//! lab that says `memory: true` is not sent to a house's vault.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::access::{Reader, TrustText};
use super::refuse;
use crate::Span;
use crate::options::{InfisicalAccess, SecretsAccess};
use crate::project::SecretsPlace;
use crate::value::locator::{self, UrlPath};
use crate::value::{self, Findings};
use crate::yaml::place;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretsText {
    files: Option<Spanned<String>>,
    infisical: Option<Spanned<InfisicalText>>,
    sops: Option<Spanned<SopsText>>,
    environment: Option<Spanned<EnvironmentText>>,
    memory: Option<Spanned<bool>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InfisicalText {
    url: Option<Spanned<String>>,
    project: Option<Spanned<String>>,
    environment: Option<Spanned<String>>,
    path: Option<Spanned<String>>,
    client_id: Option<Spanned<String>>,
    client_id_file: Option<Spanned<String>>,
    client_id_env: Option<Spanned<String>>,
    client_secret: Option<Spanned<String>>,
    client_secret_file: Option<Spanned<String>>,
    client_secret_env: Option<Spanned<String>>,
    ca: Option<Spanned<String>>,
    ca_file: Option<Spanned<String>>,
    fingerprints: Option<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SopsText {
    folder: Option<Spanned<String>>,
    key: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvironmentText {
    prefix: Option<Spanned<String>>,
}

/// Which of the ways the document speaks of.
enum Way {
    Files(Spanned<String>),
    Infisical(Box<Spanned<InfisicalText>>),
    Sops(Spanned<SopsText>),
    Environment(Spanned<EnvironmentText>),
    Memory(Option<Span>),
}

/// What a `castle.yaml` wishes, and the folder it lies in.
pub(super) type Wish<'a> = Option<(&'a SecretsPlace, &'a Path)>;

impl Reader<'_> {
    /// Where the secrets live.
    pub fn secrets(&mut self, text: Option<Spanned<SecretsText>>, wish: Wish<'_>, lab: bool) -> Option<SecretsAccess> {
        let at = text.as_ref().and_then(|text| place(text.referenced));
        let Some(text) = text.map(|text| text.value).filter(SecretsText::says_something) else {
            return self.as_wished(wish, at);
        };
        let memory = text.memory.filter(|memory| memory.value);
        let choices = [
            ("files", text.files.map(Way::Files)),
            ("infisical", text.infisical.map(|text| Way::Infisical(Box::new(text)))),
            ("sops", text.sops.map(Way::Sops)),
            ("environment", text.environment.map(Way::Environment)),
            ("memory", memory.map(|_| Way::Memory(at))),
        ];
        match value::one_of(self.findings, "invalid-option", "secrets", choices, at)?.1 {
            Way::Files(folder) => self.path("secrets.files", &folder).map(SecretsAccess::Files),
            Way::Infisical(text) => self.infisical(*text, wish),
            Way::Sops(text) => {
                let key = self.path("secrets.sops.key", &text.value.key);
                let folder = match (&text.value.folder, wish) {
                    (Some(folder), _) => self.path("secrets.sops.folder", folder),
                    (None, Some((SecretsPlace::Sops(folder), base))) => Some(base.join(folder)),
                    (None, _) => self.nowhere("secrets.sops", "folder", place(text.referenced)),
                };
                Some(SecretsAccess::Sops { folder: folder?, key: key? })
            }
            Way::Environment(text) => {
                let prefix = match (&text.value.prefix, wish) {
                    (Some(prefix), _) => {
                        let told = ("is not the beginning of variables", "write it as `CASTLE_SECRET_`");
                        self.judged("secrets.environment.prefix", prefix, told, locator::variable_prefix)
                    }
                    (None, Some((SecretsPlace::Environment { prefix }, _))) => Some(prefix.clone()),
                    (None, _) => self.nowhere("secrets.environment", "prefix", place(text.referenced)),
                };
                Some(SecretsAccess::Environment { prefix: prefix? })
            }
            Way::Memory(_) if lab => Some(SecretsAccess::Memory),
            Way::Memory(at) => {
                // A house whose project key is forgotten holds machines that nobody can prove to own.
                let message = "`memory` forgets the project's key at the end of the run";
                let hint = "use `files` with a folder; `memory` is for a lab";
                refuse(self.findings, "secrets", message, hint, at);
                None
            }
        }
    }

    /// What `castle.yaml` alone is enough for.
    fn as_wished(&mut self, wish: Wish<'_>, at: Option<Span>) -> Option<SecretsAccess> {
        let (message, hint) = match wish {
            Some((SecretsPlace::Files(folder), base)) => return Some(SecretsAccess::Files(base.join(folder))),
            Some((SecretsPlace::Environment { prefix }, _)) => {
                return Some(SecretsAccess::Environment { prefix: prefix.clone() });
            }
            Some((SecretsPlace::Infisical { .. }, _)) => (
                "does not say how to get into the vault that castle.yaml names",
                "write `secrets: {infisical: {client_id: ID, client_secret_env: VARIABLE}}`",
            ),
            Some((SecretsPlace::Sops(_), _)) => (
                "does not say which key opens the files that castle.yaml names",
                "write `secrets: {sops: {key: FILE}}`",
            ),
            None => ("does not say where secrets are kept", "write `secrets: {files: DIR}`"),
        };
        refuse(self.findings, "secrets", message, hint, at);
        None
    }

    fn infisical(&mut self, text: Spanned<InfisicalText>, wish: Wish<'_>) -> Option<SecretsAccess> {
        let subject = "secrets.infisical";
        let at = place(text.referenced);
        let text = text.value;
        let wished = match wish {
            Some((SecretsPlace::Infisical { url, project, environment, path }, _)) => {
                [Some(url), Some(project), Some(environment), Some(path)]
            }
            _ => [None; 4],
        };
        let url = |findings: &mut Findings, subject: &str, text: &Spanned<String>| {
            locator::https_url(findings, (subject, ""), text, UrlPath::Forbidden)
        };
        let slug = ("is not a slug", "copy it from the project's settings");
        let server = ("is not the address of a server", "write `https://host`, without user, path or query");
        let folder = ("is not a folder of the vault", "begin it with `/`, without `..` and without a slash at its end");
        let url = self.one_place((subject, "url", at), text.url, wished[0], server, url);
        let project = self.one_place((subject, "project", at), text.project, wished[1], slug, locator::slug);
        let environment =
            self.one_place((subject, "environment", at), text.environment, wished[2], slug, locator::slug);
        let path = self.one_place((subject, "path", at), text.path, wished[3], folder, locator::vault_folder);
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
        let client_id = self.secret(subject, id, at).map(|(secret, ..)| secret.expose().clone());
        let client_secret = self.secret(subject, secret, at).map(|(secret, ..)| secret);
        let trust = TrustText { ca: text.ca, ca_file: text.ca_file, fingerprints: text.fingerprints };
        let trust = self.trust_if_declared(subject, trust, at);
        Some(SecretsAccess::Infisical(Box::new(InfisicalAccess {
            url: url?,
            project: project?,
            environment: environment?,
            path: path?,
            client_id: client_id?,
            client_secret: client_secret?,
            trust: trust?,
        })))
    }

    /// A key that says where: from here, else from `castle.yaml`.
    fn one_place(
        &mut self,
        (subject, key, at): (&str, &str, Option<Span>),
        declared: Option<Spanned<String>>,
        wished: Option<&String>,
        told: (&str, &str),
        read: impl FnOnce(&mut Findings, &str, &Spanned<String>) -> Option<String>,
    ) -> Option<String> {
        match (declared, wished) {
            (Some(text), _) => self.judged(&format!("{subject}.{key}"), &text, told, read),
            (None, Some(wished)) => Some(wished.clone()),
            (None, None) => self.nowhere(subject, key, at),
        }
    }

    /// Reads a value by the rules of `castle.yaml`, without quoting it.
    fn judged<T>(
        &mut self,
        subject: &str,
        text: &Spanned<String>,
        (message, hint): (&str, &str),
        read: impl FnOnce(&mut Findings, &str, &Spanned<String>) -> Option<T>,
    ) -> Option<T> {
        let read = read(&mut Findings::default(), subject, text);
        if read.is_none() {
            refuse(self.findings, subject, message, hint, place(text.referenced));
        }
        read
    }

    fn path(&mut self, subject: &str, text: &Spanned<String>) -> Option<PathBuf> {
        let told = ("is not a path", "write a path that is relative to the folder of this document");
        self.judged(subject, text, told, locator::local_path).map(|path| self.base.join(path))
    }

    fn nowhere<T>(&mut self, subject: &str, key: &str, at: Option<Span>) -> Option<T> {
        let message = format!("has no `{key}`");
        let hint = "say it here, or in castle.yaml under `secrets.store` for the same kind of store";
        refuse(self.findings, subject, &message, hint, at);
        None
    }
}

impl SecretsText {
    fn says_something(&self) -> bool {
        let memory = self.memory.as_ref().is_some_and(|memory| memory.value);
        let places = [self.files.is_some(), self.infisical.is_some(), self.sops.is_some(), self.environment.is_some()];
        memory || places.contains(&true)
    }
}
