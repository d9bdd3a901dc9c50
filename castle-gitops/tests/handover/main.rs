//! The handover against the lab: planting, ownership, the gate, nudges, probes.
#![allow(missing_docs, clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../kubernetes/cluster.rs"]
mod cluster;
mod complete;
mod conformance;
mod gate;
mod house;
mod nudges;
mod planting;
mod preflight;
mod refusals;
