//! The option document: where the backends are and how they are reached.
//!
//! Wishes live in `castle.yaml`, access lives here. A lab writes the same
//! document that an operator writes for a real house, so the adapters meet
//! both alike.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::clock::Pace;
use crate::{Error, ErrorKind, Project, Result, Secret, SecretStore, SecretText};

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

/// Access to an Infisical server.
#[derive(Debug, Clone)]
pub struct InfisicalAccess {
    /// `https://eu.infisical.com`, without a path.
    pub url: String,
    /// The project's slug.
    pub project: String,
    /// The environment's slug: `prod`.
    pub environment: String,
    /// The folder: `/ephemeral-castle/blue/proxmox`.
    pub path: String,
    /// The machine identity's client id.
    pub client_id: String,
    /// Its client secret.
    pub client_secret: SecretText,
    /// How its certificate is judged; `None`: by the authorities that the system
    /// trusts.
    pub trust: Option<Trust>,
}

/// Access to the GitOps repository.
#[derive(Debug, Clone)]
pub struct GitAccess {
    /// Any name will do with a token; `git` is usual.
    pub username: String,
    /// The token.
    pub password: SecretText,
    /// How its certificate is judged; `None`: by the authorities that the system
    /// trusts.
    pub trust: Option<Trust>,
}

/// The identity by which external-secrets reads the vault. Castle only plants it.
#[derive(Debug, Clone)]
pub struct MachineIdentity {
    /// Its client id.
    pub client_id: SecretText,
    /// Its client secret.
    pub client_secret: SecretText,
}

/// Where the secrets live.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SecretsAccess {
    /// Files below a folder, for the operator alone.
    Files(PathBuf),
    /// A folder of an Infisical project.
    Infisical(Box<InfisicalAccess>),
    /// Files below a folder that SOPS has encrypted for an age key; read only.
    Sops {
        /// The folder.
        folder: PathBuf,
        /// The file with the age identities.
        key: PathBuf,
    },
    /// Variables of the environment with this prefix; read only.
    Environment {
        /// `CASTLE_SECRET_`.
        prefix: String,
    },
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
pub struct DialMap {
    addresses: Option<BTreeMap<SocketAddr, SocketAddr>>,
    names: BTreeMap<(String, u16), SocketAddr>,
}

impl DialMap {
    /// Every address is dialled as it is.
    #[must_use]
    pub fn direct() -> Self {
        Self::default()
    }

    /// Only the mapped addresses may be dialled.
    pub fn exclusive(map: impl IntoIterator<Item = (SocketAddr, SocketAddr)>) -> Self {
        Self { addresses: Some(map.into_iter().collect()), names: BTreeMap::new() }
    }

    /// Adds servers that are known by name and port: `git.example:443`. With the
    /// first of them there is a map, so what it lacks is not dialled any more.
    #[must_use]
    pub fn with_names(mut self, names: impl IntoIterator<Item = ((String, u16), SocketAddr)>) -> Self {
        self.names.extend(names.into_iter().map(|((name, port), at)| ((name.to_ascii_lowercase(), port), at)));
        if !self.names.is_empty() {
            self.addresses.get_or_insert_default();
        }
        self
    }

    /// The servers that are known by name.
    #[must_use]
    pub fn names(&self) -> &BTreeMap<(String, u16), SocketAddr> {
        &self.names
    }

    /// Where to connect for a server known by its name, or by an address in text.
    /// `None`: the system's resolver is to be asked.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unreachable`] if there is a map and the server is not in it.
    pub fn resolve_name(&self, host: &str, port: u16) -> Result<Option<SocketAddr>> {
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return self.resolve(SocketAddr::new(ip, port)).map(Some);
        }
        match self.names.get(&(host.to_ascii_lowercase(), port)) {
            Some(at) => Ok(Some(*at)),
            None if self.addresses.is_none() => Ok(None),
            None => Err(not_mapped(&format!("{host}:{port}"))),
        }
    }

    /// The entries, or `None` if every address is dialled as it is.
    #[must_use]
    pub fn entries(&self) -> Option<&BTreeMap<SocketAddr, SocketAddr>> {
        self.addresses.as_ref()
    }

    /// Where to connect for `wanted`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unreachable`] if there is a map and `wanted` is not in it.
    pub fn resolve(&self, wanted: SocketAddr) -> Result<SocketAddr> {
        match &self.addresses {
            None => Ok(wanted),
            Some(map) => map.get(&wanted).copied().ok_or_else(|| not_mapped(&wanted.to_string())),
        }
    }
}

fn not_mapped(wanted: &str) -> Error {
    Error::new(ErrorKind::Unreachable, format!("{wanted} is not in the dial map, so it is not dialled"))
        .hint("add it under `dial` in the option document, or remove the whole map to dial directly")
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
    /// Access to the GitOps repository.
    pub git: Option<GitAccess>,
    /// The identity that external-secrets is given.
    pub identity: Option<MachineIdentity>,
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

impl Options {
    /// Takes the token of the GitOps repository from the secret that `castle.yaml`
    /// names (`gitops.repository.credentials`), unless the option document gives
    /// access itself. With neither, and with no `gitops`, nothing happens.
    ///
    /// # Errors
    ///
    /// What the store says; [`ErrorKind::NotFound`] if it has no such secret;
    /// [`ErrorKind::InvalidSpec`] if the secret is no text.
    pub async fn complete_git(&mut self, project: &Project, store: &dyn SecretStore) -> Result<()> {
        let (None, Some(key)) = (&self.git, &project.git_credentials) else { return Ok(()) };
        let told = |kind, what: &str| {
            let hint = "put the repository's token there, or give `git: {password_file: FILE}` in the option document";
            Error::new(kind, format!("the secret `{key}`, the repository's token, {what}"))
                .with("store", store.name())
                .hint(hint)
        };
        let token = store.get(key).await?.ok_or_else(|| told(ErrorKind::NotFound, "does not exist"))?;
        let token = std::str::from_utf8(token.expose()).map(str::trim).unwrap_or_default();
        if token.is_empty() {
            return Err(told(ErrorKind::InvalidSpec, "holds no text"));
        }
        self.git = Some(GitAccess { username: "git".to_owned(), password: Secret::new(token.to_owned()), trust: None });
        Ok(())
    }
}
