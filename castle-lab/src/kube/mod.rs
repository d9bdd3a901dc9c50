//! The Kubernetes API of the simulated cluster, without its wire: objects with
//! resource versions, and the rules by which an API server writes them.
//!
//! [`Store`] is plain data: it reads no clock (the world tells it the wall time)
//! and no socket. [`crate::server`] translates HTTP to it; the model of the
//! nodes writes through [`Store::put`], as a kubelet or a controller would.
//!
//! What a kind is like (its group, its names, whether it has a namespace, a
//! status or a generation) is data in [`Kinds`], so that a custom resource is
//! one more row: a definition that is written makes it in the same moment, with
//! the schema that its objects are held to.
//!
//! Every write has a [`Hand`]: whose fields they are afterwards stands in
//! `managedFields`, and server-side apply ([`Store::apply`]) refuses or takes what
//! others hold by it. Webhooks are asked before a write, dry runs included;
//! [`Store::set_webhook_backend`] tells what stands behind their services. What an
//! owner leaves behind goes with it.

mod access;
mod admission;
mod apply;
mod birth;
mod built_in;
mod columns;
mod compare;
mod definition;
mod fields;
mod hand;
mod history;
mod kind;
mod list;
mod managers;
mod merge;
mod object;
mod refusal;
mod removal;
mod schema;
mod selector;
mod shape;
mod store;
mod structure;
mod validation;
mod write;

pub use access::{KubeDoor, KubeIdentity, User};
pub use admission::{Backend, Judge};
pub use columns::table;
pub use hand::Hand;
pub use history::{Change, ChangeKind};
pub use kind::{Kind, Kinds, Resource};
pub use list::{ListOptions, Listing};
pub(crate) use merge::{merge as merge_patch, operate, strategic_merge};
pub use refusal::Refusal;
pub use removal::{Delete, Propagation};
pub use selector::{FieldSelector, LabelSelector, Selection};
pub use store::{Part, Patch, Store};
