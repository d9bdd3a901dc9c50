//! The thread on which a home lives, and the work that is done there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

use castle_core::{Error, ErrorKind, Pace, Result};
use castle_lab::runtime::{VirtualThread, run_scaled};
use futures::future::{FutureExt, LocalBoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// One piece of work: a future that is made, and lives, on the home's thread.
pub type Job = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

/// A thread with a runtime, which does one job after the other in virtual time
/// and all of them at once at any other pace.
///
/// Between the jobs virtual time stands still; at any other pace the runtime is
/// always driven, because others outside reckon with it.
#[derive(Debug)]
pub struct Thread {
    jobs: Option<UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`] if the operating system gives no thread.
    pub fn start(pace: Pace) -> Result<Self> {
        let (jobs, inbox) = unbounded_channel();
        let live = move || if pace == Pace::Virtual { live_stepwise(inbox) } else { live_driven(inbox) };
        let thread = Builder::new()
            .name("castle".into())
            .spawn(live)
            .map_err(|error| Error::new(ErrorKind::Exhausted, "the system gives no thread").caused_by(error))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Hands a job over. It is dropped undone if the thread has ended.
    pub fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Who dropped the receiver is gone, and so is the job: its slot says so.
            let _ = jobs.send(job);
        }
    }

    /// Ends the thread and waits for it. Hold no lock that a job may want, and not
    /// the interpreter.
    pub fn end(mut self) {
        self.jobs = None;
        // A panic was told where it happened, and nothing is left that it could harm.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn live_stepwise(mut inbox: UnboundedReceiver<Job>) {
    let thread = VirtualThread::start();
    while let Some(job) = inbox.blocking_recv() {
        // A panic was told where it happened; the job's slot tells who waits.
        let _ = catch_unwind(AssertUnwindSafe(|| thread.run(job)));
    }
}

fn live_driven(mut inbox: UnboundedReceiver<Job>) {
    run_scaled(|| async move {
        let mut working = FuturesUnordered::new();
        loop {
            tokio::select! {
                job = inbox.recv() => match job {
                    Some(job) => working.push(AssertUnwindSafe(job()).catch_unwind()),
                    None => return,
                },
                Some(_) = working.next(), if !working.is_empty() => {}
            }
        }
    });
}
