//! Protocol 2: `ls-refs` and `fetch`.

use std::collections::BTreeSet;

use crate::git::Repository;
use crate::git::history::{Filter, Wish};
use crate::git::object::{Broken, ObjectId, ObjectKind};
use crate::git::pack;

use super::AGENT;
use super::line::{Answer, BadPacket, Packet, Packets};

pub(super) fn advertise(answer: &mut Answer) {
    answer
        .line("version 2")
        .line(format!("agent={AGENT}"))
        .line("ls-refs=unborn")
        .line("fetch=shallow wait-for-done filter")
        .line("server-option")
        .line("object-format=sha1")
        .flush();
}

/// A request: its command and the arguments behind the delimiter.
struct Request {
    command: String,
    arguments: Vec<String>,
}

impl Request {
    fn read(body: &[u8]) -> Result<Self, BadPacket> {
        let mut request = Self { command: String::new(), arguments: Vec::new() };
        let (mut packets, mut is_behind) = (Packets::of(body), false);
        while let Some(packet) = packets.next()? {
            match packet {
                Packet::Flush | Packet::End => break,
                Packet::Delimiter => is_behind = true,
                Packet::Line(_) => {
                    let text = packet.text().ok_or(BadPacket)?;
                    match text.strip_prefix("command=") {
                        _ if is_behind => request.arguments.push(text.to_owned()),
                        Some(command) => request.command = command.to_owned(),
                        // The client's own capabilities: agent, object-format.
                        None => {}
                    }
                }
            }
        }
        Ok(request)
    }
}

/// The command of a request, for the journal.
pub(super) fn command_of(body: &[u8]) -> Option<String> {
    Request::read(body).ok().map(|request| request.command)
}

pub(super) fn serve(repository: &Repository, body: &[u8]) -> Result<Answer, BadPacket> {
    let request = Request::read(body)?;
    let mut answer = Answer::default();
    let served = match request.command.as_str() {
        "ls-refs" => {
            list(repository, &request.arguments, &mut answer);
            Ok(())
        }
        "fetch" => fetch(repository, &request.arguments, &mut answer),
        other => Err(format!("unknown command '{other}'")),
    };
    if let Err(why) = served {
        answer = Answer::default();
        answer.raw(format!("ERR {why}").as_bytes());
    }
    Ok(answer)
}

fn list(repository: &Repository, arguments: &[String], answer: &mut Answer) {
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let prefixes: Vec<_> = arguments.iter().filter_map(|argument| argument.strip_prefix("ref-prefix ")).collect();
    let is_wanted = |name: &str| prefixes.is_empty() || prefixes.iter().any(|prefix| name.starts_with(prefix));
    let target = format!("refs/heads/{}", repository.default_branch());
    let symref = if has("symrefs") { format!(" symref-target:{target}") } else { String::new() };
    if is_wanted("HEAD") {
        match repository.references().get(&target) {
            Some(id) => answer.line(format!("{id} HEAD{symref}")),
            None if has("unborn") => answer.line(format!("unborn HEAD{symref}")),
            None => answer,
        };
    }
    for (name, id) in repository.references().iter().filter(|(name, _)| is_wanted(name)) {
        let is_tag = repository.objects().get(*id).is_some_and(|object| object.kind == ObjectKind::Tag);
        match repository.objects().peeled(*id) {
            Ok(Some(peeled)) if is_tag && has("peel") => answer.line(format!("{id} {name} peeled:{peeled}")),
            _ => answer.line(format!("{id} {name}")),
        };
    }
    answer.flush();
}

/// What a `fetch` says beside its wish.
#[derive(Default)]
struct Manner {
    is_done: bool,
    waits_for_done: bool,
    has_haves: bool,
    common: Vec<ObjectId>,
}

