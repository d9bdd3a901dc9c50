//! Flux and external-secrets: what they do with a repository, when, and what they
//! say of it.
#![allow(missing_docs, clippy::unwrap_used)]

mod builds;
mod failures;
mod graph;
mod house;
mod official;
mod secrets;
mod template;
