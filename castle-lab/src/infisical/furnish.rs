//! What the house's Infisical holds before castle comes: a project, its folders,
//! two identities, and the secrets that the repository's applications ask for.

use castle_core::{Project, Result};

use super::identity::Identity;
use super::{Infisical, Place};
use crate::draw::Draws;
use crate::git::template::{VAULT_ENVIRONMENT, VAULT_PROJECT, blog_host, vault_names, vault_path};
use crate::pki::Pki;
use crate::world::World;

/// The name by which the house knows its Infisical.
pub const HOST: &str = "infisical.castle.internal";
/// The name of the identity by which castle may use the vault, to read and write.
pub const CASTLE: &str = "castle";
/// The folder below which castle keeps its own secrets.
pub const CASTLE_FOLDER: &str = "/ephemeral-castle";
/// The name of the identity by which external-secrets reads the vault.
pub const EXTERNAL_SECRETS: &str = "external-secrets";

/// Makes ids and secrets for a purpose, in the form of a uuid.
pub(crate) fn mint(draws: Draws) -> impl Fn(&str) -> String {
    move |what| {
        let digits = draws.digits(&format!("infisical {what}"));
        let (head, rest) = digits.split_at(8);
        format!("{head}-{}-{}-{}-{}", &rest[..4], &rest[4..8], &rest[8..12], &rest[12..])
    }
}

impl Infisical {
    /// Client id and identity of that name.
    #[must_use]
    pub fn identity(&self, name: &str) -> Option<(&str, &Identity)> {
        let named = self.identities.by_client_id.iter().find(|(_, identity)| identity.name == name);
        named.map(|(client_id, identity)| (client_id.as_str(), identity))
    }
}

impl World {
    /// Makes the vault's project, folder and identities for a project that is
    /// handed over.
    pub(crate) fn furnish_vault(&mut self, project: &Project) {
        let mint = mint(self.draws());
        let place = Place::new(VAULT_PROJECT, VAULT_ENVIRONMENT, &vault_path(project));
        self.infisical.ensure_folder(&place, &mint);
        for (name, may_write) in [(CASTLE, true), (EXTERNAL_SECRETS, false)] {
            let secret = format!("{}{}", self.draws().digits(name), self.draws().digits(&format!("{name}, further")));
            let identity = Identity::new(name, secret, may_write);
            self.infisical.identities.by_client_id.insert(mint(&format!("client {name}")), identity);
        }
    }

    /// Puts the certificates of the repository's applications into the vault, where
    /// they are missing: signed by the house's authority, valid from this day.
    pub(crate) fn furnish_certificates(&mut self, project: &Project, pki: &Pki) -> Result<()> {
        let place = Place::new(VAULT_PROJECT, VAULT_ENVIRONMENT, &vault_path(project));
        let [certificate_name, key_name] = vault_names();
        let Some(folder) = self.infisical.folder(&place) else { return Ok(()) };
        if folder.secrets.contains_key(certificate_name) {
            return Ok(());
        }
        let wall = std::time::SystemTime::UNIX_EPOCH + self.wall();
        let host = blog_host(project);
        let pair = pki.pair(&[host], wall)?;
        self.put_secret(&place, certificate_name, &pair.certificate_pem);
        self.put_secret(&place, key_name, pair.key_pem.expose());
        Ok(())
    }

    /// Writes a secret into the vault, as the house and now; its folder is made if
    /// it is missing.
    pub fn put_secret(&mut self, place: &Place, name: &str, value: &str) {
        let mint = mint(self.draws());
        self.infisical.ensure_folder(place, &mint);
        let id = mint(&format!("secret {} {} {} {name}", place.project, place.environment, place.path));
        let now = self.now();
        self.infisical.write(place, name, value, now, id).expect("the folder was made a line ago");
    }
}
