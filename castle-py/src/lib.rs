//! Python's way into castle: the native half of the package `castle_py`.
//!
//! Each class wraps a value of the Rust crates and adds nothing that a user of
//! Rust would miss. Every class is frozen: what Python holds was true when it
//! was made. What takes time goes through `runtime::enter`, the one door that
//! lets other Python threads run and hears Ctrl-C.

mod error;
mod lab;
mod machine;
mod project;
mod record;
mod report;
mod runtime;
mod status;
mod wiring;

use pyo3::prelude::*;

#[pymodule]
mod _castle {
    #[pymodule_export]
    use crate::lab::Lab;
    #[pymodule_export]
    use crate::machine::Machine;
    #[pymodule_export]
    use crate::project::{Cluster, Project};
    #[pymodule_export]
    use crate::report::Report;
    #[pymodule_export]
    use crate::status::{MachineStatus, Status};

    #[pymodule_export]
    #[allow(non_upper_case_globals)] // Python's name for it
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
