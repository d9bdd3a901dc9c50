//! The process that something of castle was made in.

use castle_core::{Error, ErrorKind, Result};

/// The process that a home was opened in. A fork copies what it holds and none of the
/// threads that it lives on: what the child waits for would never come, and what it
/// drops (sockets, the set of events that the parent waits on) is the parent's too.
/// So a child leaves all of it as it is.
#[derive(Debug, Clone, Copy)]
pub struct Process(u32);

impl Process {
    /// The one that runs this.
    pub fn here() -> Self {
        Self(std::process::id())
    }

    /// Whether it still is the one that runs this.
    pub fn is_here(self) -> bool {
        self.0 == std::process::id()
    }

    /// Refuses work for what another process opened.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] in a child that was forked off.
    pub fn check(self) -> Result<()> {
        if self.is_here() {
            return Ok(());
        }
        let told = format!("this lab belongs to process {}, and a fork takes none of its threads along", self.0);
        Err(Error::new(ErrorKind::Unsupported, told)
            .with("process", std::process::id())
            .hint("open one here, or start this process by `multiprocessing.get_context(\"spawn\")`"))
    }
}
