//! The result of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use castle_core::{Goal, Outcome, Problem, RequestCounts, StepOutcome};
use pyo3::prelude::*;
use pyo3::types::PyList;
use serde::Serialize;

use crate::error::{Failure, problems, spelled};
use crate::record::plain;

/// One step as it ran, in seconds since the run began.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Step {
    id: String,
    start: f64,
    end: f64,
    outcome: StepOutcome,
    critical: bool,
    waits: Vec<String>,
}

/// What a run came to, what it cost, and where the time went.
#[pyclass(frozen, eq, module = "castle_py")]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    goal: Goal,
    outcome: Outcome,
    simulated_seconds: f64,
    ideal_seconds: Option<f64>,
    requests: RequestCounts,
    milestones: BTreeMap<String, f64>,
    steps: Vec<Step>,
    critical_path: Vec<String>,
    problems: Vec<Problem>,
    left: Vec<String>,
    rounds: u32,
    error: Option<Failure>,
}

impl Report {
    /// Keeps what `report` says, beside the ideal time that was computed before
    /// the run.
    pub fn new(mut report: castle_core::Report, ideal: Option<Duration>) -> Self {
        spelled(&mut report.problems);
        // Where nothing had to be done there was no way to go.
        let ideal = ideal.filter(|_| !report.timeline.steps.is_empty());
        let steps = report.timeline.steps.into_iter().map(|step| Step {
            id: step.id,
            start: seconds(Duration::from_millis(step.start_ms)),
            end: seconds(Duration::from_millis(step.end_ms)),
            outcome: step.outcome,
            critical: step.critical,
            waits: step.waits,
        });
        Self {
            goal: report.goal,
            outcome: report.outcome,
            simulated_seconds: seconds(report.took),
            ideal_seconds: ideal.map(seconds),
            requests: report.requests,
            milestones: report.milestones.into_iter().map(|(name, at)| (name, seconds(at))).collect(),
            steps: steps.collect(),
            critical_path: report.timeline.critical_path,
            problems: report.problems,
            left: report.left,
            rounds: report.rounds,
            error: report.error.as_ref().map(Failure::from),
        }
    }

    /// Why the goal was not reached, if it was not.
    fn failure(&self) -> Option<Failure> {
        if self.outcome == Outcome::Ok {
            return None;
        }
        Some(self.error.clone().unwrap_or_else(|| {
            let mut found: Vec<_> = self.problems.iter().filter(|problem| problem.is_error()).collect();
            if found.is_empty() {
                // A destroy is refused by what it leaves alone, which refuses no plan.
                found = self.problems.iter().collect();
            }
            let told: Vec<_> = found.iter().map(ToString::to_string).collect();
            Failure {
                code: self.outcome(),
                message: format!("{} was {}: {}", self.goal, self.outcome(), told.join("; ")),
                hint: found.iter().find_map(|problem| problem.hint.clone()),
                retryable: false,
                context: BTreeMap::new(),
            }
        }))
    }
}

/// Seconds to the millisecond, which is as fine as events are.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[pymethods]
impl Report {
    /// What the run was for: `create`, `handover`, `rebirth` or `destroy`.
    #[getter]
    fn goal(&self) -> String {
        self.goal.to_string()
    }

    /// How it ended: `ok`, `failed`, `refused` or `cancelled`.
    #[getter]
    fn outcome(&self) -> &'static str {
        match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Failed => "failed",
            Outcome::Refused => "refused",
            Outcome::Cancelled => "cancelled",
        }
    }

    /// How long it took in the lab's time.
    #[getter]
    fn simulated_seconds(&self) -> f64 {
        self.simulated_seconds
    }

    /// The shortest time that the lab's physics allow, computed before the run.
    /// `None` where it says nothing: something stood already, or was gone.
    #[getter]
    fn ideal_seconds(&self) -> Option<f64> {
        self.ideal_seconds
    }

    /// Requests of each backend: how many only read, how many may have written.
    #[getter]
    fn requests<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, &self.requests)
    }

    /// When each milestone was reached, in seconds since the run began.
    #[getter]
    fn milestones(&self) -> BTreeMap<String, f64> {
        self.milestones.clone()
    }

    /// The steps in the order they began, as records: `id`, `start` and `end`
    /// in seconds, `outcome`, `critical`, `waits`.
    #[getter]
    fn steps<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, &self.steps)
    }

    /// The chain of steps that decided how long it took, first to last.
    #[getter]
    fn critical_path(&self) -> Vec<String> {
        self.critical_path.clone()
    }

    /// What was found on the way.
    #[getter]
    fn problems<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        problems(py, &self.problems)
    }

    /// Steps that remain to be done.
    #[getter]
    fn left(&self) -> Vec<String> {
        self.left.clone()
    }

    /// How often castle looked, planned and ran.
    #[getter]
    fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Why the goal was not reached; `None` if it was.
    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        Some(self.failure()?.exception(py).into_value(py).into_bound(py).into_any())
    }

    /// Raises [`error`](Self::error) if there is one, and else gives the report
    /// back.
    fn raise_for_outcome(slf: Bound<'_, Self>) -> PyResult<Py<Self>> {
        let Some(failure) = slf.get().failure() else { return Ok(slf.unbind()) };
        let py = slf.py();
        let error = failure.exception(py);
        error.value(py).setattr("report", slf)?;
        Err(error)
    }

    /// The steps as records for a data frame: the same as [`steps`](Self::steps),
    /// with `seconds` and `goal`.
    fn records<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let goal = self.goal.name();
        let row = |step: &Step| {
            serde_json::json!({
                "goal": goal,
                "id": step.id,
                "start": step.start,
                "end": step.end,
                "seconds": ((step.end - step.start) * 1000.0).round() / 1000.0,
                "outcome": step.outcome,
                "critical": step.critical,
                "waits": step.waits,
            })
        };
        plain(py, &self.steps.iter().map(row).collect::<Vec<_>>())
    }

    /// The report as a dictionary that JSON can hold.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, self)
    }

    fn __repr__(&self) -> String {
        let ideal = self.ideal_seconds.map_or_else(String::new, |ideal| format!(", ideal {ideal:.1} s"));
        let requests: String = self
            .requests
            .iter()
            .map(|(name, count)| format!("; {name} {} read, {} written", count.read, count.write))
            .collect();
        format!("<Report {} {}: {:.1} s{ideal}{requests}>", self.goal, self.outcome(), self.simulated_seconds)
    }

    fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<String> {
        slf.py().import("castle_py.notebook")?.call_method1("report_html", (slf,))?.extract()
    }
}
