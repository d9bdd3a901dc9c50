//! `cosi.resource.State`: one resource, all of a kind, and what becomes of them.

use super::call::{Answer, Caller};
use super::proto::{Fields, Message};
use crate::node::Node;
use crate::node::request::{Code, Refused};
use crate::node::resource::{Change, KINDS, NAMESPACES, Resource};
use crate::world::World;

const CREATED: u64 = 0;
const UPDATED: u64 = 1;
const DESTROYED: u64 = 2;
const BOOTSTRAPPED: u64 = 3;

/// The roles that may call a method besides administrators, a letter each.
pub(super) fn roles(method: &str) -> Option<std::str::Chars<'static>> {
    match method {
        "Get" | "List" | "Watch" | "Create" | "Update" | "Destroy" | "Teardown" | "TeardownAndDestroy" => {
            Some("OR".chars())
        }
        _ => None,
    }
}

/// One line for the journal: type and id.
pub(super) fn detail(message: &[u8]) -> String {
    let Some(fields) = Fields::parse(message) else { return "not protobuf".to_owned() };
    // `id` of a Get and of a Watch; a List has its options there.
    let id = fields.bytes(3).and_then(|id| std::str::from_utf8(id).ok()).filter(|id| !id.contains(char::is_control));
    match id.filter(|id| !id.is_empty()) {
        Some(id) => format!("{}/{id}", fields.text(2)),
        None => fields.text(2),
    }
}

/// What a watch waits for.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    namespace: String,
    kind: String,
    id: Option<String>,
    /// How much of what happened it knows.
    position: usize,
    aggregated: bool,
    ticket: u64,
}

pub(super) fn serve(
    world: &World,
    vm: u32,
    method: &str,
    fields: &Fields<'_>,
    caller: &Caller,
) -> Result<Answer, Refused> {
    if !["Get", "List", "Watch"].contains(&method) {
        return Err(Refused::new(Code::PermissionDenied, "write access is not allowed"));
    }
    let Some(node) = world.nodes.of(vm) else { return Ok(Answer::Nothing) };
    let (namespace, kind) = (fields.text(1), fields.text(2));
    let denied = |text: String| Refused::new(Code::PermissionDenied, text);
    let known = KINDS.iter().find(|(name, _, _)| *name == kind);
    let Some((_, _, is_sensitive)) = known else {
        return Err(denied(format!("resource type \"{kind}\" is not supported")));
    };
    if !NAMESPACES.contains(&namespace.as_str()) {
        return Err(denied(format!("namespace \"{namespace}\" is not supported")));
    }
    if *is_sensitive && !caller.is_admin(node) {
        return Err(denied("not authorized".to_owned()));
    }
    match method {
        "Get" => {
            let id = fields.text(3);
            let found = node.table.get(&namespace, &kind, &id).ok_or_else(|| {
                let text = format!("resource {kind}({namespace}/{id}@undefined) doesn't exist");
                Refused::new(Code::NotFound, text)
            })?;
            Ok(Answer::Messages(vec![Message::new().message(1, resource(world, found)).into_bytes()]))
        }
        "List" => {
            let options = fields.bytes(3).and_then(Fields::parse).unwrap_or_default();
            refuse_queries(&options, 1, 2)?;
            let found = node.table.list(&namespace, &kind);
            Ok(Answer::Messages(
                found.map(|found| Message::new().message(1, resource(world, found)).into_bytes()).collect(),
            ))
        }
        _ => watch(
            world,
            node,
            fields,
            Watch {
                namespace,
                kind,
                id: fields.bytes(3).map(|id| String::from_utf8_lossy(id).into_owned()),
                position: node.table.position(),
                aggregated: false,
                ticket: caller.ticket,
            },
        ),
    }
}

