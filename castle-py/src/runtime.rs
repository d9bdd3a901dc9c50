//! The door between Python and work that takes time.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;
use tokio_util::sync::CancellationToken;

/// How often Python is asked for signals. The work ends soon after it is
/// stopped, so Ctrl-C is obeyed within 0.3 s with room to spare.
const POLL: Duration = Duration::from_millis(20);

/// Runs `work` on a thread of its own, with the interpreter free for other
/// threads, and returns its value.
///
/// # Cancellation
///
/// A signal whose handler raises (Ctrl-C) cancels `stop`; `work` must end soon
/// after that, and is waited for.
///
/// # Errors
///
/// What the signal handler raised.
///
/// # Panics
///
/// With the panic of `work`, which Python sees as an exception.
pub fn enter<T, F>(py: Python<'_>, stop: &CancellationToken, work: F) -> PyResult<T>
where
    T: Send,
    F: FnOnce() -> T + Send,
{
    py.detach(|| {
        thread::scope(|scope| {
            let (working, ended) = sync_channel::<()>(0);
            let worker = scope.spawn(move || {
                // Nothing is ever sent: it goes, also by a panic, when the work is over.
                let _working = working;
                work()
            });
            let mut raised = None;
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(POLL) {
                if raised.is_none() {
                    raised = Python::attach(|py| py.check_signals()).err();
                    if raised.is_some() {
                        stop.cancel();
                    }
                }
            }
            let value = worker.join().unwrap_or_else(|panic| resume_unwind(panic));
            raised.map_or(Ok(value), Err)
        })
    })
}
