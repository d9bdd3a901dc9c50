//! Whose hand writes, and how firmly.

/// Who writes to the store, and how.
///
/// The name is the field manager: it stands in `managedFields` beside the fields
/// that this hand wrote last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hand {
    /// The field manager: `kubectl-castle`, `kustomize-controller`.
    pub manager: String,
    /// Only show what the write would make.
    pub dry_run: bool,
    /// Take fields from other managers where an apply meets them.
    pub force: bool,
    /// Refuse fields that the schema of a custom kind does not know.
    pub strict: bool,
}

impl Hand {
    /// A manager that writes in earnest, takes nothing from others, and whose
    /// unknown fields are dropped without a word.
    #[must_use]
    pub fn of(manager: impl Into<String>) -> Self {
        Self { manager: manager.into(), dry_run: false, force: false, strict: false }
    }

    /// The same without leaving a trace.
    #[must_use]
    pub fn dry(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// The same, taking what others hold.
    #[must_use]
    pub fn forcing(mut self) -> Self {
        self.force = true;
        self
    }

    /// The same, with every unknown field refused.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }
}

impl Default for Hand {
    /// Somebody who gave no name: the API server writes `unknown`.
    fn default() -> Self {
        Self::of("unknown")
    }
}
