//! The option document as text: what a lab writes and what an operator writes for a house.
//!
//! It may hold a token, so nothing that is said about it quotes a value.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;
use uuid::Uuid;

use crate::clock::Pace;
use crate::options::{DialMap, MaintenanceAccess, ProxmoxAccess, SecretsAccess, Trust};
use crate::value::Findings;
use crate::yaml::{self, Quoting, place};
use crate::{Options, Problem, Secret, SecretText, Span};

const DOCUMENT: &str = "options";

/// Where values come from that the document only refers to (`token_file`,
/// `token_env`, `ca_file`). The composition root reads, this crate does not.
pub trait Sources {
    /// The text of a file.
    ///
    /// # Errors
    ///
    /// Whatever the file system says.
    fn file(&self, path: &Path) -> io::Result<String>;

    /// An environment variable, if it is set.
    fn variable(&self, name: &str) -> Option<String>;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    proxmox: Option<Spanned<ProxmoxText>>,
    talos: Option<TalosText>,
    secrets: Option<Spanned<SecretsText>>,
    dial: Option<Vec<DialText>>,
    source: Option<Spanned<String>>,
    pace: Option<Spanned<String>>,
    lab: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxmoxText {
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
struct TalosText {
    pins: Option<BTreeMap<String, Spanned<String>>>,
    trust_on_first_use: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretsText {
    files: Option<String>,
    memory: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DialText {
    from: Spanned<String>,
    to: Spanned<String>,
}

// What is written. Keys that are absent mean what the reader's defaults mean.
#[derive(Serialize)]
struct Rendered<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    proxmox: Option<RenderedProxmox<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    talos: Option<RenderedTalos>,
    secrets: BTreeMap<&'static str, RenderedSecrets<'a>>,
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

#[derive(Serialize)]
#[serde(untagged)]
enum RenderedSecrets<'a> {
    Files(&'a Path),
    Memory(bool),
}

#[derive(Serialize)]
struct RenderedDial {
    from: SocketAddr,
    to: SocketAddr,
}

impl Options {
    /// Reads an option document. Paths in it are relative to `base`, the folder
    /// it lies in.
    ///
    /// # Errors
    ///
    /// The first error of syntax, type or key alone; else everything that is
    /// wrong with the values. No value is quoted, because one may be a token.
    pub fn parse(text: &str, base: &Path, sources: &dyn Sources) -> Result<Self, Vec<Problem>> {
        let document: Document = yaml::read(text, DOCUMENT, Quoting::Never).map_err(|problem| vec![problem])?;
        let mut findings = Findings::default();
        let lab = document.lab.unwrap_or(false);
        let proxmox = document.proxmox.map(|text| proxmox(&mut findings, text, base, sources));
        let maintenance =
            document.talos.map_or_else(MaintenanceAccess::default, |text| maintenance(&mut findings, text));
        let secrets = secrets(&mut findings, document.secrets, base, lab);
        let dial = document.dial.map(|entries| dial(&mut findings, entries));
        let source = document.source.map(|text| read::<IpAddr>(&mut findings, "source", &text, "an IP address"));
        let pace = document.pace.map_or(Some(Pace::Real), |text| pace(&mut findings, &text, lab));
        let (errors, _) = findings.into_sorted();
        match (transposed(proxmox), secrets, transposed(source), pace) {
            (Some(proxmox), Some(secrets), Some(source), Some(pace)) if errors.is_empty() => Ok(Self {
                proxmox,
                maintenance,
                secrets,
                dial: dial.map_or_else(DialMap::direct, DialMap::exclusive),
                source,
                pace,
                lab,
            }),
            _ => Err(errors),
        }
    }

    /// The document that [`Options::parse`] reads back as these options. It
    /// holds the token: write it with mode 0600.
    #[must_use]
    pub fn render(&self) -> SecretText {
        let proxmox = self.proxmox.as_ref().map(|access| RenderedProxmox {
            url: &access.url,
            token: access.token.expose(),
            ca: match &access.trust {
                Trust::Authorities(pem) => Some(pem),
                Trust::Fingerprints(_) => None,
            },
            fingerprints: match &access.trust {
                Trust::Authorities(_) => None,
                Trust::Fingerprints(prints) => Some(prints.iter().map(fingerprint_text).collect()),
            },
        });
        let secrets = match &self.secrets {
            SecretsAccess::Files(folder) => ("files", RenderedSecrets::Files(folder)),
            SecretsAccess::Memory => ("memory", RenderedSecrets::Memory(true)),
        };
        let dial = |map: &BTreeMap<_, _>| map.iter().map(|(from, to)| RenderedDial { from: *from, to: *to }).collect();
        let maintenance = &self.maintenance;
        let talos = (*maintenance != MaintenanceAccess::default()).then(|| RenderedTalos {
            pins: maintenance.pins.iter().map(|(node, pin)| (node.clone(), BASE64.encode(pin))).collect(),
            trust_on_first_use: maintenance.trust_on_first_use,
        });
        let rendered = Rendered {
            proxmox,
            talos,
            secrets: BTreeMap::from([secrets]),
            dial: self.dial.entries().map(dial),
            source: self.source,
            pace: self.pace.to_string(),
            lab: self.lab,
        };
        Secret::new(serde_saphyr::to_string(&rendered).expect("texts, addresses and booleans are YAML"))
    }
}

fn maintenance(findings: &mut Findings, text: TalosText) -> MaintenanceAccess {
    let mut pins = BTreeMap::new();
    for (node, pin) in text.pins.unwrap_or_default() {
        match BASE64.decode(pin.value.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
            Some(bytes) => {
                pins.insert(node, bytes);
            }
            None => {
                let hint = "copy the fingerprint from the node's console: 32 bytes in base64, 44 characters";
                refuse(findings, &format!("talos.pins.{node}"), "is not a fingerprint", hint, place(pin.referenced));
            }
        }
    }
    MaintenanceAccess { pins, trust_on_first_use: text.trust_on_first_use.unwrap_or(false) }
}

/// `Some(None)` is what was not declared, `None` what was refused.
fn transposed<T>(declared: Option<Option<T>>) -> Option<Option<T>> {
    match declared {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

fn refuse(findings: &mut Findings, subject: &str, message: &str, hint: &str, at: Option<Span>) {
    findings.push(Problem::error("invalid-option", subject, message).hint(hint).at(at));
}

fn read<T: std::str::FromStr>(findings: &mut Findings, subject: &str, text: &Spanned<String>, what: &str) -> Option<T> {
    let value = text.value.trim().parse().ok();
    if value.is_none() {
        let message = format!("is not {what}");
        findings.push(Problem::error("invalid-option", subject, message).at(place(text.referenced)));
    }
    value
}

/// The one of several keys that is declared.
fn one_of<'a, T>(
    findings: &mut Findings,
    subject: &str,
    choices: [(&'static str, Option<&'a T>); 3],
    at: Option<Span>,
) -> Option<(&'static str, &'a T)> {
    let names = choices.map(|(name, _)| format!("`{name}`")).join(", ");
    let declared: Vec<_> = choices.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    match declared[..] {
        [one] => Some(one),
        [] => {
            refuse(findings, subject, &format!("has none of {names}"), "declare one of them", at);
            None
        }
        _ => {
            refuse(findings, subject, &format!("has more than one of {names}"), "declare one of them", at);
            None
        }
    }
}

fn proxmox(
    findings: &mut Findings,
    text: Spanned<ProxmoxText>,
    base: &Path,
    sources: &dyn Sources,
) -> Option<ProxmoxAccess> {
    let at = place(text.referenced);
    let text = text.value;
    let url_is_good = is_base_url(&text.url.value);
    if !url_is_good {
        let hint = "write `https://host:8006`, without user, path or query";
        refuse(findings, "proxmox.url", "is not the address of an API", hint, place(text.url.referenced));
    }
    let token = token(findings, &text, base, sources, at);
    let trust = trust(findings, &text, base, sources, at);
    Some(ProxmoxAccess {
        url: Some(text.url.value.trim_end_matches('/').to_owned()).filter(|_| url_is_good)?,
        token: token?,
        trust: trust?,
    })
}

/// Whether it is `https://host` or `https://host:port`.
fn is_base_url(url: &str) -> bool {
    let Some(authority) = url.strip_prefix("https://").map(|rest| rest.strip_suffix('/').unwrap_or(rest)) else {
        return false;
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let host_is_good = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')),
    };
    host_is_good && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Reads the file that a key refers to.
fn file(
    findings: &mut Findings,
    subject: &str,
    path: &Spanned<String>,
    base: &Path,
    sources: &dyn Sources,
) -> Option<SecretText> {
    match sources.file(&base.join(&path.value)) {
        Ok(text) => Some(Secret::new(text)),
        Err(error) => {
            let message = format!("the file cannot be read: {}", error.kind());
            let hint = "write a path that is relative to the folder of this document";
            refuse(findings, subject, &message, hint, place(path.referenced));
            None
        }
    }
}

fn token(
    findings: &mut Findings,
    text: &ProxmoxText,
    base: &Path,
    sources: &dyn Sources,
    at: Option<Span>,
) -> Option<SecretText> {
    let choices = [
        ("token", text.token.as_ref()),
        ("token_file", text.token_file.as_ref()),
        ("token_env", text.token_env.as_ref()),
    ];
    let (key, declared) = one_of(findings, "proxmox", choices, at)?;
    let subject = format!("proxmox.{key}");
    let at = place(declared.referenced);
    let found = match key {
        "token" => Secret::new(declared.value.clone()),
        "token_file" => file(findings, &subject, declared, base, sources)?,
        _ => match sources.variable(&declared.value) {
            Some(value) => Secret::new(value),
            None => {
                refuse(findings, &subject, "the environment variable is not set", "export it, or use `token_file`", at);
                return None;
            }
        },
    };
    let token = Secret::new(found.expose().trim().to_owned());
    if !is_token(token.expose()) {
        let hint = "write it as `user@realm!name=uuid`; the uuid is shown once, when the token is made";
        refuse(findings, &subject, "is not an API token", hint, at);
        return None;
    }
    Some(token)
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

fn trust(
    findings: &mut Findings,
    text: &ProxmoxText,
    base: &Path,
    sources: &dyn Sources,
    at: Option<Span>,
) -> Option<Trust> {
    if let Some(prints) = &text.fingerprints {
        if text.ca.is_some() || text.ca_file.is_some() {
            let message = "has more than one of `ca`, `ca_file`, `fingerprints`";
            refuse(findings, "proxmox", message, "declare one of them", at);
            return None;
        }
        return fingerprints(findings, prints, at);
    }
    let none: Option<&Spanned<String>> = None;
    let choices = [("ca", text.ca.as_ref()), ("ca_file", text.ca_file.as_ref()), ("fingerprints", none)];
    let (key, declared) = one_of(findings, "proxmox", choices, at)?;
    let subject = format!("proxmox.{key}");
    let pem = match key {
        "ca" => declared.value.clone(),
        _ => file(findings, &subject, declared, base, sources)?.expose().clone(),
    };
    if !pem.contains("-----BEGIN CERTIFICATE-----") {
        let hint = "use the host's /etc/pve/pve-root-ca.pem, or `fingerprints`";
        refuse(findings, &subject, "holds no certificate in PEM", hint, place(declared.referenced));
        return None;
    }
    Some(Trust::Authorities(pem))
}

fn fingerprints(findings: &mut Findings, texts: &[Spanned<String>], at: Option<Span>) -> Option<Trust> {
    if texts.is_empty() {
        let hint = "declare the SHA-256 of the host's certificate";
        refuse(findings, "proxmox.fingerprints", "is empty, so no host could be trusted", hint, at);
        return None;
    }
    let mut prints = Some(Vec::with_capacity(texts.len()));
    for text in texts {
        let print = hex::decode(text.value.replace(':', "")).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        if print.is_none() {
            let hint = "write 32 bytes as `AA:BB:..`";
            let at = place(text.referenced);
            refuse(findings, "proxmox.fingerprints", "is not the SHA-256 of a certificate", hint, at);
        }
        prints = prints.zip(print).map(|(mut prints, print)| {
            prints.push(print);
            prints
        });
    }
    prints.map(Trust::Fingerprints)
}

fn fingerprint_text(print: &[u8; 32]) -> String {
    print.map(|byte| format!("{byte:02X}")).join(":")
}

fn secrets(
    findings: &mut Findings,
    text: Option<Spanned<SecretsText>>,
    base: &Path,
    lab: bool,
) -> Option<SecretsAccess> {
    let at = text.as_ref().and_then(|text| place(text.referenced));
    match text.map(|text| (text.value.files, text.value.memory.unwrap_or(false))) {
        Some((Some(folder), false)) if !folder.is_empty() => Some(SecretsAccess::Files(base.join(folder))),
        Some((None, true)) if lab => Some(SecretsAccess::Memory),
        Some((None, true)) => {
            // A house whose project key is forgotten holds machines that nobody can prove to own.
            let message = "`memory` forgets the project's key at the end of the run";
            refuse(findings, "secrets", message, "use `files` with a folder; `memory` is for a lab", at);
            None
        }
        _ => {
            refuse(findings, "secrets", "does not say where secrets are kept", "write `secrets: {files: DIR}`", at);
            None
        }
    }
}

fn dial(findings: &mut Findings, entries: Vec<DialText>) -> BTreeMap<SocketAddr, SocketAddr> {
    let mut map = BTreeMap::new();
    for entry in entries {
        let from = read::<SocketAddr>(findings, "dial.from", &entry.from, "an address with a port");
        let to = read::<SocketAddr>(findings, "dial.to", &entry.to, "an address with a port");
        if let (Some(from), Some(to)) = (from, to)
            && map.insert(from, to).is_some()
        {
            let at = place(entry.from.referenced);
            refuse(findings, "dial.from", "is mapped twice", "keep one of the entries", at);
        }
    }
    map
}

fn pace(findings: &mut Findings, text: &Spanned<String>, lab: bool) -> Option<Pace> {
    let at = place(text.referenced);
    match text.value.parse() {
        Ok(pace) if lab || pace == Pace::Real => Some(pace),
        Ok(_) => {
            // Deadlines would end long before the host had its time.
            refuse(findings, "pace", "only a lab can be faster than the clock", "remove it, or say `lab: true`", at);
            None
        }
        Err(_) => {
            refuse(findings, "pace", "is not a pace", "use `virtual`, `real` or a factor such as `60x`", at);
            None
        }
    }
}
