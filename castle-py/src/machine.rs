//! A declared machine.

use std::net::IpAddr;

use castle_core::{MachineSpec, NodeRole};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde::Serialize;

use crate::record::{plain, quoted};

/// One declared machine, with the defaults of its project applied.
#[pyclass(frozen, eq, hash, module = "castle_py")]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Machine {
    /// The node's name.
    #[pyo3(get)]
    name: String,
    role: NodeRole,
    /// The hypervisor's number of it.
    #[pyo3(get)]
    id: u32,
    /// The host it runs on.
    #[pyo3(get)]
    host: String,
    /// The node's own address, as a value of `ipaddress`.
    #[pyo3(get)]
    address: IpAddr,
    /// Its memory.
    #[pyo3(get)]
    memory_bytes: u64,
    /// Its virtual CPUs.
    #[pyo3(get)]
    cores: u32,
}

impl From<&MachineSpec> for Machine {
    fn from(spec: &MachineSpec) -> Self {
        Self {
            name: spec.node.to_string(),
            role: spec.role,
            id: spec.id.get(),
            host: spec.host.to_string(),
            address: spec.nic.address,
            memory_bytes: spec.memory.as_bytes(),
            cores: spec.cores,
        }
    }
}

const CONTROL_PLANE: &str = "control-plane";
const WORKER: &str = "worker";

#[pymethods]
impl Machine {
    #[new]
    #[pyo3(signature = (*, name, role, id, host, address, memory_bytes, cores))]
    fn new(
        name: String,
        role: &str,
        id: u32,
        host: String,
        address: IpAddr,
        memory_bytes: u64,
        cores: u32,
    ) -> PyResult<Self> {
        let role = match role {
            CONTROL_PLANE => NodeRole::ControlPlane,
            WORKER => NodeRole::Worker,
            other => {
                let message = format!("role {other:?} is not known; use {CONTROL_PLANE:?} or {WORKER:?}");
                return Err(PyValueError::new_err(message));
            }
        };
        Ok(Self { name, role, id, host, address, memory_bytes, cores })
    }

    /// What the node is for: `control-plane` or `worker`.
    #[getter]
    fn role(&self) -> &'static str {
        match self.role {
            NodeRole::ControlPlane => CONTROL_PLANE,
            NodeRole::Worker => WORKER,
        }
    }

    /// The same as a dictionary that JSON can hold.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, self)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "Machine(name={}, role='{}', id={}, host={}, address='{}', memory_bytes={}, cores={})",
            quoted(py, &self.name)?,
            self.role(),
            self.id,
            quoted(py, &self.host)?,
            self.address,
            self.memory_bytes,
            self.cores
        ))
    }
}
