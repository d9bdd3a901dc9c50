//! Infisical's HTTP interface: login, projects, folders and secrets.
//!
//! The order of the checks is the server's: how often somebody asks, the token, the
//! form of the request, then what it is about.

mod batch;
mod folder;
mod refusal;
mod request;
mod secret;

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::front::{Act, Call, Reply, Service};
use crate::infisical::Place;
use crate::infisical::furnish::mint;
use crate::infisical::identity::TokenRefusal;
use crate::latency::Latency;
use crate::world::World;

use refusal::{Issue, Refusal};
use request::{Parameters, Route};

const MINUTE: Duration = Duration::from_secs(60);

/// The server. It has no state: all of that is the world's.
#[derive(Debug, Clone, Copy)]
pub(super) struct InfisicalServer;

/// A request that was let in.
struct Request<'a> {
    world: &'a mut World,
    method: &'a str,
    parameters: &'a Parameters,
}

/// What a handler answers.
type Outcome = Result<Value, Refusal>;

impl Service for InfisicalServer {
    fn backend(&self) -> &'static str {
        "infisical"
    }

    fn classify(&self, world: &World, call: &Call) -> Act {
        let parameters = Parameters::of(call).unwrap_or_default();
        let place = parameters.place(&world.infisical, secret::PATHS).ok();
        let path = || place.as_ref().map_or("/", |place| place.path.as_str()).to_owned();
        let (what, entity) = match Route::of(&call.path) {
            Route::LogIn => {
                let identities = &world.infisical.identities.by_client_id;
                let identity = parameters.text("clientId").and_then(|client_id| identities.get(client_id));
                ("login", identity.map_or("?", |identity| identity.name.as_str()).to_owned())
            }
            Route::Project(slug) => ("project", slug),
            Route::Secrets | Route::Batch => ("secrets", path()),
            Route::Secret(name) => ("secret", format!("{}/{name}", path().trim_end_matches('/'))),
            Route::Folders => ("folders", path()),
            Route::Folder(which) => ("folder", which),
            Route::Unknown => ("?", call.path.clone()),
        };
        Act {
            kind: format!("{} {what}", call.method),
            entity,
            // A login changes nothing but the server's own books.
            write: call.method != "GET" && what != "login",
            latency: Latency::INFISICAL_REQUEST,
            // Addresses only; the rest may be a secret.
            detail: place.map(|place| format!("{} {}", place.project, place.environment)).unwrap_or_default(),
        }
    }

    fn serve(&self, world: &mut World, call: &Call) -> Reply {
        let Act { kind, entity, .. } = self.classify(world, call);
        world.arriving(call.run, &kind, &entity);
        world.infisical.requests += 1;
        let request = format!("req-{}", world.infisical.requests);
        let reply = match answer(world, call) {
            Ok(body) => json_reply(200, &body),
            Err(refusal) => refusal.reply(&request),
        };
        world.answered(call.run, &kind, &entity);
        reply
    }
}

fn json_reply(status: u16, body: &Value) -> Reply {
    Reply::new(status, Bytes::from(body.to_string())).header("content-type", "application/json; charset=utf-8")
}

