//! Model, planner, engine and ports of castle.
//!
//! This crate knows no protocol and does no I/O: it decides what should happen
//! and in which order, and asks the world through [`port`]s.

mod castle;
mod check;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod context;
mod credential;
mod document;
mod drive;
pub mod engine;
mod error;
mod event;
mod ghost;
pub mod handover;
pub mod life;
mod look;
mod machine;
pub mod memory;
mod meter;
mod milestone;
mod name;
pub mod node;
pub mod observation;
pub mod options;
mod options_document;
mod ownership;
pub mod page;
mod patches;
pub mod plan;
pub mod port;
mod problem;
mod project;
mod report;
mod secret;
pub mod step;
pub mod timeline;
mod topology;
mod value;
pub mod words;
mod work;
pub mod yaml;

pub use castle::{Castle, CastleBuilder, Run, RunOptions};
pub use clock::{Clock, Entropy, Env, Factor, OsEntropy, Pace, SeededEntropy};
pub use context::Context;
pub use credential::{Credential, Escrowed};
pub use document::{API_VERSION, ImageNaming};
pub use error::{Error, ErrorKind, Result, Retry};
pub use event::{Event, EventKind, EventLog, StepOutcome, Subscription};
pub use life::{Beginning, Fact, Life, Lives, Vault};
pub use machine::{
    Birth, HostState, ImageRef, Inventory, MacAddress, Machine, MachineId, MachineSpec, Nic, Power, Slot,
};
pub use meter::{Meter, RequestCounts, Requests};
pub use milestone::Milestone;
pub use name::{ByteSize, Name};
pub use node::{EtcdService, Ghost, Member, NodeReport, NodeSite, NodeState, NodeTarget, Stage};
pub use observation::{ApiView, Observation, Part};
pub use options::Options;
pub use options_document::Sources;
pub use ownership::{Evidence, Mark, Owner, ProjectKey, Standing, Waiver};
pub use plan::{Decisions, Goal, LostLife, Plan};
pub use port::gitops::{GitOps, Handover};
pub use port::identity::Identity;
pub use port::kubernetes::{CniState, KubeApi, KubeNode, Kubernetes};
pub use port::machines::{Capabilities, MachineProvider, Removal};
pub use port::node_os::NodeOs;
pub use port::secrets::{SecretKey, SecretStore};
pub use problem::{Problem, Severity, Span};
pub use project::{Cluster, Deadlines, HostBudget, ImageSpec, Limits, Network, Patches, Project, SecretsPlace};
pub use report::{Outcome, Report};
pub use secret::{Secret, SecretBytes, SecretText};
pub use timeline::Timeline;
pub use topology::{NodeRole, Quorum};
