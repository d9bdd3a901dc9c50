//! What went wrong while talking to a Talos node.

use std::error::Error as StdError;
use std::net::IpAddr;
use std::sync::Arc;

use castle_core::{ErrorKind, Retry};
use uuid::Uuid;

use crate::Refusal;
use crate::tls::{Distrust, Fingerprint};

/// The cause of an error.
pub type Cause = Arc<dyn StdError + Send + Sync>;

/// The result of a call to a node.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong while talking to a Talos node.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The dial map does not hold the address, so nothing was dialled.
    #[error("{address}:{port} is not dialled")]
    NotDialled {
        /// The declared address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// What the dial map said.
        #[source]
        source: Cause,
    },
    /// Nothing answers, or not in time. The request did not reach the node, or
    /// was a read.
    #[error("{address}:{port} does not answer: {how}")]
    Silent {
        /// The declared address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// How that shows.
        how: String,
    },
    /// The certificate that is shown does not prove what it must. Nothing was
    /// sent.
    #[error("{address}:{port} {distrust}")]
    Untrusted {
        /// The declared address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// What it shows and what is wrong with it.
        distrust: Distrust,
    },
    /// A call that changes something was sent, and its answer was lost. The
    /// caller must look before it acts again.
    #[error("the answer of {node} to {call} was lost: {how}")]
    OutcomeUnknown {
        /// The node.
        node: String,
        /// The call.
        call: &'static str,
        /// What happened instead of an answer.
        how: String,
    },
    /// The node said no.
    #[error("{node} refused {call} ({code:?}): {said}")]
    Refused {
        /// The node.
        node: String,
        /// The call.
        call: &'static str,
        /// The gRPC code.
        code: tonic::Code,
        /// Its words.
        said: String,
        /// What they mean.
        refusal: Refusal,
    },
    /// The answer is not one that Talos gives.
    #[error("{node} did not answer {call} as Talos answers: {why}")]
    Malformed {
        /// The node.
        node: String,
        /// The call.
        call: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// What answers is not the machine that it must be.
    #[error("{node} is the machine {wanted}, and {address} is {}", found.map_or_else(|| "one that does not tell its uuid".to_owned(), |uuid| format!("the machine {uuid}")))]
    WrongMachine {
        /// The node.
        node: String,
        /// Its address.
        address: IpAddr,
        /// The uuid of the machine that was born for it.
        wanted: Uuid,
        /// What the node said.
        found: Option<Uuid>,
    },
    /// The node waits for a configuration, and nothing proves that it is the node.
    #[error("{node} shows the key {found}, and no pin says whether it is its own")]
    Unproved {
        /// The node.
        node: String,
        /// The key that it shows.
        found: Fingerprint,
    },
    /// The node's disk holds remains of a former life.
    #[error("the disk of {node} is not blank: {}", residue.join(", "))]
    NotBlank {
        /// The node.
        node: String,
        /// What was found.
        residue: Vec<String>,
    },
    /// Etcd's data belongs to another cluster.
    #[error("etcd on {node} has data that is not this cluster's: {evidence}")]
    OldData {
        /// The node.
        node: String,
        /// What its member list shows.
        evidence: String,
    },
    /// The secrets bundle cannot be used.
    #[error("the secrets bundle cannot be used: {why}")]
    BadBundle {
        /// What is wrong, without any of its content.
        why: String,
    },
}

impl Error {
    /// What Talos meant, if it was Talos that said no.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }
}

