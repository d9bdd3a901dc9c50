//! What goes wrong between castle and Infisical.

use castle_core::{ErrorKind, SecretKey};

use crate::https;

/// What went wrong. No variant holds a value, a token or a client secret.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The access that was declared cannot be used.
    #[error("the access to Infisical {why}")]
    BadAccess {
        /// Why not.
        why: String,
    },
    /// No answer, or not from the server that was meant.
    #[error("{request} was not answered")]
    Unreachable {
        /// The request.
        request: &'static str,
        /// Why.
        #[source]
        source: https::Error,
    },
    /// The machine identity's credentials are not taken.
    #[error("the login of the machine identity was refused: {said}")]
    LoginRefused {
        /// The server's words.
        said: String,
    },
    /// The machine identity is locked for a while: too many logins failed.
    #[error("the machine identity is locked: {said}")]
    Locked {
        /// The server's words.
        said: String,
    },
    /// There is no project of that slug that the identity may see.
    #[error("there is no project `{slug}` that the machine identity may see")]
    NoProject {
        /// The slug.
        slug: String,
    },
    /// The secret to be created exists.
    #[error("secret `{name}` exists in folder `{folder}`")]
    Exists {
        /// The key.
        key: SecretKey,
        /// Its name in Infisical.
        name: String,
        /// Its folder.
        folder: String,
    },
    /// The write waits for somebody's approval and has no effect until then.
    #[error("{request} waits for approval: a change policy holds the folder `{folder}`")]
    AwaitsApproval {
        /// The request.
        request: &'static str,
        /// The folder.
        folder: String,
    },
    /// The server keeps the secret under another name.
    #[error("the server keeps secret `{wanted}` under the name `{found}`")]
    Renamed {
        /// The name that was given.
        wanted: String,
        /// The name that it got.
        found: String,
    },
    /// The identity may see that there is a secret, and not what it is.
    #[error("the value of secret `{name}` in folder `{folder}` is hidden")]
    Hidden {
        /// Its name in Infisical.
        name: String,
        /// Its folder.
        folder: String,
    },
    /// The server said no, or was not able to serve.
    #[error("{request} was answered with status {status}: {said}")]
    Refused {
        /// The request.
        request: &'static str,
        /// The HTTP status code.
        status: u16,
        /// The server's words, without what castle had told it.
        said: String,
    },
    /// The answer is not what Infisical answers.
    #[error("the answer to {request} is not understood: {why}")]
    Malformed {
        /// The request.
        request: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// The result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<Error> for castle_core::Error {
    fn from(error: Error) -> Self {
        let out = |kind, message: &str, hint: &str| Self::new(kind, message).hint(hint);
        match &error {
            Error::BadAccess { .. } => out(
                ErrorKind::InvalidSpec,
                "the access to Infisical is not used",
                "check `secrets` in the option document",
            ),
            Error::Unreachable { source, .. } => {
                let meaning = Self::from(source.clone());
                let retry = meaning.retry_class();
                out(meaning.kind(), "Infisical does not answer", meaning.advice().unwrap_or_default()).retry(retry)
            }
            Error::LoginRefused { .. } => out(
                ErrorKind::Unauthenticated,
                "Infisical does not take the machine identity's credentials",
                "check client id and client secret in the option document; each further attempt may lock the identity",
            ),
            Error::Locked { .. } => out(
                ErrorKind::Unauthenticated,
                "Infisical has locked the machine identity for a while",
                "wait five minutes, correct the client secret in the option document, then run again",
            ),
            Error::NoProject { slug } => out(
                ErrorKind::NotFound,
                &format!("Infisical shows no project `{slug}`"),
                "check the project's slug in the option document, and that the machine identity is a member of it",
            ),
            Error::Exists { key, .. } => out(
                ErrorKind::AlreadyExists,
                &format!("secret `{key}` exists"),
                "read it: another run created it first",
            ),
            Error::AwaitsApproval { .. } => out(
                ErrorKind::PermissionDenied,
                "a change in Infisical waits for approval, so it has no effect yet",
                "approve it or take the folder out of the change policy, then run again",
            ),
            Error::Renamed { .. } => out(
                ErrorKind::Unsupported,
                "Infisical changes the names of secrets",
                "switch automatic capitals off in the project's settings",
            ),
            Error::Hidden { .. } => out(
                ErrorKind::PermissionDenied,
                "Infisical hides a secret's value from the machine identity",
                "give its role the right to read values in that folder",
            ),
            Error::Refused { status, .. } => of_status(*status),
            Error::Malformed { .. } => out(
                ErrorKind::Unexpected,
                "Infisical gave an answer that is not understood",
                "check that nothing stands between castle and the server",
            ),
        }
        .caused_by(error)
    }
}

fn of_status(status: u16) -> castle_core::Error {
    let (kind, message, hint) = match status {
        401 => (
            ErrorKind::Unauthenticated,
            "Infisical does not know the token that it gave",
            "check the clock of this machine, and that the identity was not removed",
        ),
        403 => (
            ErrorKind::PermissionDenied,
            "the machine identity may not do this in Infisical",
            "give its role the rights to read, create, edit and remove secrets and folders below the declared path",
        ),
        404 => (
            ErrorKind::NotFound,
            "Infisical does not have it",
            "check project, environment and path in the option document, and that the server has the API `v4`",
        ),
        429 => (ErrorKind::RateLimited, "Infisical asks for patience", "wait a minute"),
        500.. => (ErrorKind::Unreachable, "Infisical cannot serve now", "wait a little"),
        _ => (ErrorKind::Unexpected, "Infisical refuses the request", "read the cause"),
    };
    castle_core::Error::new(kind, message).hint(hint)
}
