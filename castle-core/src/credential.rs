//! What an administrator takes along: kubeconfig and talosconfig.

use crate::castle::Castle;
use crate::life::Vault;
use crate::{Context, Error, ErrorKind, Member, Name, NodeRole, NodeTarget, Result, Secret, SecretText};

/// Which credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
        let vault = &self.backends().vault;
        let (number, site) = self.life_site().await?;
        let os = self.node_os()?;
        let kept = vault.credential(number, which).await?;
        let minted = match which {
            Credential::Kubeconfig => os.kubeconfig(self.env(), &site, kept.as_ref())?,
            Credential::Talosconfig => os.talosconfig(self.env(), &site, kept.as_ref())?,
        };
        if kept.is_none_or(|kept| kept.expose() != minted.expose()) {
            vault.keep_credential(number, which, &minted).await?;
        }
        Ok(minted)
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

    pub(crate) fn node_os(&self) -> Result<&dyn crate::NodeOs> {
        self.backends()
            .node_os
            .as_deref()
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "the castle was given no system for its nodes"))
    }

    pub(crate) async fn life_site(&self) -> Result<(u32, crate::NodeSite)> {
        let vault = &self.backends().vault;
        let missing = || Error::new(ErrorKind::NotFound, "no life goes on").hint("`castle create` begins one");
        let (number, _) = vault.lives().await?.current().filter(|(_, life)| life.committed).ok_or_else(missing)?;
        let bundle = vault.bundle(number).await?.ok_or_else(missing)?;
        Ok((number, crate::NodeSite { project: self.shared_project(), bundle }))
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
