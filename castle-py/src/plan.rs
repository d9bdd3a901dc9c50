//! What should happen, before anything does.

use castle_core::RequestCounts;
use pyo3::prelude::*;
use pyo3::types::PyList;
use serde::Serialize;

use crate::error::problems;
use crate::record::plain;

/// What should happen for a goal. Nothing was done for it.
#[pyclass(frozen, eq, module = "castle_py")]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    #[serde(flatten)]
    plan: castle_core::Plan,
    requests: RequestCounts,
}

impl Plan {
    /// Keeps a plan beside what looking cost.
    pub fn new(plan: castle_core::Plan, requests: RequestCounts) -> Self {
        Self { plan, requests }
    }
}

#[pymethods]
impl Plan {
    /// What it is for.
    #[getter]
    fn goal(&self) -> &'static str {
        self.plan.goal.name()
    }

    /// The life that it concerns, if any.
    #[getter]
    fn life(&self) -> Option<u32> {
        self.plan.life
    }

    /// Whether the world already is as wanted.
    #[getter]
    fn is_done(&self) -> bool {
        self.plan.is_done()
    }

    /// Whether a problem refuses it.
    #[getter]
    fn is_refused(&self) -> bool {
        self.plan.is_refused()
    }

    /// One line: how many machines are added, changed, destroyed.
    #[getter]
    fn summary(&self) -> String {
        self.plan.summary()
    }

    /// The differences, as records.
    #[getter]
    fn changes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let rows: Vec<_> = self
            .plan
            .changes
            .iter()
            .map(|change| {
                serde_json::json!({
                    "symbol": change.symbol.to_string(),
                    "subject": change.subject,
                    "disruption": change.disruption,
                    "detail": change.detail,
                })
            })
            .collect();
        plain(py, &rows)
    }

    /// The steps as records, those first that others wait for.
    fn records<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let rows: Vec<_> = self
            .plan
            .steps
            .iter()
            .map(|step| {
                serde_json::json!({
                    "id": step.id,
                    "needs": step.needs,
                    "limit": step.limit,
                    "deadline": step.deadline.as_secs_f64(),
                    "because": step.because,
                })
            })
            .collect();
        plain(py, &rows)
    }

    /// Everything that is wrong or worth knowing.
    #[getter]
    fn problems<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        problems(py, &self.plan.problems)
    }

    /// What looking cost, for each backend.
    #[getter]
    fn requests<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, &self.requests)
    }

    /// The plan as a dictionary that JSON can hold.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, self)
    }

    fn __str__(&self) -> String {
        self.plan.to_string()
    }

    fn __repr__(&self) -> String {
        let state = if self.plan.is_refused() { "refused" } else { "ready" };
        let state = if self.plan.is_done() && !self.plan.is_refused() { "nothing to do" } else { state };
        format!("<Plan {}: {state}, {} steps. {}>", self.goal(), self.plan.steps.len(), self.plan.summary())
    }

    fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<String> {
        slf.py().import("castle_py.notebook")?.call_method1("plan_html", (slf,))?.extract()
    }
}
