//! What the caller wants to be true, and what only the caller can decide.

use std::fmt;

use serde::Serialize;

use crate::Name;

/// What the caller wants to be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Goal {
    /// The cluster stands.
    Create,
    /// The cluster that stands is handed over to Flux.
    Handover,
    /// What stood is gone, and the next life of the cluster stands in its place.
    Rebirth,
    /// Nothing of the cluster is left.
    Destroy,
}

impl Goal {
    /// Its name, as verbs, events and the facts of a life have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Handover => "handover",
            Self::Rebirth => "rebirth",
            Self::Destroy => "destroy",
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What to do when the store knows a life that was whole and has neither
/// tombstone nor machines: somebody removed them without castle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LostLife {
    /// Refuse, and say what the choices are.
    #[default]
    Ask,
    /// Bring the same life back, with its bundle.
    Continue,
    /// End it and begin the next.
    Begin,
}

/// What castle does not decide by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decisions {
    /// What to do about a life that lost its machines without a tombstone.
    pub lost_life: LostLife,
    /// The life that a rebirth is to replace; 0: none, it begins in an empty house.
    ///
    /// It makes a rebirth a request that can be repeated: once a newer life exists,
    /// this one *is* replaced, and the same request finishes that newer life, or
    /// finds it whole and does nothing. Without it, a rebirth whose last answer was
    /// lost cannot be told from a second one that is wanted.
    pub replaces: Option<u32>,
    /// Whether a rebirth ends even a life that an earlier rebirth began and did not
    /// finish.
    pub abandon: bool,
    /// The cluster whose declared datasets may be lost, by its name.
    pub waive_data: Option<Name>,
}

impl From<LostLife> for Decisions {
    fn from(lost_life: LostLife) -> Self {
        Self { lost_life, ..Self::default() }
    }
}