fn answer(world: &mut World, call: &Call) -> Outcome {
    count(world, call)?;
    let route = Route::of(&call.path);
    if route == Route::LogIn && call.method == "POST" {
        return log_in(world, &Parameters::of(call)?);
    }
    let is_known = matches!(
        (&route, call.method.as_str()),
        (Route::Project(_) | Route::Secrets, "GET")
            | (Route::Secret(..), "GET" | "POST" | "PATCH" | "DELETE")
            | (Route::Batch, "POST" | "PATCH" | "DELETE")
            | (Route::Folders, "GET" | "POST")
            | (Route::Folder(_), "DELETE")
    );
    if !is_known {
        return Err(Refusal::not_found(format!("Route {}:{} not found", call.method, call.path)));
    }
    let may_write = authenticate(world, call)?;
    let parameters = Parameters::of(call)?;
    let subject = if matches!(route, Route::Folder(_) | Route::Folders) { "secret-folders" } else { "secrets" };
    let action = match call.method.as_str() {
        "POST" => "create",
        "PATCH" => "edit",
        "DELETE" => "delete",
        _ => "read",
    };
    if action != "read" && !may_write {
        return Err(Refusal::permission(action, subject));
    }
    let mut request = Request { world, method: &call.method, parameters: &parameters };
    match route {
        Route::Project(slug) => project(request.world, &slug),
        Route::Secrets => secret::list(&request),
        Route::Secret(name) => secret::one(&mut request, &name),
        Route::Batch => batch::serve(&mut request),
        Route::Folders if call.method == "GET" => folder::list(&request),
        Route::Folders => folder::create(&mut request),
        Route::Folder(which) => folder::delete(&mut request, &which),
        Route::LogIn | Route::Unknown => Err(Refusal::not_found("Route not found")),
    }
}

/// Counts a client's requests within the minute, where the server does.
fn count(world: &mut World, call: &Call) -> Result<(), Refusal> {
    let now = world.now();
    let vault = &mut world.infisical;
    let Some(limit) = vault.requests_per_minute else { return Ok(()) };
    let (began, count) = vault.minute.entry(call.run).or_insert((now, 0));
    if now >= *began + MINUTE {
        (*began, *count) = (now, 0);
    }
    *count += 1;
    if *count > limit {
        let left = *began + MINUTE - now;
        return Err(Refusal::too_many(left.as_secs() + u64::from(left.subsec_nanos() > 0)));
    }
    Ok(())
}

fn log_in(world: &mut World, parameters: &Parameters) -> Outcome {
    let (client_id, secret) = (parameters.text("clientId"), parameters.text("clientSecret"));
    let (Some(client_id), Some(secret)) = (client_id, secret) else {
        let missing = [("clientId", client_id), ("clientSecret", secret)].into_iter().filter(|(_, it)| it.is_none());
        return Err(Refusal::invalid(&missing.map(|(name, _)| Issue::required(name)).collect::<Vec<_>>()));
    };
    let (now, mint) = (world.now(), mint(world.draws()));
    let granted = world.infisical.identities.log_in(client_id.trim(), secret.trim(), now, &mint);
    let (token, life) = granted.map_err(|refusal| Refusal::unauthorized(refusal.to_string()))?;
    Ok(json!({
        "accessToken": token,
        "expiresIn": life.as_secs(),
        "accessTokenMaxTTL": life.as_secs(),
        "tokenType": "Bearer",
    }))
}

/// Says whether whoever asks may write.
fn authenticate(world: &World, call: &Call) -> Result<bool, Refusal> {
    let token = call.header("authorization").and_then(|header| header.strip_prefix("Bearer "));
    let token = token.ok_or_else(|| Refusal::unauthorized("Token missing"))?;
    match world.infisical.identities.who(token, world.now()) {
        Ok(identity) => Ok(identity.may_write),
        Err(TokenRefusal::Expired) => Err(Refusal::token("Your token has expired. Please re-authenticate.")),
        Err(TokenRefusal::Unknown) => Err(Refusal::token("invalid signature")),
    }
}

fn project(world: &World, slug: &str) -> Outcome {
    let missing = || Refusal::not_found(format!("Project with slug '{slug}' not found"));
    let project = world.infisical.projects.get(slug).ok_or_else(missing)?;
    let environments: Vec<_> = project
        .environments
        .iter()
        .map(|(slug, environment)| json!({ "id": environment.id, "name": slug, "slug": slug }))
        .collect();
    Ok(json!({
        "id": project.id,
        "_id": project.id,
        "name": project.name,
        "slug": slug,
        "type": "secret-manager",
        "environments": environments,
    }))
}

/// The answer to a change that somebody must approve first. Nothing has changed.
fn approval(place: &Place) -> Value {
    json!({
        "approval": {
            "id": "pending",
            "status": "open",
            "environment": place.environment,
            "secretPath": place.path,
            "hasMerged": false,
        }
    })
}
