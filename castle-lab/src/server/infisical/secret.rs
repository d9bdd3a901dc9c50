//! Secrets, one at a time.

use serde_json::{Value, json};

use crate::infisical::Place;
use crate::infisical::furnish::mint;
use crate::infisical::secret::Stored;
use crate::world::World;

use super::refusal::{Issue, Refusal};
use super::request::Parameters;
use super::{Outcome, Request, approval};

/// What a folder's path is called.
pub(super) const PATHS: &[&str] = &["secretPath", "path"];

/// How a secret is shown.
pub(super) fn shown(world: &World, place: &Place, name: &str, stored: &Stored, with_value: bool) -> Value {
    let day = |at| {
        let seconds = i64::try_from(world.wall_at(at).as_secs()).unwrap_or_default();
        jiff::Timestamp::from_second(seconds).map(|at| at.to_string()).unwrap_or_default()
    };
    let first = stored.versions.first().map(|version| version.at).unwrap_or_default();
    let last = stored.versions.last().map(|version| version.at).unwrap_or_default();
    let project = world.infisical.projects.get(&place.project);
    json!({
        "id": stored.id,
        "_id": stored.id,
        "workspace": project.map(|project| project.id.as_str()),
        "environment": place.environment,
        "version": stored.version(),
        "type": "shared",
        "secretKey": name,
        "secretValue": if with_value { stored.value().expose() } else { "<hidden-by-infisical>" },
        "secretValueHidden": !with_value,
        "secretComment": stored.comment,
        "secretPath": place.path,
        "secretMetadata": [],
        "tags": [],
        "skipMultilineEncoding": false,
        "createdAt": day(first),
        "updatedAt": day(last),
    })
}

pub(super) fn list(request: &Request<'_>) -> Outcome {
    let parameters = request.parameters;
    let vault = &request.world.infisical;
    let place = parameters.place(vault, PATHS)?;
    let with_value = parameters.switch("viewSecretValue", true);
    let environment = vault.projects.get(&place.project).and_then(|it| it.environments.get(&place.environment));
    let is_recursive = parameters.switch("recursive", false);
    let missing = || Refusal::no_folder(&place.path, &place.environment);
    // A folder that is missing has no secrets; what is below it cannot be found.
    if is_recursive && vault.folder(&place).is_none() {
        return Err(missing());
    }
    let below = format!("{}/", place.path.trim_end_matches('/'));
    let folders = environment.iter().flat_map(|environment| &environment.folders);
    let folders = folders.filter(|(path, _)| **path == place.path || is_recursive && path.starts_with(&below));
    let secrets: Vec<_> = folders
        .flat_map(|(path, folder)| {
            let place = Place { path: path.clone(), ..place.clone() };
            let show = move |(name, stored): (&String, &Stored)| shown(request.world, &place, name, stored, with_value);
            folder.secrets.iter().map(show)
        })
        .collect();
    Ok(json!({ "secrets": secrets, "imports": [] }))
}

pub(super) fn one(request: &mut Request<'_>, name: &str) -> Outcome {
    let place = request.parameters.place(&request.world.infisical, PATHS)?;
    match request.method {
        "GET" => get(request, &place, name),
        "POST" => create(request, &place, name),
        "PATCH" => update(request, &place, name),
        _ => delete(request, &place, name),
    }
}

fn get(request: &Request<'_>, place: &Place, name: &str) -> Outcome {
    let world = &*request.world;
    let folder = world.infisical.folder(place).ok_or_else(|| Refusal::no_folder(&place.path, &place.environment))?;
    let stored = folder.secrets.get(name).ok_or_else(|| Refusal::no_secret(name))?;
    let mut stored = stored.clone();
    if let Some(version) = request.parameters.text("version") {
        let wanted = version.parse().ok().filter(|version| *version >= 1 && *version <= stored.versions.len());
        stored.versions.truncate(wanted.ok_or_else(|| Refusal::no_secret(name))?);
    }
    let with_value = request.parameters.switch("viewSecretValue", true);
    Ok(json!({ "secret": shown(world, place, name, &stored, with_value) }))
}

fn create(request: &mut Request<'_>, place: &Place, name: &str) -> Outcome {
    let value = request.parameters.text("secretValue");
    let mut issues = wrong_name("secretName", name);
    if value.is_none() {
        issues.push(Issue::required("secretValue"));
    }
    let (true, Some(value)) = (issues.is_empty(), value) else { return Err(Refusal::invalid(&issues)) };
    check_new(request.world, place, name)?;
    if request.world.infisical.approvals.contains(place) {
        return Ok(approval(place));
    }
    write(request.world, place, name, Some(value), request.parameters)?;
    told(request.world, place, name)
}

