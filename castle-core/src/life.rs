//! Lives: which incarnation of the cluster a machine belongs to.
//!
//! There is no state file, so identity is read from the world, and a rerun must
//! know whether it continues or begins. The secret store keeps, for each life,
//! its bundle and a few facts, each written once:
//!
//! | key | written | meaning |
//! |---|---|---|
//! | `<project>/project-key` | once | signs every mark |
//! | `<project>/<cluster>/talos/<n>.began` | before the bundle | what began life n: `create` or `rebirth` |
//! | `<project>/<cluster>/talos/<n>` | then | the bundle: the birth is committed |
//! | `<project>/<cluster>/talos/<n>.bootstrap` | before etcd is first asked to be born | it may have been born from now on |
//! | `<project>/<cluster>/talos/<n>.born` | when its etcd was first seen alive, or its first control plane is made anew after `bootstrap` | etcd is never born again in it |
//! | `<project>/<cluster>/talos/<n>.lost` | when its only control plane is made anew after `bootstrap` | its etcd is gone, data and all |
//! | `<project>/<cluster>/talos/<n>.complete` | when the asked milestone was first reached | it was whole once |
//! | `<project>/<cluster>/talos/<n>.kubeconfig`, `.talosconfig` | when asked for | kept while they are valid |
//! | `<project>/<cluster>/talos/<n>.ended` | before its first machine goes | its tombstone |
//!
//! All but the credentials are made with `create`: the loser of a race reads the
//! winner's. A credential is made with `put`: it is minted anew when it ends, and of
//! two that are minted at once either serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::port::identity::Identity;
use crate::{Credential, Env, Error, ErrorKind, Name, ProjectKey, Result, Secret, SecretBytes, SecretKey, SecretStore};

/// A fact about a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// It was begun.
    Began,
    /// Its first control plane was about to be asked to give birth to etcd. Whether
    /// the request arrived is not known; if that machine is lost, so may an etcd be.
    Bootstrap,
    /// Its etcd was born. There is no second birth in a life.
    Born,
    /// Its etcd went with the disk of its only control plane: nothing brings it back.
    Lost,
    /// It was whole once.
    Complete,
    /// It is over.
    Ended,
}

/// What began a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// A create.
    Create,
    /// A rebirth: until this life is whole, the same rebirth goes on.
    Rebirth,
}

impl Fact {
    fn suffix(self) -> &'static str {
        match self {
            Self::Began => ".began",
            Self::Bootstrap => ".bootstrap",
            Self::Born => ".born",
            Self::Lost => ".lost",
            Self::Complete => ".complete",
            Self::Ended => ".ended",
        }
    }
}

/// What the store says about one life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Life {
    /// What began it, where somebody needed to know: it costs a read.
    pub began: Option<Beginning>,
    /// Its bundle exists: the birth is committed.
    pub committed: bool,
    /// Its etcd was born.
    pub born: bool,
    /// Its etcd is gone, data and all.
    pub lost: bool,
    /// It was whole once.
    pub complete: bool,
    /// Its tombstone stands.
    pub ended: bool,
}

impl Life {
    /// Whether its bundle is gone from the store: what is written only after the bundle
    /// is there. Nothing can speak to its nodes any more, and a new bundle would be
    /// another cluster's.
    #[must_use]
    pub fn lacks_its_bundle(&self) -> bool {
        !self.committed && !self.ended && (self.born || self.complete)
    }

    /// How far it is, in words: `being born`, `whole`, `ended`, or `without its secrets`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match (self.ended, self.complete) {
            (true, _) => "ended",
            _ if self.lacks_its_bundle() => "without its secrets",
            (_, true) => "whole",
            _ => "being born",
        }
    }
}

/// Every life that the store knows, by number from 1.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lives(BTreeMap<u32, Life>);

impl Lives {
    /// The newest life, ended or not.
    #[must_use]
    pub fn newest(&self) -> Option<(u32, Life)> {
        self.0.iter().next_back().map(|(number, life)| (*number, *life))
    }

    /// The newest life if it is not over.
    #[must_use]
    pub fn current(&self) -> Option<(u32, Life)> {
        self.newest().filter(|(_, life)| !life.ended)
    }

