//! The simplest place for an API server: one that follows the store alone.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::converse;
use crate::gate::{Admission, Connection, Fate, Gate};
use crate::kube::KubeDoor;
use crate::pki::WallOf;
use crate::world::World;

/// A door that serves whenever the world's store does, with the identity that
/// the store was given, whatever the nodes do.
#[derive(Debug)]
pub(crate) struct ClusterGate {
    clock: castle_core::Clock,
}

impl ClusterGate {
    pub(crate) fn new(clock: castle_core::Clock) -> Self {
        Self { clock }
    }

    fn door(&self, world: &World) -> Option<KubeDoor> {
        let identity = world.kubernetes.identity.as_ref()?;
        match identity.door(Arc::new(WallOf(self.clock.clone()))) {
            Ok(door) => Some(door),
            Err(error) => {
                tracing::error!(%error, "the API server's identity cannot be used");
                None
            }
        }
    }
}

impl Gate for ClusterGate {
    fn backend(&self) -> &'static str {
        "kubernetes"
    }

    fn admit(&self, world: &World) -> Admission {
        match self.door(world).filter(|_| world.kubernetes.is_serving()) {
            Some(door) => Admission::Served { tls: door.config, ticket: 0 },
            None => Admission::Refused,
        }
    }

    fn fate(&self, world: &World, _ticket: u64) -> Fate {
        if world.kubernetes.is_serving() { Fate::Served } else { Fate::Ended }
    }

    fn converse(&self, connection: Connection) -> BoxFuture<'static, ()> {
        let door = connection.floor.peek_world(|world| self.door(world)).flatten();
        Box::pin(async move {
            if let Some(door) = door {
                converse(connection, door).await;
            }
        })
    }
}
