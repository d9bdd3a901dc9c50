//! The ports: what castle asks of a backend, and the rules it relies on.

pub mod gitops;
pub mod identity;
pub mod kubernetes;
pub mod machines;
pub mod node_os;
pub mod secrets;
