//! Folders.

use serde_json::{Value, json};

use crate::infisical::furnish::mint;
use crate::infisical::{Folder, Place};

use super::refusal::{Issue, Refusal};
use super::{Outcome, Request};

/// What the path of the folder above is called.
const PATHS: &[&str] = &["path", "directory", "secretPath"];

fn shown(path: &str, folder: &Folder) -> Value {
    let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("root");
    json!({ "id": folder.id, "name": name, "path": path, "version": 1 })
}

pub(super) fn list(request: &Request<'_>) -> Outcome {
    let vault = &request.world.infisical;
    let place = request.parameters.place(vault, PATHS)?;
    let missing = || Refusal::no_folder(&place.path, &place.environment);
    let environment = vault.projects.get(&place.project).and_then(|it| it.environments.get(&place.environment));
    let environment = environment.filter(|it| it.folders.contains_key(&place.path)).ok_or_else(missing)?;
    let below = format!("{}/", place.path.trim_end_matches('/'));
    let is_recursive = request.parameters.switch("recursive", false);
    let is_listed = |path: &str| match path.strip_prefix(&below) {
        Some(rest) => !rest.is_empty() && (is_recursive || !rest.contains('/')),
        None => false,
    };
    let folders = environment.folders.iter().filter(|(path, _)| is_listed(path));
    Ok(json!({ "folders": folders.map(|(path, folder)| shown(path, folder)).collect::<Vec<_>>() }))
}

/// Makes a folder with everything above it; one that is there stays.
pub(super) fn create(request: &mut Request<'_>) -> Outcome {
    let above = request.parameters.place(&request.world.infisical, PATHS)?;
    let Some(name) = request.parameters.text("name").map(str::trim) else {
        return Err(Refusal::invalid(&[Issue::required("name")]));
    };
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(is_allowed) {
        let message = "Invalid folder name. Only alphanumeric characters, dashes, and underscores are allowed.";
        return Err(Refusal::invalid(&[Issue { place: "name".to_owned(), message: message.to_owned() }]));
    }
    let vault = &mut request.world.infisical;
    let known = vault.projects.get(&above.project).is_some_and(|it| it.environments.contains_key(&above.environment));
    if !known {
        return Err(Refusal::not_found(format!("Environment with slug '{}' not found", above.environment)));
    }
    let place = Place::new(&above.project, &above.environment, &format!("{}/{name}", above.path));
    let mint = mint(request.world.draws());
    let folder = request.world.infisical.ensure_folder(&place, &mint);
    Ok(json!({ "folder": shown(&place.path, folder) }))
}

/// Removes a folder with everything in it.
pub(super) fn delete(request: &mut Request<'_>, which: &str) -> Outcome {
    let above = request.parameters.place(&request.world.infisical, PATHS)?;
    let by_name = format!("{}/{which}", above.path.trim_end_matches('/'));
    let vault = &mut request.world.infisical;
    let environment = vault.projects.get_mut(&above.project).and_then(|it| it.environments.get_mut(&above.environment));
    let missing = || Refusal::not_found(format!("Folder with ID or name '{which}' not found"));
    let folders = &mut environment.ok_or_else(missing)?.folders;
    let path = folders.iter().find(|(path, folder)| **path == by_name || folder.id == which && *path != "/");
    let path = path.map(|(path, _)| path.clone()).ok_or_else(missing)?;
    let below = format!("{path}/");
    let gone = folders.get(&path).map(|folder| shown(&path, folder));
    folders.retain(|other, _| *other != path && !other.starts_with(&below));
    Ok(json!({ "folder": gone }))
}
