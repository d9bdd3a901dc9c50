//! The calls that this server knows, each with its rights, schema and duration.

use super::parameter::Parameters;
use super::schema::{Kind, Parameter};
use super::{Outcome, Request, format, setting, wire};
use super::{access, cluster, login, machine, node, storage, task};
use crate::hypervisor::{Hypervisor, Principal, Refusal};
use crate::latency::Latency;

use Parameter as P;

/// One call.
pub(super) struct Route {
    pub verb: &'static str,
    pub path: &'static str,
    pub kind: &'static str,
    pub permission: Permission,
    pub takes_tokens: bool,
    pub parameters: fn() -> &'static [Parameter],
    pub latency: Latency,
    pub handler: fn(&mut Request<'_>) -> Outcome,
}

/// Who may make a call, before the call itself looks closer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Permission {
    /// Everybody, without a login.
    World,
    /// Everybody with a login.
    Users,
    /// Whoever holds all of these on that path.
    All(&'static str, &'static [&'static str]),
    /// Whoever holds one of these on that path.
    Any(&'static str, &'static [&'static str]),
}

impl Permission {
    /// Checks it; placeholders of the path are filled from the parameters.
    ///
    /// # Errors
    ///
    /// The 403 that names path and privilege.
    pub(super) fn check(self, hypervisor: &Hypervisor, who: &Principal, given: &Parameters) -> Result<(), Refusal> {
        let filled = |path: &str| {
            let name = path.split(['{', '}']).nth(1).unwrap_or_default();
            path.replace(&format!("{{{name}}}"), given.text(name).unwrap_or_default())
        };
        match self {
            Self::World | Self::Users => Ok(()),
            Self::All(path, privileges) => hypervisor.require(who, &filled(path), privileges),
            Self::Any(path, privileges) => hypervisor.require_any(who, &filled(path), privileges),
        }
    }
}

impl Route {
    /// Whether it may change the world. A login changes nothing.
    pub(super) fn is_write(&self) -> bool {
        self.verb != "GET" && self.path != "/access/ticket"
    }

    /// What a call is about, as journal and draws name it.
    pub(super) fn entity(&self, given: &Parameters) -> String {
        let of = |name: &str| given.text(name).unwrap_or_default().to_owned();
        if let Some(upid) = given.text("upid") {
            // The process id in it depends on the order of forks; kind and machine do not.
            return upid.split(':').skip(5).take(2).collect::<Vec<_>>().join(":");
        }
        if self.path.contains("{storage}") {
            return format!("{}/{}", of("node"), of("storage"));
        }
        for name in ["vmid", "poolid", "node"] {
            if given.text(name).is_some() {
                return of(name);
            }
        }
        "cluster".to_owned()
    }
}

const NODE: Parameter = P::required("node", Kind::Format(format::node));
const VMID: Parameter = P::required("vmid", Kind::within(100, 999_999_999));
const STORAGE: Parameter = P::required("storage", Kind::Format(format::storage));
const SKIPLOCK: Parameter = P::optional("skiplock", Kind::Boolean);

/// Declares a schema that lives as long as the program.
macro_rules! schema {
    ($($parameter:expr),* $(,)?) => {
        || {
            const SCHEMA: &[Parameter] = &[$($parameter),*];
            SCHEMA
        }
    };
}

fn create_schema() -> &'static [Parameter] {
    static SCHEMA: std::sync::OnceLock<Vec<Parameter>> = std::sync::OnceLock::new();
    SCHEMA.get_or_init(|| {
        let own = [
            NODE,
            VMID,
            P::optional("archive", Kind::Text { length: Some(255) }),
            P::optional("bwlimit", Kind::from(0)),
            P::optional("force", Kind::Boolean),
            P::optional("ha-managed", Kind::Boolean),
            P::optional("import-working-storage", Kind::Format(format::storage)),
            P::optional("live-restore", Kind::Boolean),
            P::optional("pool", Kind::Format(format::pool)),
            P::optional("start", Kind::Boolean),
            P::optional("storage", Kind::Format(format::storage)),
            P::optional("unique", Kind::Boolean),
        ];
        own.into_iter().chain(setting::SETTINGS).collect()
    })
}

fn change_schema() -> &'static [Parameter] {
    static SCHEMA: std::sync::OnceLock<Vec<Parameter>> = std::sync::OnceLock::new();
    SCHEMA.get_or_init(|| {
        let own = [
            NODE,
            VMID,
            SKIPLOCK,
            P::optional("delete", Kind::Format(format::config_ids)),
            P::optional("digest", Kind::Text { length: Some(40) }),
            P::optional("force", Kind::Boolean),
            P::optional("revert", Kind::Format(format::config_ids)),
        ];
        own.into_iter().chain(setting::SETTINGS).collect()
    })
}

const ANY_CONFIG: [&str; 8] = [
    "VM.Config.Disk",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.HWType",
    "VM.Config.Options",
    "VM.Config.Cloudinit",
];
const STORAGE_READ: [&str; 2] = ["Datastore.Audit", "Datastore.AllocateSpace"];

/// Declares one route.
macro_rules! route {
    ($verb:literal $path:literal, $kind:literal, $permission:expr, $latency:ident, $handler:expr, $schema:expr) => {
        Route {
            verb: $verb,
            path: $path,
            kind: $kind,
            permission: $permission,
            takes_tokens: true,
            parameters: $schema,
            latency: Latency::$latency,
            handler: $handler,
        }
    };
}

/// Every call. `All` and `Any` without placeholders would be datacentre-wide.
fn routes() -> [Route; 26] {
    use Permission::{All, Any, Users, World};
    let ticket = route!("POST" "/access/ticket", "POST access/ticket", World, GET_PROTECTED, login::issue, schema![
        P::required("username", Kind::Text { length: Some(64) }),
        P::required("password", Kind::TEXT),
        P::optional("new-format", Kind::Boolean),
        P::optional("otp", Kind::TEXT),
        P::optional("path", Kind::Text { length: Some(64) }),
        P::optional("privs", Kind::Text { length: Some(64) }),
        P::optional("realm", Kind::Text { length: Some(32) }),
        P::optional("tfa-challenge", Kind::TEXT),
    ]);
    [
        Route { takes_tokens: false, ..ticket },
        route!("GET" "/access/permissions", "GET access/permissions", Users, GET_CACHED, access::permissions, schema![
            P::optional("path", Kind::TEXT),
            P::optional("userid", Kind::TEXT),
        ]),
        route!("GET" "/version", "GET version", Users, GET_CACHED, cluster::version, schema![]),
        route!("GET" "/cluster/resources", "GET cluster/resources", Users, GET_CACHED, cluster::resources, schema![
            P::optional("type", Kind::Word(&["vm", "storage", "node", "sdn"])),
        ]),
        route!("GET" "/cluster/nextid", "GET cluster/nextid", Users, GET_CACHED, cluster::next_id, schema![
            P::optional("vmid", Kind::within(100, 999_999_999)),
        ]),
        route!("GET" "/pools", "GET pools", Users, GET_CACHED, access::pools, schema![
            P::optional("poolid", Kind::Format(format::pool)),
            P::optional("type", Kind::Word(&["qemu", "lxc", "storage"])),
        ]),
        route!("GET" "/nodes", "GET nodes", Users, GET_CACHED, node::list, schema![]),
        route!("GET" "/nodes/{node}/status", "GET nodes/status", All("/nodes/{node}", &["Sys.Audit"]),
            GET_CACHED, node::status, schema![NODE]),
        route!("GET" "/nodes/{node}/network", "GET nodes/network", Users, GET_CACHED, node::network, schema![
            NODE,
            P::optional("type", Kind::Word(&[
                "bridge", "bond", "eth", "alias", "vlan", "fabric", "OVSBridge", "OVSBond", "OVSPort", "OVSIntPort",
                "vnet", "any_bridge", "any_local_bridge", "include_sdn",
            ])),
        ]),
        route!("GET" "/nodes/{node}/storage", "GET storage", Users, GET_PROTECTED, storage::list, schema![
            NODE,
            P::optional("content", Kind::Format(format::contents)),
            P::optional("enabled", Kind::Boolean),
            P::optional("format", Kind::Boolean),
            P::optional("storage", Kind::Format(format::storage)),
            P::optional("target", Kind::Format(format::node)),
        ]),
        route!("GET" "/nodes/{node}/storage/{storage}/status", "GET storage/status",
            Any("/storage/{storage}", &STORAGE_READ), GET_PROTECTED, storage::status, schema![NODE, STORAGE]),
        route!("GET" "/nodes/{node}/storage/{storage}/content", "GET storage/content",
        Any("/storage/{storage}", &STORAGE_READ), GET_PROTECTED, storage::content, schema![
            NODE,
            STORAGE,
            P::optional("content", Kind::Format(format::contents)),
            P::optional("vmid", Kind::within(100, 999_999_999)),
        ]),
        route!("GET" "/nodes/{node}/qemu", "GET qemu", Users, GET_PROTECTED, machine::list, schema![
            NODE,
            P::optional("full", Kind::Boolean),
        ]),
        route!("POST" "/nodes/{node}/qemu", "POST qemu", Users, POST_FORK, machine::create, create_schema),
        route!("GET" "/nodes/{node}/qemu/{vmid}/config", "GET qemu/config", All("/vms/{vmid}", &["VM.Audit"]),
        GET_CACHED, machine::config, schema![
            NODE,
            VMID,
            P::optional("current", Kind::Boolean),
            P::optional("snapshot", Kind::ShortFormat(40, format::config_id)),
        ]),
        route!("PUT" "/nodes/{node}/qemu/{vmid}/config", "PUT qemu/config", Any("/vms/{vmid}", &ANY_CONFIG),
            PUT_CONFIG, machine::change, change_schema),
        route!("GET" "/nodes/{node}/qemu/{vmid}/status/current", "GET qemu/status/current",
            All("/vms/{vmid}", &["VM.Audit"]), GET_PROTECTED, machine::status, schema![NODE, VMID]),
        route!("POST" "/nodes/{node}/qemu/{vmid}/status/start", "POST qemu/status/start",
        All("/vms/{vmid}", &["VM.PowerMgmt"]), POST_FORK, machine::start, schema![
            NODE,
            VMID,
            SKIPLOCK,
            P::optional("timeout", Kind::from(0)),
        ]),
        route!("POST" "/nodes/{node}/qemu/{vmid}/status/stop", "POST qemu/status/stop",
        All("/vms/{vmid}", &["VM.PowerMgmt"]), POST_FORK, machine::stop, schema![
            NODE,
            VMID,
            SKIPLOCK,
            P::optional("keepActive", Kind::Boolean),
            P::optional("overrule-shutdown", Kind::Boolean),
            P::optional("timeout", Kind::from(0)),
        ]),
        route!("POST" "/nodes/{node}/qemu/{vmid}/status/shutdown", "POST qemu/status/shutdown",
        All("/vms/{vmid}", &["VM.PowerMgmt"]), POST_FORK, machine::shut_down, schema![
            NODE,
            VMID,
            SKIPLOCK,
            P::optional("forceStop", Kind::Boolean),
            P::optional("keepActive", Kind::Boolean),
            P::optional("timeout", Kind::from(0)),
        ]),
        route!("PUT" "/nodes/{node}/qemu/{vmid}/resize", "PUT qemu/resize",
        All("/vms/{vmid}", &["VM.Config.Disk"]), POST_FORK, machine::resize, schema![
            NODE,
            VMID,
            SKIPLOCK,
            P::optional("digest", Kind::Text { length: Some(40) }),
            P::required("disk", Kind::Pattern(crate::hypervisor::config::is_drive)),
            P::required("size", Kind::Pattern(format::is_resize)),
        ]),
        route!("DELETE" "/nodes/{node}/qemu/{vmid}", "DELETE qemu", All("/vms/{vmid}", &["VM.Allocate"]),
        POST_FORK, machine::destroy, schema![
            NODE,
            VMID,
            SKIPLOCK,
            P::optional("destroy-unreferenced-disks", Kind::Boolean),
            P::optional("purge", Kind::Boolean),
        ]),
        route!("GET" "/nodes/{node}/tasks", "GET tasks", Users, GET_CACHED, task::list, schema![
            NODE,
            P::optional("errors", Kind::Boolean),
            P::optional("limit", Kind::from(0)),
            P::optional("since", Kind::INTEGER),
            P::optional("source", Kind::Word(&["archive", "active", "all"])),
            P::optional("start", Kind::from(0)),
            P::optional("statusfilter", Kind::TEXT),
            P::optional("typefilter", Kind::TEXT),
            P::optional("until", Kind::INTEGER),
            P::optional("userfilter", Kind::TEXT),
            P::optional("vmid", Kind::within(100, 999_999_999)),
        ]),
        route!("GET" "/nodes/{node}/tasks/{upid}/status", "GET tasks/status", Users, GET_PROTECTED, task::status,
            schema![NODE, P::required("upid", Kind::TEXT)]),
        route!("GET" "/nodes/{node}/tasks/{upid}/log", "GET tasks/log", Users, GET_PROTECTED, task::log, schema![
            NODE,
            P::required("upid", Kind::TEXT),
            P::optional("download", Kind::Boolean),
            P::optional("limit", Kind::from(0)),
            P::optional("start", Kind::from(0)),
        ]),
        route!("DELETE" "/nodes/{node}/tasks/{upid}", "DELETE tasks", Users, GET_PROTECTED, task::stop,
            schema![NODE, P::required("upid", Kind::TEXT)]),
    ]
}

/// The kinds of all calls, as the journal names them.
pub(crate) fn kinds() -> impl Iterator<Item = &'static str> {
    routes().into_iter().map(|route| route.kind)
}

/// The route of a call, with what its path holds. Doubled and trailing slashes do
/// not matter.
pub(super) fn find(verb: &str, path: &str) -> Option<(Route, Vec<(String, String)>)> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    routes().into_iter().filter(|route| route.verb == verb).find_map(|route| {
        let pattern: Vec<&str> = route.path.split('/').filter(|part| !part.is_empty()).collect();
        if pattern.len() != parts.len() {
            return None;
        }
        let mut captured = Vec::new();
        for (wanted, part) in pattern.iter().zip(&parts) {
            match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                Some(name) => captured.push((name.to_owned(), wire::decode(part, false))),
                None if wanted == part => {}
                None => return None,
            }
        }
        Some((route, captured))
    })
}
