//! Writing an option document.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde::Serialize;

use super::dial::{self, RenderedDial};
use crate::options::{MaintenanceAccess, SecretsAccess, Trust};
use crate::{Options, Secret, SecretText};

// Keys that are absent mean what the reader's defaults mean.
#[derive(Serialize)]
struct Rendered<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    proxmox: Option<RenderedProxmox<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    talos: Option<RenderedTalos>,
    secrets: RenderedSecrets<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    git: Option<RenderedGit<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<RenderedIdentity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dial: Option<Vec<RenderedDial>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    pace: String,
    lab: bool,
}

#[derive(Serialize)]
struct RenderedProxmox<'a> {
    url: &'a str,
    token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprints: Option<Vec<String>>,
}

#[derive(Serialize)]
struct RenderedTalos {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pins: BTreeMap<String, String>,
    trust_on_first_use: bool,
}

#[derive(Serialize, Default)]
struct RenderedSecrets<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    infisical: Option<RenderedInfisical<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sops: Option<RenderedSops<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<RenderedEnvironment<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<bool>,
}

#[derive(Serialize)]
struct RenderedInfisical<'a> {
    url: &'a str,
    project: &'a str,
    environment: &'a str,
    path: &'a str,
    client_id: &'a str,
    client_secret: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprints: Option<Vec<String>>,
}

#[derive(Serialize)]
struct RenderedSops<'a> {
    folder: &'a Path,
    key: &'a Path,
}

#[derive(Serialize)]
struct RenderedEnvironment<'a> {
    prefix: &'a str,
}

#[derive(Serialize)]
struct RenderedGit<'a> {
    username: &'a str,
    password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprints: Option<Vec<String>>,
}

#[derive(Serialize)]
struct RenderedIdentity<'a> {
    client_id: &'a str,
    client_secret: &'a str,
}

impl Options {
    /// The document that [`Options::parse`] reads back as these options. It
    /// holds tokens and passwords: write it with mode 0600.
    #[must_use]
    pub fn render(&self) -> SecretText {
        let proxmox = self.proxmox.as_ref().map(|access| {
            let (ca, fingerprints) = trust(Some(&access.trust));
            RenderedProxmox { url: &access.url, token: access.token.expose(), ca, fingerprints }
        });
        let git = self.git.as_ref().map(|access| {
            let (ca, fingerprints) = trust(access.trust.as_ref());
            RenderedGit { username: &access.username, password: access.password.expose(), ca, fingerprints }
        });
        let identity = self.identity.as_ref().map(|identity| RenderedIdentity {
            client_id: identity.client_id.expose(),
            client_secret: identity.client_secret.expose(),
        });
        let maintenance = &self.maintenance;
        let talos = (*maintenance != MaintenanceAccess::default()).then(|| RenderedTalos {
            pins: maintenance.pins.iter().map(|(node, pin)| (node.clone(), BASE64.encode(pin))).collect(),
            trust_on_first_use: maintenance.trust_on_first_use,
        });
        let rendered = Rendered {
            proxmox,
            talos,
            secrets: secrets(&self.secrets),
            git,
            identity,
            dial: dial::rendered(&self.dial),
            source: self.source,
            pace: self.pace.to_string(),
            lab: self.lab,
        };
        Secret::new(serde_saphyr::to_string(&rendered).expect("texts, addresses and booleans are YAML"))
    }
}

fn secrets(access: &SecretsAccess) -> RenderedSecrets<'_> {
    let nothing = RenderedSecrets::default();
    match access {
        SecretsAccess::Files(folder) => RenderedSecrets { files: Some(folder), ..nothing },
        SecretsAccess::Memory => RenderedSecrets { memory: Some(true), ..nothing },
        SecretsAccess::Environment { prefix } => {
            RenderedSecrets { environment: Some(RenderedEnvironment { prefix }), ..nothing }
        }
        SecretsAccess::Sops { folder, key } => RenderedSecrets { sops: Some(RenderedSops { folder, key }), ..nothing },
        SecretsAccess::Infisical(access) => {
            let (ca, fingerprints) = trust(access.trust.as_ref());
            let infisical = RenderedInfisical {
                url: &access.url,
                project: &access.project,
                environment: &access.environment,
                path: &access.path,
                client_id: &access.client_id,
                client_secret: access.client_secret.expose(),
                ca,
                fingerprints,
            };
            RenderedSecrets { infisical: Some(infisical), ..nothing }
        }
    }
}

/// The keys of a trust: `ca`, `fingerprints`.
fn trust(trust: Option<&Trust>) -> (Option<&str>, Option<Vec<String>>) {
    match trust {
        None => (None, None),
        Some(Trust::Authorities(pem)) => (Some(pem), None),
        Some(Trust::Fingerprints(prints)) => (None, Some(prints.iter().map(fingerprint_text).collect())),
    }
}

fn fingerprint_text(print: &[u8; 32]) -> String {
    print.map(|byte| format!("{byte:02X}")).join(":")
}
