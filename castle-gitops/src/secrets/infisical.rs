//! Secrets in Infisical.

mod api;
mod error;
mod place;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use castle_core::options::InfisicalAccess;
use castle_core::{Env, Meter, Options, Secret, SecretBytes, SecretKey, SecretStore, SecretText};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

pub use error::{Error, Result};

use api::{Api, Reply, encoded, parsed};
use place::Place;

/// Secrets below one folder of an Infisical project.
///
/// A key's segments but the last are folders below the declared path, its last is
/// the secret's name: `talos/1/began` below `/castle/blue` is the secret `began`
/// in `/castle/blue/talos/1`. Texts that Infisical keeps as they are lie there
/// as they are, for others to read; what it would trim, and what is no text, lies
/// there as `castle:base64:..`.
///
/// # Guarantees
///
/// - The identity logs in when it is first needed. A token that has expired is
///   renewed once for each request. After a login that was refused there is
///   silence for five minutes: the server locks an identity that insists.
/// - A secret is created by a request that fails if it exists, so of concurrent
///   creators one wins.
/// - A value that is the same after trimming is not written again.
/// - A write that only waits for somebody's approval is an error.
/// - No request is repeated whose fate is not known: the caller looks again.
///
/// # Cancellation
///
/// A dropped write may have been done; look again.
pub struct InfisicalSecrets {
    api: Api,
    /// Without a slash at its end; the root is empty.
    base: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    secret_key: String,
    #[serde(default)]
    secret_value: Option<String>,
    #[serde(default)]
    secret_value_hidden: bool,
    #[serde(default)]
    secret_path: Option<String>,
}

#[derive(Deserialize)]
struct One {
    secret: Found,
}

#[derive(Deserialize)]
struct Many {
    secrets: Vec<Found>,
}

#[derive(Deserialize)]
struct Written {
    secret: Option<Found>,
    approval: Option<serde::de::IgnoredAny>,
}

/// How a write to a secret ended, apart from errors.
enum Write {
    Done,
    Exists,
    Absent,
    /// The folder is not there.
    NoFolder,
}

impl InfisicalSecrets {
    /// Prepares access. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`Error::BadAccess`]; [`Error::Unreachable`] if the dial map does not lead to
    /// the server.
    pub fn new(access: &InfisicalAccess, options: &Options, env: &Env) -> Result<Self> {
        let base = access.path.trim_end_matches('/').to_owned();
        if !base.is_empty() && !base.starts_with('/') {
            return Err(Error::BadAccess { why: "has a `path` that does not begin with `/`".into() });
        }
        Ok(Self { api: Api::new(access, options, env)?, base })
    }

    /// Counts its requests on `meter`, which others may share.
    #[must_use]
    pub fn counted_on(mut self, meter: Arc<Meter>) -> Self {
        self.api.count_on(meter);
        self
    }

    /// Where in the project: the parameters that every request has.
    async fn at(&self, folder: &str) -> Result<String> {
        let project = self.api.project().await?;
        let environment = encoded(&self.api.access().environment);
        Ok(format!("projectId={}&environment={environment}&secretPath={}", encoded(&project), encoded(folder)))
    }

    async fn body(&self, folder: &str) -> Result<Value> {
        let project = self.api.project().await?;
        Ok(json!({
            "projectId": project,
            "environment": self.api.access().environment,
            "secretPath": folder,
            "type": "shared",
        }))
    }

    async fn read(&self, place: &Place) -> Result<Option<SecretText>> {
        const NAME: &str = "GET secrets/{name}";
        let at = self.at(&place.folder).await?;
        let path = format!(
            "/api/v4/secrets/{}?{at}&type=shared&viewSecretValue=true&expandSecretReferences=false&include_imports=false",
            encoded(&place.name)
        );
        let answer = match self.api.send(NAME, Method::GET, &path, None, &[]).await? {
            Reply::Done(answer) => answer,
            Reply::No { status: 404, said } if said.is_absent() => return Ok(None),
            Reply::No { status, said } => return Err(Error::Refused { request: NAME, status, said: said.shown }),
        };
        let found = parsed::<One>(NAME, &answer)?.secret;
        match found.secret_value {
            Some(text) if !found.secret_value_hidden => Ok(Some(Secret::new(text))),
            _ => Err(Error::Hidden { name: place.name.clone(), folder: place.folder.clone() }),
        }
    }

