//! The strict decoder, in Talos' own words.

use std::collections::BTreeSet;
use std::fmt;

use castle_core::{Secret, SecretText};

use super::canonical::{self, Mistake};
use super::schema::{Kind, Type, V1ALPHA1, schema};
use super::tree::{self, Broken, Cause, Node};
use super::{Document, Version, emit};

/// Why Talos does not take a configuration.
///
/// It prints without any value of the configuration: values are keys and tokens.
/// What Talos itself would say, values included, is [`Refusal::talos_text`].
pub struct Refusal {
    summary: String,
    talos: SecretText,
    unknown: Vec<String>,
}

impl Refusal {
    pub(crate) fn new(summary: impl Into<String>, talos: impl Into<String>) -> Self {
        Self { summary: summary.into(), talos: Secret::new(talos.into()), unknown: Vec::new() }
    }

    /// A text that holds no value, so that it may be shown as it is.
    pub(crate) fn open(text: impl Into<String>) -> Self {
        let text = text.into();
        Self::new(text.clone(), text)
    }

    /// The paths of unknown keys: for documents that hold no secrets, because a slip
    /// of indentation turns a value into a key.
    #[must_use]
    pub fn unknown_keys(&self) -> &[String] {
        &self.unknown
    }

    /// The exact text that a node answers. For a lab that plays one.
    #[must_use]
    pub fn talos_text(&self) -> &SecretText {
        &self.talos
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refusal({:?})", self.summary)
    }
}

impl std::error::Error for Refusal {}

/// The documents of a text. `duplicates`: a patch may name a document twice.
pub(crate) fn documents(text: &str, version: Version) -> Result<Vec<Document>, Refusal> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for root in tree::parse(text).map_err(broken)? {
        if root.is_null() {
            continue;
        }
        let id = Id::of(&root)?;
        if !seen.insert(id.to_string()) {
            let talos = format!("duplicate document {id} is not allowed (line {})", root.line);
            return Err(Refusal::new(format!("a document appears twice (line {})", root.line), talos));
        }
        found.push(document(&root, &id, version)?);
    }
    if found.is_empty() {
        return Err(Refusal::open("config not found"));
    }
    Ok(found)
}

pub(crate) fn broken(broken: Broken) -> Refusal {
    let (what, place) = match broken.cause {
        Cause::Tab => ("scanner (while scanning for the next token)", "found character that cannot start any token"),
        Cause::Syntax => ("parser", "did not find expected node content"),
        Cause::Alias => ("composer", "unknown anchor referenced"),
        Cause::TooLarge => ("composer", "document contains excessive aliasing"),
        Cause::Key => ("constructor", "invalid map key"),
    };
    let (line, column) = (broken.line, broken.column);
    Refusal::open(format!("decode error: go-yaml load error in {what} at L{line}.C{column}: {place}"))
}

/// What a document is known by: `v1alpha1/HostnameConfig/`.
pub(crate) struct Id {
    pub api_version: String,
    pub kind: String,
    pub name: String,
}

impl Id {
    pub fn of(root: &Node) -> Result<Self, Refusal> {
        if !root.is_map() {
            return Err(Refusal::open(format!("expected a YAML document at line {}", root.line)));
        }
        let text = |key| root.get(key).and_then(Node::scalar).map(|found| found.text.expose().clone());
        Ok(Self {
            api_version: text("apiVersion").unwrap_or_default(),
            kind: text("kind").filter(|kind| !kind.is_empty()).unwrap_or_else(|| V1ALPHA1.to_owned()),
            name: text("name").unwrap_or_default(),
        })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.api_version, self.kind, self.name)
    }
}

/// Reads one document, which is no patch.
pub(crate) fn document(root: &Node, id: &Id, version: Version) -> Result<Document, Refusal> {
    let refuse = |summary: String, talos: String| {
        let place = format!("error decoding document {id} (line {}): ", root.line);
        // The name may be what somebody wrote into the wrong line.
        let open_place = match schema().kind(&id.kind) {
            Some(_) => format!("document {} (line {}): ", id.kind, root.line),
            None => format!("document at line {}: ", root.line),
        };
        Refusal::new(format!("{open_place}{summary}"), format!("{place}{talos}"))
    };
    let plain = |text: &str| refuse(text.to_owned(), text.to_owned());
    let (kind_name, kind) = kind_of(root, version).map_err(|complaint| match complaint {
        Complaint::MissingKind => plain("missing kind"),
        Complaint::MissingApiVersion => plain("missing apiVersion"),
        Complaint::Unregistered { kind, api_version } => refuse(
            "its kind is not known to this release".to_owned(),
            format!("{kind:?} {api_version:?}: not registered"),
        ),
    })?;
    let target = Type::Struct(kind.root);
    let mut mistakes = Vec::new();
    let typed = canonical::typed(root, &target, version, &mut mistakes).unwrap_or_else(|| Node::map(Vec::new()));
    if !mistakes.is_empty() {
        let lines = |show: fn(&Mistake) -> &str| -> String {
            mistakes.iter().map(|mistake| format!("\n  line {}: {}", mistake.line, show(mistake))).collect()
        };
        let named = if kind_name == V1ALPHA1 { "" } else { kind_name };
        return Err(refuse(
            format!("values of the wrong kind:{}", lines(|mistake| &mistake.hides)),
            format!(
                "error decoding {named} to *{}: yaml: construct errors:{}",
                kind.type_name,
                lines(|mistake| &mistake.says)
            ),
        ));
    }
    if let Some(strange) = canonical::unknown(root, &target, version) {
        let summary = format!("{} unknown to this release", count(&strange));
        let mut refusal = refuse(summary, format!("unknown keys found during decoding:\n{}", emit::document(&strange)));
        canonical::unknown_paths(root, &target, version, "", &mut refusal.unknown);
        return Err(refusal);
    }
    let name = if schema().of(kind.root).field("name").is_some() { id.name.clone() } else { String::new() };
    Ok(Document { kind: kind_name, target, name, root: typed })
}

fn count(strange: &Node) -> String {
    match strange.entries().len() {
        1 => "a key that is".to_owned(),
        keys => format!("{keys} keys that are"),
    }
}

enum Complaint {
    MissingKind,
    MissingApiVersion,
    Unregistered { kind: String, api_version: String },
}

/// The kind of a document: named, or the one that has no name.
fn kind_of(root: &Node, version: Version) -> Result<(&'static str, &'static Kind), Complaint> {
    let text = |key| root.get(key).and_then(Node::as_text).unwrap_or_default().to_owned();
    let is_old = ["machine", "cluster", "debug", "persist"].iter().any(|key| root.get(key).is_some());
    let kind = text("kind");
    let api_version = if is_old { "v1alpha1".to_owned() } else { text("apiVersion") };
    let wanted = match (kind.as_str(), api_version.as_str()) {
        ("", "v1alpha1") => V1ALPHA1,
        ("", _) => return Err(Complaint::MissingKind),
        (_, "") => return Err(Complaint::MissingApiVersion),
        (kind, _) => kind,
    };
    schema()
        .registered(wanted)
        .filter(|(_, kind)| kind.since <= (version.major, version.minor) && api_version == "v1alpha1")
        .ok_or(Complaint::Unregistered { kind, api_version })
}