fn watch(world: &World, node: &Node, fields: &Fields<'_>, mut watch: Watch) -> Result<Answer, Refused> {
    let options = fields.bytes(4).and_then(Fields::parse).unwrap_or_default();
    let with_contents = options.flag(1);
    watch.aggregated = options.flag(5);
    if options.bytes(6).is_some() {
        return Err(Refused::new(Code::FailedPrecondition, "invalid bookmark"));
    }
    if watch.id.is_some() && (with_contents || options.bytes(3).is_some()) {
        let text = "bootstrap contents and label queries are not supported when watching one resource";
        return Err(Refused::new(Code::Unimplemented, text));
    }
    refuse_queries(&options, 3, 4)?;
    let mut events = Vec::new();
    match &watch.id {
        Some(id) => events.push(match node.table.get(&watch.namespace, &watch.kind, id) {
            Some(found) => event(CREATED, resource(world, found), None),
            None => event(DESTROYED, tombstone(&watch.namespace, &watch.kind, id), None),
        }),
        None if with_contents => {
            let found = node.table.list(&watch.namespace, &watch.kind);
            events.extend(found.map(|found| event(CREATED, resource(world, found), None)));
            // An older client would not know what to do with it.
            if fields.number(5) >= 1 {
                events.push(Message::new().number(2, BOOTSTRAPPED));
            }
        }
        None => {}
    }
    // The first message says only that the watch stands.
    let messages = [vec![Vec::new()], watch.pack(events)].concat();
    Ok(Answer::Watch(messages, watch))
}

/// The lab has no queries; to answer as if there was none would be a lie.
fn refuse_queries(options: &Fields<'_>, labels: u32, ids: u32) -> Result<(), Refused> {
    if options.bytes(labels).is_some() || options.bytes(ids).is_some_and(|query| !query.is_empty()) {
        return Err(Refused::new(Code::Unimplemented, "the lab's nodes have no label and id queries"));
    }
    Ok(())
}

impl Watch {
    /// What happened since it was asked last. `None`: its server is gone.
    pub(super) fn next(&mut self, world: &World) -> Option<Vec<Vec<u8>>> {
        let node = world.nodes.by_ticket(self.ticket)?;
        let mut events = Vec::new();
        for change in node.table.since(self.position) {
            let key = &change.resource().key;
            let is_meant = key.0 == self.namespace && key.1 == self.kind;
            if is_meant && self.id.as_ref().is_none_or(|id| *id == key.2) {
                events.push(match change {
                    Change::Created(new) => event(CREATED, resource(world, new), None),
                    Change::Updated { old, new } => event(UPDATED, resource(world, new), Some(resource(world, old))),
                    Change::Destroyed(old) => event(DESTROYED, resource(world, old), None),
                });
            }
        }
        self.position = node.table.position();
        Some(self.pack(events))
    }

    /// Each event in a message of its own, or all in one.
    fn pack(&self, events: Vec<Message>) -> Vec<Vec<u8>> {
        if self.aggregated && !events.is_empty() {
            let all = events.into_iter().fold(Message::new(), |all, event| all.message(1, event));
            return vec![all.into_bytes()];
        }
        events.into_iter().map(|event| Message::new().message(1, event).into_bytes()).collect()
    }
}

fn event(kind: u64, resource: Message, old: Option<Message>) -> Message {
    let event = Message::new().message(1, resource).number(2, kind);
    match old {
        Some(old) => event.message(3, old),
        None => event,
    }
}

fn resource(world: &World, found: &Resource) -> Message {
    let (namespace, kind, ref id) = found.key;
    let metadata = Message::new()
        .text(1, namespace)
        .text(2, kind)
        .text(3, id)
        .text(4, &found.version.to_string())
        .text(6, "running")
        .time(7, world.wall_at(found.created))
        .time(8, world.wall_at(found.updated));
    let spec = Message::new().bytes(1, &found.spec.proto()).text(2, &found.spec.yaml());
    Message::new().message(1, metadata).message(2, spec)
}

fn tombstone(namespace: &str, kind: &str, id: &str) -> Message {
    let metadata = Message::new().text(1, namespace).text(2, kind).text(3, id).text(4, "undefined").text(6, "running");
    Message::new().message(1, metadata)
}