    async fn write(
        &self,
        request: &'static str,
        method: Method,
        place: &Place,
        value: Option<&SecretText>,
    ) -> Result<Write> {
        let mut body = self.body(&place.folder).await?;
        if let Some(value) = value {
            body["secretValue"] = json!(value.expose());
            body["skipMultilineEncoding"] = json!(true);
        }
        let path = format!("/api/v4/secrets/{}", encoded(&place.name));
        let hidden: Vec<&SecretText> = value.into_iter().collect();
        let answer = match self.api.send(request, method, &path, Some(&body), &hidden).await? {
            Reply::Done(answer) => answer,
            Reply::No { status: 400, said } if said.is_exists() => return Ok(Write::Exists),
            Reply::No { status: 404, said } if said.is_no_folder() => return Ok(Write::NoFolder),
            Reply::No { status: 404, said } if said.is_absent() => return Ok(Write::Absent),
            Reply::No { status, said } => return Err(Error::Refused { request, status, said: said.shown }),
        };
        let written: Written = parsed(request, &answer)?;
        match written.secret {
            Some(secret) if secret.secret_key != place.name => {
                Err(Error::Renamed { wanted: place.name.clone(), found: secret.secret_key })
            }
            Some(_) => Ok(Write::Done),
            None if written.approval.is_some() => Err(Error::AwaitsApproval { request, folder: place.folder.clone() }),
            None => Err(Error::Malformed { request, why: "it tells neither a secret nor an approval".into() }),
        }
    }

    /// Creates; makes the folder if it is missing.
    async fn post(&self, place: &Place, value: &SecretText) -> Result<Write> {
        const NAME: &str = "POST secrets/{name}";
        match self.write(NAME, Method::POST, place, Some(value)).await? {
            Write::NoFolder | Write::Absent => {
                self.make_folder(&place.folder).await?;
                self.write(NAME, Method::POST, place, Some(value)).await
            }
            end => Ok(end),
        }
    }

    async fn patch(&self, place: &Place, value: &SecretText) -> Result<Write> {
        self.write("PATCH secrets/{name}", Method::PATCH, place, Some(value)).await
    }

    /// Makes a folder and its parents; one that exists is left alone.
    async fn make_folder(&self, folder: &str) -> Result<()> {
        const NAME: &str = "POST folders";
        let Some((parent, name)) = folder.rsplit_once('/').filter(|(_, name)| !name.is_empty()) else {
            // The root is always there, unless the environment is not.
            let said = format!("there is no environment `{}`", self.api.access().environment);
            return Err(Error::Refused { request: NAME, status: 404, said });
        };
        let body = json!({
            "projectId": self.api.project().await?,
            "environment": self.api.access().environment,
            "name": name,
            "path": if parent.is_empty() { "/" } else { parent },
        });
        match self.api.send(NAME, Method::POST, "/api/v2/folders", Some(&body), &[]).await? {
            Reply::Done(_) => Ok(()),
            Reply::No { status: 400, said } if said.is_exists() => Ok(()),
            Reply::No { status, said } => Err(Error::Refused { request: NAME, status, said: said.shown }),
        }
    }

    async fn create_secret(&self, key: &SecretKey, value: &SecretBytes) -> Result<()> {
        let place = Place::of(&self.base, key);
        match self.post(&place, &place::stored(value)).await? {
            Write::Done => Ok(()),
            Write::Exists => Err(Error::Exists { key: key.clone(), name: place.name, folder: place.folder }),
            Write::Absent | Write::NoFolder => Err(no_folder("POST secrets/{name}", &place)),
        }
    }

