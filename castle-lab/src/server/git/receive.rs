//! Pushes over the wire: commands, a pack, and the report of what became of it.

use std::time::Duration;

use crate::git::Repository;
use crate::git::object::ObjectId;
use crate::git::push::{Push, Receipt, Update};

use super::AGENT;
use super::line::{Answer, BadPacket, Packet, Packets};
use super::negotiation::list;

pub(super) fn advertise(answer: &mut Answer, repository: &Repository, version: u8) {
    let capabilities =
        format!("report-status delete-refs side-band-64k quiet atomic ofs-delta object-format=sha1 agent={AGENT}");
    let lines = repository.references().iter().map(|(name, id)| format!("{id} {name}")).collect();
    list(answer, lines, &capabilities, version);
}

pub(super) fn serve(repository: &mut Repository, by: &str, body: &[u8], now: Duration) -> Result<Answer, BadPacket> {
    let mut packets = Packets::of(body);
    let mut push = Push { by: by.to_owned(), ..Push::default() };
    let (mut reports, mut has_band) = (false, false);
    while let Some(packet) = packets.next()? {
        let Packet::Line(_) = packet else { break };
        let text = packet.text().ok_or(BadPacket)?;
        let (command, capabilities) = text.split_once('\0').unwrap_or((text, ""));
        for capability in capabilities.split(' ') {
            match capability {
                "report-status" => reports = true,
                "side-band-64k" => has_band = true,
                "atomic" => push.is_atomic = true,
                _ => {}
            }
        }
        // A client that has not the whole history says where its own ends; the
        // repository has what is below.
        if !command.starts_with("shallow ") {
            push.updates.push(read_update(command).ok_or(BadPacket)?);
        }
    }
    let mut answer = Answer::default();
    // A client with much to send asks first whether it is let in.
    if push.updates.is_empty() {
        return Ok(answer);
    }
    push.pack = packets.rest().to_vec();
    let receipt = repository.receive(&push, now);
    let report = report(&receipt);
    match (reports, has_band) {
        (true, true) => {
            for message in &receipt.messages {
                answer.band(2, format!("{message}\n").as_bytes());
            }
            answer.band(1, &report).flush();
        }
        (true, false) => answer.0 = report,
        (false, _) => {}
    }
    Ok(answer)
}

fn read_update(command: &str) -> Option<Update> {
    let mut parts = command.splitn(3, ' ');
    let mut id = || -> Option<ObjectId> { parts.next()?.parse().ok() };
    let (old, new) = (id()?, id()?);
    Some(Update { old, new, reference: parts.next()?.to_owned() })
}

fn report(receipt: &Receipt) -> Vec<u8> {
    let mut report = Answer::default();
    report.line(format!("unpack {}", receipt.unpack.as_deref().unwrap_or("ok")));
    for (reference, reason) in &receipt.results {
        match reason {
            None => report.line(format!("ok {reference}")),
            Some(reason) => report.line(format!("ng {reference} {reason}")),
        };
    }
    report.flush();
    report.0
}
