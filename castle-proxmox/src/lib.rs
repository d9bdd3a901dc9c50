//! Machines on Proxmox VE: the adapter behind [`castle_core::MachineProvider`].
//!
//! It speaks the HTTP API of Proxmox VE 9 with an API token over one TLS stack,
//! writes every machine in one atomic request, proves whose a machine is before
//! each request that cannot be taken back, and asks again instead of repeating
//! when an answer is lost.
//!
//! ```no_run
//! use castle_core::options::{DialMap, MaintenanceAccess, Options, ProxmoxAccess, SecretsAccess, Trust};
//! use castle_core::{Env, Limits, Pace, Secret};
//! use castle_proxmox::ProxmoxProvider;
//!
//! let access = ProxmoxAccess {
//!     url: "https://192.168.1.10:8006".into(),
//!     token: Secret::new("castle@pve!main=00000000-0000-0000-0000-000000000000".into()),
//!     trust: Trust::Fingerprints(vec![[0; 32]]),
//! };
//! let options = Options {
//!     proxmox: Some(access.clone()),
//!     maintenance: MaintenanceAccess::default(),
//!     secrets: SecretsAccess::Memory,
//!     git: None,
//!     identity: None,
//!     dial: DialMap::direct(),
//!     source: None,
//!     pace: Pace::Real,
//!     lab: false,
//! };
//! let provider = ProxmoxProvider::connect(&access, &options, &Env::real(), Limits::default())?;
//! # Ok::<(), castle_proxmox::Error>(())
//! ```

mod birth;
mod client;
mod config;
mod destroy;
mod dial;
mod error;
mod host;
mod inventory;
mod machines;
mod power;
mod preflight;
mod provider;
mod refusal;
mod rights;
#[cfg(test)]
mod scripted;
mod task;
mod tls;
mod validate;
mod watch;
mod wire;

pub use error::{Cause, Error, Result};
pub use provider::ProxmoxProvider;
pub use refusal::Refusal;
pub use tls::Fingerprint;
