//! A simulated home: one world, real protocols in front of it, virtual time.

pub mod address;
pub mod draw;
pub mod faults;
mod floor;
pub mod front;
pub mod hypervisor;
pub mod ideal;
pub mod journal;
pub mod lab;
pub mod latency;
pub mod ledger;
pub mod pki;
pub mod run;
pub mod runtime;
pub mod server;
pub mod vault;
mod wire;
pub mod world;

pub use draw::Draws;
pub use front::{Act, Call, Reply, Service};
pub use faults::{Fault, FaultEffect, Faults};
pub use journal::Journal;
pub use lab::{Door, Lab, LabBuilder};
pub use latency::Latency;
pub use run::RunId;
pub use world::World;
