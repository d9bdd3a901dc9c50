//! What goes wrong between castle and a server that speaks HTTP.

use std::error::Error as StdError;
use std::sync::Arc;

use castle_core::{ErrorKind, Retry};

/// What went wrong. No variant holds anything of a request but its server.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL is not one that castle follows.
    #[error("the URL {why}")]
    BadUrl {
        /// Why not. The URL is left out: it may hold a password.
        why: String,
    },
    /// What shall vouch for the server cannot be used.
    #[error("what vouches for {server} {why}")]
    BadTrust {
        /// The server.
        server: String,
        /// Why not.
        why: String,
    },
    /// The dial map does not lead to the server.
    #[error("{server} is not dialled")]
    NotDialled {
        /// The server.
        server: String,
        /// What the dial map says.
        #[source]
        source: Arc<castle_core::Error>,
    },
    /// No usable answer.
    #[error("no answer from {server}")]
    Unreachable {
        /// The server.
        server: String,
        /// Why.
        #[source]
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// The server's certificate is not taken.
    #[error("the certificate of {server} is refused: {why}")]
    Distrusted {
        /// The server.
        server: String,
        /// What is wrong with it.
        why: String,
    },
    /// The answer is longer than its reader allows.
    #[error("the answer of {server} has more than {cap} bytes")]
    TooLong {
        /// The server.
        server: String,
        /// How many are read.
        cap: usize,
    },
    /// A download ended with another status than success.
    #[error("{server} answered a download with status {status}")]
    NotServed {
        /// The server.
        server: String,
        /// The HTTP status code.
        status: u16,
    },
}

/// The result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether the request may never have reached a server that was meant.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

impl From<Error> for castle_core::Error {
    fn from(error: Error) -> Self {
        let (kind, message, hint) = match &error {
            Error::BadUrl { .. } => (
                ErrorKind::InvalidSpec,
                "a URL is not used".to_owned(),
                "write `https://host/path`, without a user or a password",
            ),
            Error::BadTrust { server, .. } => (
                ErrorKind::InvalidSpec,
                format!("nothing usable vouches for {server}"),
                "give `trust` with the PEM of its authority, or its fingerprint",
            ),
            Error::NotDialled { server, .. } => (
                ErrorKind::Unreachable,
                format!("{server} is not in the dial map"),
                "add it under `dial` in the option document, or remove the whole map",
            ),
            Error::Unreachable { server, .. } => (
                ErrorKind::Unreachable,
                format!("{server} does not answer"),
                "check the name and the network, and that the server is up",
            ),
            Error::Distrusted { server, .. } => (
                ErrorKind::Unreachable,
                format!("nobody vouches for {server}, so nothing was sent"),
                "give `trust` with the PEM of its authority, or its fingerprint",
            ),
            Error::TooLong { server, .. } => (
                ErrorKind::Unexpected,
                format!("{server} gave an answer that is too long"),
                "check that nothing stands between castle and the server",
            ),
            Error::NotServed { server, status: 404 } => {
                (ErrorKind::NotFound, format!("{server} does not have what was asked for"), "check the URL")
            }
            Error::NotServed { server, status: 429 } => {
                (ErrorKind::RateLimited, format!("{server} asks for patience"), "wait a little")
            }
            Error::NotServed { server, status: 500.. } => {
                (ErrorKind::Unreachable, format!("{server} cannot serve now"), "wait a little")
            }
            Error::NotServed { server, .. } => {
                (ErrorKind::Unexpected, format!("{server} does not serve the download"), "check the URL")
            }
        };
        let mut out = Self::new(kind, message).hint(hint);
        if matches!(error, Error::NotDialled { .. } | Error::Distrusted { .. }) {
            out = out.retry(Retry::Never);
        }
        out.caused_by(error)
    }
}
