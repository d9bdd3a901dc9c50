//! What goes wrong with secrets in files.

use std::io;
use std::path::{Path, PathBuf};

use castle_core::{ErrorKind, SecretKey};

/// What went wrong with a file or a folder of secrets. No variant holds a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Others than the owner may enter the folder.
    #[error("folder `{}` is open to others (mode {mode:04o})", path.display())]
    OpenToOthers {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A symbolic link stands where castle keeps folders and files.
    #[error("`{}` is a symbolic link", path.display())]
    SymbolicLink {
        /// The link.
        path: PathBuf,
    },
    /// Something else stands where a folder belongs.
    #[error("`{}` is not a folder", path.display())]
    NotAFolder {
        /// The place.
        path: PathBuf,
    },
    /// Something else stands where a file belongs.
    #[error("`{}` is not a file", path.display())]
    NotAFile {
        /// The place.
        path: PathBuf,
    },
    /// The secret to be created exists.
    #[error("secret `{key}` exists in `{}`", path.display())]
    Exists {
        /// The secret.
        key: SecretKey,
        /// Its file.
        path: PathBuf,
    },
    /// The operating system refused a call.
    #[error("cannot {act} `{}`", path.display())]
    Io {
        /// What was tried, for example `create the folder`.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err`: what was tried on `path`.
    pub(crate) fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { act, path, source }
    }
}

/// `path` as one word of a shell command.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

impl From<Error> for castle_core::Error {
    fn from(error: Error) -> Self {
        match &error {
            Error::OpenToOthers { path, .. } => {
                Self::new(ErrorKind::PermissionDenied, "the folder of the secrets is not private, so it is not used")
                    .hint(format!("chmod 700 {}", quoted(path)))
            }
            Error::SymbolicLink { path } => {
                Self::new(ErrorKind::PermissionDenied, "a symbolic link among the secrets is not followed")
                    .hint(format!("find out who made it, then: rm {}", quoted(path)))
            }
            Error::NotAFolder { path } | Error::NotAFile { path } => {
                Self::new(ErrorKind::Unexpected, "something else stands where secrets are kept")
                    .hint(format!("look at it, then move it away: ls -ld {}", quoted(path)))
            }
            Error::Exists { key, .. } => Self::new(ErrorKind::AlreadyExists, format!("secret `{key}` exists"))
                .hint("read it: another run created it first"),
            Error::Io { path, source, .. } => of_system(path, source),
        }
        .caused_by(error)
    }
}

fn of_system(path: &Path, source: &io::Error) -> castle_core::Error {
    let (kind, message, hint) = match source.kind() {
        io::ErrorKind::PermissionDenied => (
            ErrorKind::PermissionDenied,
            "the secrets may not be read or written",
            format!("run as the owner of {}", quoted(path)),
        ),
        io::ErrorKind::ReadOnlyFilesystem => (
            ErrorKind::PermissionDenied,
            "the secrets lie on a read-only file system",
            "keep the secrets where they can be written".to_owned(),
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
            ErrorKind::Exhausted,
            "there is no room for another secret",
            format!("make room on the file system of {}", quoted(path)),
        ),
        _ => (
            ErrorKind::Unexpected,
            "the files of the secrets cannot be used",
            format!("check the file system of {}", quoted(path)),
        ),
    };
    castle_core::Error::new(kind, message).hint(hint)
}
