//! Who tells Python that a task is over.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

use castle_core::{Error, ErrorKind, Result};
use pyo3::prelude::*;

use crate::gate::call_in;

/// Calls listeners of Python, on a thread of its own.
///
/// Whoever calls Python waits for the interpreter, and somebody may hold that for as
/// long as he likes: a lab that waited for it would stand still meanwhile, and its
/// watchdog would take that for a hang and end the process. So no lab's thread ever
/// touches the interpreter; it hands the listener over and goes on.
#[derive(Debug, Default)]
pub struct Teller {
    line: Mutex<Option<Sender<Py<PyAny>>>>,
}

impl Teller {
    /// Where listeners are handed over. The thread begins with the first call, and
    /// ends when the last line is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`] if the operating system gives no thread.
    pub fn line(&self) -> Result<Sender<Py<PyAny>>> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = &*line {
            return Ok(line.clone());
        }
        let (begun, inbox) = channel();
        let tell_all = move || inbox.into_iter().for_each(|listener| call_in(|py| call(py, listener)));
        Builder::new()
            .name("castle teller".into())
            .spawn(tell_all)
            .map_err(|error| Error::new(ErrorKind::Exhausted, "the system gives no thread").caused_by(error))?;
        Ok(line.insert(begun).clone())
    }
}

/// Calls a listener. What it raises is told where Python tells such things.
pub fn call(py: Python<'_>, listener: Py<PyAny>) {
    if let Err(error) = listener.call0(py) {
        error.write_unraisable(py, Some(listener.bind(py)));
    }
}
