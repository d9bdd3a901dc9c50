//! A simulated home: one world, real protocols in front of it, virtual time.
//!
//! The [`World`] is a state machine of hosts, storages, machines, tasks and
//! rights; it reads no clock and no socket. In front of it stand real servers
//! ([`server`]), reached over TLS on loopback sockets by the same adapters that
//! talk to a house. Between them lies the floor: it tells engine runs apart by
//! their source address, keeps the [`Journal`], draws latencies and lets
//! [`Faults`] strike.
//!
//! Time is virtual unless said otherwise: a create of six minutes takes
//! milliseconds, and one seed is one history. What virtual time demands of code
//! is told in [`runtime`].
//!
//! ```
//! use castle_lab::{Lab, World, runtime};
//! use castle_core::Secret;
//!
//! let found = runtime::run_virtual(|| async {
//!     let lab = Lab::of(World::empty(7)).start().await?;
//!     let store = lab.secrets(lab.new_run());
//!     let key = "talos/1".parse()?;
//!     store.create(&key, &Secret::new(b"bundle".to_vec())).await?;
//!     // A power cut: what castle stored is in the world, and the world goes on.
//!     let lab = Lab::of(lab.into_world()).start().await?;
//!     lab.secrets(lab.new_run()).get(&key).await
//! });
//! assert!(found?.is_some());
//! # Ok::<(), castle_core::Error>(())
//! ```

mod access;
pub mod address;
mod doors;
pub mod draw;
pub mod external_secrets;
pub mod faults;
mod floor;
pub mod flux;
pub mod front;
mod gate;
pub mod git;
pub mod hypervisor;
pub mod ideal;
pub mod infisical;
pub mod journal;
pub mod kube;
pub mod lab;
pub mod latency;
pub mod ledger;
pub mod node;
pub mod pki;
pub mod run;
pub mod runtime;
pub mod server;
pub mod turns;
pub mod vault;
mod wire;
pub mod workload;
pub mod world;

pub use draw::Draws;
pub use faults::{Fault, FaultEffect, Faults};
pub use front::{Act, Call, Feed, Helping, Reply, Service};
pub use journal::Journal;
pub use lab::{Door, Lab, LabBuilder};
pub use latency::Latency;
pub use run::RunId;
pub use turns::Turns;
pub use world::World;
