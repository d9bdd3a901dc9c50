//! The HTTP API of Proxmox VE 9.2: routing, rights, validation and answers.
//!
//! The order of the checks is the real one (pve-http-server, pve-access-control):
//! transport, login, route, contradicting parameters, rights of the method, the
//! host behind the proxy, schema, the call itself.

mod access;
mod cluster;
mod format;
mod login;
mod machine;
mod node;
mod parameter;
mod placement;
mod reply;
mod route;
mod schema;
mod setting;
mod storage;
mod task;
mod wire;

use std::time::Duration;

use serde_json::Value;

use crate::front::{Act, Call, Reply, Service};
use crate::hypervisor::{Principal, Refusal};
use crate::latency::Latency;
use crate::world::World;

use parameter::Parameters;
pub(crate) use route::kinds;
use route::{Permission, Route};

/// The API server. It has no state: all of that is the world's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proxmox;

/// One call on its way through a handler.
struct Request<'a> {
    world: &'a mut World,
    who: &'a Principal,
    parameters: &'a Parameters,
}

/// What a handler answers.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    data: Value,
    total: Option<usize>,
}

impl From<Value> for Answer {
    fn from(data: Value) -> Self {
        Self { data, total: None }
    }
}

/// A handler's result.
type Outcome = Result<Answer, Refusal>;

impl Service for Proxmox {
    fn backend(&self) -> &'static str {
        "proxmox"
    }

    fn classify(&self, _world: &World, call: &Call) -> Act {
        let found = wire::relative_path(&call.path).ok().and_then(|path| route::find(&call.method, path));
        let Some((route, captured)) = found else {
            return Act {
                kind: format!("{} ?", call.method),
                entity: call.path.clone(),
                write: false,
                latency: Latency::GET_CACHED,
                detail: String::new(),
            };
        };
        let given = Parameters::decode(call, &captured).unwrap_or_default();
        Act {
            kind: route.kind.to_owned(),
            entity: route.entity(&given),
            write: route.is_write(),
            latency: route.latency,
            detail: given.detail(),
        }
    }

    fn held_up(&self, world: &World, call: &Call, waited: Duration) -> Duration {
        held_up(world, call, waited).unwrap_or_default()
    }

    fn serve(&self, world: &mut World, call: &Call) -> Reply {
        let Act { kind, entity, .. } = self.classify(world, call);
        world.arriving(call.run, &kind, &entity);
        let reply = answer(world, call);
        world.answered(call.run, &kind, &entity);
        reply
    }
}

fn answer(world: &mut World, call: &Call) -> Reply {
    let path = match wire::check(call).and_then(|()| wire::relative_path(&call.path)) {
        Ok(path) => path,
        Err(refusal) => return reply::refusal(&refusal),
    };
    let found = route::find(&call.method, path);
    let is_open = found.as_ref().is_some_and(|(route, _)| matches!(route.permission, Permission::World));
    let who = match login::authenticate(world, call) {
        Ok(who) => who,
        // Nobody in particular may ask what everybody may.
        Err(_) if is_open => Principal { user: String::new(), token: None },
        Err(text) => return reply::unauthenticated(text),
    };
    let Some((route, captured)) = found else {
        let text = format!("Method '{} {path}' not implemented", call.method);
        return reply::refusal(&Refusal::other(501, text));
    };
    let outcome = admit(world, call, &route, &captured, &who)
        .and_then(|parameters| (route.handler)(&mut Request { world, who: &who, parameters: &parameters }));
    match outcome {
        Ok(answer) => reply::data(answer),
        Err(refusal) if refusal.status == 401 => reply::refusal(&refusal).penalised(Latency::UNAUTHENTICATED),
        Err(refusal) => reply::refusal(&refusal),
    }
}

/// What a change that will be let in has to wait for: the machine's lock file.
fn held_up(world: &World, call: &Call, waited: Duration) -> Option<Duration> {
    let path = wire::check(call).and_then(|()| wire::relative_path(&call.path)).ok()?;
    let (route, captured) = route::find(&call.method, path).filter(|(route, _)| route.kind == machine::CHANGE)?;
    let who = login::authenticate(world, call).ok()?;
    let parameters = admit(world, call, &route, &captured, &who).ok()?;
    Some(world.change_held_up(parameters.host(), parameters.machine(), waited))
}

/// Rights, proxy and schema, in the order of the real server.
fn admit(
    world: &World,
    call: &Call,
    route: &Route,
    captured: &[(String, String)],
    who: &Principal,
) -> Result<Parameters, Refusal> {
    let given = Parameters::decode(call, captured)?;
    if who.token.is_some() && !route.takes_tokens {
        let text = format!("URI '{}' not available with API token, need proper ticket.", route.path);
        return Err(Refusal::forbidden(&text));
    }
    route.permission.check(&world.proxmox, who, &given)?;
    if let Some(host) = captured.iter().find(|(name, _)| name == "node").map(|(_, host)| host.as_str()) {
        reach(world, host)?;
    }
    given.validated((route.parameters)())
}

/// Whether the host that a call is for can be reached.
fn reach(world: &World, host: &str) -> Result<(), Refusal> {
    match world.proxmox.hosts.get(host) {
        Some(host) if host.online => Ok(()),
        Some(_) => Err(Refusal::other(595, "No route to host")),
        None => Err(Refusal::failure(format!(
            "hostname lookup '{host}' failed - failed to get address info for: {host}: Name or service not known"
        ))),
    }
}
