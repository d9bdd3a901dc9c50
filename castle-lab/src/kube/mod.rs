//! The Kubernetes API of the simulated cluster, without its wire: objects with
//! resource versions, and the rules by which an API server writes them.
//!
//! [`Store`] is plain data: it reads no clock (the world tells it the wall time)
//! and no socket. [`crate::server`] translates HTTP to it; the model of the
//! nodes writes through [`Store::put`], as a kubelet or a controller would.
//!
//! What a kind is like (its group, its names, whether it has a namespace, a
//! status or a generation) is data in [`Kinds`], so that a custom resource is
//! one more row.

mod access;
mod columns;
mod history;
mod kind;
mod list;
mod merge;
mod object;
mod refusal;
mod removal;
mod selector;
mod store;
mod validation;

pub use access::{KubeDoor, KubeIdentity, User};
pub use columns::table;
pub use history::{Change, ChangeKind};
pub use kind::{Kind, Kinds, Resource};
pub use list::{ListOptions, Listing};
pub use refusal::Refusal;
pub use removal::Delete;
pub use selector::{FieldSelector, LabelSelector, Selection};
pub use store::{Part, Patch, Store};