fn update(request: &mut Request<'_>, place: &Place, name: &str) -> Outcome {
    check_present(request.world, place, name)?;
    let new_name = request.parameters.text("newSecretName").filter(|new_name| *new_name != name);
    if let Some(new_name) = new_name {
        let issues = wrong_name("newSecretName", new_name);
        if !issues.is_empty() {
            return Err(Refusal::invalid(&issues));
        }
        if request.world.infisical.secret(place, new_name).is_some() {
            return Err(Refusal::bad_request("Secret with the new name already exist"));
        }
    }
    if request.world.infisical.approvals.contains(place) {
        return Ok(approval(place));
    }
    write(request.world, place, name, request.parameters.text("secretValue"), request.parameters)?;
    if let Some(new_name) = new_name
        && let Some(folder) = request.world.infisical.folder_mut(place)
        && let Some(stored) = folder.secrets.remove(name)
    {
        folder.secrets.insert(new_name.to_owned(), stored);
    }
    told(request.world, place, new_name.unwrap_or(name))
}

fn delete(request: &mut Request<'_>, place: &Place, name: &str) -> Outcome {
    check_present(request.world, place, name)?;
    if request.world.infisical.approvals.contains(place) {
        return Ok(approval(place));
    }
    let gone = told(request.world, place, name)?;
    remove(request.world, place, name);
    Ok(gone)
}

fn told(world: &World, place: &Place, name: &str) -> Outcome {
    let stored = world.infisical.secret(place, name).ok_or_else(|| Refusal::no_secret(name))?;
    Ok(json!({ "secret": shown(world, place, name, stored, true) }))
}

/// What is wrong with a name for a new secret.
pub(super) fn wrong_name(place: &str, name: &str) -> Vec<Issue> {
    let rules = [(' ', "spaces"), (':', "colon"), ('/', "forward slash")];
    let issue = |message| Issue { place: place.to_owned(), message };
    let broken = rules.into_iter().filter(|(sign, _)| name.trim().contains(*sign));
    let mut issues: Vec<_> = broken.map(|(_, what)| issue(format!("Secret name cannot contain {what}."))).collect();
    if name.trim().is_empty() {
        issues.push(issue("String must contain at least 1 character(s)".to_owned()));
    }
    issues
}

/// Refuses a secret that is there, and a folder that is not.
pub(super) fn check_new(world: &World, place: &Place, name: &str) -> Result<(), Refusal> {
    let folder = world.infisical.folder(place).ok_or_else(|| Refusal::no_folder(&place.path, &place.environment))?;
    match folder.secrets.contains_key(name) {
        true => Err(Refusal::bad_request("Secret already exist")),
        false => Ok(()),
    }
}

/// Refuses a secret that is not there.
pub(super) fn check_present(world: &World, place: &Place, name: &str) -> Result<(), Refusal> {
    let folder = world.infisical.folder(place).ok_or_else(|| Refusal::no_folder(&place.path, &place.environment))?;
    match folder.secrets.contains_key(name) {
        true => Ok(()),
        false => Err(Refusal::no_secret(name)),
    }
}

/// Writes a secret as a new version. Without a value the present one is written
/// again.
pub(super) fn write(
    world: &mut World,
    place: &Place,
    name: &str,
    value: Option<&str>,
    parameters: &Parameters,
) -> Result<(), Refusal> {
    let now = world.now();
    let id = mint(world.draws())(&format!("secret {} {} {} {name}", place.project, place.environment, place.path));
    let present = || world.infisical.secret(place, name).map(|stored| stored.value().expose().clone());
    let value = value.map(str::to_owned).or_else(present).unwrap_or_default();
    let written = world.infisical.write(place, name, &value, now, id);
    written.ok_or_else(|| Refusal::no_folder(&place.path, &place.environment))?;
    if let Some(comment) = parameters.text("secretComment")
        && let Some(folder) = world.infisical.folder_mut(place)
        && let Some(stored) = folder.secrets.get_mut(name)
    {
        stored.comment = comment.to_owned();
    }
    Ok(())
}

pub(super) fn remove(world: &mut World, place: &Place, name: &str) {
    if let Some(folder) = world.infisical.folder_mut(place) {
        folder.secrets.remove(name);
    }
}
