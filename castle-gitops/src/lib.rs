//! Secret stores, and later the GitOps side of castle.
//!
//! What a look at the world cannot rebuild is kept in a secret store: the key that signs
//! every machine's mark, the secrets bundle of each life, and three small facts
//! about it. This crate holds the stores behind
//! [`castle_core::SecretStore`]:
//!
//! - [`secrets::FileSecrets`]: files below a private folder of the operator.
//!
//! and the adapter behind [`castle_core::port::kubernetes::Kubernetes`]:
//!
//! - [`kubernetes::KubeClient`]: a cluster's API by a kubeconfig with inline
//!   certificates.
//!
//! The handover of a born cluster to GitOps comes here as well, with its own
//! slice. The crate knows neither the hypervisor's adapter nor the node's.

mod error;
mod kubeconfig;
pub mod kubernetes;
pub mod secrets;

pub use error::{Error, Result};
