//! Protocol 0 and 1: one advertisement of everything, then wants and haves.

use std::collections::BTreeSet;

use crate::git::Repository;
use crate::git::history::Wish;
use crate::git::object::{ObjectId, ObjectKind};

use super::AGENT;
use super::fetch::{depth_of, filter_of, in_words, pack_of, shallow, wanted};
use super::line::{Answer, BadPacket, Packet, Packets};

pub(super) fn advertise(answer: &mut Answer, repository: &Repository, version: u8) {
    let target = format!("refs/heads/{}", repository.default_branch());
    let head = repository.references().get(&target);
    let symref = if head.is_some() { format!(" symref=HEAD:{target}") } else { String::new() };
    let capabilities = format!(
        "multi_ack multi_ack_detailed thin-pack side-band side-band-64k ofs-delta shallow deepen-relative \
         no-progress include-tag allow-tip-sha1-in-want allow-reachable-sha1-in-want filter{symref} \
         object-format=sha1 agent={AGENT}"
    );
    let mut lines = Vec::new();
    if let Some(id) = head {
        lines.push(format!("{id} HEAD"));
    }
    for (name, id) in repository.references() {
        lines.push(format!("{id} {name}"));
        let is_tag = repository.objects().get(*id).is_some_and(|object| object.kind == ObjectKind::Tag);
        if let Ok(Some(peeled)) = repository.objects().peeled(*id)
            && is_tag
        {
            lines.push(format!("{peeled} {name}^{{}}"));
        }
    }
    list(answer, lines, &capabilities, version);
}

/// The references of an advertisement; the capabilities follow the first.
pub(super) fn list(answer: &mut Answer, lines: Vec<String>, capabilities: &str, version: u8) {
    if version == 1 {
        answer.line("version 1");
    }
    let none = || vec![format!("{} capabilities^{{}}", ObjectId::ZERO)];
    let lines = if lines.is_empty() { none() } else { lines };
    for (number, line) in lines.iter().enumerate() {
        match number {
            0 => answer.line(format!("{line}\0{capabilities}")),
            _ => answer.line(line),
        };
    }
    answer.flush();
}

/// How acknowledgements are told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Acks {
    One,
    Many,
    Detailed,
}

/// How the pack is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Band {
    None,
    Small,
    Large,
}

pub(super) fn serve(repository: &Repository, body: &[u8]) -> Result<Answer, BadPacket> {
    let mut packets = Packets::of(body);
    let (mut wish, mut acks, mut band) = (Wish::default(), Acks::One, Band::None);
    let refused = |why: String| {
        let mut answer = Answer::default();
        answer.raw(format!("ERR {why}").as_bytes());
        answer
    };
    while let Some(packet) = packets.next()? {
        let Packet::Line(_) = packet else { break };
        let text = packet.text().ok_or(BadPacket)?;
        let (name, value) = text.split_once(' ').unwrap_or((text, ""));
        let read = match name {
            "want" => {
                let (id, capabilities) = value.split_once(' ').unwrap_or((value, ""));
                for capability in capabilities.split(' ') {
                    match capability {
                        "multi_ack_detailed" => acks = Acks::Detailed,
                        "multi_ack" if acks == Acks::One => acks = Acks::Many,
                        "side-band-64k" => band = Band::Large,
                        "side-band" if band == Band::None => band = Band::Small,
                        "deepen-relative" => wish.is_relative = true,
                        _ => {}
                    }
                }
                wanted(repository, id).map(|id| wish.wants.push(id))
            }
            "shallow" => shallow(repository, value, &mut wish),
            // Zero means: all of it, which is what happens without.
            "deepen" if value == "0" => Ok(()),
            "deepen" => depth_of(value).map(|depth| wish.depth = Some(depth)),
            "filter" => filter_of(value).map(|filter| wish.filter = filter),
            _ => Err(format!("upload-pack: protocol error, expected to get object ID, not '{text}'")),
        };
        if let Err(why) = read {
            return Ok(refused(why));
        }
    }
    let mut answer = Answer::default();
    if wish.wants.is_empty() {
        return Ok(answer);
    }
    if wish.depth.is_some() {
        let delivery = match repository.objects().deliver(&wish) {
            Ok(delivery) => delivery,
            Err(broken) => return Ok(refused(in_words(broken))),
        };
        for id in &delivery.shallow {
            answer.line(format!("shallow {id}"));
        }
        for id in &delivery.unshallow {
            answer.line(format!("unshallow {id}"));
        }
        answer.flush();
    }
    if !negotiate(repository, packets, &mut wish, acks, &mut answer)? {
        return Ok(answer);
    }
    match repository.objects().deliver(&wish) {
        Ok(delivery) => {
            let pack = pack_of(repository, &delivery.objects);
            match band {
                Band::None => answer.0.extend(pack),
                // The old side band has short lines.
                Band::Small => {
                    for part in pack.chunks(990) {
                        answer.band(1, part);
                    }
                }
                Band::Large => {
                    answer.band(1, &pack);
                }
            }
            if band != Band::None {
                answer.flush();
            }
            Ok(answer)
        }
        Err(broken) => Ok(refused(in_words(broken))),
    }
}

/// Hears the haves. Says whether the client is done and waits for the pack.
fn negotiate(
    repository: &Repository,
    mut packets: Packets<'_>,
    wish: &mut Wish,
    acks: Acks,
    answer: &mut Answer,
) -> Result<bool, BadPacket> {
    let objects = repository.objects();
    let mut common = BTreeSet::new();
    let mut last = None;
    let (mut got_common, mut got_other) = (false, false);
    while let Some(packet) = packets.next()? {
        let text = packet.text().unwrap_or_default();
        if let Some(id) = text.strip_prefix("have ") {
            let id: ObjectId = id.parse().map_err(|_| BadPacket)?;
            if objects.contains(id) {
                (got_common, last) = (true, Some(id));
                let is_first = common.is_empty();
                common.insert(id);
                wish.haves.push(id);
                match acks {
                    Acks::Detailed => {
                        answer.line(format!("ACK {id} common"));
                    }
                    Acks::Many => {
                        answer.line(format!("ACK {id} continue"));
                    }
                    Acks::One if is_first => {
                        answer.line(format!("ACK {id}"));
                    }
                    Acks::One => {}
                }
            } else {
                got_other = true;
                if objects.is_enough(&wish.wants, &common) {
                    match acks {
                        Acks::Detailed => {
                            answer.line(format!("ACK {id} ready"));
                        }
                        Acks::Many => {
                            answer.line(format!("ACK {id} continue"));
                        }
                        Acks::One => {}
                    }
                }
            }
        } else if text == "done" {
            match last {
                Some(id) if acks != Acks::One => {
                    answer.line(format!("ACK {id}"));
                }
                Some(_) => {}
                None => {
                    answer.line("NAK");
                }
            }
            return Ok(true);
        } else if packet == Packet::Flush {
            if let Some(id) = last
                && acks == Acks::Detailed
                && got_common
                && !got_other
                && objects.is_enough(&wish.wants, &common)
            {
                answer.line(format!("ACK {id} ready"));
            }
            if common.is_empty() || acks != Acks::One {
                answer.line("NAK");
            }
            // What follows a flush comes with the next request.
            return Ok(false);
        } else {
            return Err(BadPacket);
        }
    }
    Ok(false)
}
