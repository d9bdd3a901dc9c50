//! Several secrets at once: all of them, or none.

use serde_json::{Value, json};

use crate::infisical::Place;
use crate::world::World;

use super::refusal::{Issue, Refusal};
use super::request::Parameters;
use super::secret::{PATHS, check_new, check_present, remove, shown, write, wrong_name};
use super::{Outcome, Request, approval};

/// What an update does about secrets that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Fail,
    Create,
    Ignore,
}

pub(super) fn serve(request: &mut Request<'_>) -> Outcome {
    let place = request.parameters.place(&request.world.infisical, PATHS)?;
    let items = request.parameters.list("secrets").ok_or_else(|| Refusal::invalid(&[Issue::required("secrets")]))?;
    let mode = match request.parameters.text("mode") {
        None | Some("failOnNotFound") => Mode::Fail,
        Some("upsert") => Mode::Create,
        Some("ignore") => Mode::Ignore,
        Some(_) => {
            let message = "Invalid enum value. Expected 'upsert' | 'failOnNotFound' | 'ignore'".to_owned();
            return Err(Refusal::invalid(&[Issue { place: "mode".to_owned(), message }]));
        }
    };
    let needs_value = request.method == "POST";
    let named = names(&items, needs_value, request.method != "DELETE")?;
    if request.world.infisical.folder(&place).is_none() {
        return Err(Refusal::no_folder(&place.path, &place.environment));
    }
    let mut chosen = Vec::new();
    for (name, item) in named {
        let is_present = request.world.infisical.secret(&place, name).is_some();
        match (request.method, mode) {
            ("POST", _) => check_new(request.world, &place, name)?,
            ("PATCH", Mode::Create) if is_present || item.text("secretValue").is_some() => {}
            ("PATCH", Mode::Ignore) if !is_present => continue,
            _ => check_present(request.world, &place, name)?,
        }
        chosen.push((name, item));
    }
    if request.world.infisical.approvals.contains(&place) {
        return Ok(approval(&place));
    }
    let mut told = Vec::new();
    for (name, item) in chosen {
        if request.method == "DELETE" {
            told.extend(tell(request.world, &place, name));
            remove(request.world, &place, name);
        } else {
            write(request.world, &place, name, item.text("secretValue"), item)?;
            told.extend(tell(request.world, &place, name));
        }
    }
    Ok(json!({ "secrets": told }))
}

fn tell(world: &World, place: &Place, name: &str) -> Option<Value> {
    world.infisical.secret(place, name).map(|stored| shown(world, place, name, stored, true))
}

/// The secrets of a request by their names, each once.
fn names(items: &[Parameters], needs_value: bool, is_checked: bool) -> Result<Vec<(&str, &Parameters)>, Refusal> {
    let (mut issues, mut named) = (Vec::new(), Vec::<(&str, &Parameters)>::new());
    for (number, item) in items.iter().enumerate() {
        let Some(name) = item.text("secretKey") else {
            issues.push(Issue::required(format!("secrets.{number}.secretKey")));
            continue;
        };
        if is_checked {
            issues.extend(wrong_name(&format!("secrets.{number}.secretKey"), name));
        }
        if needs_value && item.text("secretValue").is_none() {
            issues.push(Issue::required(format!("secrets.{number}.secretValue")));
        }
        if named.iter().any(|(other, _)| *other == name) {
            return Err(Refusal::bad_request(format!("Duplicate secrets: {name}")));
        }
        named.push((name, item));
    }
    if items.is_empty() {
        let message = "Array must contain at least 1 element(s)".to_owned();
        issues.push(Issue { place: "secrets".to_owned(), message });
    }
    if issues.is_empty() { Ok(named) } else { Err(Refusal::invalid(&issues)) }
}
