//! The ports in memory: what the engine's tests need, and no more.
//!
//! They keep the same contracts as the real ones (the conformance suites run
//! on them) and take time only from the injected clock.

mod cluster;
mod example;
mod gitops;
mod house;
mod machines;
mod secrets;

pub use cluster::MemoryCluster;
pub use example::{EXAMPLE, MemoryIdentity, example_project, plain_image};
pub use gitops::MemoryGitOps;
pub use house::{MachineCall, MachineDurations, MemoryMachine};
pub use machines::MemoryMachines;
pub use secrets::{MemorySecrets, ReadFault};

#[cfg(test)]
mod tests;
