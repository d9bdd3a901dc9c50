//! Which connections to nodes are open, and with whose credentials.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use castle_core::{Env, NodeSite, NodeTarget};

use crate::client::{API_PORT, Budget, Connection, Reach};
use crate::credential::Credentials;
use crate::tls::{self, Distrust, Fingerprint, MaintenanceTrust};
use crate::{Error, Result};

/// How nodes in maintenance are proved before they are given secrets.
///
/// The default proves nothing, so no node is configured: the operator chooses.
#[derive(Debug, Clone, Default)]
pub struct TalosOptions {
    /// What proves a node that [`TalosOptions::pins`] does not name.
    pub maintenance: Option<MaintenanceTrust>,
    /// The keys of single nodes, by the nodes' names: SHA-256 of the public key,
    /// as their consoles show it in base64.
    pub pins: BTreeMap<String, [u8; 32]>,
}

impl From<&castle_core::options::MaintenanceAccess> for TalosOptions {
    fn from(access: &castle_core::options::MaintenanceAccess) -> Self {
        let maintenance = access.trust_on_first_use.then_some(MaintenanceTrust::OnFirstUse);
        Self { maintenance, pins: access.pins.clone() }
    }
}

impl TalosOptions {
    /// What proves `node`.
    pub(crate) fn trust_in(&self, node: &str) -> Option<MaintenanceTrust> {
        self.pins.get(node).copied().map(MaintenanceTrust::Pin).or(self.maintenance)
    }
}

/// As what a node answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// It was configured in this life.
    Ours,
    /// It waits for a configuration.
    Maintenance,
}

/// A connection that stands, and what it leads to.
#[derive(Debug, Clone)]
pub(crate) struct Contact {
    pub mode: Mode,
    pub connection: Arc<Connection>,
    /// It stood before it was asked for, so it may have died unseen.
    pub kept: bool,
}

#[derive(Default)]
struct State {
    credentials: Option<Arc<Credentials>>,
    connections: BTreeMap<(String, Mode), (IpAddr, Arc<Connection>)>,
}

/// One operator's open connections.
pub(crate) struct Session {
    pub reach: Reach,
    pub env: Env,
    pub options: TalosOptions,
    state: Mutex<State>,
}

impl Session {
    pub(crate) fn new(reach: Reach, env: Env, options: TalosOptions) -> Self {
        Self { reach, env, options, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Castle's credentials for the life of `site`. Connections of another life are
    /// closed.
    pub(crate) fn credentials(&self, site: &NodeSite) -> Result<Arc<Credentials>> {
        let mut state = self.state();
        if let Some(known) = state.credentials.as_ref().filter(|known| known.are_of(&site.bundle)) {
            return Ok(known.clone());
        }
        let new = Arc::new(Credentials::of(&site.bundle, &self.env)?);
        state.connections.clear();
        state.credentials = Some(new.clone());
        Ok(new)
    }

    /// The open connection to a node, if there is one that did not end.
    pub(crate) fn live(&self, node: &NodeTarget, mode: Mode) -> Option<Arc<Connection>> {
        let mut state = self.state();
        let key = (node.spec.node.to_string(), mode);
        let (address, connection) = state.connections.get(&key)?;
        if *address == node.spec.nic.address && connection.is_alive() {
            return Some(connection.clone());
        }
        state.connections.remove(&key);
        None
    }

    /// Closes a connection that failed, unless another stands already.
    pub(crate) fn forget(&self, failed: &Contact) {
        let mut state = self.state();
        let key = (failed.connection.node().to_owned(), failed.mode);
        if state.connections.get(&key).is_some_and(|(_, kept)| Arc::ptr_eq(kept, &failed.connection)) {
            state.connections.remove(&key);
        }
    }

    fn keep(&self, node: &NodeTarget, mode: Mode, connection: &Arc<Connection>) {
        let kept = (node.spec.nic.address, connection.clone());
        self.state().connections.insert((node.spec.node.to_string(), mode), kept);
    }

    /// Reaches a node as ours or, if it waits for a configuration, as that: over
    /// the connection that stands, else over a new one.
    ///
    /// # Errors
    ///
    /// [`Error::Untrusted`] if it is neither.
    pub(crate) async fn contact(&self, site: &NodeSite, node: &NodeTarget, budget: Budget) -> Result<Contact> {
        let credentials = self.credentials(site)?;
        for mode in [Mode::Ours, Mode::Maintenance] {
            if let Some(connection) = self.live(node, mode) {
                return Ok(Contact { mode, connection, kept: true });
            }
        }
        let (name, address, clock) = (node.spec.node.as_str(), node.spec.nic.address, self.reach.clock());
        let tls = tls::ours(&credentials, address, clock)?;
        let (mode, connection) = match self.reach.open(name, address, tls, budget).await {
            Err(Error::Untrusted { distrust: Distrust::Maintenance, .. }) => {
                // Looking tells nothing away, so anybody may be looked at. What proves
                // the node is asked before it is told a secret.
                let trust = self.options.trust_in(name).unwrap_or(MaintenanceTrust::OnFirstUse);
                let tls = tls::maintenance(trust, clock);
                (Mode::Maintenance, self.reach.open(name, address, tls, budget).await?)
            }
            connection => (Mode::Ours, connection?),
        };
        self.keep(node, mode, &connection);
        Ok(Contact { mode, connection, kept: false })
    }

    /// Reaches a node of ours.
    ///
    /// # Errors
    ///
    /// As [`Session::contact`], and [`Error::Untrusted`] while it waits for a
    /// configuration.
    pub(crate) async fn ours(&self, site: &NodeSite, node: &NodeTarget, budget: Budget) -> Result<Contact> {
        let contact = self.contact(site, node, budget).await?;
        match contact.mode {
            Mode::Ours => Ok(contact),
            Mode::Maintenance => Err(Error::Untrusted {
                address: node.spec.nic.address,
                port: API_PORT,
                distrust: Distrust::Maintenance,
            }),
        }
    }

    /// Reaches a node of ours and proves that it is on the machine that was born
    /// for it.
    pub(crate) async fn proved(&self, site: &NodeSite, node: &NodeTarget, budget: Budget) -> Result<Contact> {
        let contact = self.ours(site, node, budget).await?;
        let contact = match contact.connection.uuid().await {
            Err(Error::Silent { .. }) if contact.kept => {
                self.forget(&contact);
                self.ours(site, node, budget).await?
            }
            _ => contact,
        };
        right_machine(node, contact.connection.uuid().await?)?;
        Ok(contact)
    }

    /// The key that a connection's server showed.
    pub(crate) fn shown_key(connection: &Connection) -> Option<Fingerprint> {
        connection.certificate().and_then(Fingerprint::of)
    }
}

/// Whether a machine that says `found` is the one that was born for `node`.
pub(crate) fn right_machine(node: &NodeTarget, found: Option<uuid::Uuid>) -> Result<()> {
    if found == Some(node.uuid) {
        return Ok(());
    }
    Err(Error::WrongMachine {
        node: node.spec.node.to_string(),
        address: node.spec.nic.address,
        wanted: node.uuid,
        found,
    })
}
