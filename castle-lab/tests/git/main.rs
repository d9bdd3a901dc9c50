//! The house's Git server: true ids, both protocols, pushes and what is refused;
//! by raw requests, and by the git program where the machine has it.
#![allow(missing_docs, clippy::unwrap_used)]

mod fetching;
mod house;
mod program;
mod pushing;
mod repository;
