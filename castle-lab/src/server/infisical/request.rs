//! What a request says: its route, its parameters, and the folder it is about.

use serde_json::{Map, Value};

use crate::front::Call;
use crate::infisical::{Infisical, Place};

use super::refusal::{Issue, Refusal};
use crate::server::kubernetes::decode;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// A token for credentials.
    LogIn,
    /// A project by its slug.
    Project(String),
    /// The secrets of a folder.
    Secrets,
    /// One secret.
    Secret(String),
    /// Several secrets at once.
    Batch,
    /// The folders of a folder.
    Folders,
    /// One folder, by its id or name.
    Folder(String),
    /// Nothing that is served here.
    Unknown,
}

impl Route {
    pub(super) fn of(path: &str) -> Self {
        let parts: Vec<_> = path.trim_matches('/').split('/').map(decode).collect();
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        match parts[..] {
            ["api", "v1", "auth", "universal-auth", "login"] => Self::LogIn,
            ["api", "v1", "projects" | "workspace", "slug", slug] => Self::Project(slug.to_owned()),
            // The older interface, `raw`, differs in how a project may be named.
            ["api", "v4", "secrets"] | ["api", "v3", "secrets", "raw"] => Self::Secrets,
            ["api", "v4", "secrets", "batch"] | ["api", "v3", "secrets", "batch", "raw"] => Self::Batch,
            ["api", "v4", "secrets", name] | ["api", "v3", "secrets", "raw", name] => Self::Secret(name.to_owned()),
            ["api", "v1" | "v2", "folders"] => Self::Folders,
            ["api", "v1" | "v2", "folders", which] => Self::Folder(which.to_owned()),
            _ => Self::Unknown,
        }
    }
}

/// Parameters out of the query or the body, whichever the method uses.
#[derive(Debug, Clone, Default)]
pub(super) struct Parameters(Map<String, Value>);

impl Parameters {
    pub(super) fn of(call: &Call) -> Result<Self, Refusal> {
        if call.method == "GET" {
            let pairs = call.query.as_deref().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
            let pairs = pairs.map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), Value::String(decode(&value.replace('+', " "))))
            });
            return Ok(Self(pairs.collect()));
        }
        match serde_json::from_slice(&call.body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            _ if call.body.is_empty() => Ok(Self::default()),
            Ok(_) => Err(Refusal::invalid(&[Issue::required("body")])),
            // The parser's own words quote the body, which may hold a secret.
            Err(_) => Err(Refusal::bad_request("Body is not valid JSON but content-type is set to 'application/json'")),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// The first of these that is given.
    fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.text(name))
    }

    /// A switch, as a truth value or in text.
    pub(super) fn switch(&self, name: &str, default: bool) -> bool {
        match self.0.get(name) {
            Some(Value::Bool(value)) => *value,
            Some(Value::String(text)) => text == "true",
            _ => default,
        }
    }

    pub(super) fn list(&self, name: &str) -> Option<Vec<Self>> {
        let list = self.0.get(name)?.as_array()?;
        Some(list.iter().map(|item| Self(item.as_object().cloned().unwrap_or_default())).collect())
    }

    /// The folder that is meant. One that is missing is not refused here.
    pub(super) fn place(&self, vault: &Infisical, path_names: &[&str]) -> Result<Place, Refusal> {
        let by_id = self.first(&["projectId", "workspaceId"]);
        let by_slug = self.first(&["projectSlug", "workspaceSlug"]);
        let environment = self.text("environment");
        let mut issues = Vec::new();
        if by_id.is_none() && by_slug.is_none() {
            issues.push(Issue::required("projectId"));
        }
        if environment.is_none() {
            issues.push(Issue::required("environment"));
        }
        let (true, Some(environment)) = (issues.is_empty(), environment) else { return Err(Refusal::invalid(&issues)) };
        let slug = match (by_id, by_slug) {
            (Some(id), _) => {
                let found = vault.projects.iter().find(|(_, project)| project.id == id);
                found.map(|(slug, _)| slug.as_str()).ok_or_else(|| format!("Project with ID '{id}' not found"))
            }
            (None, slug) => {
                let slug = slug.unwrap_or_default();
                let found = vault.projects.get_key_value(slug);
                found.map(|(slug, _)| slug.as_str()).ok_or_else(|| format!("Project with slug '{slug}' not found"))
            }
        };
        let path = self.first(path_names).unwrap_or("/");
        Ok(Place::new(slug.map_err(Refusal::not_found)?, environment, path))
    }
}
