//! Protocol servers: thin translations between the wire and the world.

mod git;
mod infisical;
pub(crate) mod kubernetes;
pub(crate) mod proxmox;
pub(crate) mod talos;
pub(crate) mod web;

use std::sync::Arc;

use crate::front::Service;

/// The API server of Proxmox VE, for every host of the house.
#[must_use]
pub fn proxmox() -> Arc<dyn Service> {
    Arc::new(proxmox::Proxmox)
}

/// The house's Git server: smart HTTP for every repository of the world.
#[must_use]
pub fn git() -> Arc<dyn Service> {
    Arc::new(git::GitServer)
}

/// The house's Infisical.
#[must_use]
pub fn infisical() -> Arc<dyn Service> {
    Arc::new(infisical::InfisicalServer)
}
