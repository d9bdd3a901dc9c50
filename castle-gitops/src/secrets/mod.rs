//! Secret stores.

mod disk;
mod environment;
mod files;
pub mod infisical;
pub mod sops;

pub use environment::EnvironmentSecrets;
pub use files::FileSecrets;
pub use infisical::InfisicalSecrets;
pub use sops::SopsSecrets;
