//! What went wrong while talking to Proxmox VE.

use std::error::Error as StdError;
use std::sync::Arc;

use castle_core::{ErrorKind, Retry};

use crate::{Fingerprint, Refusal};

/// The cause of an error. Shared, because everybody who waited for an answer
/// gets the error that came instead.
pub type Cause = Arc<dyn StdError + Send + Sync>;

/// The result of a call to Proxmox VE.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong while talking to Proxmox VE.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The option document cannot be used.
    #[error("option `{option}` {why}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The dial map does not hold the address, so nothing was dialled.
    #[error("{url} is not dialled")]
    NotDialled {
        /// The declared address.
        url: String,
        /// What the dial map said.
        #[source]
        source: Cause,
    },
    /// No answer; the host may be down or the address wrong. The request did
    /// not reach it, or was a read.
    #[error("no answer from {url}")]
    Unreachable {
        /// The declared address.
        url: String,
        /// What the network said.
        #[source]
        source: Cause,
    },
    /// The server shows a certificate other than the pinned ones. Nothing was
    /// sent to it.
    #[error("{url} shows the certificate {found}, which is not among the pinned: {}", Fingerprint::list(expected))]
    CertificateChanged {
        /// The declared address.
        url: String,
        /// The pinned fingerprints.
        expected: Vec<Fingerprint>,
        /// The fingerprint of the certificate shown.
        found: Fingerprint,
    },
    /// The server's certificate is not vouched for by the given authorities, or
    /// not for this name or time. Nothing was sent to it.
    #[error("{url} shows the certificate {found}, which is refused: {why}")]
    CertificateRefused {
        /// The declared address.
        url: String,
        /// The fingerprint of the certificate shown.
        found: Fingerprint,
        /// What is wrong with it.
        why: String,
    },
    /// The answer is not one that Proxmox VE gives.
    #[error("{request} was not answered as Proxmox VE answers: {why}")]
    Malformed {
        /// Method and path.
        request: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// A request that changes something was sent, and its answer was lost. The
    /// caller must look before it acts again.
    #[error("the answer to {request} was lost")]
    OutcomeUnknown {
        /// Method and path.
        request: String,
        /// What happened instead of an answer.
        #[source]
        source: Cause,
    },
    /// Proxmox VE said no.
    #[error("{request} was refused with status {status}: {said}")]
    Refused {
        /// Method and path.
        request: String,
        /// The HTTP status.
        status: u16,
        /// Its words.
        said: String,
        /// What they mean.
        refusal: Refusal,
    },
    /// A task was accepted and then failed on the host.
    #[error("task {upid} on node {node} ended with {exit:?}")]
    TaskFailed {
        /// The node that ran it.
        node: String,
        /// The task.
        upid: String,
        /// Its exit status.
        exit: String,
        /// What that means.
        refusal: Refusal,
    },
    /// The node no longer knows a task that was waited for.
    #[error("node {node} does not know task {upid} any more")]
    TaskLost {
        /// The node that ran it.
        node: String,
        /// The task.
        upid: String,
    },
    /// A machine is not in the power state that its task ended well for.
    #[error("machine {id} on node {node} is not {wanted}, though the host said so")]
    NotReached {
        /// The node that owns the machine.
        node: String,
        /// The machine's number.
        id: u32,
        /// The power state that was waited for.
        wanted: castle_core::Power,
    },
    /// The caller asked to stop.
    #[error("stopped at the caller's request")]
    Cancelled,
}

impl Error {
    /// What Proxmox VE meant, if it was Proxmox VE that said no.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } | Self::TaskFailed { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// Whether asking the same question again may bring an answer.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { refusal, .. } => {
                matches!(refusal, Refusal::NodeOffline | Refusal::ProxyTimeout | Refusal::Overloaded)
            }
            _ => false,
        }
    }

    /// Whether a request that changes something may have had its effect.
    pub(crate) fn leaves_doubt(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. } | Self::TaskLost { .. } | Self::NotReached { .. })
    }
}

