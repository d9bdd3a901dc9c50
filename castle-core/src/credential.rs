//! What an administrator takes along: kubeconfig and talosconfig.

use serde::Serialize;

use crate::castle::Castle;
use crate::handover::Escrow;
use crate::life::Vault;
use crate::{
    Context, Env, Error, ErrorKind, Member, Name, NodeOs, NodeRole, NodeSite, NodeTarget, Problem, Project, Result,
    Secret, SecretBytes, SecretKey, SecretText,
};

/// Which credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Credential {
    /// For the Kubernetes API.
    Kubeconfig,
    /// For the nodes' own API.
    Talosconfig,
}

impl Credential {
    /// Its name, as files and verbs have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kubeconfig => "kubeconfig",
            Self::Talosconfig => "talosconfig",
        }
    }
}

impl Castle {
    /// An administrator's credential for the life that goes on: the kept one while
    /// it is valid, else one minted offline now and kept in the secret store.
    ///
    /// # Errors
    ///
    /// `NotFound` if no life goes on; `Unsupported` without a system for the nodes;
    /// what the secret store says.
    pub async fn credential(&self, which: Credential) -> Result<SecretText> {
        let (number, site) = self.life_site().await?;
        kept(&self.backends().vault, self.node_os()?, self.env(), number, &site, which).await
    }

    /// Puts the credentials of the life that goes on where `castle.yaml` wants them.
    /// Valid ones stay as they are, and are not written.
    ///
    /// # Errors
    ///
    /// As [`Castle::credential`]; `InvalidSpec` if `castle.yaml` names no place;
    /// `EvidenceMissing` if a place holds what is no such credential of this cluster.
    pub async fn escrow(&self) -> Result<Vec<Escrowed>> {
        let declared: Vec<_> = declared(&self.project().escrow).collect();
        if declared.is_empty() {
            return Err(Error::new(ErrorKind::InvalidSpec, "castle.yaml names no place for kubeconfig or talosconfig")
                .hint("add `escrow: {kubeconfig: NAME, talosconfig: NAME}`"));
        }
        let (number, site) = self.life_site().await?;
        let (vault, os) = (&self.backends().vault, self.node_os()?);
        let mut escrowed = Vec::new();
        for (which, key) in declared {
            let written = put_into_escrow(vault, os, self.env(), number, &site, (which, key)).await?;
            escrowed.push(Escrowed { which, key: key.clone(), written });
        }
        Ok(escrowed)
    }

    /// The members of etcd, as each control plane lists them: lists that differ
    /// tell of a ghost.
    ///
    /// # Errors
    ///
    /// `NotFound` if no life goes on. A control plane that does not answer is in
    /// the list, with its error. `DeadlineExceeded` if a backend does not answer at
    /// all, `Cancelled` if `cx` is.
    pub async fn members(&self, cx: &Context) -> Result<Vec<(Name, Result<Vec<Member>>)>> {
        self.in_time(cx, self.ask_for_members(cx)).await
    }

    async fn ask_for_members(&self, cx: &Context) -> Result<Vec<(Name, Result<Vec<Member>>)>> {
        let (number, site) = self.life_site().await?;
        let cluster_id = self.backends().identity.cluster_id(&site.bundle)?;
        let os = self.node_os()?;
        let mut lists = Vec::new();
        for spec in self.project().with_role(NodeRole::ControlPlane) {
            let uuid = crate::Birth::uuid_of(&cluster_id, number, &spec.node, 1);
            let target = NodeTarget { spec: spec.clone(), uuid };
            lists.push((spec.node.clone(), os.members(cx, &site, &target).await));
        }
        Ok(lists)
    }

    pub(crate) fn node_os(&self) -> Result<&dyn NodeOs> {
        self.backends()
            .node_os
            .as_deref()
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "the castle was given no system for its nodes"))
    }

    pub(crate) async fn life_site(&self) -> Result<(u32, NodeSite)> {
        let (number, bundle) = self.backends().vault.lived().await?;
        Ok((number, NodeSite { project: self.shared_project(), bundle }))
    }
}

/// A credential that is where others look for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Escrowed {
    /// Which.
    pub which: Credential,
    /// The secret that holds it.
    pub key: SecretKey,
    /// Whether it was put there now; a valid one stays as it is.
    pub written: bool,
}

/// What goes into escrow, and where to.
pub(crate) fn declared(escrow: &Escrow) -> impl Iterator<Item = (Credential, &SecretKey)> {
    let kubeconfig = escrow.kubeconfig.as_ref().map(|key| (Credential::Kubeconfig, key));
    kubeconfig.into_iter().chain(escrow.talosconfig.as_ref().map(|key| (Credential::Talosconfig, key)))
}

