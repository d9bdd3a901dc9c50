//! Talos' validation, in its own words and in its own order.
//!
//! Judged are the document without a kind and the kinds that castle writes.
//! Not judged: expressions that select disks, labels and taints, partitions of
//! `machine.disks`, filters of KubeSpan, and which releases of Kubernetes a
//! release of Talos runs.

mod documents;
mod machine;

use std::fmt;
use std::net::IpAddr;

use super::decode::Refusal;
use super::schema::V1ALPHA1;
use super::tree::Node;
use super::{Config, Document, Version};

/// How a configuration is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whether the platform must be installed first: `metal` booted from something
    /// that is not its disk.
    pub requires_install: bool,
    /// Whether warnings refuse too.
    pub strict: bool,
}

impl Rules {
    /// Those of a disk image on a cloud platform, `nocloud` among them.
    #[must_use]
    pub fn cloud() -> Self {
        Self { requires_install: false, strict: false }
    }
}

/// What was found in one document.
#[derive(Default)]
pub struct Findings {
    /// What refuses nothing.
    pub warnings: Vec<String>,
    errors: Vec<String>,
    /// Whether Go lists the errors as one list, or joins them by lines.
    listed: bool,
}

impl fmt::Debug for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Talos' texts quote what they complain about.
        write!(f, "Findings({} errors, {} warnings)", self.errors.len(), self.warnings.len())
    }
}

impl Findings {
    fn error(&mut self, text: impl Into<String>) {
        self.errors.push(text.into());
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    /// The errors as Talos prints them; `None` if there are none.
    #[must_use]
    pub fn error_text(&self) -> Option<String> {
        match self.errors.as_slice() {
            [] => None,
            errors if self.listed => Some(list(errors)),
            errors => Some(errors.join("\n")),
        }
    }
}

/// A list of errors as Go's multierror prints it.
fn list(errors: &[String]) -> String {
    let head = if errors.len() == 1 { "1 error".to_owned() } else { format!("{} errors", errors.len()) };
    let lines: Vec<String> = errors.iter().map(|error| format!("* {error}")).collect();
    format!("{head} occurred:\n\t{}\n\n", lines.join("\n\t"))
}

impl Config {
    /// Judges the configuration as a node does. Returns the warnings.
    ///
    /// # Errors
    ///
    /// Everything that the node would refuse. What stands in quotes is left out
    /// when it is printed; [`Refusal::talos_text`] has it.
    pub fn validate(&self, rules: Rules) -> Result<Vec<String>, Refusal> {
        let (mut warnings, mut errors) = (Vec::new(), Vec::new());
        let (first, others): (Vec<&Document>, Vec<_>) =
            self.documents.iter().partition(|document| document.kind == V1ALPHA1);
        for document in first.iter().chain(&others) {
            let found = judge(document, rules, self.version);
            if let Some(text) = found.error_text() {
                errors.push(match (document.kind, document.name.as_str()) {
                    (V1ALPHA1, _) => format!("v1alpha1.Config: {text}"),
                    (kind, "") => format!("{kind}: {text}"),
                    (kind, name) => format!("{kind}/{name}: {text}"),
                });
            }
            warnings.extend(found.warnings);
        }
        if let Some(machine) = first.first() {
            errors.extend(others.iter().filter_map(|document| documents::conflict(document, &machine.root)));
        }
        if errors.is_empty() {
            return Ok(warnings);
        }
        let text = list(&errors);
        Err(Refusal::new(without_quoted(&text), text))
    }

    /// Judges each document alone, in the order of the text: what the vectors of
    /// Talos' own tests compare.
    #[must_use]
    pub fn findings(&self, rules: Rules) -> Vec<Findings> {
        self.documents.iter().map(|document| judge(document, rules, self.version)).collect()
    }
}

fn judge(document: &Document, rules: Rules, version: Version) -> Findings {
    match document.kind {
        V1ALPHA1 => machine::judge(&document.root, rules),
        _ => documents::judge(document, version),
    }
}

/// One line, with nothing that was quoted.
fn without_quoted(text: &str) -> String {
    let words: String =
        text.split('"').enumerate().map(|(at, part)| if at % 2 == 0 { part } else { "\"..\"" }).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn text_at<'a>(node: &'a Node, path: &str) -> &'a str {
    node.at(path).and_then(Node::as_text).unwrap_or_default()
}

fn is_true(node: &Node, path: &str) -> bool {
    text_at(node, path) == "true"
}

fn items_at<'a>(node: &'a Node, path: &str) -> &'a [Node] {
    node.at(path).map(Node::items).unwrap_or_default()
}

fn texts_at<'a>(node: &'a Node, path: &str) -> impl Iterator<Item = &'a str> {
    items_at(node, path).iter().map(|item| item.as_text().unwrap_or_default())
}

/// `10.0.0.1` or `10.0.0.0/8`.
fn is_subnet_or_address(text: &str) -> bool {
    match text.split_once('/') {
        Some(_) => text.parse::<ipnet::IpNet>().is_ok(),
        None => text.parse::<IpAddr>().is_ok(),
    }
}

/// Why an endpoint is none.
fn complaint_of_endpoint(url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_port = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match host_port.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (host_port, None),
    };
    if !url.contains("://") || host.is_empty() {
        return Some("hostname must not be blank".to_owned());
    }
    match port.map(str::parse::<u16>) {
        Some(Err(_)) => {
            Some(format!("parse {url:?}: invalid port {:?} after host", format!(":{}", port.unwrap_or_default())))
        }
        _ => None,
    }
}

/// Bytes of `2.5TiB`, `10GB` or `1024`; `None` for a share of the disk.
fn size(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let number: f64 = digits.trim().parse().ok()?;
    let unit = text[digits.len()..].trim().to_ascii_lowercase();
    let power = match unit.chars().next() {
        None | Some('b') => 0,
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some('p') => 5,
        Some(_) => return None,
    };
    let base: f64 = if unit.contains('i') { 1024.0 } else { 1000.0 };
    Some(number * base.powi(power))
}
