//! One call of the Talos API: who asks, what for, and whether it may.

use std::sync::{Arc, Mutex, PoisonError};

use super::proto::Fields;
use super::{cosi, machine};
use crate::front::Act;
use crate::latency::Latency;
use crate::node::request::{Code, Refused};
use crate::node::{Api, Node};
use crate::world::World;

/// The role that may everything.
pub(super) const ADMIN: &str = "os:admin";
const OPERATOR: &str = "os:operator";
const READER: &str = "os:reader";
const BACKUP: &str = "os:etcd:backup";

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The incarnation of the API that it speaks to.
    pub(super) ticket: u64,
    /// The organizations in its certificate; none in maintenance.
    pub(super) organizations: Vec<String>,
    /// What it asked on this connection so far.
    pub(super) asked: Arc<Mutex<Vec<String>>>,
}

impl Caller {
    /// Whether it has one of these roles, or may everything. In maintenance
    /// everybody is a reader.
    pub(super) fn may(&self, node: &Node, roles: &[&str]) -> bool {
        if is_in_maintenance(node) {
            return roles.contains(&READER);
        }
        self.organizations.iter().any(|role| role == ADMIN || roles.contains(&role.as_str()))
    }

    /// Whether it may read secrets.
    pub(super) fn is_admin(&self, node: &Node) -> bool {
        self.may(node, &[])
    }

    pub(super) fn note(&self, what: String) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// Whether it has read the node's uuid on this connection.
    pub(super) fn knows_uuid(&self) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().any(|what| what.contains("SystemInformations.hardware.talos.dev"))
    }
}

/// Whether the node waits for a configuration.
pub(super) fn is_in_maintenance(node: &Node) -> bool {
    node.session.as_ref().is_some_and(|session| session.api == Api::Maintenance)
}

/// A request in full: its method, its metadata, its one message.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// `/machine.MachineService/Bootstrap`.
    pub(super) path: String,
    /// The nodes that it shall be passed on to.
    pub(super) nodes: Vec<String>,
    /// The message.
    pub(super) message: Vec<u8>,
}

/// What a call comes to.
#[derive(Debug)]
pub(super) enum Answer {
    /// These messages, and the end.
    Messages(Vec<Vec<u8>>),
    /// These messages, and whatever happens afterwards.
    Watch(Vec<Vec<u8>>, cosi::Watch),
    /// No.
    Refused(Refused),
    /// The node died meanwhile: nobody says anything.
    Nothing,
}

impl Request {
    /// The service and the method.
    fn names(&self) -> (&str, &str) {
        self.path.trim_start_matches('/').split_once('/').unwrap_or_default()
    }

    /// How the journal calls it: `machine.Bootstrap`, `cosi.Get`.
    pub(super) fn act(&self, world: &World, caller: &Caller) -> Act {
        let (service, method) = self.names();
        let package = match service {
            "cosi.resource.State" => "cosi",
            other => other.split('.').next().unwrap_or(other),
        };
        let entity = world.nodes.by_ticket(caller.ticket).map_or_else(String::new, |node| node.name.clone());
        let write = ["ApplyConfiguration", "Bootstrap", "EtcdRemoveMemberByID", "Reboot", "Reset"].contains(&method);
        let latency = match method {
            "ApplyConfiguration" => Latency::APPLY,
            _ if write => Latency::TALOS_WRITE,
            _ => Latency::TALOS_READ,
        };
        let detail =
            if package == "cosi" { cosi::detail(&self.message) } else { machine::detail(method, &self.message) };
        let dry = method == "ApplyConfiguration" && Fields::parse(&self.message).is_some_and(|fields| fields.flag(5));
        Act { kind: format!("{package}.{method}"), entity, write: write && !dry, latency, detail }
    }

