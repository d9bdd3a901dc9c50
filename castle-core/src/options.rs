//! The option document: where the backends are and how they are reached.
//!
//! Wishes live in `castle.yaml`, access lives here. A lab writes the same
//! document that an operator writes for a real house, so the adapters meet
//! both alike.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::clock::Pace;
use crate::{Error, ErrorKind, Result, SecretText};

/// How a server's certificate is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Signed by one of these authorities, for the name or address asked for. PEM.
    Authorities(String),
    /// The leaf's SHA-256 is one of these.
    Fingerprints(Vec<[u8; 32]>),
}

/// Access to a Proxmox VE host or cluster.
#[derive(Debug, Clone)]
pub struct ProxmoxAccess {
    /// `https://host:8006`.
    pub url: String,
    /// `user@realm!name=uuid`.
    pub token: SecretText,
    /// How its certificate is judged.
    pub trust: Trust,
}

/// How a node that waits for its first configuration is proved to be ours. Its
/// certificate is its own, so nobody vouches for it; what it is given holds every
/// secret of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MaintenanceAccess {
    /// The keys of single nodes, by their names: SHA-256 of the public key, as the
    /// node's console shows it in base64.
    pub pins: BTreeMap<String, [u8; 32]>,
    /// Whether a node without a pin is believed if it tells, on that very
    /// connection, the uuid of the machine that was made for it. That stops a
    /// stranger, not somebody who relays the connection.
    pub trust_on_first_use: bool,
}

/// Where the secrets live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretsAccess {
    /// Files below a folder, for the operator alone.
    Files(PathBuf),
    /// In memory, given by the composition root; for labs and tests.
    Memory,
}

/// Where connections really go.
///
/// Declarations speak of the real house (`192.168.1.210:6443`). With a map, an
/// address is looked up here, and one that is missing is an **error**: else the
/// one adapter that forgot the map would dial somebody's real machine.
///
/// ```
/// use castle_core::options::DialMap;
///
/// let direct = DialMap::direct();
/// let house: std::net::SocketAddr = "192.168.1.211:50000".parse().unwrap();
/// assert_eq!(direct.resolve(house).unwrap(), house);
///
/// let lab = DialMap::exclusive([(house, "127.0.0.1:4000".parse().unwrap())]);
/// assert_eq!(lab.resolve(house).unwrap().port(), 4000);
/// assert!(lab.resolve("192.168.1.212:50000".parse().unwrap()).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DialMap(Option<BTreeMap<SocketAddr, SocketAddr>>);

impl DialMap {
    /// Every address is dialled as it is.
    #[must_use]
    pub fn direct() -> Self {
        Self(None)
    }

    /// Only the mapped addresses may be dialled.
    pub fn exclusive(map: impl IntoIterator<Item = (SocketAddr, SocketAddr)>) -> Self {
        Self(Some(map.into_iter().collect()))
    }

    /// The entries, or `None` if every address is dialled as it is.
    #[must_use]
    pub fn entries(&self) -> Option<&BTreeMap<SocketAddr, SocketAddr>> {
        self.0.as_ref()
    }

    /// Where to connect for `wanted`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unreachable`] if there is a map and `wanted` is not in it.
    pub fn resolve(&self, wanted: SocketAddr) -> Result<SocketAddr> {
        match &self.0 {
            None => Ok(wanted),
            Some(map) => map.get(&wanted).copied().ok_or_else(|| {
                Error::new(ErrorKind::Unreachable, format!("{wanted} is not in the dial map, so it is not dialled"))
                    .hint("add it under `dial` in the option document, or remove the whole map to dial directly")
            }),
        }
    }
}

/// The option document, read.
#[derive(Debug, Clone)]
pub struct Options {
    /// Access to Proxmox VE.
    pub proxmox: Option<ProxmoxAccess>,
    /// How nodes in maintenance are proved.
    pub maintenance: MaintenanceAccess,
    /// Where the secrets live.
    pub secrets: SecretsAccess,
    /// Where connections really go.
    pub dial: DialMap,
    /// The address that connections come from; a lab tells engine runs apart by it.
    pub source: Option<IpAddr>,
    /// How fast the world behind the endpoints runs.
    pub pace: Pace,
    /// Whether the endpoints are a lab's. On a house, destroy asks for the
    /// cluster's name.
    pub lab: bool,
}
