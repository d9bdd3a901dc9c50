//! The gate between the homes' threads and an interpreter that ends.
//!
//! A thread that calls Python while the interpreter ends is killed by it in the
//! middle of Rust's frames, which aborts the process. So the last thing that the
//! interpreter does before it ends is to close this gate: it waits for the calls
//! that are inside, and lets no other in.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

struct Gate {
    state: Mutex<State>,
    left: Condvar,
}

struct State {
    is_closed: bool,
    inside: usize,
}

static GATE: Gate = Gate { state: Mutex::new(State { is_closed: false, inside: 0 }), left: Condvar::new() };

fn state() -> MutexGuard<'static, State> {
    GATE.state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls Python from a thread that is not Python's, unless the interpreter ends.
pub fn call_in(call: impl FnOnce(Python<'_>)) {
    {
        let mut state = state();
        if state.is_closed {
            return;
        }
        state.inside += 1;
    }
    // Leaves also when the call panics.
    struct Inside;
    impl Drop for Inside {
        fn drop(&mut self) {
            state().inside -= 1;
            GATE.left.notify_all();
        }
    }
    let _inside = Inside;
    Python::try_attach(call);
}

/// Closes the gate for ever. Called by the interpreter before it ends.
#[pyfunction]
fn close_gate(py: Python<'_>) {
    py.detach(|| {
        let mut state = state();
        state.is_closed = true;
        while state.inside > 0 {
            state = GATE.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    });
}

/// Has the interpreter close the gate before it ends.
///
/// # Errors
///
/// What Python raises if it is damaged.
pub fn close_at_exit(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let close = wrap_pyfunction!(close_gate, module)?;
    module.py().import("atexit")?.call_method1("register", (close,))?;
    Ok(())
}