    /// Does what was asked.
    pub(super) fn serve(&self, world: &mut World, caller: &Caller) -> Answer {
        let Some(node) = world.nodes.by_ticket(caller.ticket) else { return Answer::Nothing };
        let vm = node.vm;
        if let Err(refused) = self.passes(node) {
            return Answer::Refused(refused);
        }
        let (service, method) = self.names();
        let known = match service {
            "machine.MachineService" => machine::roles(method),
            "cosi.resource.State" => cosi::roles(method),
            _ => None,
        };
        let Some(roles) = known else {
            return Answer::Refused(Refused::new(
                Code::Unimplemented,
                format!("unknown method {method} for service {service}"),
            ));
        };
        let roles = roles.map(|letter| match letter {
            'O' => OPERATOR,
            'R' => READER,
            'E' => BACKUP,
            _ => ADMIN,
        });
        let roles: Vec<&str> = roles.collect();
        let by_exception = method == "ApplyConfiguration" && is_in_maintenance(node);
        if !by_exception && !caller.may(node, &roles) {
            return Answer::Refused(Refused::new(Code::PermissionDenied, "not authorized"));
        }
        let Some(fields) = Fields::parse(&self.message) else {
            return Answer::Refused(Refused::new(Code::Internal, "grpc: error unmarshalling request"));
        };
        if service == "cosi.resource.State" {
            caller.note(format!("{method} {}", cosi::detail(&self.message)));
            return match cosi::serve(world, vm, method, &fields, caller) {
                Ok(answer) => answer,
                Err(refused) => Answer::Refused(refused),
            };
        }
        caller.note(method.to_owned());
        match machine::serve(world, vm, method, &fields, caller) {
            Ok(message) => Answer::Messages(vec![message]),
            Err(refused) => Answer::Refused(refused),
        }
    }

