//! Python's way into castle: the native half of the package `castle_py`.
//!
//! Each class wraps a value of the Rust crates and adds nothing that a user of
//! Rust would miss. Every class is frozen: what Python holds was true when it was
//! made. What takes time is a `Task` on the thread of a `Home`: Python blocks on it
//! (`castle_py.sync`) or is told when it is over (asyncio), and no third runtime
//! stands between.

mod choices;
mod course;
mod error;
mod gate;
mod home;
mod machine;
#[path = "../../examples/castle/mapped.rs"] // one text for both programs that hand credentials out
mod mapped;
mod place;
mod plan;
mod process;
mod project;
mod record;
mod report;
mod served;
mod status;
mod task;
mod teller;
mod thread;
mod wiring;
mod words;

use pyo3::prelude::*;

#[pymodule]
mod _castle {
    #[pymodule_export]
    use crate::course::Course;
    #[pymodule_export]
    use crate::error::{error_codes, in_python};
    #[pymodule_export]
    use crate::home::Home;
    #[pymodule_export]
    use crate::machine::Machine;
    #[pymodule_export]
    use crate::plan::Plan;
    #[pymodule_export]
    use crate::project::{Cluster, Project};
    #[pymodule_export]
    use crate::report::Report;
    #[pymodule_export]
    use crate::status::{MachineStatus, Status};
    #[pymodule_export]
    use crate::task::Task;

    #[pymodule_export]
    #[allow(non_upper_case_globals)] // Python's name for it
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        crate::gate::close_at_exit(module)
    }
}