    /// The number of the life that would begin next.
    #[must_use]
    pub fn next(&self) -> u32 {
        self.newest().map_or(1, |(number, _)| number.saturating_add(1))
    }

    /// One life.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<Life> {
        self.0.get(&number).copied()
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Life)> {
        self.0.iter().map(|(number, life)| (*number, *life))
    }
}

impl FromIterator<(u32, Life)> for Lives {
    fn from_iter<I: IntoIterator<Item = (u32, Life)>>(lives: I) -> Self {
        Self(lives.into_iter().collect())
    }
}

/// The number of a life, as castle writes it: `7`, neither `007` nor `+7`, whose bundle
/// would be looked for under `7`. The last number of all is none: another comes
/// after each life.
fn number_of(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    ((1..u32::MAX).contains(&number) && number.to_string() == text).then_some(number)
}

/// Where the bundle of a life is kept.
pub(crate) fn bundle_place(project: &Name, cluster: &Name, life: u32) -> String {
    format!("{project}/{cluster}/talos/{life}")
}

/// The way out for a life whose bundle is gone from its place.
pub(crate) fn lost_bundle(place: &str, life: u32) -> String {
    format!(
        "restore `{place}` from a backup of the secret store; if there is none, `castle destroy`, and `castle create` \
         begins life {}",
        life.saturating_add(1)
    )
}

/// The project's corner of a secret store.
#[derive(Debug, Clone)]
pub struct Vault {
    store: Arc<dyn SecretStore>,
    project: Name,
    cluster: Name,
}

