//! A home and the thread it lives on.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use castle_core::{Context, Credential, Error, ErrorKind, Goal, Pace, Result};
use castle_lab::{Fault, Lab};
use futures::future::{BoxFuture, FutureExt, Shared};
use pyo3::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::choices::Choices;
use crate::course::Course;
use crate::error::{problems, raised};
use crate::mapped::mapped;
use crate::place::{Backing, Place};
use crate::plan::Plan;
use crate::process::Process;
use crate::project::Project;
use crate::record::plain;
use crate::report::Report;
use crate::served;
use crate::status::Status;
use crate::task::{Produce, Task, produce};
use crate::teller::Teller;
use crate::thread::Thread;
use crate::wiring::read_options;

/// What calls hold of a home.
#[derive(Clone)]
pub struct Hold {
    process: Process,
    place: Place,
    thread: Arc<Mutex<Option<Thread>>>,
    /// Whether a call is at work; only virtual time does one thing at a time.
    busy: Arc<AtomicBool>,
    /// Ends what is driven without being asked.
    closed: CancellationToken,
    /// The virtual time at the end of the last call, in microseconds.
    now: Arc<AtomicU64>,
    /// Tells Python what is over.
    teller: Arc<Teller>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.process.is_here() {
            // One share of everything is never given back, so nothing of it is dropped
            // here: see `Process`.
            std::mem::forget(self.clone());
        }
    }
}

impl Hold {
    /// Whether this is the process that opened it.
    pub fn is_here(&self) -> bool {
        self.process.is_here()
    }

    fn thread(&self) -> MutexGuard<'_, Option<Thread>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins work on the home's thread.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if the home is closed, or another process's;
    /// [`ErrorKind::Conflict`] if another call is at work and time is virtual.
    pub fn begin<F, Fut>(&self, work: F) -> Result<Task>
    where
        F: FnOnce(Place) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Produce>> + 'static,
    {
        self.process.check()?;
        let thread = self.thread();
        let thread = thread
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "the lab is closed").hint("open a new one"))?;
        let is_virtual = self.place.pace == Pace::Virtual;
        if is_virtual && self.busy.swap(true, Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Conflict, "the lab is at work for another call").hint(
                "in virtual time a lab does one thing at a time: wait for the other call, or give each its own lab",
            ));
        }
        let stop = self.closed.child_token();
        let busy = is_virtual.then(|| Arc::clone(&self.busy));
        let (task, ending) = Task::new(stop.clone(), busy, Arc::clone(&self.teller));
        let (place, now) = (self.place.clone(), Arc::clone(&self.now));
        thread.submit(Box::new(move || {
            async move {
                let lab = place.lab().cloned();
                let outcome = tokio::select! {
                    biased;
                    () = stop.cancelled() => Err(Error::cancelled()),
                    outcome = work(place) => outcome,
                };
                if let Some(lab) = lab {
                    now.store(micros(lab.clock().elapsed()), Ordering::Relaxed);
                }
                ending.of(outcome);
            }
            .boxed_local()
        }));
        Ok(task)
    }

    /// Lets a run go on without being asked for until it is `gone`, as real time
    /// does. Virtual time waits for who follows.
    pub fn keep_driving(&self, run: Shared<BoxFuture<'static, Report>>, gone: CancellationToken) {
        if self.place.pace == Pace::Virtual {
            return;
        }
        let closed = self.closed.clone();
        if let Some(thread) = self.thread().as_ref() {
            let job = move || {
                async move {
                    tokio::select! {
                        () = closed.cancelled() => {}
                        () = gone.cancelled() => {}
                        _ = run => {}
                    }
                }
                .boxed_local()
            };
            thread.submit(Box::new(job));
        }
    }

    /// Drops a value on the home's thread.
    pub fn drop_there<T: Send + 'static>(&self, value: T) {
        if let Some(thread) = self.thread().as_ref() {
            thread.submit(Box::new(move || async move { drop(value) }.boxed_local()));
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A home in which a castle can stand: a lab, or a house behind an option document.
#[pyclass(frozen, module = "castle_py._castle")]
pub struct Home {
    project: Py<Project>,
    seed: u64,
    hold: Hold,
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").field("seed", &self.seed).field("pace", &self.hold.place.pace).finish_non_exhaustive()
    }
}