impl From<Error> for castle_core::Error {
    fn from(error: Error) -> Self {
        let (kind, message, hint) = meaning(&error);
        let mut out = Self::new(kind, message);
        out = match &error {
            Error::NotDialled { address, .. } | Error::Silent { address, .. } | Error::Untrusted { address, .. } => {
                out.with("address", address)
            }
            Error::OutcomeUnknown { node, call, .. }
            | Error::Refused { node, call, .. }
            | Error::Malformed { node, call, .. } => out.with("node", node).with("call", call),
            Error::WrongMachine { node, address, .. } => out.with("node", node).with("address", address),
            Error::Unproved { node, .. } | Error::NotBlank { node, .. } | Error::OldData { node, .. } => {
                out.with("node", node)
            }
            Error::BadBundle { .. } => out,
        };
        if let Some(hint) = hint {
            out = out.hint(hint);
        }
        out = match &error {
            // Neither a map nor a stranger mends itself.
            Error::NotDialled { .. } => out.retry(Retry::Never),
            Error::Untrusted { distrust, .. } if !distrust.may_pass() => out.retry(Retry::Never),
            _ => out,
        };
        out.caused_by(error)
    }
}

const RUN_AGAIN: &str = "run the same command again: it looks before it acts";

/// What an error means to the caller, and what the operator does next.
fn meaning(error: &Error) -> (ErrorKind, &'static str, Option<&'static str>) {
    match error {
        Error::NotDialled { .. } => (
            ErrorKind::Unreachable,
            "the node's address is not in the dial map",
            Some("add it under `dial` in the option document, or remove the whole map"),
        ),
        Error::Silent { .. } => (
            ErrorKind::Unreachable,
            "the node does not answer",
            Some(
                "look at its console; the usual causes are the bridge or VLAN of its network card, a CPU type that \
                 Talos cannot run on (use `host`), and an image that does not boot",
            ),
        ),
        Error::Untrusted { distrust, .. } => {
            let kind = if distrust.may_pass() { ErrorKind::Conflict } else { ErrorKind::ForeignOwner };
            (kind, distrust.meaning(), Some(distrust.advice()))
        }
        Error::OutcomeUnknown { .. } => (ErrorKind::Unreachable, "it is not known what the node did", Some(RUN_AGAIN)),
        Error::Refused { refusal, .. } => meaning_of_refusal(*refusal),
        Error::Malformed { .. } => (
            ErrorKind::Unreachable,
            "the answer did not come from a Talos that castle knows",
            Some("castle knows Talos 1.12 to 1.14; compare with `cluster.talos` in castle.yaml"),
        ),
        Error::WrongMachine { .. } => (
            ErrorKind::ForeignOwner,
            "another machine answers at the node's address, so nothing was sent to it",
            Some("find the machine with that address (`castle status` names its uuid) and give it another one"),
        ),
        Error::Unproved { .. } => (
            ErrorKind::EvidenceMissing,
            "nothing proves that the waiting machine is the node, so it got no configuration",
            Some("pin the fingerprint that the machine's console shows, or allow trust on first use"),
        ),
        Error::NotBlank { .. } => (
            ErrorKind::EvidenceMissing,
            "the node's disk holds remains of a former life, so it got no configuration",
            Some("destroy the machine with its disks and run `castle create` again; a reused disk brings ghosts"),
        ),
        Error::OldData { .. } => (
            ErrorKind::EvidenceMissing,
            "etcd has data of another cluster, so the cluster was not born on it",
            Some("destroy the machine with its disks and run `castle create` again (ghost `old-data-directory`)"),
        ),
        Error::BadBundle { .. } => (
            ErrorKind::InvalidSpec,
            "the secrets bundle of this life cannot be used",
            Some("restore the bundle in the secret store; nothing else knows this cluster's keys"),
        ),
    }
}

