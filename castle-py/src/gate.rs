//! The gate between castle's threads and an interpreter that ends.
//!
//! A thread that calls Python while the interpreter ends is killed by it in the
//! middle of Rust's frames, which aborts the process. So the last thing that the
//! interpreter does before it ends is to close this gate: it waits for the calls
//! that are inside, and lets no other in.
//!
//! It is made of two numbers and no lock: a fork may come while another thread is
//! inside, and a lock that it held would stay closed in the child for ever.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

static IS_CLOSED: AtomicBool = AtomicBool::new(false);
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// How often who closes looks whether the last call has left. Each is one wake of an
/// event loop long.
const POLL: Duration = Duration::from_millis(1);

/// Calls Python from a thread that is not Python's, unless the interpreter ends.
pub fn call_in(call: impl FnOnce(Python<'_>)) {
    // Leaves also when the call panics.
    struct Inside;
    impl Drop for Inside {
        fn drop(&mut self) {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
        }
    }
    // First in, then look: who closes looks in the other order, and one sees the other.
    INSIDE.fetch_add(1, Ordering::SeqCst);
    let _inside = Inside;
    if !IS_CLOSED.load(Ordering::SeqCst) {
        Python::try_attach(call);
    }
}

/// Closes the gate for ever. Called by the interpreter before it ends.
#[pyfunction]
fn close_gate(py: Python<'_>) {
    py.detach(|| {
        IS_CLOSED.store(true, Ordering::SeqCst);
        while INSIDE.load(Ordering::SeqCst) > 0 {
            std::thread::park_timeout(POLL);
        }
    });
}

/// Forgets the calls of a parent's threads, which a fork did not take along.
#[pyfunction]
fn empty_gate() {
    INSIDE.store(0, Ordering::SeqCst);
}

/// Has the interpreter close the gate before it ends.
///
/// # Errors
///
/// What Python raises if it is damaged.
pub fn close_at_exit(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    py.import("atexit")?.call_method1("register", (wrap_pyfunction!(close_gate, module)?,))?;
    let in_child = PyDict::new(py);
    in_child.set_item("after_in_child", wrap_pyfunction!(empty_gate, module)?)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&in_child))?;
    Ok(())
}