fn fetch(repository: &Repository, arguments: &[String], answer: &mut Answer) -> Result<(), String> {
    let (wish, manner) = read_wish(repository, arguments)?;
    if wish.wants.is_empty() {
        answer.flush();
        return Ok(());
    }
    if manner.has_haves && !manner.is_done {
        answer.line("acknowledgments");
        if manner.common.is_empty() {
            answer.line("NAK");
        }
        for id in &manner.common {
            answer.line(format!("ACK {id}"));
        }
        let common: BTreeSet<_> = manner.common.iter().copied().collect();
        if manner.waits_for_done || !repository.objects().is_enough(&wish.wants, &common) {
            answer.flush();
            return Ok(());
        }
        answer.line("ready").delimiter();
    }
    let delivery = repository.objects().deliver(&wish).map_err(in_words)?;
    if wish.depth.is_some() || !wish.shallow.is_empty() {
        answer.line("shallow-info");
        for id in &delivery.shallow {
            answer.line(format!("shallow {id}"));
        }
        for id in &delivery.unshallow {
            answer.line(format!("unshallow {id}"));
        }
        answer.delimiter();
    }
    answer.line("packfile");
    answer.band(1, &pack_of(repository, &delivery.objects)).flush();
    Ok(())
}

/// The pack of these objects, all of which are here.
pub(super) fn pack_of(repository: &Repository, ids: &[ObjectId]) -> Vec<u8> {
    let objects: Vec<_> = ids.iter().filter_map(|id| repository.objects().get(*id)).collect();
    pack::write(objects.into_iter())
}

pub(super) fn in_words(broken: Broken) -> String {
    format!("upload-pack: {broken}")
}

fn read_wish(repository: &Repository, arguments: &[String]) -> Result<(Wish, Manner), String> {
    let (mut wish, mut manner) = (Wish::default(), Manner::default());
    for argument in arguments {
        let (name, value) = argument.split_once(' ').unwrap_or((argument, ""));
        match name {
            "want" => wish.wants.push(wanted(repository, value)?),
            "have" => {
                manner.has_haves = true;
                let id = id_of(value)?;
                if repository.objects().contains(id) {
                    wish.haves.push(id);
                    manner.common.push(id);
                }
            }
            "shallow" => shallow(repository, value, &mut wish)?,
            "deepen" => wish.depth = Some(depth_of(value)?),
            "deepen-relative" => wish.is_relative = true,
            "filter" => wish.filter = filter_of(value)?,
            "done" => manner.is_done = true,
            "wait-for-done" => manner.waits_for_done = true,
            // How the pack might be made smaller, and what is told meanwhile.
            "thin-pack" | "ofs-delta" | "include-tag" | "no-progress" => {}
            _ => return Err(format!("upload-pack: unexpected line: '{argument}'")),
        }
    }
    Ok((wish, manner))
}

fn id_of(text: &str) -> Result<ObjectId, String> {
    text.parse().map_err(|_| format!("upload-pack: protocol error, expected object id, got '{text}'"))
}

/// An object that is asked for; it must be here.
pub(super) fn wanted(repository: &Repository, text: &str) -> Result<ObjectId, String> {
    let id = id_of(text)?;
    match repository.objects().contains(id) {
        true => Ok(id),
        false => Err(format!("upload-pack: not our ref {id}")),
    }
}

/// Notes a commit whose parents the client has not. One that the repository never
/// saw does not matter.
pub(super) fn shallow(repository: &Repository, text: &str, wish: &mut Wish) -> Result<(), String> {
    let id = id_of(text)?;
    if repository.objects().contains(id) {
        wish.shallow.insert(id);
    }
    Ok(())
}

pub(super) fn depth_of(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(depth) if depth > 0 => Ok(depth),
        _ => Err(format!("upload-pack: invalid deepen: {text}")),
    }
}

pub(super) fn filter_of(text: &str) -> Result<Filter, String> {
    let refused = || format!("upload-pack: filter '{text}' not supported");
    if text == "blob:none" {
        return Ok(Filter::BlobsFrom(0));
    }
    let limit = text.strip_prefix("blob:limit=").ok_or_else(refused)?;
    limit.parse().map(Filter::BlobsFrom).map_err(|_| refused())
}
