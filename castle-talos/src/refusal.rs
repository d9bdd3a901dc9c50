//! What Talos means when it says no.
//!
//! A gRPC code alone says little (`FAILED_PRECONDITION` is a clock out of sync
//! and a node that is not ready), so the words are read too. Every text that
//! castle knows stands in one table, with the code that it comes with.

use tonic::Code;

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Refusal {
    /// The certificate's role does not allow the call, or the node waits for a
    /// configuration and allows reading only.
    NotAuthorized,
    /// Etcd cannot be given birth to yet: the container runtime is not up.
    BootstrapNotYet,
    /// The node's clock is not in sync, so it starts no etcd.
    TimeNotInSync,
    /// Etcd has data already.
    DataDirectoryNotEmpty,
    /// The call is for control planes only.
    NotAControlPlane,
    /// The node has no configuration yet.
    NotConfigured,
    /// Another configuration is being applied.
    ApplyInProgress,
    /// A configuration was applied, and the node restarts for it.
    RestartPending,
    /// The configuration or another argument is wrong.
    Invalid,
    /// This member of etcd only learns, and answers little.
    Learner,
    /// No such member of etcd.
    NoSuchMember,
    /// No such resource, or none yet.
    NoSuchResource,
    /// Etcd has no leader, or its members do not answer.
    EtcdUnavailable,
    /// This Talos, in this state, does not know the call.
    Unsupported,
    /// The node's API answers, but not what is behind it.
    NotServing,
    /// It slows us down.
    Overloaded,
    /// Anything else.
    Other,
}

/// Code, a part of the words, meaning. The first row that fits is taken; an
/// empty part fits any words.
const MEANINGS: &[(Code, &str, Refusal)] = &[
    (Code::FailedPrecondition, "bootstrap is not available yet", Refusal::BootstrapNotYet),
    (Code::Unknown, "bootstrap is not allowed during unattended install", Refusal::BootstrapNotYet),
    (Code::FailedPrecondition, "time is not in sync yet", Refusal::TimeNotInSync),
    (Code::AlreadyExists, "etcd data directory is not empty", Refusal::DataDirectoryNotEmpty),
    (Code::FailedPrecondition, "another apply configuration is already in progress", Refusal::ApplyInProgress),
    (Code::FailedPrecondition, "configuration was already applied and node is rebooting", Refusal::RestartPending),
    (Code::Unimplemented, "is only available on control plane nodes", Refusal::NotAControlPlane),
    (Code::Unimplemented, "machine type is not set", Refusal::NotConfigured),
    (Code::InvalidArgument, "etcd is not configured", Refusal::NotConfigured),
    (Code::Unknown, "etcdserver: rpc not supported for learner", Refusal::Learner),
    (Code::Unavailable, "etcdserver: rpc not supported for learner", Refusal::Learner),
    (Code::FailedPrecondition, "etcdserver: rpc not supported for learner", Refusal::Learner),
    (Code::Unavailable, "etcdserver", Refusal::EtcdUnavailable),
    (Code::Unknown, "etcdserver", Refusal::EtcdUnavailable),
    (Code::Unknown, "context deadline exceeded", Refusal::EtcdUnavailable),
    (Code::DeadlineExceeded, "", Refusal::EtcdUnavailable),
    (Code::NotFound, "member", Refusal::NoSuchMember),
    (Code::NotFound, "", Refusal::NoSuchResource),
    (Code::PermissionDenied, "is not supported", Refusal::Unsupported),
    (Code::PermissionDenied, "", Refusal::NotAuthorized),
    (Code::Unauthenticated, "", Refusal::NotAuthorized),
    (Code::InvalidArgument, "", Refusal::Invalid),
    (Code::Unimplemented, "", Refusal::Unsupported),
    (Code::Unavailable, "", Refusal::NotServing),
    (Code::ResourceExhausted, "", Refusal::Overloaded),
];

impl Refusal {
    /// Reads an answer.
    ///
    /// ```
    /// use castle_talos::Refusal;
    /// use tonic::Code;
    ///
    /// assert_eq!(Refusal::of(Code::FailedPrecondition, "time is not in sync yet"), Refusal::TimeNotInSync);
    /// ```
    #[must_use]
    pub fn of(code: Code, said: &str) -> Self {
        let fits = |row: &&(Code, &str, Self)| row.0 == code && said.contains(row.1);
        MEANINGS.iter().find(fits).map_or(Self::Other, |row| row.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_can_be_reached() {
        for (code, part, meaning) in MEANINGS {
            assert_eq!(Refusal::of(*code, part), *meaning, "{code:?} {part}");
        }
    }

    #[test]
    fn talos_words_are_understood() {
        let cases: &[(Code, &str, Refusal)] = &[
            (Code::FailedPrecondition, "bootstrap is not available yet", Refusal::BootstrapNotYet),
            (Code::AlreadyExists, "etcd data directory is not empty", Refusal::DataDirectoryNotEmpty),
            (Code::AlreadyExists, "machine is already installed", Refusal::Other),
            (Code::Unimplemented, "bootstrap is only available on control plane nodes", Refusal::NotAControlPlane),
            (Code::Unimplemented, "machine type is not set, cannot use member list API", Refusal::NotConfigured),
            (Code::Unimplemented, "API is not implemented in maintenance mode", Refusal::Unsupported),
            (Code::PermissionDenied, "not authorized", Refusal::NotAuthorized),
            (Code::PermissionDenied, "resource type \"X\" is not supported", Refusal::Unsupported),
            (
                Code::NotFound,
                "resource MachineStatuses.runtime.talos.dev(runtime/machine@undefined) doesn't exist",
                Refusal::NoSuchResource,
            ),
            (Code::NotFound, "etcdserver: member not found", Refusal::NoSuchMember),
            (
                Code::InvalidArgument,
                "the applied machine configuration doesn't contain v1alpha1 config",
                Refusal::Invalid,
            ),
            (Code::Internal, "what?", Refusal::Other),
        ];
        for (code, said, meaning) in cases {
            assert_eq!(Refusal::of(*code, said), *meaning, "{code:?} {said}");
        }
    }
}
