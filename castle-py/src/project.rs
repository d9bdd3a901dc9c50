//! The declaration of a cluster.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use castle_core::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::PyList;
use serde::Serialize;

use crate::error::{problems, raised, refused};
use crate::machine::Machine;
use crate::record::{plain, quoted};

/// The name of the file that declares a cluster.
const FILE: &str = "castle.yaml";

/// Names and versions of a cluster.
#[pyclass(frozen, eq, hash, get_all, module = "castle_py")]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Cluster {
    /// The cluster's name.
    name: String,
    /// The Talos release, with its `v`.
    talos: String,
    /// The Kubernetes release, with its `v`.
    kubernetes: String,
    /// The version contract of the machine configuration.
    contract: String,
}

#[pymethods]
impl Cluster {
    #[new]
    #[pyo3(signature = (*, name, talos, kubernetes, contract))]
    fn new(name: String, talos: String, kubernetes: String, contract: String) -> Self {
        Self { name, talos, kubernetes, contract }
    }

    /// The same as a dictionary that JSON can hold.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, self)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "Cluster(name={}, talos={}, kubernetes={}, contract={})",
            quoted(py, &self.name)?,
            quoted(py, &self.talos)?,
            quoted(py, &self.kubernetes)?,
            quoted(py, &self.contract)?
        ))
    }
}

/// A cluster as declared in a `castle.yaml`, read and found good.
#[pyclass(frozen, eq, module = "castle_py")]
#[derive(Debug)]
pub struct Project {
    pub(crate) declared: Arc<castle_core::Project>,
    pub(crate) file: PathBuf,
}

/// Two projects are equal if they declare the same, wherever it was read.
impl PartialEq for Project {
    fn eq(&self, other: &Self) -> bool {
        self.declared == other.declared
    }
}

/// What a project says of itself as data.
#[derive(Serialize)]
struct Document<'a> {
    project: &'a str,
    platform: &'a str,
    cluster: Cluster,
    machines: Vec<Machine>,
    warnings: &'a [castle_core::Problem],
}

#[pymethods]
impl Project {
    /// Reads a declaration: a file, or the folder that holds `castle.yaml`.
    #[staticmethod]
    #[pyo3(signature = (path, /))]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let file = if path.is_dir() { path.join(FILE) } else { path };
        let text = std::fs::read_to_string(&file).map_err(|error| raised(&unreadable(&file, error)))?;
        match castle_core::Project::parse(&text, castle_talos::image) {
            Ok(declared) => Ok(Self { declared: Arc::new(declared), file }),
            Err(found) => Err(refused(py, &file, &text, &found)),
        }
    }

    /// The project's name.
    #[getter]
    fn project(&self) -> &str {
        self.declared.project.as_str()
    }

    /// Names and versions of the cluster.
    #[getter]
    fn cluster(&self) -> Cluster {
        let castle_core::Cluster { name, talos, kubernetes, contract } = self.declared.cluster.clone();
        Cluster { name: name.to_string(), talos, kubernetes, contract }
    }

    /// The machines: control planes in their order, then workers.
    #[getter]
    fn machines(&self) -> Vec<Machine> {
        self.declared.machines.iter().map(Machine::from).collect()
    }

    /// Findings that refuse nothing.
    #[getter]
    fn warnings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        problems(py, &self.declared.warnings)
    }

    /// The file that was read.
    #[getter]
    fn file(&self) -> &Path {
        &self.file
    }

    /// The declaration as a dictionary that JSON can hold.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let document = Document {
            project: self.project(),
            platform: &self.declared.platform,
            cluster: self.cluster(),
            machines: self.machines(),
            warnings: &self.declared.warnings,
        };
        plain(py, &document)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("Project.load({})", quoted(py, &self.file.to_string_lossy())?))
    }

    fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<String> {
        slf.py().import("castle_py.notebook")?.call_method1("project_html", (slf,))?.extract()
    }
}

fn unreadable(file: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::InvalidSpec,
    };
    Error::new(kind, format!("{} cannot be read", file.display()))
        .hint(format!("give the path of a {FILE}, or of the folder that holds one"))
        .caused_by(error)
}
