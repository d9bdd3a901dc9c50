//! The option document as text: what a lab writes and what an operator writes for a house.
//!
//! It may hold tokens, so nothing that is said about it quotes a value.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde::Deserialize;
use serde_saphyr::Spanned;

mod access;
mod dial;
mod key_path;
mod render;
mod secrets;

use access::{GitText, IdentityText, ProxmoxText, Reader};
use dial::DialText;
use secrets::{SecretsText, Wish};

use crate::clock::Pace;
use crate::options::{DialMap, MaintenanceAccess};
use crate::value::Findings;
use crate::yaml::{self, Quoting, place};
use crate::{Error, ErrorKind, Options, Problem, Project, Span};

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
    git: Option<Spanned<GitText>>,
    identity: Option<Spanned<IdentityText>>,
    dial: Option<Vec<DialText>>,
    source: Option<Spanned<String>>,
    pace: Option<Spanned<String>>,
    lab: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TalosText {
    pins: Option<BTreeMap<String, Spanned<String>>>,
    trust_on_first_use: Option<bool>,
}

impl Options {
    /// Reads an option document that stands alone. Paths in it are relative to
    /// `base`, the folder it lies in.
    ///
    /// # Errors
    ///
    /// The first error of syntax, type or key alone; else everything that is
    /// wrong with the values. No value is quoted, because one may be a token.
    pub fn parse(text: &str, base: &Path, sources: &dyn Sources) -> Result<Self, Vec<Problem>> {
        assemble(text, base, sources, None)
    }

    /// Reads the option document that belongs to a project: what it does not say
    /// of where the secrets are kept is taken from the `castle.yaml`, whose folder
    /// is `folder`. It wins where both speak.
    ///
    /// | `castle.yaml` says | the option document says | the secrets live in |
    /// |---|---|---|
    /// | nothing | a store | that store |
    /// | a store | another kind of store | the option document's |
    /// | a store | the same kind | the option document's keys, the others from `castle.yaml` |
    /// | `files`, `environment` | nothing | `castle.yaml`'s |
    /// | `infisical`, `sops` | nothing | nowhere: the access is missing |
    ///
    /// # Errors
    ///
    /// Those of [`Options::parse`].
    pub fn parse_for(
        project: &Project,
        folder: &Path,
        text: &str,
        base: &Path,
        sources: &dyn Sources,
    ) -> Result<Self, Vec<Problem>> {
        assemble(text, base, sources, project.secrets.as_ref().map(|place| (place, folder)))
    }

    /// Reads the option document `file` for a project, with [`Options::parse_for`];
    /// paths in it are relative to its own folder.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSpec`] if the file cannot be read, or with everything that
    /// is wrong in it, line by line.
    pub fn read(project: &Project, folder: &Path, file: &Path, sources: &dyn Sources) -> crate::Result<Self> {
        let text = sources.file(file).map_err(|error| {
            Error::new(ErrorKind::InvalidSpec, format!("{} cannot be read", file.display()))
                .hint("name the option document of a house, or the `lab.yaml` that `castle lab serve --dir DIR` wrote")
                .caused_by(error)
        })?;
        let base = file.parent().unwrap_or(Path::new("."));
        Self::parse_for(project, folder, &text, base, sources).map_err(|problems| refusal(file, problems))
    }
}

fn refusal(file: &Path, problems: Vec<Problem>) -> Error {
    let told: Vec<String> = problems
        .iter()
        .map(|problem| match problem.span {
            Some(span) => format!("line {}: {problem}", span.line),
            None => problem.to_string(),
        })
        .collect();
    let error = Error::new(ErrorKind::InvalidSpec, format!("{}: {}", file.display(), told.join("; ")));
    match problems.into_iter().find_map(|problem| problem.hint) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn assemble(text: &str, base: &Path, sources: &dyn Sources, wish: Wish<'_>) -> Result<Options, Vec<Problem>> {
    let document: Document =
        yaml::read(text, DOCUMENT, Quoting::Never).map_err(|problem| vec![named(problem, text)])?;
    let mut findings = Findings::default();
    let lab = document.lab.unwrap_or(false);
    let mut reader = Reader { findings: &mut findings, base, sources };
    let proxmox = document.proxmox.map(|text| reader.proxmox(text));
    let secrets = reader.secrets(document.secrets, wish, lab);
    let git = document.git.map(|text| reader.git(text));
    let identity = document.identity.map(|text| reader.identity(text));
    let maintenance = document.talos.map_or_else(MaintenanceAccess::default, |text| maintenance(&mut findings, text));
    let dial = document.dial.map_or_else(DialMap::direct, |entries| dial::dial(&mut findings, entries));
    let source = document.source.map(|text| read::<IpAddr>(&mut findings, "source", &text, "an IP address"));
    let pace = document.pace.map_or(Some(Pace::Real), |text| pace(&mut findings, &text, lab));
    let (errors, _) = findings.into_sorted();
    let complete = || {
        Some(Options {
            proxmox: transposed(proxmox)?,
            maintenance,
            secrets: secrets?,
            git: transposed(git)?,
            identity: transposed(identity)?,
            dial,
            source: transposed(source)?,
            pace: pace?,
            lab,
        })
    };
    match complete() {
        Some(options) if errors.is_empty() => Ok(options),
        _ => Err(errors),
    }
}

/// The problem with the key that it is about, as far as it is one that may be told.
fn named(problem: Problem, text: &str) -> Problem {
    // A key that is missing is missing in the mapping that begins at its place.
    let whole = problem.code == "missing-key";
    match problem.span.and_then(|span| key_path::key_path(text, span, whole)) {
        Some(path) => Problem { subject: path, ..problem },
        None => problem,
    }
}

fn maintenance(findings: &mut Findings, text: TalosText) -> MaintenanceAccess {
    let mut pins = BTreeMap::new();
    // A node's name is not quoted either: whatever was pasted there by mistake is a key.
    for (node, pin) in text.pins.unwrap_or_default() {
        match BASE64.decode(pin.value.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
            Some(bytes) => {
                pins.insert(node, bytes);
            }
            None => {
                let hint = "copy the fingerprint from the node's console: 32 bytes in base64, 44 characters";
                refuse(findings, "talos.pins", "holds what is not a fingerprint", hint, place(pin.referenced));
            }
        }
    }
    MaintenanceAccess { pins, trust_on_first_use: text.trust_on_first_use.unwrap_or(false) }
}

/// `Some(None)` is what was not declared, `None` what was refused.
fn transposed<T>(declared: Option<Option<T>>) -> Option<Option<T>> {
    declared.map_or(Some(None), |read| read.map(Some))
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
            let hint = "use `virtual`, `real`, or a factor from `0.001x` to `100000x` such as `60x`";
            refuse(findings, "pace", "is not a pace", hint, at);
            None
        }
    }
}
