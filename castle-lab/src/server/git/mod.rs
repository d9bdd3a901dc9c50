//! Git's smart HTTP: advertisements, fetches of protocol 0, 1 and 2, and pushes.

mod fetch;
mod line;
mod negotiation;
mod receive;

use std::io::Read as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

use crate::front::{Act, Call, Reply, Service};
use crate::git::Repository;
use crate::latency::Latency;
use crate::world::World;

use line::Answer;

const AGENT: &str = "castle-lab/1";
/// What a compressed request may unpack to.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// The Git server. It has no state: all of that is the world's.
#[derive(Debug, Clone, Copy)]
pub(super) struct GitServer;

/// What is done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    UploadPack,
    ReceivePack,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "git-upload-pack",
            Self::ReceivePack => "git-receive-pack",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::UploadPack, Self::ReceivePack].into_iter().find(|program| program.name() == name)
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Route<'a> {
    repository: &'a str,
    program: Program,
    /// Whether it asks where the references stand, before everything else.
    is_refs: bool,
}

impl<'a> Route<'a> {
    fn of(call: &'a Call) -> Option<Self> {
        if let Some(repository) = call.path.strip_suffix("/info/refs") {
            let query = call.query.as_deref().unwrap_or_default();
            let service = query.split('&').find_map(|pair| pair.strip_prefix("service="))?;
            let program = Program::of(service)?;
            return (call.method == "GET").then_some(Self { repository, program, is_refs: true });
        }
        let (repository, program) = call.path.rsplit_once('/')?;
        let program = Program::of(program)?;
        (call.method == "POST").then_some(Self { repository, program, is_refs: false })
    }
}

/// The protocol's version that a client asks for.
fn version(call: &Call) -> u8 {
    let asked = call.header("git-protocol").unwrap_or_default();
    let versions = asked.split(':').filter_map(|part| part.strip_prefix("version="));
    versions.filter_map(|version| version.parse().ok()).filter(|version| *version <= 2).max().unwrap_or(0)
}

impl Service for GitServer {
    fn backend(&self) -> &'static str {
        "git"
    }

    fn classify(&self, _world: &World, call: &Call) -> Act {
        let Some(route) = Route::of(call) else {
            return Act {
                kind: format!("{} ?", call.method),
                entity: call.path.clone(),
                write: false,
                latency: Latency::GIT_REQUEST,
                detail: String::new(),
            };
        };
        let refs = if route.is_refs { " refs" } else { "" };
        let mut detail = format!("version={}", version(call));
        if route.program == Program::UploadPack && !route.is_refs && version(call) == 2 {
            let command = body_of(call).ok().and_then(|body| fetch::command_of(&body));
            detail.push_str(&command.map(|command| format!(" command={command}")).unwrap_or_default());
        }
        Act {
            kind: format!("{} {}{refs}", call.method, route.program.name()),
            entity: route.repository.to_owned(),
            write: route.program == Program::ReceivePack && !route.is_refs,
            latency: Latency::GIT_REQUEST,
            detail,
        }
    }

    fn serve(&self, world: &mut World, call: &Call) -> Reply {
        let Act { kind, entity, .. } = self.classify(world, call);
        world.arriving(call.run, &kind, &entity);
        let reply = answer(world, call).unwrap_or_else(Refusal::reply);
        world.answered(call.run, &kind, &entity);
        reply
    }
}

/// Why a request is refused before git has its say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refusal {
    status: u16,
    text: &'static str,
}

impl Refusal {
    const UNAUTHENTICATED: Self = Self::new(401, "Authentication required");
    const NO_REPOSITORY: Self = Self::new(404, "Repository not found");

    const fn new(status: u16, text: &'static str) -> Self {
        Self { status, text }
    }

    fn reply(self) -> Reply {
        let reply = Reply::new(self.status, format!("{}\n", self.text));
        let reply = reply.header("content-type", "text/plain; charset=utf-8");
        match self.status {
            401 => reply.header("www-authenticate", "Basic realm=\"castle-lab\""),
            _ => reply,
        }
    }
}

fn answer(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let now = world.now();
    let route = Route::of(call);
    let git = &mut world.git;
    let (username, password) = credentials(call).ok_or(Refusal::UNAUTHENTICATED)?;
    let account = git.accounts.admit(&username, &password).ok_or(Refusal::UNAUTHENTICATED)?;
    let may_push = account.may_push;
    let route = route.ok_or_else(|| match call.path.ends_with("/info/refs") {
        true => Refusal::new(403, "This server speaks only the smart protocol"),
        false => Refusal::new(404, "Not found"),
    })?;
    let announces = git.announces_service;
    let key = git.key_of(route.repository).ok_or(Refusal::NO_REPOSITORY)?;
    let repository = git.repositories.get_mut(&key).ok_or(Refusal::NO_REPOSITORY)?;
    if route.program == Program::ReceivePack && !may_push {
        return Err(Refusal::new(403, "This account may not push here"));
    }
    if route.is_refs {
        return Ok(advertise(repository, route.program, version(call), announces));
    }
    let wanted = format!("application/x-{}-request", route.program.name());
    if call.header("content-type") != Some(&wanted) {
        return Err(Refusal::new(415, "Unsupported media type"));
    }
    let body = body_of(call).map_err(|()| Refusal::new(400, "The body cannot be unpacked"))?;
    let bytes = match (route.program, version(call)) {
        (Program::ReceivePack, _) => receive::serve(repository, &username, &body, now),
        (Program::UploadPack, 2) => fetch::serve(repository, &body),
        (Program::UploadPack, _) => negotiation::serve(repository, &body),
    };
    let bytes = bytes.map_err(|_| Refusal::new(400, "The request is no packet lines"))?;
    Ok(Reply::new(200, bytes.0)
        .header("content-type", format!("application/x-{}-result", route.program.name()))
        .header("cache-control", "no-cache"))
}

/// What a client is told before anything else.
fn advertise(repository: &Repository, program: Program, version: u8, announces: bool) -> Reply {
    let mut answer = Answer::default();
    // Only fetches have a protocol 2.
    let is_second = version == 2 && program == Program::UploadPack;
    if !is_second || announces {
        answer.line(format!("# service={}", program.name())).flush();
    }
    match program {
        Program::UploadPack if is_second => fetch::advertise(&mut answer),
        Program::UploadPack => negotiation::advertise(&mut answer, repository, version),
        Program::ReceivePack => receive::advertise(&mut answer, repository, version),
    }
    Reply::new(200, answer.0)
        .header("content-type", format!("application/x-{}-advertisement", program.name()))
        .header("cache-control", "no-cache")
}

/// User name and password of basic authentication.
fn credentials(call: &Call) -> Option<(String, String)> {
    let (scheme, encoded) = call.header("authorization")?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()?;
    decoded.split_once(':').map(|(username, password)| (username.to_owned(), password.to_owned()))
}

/// The body, unpacked: git compresses what it asks at length.
fn body_of(call: &Call) -> Result<Vec<u8>, ()> {
    match call.header("content-encoding") {
        None | Some("identity") => Ok(call.body.to_vec()),
        Some("gzip" | "x-gzip") => {
            let mut body = Vec::new();
            let unpacked = flate2::read::GzDecoder::new(&call.body[..]).take(BODY_BYTES_MAX).read_to_end(&mut body);
            unpacked.map(|_| body).map_err(|_| ())
        }
        Some(_) => Err(()),
    }
}
