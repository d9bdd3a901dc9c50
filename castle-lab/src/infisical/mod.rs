//! Infisical: projects, environments, folders, secrets and machine identities.

pub mod furnish;
pub mod identity;
pub mod secret;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use identity::Identities;
use secret::{Stored, Write};

/// The house's Infisical.
#[derive(Clone, Default)]
pub struct Infisical {
    /// The projects, by slug.
    pub projects: BTreeMap<String, VaultProject>,
    /// Who may log in, and who has.
    pub identities: Identities,
    /// Folders whose changes wait for somebody's approval.
    pub approvals: BTreeSet<Place>,
    /// How many requests of one client are answered within a minute of the house.
    /// `None`: all, as on a server of one's own.
    pub requests_per_minute: Option<u32>,
    pub(crate) minute: BTreeMap<crate::RunId, (Duration, u32)>,
    pub(crate) requests: u64,
    writes: Vec<Write>,
}

/// A project of the vault.
#[derive(Debug, Clone)]
pub struct VaultProject {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its environments, by slug.
    pub environments: BTreeMap<String, Environment>,
}

/// An environment of a project.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Its id.
    pub id: String,
    /// Its folders by their paths; the root is always there.
    pub folders: BTreeMap<String, Folder>,
}

/// A folder.
#[derive(Debug, Clone, Default)]
pub struct Folder {
    /// Its id.
    pub id: String,
    /// Its secrets, by name.
    pub secrets: BTreeMap<String, Stored>,
}

/// A folder's whole address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The project's slug.
    pub project: String,
    /// The environment's slug.
    pub environment: String,
    /// The path, `/` for the root.
    pub path: String,
}

impl Place {
    /// A folder of a project's environment; the path is brought into its one form.
    #[must_use]
    pub fn new(project: &str, environment: &str, path: &str) -> Self {
        Self { project: project.to_owned(), environment: environment.to_owned(), path: normal(path) }
    }
}

/// One form for each path: a slash before each part, none at the end.
#[must_use]
pub fn normal(path: &str) -> String {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
}

impl Infisical {
    /// A secret's value.
    #[must_use]
    pub fn value(&self, project: &str, environment: &str, path: &str, name: &str) -> Option<&str> {
        self.secret(&Place::new(project, environment, path), name).map(|stored| stored.value().expose().as_str())
    }

    /// How often a secret was written since it was made. Every write counts, also
    /// one of an equal value.
    #[must_use]
    pub fn version(&self, project: &str, environment: &str, path: &str, name: &str) -> Option<u64> {
        self.secret(&Place::new(project, environment, path), name).map(Stored::version)
    }

    /// Every write of every secret so far, in order.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Whether external-secrets, with these credentials, may read now.
    #[must_use]
    pub fn identity_is_valid(&self, client_id: &str, client_secret: &str) -> bool {
        self.identities.is_valid(client_id, client_secret)
    }

    /// Counts every change of a secret.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.writes.len() as u64
    }

    /// Every secret that the server knows, with what it is.
    pub fn secrets(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let stored = self.projects.values().flat_map(|project| project.environments.values());
        let stored = stored.flat_map(|environment| environment.folders.values()).flat_map(|folder| &folder.secrets);
        let stored = stored.flat_map(|(name, stored)| {
            stored.versions.iter().map(move |version| (format!("the vault's {name}"), version.value.expose().clone()))
        });
        self.identities.secrets().chain(stored)
    }

    /// The folder, if it is there.
    #[must_use]
    pub fn folder(&self, place: &Place) -> Option<&Folder> {
        self.projects.get(&place.project)?.environments.get(&place.environment)?.folders.get(&place.path)
    }

    pub(crate) fn folder_mut(&mut self, place: &Place) -> Option<&mut Folder> {
        let project = self.projects.get_mut(&place.project)?;
        project.environments.get_mut(&place.environment)?.folders.get_mut(&place.path)
    }

    /// A secret, if it is there.
    #[must_use]
    pub fn secret(&self, place: &Place, name: &str) -> Option<&Stored> {
        self.folder(place)?.secrets.get(name)
    }

    /// Makes a folder and everything above it; project and environment too, where
    /// they are missing.
    pub fn ensure_folder(&mut self, place: &Place, mint: &dyn Fn(&str) -> String) -> &mut Folder {
        let Place { project, environment, path } = place;
        let projects = self.projects.entry(project.clone()).or_insert_with(|| VaultProject {
            id: mint(&format!("project {project}")),
            name: project.clone(),
            environments: BTreeMap::new(),
        });
        let environments = projects.environments.entry(environment.clone()).or_insert_with(|| Environment {
            id: mint(&format!("environment {project} {environment}")),
            folders: BTreeMap::new(),
        });
        let id = |path: &str| mint(&format!("folder {project} {environment} {path}"));
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let above = if end == 0 { "/" } else { &path[..end] };
            let new = || Folder { id: id(above), secrets: BTreeMap::new() };
            environments.folders.entry(above.to_owned()).or_insert_with(new);
        }
        environments.folders.entry(path.clone()).or_default()
    }

    /// Writes a secret into a folder that is there, as a new version. `None`: the
    /// folder is missing.
    pub(crate) fn write(&mut self, place: &Place, name: &str, value: &str, at: Duration, id: String) -> Option<()> {
        let folder = self.folder_mut(place)?;
        let value = secret::trimmed(value);
        let stored = folder.secrets.entry(name.to_owned()).or_insert_with(|| Stored::new(id));
        let differs = stored.versions.last().is_none_or(|last| *last.value.expose() != value);
        stored.push(value, at);
        let (version, name, place) = (stored.version(), name.to_owned(), place.clone());
        self.writes.push(Write { at, place, name, version, differs });
        Some(())
    }
}

impl fmt::Debug for Infisical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Infisical")
            .field("projects", &self.projects)
            .field("identities", &self.identities)
            .field("writes", &self.writes)
            .finish_non_exhaustive()
    }
}