impl From<Error> for castle_core::Error {
    fn from(error: Error) -> Self {
        let (kind, message, hint) = match &error {
            Error::BadOption { option, why } => {
                return Self::new(ErrorKind::InvalidSpec, format!("option `{option}` {why}"))
                    .hint("correct the option document");
            }
            Error::Cancelled => return Self::cancelled(),
            Error::NotDialled { .. } => (
                ErrorKind::Unreachable,
                "the hypervisor's address is not in the dial map",
                Some("add it under `dial` in the option document, or remove the whole map".to_owned()),
            ),
            Error::Unreachable { .. } => (
                ErrorKind::Unreachable,
                "the hypervisor does not answer",
                Some("check that the host is up and that `proxmox.url` names it".to_owned()),
            ),
            Error::CertificateChanged { found, .. } => (
                ErrorKind::Unreachable,
                "the hypervisor's certificate is not a pinned one, so nothing was sent",
                Some(format!(
                    "compare with `pvenode cert info` on the host; if the host renewed its certificate, pin {found}"
                )),
            ),
            Error::CertificateRefused { .. } => (
                ErrorKind::Unreachable,
                "the hypervisor's certificate is not vouched for, so nothing was sent",
                Some(
                    "give the authority in /etc/pve/pve-root-ca.pem and a name that the certificate holds, or pin \
                     the fingerprint that `pvenode cert info` shows on the host"
                        .to_owned(),
                ),
            ),
            Error::Malformed { .. } => (
                ErrorKind::Unreachable,
                "the answer did not come from a Proxmox VE that castle knows",
                Some("check that `proxmox.url` names the API of Proxmox VE 9, usually port 8006".to_owned()),
            ),
            Error::OutcomeUnknown { .. } | Error::TaskLost { .. } => (
                ErrorKind::Unreachable,
                "it is not known what the hypervisor did",
                Some("run the same command again: it looks before it acts".to_owned()),
            ),
            Error::NotReached { .. } => (
                ErrorKind::Conflict,
                "the machine is not in the power state it was brought to",
                Some(
                    "see who else starts or stops it: its tasks on the host, or the high-availability manager"
                        .to_owned(),
                ),
            ),
            Error::Refused { refusal, .. } => meaning(refusal, "the hypervisor refused the request"),
            Error::TaskFailed { refusal, .. } => meaning(refusal, "the hypervisor's task failed"),
        };
        let mut out = Self::new(kind, message);
        match &error {
            Error::Refused { request, .. }
            | Error::Malformed { request, .. }
            | Error::OutcomeUnknown { request, .. } => {
                out = out.with("request", request);
            }
            Error::TaskFailed { node, upid, .. } | Error::TaskLost { node, upid } => {
                out = out.with("host", node).with("task", upid);
            }
            _ => {}
        }
        if let Some(hint) = hint.or_else(|| last_resort(&error)) {
            out = out.hint(hint);
        }
        out = match &error {
            // Neither a map nor a certificate mends itself.
            Error::NotDialled { .. } | Error::CertificateChanged { .. } | Error::CertificateRefused { .. } => {
                out.retry(Retry::Never)
            }
            Error::Refused { refusal: Refusal::Interrupted, .. }
            | Error::TaskFailed { refusal: Refusal::Interrupted, .. } => out.retry(Retry::AfterObserving),
            _ => out,
        };
        out.caused_by(error)
    }
}

/// Where to read on when the refusal itself names no way out.
fn last_resort(error: &Error) -> Option<String> {
    match error {
        Error::TaskFailed { node, upid, .. } => {
            Some(format!("`pvenode task log {upid}` on {node} tells more; then run the same command again"))
        }
        Error::Refused { .. } => {
            Some("look at what it names on the host; then run the same command again: it looks before it acts".into())
        }
        _ => None,
    }
}

