//! The floor of the lab: one canary for each rule of virtual time, and the
//! faults, cuts, addresses and books that every server stands on.
#![allow(missing_docs, clippy::unwrap_used)]

mod addresses;
mod cuts;
mod echo;
mod faults;
mod product;
mod time;
mod vault;
mod wire;
