//! The seed: which objects each of its parts has, and where they come from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use castle_core::handover::{HandoverSpec, ManifestSource, SeedPart};
use castle_core::options::Trust;
use castle_core::{Env, Options, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::flux::ROOT;
use crate::handover::Error;
use crate::kubernetes::object::Kind;
use crate::manifest::{self, Object, text};
use crate::ownership::{KEPT, KEPT_LABEL, PLANTED};
use crate::{git, https};

/// The namespace of external-secrets.
pub(crate) const VAULT: &str = "external-secrets";
/// The Secret with the identity by which external-secrets reads the vault.
const IDENTITY: &str = "infisical-identity";
/// The largest manifest that is downloaded.
const DOWNLOAD: usize = 16 << 20;

/// An object of the seed, and the field manager that plants it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Planned {
    pub(crate) object: Object,
    pub(crate) manager: &'static str,
}

/// The objects of the parts that come from manifests.
#[derive(Debug, Default)]
pub(crate) struct Seed(BTreeMap<SeedPart, Vec<Planned>>);

impl Seed {
    pub(crate) fn part(&self, part: SeedPart) -> &[Planned] {
        self.0.get(&part).map_or(&[], Vec::as_slice)
    }
}

/// Where the seed comes from.
pub(crate) struct Origins {
    pub(crate) options: Arc<Options>,
    pub(crate) env: Env,
    pub(crate) spec: HandoverSpec,
    /// The folder of `castle.yaml`.
    pub(crate) folder: PathBuf,
    pub(crate) reader: git::Reader,
    /// The seed of the newest commit that was read.
    known: Mutex<Option<(String, Arc<Seed>)>>,
}

impl Origins {
    pub(crate) fn new(
        options: Arc<Options>,
        env: Env,
        spec: HandoverSpec,
        folder: PathBuf,
        reader: git::Reader,
    ) -> Self {
        Self { options, env, spec, folder, reader, known: Mutex::default() }
    }

