//! The machine configuration: what castle writes, and what Talos takes.
//!
//! [`render`] gives a node's complete configuration from the declaration and the
//! bundle. [`Config`] is a configuration that was read: by the strict rules of
//! Talos' decoder, patched by its merge rules, judged by its validation, in its
//! own words, so that a lab can play a node and a mistake is found before any
//! node sees it.
//!
//! Nothing here asks anybody, and no formatter prints a value.

mod canonical;
mod decode;
mod emit;
mod generate;
mod merge;
mod model;
mod patch;
mod render;
mod schema;
mod tree;
mod validate;

use std::fmt;

use castle_core::{Secret, SecretBytes};

pub use decode::Refusal;
pub use generate::{Generator, Installation};
pub use render::{check, installer, render, rendered};
use schema::{Type, V1ALPHA1};
use tree::Node;
pub use validate::{Findings, Rules};

/// The release of Talos that reads a configuration: each knows more kinds than
/// the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u16,
    minor: u16,
}

impl Version {
    /// The contract that castle writes.
    pub const V1_13: Self = Self { major: 1, minor: 13 };
    /// The next one.
    pub const V1_14: Self = Self { major: 1, minor: 14 };

    /// The release of `v1.13.9` or the contract of `1.13`.
    #[must_use]
    pub fn of(release: &str) -> Option<Self> {
        let mut numbers = release.strip_prefix('v').unwrap_or(release).split(['.', '-']);
        let mut next = || numbers.next()?.parse().ok();
        Some(Self { major: next()?, minor: next()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A machine configuration: one document after the other.
#[derive(Clone)]
pub struct Config {
    version: Version,
    documents: Vec<Document>,
}

/// One document with every scalar typed and every field in its order.
#[derive(Clone)]
pub(crate) struct Document {
    pub kind: &'static str,
    pub target: Type,
    pub name: String,
    pub root: Node,
}

impl Document {
    fn text(&self) -> String {
        emit::document(&canonical::written(&self.root, &self.target))
    }
}

impl Config {
    /// Reads a configuration as a node of `version` does.
    ///
    /// # Errors
    ///
    /// The first thing that the node would refuse.
    pub fn decode(text: &SecretBytes, version: Version) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(text.expose()).map_err(|_| Refusal::open("decode error: not UTF-8"))?;
        Ok(Self { version, documents: decode::documents(text, version)? })
    }

    /// The configuration as Talos itself writes it, comments off.
    #[must_use]
    pub fn encode(&self) -> SecretBytes {
        // The document without a kind goes first, the others stay in their order.
        let (first, others): (Vec<&Document>, Vec<_>) =
            self.documents.iter().partition(|document| document.kind == V1ALPHA1);
        let texts: Vec<String> = first.into_iter().chain(others).map(Document::text).collect();
        Secret::new(texts.join("---\n").into_bytes())
    }

    /// Whether both say the same, whatever order and quotes they were written in:
    /// how a node's own configuration is compared with the wanted one.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.encode().same_as(&other.encode())
    }

    /// How many documents it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether it has none; what was decoded has one at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Whether it is complete enough to boot from: it has the document without a kind.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.root().is_some()
    }

    fn root(&self) -> Option<&Node> {
        self.of_kind(V1ALPHA1).next().map(|document| &document.root)
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Document> {
        self.documents.iter().filter(move |document| document.kind == kind)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.documents.iter().map(|document| document.kind)).finish()
    }
}
