//! Threads, runtimes and real time: the only module of the lab that may use them
//! directly.
//!
//! In virtual time the lab and the engine live on one current-thread runtime
//! with a paused clock, on a thread of its own. Three things follow from how
//! such a clock works, and each has a test in `tests/floor_time.rs`:
//!
//! * When nothing is left to do, time jumps to the next timer. A thread or a
//!   process outside the runtime does not count as something to do, so a
//!   deadline expires while it works; `spawn_blocking` does count.
//! * A runtime that is driven without a job runs ahead for ever. So with no job,
//!   [`VirtualThread`] leaves the runtime and waits outside.
//! * What waits for something that never comes burns no CPU and says nothing. A
//!   watchdog in real time says it and ends the process.
#![allow(clippy::disallowed_methods)]

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use castle_core::{Error, ErrorKind, Pace, Result};
use tokio::runtime::{Builder, Runtime};

use crate::lab::{Lab, LabBuilder};
use crate::world::World;

/// Real time without any progress after which the watchdog ends the process.
pub const WATCHDOG_LIMIT: Duration = Duration::from_secs(20);

/// Debug code of async state machines needs more than the usual 2 MiB.
const STACK_BYTES: usize = 8 << 20;

/// How a run that may be cut came to its end.
#[derive(Debug)]
pub enum Outcome<T> {
    /// The power was cut: the engine and everything it had died, the home is
    /// left as it was.
    Cut(World),
    /// The engine came to its end.
    Done(T, World),
}

/// Runs a future in virtual time and returns its value.
///
/// # Panics
///
/// With the panic of the future, if it panics.
pub fn run_virtual<F, Fut, T>(future: F) -> T
where
    F: FnOnce() -> Fut + Send,
    Fut: Future<Output = T>,
    T: Send,
{
    run_virtual_watched(WATCHDOG_LIMIT, future)
}

/// [`run_virtual`] with a watchdog of another patience.
///
/// # Panics
///
/// With the panic of the future, if it panics.
pub fn run_virtual_watched<F, Fut, T>(limit: Duration, future: F) -> T
where
    F: FnOnce() -> Fut + Send,
    Fut: Future<Output = T>,
    T: Send,
{
    on_own_thread("castle-lab virtual", || {
        let progress = Progress::install();
        // Declared first, so it also watches the end of the runtime, which waits
        // for blocking work.
        let watchdog = Watchdog::start(limit, Arc::clone(&progress));
        let _watching = watchdog.watch();
        paused_runtime(&progress).block_on(future())
    })
}

/// Runs a future at the machine's own pace on a current-thread runtime: for
/// `Scaled` and `Real` labs.
///
/// # Panics
///
/// With the panic of the future, if it panics.
pub fn run_scaled<F, Fut, T>(future: F) -> T
where
    F: FnOnce() -> Fut + Send,
    Fut: Future<Output = T>,
    T: Send,
{
    on_own_thread("castle-lab", || plain_runtime().block_on(future()))
}