    /// The namespaces that the seed's parts live in.
    pub(crate) fn namespaces(&self) -> BTreeSet<&'static str> {
        let mut names = BTreeSet::new();
        for part in &self.spec.seed {
            names.extend(match part {
                SeedPart::Namespaces => None,
                SeedPart::ExternalSecrets | SeedPart::MachineIdentity => Some(VAULT),
                SeedPart::GitCredentials | SeedPart::Flux => Some(ROOT),
            });
        }
        names
    }

    /// The Secret of a part that is one. `None` for the other parts.
    pub(crate) fn secret(&self, part: SeedPart) -> Result<Option<Planned>, Error> {
        let (namespace, name, data) = match part {
            SeedPart::MachineIdentity => {
                let missing = Error::NoCredentials { part: part.name(), key: "identity" };
                let identity = self.options.identity.as_ref().ok_or(missing)?;
                let data = [
                    ("clientId", identity.client_id.expose().clone()),
                    ("clientSecret", identity.client_secret.expose().clone()),
                ];
                (VAULT, IDENTITY, Vec::from(data))
            }
            SeedPart::GitCredentials => {
                let missing = Error::NoCredentials { part: part.name(), key: "git" };
                let access = self.options.git.as_ref().ok_or(missing)?;
                let mut data =
                    vec![("username", access.username.clone()), ("password", access.password.expose().clone())];
                match &access.trust {
                    Some(Trust::Authorities(pem)) => data.push(("ca.crt", pem.clone())),
                    Some(Trust::Fingerprints(_)) => return Err(Error::OnlyPinned { part: part.name() }),
                    None => {}
                }
                (ROOT, ROOT, data)
            }
            SeedPart::Namespaces | SeedPart::ExternalSecrets | SeedPart::Flux => return Ok(None),
        };
        let data: BTreeMap<_, _> = data.into_iter().map(|(key, value)| (key, STANDARD.encode(value))).collect();
        let (label, owner) = KEPT_LABEL;
        let value = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace, "labels": {label: owner}},
            "type": "Opaque",
            "data": data,
        });
        Ok(Some(Planned { object: Object { kind: Kind::SECRET, value }, manager: KEPT }))
    }

    /// The seed as a commit has it.
    ///
    /// # Errors
    ///
    /// What is wrong with a manifest, or that it cannot be had.
    pub(crate) async fn seed(&self, commit: &str) -> Result<Arc<Seed>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, seed)) = known.filter(|(known, _)| known == commit) {
            return Ok(seed);
        }
        let seed = Arc::new(self.read(commit).await?);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((commit.to_owned(), Arc::clone(&seed)));
        Ok(seed)
    }

    async fn read(&self, commit: &str) -> Result<Seed> {
        let has = |part| self.spec.seed.contains(&part);
        let home = format!("{}/flux-system", self.spec.repository.path);
        let components = match &self.spec.flux {
            Some(source) => source.clone(),
            None => ManifestSource::Repository(format!("{home}/gotk-components.yaml")),
        };
        let sync = format!("{home}/gotk-sync.yaml");
        let mut wanted = Vec::new();
        let mut is_wanted = |source: &ManifestSource| {
            if let ManifestSource::Repository(path) = source {
                wanted.push(path.clone());
            }
        };
        if has(SeedPart::Flux) {
            is_wanted(&components);
            is_wanted(&ManifestSource::Repository(home.clone()));
        }
        if let Some(vault) = self.spec.external_secrets.as_ref().filter(|_| has(SeedPart::ExternalSecrets)) {
            is_wanted(vault);
        }
        let wanted: Vec<_> = wanted.iter().map(String::as_str).collect();
        let files = if wanted.is_empty() { BTreeMap::new() } else { self.reader.files(commit, &wanted).await? };

        let mut seed = Seed::default();
        let mut namespaces = Vec::new();
        if let Some(source) = self.spec.external_secrets.as_ref().filter(|_| has(SeedPart::ExternalSecrets)) {
            let (place, bytes) = self.bytes(source, &files, commit).await?;
            let objects = manifest::objects(manifest::documents(&bytes, &place).map_err(Error::from)?, &place);
            self.put(&mut seed, SeedPart::ExternalSecrets, objects.map_err(Error::from)?, &mut namespaces);
        }
        if has(SeedPart::Flux) {
            let (place, bytes) = self.bytes(&components, &files, commit).await?;
            let mut documents = manifest::documents(&bytes, &place).map_err(Error::from)?;
            let no_file = || Error::NoFile { path: sync.clone(), commit: commit.to_owned() };
            let of_sync = manifest::documents(files.get(&sync).ok_or_else(no_file)?, &sync).map_err(Error::from)?;
            self.check_sync(&sync, &of_sync)?;
            if let Some(bytes) = files.get(&format!("{home}/kustomization.yaml")) {
                check_kustomization(&format!("{home}/kustomization.yaml"), bytes)?;
            }
            documents.extend(of_sync);
            let objects = manifest::objects(documents, &place).map_err(Error::from)?;
            self.put(&mut seed, SeedPart::Flux, objects, &mut namespaces);
        }
        // As a manifest has it, so that two parts do not write two versions of it.
        for name in self.namespaces() {
            if !namespaces.iter().any(|planned: &Planned| planned.object.name() == name) {
                let value = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
                namespaces.push(Planned { object: Object { kind: Kind::NAMESPACE, value }, manager: PLANTED });
            }
        }
        seed.0.insert(SeedPart::Namespaces, namespaces);
        Ok(seed)
    }

    fn put(&self, seed: &mut Seed, part: SeedPart, objects: Vec<Object>, namespaces: &mut Vec<Planned>) {
        let planned: Vec<_> = objects.into_iter().map(|object| Planned { object, manager: PLANTED }).collect();
        let early = |planned: &&Planned| planned.object.kind == Kind::NAMESPACE;
        namespaces.extend(planned.iter().filter(early).cloned());
        seed.0.insert(part, planned);
    }

    async fn bytes(
        &self,
        source: &ManifestSource,
        files: &BTreeMap<String, Vec<u8>>,
        commit: &str,
    ) -> Result<(String, Vec<u8>)> {
        match source {
            ManifestSource::Repository(path) => match files.get(path.trim_matches('/')) {
                Some(bytes) => Ok((path.clone(), bytes.clone())),
                None => Err(Error::NoFile { path: path.clone(), commit: commit.to_owned() }.into()),
            },
            ManifestSource::Url { url, sha256 } => {
                let trust = https::Trust::System;
                let bytes = https::download(&self.options, &self.env, url, &trust, DOWNLOAD).await?;
                let found: [u8; 32] = Sha256::digest(&bytes).into();
                if found != *sha256 {
                    let (wanted, found) = (hex(sha256), hex(&found));
                    return Err(Error::OtherContent { url: url.clone(), wanted, found }.into());
                }
                Ok((url.clone(), bytes.to_vec()))
            }
            ManifestSource::File(path) => {
                let path = self.folder.join(path);
                let bytes = std::fs::read(&path).map_err(|source| Error::File { path: path.clone(), source })?;
                Ok((path.display().to_string(), bytes))
            }
        }
    }

    /// Whether the repository's root follows what `castle.yaml` names.
    fn check_sync(&self, path: &str, documents: &[Value]) -> Result<(), Error> {
        let other = |what: String| Error::OtherSync { path: path.to_owned(), what };
        for (kind, found) in [
            ("GitRepository", documents.iter().find(|object| is_root(object, "GitRepository"))),
            ("Kustomization", documents.iter().find(|object| is_root(object, "Kustomization"))),
        ] {
            let object = found.ok_or_else(|| other(format!("has no {kind} {ROOT} in the namespace {ROOT}")))?;
            if let Some(what) = self.difference(object) {
                return Err(other(what));
            }
        }
        Ok(())
    }

    /// What a root, or the root's source, follows instead of the declared.
    pub(crate) fn difference(&self, object: &Value) -> Option<String> {
        let repository = &self.spec.repository;
        let url = |url: &str| url.trim_end_matches('/').trim_end_matches(".git").to_owned();
        let path = |path: &str| path.trim_start_matches("./").trim_matches('/').to_owned();
        let differs = |what: &str, found: &str, wanted: &str| {
            Some(format!("the {what} `{found}` where castle.yaml has `{wanted}`"))
        };
        match text(object, "/kind") {
            "GitRepository" => {
                let (found, branch) = (text(object, "/spec/url"), text(object, "/spec/ref/branch"));
                if url(found) != url(&repository.url) {
                    return differs("url", &https::shown(found), &repository.url);
                }
                let branch = if branch.is_empty() { "master" } else { branch };
                if branch == repository.branch { None } else { differs("branch", branch, &repository.branch) }
            }
            _ => {
                let found = text(object, "/spec/path");
                if path(found) == path(&repository.path) { None } else { differs("path", found, &repository.path) }
            }
        }
    }
}