fn meaning_of_refusal(refusal: Refusal) -> (ErrorKind, &'static str, Option<&'static str>) {
    match refusal {
        Refusal::NotAuthorized => (
            ErrorKind::PermissionDenied,
            "the node does not allow the call",
            Some("a node that waits for its configuration allows reading only; look at its stage"),
        ),
        Refusal::BootstrapNotYet => (ErrorKind::Conflict, "etcd cannot be given birth to yet", Some(RUN_AGAIN)),
        Refusal::TimeNotInSync => (
            ErrorKind::Conflict,
            "the node's time is not in sync yet",
            Some("let it reach a time server: it asks time.cloudflare.com unless castle.yaml names others"),
        ),
        Refusal::DataDirectoryNotEmpty => {
            (ErrorKind::Conflict, "etcd has data already, and its members are not known yet", Some(RUN_AGAIN))
        }
        Refusal::NotAControlPlane => {
            (ErrorKind::InvalidSpec, "the node is a worker, and the call is for control planes", None)
        }
        Refusal::NotConfigured => (ErrorKind::Conflict, "the node has no configuration yet", Some(RUN_AGAIN)),
        Refusal::ApplyInProgress => {
            (ErrorKind::Conflict, "another configuration is being applied to the node", Some(RUN_AGAIN))
        }
        Refusal::RestartPending => (ErrorKind::Conflict, "the node restarts with its configuration", Some(RUN_AGAIN)),
        Refusal::Invalid => (
            ErrorKind::InvalidSpec,
            "the node does not accept what it was given",
            Some("its own words name the field; mend castle.yaml or the patch that sets it"),
        ),
        Refusal::Learner => (ErrorKind::Conflict, "the node only learns in etcd yet", Some(RUN_AGAIN)),
        Refusal::NoSuchMember => (ErrorKind::NotFound, "etcd has no such member", None),
        Refusal::NoSuchResource => (ErrorKind::NotFound, "the node has no such resource", None),
        Refusal::EtcdUnavailable => (ErrorKind::Unreachable, "etcd on the node does not answer", Some(RUN_AGAIN)),
        Refusal::Unsupported => (
            ErrorKind::Unsupported,
            "this Talos does not know the call",
            Some("castle knows Talos 1.12 to 1.14; compare with `cluster.talos` in castle.yaml"),
        ),
        Refusal::NotServing => (ErrorKind::Unreachable, "the node is not ready to answer yet", Some(RUN_AGAIN)),
        Refusal::Overloaded => (ErrorKind::RateLimited, "the node has no room to answer", Some(RUN_AGAIN)),
        Refusal::Other => (ErrorKind::Unexpected, "the node refused the call", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: tonic::Code, said: &str) -> castle_core::Error {
        let (call, said) = ("machine.MachineService/Bootstrap", said.to_owned());
        Error::Refused { node: "cp-01".into(), call, code, refusal: Refusal::of(code, &said), said }.into()
    }

    #[test]
    fn a_refusal_keeps_its_words_and_says_what_to_do() {
        let error = refused(tonic::Code::FailedPrecondition, "time is not in sync yet");
        assert_eq!((error.kind(), error.retry_class()), (ErrorKind::Conflict, Retry::AfterObserving));
        assert!(error.advice().is_some_and(|advice| advice.contains("time server")));
        assert_eq!(
            error.chain(),
            "the node's time is not in sync yet: cp-01 refused machine.MachineService/Bootstrap \
             (FailedPrecondition): time is not in sync yet"
        );
    }

    #[test]
    fn a_stranger_is_not_asked_again_and_a_wrong_clock_is() {
        let untrusted = |distrust| {
            let error: castle_core::Error =
                Error::Untrusted { address: [192, 168, 1, 211].into(), port: 50_000, distrust }.into();
            (error.kind(), error.retry_class())
        };
        let foreign = Distrust::Foreign { subject: "CN=x".into(), issuer: "O=talos".into(), talos: true };
        assert_eq!(untrusted(foreign), (ErrorKind::ForeignOwner, Retry::Never));
        assert_eq!(untrusted(Distrust::OtherTime { why: "x".into() }), (ErrorKind::Conflict, Retry::AfterObserving));
    }

    #[test]
    fn a_node_that_never_answers_names_the_three_usual_causes() {
        let silent = Error::Silent { address: [192, 168, 1, 211].into(), port: 50_000, how: "refused".into() };
        let error = castle_core::Error::from(silent);
        let advice = error.advice().expect("a way out");
        assert!(["bridge", "CPU type", "image", "console"].iter().all(|cause| advice.contains(cause)), "{advice}");
    }
}
