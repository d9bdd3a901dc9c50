//! Values of castle as Python's own: dictionaries, lists, texts.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use serde::Serialize;

/// The value as the dictionaries and lists that `json.loads` makes, with the
/// same names and units that the command line prints as JSON.
///
/// # Errors
///
/// `ValueError` if the value has no form in JSON; those of castle have one.
pub fn plain<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let text = serde_json::to_string(value).map_err(|error| PyValueError::new_err(error.to_string()))?;
    LOADS.import(py, "json", "loads")?.call1((text,))
}

/// A text as Python's source would write it.
///
/// # Errors
///
/// What Python's `repr` raises.
pub fn quoted(py: Python<'_>, text: &str) -> PyResult<String> {
    PyString::new(py, text).repr()?.extract()
}
