//! A finding about a declaration or about the world, reported with its place and its cure.

use std::fmt;

use serde::Serialize;

/// How much a [`Problem`] weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is refused.
    Warning,
    /// The plan is refused until it is cured.
    Error,
}

/// A place in a document: line and column count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Span {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// One thing that is wrong, where it is, and what the reader can do about it.
///
/// Validation and planning return all of them at once: an operator who mends
/// one finding at a time loses an evening.
///
/// ```
/// use castle_core::{Problem, Span};
///
/// let problem = Problem::error("even-control-plane", "control_planes", "2 control planes tolerate no loss")
///     .hint("declare 1 or 3")
///     .at(Span { line: 12, column: 1 });
/// assert_eq!(problem.to_string(), "control_planes: 2 control planes tolerate no loss");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A stable name in kebab case, for scripts and documents.
    pub code: &'static str,
    /// How much it weighs.
    pub severity: Severity,
    /// What it is about: a path in the declaration, a machine, a host.
    pub subject: String,
    /// What is wrong, in one lower-case sentence.
    pub message: String,
    /// One action, or the exact command for the administrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where the declaration says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
}

impl Problem {
    /// A finding that refuses the plan.
    pub fn error(code: &'static str, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            subject: subject.into(),
            message: message.into(),
            hint: None,
            span: None,
        }
    }

    /// A finding that is only told.
    pub fn warning(code: &'static str, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, subject, message) }
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the place in the declaration.
    #[must_use]
    pub fn at(mut self, span: impl Into<Option<Span>>) -> Self {
        self.span = span.into();
        self
    }

    /// Whether it refuses the plan.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.message)
    }
}
