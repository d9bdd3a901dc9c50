//! `machine.MachineService`: the calls that the lab's nodes answer.

use super::call::{Caller, is_in_maintenance};
use super::proto::{Fields, Message};
use crate::node::Node;
use crate::node::request::{ApplyMode, Code, Refused};
use crate::node::service::Service;
use crate::world::World;

/// The roles that may call a method besides administrators, a letter each.
pub(super) fn roles(method: &str) -> Option<std::str::Chars<'static>> {
    let letters = match method {
        "ApplyConfiguration" | "Bootstrap" | "EtcdRemoveMemberByID" | "Reset" => "",
        "Reboot" => "O",
        "EtcdMemberList" | "EtcdStatus" => "ORE",
        "ServiceList" | "Version" | "Hostname" => "OR",
        _ => return None,
    };
    Some(letters.chars())
}

/// One line for the journal, free of secrets.
pub(super) fn detail(method: &str, message: &[u8]) -> String {
    let Some(fields) = Fields::parse(message) else { return "not protobuf".to_owned() };
    match method {
        "ApplyConfiguration" => format!("mode={:?} dry_run={}", mode(fields.number(4)), fields.flag(5)),
        "EtcdRemoveMemberByID" => format!("member={:016x}", fields.number(1)),
        "Reset" => format!("graceful={} partitions={}", fields.flag(1), labels(&fields).join(",")),
        _ => String::new(),
    }
}

fn mode(number: u64) -> ApplyMode {
    match number {
        1 => ApplyMode::Auto,
        2 => ApplyMode::NoReboot,
        3 => ApplyMode::Staged,
        4 => ApplyMode::Try,
        _ => ApplyMode::Reboot,
    }
}

fn labels(fields: &Fields<'_>) -> Vec<String> {
    let partitions = fields.all(3).filter_map(Fields::parse);
    partitions.filter(|partition| partition.flag(2)).map(|partition| partition.text(1)).collect()
}

/// Does what was asked and says the answer, in the envelope of all answers.
pub(super) fn serve(
    world: &mut World,
    vm: u32,
    method: &str,
    fields: &Fields<'_>,
    caller: &Caller,
) -> Result<Vec<u8>, Refused> {
    let body = match method {
        "ApplyConfiguration" => apply(world, vm, fields, caller)?,
        "Bootstrap" => {
            world.bootstrap(vm)?;
            Message::new()
        }
        "EtcdMemberList" => members(world, vm)?,
        "EtcdStatus" => etcd_status(world, vm)?,
        "EtcdRemoveMemberByID" => {
            let cluster = world.etcd_of(vm, "etcd remove member")?;
            if !world.etcd_remove(cluster, fields.number(1)) {
                return Err(Refused::new(Code::NotFound, "etcdserver: member not found"));
            }
            Message::new()
        }
        "Reboot" => {
            world.reboot(vm, fields.number(1) == 1);
            Message::new()
        }
        "Reset" => {
            world.reset(vm, &labels(fields), fields.flag(1))?;
            Message::new()
        }
        "ServiceList" => services(world, vm),
        "Version" => version(world, vm),
        "Hostname" => Message::new().text(2, &world.nodes.of(vm).map(Node::hostname).unwrap_or_default()),
        _ => return Err(Refused::new(Code::Unimplemented, format!("unknown method {method}"))),
    };
    Ok(Message::new().message(1, body).into_bytes())
}

fn apply(world: &mut World, vm: u32, fields: &Fields<'_>, caller: &Caller) -> Result<Message, Refused> {
    let text = String::from_utf8(fields.bytes(1).unwrap_or_default().to_vec())
        .map_err(|_| Refused::new(Code::InvalidArgument, "yaml: invalid leading UTF-8 octet"))?;
    let is_dry = fields.flag(5);
    let in_maintenance = world.nodes.of(vm).is_some_and(is_in_maintenance);
    if in_maintenance && !caller.knows_uuid() {
        world.note_unproved(vm);
    }
    let applied = world.apply_configuration(vm, &text, mode(fields.number(4)), is_dry)?;
    let mode = match applied.mode {
        ApplyMode::Reboot => 0,
        ApplyMode::Auto => 1,
        ApplyMode::NoReboot => 2,
        ApplyMode::Staged => 3,
        ApplyMode::Try => 4,
    };
    let mut message = Message::new();
    for warning in &applied.warnings {
        message = message.text(2, warning);
    }
    Ok(message.number(3, mode).text(4, &applied.details))
}

fn members(world: &World, vm: u32) -> Result<Message, Refused> {
    let cluster = world.etcd_of(vm, "member list")?;
    let mut message = Message::new();
    let Some(etcd) = world.nodes.etcds.get(&cluster) else { return Ok(message) };
    for member in etcd.members.values() {
        message = message.text(2, &member.name);
    }
    for member in etcd.members.values() {
        let address = member.address.map(|ip| ip.to_string()).unwrap_or_else(|| "192.0.2.1".to_owned());
        let of = Message::new()
            .number(2, member.id)
            .text(3, &member.name)
            .text(4, &format!("https://{address}:2380"))
            .text(5, &if member.learner { String::new() } else { format!("https://{address}:2379") })
            .number(6, u64::from(member.learner));
        message = message.message(3, of);
    }
    Ok(message)
}

fn etcd_status(world: &World, vm: u32) -> Result<Message, Refused> {
    let cluster = world.etcd_of(vm, "etcd status")?;
    let own = world.nodes.of(vm).and_then(|node| node.disk.etcd).map_or(0, |data| data.member);
    let Some(etcd) = world.nodes.etcds.get(&cluster) else { return Ok(Message::new()) };
    let is_learner = etcd.members.get(&own).is_some_and(|member| member.learner);
    let index = 1000 + world.kubernetes.revision();
    let status = Message::new()
        .text(1, "3.6.12")
        .number(2, 20 << 20)
        .number(3, 8 << 20)
        .number(4, etcd.leader)
        .number(5, index)
        .number(6, etcd.term)
        .number(7, index)
        .number(9, u64::from(is_learner))
        .number(10, own)
        .text(11, "3.6.0");
    Ok(Message::new().message(2, status))
}

fn services(world: &World, vm: u32) -> Message {
    let mut message = Message::new();
    let Some(session) = world.nodes.of(vm).and_then(|node| node.session.as_ref()) else { return message };
    for (id, service) in &session.services.0 {
        message = message.message(2, service_info(world, id, service));
    }
    message
}

fn service_info(world: &World, id: &str, service: &Service) -> Message {
    let mut events = Message::new();
    for (at, state, text) in &service.events {
        events = events.message(1, Message::new().text(1, text).text(2, state).time(3, world.wall_at(*at)));
    }
    let health = Message::new()
        .number(1, u64::from(service.healthy.is_none()))
        .number(2, u64::from(service.healthy == Some(true)))
        .text(3, if service.healthy.is_some() { service.message.as_str() } else { "" })
        .time(4, world.wall_at(service.since));
    Message::new().text(1, id).text(2, service.state).message(3, events).message(4, health)
}

fn version(world: &World, vm: u32) -> Message {
    let release = world.nodes.of(vm).map(|node| node.image.release.clone()).unwrap_or_default();
    let version =
        Message::new().text(1, &release).text(2, "3ebd10a7").text(4, "go1.26.4").text(5, "linux").text(6, "amd64");
    let platform = Message::new().text(1, "nocloud").text(2, "cloud");
    Message::new().message(2, version).message(3, platform).message(4, Message::new().number(1, 1))
}
