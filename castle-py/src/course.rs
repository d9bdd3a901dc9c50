//! A run whose events are followed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use castle_core::{Error, ErrorKind, Event, Goal, Result, Subscription};
use futures::future::{BoxFuture, FutureExt, Shared};
use pyo3::prelude::*;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::choices::Choices;
use crate::error::raised;
use crate::home::Hold;
use crate::place::{Place, Visit};
use crate::record::plain;
use crate::report::Report;
use crate::task::{Produce, Task, produce};

/// How far a run is.
enum Seat {
    /// Nobody asked for it yet.
    Waiting(Box<Choices>),
    /// It is under way.
    Under(Box<Session>),
    /// It has ended.
    Over(Box<Report>),
    /// It was dropped, or a call works with it.
    Empty,
}

/// A run under way. It belongs to the home's thread.
struct Session {
    run: Shared<BoxFuture<'static, Report>>,
    events: Subscription,
    /// Ends what drives the run without being asked, once the session is dropped.
    _alive: DropGuard,
}

/// What following gave.
enum Next {
    Event(Event),
    End(Report),
}

/// A run from its first look to its report, driven step by step: in virtual time it
/// goes on only while somebody asks for the next event or for the report.
#[pyclass(frozen, module = "castle_py._castle")]
pub struct Course {
    goal: Goal,
    hold: Hold,
    seat: Arc<Mutex<Seat>>,
}

impl fmt::Debug for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Course").field("goal", &self.goal).finish_non_exhaustive()
    }
}

fn take(seat: &Mutex<Seat>) -> Seat {
    std::mem::replace(&mut *seat.lock().unwrap_or_else(PoisonError::into_inner), Seat::Empty)
}

fn put(seat: &Mutex<Seat>, state: Seat) {
    *seat.lock().unwrap_or_else(PoisonError::into_inner) = state;
}

impl Course {
    /// A run that begins when it is asked for.
    pub fn new(hold: Hold, goal: Goal, choices: Choices) -> Self {
        Self { goal, hold, seat: Arc::new(Mutex::new(Seat::Waiting(Box::new(choices)))) }
    }

    fn go_on(&self, wants_event: bool) -> PyResult<Task> {
        let (goal, seat, hold) = (self.goal, Arc::clone(&self.seat), self.hold.clone());
        let begun = self.hold.begin(move |place| async move {
            let next = follow(&place, &hold, goal, &seat, wants_event).await?;
            Ok(match next {
                Next::Event(event) => Box::new(move |py: Python<'_>| Ok(plain(py, &event)?.unbind())) as Produce,
                Next::End(_) if wants_event => produce(None::<bool>),
                Next::End(report) => produce(report),
            })
        });
        begun.map_err(|error| raised(&error))
    }
}

async fn follow(place: &Place, hold: &Hold, goal: Goal, seat: &Mutex<Seat>, wants_event: bool) -> Result<Next> {
    let mut session = match take(seat) {
        Seat::Waiting(choices) => Box::new(begin(place, hold, goal, *choices).await?),
        Seat::Under(session) => session,
        Seat::Over(report) => {
            put(seat, Seat::Over(report.clone()));
            return Ok(Next::End(*report));
        }
        Seat::Empty => {
            return Err(Error::new(ErrorKind::Conflict, "this run was dropped, or another call follows it")
                .hint("what it did is in the world: ask for the next run"));
        }
    };
    if wants_event {
        // The run closes its log when it ends. As long as an event is there that
        // nobody has read, the run, and with it virtual time, does not go on.
        let mut ended = None;
        loop {
            let event = tokio::select! {
                biased;
                event = session.events.next() => event,
                report = session.run.clone(), if ended.is_none() => {
                    ended = Some(report);
                    continue;
                }
            };
            if let Some(event) = event {
                put(seat, Seat::Under(session));
                return Ok(Next::Event(event));
            }
            break;
        }
    }
    let report = session.run.clone().await;
    put(seat, Seat::Over(Box::new(report.clone())));
    Ok(Next::End(report))
}

async fn begin(place: &Place, hold: &Hold, goal: Goal, choices: Choices) -> Result<Session> {
    let visit = place.visit(choices.waivers).await?;
    let options = choices.run;
    let ideal = place.ideal(goal, options.until.unwrap_or_else(|| visit.castle.furthest()));
    let run = visit.castle.run(goal, options);
    let events = run.log().subscribe();
    let run = finished(visit, run, ideal).boxed().shared();
    let gone = CancellationToken::new();
    hold.keep_driving(run.clone(), gone.clone());
    Ok(Session { run, events, _alive: gone.drop_guard() })
}

async fn finished(visit: Visit, run: castle_core::Run, ideal: Option<Duration>) -> Report {
    let report = Report::new(run.await, ideal);
    visit.leave();
    report
}

impl Drop for Course {
    fn drop(&mut self) {
        if !self.hold.is_here() {
            // All of it is the parent's, see `Process`.
            std::mem::forget(Arc::clone(&self.seat));
            return;
        }
        // Sockets and timers go where they live, and there the run is told dead.
        if let under @ Seat::Under(_) = take(&self.seat) {
            self.hold.drop_there(under);
        }
    }
}

#[pymethods]
impl Course {
    /// What it is for.
    #[getter]
    fn goal(&self) -> &'static str {
        self.goal.name()
    }

    /// The next event as a dictionary; `None` once it has ended.
    fn next_event(&self) -> PyResult<Task> {
        self.go_on(true)
    }

    /// The report, once it has ended; the run goes on until then.
    fn report(&self) -> PyResult<Task> {
        self.go_on(false)
    }

    /// Drops the run, as a power cut would. One that has ended keeps its report.
    fn close(&self) {
        if !self.hold.is_here() {
            return;
        }
        let dropped = {
            let mut seat = self.seat.lock().unwrap_or_else(PoisonError::into_inner);
            match &*seat {
                Seat::Under(_) | Seat::Waiting(_) => std::mem::replace(&mut *seat, Seat::Empty),
                Seat::Over(_) | Seat::Empty => return,
            }
        };
        self.hold.drop_there(dropped);
    }
}
