//! What goes wrong between castle and an API server.

use std::error::Error as StdError;
use std::sync::Arc;

use castle_core::{ErrorKind, Retry};

/// What went wrong. No variant holds anything of a kubeconfig but the server's
/// address.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kubeconfig is not one that castle follows.
    #[error("the kubeconfig {why}")]
    BadKubeconfig {
        /// Why not, without any of its values.
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
    /// The server's certificate is not vouched for by the cluster's authority.
    #[error("the certificate of {server} is refused: {why}")]
    Distrusted {
        /// The server.
        server: String,
        /// What is wrong with it.
        why: String,
    },
    /// The server said no.
    #[error("{request} was answered with status {status}: {said}")]
    Refused {
        /// The request.
        request: String,
        /// The HTTP status code.
        status: u16,
        /// The machine-readable reason, for example `Forbidden`.
        reason: String,
        /// The sentence for people.
        said: String,
        /// The single causes: a reason, a field and a sentence each.
        causes: Vec<Cause>,
    },
    /// The answer is not what Kubernetes answers.
    #[error("the answer to {request} is not understood: {why}")]
    Malformed {
        /// The request.
        request: String,
        /// What is wrong with it.
        why: String,
    },
}

/// One of the causes of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cause {
    /// For example `FieldManagerConflict`.
    pub reason: String,
    /// The field: `.spec.replicas`.
    pub field: String,
    /// The sentence for people.
    pub said: String,
}

/// The result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether the watch began too far back.
    pub(crate) fn is_expired(&self) -> bool {
        matches!(self, Self::Refused { status: 410, .. })
    }

    /// Whether the object, or its whole kind, is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// The fields that others hold, if that is why an apply was refused.
    pub(crate) fn conflicts(&self) -> Option<&[Cause]> {
        match self {
            Self::Refused { status: 409, causes, .. }
                if causes.iter().any(|cause| cause.reason == "FieldManagerConflict") =>
            {
                Some(causes)
            }
            _ => None,
        }
    }
}

impl From<Error> for castle_core::Error {
    fn from(error: Error) -> Self {
        let (kind, message, hint) = match &error {
            Error::BadKubeconfig { .. } => (
                ErrorKind::InvalidSpec,
                "the kubeconfig is not used",
                "give one with inline certificates only, as castle mints it",
            ),
            Error::NotDialled { .. } => (
                ErrorKind::Unreachable,
                "the address of the Kubernetes API is not in the dial map",
                "add it under `dial` in the option document, or remove the whole map",
            ),
            Error::Unreachable { .. } => (
                ErrorKind::Unreachable,
                "the Kubernetes API does not answer",
                "check that a control plane is up and holds the cluster's address",
            ),
            Error::Distrusted { .. } => (
                ErrorKind::Unreachable,
                "the server at the cluster's address is not vouched for by the cluster's authority, so nothing was sent",
                "look which machine holds the address: another cluster, or a former life of this one",
            ),
            Error::Refused { status, .. } => of_status(*status),
            Error::Malformed { .. } => (
                ErrorKind::Unexpected,
                "the Kubernetes API gave an answer that is not understood",
                "check that nothing stands between castle and the API server",
            ),
        };
        let mut out = Self::new(kind, message).hint(hint);
        if matches!(error, Error::NotDialled { .. } | Error::Distrusted { .. }) {
            out = out.retry(Retry::Never);
        }
        out.caused_by(error)
    }
}

fn of_status(status: u16) -> (ErrorKind, &'static str, &'static str) {
    match status {
        401 => (
            ErrorKind::Unauthenticated,
            "the Kubernetes API does not know the client certificate",
            "mint the kubeconfig again; the certificate may have expired, or the cluster may be another",
        ),
        403 => (
            ErrorKind::PermissionDenied,
            "the Kubernetes API says no",
            "use a kubeconfig of the group `system:masters`, as castle mints it",
        ),
        404 => (ErrorKind::NotFound, "the Kubernetes API does not have it", "check the version of the cluster"),
        409 => (ErrorKind::Conflict, "the object was changed meanwhile", "look again, then try again"),
        422 | 400 => (ErrorKind::InvalidSpec, "the Kubernetes API refuses the request", "read the cause"),
        429 => (ErrorKind::RateLimited, "the Kubernetes API asks for patience", "wait a little"),
        500.. => (ErrorKind::Unreachable, "the Kubernetes API is not ready", "wait until its checks pass"),
        _ => (ErrorKind::Unexpected, "the Kubernetes API gave an unexpected answer", "read the cause"),
    }
}
