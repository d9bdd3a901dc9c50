//! The one error type that crosses a port.

use std::error::Error as StdError;
use std::fmt;

/// What an error means to the caller, whatever backend it came from.
///
/// [`ErrorKind::code`] is the stable name that documents, scripts and the JSON
/// output use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The thing asked for does not exist.
    NotFound,
    /// The thing to be made exists and is not what was wanted.
    AlreadyExists,
    /// Somebody else changed it, or holds it, right now.
    Conflict,
    /// The backend does not know who we are.
    Unauthenticated,
    /// The backend knows us and says no.
    PermissionDenied,
    /// No answer, or an answer from something that is not the backend.
    Unreachable,
    /// The backend asks us to slow down, or lacks the room to serve.
    RateLimited,
    /// A condition was not met in its time; the message carries the last reason.
    DeadlineExceeded,
    /// The caller asked to stop.
    Cancelled,
    /// The act would cost, or has cost, the quorum of etcd.
    QuorumLost,
    /// An address or a machine id is taken by somebody else.
    AddressInUse,
    /// The declaration is wrong.
    InvalidSpec,
    /// The backend cannot do this.
    Unsupported,
    /// The thing is not ours, so it is not touched.
    ForeignOwner,
    /// Proof is missing that the act is safe.
    EvidenceMissing,
    /// The backend has no room: storage or memory.
    Exhausted,
    /// Anything else.
    Unexpected,
}

impl ErrorKind {
    /// Every kind, in the order of their declaration.
    pub const ALL: [Self; 17] = [
        Self::NotFound,
        Self::AlreadyExists,
        Self::Conflict,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::Unreachable,
        Self::RateLimited,
        Self::DeadlineExceeded,
        Self::Cancelled,
        Self::QuorumLost,
        Self::AddressInUse,
        Self::InvalidSpec,
        Self::Unsupported,
        Self::ForeignOwner,
        Self::EvidenceMissing,
        Self::Exhausted,
        Self::Unexpected,
    ];

    /// The stable name, in snake case.
    ///
    /// ```
    /// assert_eq!(castle_core::ErrorKind::ForeignOwner.code(), "foreign_owner");
    /// ```
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::Unreachable => "unreachable",
            Self::RateLimited => "rate_limited",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Cancelled => "cancelled",
            Self::QuorumLost => "quorum_lost",
            Self::AddressInUse => "address_in_use",
            Self::InvalidSpec => "invalid_spec",
            Self::Unsupported => "unsupported",
            Self::ForeignOwner => "foreign_owner",
            Self::EvidenceMissing => "evidence_missing",
            Self::Exhausted => "exhausted",
            Self::Unexpected => "unexpected",
        }
    }

    /// Whether a guard refused, so that nothing was done on purpose.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::ForeignOwner | Self::EvidenceMissing | Self::QuorumLost)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Whether looking again and trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same act will fail the same way.
    Never,
    /// The next round, after a fresh look, may succeed: a lost answer, a busy
    /// lock, a host that restarts.
    AfterObserving,
}

/// Why a call failed: a kind, one sentence, where it happened, and a way out.
///
/// `Display` prints this error's own sentence only; [`Error::chain`] prints the
/// causes as well. The type is one word wide, so results stay small.
///
/// ```
/// use castle_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Unreachable, "the hypervisor does not answer")
///     .with("host", "pve")
///     .hint("check that the host is up");
/// assert_eq!(error.to_string(), "the hypervisor does not answer");
/// assert_eq!(error.context().collect::<Vec<_>>(), [("host", "pve")]);
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    retry: Retry,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of anything that crosses a port.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Starts an error. `message` is one lower-case sentence without a period.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retry = match kind {
            ErrorKind::Unreachable | ErrorKind::RateLimited | ErrorKind::Conflict => Retry::AfterObserving,
            _ => Retry::Never,
        };
        Self(Box::new(Inner { kind, message: message.into(), context: Vec::new(), hint: None, retry, source: None }))
    }

    /// The error of a caller who asked to stop.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "stopped at the caller's request")
    }

    /// Adds where it happened: `node`, `host`, `request`, `step` and the like.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((key, value.to_string()));
        self
    }

    /// Sets the one action that the reader can take.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Overrides whether trying again can help.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What it means.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn retry_class(&self) -> Retry {
        self.0.retry
    }

    /// What the reader can do.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Where it happened, in the order it was added.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.context.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// This error and all its causes on one line.
    ///
    /// ```
    /// use castle_core::{Error, ErrorKind};
    /// let error = Error::new(ErrorKind::Unreachable, "the hypervisor does not answer")
    ///     .caused_by(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
    /// assert_eq!(error.chain(), "the hypervisor does not answer: connection refused");
    /// ```
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.0.message.clone();
        let mut next = self.source();
        while let Some(cause) = next {
            let said = cause.to_string();
            if !text.ends_with(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.0.kind).field("message", &self.0.message);
        for (key, value) in &self.0.context {
            debug.field(key, value);
        }
        if let Some(hint) = &self.0.hint {
            debug.field("hint", hint);
        }
        if let Some(source) = &self.0.source {
            debug.field("source", &source.to_string());
        }
        debug.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_word_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn every_kind_has_its_own_code() {
        let codes: std::collections::BTreeSet<_> = ErrorKind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
    }
}