impl Vault {
    /// The corner of `cluster` in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn SecretStore>, project: Name, cluster: Name) -> Self {
        Self { store, project, cluster }
    }

    /// The store behind it.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn SecretStore> {
        &self.store
    }

    fn project_key_path(&self) -> Result<SecretKey> {
        format!("{}/project-key", self.project).parse()
    }

    fn lives_path(&self) -> String {
        format!("{}/{}/talos", self.project, self.cluster)
    }

    fn bundle_path(&self, life: u32) -> Result<SecretKey> {
        bundle_place(&self.project, &self.cluster, life).parse()
    }

    fn fact_path(&self, life: u32, fact: Fact) -> Result<SecretKey> {
        format!("{}/{life}{}", self.lives_path(), fact.suffix()).parse()
    }

    pub(crate) fn credential_path(&self, life: u32, which: Credential) -> Result<SecretKey> {
        format!("{}/{life}.{}", self.lives_path(), which.name()).parse()
    }

    /// The project key, if there is one.
    ///
    /// # Errors
    ///
    /// What the store says; `Unexpected` if the stored key is damaged.
    pub async fn project_key(&self) -> Result<Option<ProjectKey>> {
        let path = self.project_key_path()?;
        let Some(bytes) = self.store.get(&path).await? else { return Ok(None) };
        ProjectKey::from_bytes(bytes).map(Some).ok_or_else(|| {
            Error::new(ErrorKind::Unexpected, "the project key in the secret store is damaged")
                .with("secret", &path)
                .hint("restore it from a backup of the store: it proves which machines are yours")
        })
    }

    /// The project key; made now if there is none.
    ///
    /// # Errors
    ///
    /// What the store says; `Unexpected` if the stored key is damaged.
    pub async fn ensure_project_key(&self, env: &Env) -> Result<ProjectKey> {
        if let Some(key) = self.project_key().await? {
            return Ok(key);
        }
        let key = ProjectKey::generate(env);
        match self.store.create(&self.project_key_path()?, &key.to_bytes()).await {
            Ok(()) => Ok(key),
            // Somebody was faster, or our own answer was lost: what stands there is the key.
            Err(error) => match self.project_key().await {
                Ok(Some(theirs)) => Ok(theirs),
                _ => Err(error),
            },
        }
    }

    /// Reads which lives there were.
    ///
    /// # Errors
    ///
    /// What the store says. A list that cannot be read is never an empty one.
    pub async fn lives(&self) -> Result<Lives> {
        let below = self.lives_path();
        let mut lives: BTreeMap<u32, Life> = BTreeMap::new();
        for key in self.store.list(&below).await? {
            let Some(rest) = key.as_str().strip_prefix(&below).and_then(|rest| rest.strip_prefix('/')) else {
                continue;
            };
            let (number, fact) = rest.split_once('.').unwrap_or((rest, ""));
            let Some(number) = number_of(number) else { continue };
            let life = lives.entry(number).or_default();
            match fact {
                "" => life.committed = true,
                "born" => life.born = true,
                "lost" => life.lost = true,
                "complete" => life.complete = true,
                "ended" => life.ended = true,
                _ => {}
            }
        }
        Ok(Lives(lives))
    }

    /// The same lives, with what began the newest where that decides what a rebirth
    /// does: it goes on and was never whole. One read, or none.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn with_beginning(&self, mut lives: Lives) -> Result<Lives> {
        let Some((number, mut life)) = lives.current().filter(|(_, life)| !life.complete) else { return Ok(lives) };
        let path = self.fact_path(number, Fact::Began)?;
        let text = self.store.get(&path).await?;
        let damaged = || {
            Error::new(ErrorKind::Unexpected, format!("what began life {number} is damaged in the secret store"))
                .with("secret", &path)
                .hint("restore it from a backup of the store; `castle create` finishes that life, `castle destroy` ends it")
        };
        life.began = match text.as_ref().map(|text| text.expose().trim_ascii()) {
            None => None,
            Some(b"create") => Some(Beginning::Create),
            Some(b"rebirth") => Some(Beginning::Rebirth),
            Some(_) => return Err(damaged()),
        };
        lives.0.insert(number, life);
        Ok(lives)
    }

    /// Writes a fact once; it may stand already.
    ///
    /// # Errors
    ///
    /// What the store says, unless it says that the fact stands.
    pub async fn record(&self, life: u32, fact: Fact, text: &str) -> Result<()> {
        let path = self.fact_path(life, fact)?;
        match self.store.create(&path, &Secret::new(text.as_bytes().to_vec())).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// Whether a fact of a life is written.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn knows(&self, life: u32, fact: Fact) -> Result<bool> {
        Ok(self.store.get(&self.fact_path(life, fact)?).await?.is_some())
    }

    /// The bundle of a life, if it was committed.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn bundle(&self, life: u32) -> Result<Option<SecretBytes>> {
        self.store.get(&self.bundle_path(life)?).await
    }

    /// The life that goes on and its bundle: what it takes to speak to its nodes.
    ///
    /// # Errors
    ///
    /// `NotFound` if no life goes on; `EvidenceMissing` if its bundle is gone from the
    /// store; what the store says.
    pub async fn lived(&self) -> Result<(u32, SecretBytes)> {
        let missing = || Error::new(ErrorKind::NotFound, "no life goes on").hint("`castle create` begins one");
        let (number, life) = self.lives().await?.current().ok_or_else(missing)?;
        let bundle = if life.committed { self.bundle(number).await? } else { None };
        match bundle {
            Some(bundle) => Ok((number, bundle)),
            None if life.committed || life.lacks_its_bundle() => {
                let place = self.bundle_path(number)?;
                Err(Error::new(
                    ErrorKind::EvidenceMissing,
                    format!("the secrets of life {number} are gone: nothing can speak to its nodes any more"),
                )
                .with("secret", &place)
                .hint(lost_bundle(&place.to_string(), number)))
            }
            None => Err(missing()),
        }
    }

    /// The bundle of a life; made and committed now if there is none.
    ///
    /// # Errors
    ///
    /// What the store says, and what the identity says of making a bundle.
    pub async fn ensure_bundle(&self, life: u32, identity: &dyn Identity, env: &Env) -> Result<SecretBytes> {
        if let Some(bundle) = self.bundle(life).await? {
            return Ok(bundle);
        }
        let bundle = identity.generate(env)?;
        match self.store.create(&self.bundle_path(life)?, &bundle).await {
            Ok(()) => Ok(bundle),
            Err(error) => match self.bundle(life).await {
                Ok(Some(theirs)) => Ok(theirs),
                _ => Err(error),
            },
        }
    }
}
