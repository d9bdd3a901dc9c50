//! What the floor keeps inside the world, so that a power cut carries it over.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use castle_core::{SecretBytes, SecretKey};

use crate::pki::Pki;
use crate::run::RunId;

/// The floor's own page in the world's book.
///
/// A lab is stopped and started again around one world. What must survive that
/// and is no part of the home itself stands here: which runs there were, the
/// secrets that castle stored, and the house's certificate authority.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// How many runs were allotted. Numbers are never used twice, so a run's
    /// random bytes are its own.
    pub runs: u32,
    /// The runs whose process died.
    pub dead: BTreeSet<RunId>,
    /// What castle put into the secret store, by name.
    pub secrets: Secrets,
    /// How often each of them was written with another value than before.
    pub versions: BTreeMap<SecretKey, u32>,
    /// The house's certificate authority.
    pub pki: Option<Arc<Pki>>,
}

/// Named secrets that no formatter prints.
#[derive(Clone, Default)]
pub struct Secrets(pub BTreeMap<SecretKey, SecretBytes>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
