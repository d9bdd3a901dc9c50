//! What went wrong, as Python's exceptions, which are written in Python
//! (`castle_py/exceptions.py`): so they can be pickled and subclassed.

use std::collections::BTreeMap;
use std::path::Path;

use castle_core::{Error, ErrorKind, Problem, Retry, Severity, Span};
use pyo3::import_exception;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyType};
use serde::Serialize;

use crate::words;

import_exception!(castle_py.exceptions, ConfigError);

/// An error as data: what a report keeps of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// The stable name of the kind.
    pub code: &'static str,
    /// The error with its causes.
    pub message: String,
    /// The one action that the reader can take.
    pub hint: Option<String>,
    /// Whether looking again and trying again can help.
    pub retryable: bool,
    /// Where it happened.
    pub context: BTreeMap<String, String>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            code: error.kind().code(),
            message: error.chain(),
            hint: error.advice().map(words::in_python),
            retryable: error.retry_class() == Retry::AfterObserving,
            context: error.context().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        }
    }
}

impl Failure {
    /// The exception that says the same, of the class for its code.
    pub fn exception(&self, py: Python<'_>) -> PyErr {
        static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let Self { code, message, hint, retryable, context } = self.clone();
        let made = MAKE
            .import(py, "castle_py.exceptions", "error_of")
            .and_then(|make| make.call1((code, message, hint, retryable, context)));
        match made {
            Ok(error) => PyErr::from_value(error),
            Err(error) => error,
        }
    }
}

/// The exception for an error of castle.
pub fn raised(error: &Error) -> PyErr {
    Python::attach(|py| Failure::from(error).exception(py))
}

/// The stable names of all kinds of errors.
#[pyfunction]
pub fn error_codes() -> Vec<&'static str> {
    ErrorKind::ALL.iter().map(|kind| kind.code()).collect()
}

/// A hint in Python's words: flags of the command line as keywords.
#[pyfunction]
pub fn in_python(text: &str) -> String {
    words::in_python(text)
}

/// Has findings say their way out in Python's words.
pub fn spelled(problems: &mut [Problem]) {
    for problem in problems {
        problem.hint = problem.hint.as_deref().map(words::in_python);
    }
}

/// The exception for a declaration that is wrong, or what hindered its making.
pub fn refused(py: Python<'_>, file: &Path, text: &str, found: &[Problem]) -> PyErr {
    let snippet = found.iter().filter(|problem| problem.is_error()).find_map(|problem| problem.span);
    let snippet = snippet.and_then(|span| snippet_at(text, span));
    match problems(py, found) {
        Ok(problems) => ConfigError::new_err((problems.unbind(), file.display().to_string(), snippet)),
        Err(error) => error,
    }
}

/// Findings as objects of the Python class `Problem`.
///
/// # Errors
///
/// What Python raises if the package is damaged.
pub fn problems<'py>(py: Python<'py>, found: &[Problem]) -> PyResult<Bound<'py, PyList>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = CLASS.import(py, "castle_py.exceptions", "Problem")?;
    let problems = found.iter().map(|problem| {
        let severity = match problem.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let (line, column) = problem.span.map(|span| (span.line, span.column)).unzip();
        let hint = problem.hint.as_deref().map(words::in_python);
        class.call1((problem.code, severity, &problem.subject, &problem.message, hint, line, column))
    });
    PyList::new(py, problems.collect::<PyResult<Vec<_>>>()?)
}

/// The line of a place with its number, and a mark under the column.
fn snippet_at(text: &str, span: Span) -> Option<String> {
    /// More of a line than a terminal shows helps nobody.
    const LONGEST: usize = 160;
    let line = text.lines().nth(span.line.checked_sub(1)?)?;
    let line: String =
        line.chars().take(LONGEST).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    let indent = " ".repeat(span.column.saturating_sub(1).min(LONGEST));
    Some(format!("{:>5} | {line}\n      | {indent}^", span.line))
}
