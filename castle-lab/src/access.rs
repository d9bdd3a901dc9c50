//! How the house's repository and its vault are reached: the parts of an option
//! document that go beyond the hypervisor.

use castle_core::options::{GitAccess, InfisicalAccess, MachineIdentity, Trust};
use castle_core::{Secret, SecretText};

use crate::git::furnish::USERNAME;
use crate::git::template::{VAULT_ENVIRONMENT, VAULT_PROJECT};
use crate::infisical::furnish;
use crate::lab::Lab;

impl Lab {
    /// How the project's repository is read and pushed to; `None` where it has none.
    #[must_use]
    pub fn git_access(&self) -> Option<GitAccess> {
        let password = self.with_world(|world| world.git.accounts.token().cloned())?;
        Some(GitAccess { username: USERNAME.to_owned(), password, trust: Some(self.trust()) })
    }

    /// How castle may keep its own secrets in the house's Infisical; `None` where
    /// there is none.
    #[must_use]
    pub fn infisical_access(&self) -> Option<InfisicalAccess> {
        let (client_id, client_secret) = self.credentials_of(furnish::CASTLE)?;
        Some(InfisicalAccess {
            url: format!("https://{}", furnish::HOST),
            project: VAULT_PROJECT.to_owned(),
            environment: VAULT_ENVIRONMENT.to_owned(),
            path: furnish::CASTLE_FOLDER.to_owned(),
            client_id,
            client_secret,
            trust: Some(self.trust()),
        })
    }

    /// The identity by which external-secrets reads the house's Infisical; `None`
    /// where there is none.
    #[must_use]
    pub fn identity(&self) -> Option<MachineIdentity> {
        let (client_id, client_secret) = self.credentials_of(furnish::EXTERNAL_SECRETS)?;
        Some(MachineIdentity { client_id: Secret::new(client_id), client_secret })
    }

    fn credentials_of(&self, name: &str) -> Option<(String, SecretText)> {
        self.with_world(|world| {
            let (client_id, identity) = world.infisical.identity(name)?;
            Some((client_id.to_owned(), identity.client_secret.clone()))
        })
    }

    /// How certificates of the house's own servers are judged.
    #[must_use]
    pub fn trust(&self) -> Trust {
        Trust::Authorities(self.pki().ca_pem().to_owned())
    }
}
