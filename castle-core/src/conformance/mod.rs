//! The suites that every implementation of a port must pass.
//!
//! One public function for each rule of the tables in
//! [`port::secrets`](crate::port::secrets),
//! [`port::machines`](crate::port::machines) and
//! [`port::gitops`](crate::port::gitops), under the rule's name. A broken rule
//! panics with the whole picture; `all` keeps a list of the rules that held.
//!
//! A suite knows a backend only through its harness, which makes the weather:
//! strangers, remains, silence.

pub mod gitops;
pub mod machines;
pub mod secrets;

pub use gitops::HandoverHarness;
pub use machines::{MachinesHarness, Silence};
pub use secrets::SecretsHarness;

use crate::{Error, ErrorKind, Result};

/// What a rule expects to succeed.
#[track_caller]
fn done<T>(rule: &str, what: &str, result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{rule}: {what} failed: {}\n{error:#?}", error.chain()),
    }
}

/// What a rule expects to be refused, and as what.
#[track_caller]
fn refused<T: std::fmt::Debug>(rule: &str, what: &str, kind: ErrorKind, result: Result<T>) -> Error {
    match result {
        Err(error) if error.kind() == kind => error,
        Err(error) => {
            panic!("{rule}: {what} failed as {}, not as {kind}: {}\n{error:#?}", error.kind(), error.chain())
        }
        Ok(value) => panic!("{rule}: {what} succeeded where {kind} was due: {value:#?}"),
    }
}