fn is_root(object: &Value, kind: &str) -> bool {
    text(object, "/kind") == kind
        && text(object, "/metadata/name") == ROOT
        && text(object, "/metadata/namespace") == ROOT
}

/// Castle applies the two files as they are; what a kustomization would change in
/// them, Flux would change at once.
fn check_kustomization(path: &str, bytes: &[u8]) -> Result<(), Error> {
    let custom = |what: String| Error::Customised { path: path.to_owned(), what };
    let mut read = manifest::yaml(bytes).unwrap_or_default();
    let only = if read.len() == 1 { read.pop() } else { None };
    let Some(Value::Object(map)) = only else { return Err(custom("something else than a mapping".into())) };
    for (key, value) in &map {
        match key.as_str() {
            "apiVersion" | "kind" => {}
            "resources" => {
                for resource in value.as_array().into_iter().flatten() {
                    let name = resource.as_str().unwrap_or("").trim_start_matches("./");
                    if !["gotk-components.yaml", "gotk-sync.yaml"].contains(&name) {
                        return Err(custom(format!("the resource `{name}`")));
                    }
                }
            }
            other => return Err(custom(format!("the key `{other}`"))),
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kustomization_that_does_more_is_refused() {
        let check = |text: &str, expected: Result<(), &str>| {
            let found = check_kustomization("k.yaml", text.as_bytes()).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned));
        };
        let head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
        check(&format!("{head}resources:\n- gotk-components.yaml\n- ./gotk-sync.yaml\n"), Ok(()));
        check(&format!("{head}resources: [more.yaml]\n"), Err("k.yaml has the resource `more.yaml`"));
        check(&format!("{head}patches: []\n"), Err("k.yaml has the key `patches`"));
        check("- a\n", Err("k.yaml has something else than a mapping"));
    }
}
