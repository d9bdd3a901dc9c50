//! Talos Linux for castle: which image a machine is born from, and the secrets
//! that make one life of a cluster itself.
//!
//! Nothing here asks anybody: images are named, secrets are drawn.

pub mod authority;
pub mod schematic;
pub mod secrets;

pub use authority::Authority;
pub use schematic::{Schematic, image};
pub use secrets::{EncryptionSecret, SecretsBundle, TalosIdentity};
