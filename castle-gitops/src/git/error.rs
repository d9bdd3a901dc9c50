//! What goes wrong with the GitOps repository.

use castle_core::{ErrorKind, Retry};

use crate::https;

/// What went wrong. No variant holds a credential.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The declared repository is not one that castle reads.
    #[error("the repository's URL {why}")]
    BadRepository {
        /// Why not. The URL is left out: it may hold a password.
        why: String,
    },
    /// No answer, or not from the server that was meant.
    #[error("{url} cannot be asked")]
    Unreachable {
        /// The repository.
        url: String,
        /// Why not.
        #[source]
        source: https::Error,
    },
    /// The server does not let us in.
    #[error("{url} was answered with status {status}")]
    NotLetIn {
        /// The repository.
        url: String,
        /// The HTTP status code.
        status: u16,
        /// Whether a token was shown.
        had_token: bool,
    },
    /// There is no such repository.
    #[error("{url} was answered with status 404")]
    NoRepository {
        /// The repository.
        url: String,
        /// Whether a token was shown.
        had_token: bool,
    },
    /// The repository lives elsewhere now.
    #[error("{url} has moved to {place}")]
    Moved {
        /// The repository.
        url: String,
        /// Where it says that it is.
        place: String,
    },
    /// There is no such branch.
    #[error("{url} has no branch `{branch}`, it has {}", listed(seen))]
    NoBranch {
        /// The repository.
        url: String,
        /// The branch.
        branch: String,
        /// The first branches that there are.
        seen: Vec<String>,
    },
    /// Something else than git answered.
    #[error("{url} does not speak git: {why}")]
    NotGit {
        /// The repository.
        url: String,
        /// What it did instead.
        why: String,
    },
    /// The server speaks a git that castle does not.
    #[error("{url} {why}")]
    Unsupported {
        /// The repository.
        url: String,
        /// What it does.
        why: String,
    },
    /// The server said no in git's own words.
    #[error("{url} says: {said}")]
    Refused {
        /// The repository.
        url: String,
        /// Its words.
        said: String,
    },
    /// The server said no, or was not able to serve.
    #[error("{url} was answered with status {status}")]
    Status {
        /// The repository.
        url: String,
        /// The HTTP status code.
        status: u16,
    },
    /// What came is not what git sends.
    #[error("what {url} sent is broken: {why}")]
    Malformed {
        /// The repository.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The repository is larger than what a declaration of a cluster needs.
    #[error("{url} {why}")]
    TooLarge {
        /// The repository.
        url: String,
        /// Which bound it passes.
        why: String,
    },
}

/// The result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn listed(names: &[String]) -> String {
    match names {
        [] => "none at all".into(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

impl From<Error> for castle_core::Error {
    fn from(error: Error) -> Self {
        let token = |had: bool| match had {
            true => {
                "check `git.username` and `git.password` in the option document: the token may have expired, \
                     or lack the right to read this repository"
            }
            false => "give `git.username` and `git.password` in the option document",
        };
        let out = |kind, message: &str, hint: &str| Self::new(kind, message).hint(hint);
        match &error {
            Error::BadRepository { .. } => out(
                ErrorKind::InvalidSpec,
                "the GitOps repository is not read",
                "write `https://host/path.git` at `gitops.repository`",
            ),
            Error::Unreachable { source, .. } => {
                let meaning = Self::from(source.clone());
                let retry = meaning.retry_class();
                out(meaning.kind(), "the git server does not answer", meaning.advice().unwrap_or_default()).retry(retry)
            }
            Error::NotLetIn { had_token, .. } => {
                out(ErrorKind::Unauthenticated, "the git server does not let castle in", token(*had_token))
            }
            Error::NoRepository { had_token: true, .. } => out(
                ErrorKind::NotFound,
                "the git server has no such repository, or none that the token may see",
                "check `gitops.repository.url` in castle.yaml, and the token's rights",
            ),
            Error::NoRepository { had_token: false, .. } => out(
                ErrorKind::NotFound,
                "the git server has no such repository, or none for the public",
                "check `gitops.repository.url` in castle.yaml, or give `git` in the option document",
            ),
            Error::Moved { .. } => out(
                ErrorKind::NotFound,
                "the GitOps repository has moved",
                "write its new place at `gitops.repository.url` in castle.yaml",
            ),
            Error::NoBranch { branch, .. } => out(
                ErrorKind::NotFound,
                &format!("the GitOps repository has no branch `{branch}`"),
                "check `gitops.repository.branch` in castle.yaml, or push the branch",
            ),
            Error::NotGit { .. } => out(
                ErrorKind::Unreachable,
                "something else than a git server answers",
                "check `gitops.repository.url` in castle.yaml: it is the address that `git clone` takes",
            )
            .retry(Retry::Never),
            Error::Unsupported { .. } => out(
                ErrorKind::Unsupported,
                "the git server speaks a git that castle does not",
                "serve the repository by git 2.18 or newer, with SHA-1 names and protocol version 2",
            ),
            Error::Refused { .. } => out(
                ErrorKind::Conflict,
                "the git server does not give the commit",
                "look again: the branch may have been moved meanwhile",
            ),
            Error::Status { status: 429, .. } => {
                out(ErrorKind::RateLimited, "the git server asks for patience", "wait a little")
            }
            Error::Status { status: 500.., .. } => {
                out(ErrorKind::Unreachable, "the git server cannot serve now", "wait a little")
            }
            Error::Status { .. } | Error::Malformed { .. } => out(
                ErrorKind::Unexpected,
                "the git server gave an answer that is not understood",
                "check that nothing stands between castle and the server",
            ),
            Error::TooLarge { .. } => out(
                ErrorKind::Unsupported,
                "the GitOps repository is too large",
                "keep pictures and archives in a repository of their own",
            ),
        }
        .caused_by(error)
    }
}
