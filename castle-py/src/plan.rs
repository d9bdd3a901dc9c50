//! What should happen, before anything does.

use castle_core::plan::{Action, Disruption, PlannedStep};
use castle_core::{Goal, Problem, RequestCounts};
use pyo3::prelude::*;
use pyo3::types::PyList;
use serde::Serialize;

use crate::error::{problems, spelled};
use crate::record::plain;

/// What should happen for a goal. Nothing was done for it.
#[pyclass(frozen, eq, module = "castle_py")]
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    plan: castle_core::Plan,
    requests: RequestCounts,
}

impl Plan {
    /// Keeps a plan beside what looking cost.
    pub fn new(mut plan: castle_core::Plan, requests: RequestCounts) -> Self {
        spelled(&mut plan.problems);
        Self { plan, requests }
    }
}

/// What a plan says of itself as data: `changes` and `records()` are parts of it.
#[derive(Serialize)]
struct Document<'a> {
    goal: Goal,
    life: Option<u32>,
    changes: Vec<Change<'a>>,
    steps: Vec<Step<'a>>,
    problems: &'a [Problem],
    requests: &'a RequestCounts,
}

#[derive(Serialize)]
struct Change<'a> {
    symbol: String,
    subject: &'a str,
    disruption: Disruption,
    detail: &'a str,
}

/// One step, its deadline in seconds.
#[derive(Serialize)]
struct Step<'a> {
    id: &'a str,
    action: &'a Action,
    needs: &'a [String],
    limit: Option<&'a str>,
    deadline: f64,
    because: &'a str,
}

impl<'a> From<&'a castle_core::plan::Change> for Change<'a> {
    fn from(change: &'a castle_core::plan::Change) -> Self {
        Self {
            symbol: change.symbol.to_string(),
            subject: &change.subject,
            disruption: change.disruption,
            detail: &change.detail,
        }
    }
}

impl<'a> From<&'a PlannedStep> for Step<'a> {
    fn from(step: &'a PlannedStep) -> Self {
        Self {
            id: &step.id,
            action: &step.action,
            needs: &step.needs,
            limit: step.limit.as_deref(),
            deadline: step.deadline.as_secs_f64(),
            because: &step.because,
        }
    }
}

impl Plan {
    fn document(&self) -> Document<'_> {
        let castle_core::Plan { goal, life, changes, steps, problems, .. } = &self.plan;
        Document {
            goal: *goal,
            life: *life,
            changes: changes.iter().map(Change::from).collect(),
            steps: steps.iter().map(Step::from).collect(),
            problems,
            requests: &self.requests,
        }
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
        plain(py, &self.document().changes)
    }

    /// The steps as records, those first that others wait for.
    fn records<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, &self.document().steps)
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
        plain(py, &self.document())
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