/// Runs an engine against a lab until it is done or a fault cuts its power.
///
/// At a cut the whole runtime is dropped with everything on it: a future that is
/// merely forgotten leaves its spawned tasks running. The world alone is carried
/// out; give it to the next lab by [`LabBuilder::world`].
///
/// # Errors
///
/// Those of [`LabBuilder::start`]; [`ErrorKind::Unsupported`] if the lab's pace
/// is not virtual.
///
/// # Panics
///
/// With the panic of the engine, if it panics.
pub fn run_virtual_until_cut<F, Fut, T>(lab: LabBuilder, engine: F) -> Result<Outcome<T>>
where
    F: FnOnce(Arc<Lab>) -> Fut + Send,
    Fut: Future<Output = T>,
    T: Send,
{
    if lab.pace_is() != Pace::Virtual {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("a lab of pace `{}` has no virtual time", lab.pace_is()),
        )
        .hint("build the lab with `pace(Pace::Virtual)`"));
    }
    on_own_thread("castle-lab virtual", || {
        let progress = Progress::install();
        let watchdog = Watchdog::start(WATCHDOG_LIMIT, Arc::clone(&progress));
        let _watching = watchdog.watch();
        let runtime = paused_runtime(&progress);
        let (floor, done) = runtime.block_on(async {
            let lab = Arc::new(lab.start().await?);
            let floor = lab.floor();
            let done = tokio::select! {
                biased;
                _ = lab.cut_happened() => None,
                value = engine(Arc::clone(&lab)) => Some(value),
            };
            // The clock is readable in here only: outside, tokio's is the machine's.
            floor.with_world(|_| ());
            // An engine that ended in the very turn of the cut was cut.
            let done = if floor.was_cut() { None } else { done };
            Ok::<_, Error>((floor, done))
        })?;
        // Everything that the engine had goes here: tasks, sockets, timers.
        drop(runtime);
        let world = floor.take_world().ok_or_else(|| {
            Error::new(ErrorKind::Unexpected, "the engine took the lab's world out itself")
                .hint("leave `Lab::into_world` to `run_virtual_until_cut`")
        })?;
        Ok(match done {
            Some(value) => Outcome::Done(value, world),
            None => Outcome::Cut(world),
        })
    })
}

/// A thread with a paused runtime that outlives one job: a lab that is started
/// in one job stands still until the next.
///
/// ```
/// use castle_core::{Clock, Pace};
/// use castle_lab::runtime::VirtualThread;
/// use std::time::Duration;
///
/// let thread = VirtualThread::start();
/// let clock = thread.run(|| async { Clock::new(Pace::Virtual) });
/// let asleep = clock.clone();
/// thread.run(move || async move { asleep.sleep(Duration::from_secs(3600)).await });
/// assert_eq!(thread.run(move || async move { clock.elapsed().as_secs() }), 3600);
/// ```
#[derive(Debug)]
pub struct VirtualThread {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

type Job = Box<dyn FnOnce(&Runtime) + Send>;

impl VirtualThread {
    /// Starts the thread.
    ///
    /// # Panics
    ///
    /// If the operating system gives no thread.
    #[must_use]
    pub fn start() -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let thread = thread::Builder::new()
            .name("castle-lab virtual".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let progress = Progress::install();
                let watchdog = Watchdog::start(WATCHDOG_LIMIT, Arc::clone(&progress));
                let runtime = paused_runtime(&progress);
                // Waits outside the runtime: between jobs virtual time stands still.
                for job in inbox {
                    let _watching = watchdog.watch();
                    job(&runtime);
                }
            })
            .expect("the operating system gives a thread");
        Self { jobs: Some(jobs), thread: Some(thread) }
    }

    /// Runs a job to its end. The calling thread waits; do not call it from
    /// inside a job.
    ///
    /// # Panics
    ///
    /// With the panic of the job, if it panics.
    pub fn run<F, Fut, T>(&self, job: F) -> T
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let (done, value) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |runtime| {
            let value = catch_unwind(AssertUnwindSafe(|| runtime.block_on(job())));
            // The caller waits for it below.
            let _ = done.send(value);
        });
        let jobs = self.jobs.as_ref().expect("jobs are taken until the thread is dropped");
        jobs.send(job).expect("the thread serves jobs until it is dropped");
        value.recv().expect("every job sends its value").unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Drop for VirtualThread {
    fn drop(&mut self) {
        self.jobs = None;
        // Jobs catch their panics, so a failure here is the end of the runtime,
        // which was printed; a second panic would abort.
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of a virtual lab panicked at its end");
        }
    }
}

/// Moves virtual time while blocking work holds it. Timers on the way fire.
///
/// A server whose client sits in `spawn_blocking` must not sleep, for the
/// sleep would wait for the client and the client for the server: it moves time
/// itself. One at a time, else they move it twice.
///
/// # Panics
///
/// Outside a virtual runtime.
pub async fn push_time(by: Duration) {
    tokio::time::advance(by).await;
}

