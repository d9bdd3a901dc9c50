//! Secrets and their versions.

use std::time::Duration;

use castle_core::{Secret, SecretText};

use super::Place;

/// A secret with all its versions.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its id.
    pub id: String,
    /// What somebody noted beside it.
    pub comment: String,
    /// Its versions, at least one, the newest last.
    pub versions: Vec<Version>,
}

/// A version of a secret.
#[derive(Debug, Clone)]
pub struct Version {
    /// The value.
    pub value: SecretText,
    /// When it was written, in the world's time.
    pub at: Duration,
}

/// One write of a secret. What it wrote is not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// When, in the world's time.
    pub at: Duration,
    /// The folder.
    pub place: Place,
    /// The secret.
    pub name: String,
    /// Its version by this write, from 1.
    pub version: u64,
    /// Whether the value differs from the version before.
    pub differs: bool,
}

impl Stored {
    pub(super) fn new(id: String) -> Self {
        Self { id, comment: String::new(), versions: Vec::new() }
    }

    pub(super) fn push(&mut self, value: String, at: Duration) {
        self.versions.push(Version { value: Secret::new(value), at });
    }

    /// The present value.
    #[must_use]
    pub fn value(&self) -> &SecretText {
        &self.versions.last().expect("a secret is made with its first version").value
    }

    /// The present version, from 1.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.versions.len() as u64
    }
}

/// What the server keeps of a value: no blanks around it, and of the line breaks
/// at its end one.
pub(super) fn trimmed(value: &str) -> String {
    let line_break = if value.ends_with('\n') { "\n" } else { "" };
    format!("{}{line_break}", value.trim())
}

#[cfg(test)]
mod tests {
    use super::trimmed;

    #[test]
    fn a_value_is_trimmed_but_for_one_line_break() {
        for (given, kept) in [
            ("plain", "plain"),
            ("  blanks \t", "blanks"),
            ("a: 1\nb: 2\n", "a: 1\nb: 2\n"),
            ("\n\npem\n\n\n", "pem\n"),
            ("end \n ", "end"),
            ("", ""),
        ] {
            assert_eq!(trimmed(given), kept, "{given:?}");
        }
    }
}
