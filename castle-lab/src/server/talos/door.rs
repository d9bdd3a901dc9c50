//! The two doors of a node: its Talos API, and the API server of Kubernetes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use castle_core::Clock;
use futures::future::BoxFuture;
use rustls::ServerConfig;

use super::grpc;
use crate::gate::{Admission, Connection, Fate, Gate};
use crate::kube::KubeDoor;
use crate::node::certificate::{self, Clients, LIFETIME, MAINTENANCE, Subject};
use crate::node::{Api, Node};
use crate::pki::WallOf;
use crate::server::kubernetes;
use crate::world::World;

/// The port 50000 of one address of the house.
pub(crate) struct NodeDoor {
    /// The address in the house.
    house: IpAddr,
    /// Where it really listens: certificates carry both.
    mapped: IpAddr,
    clock: Clock,
    /// The identity that was shown last, with its ticket and its half of a life.
    shown: Mutex<Option<(u64, u64, Arc<ServerConfig>)>>,
}

impl NodeDoor {
    pub(crate) fn new(house: IpAddr, mapped: IpAddr, clock: Clock) -> Self {
        Self { house, mapped, clock, shown: Mutex::new(None) }
    }

    fn identity(&self, node: &Node, ticket: u64) -> Result<Arc<ServerConfig>, String> {
        // Renewed at half of its life, as Talos does.
        let half = self.clock.elapsed().as_secs() / (LIFETIME.as_secs() / 2);
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, at, config)) = shown.as_ref()
            && (*known, *at) == (ticket, half)
        {
            return Ok(Arc::clone(config));
        }
        let addresses = vec![self.house, self.mapped, IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let config = match node.session.as_ref().and_then(|session| session.signer.as_ref()) {
            None => {
                let subject = Subject { name: MAINTENANCE.to_owned(), names: Vec::new(), addresses };
                certificate::self_signed(&subject, &self.clock, &[b"h2"])?
            }
            Some(signer) => {
                let hostname = node.hostname();
                let further = node.config().map(|config| config.certificate_names.clone()).unwrap_or_default();
                let names = further.into_iter().filter(|name| name.parse::<IpAddr>().is_err());
                let names = [hostname.clone()].into_iter().chain(names).collect();
                let subject = Subject { name: hostname, names, addresses };
                certificate::signed(signer, &subject, Clients::Required, &self.clock, &[b"h2"])?
            }
        };
        *shown = Some((ticket, half, Arc::clone(&config)));
        Ok(config)
    }
}

impl Gate for NodeDoor {
    fn backend(&self) -> &'static str {
        grpc::BACKEND
    }

    fn admit(&self, world: &World) -> Admission {
        let Some(node) = world.nodes.behind(self.house) else { return Admission::Silent };
        let Some(session) = node.session.as_ref().filter(|session| session.api != Api::Off) else {
            return Admission::Refused;
        };
        match self.identity(node, session.ticket) {
            Ok(tls) => Admission::Served { tls, ticket: session.ticket },
            Err(error) => {
                tracing::warn!(node = node.name, %error, "apid has no certificate and does not listen");
                Admission::Refused
            }
        }
    }

    fn fate(&self, world: &World, ticket: u64) -> Fate {
        let is_there = |node: &Node| {
            node.session.as_ref().is_some_and(|session| session.api != Api::Off && session.ticket == ticket)
        };
        if world.nodes.is_mute(ticket) {
            Fate::Muted
        } else if world.nodes.by_ticket(ticket).is_some_and(is_there) {
            Fate::Served
        } else {
            Fate::Ended
        }
    }

    fn converse(&self, connection: Connection) -> BoxFuture<'static, ()> {
        Box::pin(grpc::converse(connection))
    }
}

/// The port 6443 of one address of the house: of a control plane, or shared.
pub(crate) struct NodeApiServer {
    house: IpAddr,
    clock: Clock,
}

impl NodeApiServer {
    pub(crate) fn new(house: IpAddr, clock: Clock) -> Self {
        Self { house, clock }
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

impl Gate for NodeApiServer {
    fn backend(&self) -> &'static str {
        "kubernetes"
    }

    fn admit(&self, world: &World) -> Admission {
        let Some(node) = world.nodes.behind(self.house) else { return Admission::Silent };
        let ticket = node.session.as_ref().and_then(|session| session.api_server);
        match (ticket, self.door(world)) {
            (Some(ticket), Some(door)) if world.kubernetes.is_serving() => {
                Admission::Served { tls: door.config, ticket }
            }
            _ => Admission::Refused,
        }
    }

    fn fate(&self, world: &World, ticket: u64) -> Fate {
        let is_there = |node: &Node| node.session.as_ref().is_some_and(|session| session.api_server == Some(ticket));
        if world.nodes.is_mute(ticket) {
            Fate::Muted
        } else if world.kubernetes.is_serving() && world.nodes.by_ticket(ticket).is_some_and(is_there) {
            Fate::Served
        } else {
            Fate::Ended
        }
    }

    fn converse(&self, connection: Connection) -> BoxFuture<'static, ()> {
        let door = connection.floor.peek_world(|world| self.door(world)).flatten();
        Box::pin(async move {
            if let Some(door) = door {
                kubernetes::converse(connection, door).await;
            }
        })
    }
}
