//! What stands, as last seen.

use std::collections::BTreeMap;
use std::net::IpAddr;

use castle_core::handover::HandoverState;
use castle_core::{Inventory, KubeNode, MachineSpec, Observation, Part, RequestCounts, Slot};
use pyo3::prelude::*;
use serde::Serialize;

use crate::record::plain;

/// One declared machine as the hypervisor shows it.
#[pyclass(frozen, eq, hash, get_all, module = "castle_py")]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct MachineStatus {
    /// The node's name.
    name: String,
    /// The hypervisor's number of it.
    id: u32,
    /// The host it is declared for.
    host: String,
    /// The node's own address.
    address: IpAddr,
    /// `absent`, `running`, `stopped`, `hidden` (taken by a machine that the
    /// token may not see) or `unknown`.
    state: &'static str,
    /// Whose it is and how that is known, or why nothing is known.
    standing: Option<String>,
    /// Its SMBIOS uuid.
    uuid: Option<String>,
}

impl MachineStatus {
    fn of(spec: &MachineSpec, inventory: &Inventory) -> Self {
        let (state, standing, uuid) = match inventory.slots.get(&spec.id) {
            Some(Slot::Absent) => ("absent", None, None),
            Some(Slot::Hidden) => ("hidden", None, None),
            Some(Slot::Unknown(why)) => ("unknown", Some(why.clone()), None),
            None => ("unknown", Some("it was not looked at".to_owned()), None),
            Some(Slot::Present(machine)) => {
                let state = match machine.power {
                    castle_core::Power::Running => "running",
                    castle_core::Power::Stopped => "stopped",
                    castle_core::Power::Unknown => "unknown",
                };
                (state, Some(machine.standing.to_string()), machine.uuid.map(|uuid| uuid.to_string()))
            }
        };
        Self {
            name: spec.node.to_string(),
            id: spec.id.get(),
            host: spec.host.to_string(),
            address: spec.nic.address,
            state,
            standing,
            uuid,
        }
    }
}

#[pymethods]
impl MachineStatus {
    /// The same as a dictionary that JSON can hold.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, self)
    }

    fn __repr__(&self) -> String {
        let standing = self.standing.as_ref().map_or_else(String::new, |standing| format!(", {standing}"));
        format!("<MachineStatus {} ({}) {}{standing}>", self.name, self.id, self.state)
    }
}

/// One node, as the Kubernetes API shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Node {
    name: String,
    ready: bool,
    why_not: Option<String>,
}

/// How far the handover is.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Handed {
    handed_over: bool,
    why_not: Option<String>,
    #[serde(flatten)]
    state: HandoverState,
}

/// What stands. Nothing of it was remembered: it was all asked for.
#[pyclass(frozen, eq, module = "castle_py")]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    cluster: String,
    life: Option<u32>,
    life_state: Option<&'static str>,
    machines: Vec<MachineStatus>,
    nodes: Vec<Node>,
    handover: Option<Handed>,
    answered: Vec<String>,
    unknown: BTreeMap<&'static str, String>,
    requests: RequestCounts,
}

impl Status {
    /// Keeps what `seen` says of the declared machines, and what looking cost.
    pub fn new(project: &castle_core::Project, seen: &Observation, requests: RequestCounts) -> Self {
        let mut unknown = BTreeMap::new();
        let newest = match &seen.lives {
            Part::Known(lives) => lives.newest(),
            Part::Unknown(why) => {
                unknown.insert("lives", why.clone());
                None
            }
        };
        if let Part::Unknown(why) = &seen.has_key {
            unknown.insert("project key", why.clone());
        }
        if let Some(Part::Unknown(why)) = &seen.bundle {
            unknown.insert("secrets", why.clone());
        }
        let machines = match &seen.machines {
            Part::Known(inventory) => project.machines.iter().map(|spec| MachineStatus::of(spec, inventory)).collect(),
            Part::Unknown(why) => {
                unknown.insert("machines", why.clone());
                Vec::new()
            }
        };
        let nodes = match &seen.api {
            Some(Part::Known(api)) => api.nodes.iter().map(node).collect(),
            Some(Part::Unknown(why)) => {
                unknown.insert("nodes", why.clone());
                Vec::new()
            }
            None => Vec::new(),
        };
        let handover = match &seen.handover {
            Some(Part::Known(state)) => Some(handed(state)),
            Some(Part::Unknown(why)) => {
                unknown.insert("handover", why.clone());
                None
            }
            None => None,
        };
        Self {
            cluster: project.cluster.name.to_string(),
            life: newest.map(|(number, _)| number),
            life_state: newest.map(|(_, life)| life.state()),
            machines,
            nodes,
            handover,
            answered: seen.answered.iter().cloned().collect(),
            unknown,
            requests,
        }
    }
}

fn node(node: &KubeNode) -> Node {
    let why_not = (!node.ready).then(|| node.why_not.clone());
    Node { name: node.name.clone(), ready: node.ready, why_not }
}

fn handed(state: &HandoverState) -> Handed {
    let why_not = state.why_not();
    Handed { handed_over: why_not.is_none(), why_not, state: state.clone() }
}

#[pymethods]
impl Status {
    /// The cluster's name.
    #[getter]
    fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The number of the newest life; `None` before the first.
    #[getter]
    fn life(&self) -> Option<u32> {
        self.life
    }

    /// `being born`, `whole`, `ended`, or `without its secrets`.
    #[getter]
    fn life_state(&self) -> Option<&'static str> {
        self.life_state
    }

    /// The declared machines, in the order of the declaration.
    #[getter]
    fn machines(&self) -> Vec<MachineStatus> {
        self.machines.clone()
    }

    /// The nodes as the Kubernetes API shows them: `name`, `ready`, `why_not`. Empty
    /// while nobody could be asked.
    #[getter]
    fn nodes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, &self.nodes)
    }

    /// How far the handover is; `None` while nobody could be asked.
    #[getter]
    fn handover<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, &self.handover)
    }

    /// The declared probes that were answered.
    #[getter]
    fn answered(&self) -> Vec<String> {
        self.answered.clone()
    }

    /// The machines as records for a data frame.
    fn records<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, &self.machines)
    }

    /// The parts that did not answer (`lives`, `machines`, `nodes`, `handover`), and why. What is not
    /// known is never shown as absent.
    #[getter]
    fn unknown(&self) -> BTreeMap<&'static str, String> {
        self.unknown.clone()
    }

    /// What looking cost, for each backend.
    #[getter]
    fn requests<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, &self.requests)
    }

    /// The status as a dictionary that JSON can hold.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, self)
    }

    fn __repr__(&self) -> String {
        let life = match (self.life, self.life_state) {
            (Some(number), Some(state)) => format!("life {number} {state}"),
            _ if self.unknown.contains_key("lives") => "lives not known".to_owned(),
            _ => "no life yet".to_owned(),
        };
        let running = self.machines.iter().filter(|machine| machine.state == "running").count();
        let machines = match self.unknown.contains_key("machines") {
            true => "machines not known".to_owned(),
            false => format!("{running} of {} machines running", self.machines.len()),
        };
        let ready = self.nodes.iter().filter(|node| node.ready).count();
        let nodes = if self.nodes.is_empty() { String::new() } else { format!(", {ready} nodes ready") };
        let handover = match &self.handover {
            Some(Handed { handed_over: true, .. }) => ", handed over",
            Some(_) => ", not handed over",
            None => "",
        };
        format!("<Status {}: {life}, {machines}{nodes}{handover}>", self.cluster)
    }

    fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<String> {
        slf.py().import("castle_py.notebook")?.call_method1("status_html", (slf,))?.extract()
    }
}
