//! What an administrator takes along: kubeconfig and talosconfig.

use serde::Serialize;

use crate::castle::Castle;
use crate::handover::Escrow;
use crate::life::Vault;
use crate::{
    Context, Env, Error, ErrorKind, Member, Name, NodeOs, NodeRole, NodeSite, NodeTarget, Result, Secret, SecretBytes,
    SecretKey, SecretText,
};

/// Which credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
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
    /// As [`Castle::credential`]; `InvalidSpec` if `castle.yaml` names no place.
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
    /// the list, with its error.
    pub async fn members(&self, cx: &Context) -> Result<Vec<(Name, Result<Vec<Member>>)>> {
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
        let vault = &self.backends().vault;
        let missing = || Error::new(ErrorKind::NotFound, "no life goes on").hint("`castle create` begins one");
        let (number, _) = vault.lives().await?.current().filter(|(_, life)| life.committed).ok_or_else(missing)?;
        let bundle = vault.bundle(number).await?.ok_or_else(missing)?;
        Ok((number, NodeSite { project: self.shared_project(), bundle }))
    }
}

/// A credential that is where others look for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
/// was written.
pub(crate) async fn put_into_escrow(
    vault: &Vault,
    os: &dyn NodeOs,
    env: &Env,
    life: u32,
    site: &NodeSite,
    (which, key): (Credential, &SecretKey),
) -> Result<bool> {
    if let Some(held) = vault.store().get(key).await?
        && is_valid(os, env, site, which, &held)
    {
        return Ok(false);
    }
    let text = kept(vault, os, env, life, site, which).await?;
    vault.store().put(key, &Secret::new(text.expose().clone().into_bytes())).await
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