/// Says that the lab moved. Called on the lab's thread; elsewhere it does
/// nothing.
pub(crate) fn progressed(note: impl FnOnce() -> String) {
    PROGRESS.with_borrow(|progress| {
        if let Some(progress) = progress {
            progress.turn();
            *progress.last.lock().unwrap_or_else(PoisonError::into_inner) = note();
        }
    });
}

thread_local! {
    static PROGRESS: RefCell<Option<Arc<Progress>>> = const { RefCell::new(None) };
}

/// Whether a lab's thread moves.
#[derive(Debug, Default)]
struct Progress {
    /// Turns of the runtime and entries of the journal.
    turns: AtomicU64,
    /// The last request, for the dump.
    last: Mutex<String>,
}

impl Progress {
    fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Makes the progress of this thread.
    fn install() -> Arc<Self> {
        let progress = Arc::new(Self::default());
        PROGRESS.set(Some(Arc::clone(&progress)));
        progress
    }
}

/// A thread in real time that ends the process when a lab hangs.
#[derive(Debug)]
struct Watchdog {
    armed: Arc<AtomicBool>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The watchdog is awake while this lives.
struct Watching<'a>(&'a Watchdog);

impl Watchdog {
    /// Counted in ticks and not by a clock, so a machine that sleeps, or a
    /// process that is stopped by hand, costs one tick.
    const TICKS: u32 = 20;

    fn start(limit: Duration, progress: Arc<Progress>) -> Self {
        let armed = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = mpsc::channel::<()>();
        let is_armed = Arc::clone(&armed);
        let thread = thread::Builder::new()
            .name("castle-lab watchdog".into())
            .spawn(move || {
                let (mut seen, mut still) = (0, 0);
                while stopped.recv_timeout(limit / Self::TICKS) == Err(mpsc::RecvTimeoutError::Timeout) {
                    let turns = progress.turns.load(Ordering::Relaxed);
                    if turns != seen || !is_armed.load(Ordering::SeqCst) {
                        (seen, still) = (turns, 0);
                        continue;
                    }
                    still += 1;
                    if still >= Self::TICKS {
                        dump_and_abort(limit, turns, &progress);
                    }
                }
            })
            .expect("the operating system gives a thread");
        Self { armed, stop: Some(stop), thread: Some(thread) }
    }

    fn watch(&self) -> Watching<'_> {
        self.armed.store(true, Ordering::SeqCst);
        Watching(self)
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.armed.store(false, Ordering::SeqCst);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the watchdog of a virtual lab panicked");
        }
    }
}

/// The last words. Written to the stream itself: what goes through `eprintln` in
/// a test is captured, and would be lost with the process.
fn dump_and_abort(limit: Duration, turns: u64, progress: &Progress) -> ! {
    let last = progress.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let words = format!(
        "castle-lab watchdog: no progress for {:.1} s of real time after {turns} turns of the runtime.\n\
         Something waits for what never comes: a lock held across a wait, a blocking call that waits for virtual\n\
         time, or a future that nobody wakes.\n\
         last request: {}\n",
        limit.as_secs_f64(),
        if last.is_empty() { "none" } else { &last },
    );
    // Nobody is left who could be told that stderr is closed.
    let _ = std::io::stderr().write_all(words.as_bytes());
    std::process::abort()
}

/// A current-thread runtime whose clock is paused, and which counts its turns.
fn paused_runtime(progress: &Arc<Progress>) -> Runtime {
    let (parked, unparked) = (Arc::clone(progress), Arc::clone(progress));
    Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .on_thread_park(move || parked.turn())
        .on_thread_unpark(move || unparked.turn())
        .build()
        .expect("the operating system gives a runtime its file handles")
}

fn plain_runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("the operating system gives a runtime its file handles")
}

/// Runs `work` on a thread of its own and waits for it; a panic goes on here.
fn on_own_thread<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    let outcome: std::result::Result<T, Box<dyn Any + Send>> = thread::scope(|scope| {
        thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .expect("the operating system gives a thread")
            .join()
    });
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}
