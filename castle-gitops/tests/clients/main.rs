//! What castle asks servers and files that are no clusters.
#![allow(missing_docs, clippy::unwrap_used)]

mod environment;
mod git;
mod house;
mod https;
mod infisical;
mod infisical_faults;
mod seal;
mod sops;