impl Home {
    fn of(project: Py<Project>, seed: u64, place: Place, thread: Thread) -> Self {
        let hold = Hold {
            process: Process::here(),
            place,
            thread: Arc::new(Mutex::new(Some(thread))),
            busy: Arc::default(),
            closed: CancellationToken::new(),
            now: Arc::default(),
            teller: Arc::default(),
        };
        Self { project, seed, hold }
    }

    fn task<F, Fut>(&self, work: F) -> PyResult<Task>
    where
        F: FnOnce(Place) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Produce>> + 'static,
    {
        self.hold.begin(work).map_err(|error| raised(&error))
    }

    fn lab(&self) -> PyResult<Arc<Lab>> {
        self.hold.process.check().map_err(|error| raised(&error))?;
        self.hold.place.lab().cloned().ok_or_else(|| {
            raised(
                &Error::new(ErrorKind::Unsupported, "this castle does not stand in a lab of this process")
                    .hint("open a `Lab(project)`"),
            )
        })
    }
}

fn folder_of(file: &Path) -> PathBuf {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// Faults as a list in JSON.
fn faults_of(json: &str) -> Result<Vec<Fault>> {
    let wrong = |error: serde_json::Error| {
        Error::new(ErrorKind::InvalidSpec, "a fault is not understood").caused_by(error).hint(
            "a fault is a dictionary such as {'backend': 'proxmox', 'kind': 'POST qemu', 'times': 2, 'effect': \
             {'status': {'status': 500}}}; other effects: 'stall', 'reset_before', 'reset_after', 'answer_lost', \
             {'delay': {'seconds': 30}}, {'cut': {'after': False}}",
        )
    };
    let given: Vec<serde_json::Value> = serde_json::from_str(json).map_err(wrong)?;
    let read = |(place, fault)| -> Result<Fault> {
        let fault = serde_json::from_value(fault).map_err(wrong).and_then(|fault: Fault| fault.check().map(|()| fault));
        fault.map_err(|error| error.with("fault", place))
    };
    (1..).zip(given).map(read).collect()
}

#[pymethods]
impl Home {
    /// A lab around the home that the project was declared for.
    #[staticmethod]
    fn lab_of(py: Python<'_>, project: Py<Project>, seed: u64, pace: &str, faults: &str) -> PyResult<Self> {
        let opened = Arc::<Mutex<Option<Lab>>>::default();
        let open = || -> Result<(Task, Thread, Pace)> {
            let (pace, faults) = (pace.parse::<Pace>()?, faults_of(faults)?);
            let thread = Thread::start(pace)?;
            let (task, ending) = Task::new(CancellationToken::new(), None, Arc::default());
            let mut builder = Lab::builder(&project.get().declared).seed(seed).pace(pace).faults(faults);
            if pace != Pace::Virtual {
                builder = builder.public();
            }
            let place = Arc::clone(&opened);
            thread.submit(Box::new(move || {
                async move {
                    let outcome = builder.start().await.map(|lab| {
                        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(lab);
                        produce(None::<bool>)
                    });
                    ending.of(outcome);
                }
                .boxed_local()
            }));
            Ok((task, thread, pace))
        };
        let (task, thread, pace) = open().map_err(|error| raised(&error))?;
        task.wait(py, None)?;
        task.result(py)?;
        let lab = opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        let lab = lab.ok_or_else(|| raised(&Error::new(ErrorKind::Unexpected, "the lab did not open")))?;
        let Project { declared, file } = project.get();
        let (declared, folder) = (Arc::clone(declared), Arc::new(folder_of(file)));
        let backing = Backing::Lab(Arc::new(lab));
        let (secrets, serving) = (Arc::default(), Arc::default());
        let place = Place { project: declared, folder, backing, pace, secrets, serving };
        Ok(Self::of(project, seed, place, thread))
    }

    /// A house, or a lab that another process serves, behind an option document.
    #[staticmethod]
    fn house(project: Py<Project>, options: PathBuf) -> PyResult<Self> {
        let Project { declared, file } = project.get();
        let (declared, folder) = (Arc::clone(declared), folder_of(file));
        let open = || {
            let options = read_options(&declared, &folder, &options)?;
            let pace = options.pace;
            if pace == Pace::Virtual {
                let told = "an option document cannot be worked in virtual time: another process keeps its own";
                return Err(Error::new(ErrorKind::InvalidSpec, told).hint("serve the lab with `pace=\"60x\"`"));
            }
            let thread = Thread::start(pace)?;
            let backing = Backing::Remote(Arc::new(options));
            Ok((
                Place {
                    project: Arc::clone(&declared),
                    folder: Arc::new(folder),
                    backing,
                    pace,
                    secrets: Arc::default(),
                    serving: Arc::default(),
                },
                thread,
            ))
        };
        let (place, thread) = open().map_err(|error| raised(&error))?;
        Ok(Self::of(project, 0, place, thread))
    }

    /// The declaration.
    #[getter]
    fn project(&self, py: Python<'_>) -> Py<Project> {
        self.project.clone_ref(py)
    }

    /// The seed of all chance.
    #[getter]
    fn seed(&self) -> u64 {
        self.seed
    }

    /// How fast its time runs: `virtual`, `real`, `60x`.
    #[getter]
    fn pace(&self) -> String {
        self.hold.place.pace.to_string()
    }

    /// Whether it was closed, or is another process's.
    #[getter]
    fn closed(&self) -> bool {
        !self.hold.is_here() || self.hold.thread().is_none()
    }

    /// The lab's time since it was opened; in virtual time, at the end of the last
    /// call.
    #[getter]
    fn seconds(&self) -> f64 {
        match self.hold.place.lab() {
            Some(lab) if self.hold.place.pace != Pace::Virtual => lab.clock().elapsed().as_secs_f64(),
            _ => Duration::from_micros(self.hold.now.load(Ordering::Relaxed)).as_secs_f64(),
        }
    }

    /// Looks, and decides what `goal` needs.
    #[pyo3(signature = (goal, *, until, lost_life, replaces, abandon, waive_data, waive_ownership))]
    #[allow(clippy::too_many_arguments)] // all of them are named where Python calls
    fn plan(
        &self,
        goal: &str,
        until: Option<&str>,
        lost_life: &str,
        replaces: Option<u32>,
        abandon: bool,
        waive_data: Option<&str>,
        waive_ownership: BTreeMap<u32, String>,
    ) -> PyResult<Task> {
        let goal = goal_of(goal)?;
        let read = Choices::read(until, lost_life, replaces, abandon, waive_data, waive_ownership);
        let Choices { run: options, waivers } = read.map_err(|error| raised(&error))?;
        self.task(move |place| async move {
            let visit = place.visit(waivers).await?;
            let cx = Context::new(visit.castle.env().clone());
            let plan = visit.castle.plan(&cx, goal, options.decisions(), options.until).await?;
            let requests = visit.leave();
            Ok(produce(Plan::new(plan, requests)))
        })
    }

    /// Looks for everything that would stop the first create.
    fn check(&self) -> PyResult<Task> {
        self.task(|place| async move {
            let visit = place.visit(Vec::new()).await?;
            let cx = Context::new(visit.castle.env().clone());
            let found = visit.castle.check(&cx).await?;
            visit.leave();
            Ok(Box::new(move |py: Python<'_>| Ok(problems(py, &found)?.into_any().unbind())) as Produce)
        })
    }

    /// Looks, and changes nothing.
    fn status(&self) -> PyResult<Task> {
        self.task(|place| async move {
            let visit = place.visit(Vec::new()).await?;
            let cx = Context::new(visit.castle.env().clone());
            let seen = visit.castle.observe(&cx, visit.castle.furthest()).await;
            let requests = visit.leave();
            Ok(produce(Status::new(&place.project, &seen, requests)))
        })
    }

    /// A run that can be followed. It begins when it is asked for.
    #[pyo3(signature = (goal, *, until, lost_life, replaces, abandon, waive_data, waive_ownership, confirm))]
    #[allow(clippy::too_many_arguments)] // all of them are named where Python calls
    fn course(
        &self,
        goal: &str,
        until: Option<&str>,
        lost_life: &str,
        replaces: Option<u32>,
        abandon: bool,
        waive_data: Option<&str>,
        waive_ownership: BTreeMap<u32, String>,
        confirm: Option<&str>,
    ) -> PyResult<Course> {
        let goal = goal_of(goal)?;
        let read = Choices::read(until, lost_life, replaces, abandon, waive_data, waive_ownership);
        let choices = read.map_err(|error| raised(&error))?;
        let name = self.hold.place.project.cluster.name.as_str();
        let is_removal = matches!(goal, Goal::Destroy | Goal::Rebirth);
        if is_removal && !self.hold.place.is_lab() && confirm != Some(name) {
            let told = format!("the removal of cluster {name} is not confirmed");
            let hint = format!("look at `plan(\"{goal}\")`, then add `confirm=\"{name}\"`");
            return Err(raised(&Error::new(ErrorKind::EvidenceMissing, told).hint(hint)));
        }
        Ok(Course::new(self.hold.clone(), goal, choices))
    }

    /// A kubeconfig or a talosconfig, with the addresses at which it is served.
    fn credential(&self, which: &str) -> PyResult<Task> {
        self.hold.place.refuse_foreign_clients().map_err(|error| raised(&error))?;
        let which =
            if which == Credential::Kubeconfig.name() { Credential::Kubeconfig } else { Credential::Talosconfig };
        self.task(move |place| async move {
            let visit = place.visit(Vec::new()).await?;
            let text = visit.castle.credential(which).await?;
            visit.leave();
            let text = match place.served_at() {
                Some(dial) => mapped(text.expose(), &dial),
                None => text.expose().clone(),
            };
            Ok(produce(text))
        })
    }

    /// Writes the option document of a lab for other processes.
    fn serve(&self, folder: PathBuf) -> PyResult<Task> {
        let lab = self.lab()?;
        self.hold.place.refuse_foreign_clients().map_err(|error| raised(&error))?;
        self.task(move |place| async move { served::serve(&lab, &place, &folder).await.map(produce) })
    }

    /// Moves virtual time by hand.
    fn advance(&self, seconds: f64) -> PyResult<Task> {
        let lab = self.lab()?;
        let by = duration(seconds)?;
        self.task(move |_| async move { lab.advance(by).await.map(|()| produce(None::<bool>)) })
    }

    /// Adds faults, a list in JSON, behind the others.
    fn add_faults(&self, faults: &str) -> PyResult<()> {
        let lab = self.lab()?;
        let faults = faults_of(faults).map_err(|error| raised(&error))?;
        faults.into_iter().for_each(|fault| lab.faults().add(fault));
        Ok(())
    }

    /// The faults as they stand: what is left of them.
    #[getter]
    fn faults<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, &self.lab()?.faults().left())
    }

    /// Every request so far.
    fn journal<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let lab = self.lab()?;
        plain(py, &served::journal(&lab))
    }

    /// Lets the webhook behind a service answer later than its pod is ready.
    fn delay_webhook(&self, namespace: String, service: String, seconds: f64) -> PyResult<Task> {
        let lab = self.lab()?;
        let by = duration(seconds)?;
        self.task(move |_| async move {
            lab.with_world(|world| world.workloads.delay_webhook(namespace, service, by));
            Ok(produce(None::<bool>))
        })
    }

    /// Since when the webhook behind a service truly answers, in the lab's seconds.
    fn webhook_answers_since(&self, namespace: String, service: String) -> PyResult<Task> {
        let lab = self.lab()?;
        self.task(move |_| async move {
            let since = lab.with_world(|world| world.workloads.webhook_true_since(&namespace, &service));
            Ok(produce(since.map(|since| since.as_secs_f64())))
        })
    }

    /// Ends it and its thread. Closing twice is once, and a forked child closes nothing.
    fn close(&self, py: Python<'_>) {
        if !self.hold.is_here() {
            return;
        }
        self.hold.closed.cancel();
        let thread = self.hold.thread().take();
        py.detach(|| {
            if let Some(thread) = thread {
                thread.end();
            }
        });
    }
}

fn duration(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|error| {
        let told = format!("{seconds:?} is no number of seconds");
        raised(&Error::new(ErrorKind::InvalidSpec, told).caused_by(error).hint("give a number that is not negative"))
    })
}

fn goal_of(name: &str) -> PyResult<Goal> {
    let all = [Goal::Create, Goal::Handover, Goal::Rebirth, Goal::Destroy];
    all.into_iter().find(|goal| goal.name() == name).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|goal| goal.name()).collect();
        let error = Error::new(ErrorKind::InvalidSpec, format!("`{name}` is no goal"));
        raised(&error.hint(format!("use one of {}", names.join(", "))))
    })
}
