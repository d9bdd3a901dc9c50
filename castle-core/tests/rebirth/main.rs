//! The whole way over the ports in memory: from nothing, or from what stood, to a
//! cluster that is handed over and whose applications serve; and what cuts it short.
#![allow(clippy::unwrap_used)] // helpers of tests, which clippy does not take for tests

mod course;
mod cuts;
mod data;
mod fuse;
mod handover;
mod home;
mod late;
mod preflight;
mod quorum;
mod store;
