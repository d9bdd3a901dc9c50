//! Talos Linux for castle: the image a machine is born from, the secrets that
//! make one life of a cluster itself, the configuration of each node, and the
//! nodes themselves behind [`castle_core::NodeOs`].
//!
//! It speaks Talos' gRPC API over TLS with ring. A connection never reconnects
//! by itself, so what was proved on it stays proved; nothing secret is sent
//! before the other end is proved; a call that changes something is sent once.

pub mod authority;
mod client;
mod client_certificate;
pub mod config;
mod cosi;
mod credential;
mod error;
mod etcd;
mod ghosts;
pub mod kubeconfig;
mod node_os;
mod refusal;
pub mod schematic;
pub mod secrets;
mod session;
mod stage;
pub mod talosconfig;
pub mod tls;
mod watch;
pub mod wire;

pub use authority::Authority;
pub use error::{Cause, Error, Result};
pub use node_os::TalosOs;
pub use refusal::Refusal;
pub use schematic::{Schematic, image};
pub use secrets::{EncryptionSecret, SecretsBundle, TalosIdentity};
pub use session::TalosOptions;
pub use tls::{Distrust, Fingerprint, MaintenanceTrust};
