//! What makes one life of a cluster itself and no other.

use std::fmt;

use crate::{Env, Result, SecretBytes};

/// Makes and reads the secrets bundle of a life: the cluster's id, its tokens
/// and its authorities, all new in each life, so that nothing of a former life
/// is ever recognised by mistake.
///
/// Pure: it asks nobody, and draws ids and tokens from the injected chance.
pub trait Identity: Send + Sync + fmt::Debug {
    /// Makes the bundle of a new life.
    ///
    /// # Errors
    ///
    /// `Unexpected` if a key cannot be made.
    fn generate(&self, env: &Env) -> Result<SecretBytes>;

    /// Reads the cluster id out of a bundle. It is no secret: uuids derive from
    /// it.
    ///
    /// # Errors
    ///
    /// `InvalidSpec` if `bundle` is not a bundle. The error shows nothing of its
    /// content.
    fn cluster_id(&self, bundle: &SecretBytes) -> Result<String>;
}
