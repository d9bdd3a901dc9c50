//! One port of one address that load balancers may take.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use castle_core::Clock;
use futures::future::BoxFuture;
use rustls::ServerConfig;

use super::certificate::{Chooser, serving};
use super::{BACKEND, Web, converse};
use crate::gate::{Admission, Connection, Fate, Gate};
use crate::wire::Socket;
use crate::workload::Shown;
use crate::world::World;

/// The port of plain HTTP.
pub(crate) const HTTP: u16 = 80;
/// The port of HTTP over TLS.
pub(crate) const HTTPS: u16 = 443;

/// What speakers of MetalLB announce has no incarnation: the address moves from
/// node to node, and what stands behind it is asked at each request.
const TICKET: u64 = 0;

/// Port 80 or 443 of an address of the house. Nobody answers there while no
/// speaker announces it.
pub(crate) struct WebDoor {
    house: SocketAddr,
    clock: Clock,
    /// What was shown last, with what it was made from.
    shown: Mutex<Option<(Vec<Shown>, Arc<ServerConfig>)>>,
}

impl WebDoor {
    /// Both ports of an address.
    pub(crate) fn ports(address: IpAddr) -> [SocketAddr; 2] {
        [HTTP, HTTPS].map(|port| SocketAddr::new(address, port))
    }

    /// Whether such a door stands at that port.
    pub(crate) fn is_at(port: u16) -> bool {
        [HTTP, HTTPS].contains(&port)
    }

    pub(crate) fn new(house: SocketAddr, clock: Clock) -> Self {
        Self { house, clock, shown: Mutex::new(None) }
    }

    fn identity(&self, world: &World) -> Result<Arc<ServerConfig>, String> {
        let wanted = world.shown_certificates();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, config)) = shown.as_ref()
            && *known == wanted
        {
            return Ok(Arc::clone(config));
        }
        let config = serving(Chooser::of(&wanted, world.wall())?, &self.clock)?;
        *shown = Some((wanted, Arc::clone(&config)));
        Ok(config)
    }

    fn service(&self) -> Arc<Web> {
        Arc::new(Web { address: self.house.ip(), port: self.house.port() })
    }
}

impl Gate for WebDoor {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn admit(&self, world: &World) -> Admission {
        if !world.answers_at(self.house.ip(), self.house.port()) {
            return Admission::Silent;
        }
        if self.house.port() != HTTPS {
            return Admission::ServedPlainly { ticket: TICKET };
        }
        match self.identity(world) {
            Ok(tls) => Admission::Served { tls, ticket: TICKET },
            Err(error) => {
                tracing::warn!(house = %self.house, %error, "the ingress has no certificate and does not listen");
                Admission::Refused
            }
        }
    }

    fn fate(&self, world: &World, _ticket: u64) -> Fate {
        if world.answers_at(self.house.ip(), self.house.port()) { Fate::Served } else { Fate::Muted }
    }

    fn converse(&self, connection: Connection) -> BoxFuture<'static, ()> {
        Box::pin(converse(connection, self.service()))
    }

    fn converse_plainly(&self, connection: Connection<Socket>) -> BoxFuture<'static, ()> {
        Box::pin(converse(connection, self.service()))
    }
}