/// What a refusal means to the caller, and what the operator does next.
fn meaning(refusal: &Refusal, otherwise: &'static str) -> (ErrorKind, &'static str, Option<String>) {
    let hint = |text: &str| Some(text.to_owned());
    match refusal {
        Refusal::Unauthenticated => (
            ErrorKind::Unauthenticated,
            "the hypervisor does not accept the API token",
            hint("check `proxmox.token` against `pveum user token list`; a lost token is made anew"),
        ),
        Refusal::Forbidden { path, privilege } => (
            ErrorKind::PermissionDenied,
            "the API token lacks a right",
            Some(match (path, privilege) {
                (Some(path), Some(privilege)) => {
                    format!("grant {privilege} on {path}; `castle check` prints the command")
                }
                _ => "`castle check` prints what is missing, with the command".to_owned(),
            }),
        ),
        Refusal::Invalid { fields } => (
            ErrorKind::InvalidSpec,
            "the hypervisor does not accept the declaration",
            fields.iter().next().map(|(field, why)| format!("mend what becomes `{field}`: {why}")),
        ),
        Refusal::Locked { lock } => (
            ErrorKind::Conflict,
            "the machine is locked",
            Some(format!("wait for the {lock} to end; if nothing works on it any more, `qm unlock` it as root")),
        ),
        Refusal::LockTimeout => {
            (ErrorKind::Conflict, "another task held a lock for too long", hint("run the same command again"))
        }
        Refusal::NoSuchMachine => (ErrorKind::NotFound, "the machine does not exist", None),
        Refusal::NoSuchTask => (ErrorKind::NotFound, "the hypervisor does not know the task", None),
        Refusal::NoSuchNode => (
            ErrorKind::NotFound,
            "the hypervisor's cluster has no such host",
            hint("correct the host's name in castle.yaml; `pvecm nodes` lists them"),
        ),
        Refusal::NoSuchVolume => (
            ErrorKind::NotFound,
            "a volume is missing",
            hint("`castle check` prints the command that fetches the image"),
        ),
        Refusal::AlreadyExists => (ErrorKind::AlreadyExists, "the machine id is taken", None),
        Refusal::Running => (ErrorKind::Conflict, "the machine runs", hint("run the same command again")),
        Refusal::NotRunning => (ErrorKind::Conflict, "the machine does not run", None),
        Refusal::Protected => {
            (ErrorKind::Conflict, "the machine is protected again", hint("see who protected it, then run again"))
        }
        Refusal::StaleDigest => {
            (ErrorKind::Conflict, "somebody else changed the machine", hint("run the same command again"))
        }
        Refusal::StorageFull => (
            ErrorKind::Exhausted,
            "the storage is full",
            hint("free space (`pvesm status` shows it) or declare another storage"),
        ),
        Refusal::StorageUnavailable => (
            ErrorKind::NotFound,
            "the storage is not available",
            hint("`pvesm status` on the host shows the storages; correct the name or bring it online"),
        ),
        Refusal::NodeOffline | Refusal::ProxyTimeout => (
            ErrorKind::Unreachable,
            "the host does not answer",
            hint("check that the host is up; `pvecm status` shows it"),
        ),
        Refusal::NoQuorum => (
            ErrorKind::Unreachable,
            "the hypervisor's cluster has no quorum",
            hint("bring its other hosts back; `pvecm status` shows them"),
        ),
        Refusal::Overloaded => {
            (ErrorKind::RateLimited, "the host could not start a worker", hint("run the same command again"))
        }
        Refusal::BaseInUse => (
            ErrorKind::Conflict,
            "a linked clone lives on the machine's disk",
            hint("remove the clone first; the message names the volume"),
        ),
        Refusal::HaManaged => (
            ErrorKind::Conflict,
            "the high-availability manager holds the machine",
            hint("`ha-manager remove vm:<id>` on the host, then run again"),
        ),
        Refusal::Unsupported => {
            (ErrorKind::Unsupported, "this Proxmox VE does not know the call", hint("castle needs Proxmox VE 9"))
        }
        Refusal::Interrupted | Refusal::Other => (ErrorKind::Unexpected, otherwise, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_s_error_says_what_to_do_and_keeps_the_words() {
        let error = Error::TaskFailed {
            node: "pve".into(),
            upid: "UPID:pve:1:2:3:qmcreate:421:castle@pve!main:".into(),
            exit: "no space left on device".into(),
            refusal: Refusal::StorageFull,
        };
        let port = castle_core::Error::from(error);
        assert_eq!(port.kind(), ErrorKind::Exhausted);
        assert!(port.advice().expect("a hint").contains("pvesm status"));
        assert_eq!(
            port.chain(),
            "the storage is full: task UPID:pve:1:2:3:qmcreate:421:castle@pve!main: on node pve ended with \
             \"no space left on device\""
        );
    }

    #[test]
    fn a_wrong_certificate_is_not_tried_again() {
        let error = Error::CertificateChanged {
            url: "https://pve:8006".into(),
            expected: vec![Fingerprint::from([1; 32])],
            found: Fingerprint::from([2; 32]),
        };
        assert!(error.to_string().contains("02:02") && error.to_string().contains("01:01"), "{error}");
        assert_eq!(castle_core::Error::from(error).retry_class(), Retry::Never);
    }
}
