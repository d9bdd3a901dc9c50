//! Protocol servers: thin translations between the wire and the world.

mod proxmox;

use std::sync::Arc;

use crate::front::Service;

/// The API server of Proxmox VE, for every host of the house.
#[must_use]
pub fn proxmox() -> Arc<dyn Service> {
    Arc::new(proxmox::Proxmox)
}
