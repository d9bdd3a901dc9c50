//! x
use pyo3::prelude::*;

/// A
#[pyclass(frozen, eq, hash, module = "castle_py")]
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    /// n
    #[pyo3(get)]
    name: String,
    /// a
    #[pyo3(get)]
    address: std::net::IpAddr,
}

#[pymethods]
impl Machine {
    #[new]
    #[pyo3(signature = (*, name, address))]
    fn new(name: String, address: std::net::IpAddr) -> Self {
        Self { name, address }
    }
    /// x
    fn x(&self, py: Python<'_>) -> PyResult<u64> { py.check_signals()?; Ok(1) }
}

pyo3::import_exception!(castle_py.exceptions, CastleError);

#[pymodule]
mod _castle {
    #[pymodule_export]
    use super::Machine;
}
