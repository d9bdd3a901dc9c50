//! A house with one server that is known by its name, and what castle needs to
//! reach it.

use std::net::SocketAddr;
use std::sync::Arc;

use castle_core::options::{DialMap, MaintenanceAccess, Options, SecretsAccess, Trust};
use castle_core::{Env, Pace};
use castle_lab::{Door, Lab, RunId, Service, World};

pub const AT: &str = "192.168.1.7:443";

pub struct House {
    pub lab: Lab,
    pub run: RunId,
    name: &'static str,
}

impl House {
    /// Starts a house where `service` is `name`.
    pub async fn with(name: &'static str, world: World, service: Arc<dyn Service>) -> Self {
        let door = Door { house: address(), names: vec![name.to_owned()], service };
        let lab = Lab::of(world).door(door).start().await.unwrap();
        let run = lab.new_run();
        Self { lab, run, name }
    }

    pub fn options(&self) -> Options {
        let at = self.lab.address_of(address()).unwrap();
        Options {
            proxmox: None,
            maintenance: MaintenanceAccess::default(),
            secrets: SecretsAccess::Memory,
            git: None,
            identity: None,
            dial: DialMap::exclusive(self.lab.addresses()).with_names([((self.name.to_owned(), 443), at)]),
            source: Some(self.lab.source(self.run)),
            pace: Pace::Virtual,
            lab: true,
        }
    }

    pub fn env(&self) -> Env {
        self.lab.env(self.run)
    }

    pub fn trust(&self) -> Trust {
        Trust::Authorities(self.lab.pki().ca_pem().to_owned())
    }

    /// Kind and status of every request so far.
    pub fn asked(&self) -> Vec<String> {
        let line = |entry: &castle_lab::journal::Entry| format!("{} {}", entry.kind, entry.status.unwrap_or(0));
        self.lab.journal().entries().iter().map(line).collect()
    }
}

pub fn address() -> SocketAddr {
    AT.parse().unwrap()
}
