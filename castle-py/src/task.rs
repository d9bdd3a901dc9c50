//! Work under way on a home's thread, as Python waits for it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use castle_core::{Error, ErrorKind, Result};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::error::raised;
use crate::process::Process;
use crate::teller::{Teller, call};

/// How often Python is asked for signals while somebody blocks. The work ends soon
/// after it is stopped, so Ctrl-C is obeyed within 0.3 s with room to spare.
const POLL: Duration = Duration::from_millis(20);

/// Makes the Python value of a result, once somebody who holds the interpreter asks.
pub type Produce = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// A value of Rust that becomes an object when it is asked for.
pub fn produce<T>(value: T) -> Produce
where
    T: for<'py> IntoPyObject<'py> + Send + 'static,
{
    Box::new(move |py| value.into_py_any(py))
}

#[derive(Default)]
struct State {
    outcome: Option<Result<Produce>>,
    is_over: bool,
    /// Who is to be told, and where that is handed over.
    listener: Option<(Py<PyAny>, Sender<Py<PyAny>>)>,
}

/// Where the result of a job is put.
#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    changed: Condvar,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for so long at most; whether it is over.
    fn wait(&self, limit: Duration) -> bool {
        let state = self.state();
        if state.is_over {
            return true;
        }
        let (state, _) = self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner);
        state.is_over
    }
}

/// What a job holds of its task. However the job ends, dropped or panicking, who
/// waits is told.
pub struct Ending {
    slot: Arc<Slot>,
    busy: Option<Arc<AtomicBool>>,
    outcome: Option<Result<Produce>>,
}

impl Ending {
    /// The result; told when this is dropped.
    pub fn of(mut self, outcome: Result<Produce>) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Unexpected, "the work ended without a result")
                .hint("the lab was closed meanwhile, or castle has a fault: what was printed above says which"))
        });
        if let Some(busy) = &self.busy {
            busy.store(false, Ordering::SeqCst);
        }
        let listener = {
            let mut state = self.slot.state();
            state.outcome = Some(outcome);
            state.is_over = true;
            state.listener.take()
        };
        self.slot.changed.notify_all();
        if let Some((listener, line)) = listener {
            // Not here: whoever calls Python waits for the interpreter, and this is a
            // lab's thread. The teller listens as long as there is a line.
            let _ = line.send(listener);
        }
    }
}

/// Work under way on a home's thread. It goes on whether or not somebody waits.
#[pyclass(frozen, module = "castle_py._castle")]
pub struct Task {
    slot: Arc<Slot>,
    stop: CancellationToken,
    teller: Arc<Teller>,
    process: Process,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("is_over", &self.slot.state().is_over).finish_non_exhaustive()
    }
}

impl Task {
    /// A task, and what its job ends it with. `busy` is lowered at its end, which the
    /// teller tells.
    pub fn new(stop: CancellationToken, busy: Option<Arc<AtomicBool>>, teller: Arc<Teller>) -> (Self, Ending) {
        let slot = Arc::<Slot>::default();
        let task = Self { slot: Arc::clone(&slot), stop, teller, process: Process::here() };
        (task, Ending { slot, busy, outcome: None })
    }
}

#[pymethods]
impl Task {
    /// Calls `listener()` once it is over, on another thread; at once if it is.
    fn when_done(&self, py: Python<'_>, listener: Py<PyAny>) -> PyResult<()> {
        let line = self.teller.line().map_err(|error| raised(&error))?;
        let now = {
            let mut state = self.slot.state();
            if state.is_over {
                Some(listener)
            } else {
                state.listener = Some((listener, line));
                None
            }
        };
        if let Some(listener) = now {
            call(py, listener);
        }
        Ok(())
    }

    /// Waits, with the interpreter free for other threads. A signal whose handler
    /// raises (Ctrl-C) stops the work, and is raised; so does what `interrupted`
    /// raises, which is asked as often, for handlers that only take a note.
    #[pyo3(signature = (interrupted=None))]
    pub fn wait(&self, py: Python<'_>, interrupted: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.process.check().map_err(|error| raised(&error))?;
        let mut raised = None;
        while !py.detach(|| self.slot.wait(POLL)) {
            if raised.is_some() {
                continue;
            }
            let asked = || interrupted.map_or(Ok(()), |ask| ask.call0().map(drop));
            if let Err(error) = py.check_signals().and_then(|()| asked()) {
                self.stop.cancel();
                raised = Some(error);
            }
        }
        raised.map_or(Ok(()), Err)
    }

    /// Drops the work as a power cut would, and waits until it is gone.
    fn cancel(&self, py: Python<'_>) {
        if !self.process.is_here() {
            return;
        }
        self.stop.cancel();
        py.detach(|| while !self.slot.wait(POLL) {});
    }

    /// The result, once: raises what the work failed with.
    pub fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let outcome = self.slot.state().outcome.take().unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Conflict, "the result is not there yet, or was taken").hint("await it once"))
        });
        outcome.map_err(|error| raised(&error))?(py)
    }
}
