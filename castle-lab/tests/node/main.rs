//! Talos nodes as a state machine, asked without sockets, and once over them.
#![allow(missing_docs, clippy::unwrap_used)]

mod birth;
mod cluster;
mod house;
mod ideal;
mod plants;
mod power;
mod wire;
