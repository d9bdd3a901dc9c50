//! Secret stores and the GitOps side of castle.
//!
//! What a look at the world cannot rebuild is kept in a secret store: the key that signs
//! every machine's mark, the secrets bundle of each life, and three small facts
//! about it. This crate holds the stores behind
//! [`castle_core::SecretStore`]:
//!
//! - [`secrets::FileSecrets`]: files below a private folder of the operator;
//! - [`secrets::InfisicalSecrets`]: a folder of an Infisical project;
//! - [`secrets::SopsSecrets`]: files that SOPS has encrypted for an age key, read
//!   only;
//! - [`secrets::EnvironmentSecrets`]: variables of the environment, read only;
//!
//! and the adapter behind [`castle_core::port::kubernetes::Kubernetes`]:
//!
//! - [`kubernetes::KubeClient`]: a cluster's API by a kubeconfig with inline
//!   certificates.
//!
//! and the one behind [`castle_core::GitOps`]:
//!
//! - [`FluxGitOps`]: plants what Flux needs to live, says how far the handover is,
//!   and asks Flux not to wait where waiting is pointless.
//!
//! The crate knows neither the hypervisor's adapter nor the node's.

mod count;
mod dial;
mod error;
mod flux;
pub mod git;
mod graph;
pub mod handover;
pub mod https;
mod kubeconfig;
pub mod kubernetes;
mod look;
mod manifest;
mod nudge;
mod ownership;
mod plant;
mod probe;
mod quantity;
mod readiness;
pub mod secrets;
mod seed;
mod webhooks;

pub use error::{Error, Result};
pub use handover::FluxGitOps;