    /// Requests that name another node are passed on by control planes only, and
    /// the lab passes on nothing: castle always asks the node itself.
    fn passes(&self, node: &Node) -> Result<(), Refused> {
        if self.nodes.is_empty() || is_in_maintenance(node) {
            return Ok(());
        }
        let own = [node.hostname(), node.ip().map(|ip| ip.to_string()).unwrap_or_default()];
        if self.nodes.iter().all(|name| own.contains(name)) {
            return Ok(());
        }
        if node.is_control_plane() {
            return Err(Refused::new(Code::Unavailable, "the lab's nodes pass no request on"));
        }
        Err(Refused::new(Code::PermissionDenied, "no request forwarding"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::Message;
    use super::*;

    /// A world with one node in maintenance, and who asks it.
    fn waiting() -> (World, Caller) {
        let mut world = World::empty(7);
        let address = "192.168.1.77".parse().unwrap();
        world.plant_stranger(address, "0000AAAA-0000-4000-8000-000000000001");
        let ticket = world.nodes.behind(address).and_then(|node| node.session.as_ref()).unwrap().ticket;
        (world, Caller { ticket, organizations: Vec::new(), asked: Arc::default() })
    }

    fn ask(world: &mut World, caller: &Caller, path: &str, message: Message) -> Result<Vec<Vec<u8>>, (Code, String)> {
        let request = Request { path: path.to_owned(), nodes: Vec::new(), message: message.into_bytes() };
        match request.serve(world, caller) {
            Answer::Messages(messages) | Answer::Watch(messages, _) => Ok(messages),
            Answer::Refused(refused) => Err((refused.code, refused.message)),
            Answer::Nothing => panic!("the node is there"),
        }
    }

    fn get(kind: &str, namespace: &str, id: &str) -> Message {
        Message::new().text(1, namespace).text(2, kind).text(3, id)
    }

    const GET: &str = "/cosi.resource.State/Get";
    const WATCH: &str = "/cosi.resource.State/Watch";
    const INFORMATION: (&str, &str, &str) = ("SystemInformations.hardware.talos.dev", "hardware", "systeminformation");

    #[test]
    fn in_maintenance_everybody_reads_and_only_configurations_are_taken() {
        let (mut world, caller) = waiting();
        let version = ask(&mut world, &caller, "/machine.MachineService/Version", Message::new()).unwrap();
        let envelope = Fields::parse(&version[0]).unwrap();
        let version = Fields::parse(Fields::parse(envelope.bytes(1).unwrap()).unwrap().bytes(2).unwrap()).unwrap();
        assert_eq!(version.text(1), "v1.13.9");
        for method in ["Bootstrap", "Reset", "Reboot", "EtcdRemoveMemberByID"] {
            let denied = ask(&mut world, &caller, &format!("/machine.MachineService/{method}"), Message::new());
            assert_eq!(denied.unwrap_err(), (Code::PermissionDenied, "not authorized".to_owned()), "{method}");
        }
        let members = ask(&mut world, &caller, "/machine.MachineService/EtcdMemberList", Message::new()).unwrap_err();
        let text = "machine type is not set, cannot use member list API".to_owned();
        assert_eq!(members, (Code::Unimplemented, text));
        let bad = Message::new().bytes(1, b"nonsense: [").number(4, 1);
        let refused = ask(&mut world, &caller, "/machine.MachineService/ApplyConfiguration", bad).unwrap_err();
        assert_eq!(refused.0, Code::InvalidArgument);
        assert_eq!(world.unproved_configurations().len(), 1, "the uuid was not read on this connection");
    }

    #[test]
    fn resources_are_refused_in_talos_words() {
        let (mut world, caller) = waiting();
        let mut refused = |path: &str, message| ask(&mut world, &caller, path, message).unwrap_err();
        let kind = "SystemInformations.hardware.talos.dev";
        for (message, code, text) in [
            (
                get("Dreams.talos.dev", "runtime", "a"),
                Code::PermissionDenied,
                "resource type \"Dreams.talos.dev\" is not supported",
            ),
            (get(kind, "elsewhere", "a"), Code::PermissionDenied, "namespace \"elsewhere\" is not supported"),
            (get("MachineConfigs.config.talos.dev", "config", "v1alpha1"), Code::PermissionDenied, "not authorized"),
            (
                get(kind, "hardware", "nobody"),
                Code::NotFound,
                "resource SystemInformations.hardware.talos.dev(hardware/nobody@undefined) doesn't exist",
            ),
        ] {
            assert_eq!(refused(GET, message), (code, text.to_owned()));
        }
        let write = refused("/cosi.resource.State/Destroy", get(kind, "hardware", "systeminformation"));
        assert_eq!(write, (Code::PermissionDenied, "write access is not allowed".to_owned()));
    }

    #[test]
    fn a_resource_comes_in_both_forms_and_reading_it_proves_the_machine() {
        let (mut world, caller) = waiting();
        assert!(!caller.knows_uuid());
        let got = ask(&mut world, &caller, GET, get(INFORMATION.0, INFORMATION.1, INFORMATION.2)).unwrap();
        let resource = Fields::parse(Fields::parse(&got[0]).unwrap().bytes(1).unwrap()).unwrap();
        let metadata = Fields::parse(resource.bytes(1).unwrap()).unwrap();
        assert_eq!((metadata.text(4).as_str(), metadata.text(6).as_str()), ("1", "running"));
        let spec = Fields::parse(resource.bytes(2).unwrap()).unwrap();
        assert!(spec.text(2).contains("uuid: \"0000aaaa-0000-4000-8000-000000000001\""), "{}", spec.text(2));
        assert_eq!(Fields::parse(spec.bytes(1).unwrap()).unwrap().text(5), "0000aaaa-0000-4000-8000-000000000001");
        assert!(caller.knows_uuid());
    }

    #[test]
    fn a_watch_stands_first_and_tells_what_is_there_then() {
        let (mut world, caller) = waiting();
        let event = |message: &[u8]| {
            let message = Fields::parse(message).unwrap();
            Fields::parse(message.bytes(1).unwrap()).unwrap().number(2)
        };
        let one = ask(&mut world, &caller, WATCH, get(INFORMATION.0, INFORMATION.1, INFORMATION.2)).unwrap();
        assert_eq!((one.len(), one[0].is_empty(), event(&one[1])), (2, true, 0));
        let none = ask(&mut world, &caller, WATCH, get(INFORMATION.0, INFORMATION.1, "nobody")).unwrap();
        assert_eq!(event(&none[1]), 2, "a tombstone");
        let contents = Message::new().number(1, 1);
        let all = Message::new().text(1, INFORMATION.1).text(2, INFORMATION.0).message(4, contents).number(5, 1);
        let all = ask(&mut world, &caller, WATCH, all).unwrap();
        assert_eq!((event(&all[1]), event(&all[2])), (0, 3), "what is there, and that it is all");
    }
}
