//! Model, planner, engine and ports of castle.
//!
//! This crate knows no protocol and does no I/O: it decides what should happen
//! and in which order, and asks the world through [`port`]s.

pub mod clock;
mod context;
mod error;
mod event;
mod machine;
mod meter;
mod name;
pub mod options;
mod ownership;
pub mod port;
mod problem;
mod project;
mod secret;
mod topology;

pub use clock::{Clock, Entropy, Env, OsEntropy, Pace, SeededEntropy};
pub use context::Context;
pub use error::{Error, ErrorKind, Result, Retry};
pub use event::{Event, EventKind, EventLog, StepOutcome, Subscription};
pub use machine::{Birth, HostState, ImageRef, Inventory, MacAddress, Machine, MachineId, MachineSpec, Nic, Power, Slot};
pub use meter::{Meter, RequestCounts, Requests};
pub use name::{ByteSize, Name};
pub use options::Options;
pub use ownership::{Evidence, Mark, Owner, ProjectKey, Standing, Waiver};
pub use port::machines::{Capabilities, MachineProvider, Removal};
pub use port::secrets::{SecretKey, SecretStore};
pub use problem::{Problem, Severity, Span};
pub use project::{Cluster, Deadlines, HostBudget, ImageSpec, Limits, Network, Project};
pub use secret::{Secret, SecretBytes, SecretText};
pub use topology::{NodeRole, Quorum};
