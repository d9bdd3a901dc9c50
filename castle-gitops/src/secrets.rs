//! Secret stores.

mod disk;
mod environment;
mod files;
pub mod infisical;
pub mod sops;

use std::ffi::OsString;
use std::sync::Arc;

use castle_core::options::SecretsAccess;
use castle_core::{Env, Error, ErrorKind, Options, Result, SecretStore};

pub use environment::EnvironmentSecrets;
pub use files::FileSecrets;
pub use infisical::InfisicalSecrets;
pub use sops::SopsSecrets;

/// Opens the store that the options name.
///
/// `memory` is what `secrets: {memory: true}` means here: a lab's own store, or none.
/// `variables` are the environment, of which only a store in the environment reads;
/// a program gives `std::env::vars_os()`.
///
/// # Errors
///
/// [`ErrorKind::InvalidSpec`] if the secrets would live in memory and there is none
/// to share; otherwise those of the store that is opened.
pub fn open(
    options: &Options,
    env: &Env,
    memory: Option<Arc<dyn SecretStore>>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Arc<dyn SecretStore>> {
    Ok(match &options.secrets {
        SecretsAccess::Files(folder) => Arc::new(FileSecrets::open(folder)?),
        SecretsAccess::Memory => memory.ok_or_else(|| {
            Error::new(ErrorKind::InvalidSpec, "secrets in memory would be lost with this process")
                .hint("add `secrets: {files: DIR}`")
        })?,
        SecretsAccess::Infisical(access) => Arc::new(InfisicalSecrets::new(access, options, env)?),
        SecretsAccess::Sops { folder, key } => Arc::new(SopsSecrets::new(folder, key)?),
        SecretsAccess::Environment { prefix } => Arc::new(EnvironmentSecrets::of(prefix, variables)),
        _ => {
            return Err(Error::new(ErrorKind::Unsupported, "a secret store of this kind cannot be opened here")
                .hint("use `secrets: {files: DIR}`, `infisical`, `sops` or `environment`"));
        }
    })
}
