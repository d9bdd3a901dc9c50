//! The simulated home, and a castle in it.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use castle_core::{Castle, Context, Error, ErrorKind, Goal, Project as Declared, Result, RunOptions};
use castle_lab::World;
use castle_lab::ideal::machines_ideal;
use castle_lab::runtime::VirtualThread;
use pyo3::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::error::raised;
use crate::project::Project;
use crate::report::Report;
use crate::runtime::enter;
use crate::status::Status;
use crate::wiring::open;

/// A simulated home in virtual time, and the castle of one project in it.
///
/// The home lives on a thread of its own and stands still between calls. Each
/// call is a new engine that knows nothing of the earlier ones: what it finds,
/// it finds by looking.
#[pyclass(frozen, module = "castle_py.sync")]
#[derive(Debug)]
pub struct Lab {
    project: Py<Project>,
    seed: u64,
    /// The virtual time at the end of the last call, in microseconds.
    now: Arc<AtomicU64>,
    /// Held by the call that is at work. `None` after [`Lab::close`].
    house: Mutex<Option<House>>,
}

/// The lab and its thread. The lab is dropped first: its servers are stopped
/// before the runtime that carries them ends.
#[derive(Debug)]
struct House {
    lab: Arc<castle_lab::Lab>,
    thread: VirtualThread,
}

/// What a call works with on the lab's thread.
struct Visit {
    project: Arc<Declared>,
    lab: Arc<castle_lab::Lab>,
    castle: Castle,
}

impl Lab {
    /// The house, for one call at a time.
    fn house(&self) -> Result<MutexGuard<'_, Option<House>>> {
        match self.house.try_lock() {
            Ok(house) => Ok(house),
            // The panic was told where it happened; the lab can still be closed.
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(Error::new(ErrorKind::Conflict, "the lab is at work for another thread")
                    .hint("one lab does one thing at a time: wait for the other call, or give each thread its own lab"))
            }
        }
    }

    /// Runs `job` on the lab's thread, with a new castle.
    ///
    /// An interrupted call dies as a process does in a power cut: the engine is
    /// dropped, and what it still had on the wire does not reach the world.
    fn visit<T, F, Fut>(&self, py: Python<'_>, job: F) -> PyResult<T>
    where
        T: Send + 'static,
        F: FnOnce(Visit) -> Fut + Send + 'static,
        Fut: Future<Output = T>,
    {
        let house = self.house().map_err(|error| raised(&error))?;
        let house = house
            .as_ref()
            .ok_or_else(|| raised(&Error::new(ErrorKind::Unsupported, "the lab is closed").hint("open a new one")))?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (project, lab, now) =
            (Arc::clone(&self.project.get().declared), Arc::clone(&house.lab), Arc::clone(&self.now));
        let work = move || async move {
            let run = lab.new_run();
            let castle = open(&project, &lab, run)?;
            let visit = Visit { project, lab: Arc::clone(&lab), castle };
            let value = tokio::select! {
                biased;
                () = stopped.cancelled() => {
                    lab.kill(run);
                    Err(Error::cancelled())
                }
                value = job(visit) => Ok(value),
            };
            now.store(micros(lab.clock().elapsed()), Ordering::Relaxed);
            value
        };
        enter(py, &stop, || house.thread.run(work))?.map_err(|error| raised(&error))
    }

    fn reach(&self, py: Python<'_>, goal: Goal) -> PyResult<Report> {
        self.visit(py, move |visit| async move {
            let ideal = visit.lab.with_world(|world| ideal(&visit.project, world, goal));
            Report::new(visit.castle.run(goal, RunOptions::default()).await, ideal)
        })
    }
}

/// The ideal time of `goal`. It is that of the whole way, so there is none
/// where a part of the way lies behind.
fn ideal(project: &Declared, world: &World, goal: Goal) -> Option<Duration> {
    let mut slots = project.machines.iter().map(|spec| world.proxmox.vms.get(&spec.id.get()));
    let ideal = machines_ideal(project, world);
    match goal {
        Goal::Create => slots.all(|slot| slot.is_none()).then_some(ideal.create),
        Goal::Destroy => slots.all(|slot| slot.is_some_and(|vm| vm.is_running())).then_some(ideal.destroy),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[pymethods]
impl Lab {
    #[new]
    #[pyo3(signature = (project, *, seed = 1))]
    fn new(py: Python<'_>, project: Py<Project>, seed: u64) -> PyResult<Self> {
        let declared = Arc::clone(&project.get().declared);
        // Nothing to stop: a lab opens in milliseconds.
        let house = enter(py, &CancellationToken::new(), || {
            let thread = VirtualThread::start();
            let lab =
                thread.run(move || async move { castle_lab::Lab::builder(&declared).seed(seed).start().await })?;
            Ok::<_, Error>(House { lab: Arc::new(lab), thread })
        })?;
        let house = house.map_err(|error| raised(&error))?;
        Ok(Self { project, seed, now: Arc::default(), house: Mutex::new(Some(house)) })
    }

    /// The declaration that the home was built for.
    #[getter]
    fn project(&self, py: Python<'_>) -> Py<Project> {
        self.project.clone_ref(py)
    }

    /// The seed of all chance.
    #[getter]
    fn seed(&self) -> u64 {
        self.seed
    }

    /// The lab's time at the end of the last call, since it was opened.
    #[getter]
    fn simulated_seconds(&self) -> f64 {
        Duration::from_micros(self.now.load(Ordering::Relaxed)).as_secs_f64()
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self) -> bool {
        // A lab at work is open.
        self.house().is_ok_and(|house| house.is_none())
    }

    /// Brings the declared machines to life, from whatever is there.
    fn create(&self, py: Python<'_>) -> PyResult<Report> {
        self.reach(py, Goal::Create)
    }

    /// Removes every machine that is provably the castle's.
    fn destroy(&self, py: Python<'_>) -> PyResult<Report> {
        self.reach(py, Goal::Destroy)
    }

    /// Looks, and changes nothing.
    fn status(&self, py: Python<'_>) -> PyResult<Status> {
        self.visit(py, |visit| async move {
            let cx = Context::new(visit.castle.env().clone());
            let seen = visit.castle.observe(&cx, visit.castle.furthest()).await;
            Status::new(&visit.project, &seen, visit.castle.requests())
        })
    }

    /// Ends the lab and its thread; the home is lost. Closing twice is once.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let house = self.house().map_err(|error| raised(&error))?.take();
        enter(py, &CancellationToken::new(), || drop(house))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _raised: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> String {
        let state = if self.closed() { ", closed" } else { "" };
        let name = &self.project.get().declared.cluster.name;
        format!("<Lab {name}, seed {}, {:.1} simulated seconds{state}>", self.seed, self.simulated_seconds())
    }
}
