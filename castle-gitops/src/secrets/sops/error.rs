//! What goes wrong with secrets that SOPS has encrypted.

use std::io;
use std::path::PathBuf;

use castle_core::{ErrorKind, SecretKey};

/// What went wrong. No variant holds a value or an identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder of the encrypted files is not there.
    #[error("`{}` is not a folder", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The file with the age identities is not there.
    #[error("the key file `{}` does not exist", path.display())]
    NoKeyFile {
        /// The file.
        path: PathBuf,
    },
    /// The file with the age identities holds none that can be used.
    #[error("the key file `{}` {why}", path.display())]
    BadKeyFile {
        /// The file.
        path: PathBuf,
        /// Why not, without its content.
        why: String,
    },
    /// The operating system refused a call.
    #[error("cannot {act} `{}`", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file is not encrypted.
    #[error("`{}` was never encrypted by SOPS", path.display())]
    NotEncrypted {
        /// The file.
        path: PathBuf,
    },
    /// The file is for others.
    #[error("`{}` is encrypted for {}", path.display(), listed(recipients))]
    WrongRecipient {
        /// The file.
        path: PathBuf,
        /// For whom: age's public keys.
        recipients: Vec<String>,
    },
    /// The file is not what SOPS has written.
    #[error("`{}` was changed since SOPS wrote it: {why}", path.display())]
    Tampered {
        /// The file.
        path: PathBuf,
        /// What does not match.
        why: String,
    },
    /// The file uses what castle does not read.
    #[error("`{}` {why}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it uses.
        why: String,
    },
    /// The folder lies too deep below that of the secrets.
    #[error("`{}` lies deeper than {folders} folders", path.display())]
    TooDeep {
        /// The folder.
        path: PathBuf,
        /// How deep is looked.
        folders: usize,
    },
    /// The file is longer than secrets are.
    #[error("`{}` has {length} bytes, {bytes} are read", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
        /// How many bytes are read.
        bytes: u64,
    },
    /// The file's seal covers encrypted values only, and this one is not encrypted.
    #[error("`{}` does not vouch for `{key}`, which is not encrypted there", path.display())]
    NotVouched {
        /// The file.
        path: PathBuf,
        /// The secret.
        key: SecretKey,
    },
    /// The file cannot be read.
    #[error("`{}` cannot be read: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, without its content.
        why: String,
    },
    /// Two files hold one secret.
    #[error("secret `{key}` lies in `{}` and in `{}`", one.display(), other.display())]
    Twice {
        /// The secret.
        key: SecretKey,
        /// A file.
        one: PathBuf,
        /// Another file.
        other: PathBuf,
    },
    /// The secret to be created exists.
    #[error("secret `{key}` exists")]
    Exists {
        /// The secret.
        key: SecretKey,
    },
    /// Castle does not encrypt.
    #[error("secret `{key}` cannot be written")]
    ReadOnly {
        /// The secret.
        key: SecretKey,
    },
}

/// The result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn listed(recipients: &[String]) -> String {
    if recipients.is_empty() { "nobody who uses age".into() } else { recipients.join(", ") }
}

impl From<Error> for castle_core::Error {
    fn from(error: Error) -> Self {
        let out = |kind, message: &str, hint: &str| Self::new(kind, message).hint(hint);
        match &error {
            Error::NoFolder { .. } => out(
                ErrorKind::NotFound,
                "the folder of the encrypted secrets is not there",
                "check `secrets` in the option document",
            ),
            Error::NoKeyFile { .. } => out(
                ErrorKind::NotFound,
                "the key for the encrypted secrets is not there",
                "name the file with the age identities in the option document; `age-keygen` makes one",
            ),
            Error::BadKeyFile { .. } => out(
                ErrorKind::InvalidSpec,
                "the key for the encrypted secrets cannot be used",
                "name a file with lines that begin with `AGE-SECRET-KEY-`",
            ),
            Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => out(
                ErrorKind::PermissionDenied,
                "the encrypted secrets may not be read",
                "run as somebody who may read the file",
            ),
            Error::Io { .. } => {
                out(ErrorKind::Unexpected, "the encrypted secrets cannot be read", "check the file system they lie on")
            }
            Error::NotEncrypted { .. } => out(
                ErrorKind::InvalidSpec,
                "a file among the encrypted secrets is not encrypted",
                "encrypt it with `sops --encrypt --in-place`, or move it away",
            ),
            Error::WrongRecipient { .. } => out(
                ErrorKind::PermissionDenied,
                "no identity of the key file opens the secrets",
                "give the identity of one of the recipients, or add yours with `sops updatekeys`",
            ),
            Error::Tampered { .. } => out(
                ErrorKind::Unexpected,
                "encrypted secrets were changed by something else than SOPS, so they are not used",
                "restore the file from its history, or look at it with `sops --ignore-mac` and save it again",
            ),
            Error::Unsupported { .. } => out(
                ErrorKind::Unsupported,
                "encrypted secrets use what castle does not read",
                "encrypt them for age alone, one document in a file",
            ),
            Error::TooDeep { .. } => out(
                ErrorKind::Unsupported,
                "the folders of the encrypted secrets lie too deep in each other",
                "move the file up, or name a folder for secrets alone in the option document",
            ),
            Error::TooLong { .. } => out(
                ErrorKind::Unsupported,
                "a file among the encrypted secrets is too long for one",
                "move it to another folder, or give it an ending that no secrets have",
            ),
            Error::NotVouched { .. } => out(
                ErrorKind::Unsupported,
                "nothing proves that the secret is the one that was written",
                "let SOPS encrypt the value, or write the file without `mac_only_encrypted`",
            ),
            Error::Malformed { .. } => out(
                ErrorKind::InvalidSpec,
                "encrypted secrets cannot be read",
                "check that `sops --decrypt` reads the file",
            ),
            Error::Twice { .. } => {
                out(ErrorKind::InvalidSpec, "two files hold the same secret", "remove it from one of them")
            }
            Error::Exists { key } => {
                out(ErrorKind::AlreadyExists, &format!("secret `{key}` exists"), "read it: it was encrypted before")
            }
            Error::ReadOnly { .. } => out(
                ErrorKind::Unsupported,
                "secrets that SOPS has encrypted are read only",
                "keep the secrets in `files` or `infisical`, or write this one with `sops`",
            ),
        }
        .caused_by(error)
    }
}
