//! The whole main job over the real adapters and the lab: a castle that is handed
//! over, falls, and rises again, also when it is sick.

#[path = "../proofs/rig.rs"]
#[allow(dead_code)] // shared with the proofs, which use more of it
mod rig;

mod again;
mod dead;
mod sick;