/// Puts a life's credential into escrow, unless a valid one is there. `true`: it
/// was written. What is there and is no credential of this cluster stays.
pub(crate) async fn put_into_escrow(
    vault: &Vault,
    os: &dyn NodeOs,
    env: &Env,
    life: u32,
    site: &NodeSite,
    (which, key): (Credential, &SecretKey),
) -> Result<bool> {
    let store = vault.store();
    let mut held = store.get(key).await?;
    if held.as_ref().is_some_and(|held| is_valid(os, env, site, which, held)) {
        return Ok(false);
    }
    let text = kept(vault, os, env, life, site, which).await?;
    let bytes = Secret::new(text.expose().clone().into_bytes());
    if held.is_none() {
        match store.create(key, &bytes).await {
            Ok(()) => return Ok(true),
            // Somebody was faster, or our own answer was lost: what stands there decides.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => held = store.get(key).await?,
            Err(error) => return Err(error),
        }
    }
    match held {
        Some(held) if !is_replaceable(os, &site.project, which, &held) => {
            let (what, cluster) = (which.name(), &site.project.cluster.name);
            Err(Error::new(
                ErrorKind::EvidenceMissing,
                format!("the secret `{key}` holds something that is no {what} of cluster {cluster}, so it stays"),
            )
            .with("secret", key)
            .hint(other_name(which)))
        }
        _ => store.put(key, &bytes).await,
    }
}

/// Whether castle may overwrite what is in escrow: only with a credential for its
/// like. Somebody else's secret is lost for good.
fn is_replaceable(os: &dyn NodeOs, project: &Project, which: Credential, held: &SecretBytes) -> bool {
    let text = String::from_utf8(held.expose().clone()).map(Secret::new);
    text.is_ok_and(|text| os.is_credential(project, which, &text))
}

/// The way out where a declared secret holds something else.
fn other_name(which: Credential) -> String {
    let what = which.name();
    format!(
        "write another name under `escrow: {{{what}: NAME}}` in castle.yaml, or remove that secret if nobody needs it"
    )
}

/// What holds the names that the credentials are to be put under, and is no
/// credential of this cluster. One read for each name. A store that is silent now is
/// asked again by the step.
pub(crate) async fn taken(vault: &Vault, os: &dyn NodeOs, project: &Project, wanted: &[Credential]) -> Vec<Problem> {
    let looks = declared(&project.escrow).filter(|(which, _)| wanted.contains(which)).map(|(which, key)| async move {
        let held = vault.store().get(key).await.ok().flatten()?;
        let what = which.name();
        (!is_replaceable(os, project, which, &held)).then(|| {
            let message = format!("the secret `{key}` holds something that is no {what} of this cluster");
            Problem::error("escrow-taken", format!("escrow.{what}"), message).hint(other_name(which))
        })
    });
    futures::future::join_all(looks).await.into_iter().flatten().collect()
}

/// The credential that the vault keeps for a life; minted and kept now, if it keeps
/// none that is valid.
pub(crate) async fn kept(
    vault: &Vault,
    os: &dyn NodeOs,
    env: &Env,
    life: u32,
    site: &NodeSite,
    which: Credential,
) -> Result<SecretText> {
    let kept = vault.credential(life, which).await?;
    let minted = mint(os, env, site, which, kept.as_ref())?;
    if kept.is_none_or(|kept| kept.expose() != minted.expose()) {
        vault.keep_credential(life, which, &minted).await?;
    }
    Ok(minted)
}

/// Whether these bytes are a credential of this life that is still good.
pub(crate) fn is_valid(os: &dyn NodeOs, env: &Env, site: &NodeSite, which: Credential, held: &SecretBytes) -> bool {
    let Ok(held) = String::from_utf8(held.expose().clone()).map(Secret::new) else { return false };
    // What is good is given back unchanged.
    mint(os, env, site, which, Some(&held)).is_ok_and(|minted| minted.expose() == held.expose())
}

fn mint(
    os: &dyn NodeOs,
    env: &Env,
    site: &NodeSite,
    which: Credential,
    kept: Option<&SecretText>,
) -> Result<SecretText> {
    match which {
        Credential::Kubeconfig => os.kubeconfig(env, site, kept),
        Credential::Talosconfig => os.talosconfig(env, site, kept),
    }
}

impl Vault {
    async fn credential(&self, life: u32, which: Credential) -> Result<Option<SecretText>> {
        let Some(bytes) = self.store().get(&self.credential_path(life, which)?).await? else { return Ok(None) };
        // What is no text cannot be used; it is minted anew.
        Ok(String::from_utf8(bytes.expose().clone()).ok().map(Secret::new))
    }

    async fn keep_credential(&self, life: u32, which: Credential, text: &SecretText) -> Result<()> {
        let bytes = Secret::new(text.expose().clone().into_bytes());
        self.store().put(&self.credential_path(life, which)?, &bytes).await.map(|_| ())
    }
}