    async fn put_secret(&self, key: &SecretKey, value: &SecretBytes) -> Result<bool> {
        let place = Place::of(&self.base, key);
        let wanted = place::stored(value);
        let mut is_there = match self.read(&place).await? {
            Some(present) if place::is_same(&present, &wanted) => return Ok(false),
            present => present.is_some(),
        };
        // Another run may make or remove it meanwhile: each way leads to the other once.
        for _ in 0..2 {
            let end = if is_there { self.patch(&place, &wanted).await? } else { self.post(&place, &wanted).await? };
            match end {
                Write::Done => return Ok(true),
                Write::Exists => is_there = true,
                Write::Absent | Write::NoFolder => is_there = false,
            }
        }
        Err(Error::Refused {
            request: "PATCH secrets/{name}",
            status: 409,
            said: format!("somebody makes and removes `{}` at the same time", place.name),
        })
    }

    async fn keys(&self, prefix: &str) -> Result<Vec<SecretKey>> {
        const NAME: &str = "GET secrets";
        let at = self.at(&place::folder_of(&self.base, prefix)).await?;
        let path = format!(
            "/api/v4/secrets?{at}&recursive=true&viewSecretValue=false&expandSecretReferences=false&include_imports=false"
        );
        let answer = match self.api.send(NAME, Method::GET, &path, None, &[]).await? {
            Reply::Done(answer) => answer,
            Reply::No { status: 404, said } if said.is_absent() => return Ok(Vec::new()),
            Reply::No { status, said } => return Err(Error::Refused { request: NAME, status, said: said.shown }),
        };
        let mut keys = Vec::new();
        for found in parsed::<Many>(NAME, &answer)?.secrets {
            let folder = found.secret_path.ok_or_else(|| Error::Malformed {
                request: NAME,
                why: "a secret is listed without its folder".into(),
            })?;
            // Names that castle does not write are not its business.
            keys.extend(Place::key(&self.base, &folder, &found.secret_key).filter(|key| key.is_below(prefix)));
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    async fn remove(&self, key: &SecretKey) -> Result<()> {
        let place = Place::of(&self.base, key);
        match self.write("DELETE secrets/{name}", Method::DELETE, &place, None).await? {
            Write::Done | Write::Absent | Write::NoFolder => Ok(()),
            Write::Exists => Err(Error::Malformed {
                request: "DELETE secrets/{name}",
                why: "it says that the secret exists already".into(),
            }),
        }
    }
}

fn no_folder(request: &'static str, place: &Place) -> Error {
    let said = format!("the folder `{}` was made and is not there", place.folder);
    Error::Refused { request, status: 404, said }
}

#[async_trait]
impl SecretStore for InfisicalSecrets {
    fn name(&self) -> &'static str {
        "infisical"
    }

    fn meter(&self) -> &Meter {
        self.api.client().meter()
    }

    async fn get(&self, key: &SecretKey) -> castle_core::Result<Option<SecretBytes>> {
        Ok(self.read(&Place::of(&self.base, key)).await?.map(place::read))
    }

    async fn create(&self, key: &SecretKey, value: &SecretBytes) -> castle_core::Result<()> {
        Ok(self.create_secret(key, value).await?)
    }

    async fn put(&self, key: &SecretKey, value: &SecretBytes) -> castle_core::Result<bool> {
        Ok(self.put_secret(key, value).await?)
    }

    async fn list(&self, prefix: &str) -> castle_core::Result<Vec<SecretKey>> {
        SecretKey::check_prefix(prefix)?;
        Ok(self.keys(prefix).await?)
    }

    async fn delete(&self, key: &SecretKey) -> castle_core::Result<()> {
        Ok(self.remove(key).await?)
    }
}

impl fmt::Debug for InfisicalSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InfisicalSecrets")
            .field("server", self.api.client().origin())
            .field("project", &self.api.access().project)
            .field("path", &self.base)
            .finish_non_exhaustive()
    }
}
