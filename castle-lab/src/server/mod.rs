//! Protocol servers: thin translations between the wire and the world.

pub(crate) mod kubernetes;
mod proxmox;
pub(crate) mod talos;

use std::sync::Arc;

use crate::front::Service;

/// The API server of Proxmox VE, for every host of the house.
#[must_use]
pub fn proxmox() -> Arc<dyn Service> {
    Arc::new(proxmox::Proxmox)
}
