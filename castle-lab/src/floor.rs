//! How a request flows: arrival, journal, latency, faults, effect, answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use castle_core::Clock;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use crate::faults::{FaultEffect, Faults};
use crate::front::{Act, Call, Reply, Service};
use crate::journal::Journal;
use crate::run::{RunId, Runs};
use crate::turns::Turnstile;
use crate::wire::{Ending, Line};
use crate::world::World;

/// What all servers of a lab stand on.
#[derive(Debug)]
pub(crate) struct Floor {
    pub(crate) clock: Clock,
    pub(crate) journal: Journal,
    pub(crate) faults: Faults,
    pub(crate) runs: Runs,
    pub(crate) turns: Turnstile,
    /// `None` once the world was carried out.
    world: Mutex<Option<World>>,
    /// Requests at work. A server that has read a request in full does it, also
    /// when its client has hung up.
    works: Mutex<JoinSet<()>>,
    /// The run that a fault of the kind `Cut` struck.
    cut: Mutex<Option<RunId>>,
    /// Wakes whoever waits for the death of a run, after each. To be taken before
    /// looking, as with `news`.
    deaths: Notify,
    /// Wakes whoever follows the world, after each change of it. Take the
    /// `notified()` first and look then, so that no change is missed.
    pub(crate) news: Notify,
    /// Wakes the driver: something new may be due.
    due: Notify,
}

/// A request that was written into the journal, and what will become of it.
pub(crate) struct Arrival {
    /// Its place in the journal.
    pub(crate) place: usize,
    /// Its place among the requests of its run.
    index: u64,
    /// What hits it.
    pub(crate) fault: Option<FaultEffect>,
    /// From arrival to answer.
    pub(crate) latency: Duration,
}

/// What the lab's half of a request came to.
pub(crate) enum Course<T> {
    /// An answer.
    Answer(T),
    /// The answer that a fault puts in its place.
    Status(Reply),
    /// No answer; the connection ends so.
    Ended(Ending),
    /// No answer, and the connection stays.
    Silence,
}

impl Floor {
    pub(crate) fn new(clock: Clock, world: World, journal: Journal, faults: Faults) -> Self {
        let runs = Runs::resumed(world.ledger.runs, world.ledger.dead.clone());
        Self {
            clock,
            journal,
            faults,
            runs,
            turns: Turnstile::default(),
            world: Mutex::new(Some(world)),
            works: Mutex::default(),
            cut: Mutex::default(),
            deaths: Notify::new(),
            news: Notify::new(),
            due: Notify::new(),
        }
    }

    /// Looks at the world as it is now. `None` once it was carried out.
    ///
    /// # Panics
    ///
    /// If a server panicked while it changed the world: nothing that such a world
    /// says can be believed.
    pub(crate) fn with_world<T>(&self, look: impl FnOnce(&mut World) -> T) -> Option<T> {
        let mut guard = self.lock_world();
        let world = guard.as_mut()?;
        world.advance_to(self.clock.elapsed());
        let seen = look(world);
        world.follow();
        drop(guard);
        self.tell();
        Some(seen)
    }

    /// Looks at the world as it is now without changing it. Whoever follows the
    /// world looks so: [`Floor::with_world`] would wake all followers, itself too.
    pub(crate) fn peek_world<T>(&self, look: impl FnOnce(&World) -> T) -> Option<T> {
        let mut guard = self.lock_world();
        let world = guard.as_mut()?;
        let before = world.revision();
        world.advance_to(self.clock.elapsed());
        let seen = look(world);
        let moved = world.revision() != before;
        drop(guard);
        if moved {
            self.tell();
        }
        Some(seen)
    }

    /// Tells everybody who follows the world that it may have changed.
    fn tell(&self) {
        self.news.notify_waiters();
        self.due.notify_one();
    }

    /// Lets things happen when they are due, while the lab runs: a node boots also
    /// when nobody asks. Without anything due it waits to be told.
    pub(crate) async fn drive(self: Arc<Self>) {
        loop {
            let next = self.peek_world(World::next_event_at);
            match next {
                // The world was carried out.
                None => return,
                Some(None) => self.due.notified().await,
                Some(Some(at)) => tokio::select! {
                    biased;
                    () = self.due.notified() => {}
                    () = self.sleep(at.saturating_sub(self.clock.elapsed())) => {}
                },
            }
        }
    }

    /// Carries work to its end, also when whoever asked for it has left. `None`:
    /// it panicked, or the lab has stopped.
    pub(crate) async fn carry_out<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (done, answer) = oneshot::channel();
        {
            let mut works = self.works();
            while works.try_join_next().is_some() {}
            works.spawn(async move {
                // The client may have left; the effect stays.
                let _ = done.send(work.await);
            });
        }
        answer.await.ok()
    }

    /// Ends all work and carries the world out, with the runs in its ledger.
    pub(crate) fn take_world(&self) -> Option<World> {
        self.stop();
        let mut world = self.lock_world().take()?;
        world.ledger.runs = self.runs.allotted();
        Some(world)
    }

    /// Ends all work.
    pub(crate) fn stop(&self) {
        self.works().abort_all();
    }

    /// Marks the run dead: its connections are reset and nothing it has sent
    /// reaches the world any more.
    pub(crate) fn kill(&self, run: RunId) {
        self.runs.kill(run);
        if let Some(world) = self.lock_world().as_mut() {
            world.ledger.dead.insert(run);
        }
        self.turns.tell();
        self.deaths.notify_waiters();
    }

    /// Completes with the run that a fault of the kind `Cut` struck.
    pub(crate) async fn cut_happened(&self) -> RunId {
        loop {
            let deaths = self.deaths.notified();
            if let Some(run) = *self.lock_cut() {
                return run;
            }
            deaths.await;
        }
    }

    /// Completes once the run is dead.
    pub(crate) async fn run_died(&self, run: RunId) {
        loop {
            let deaths = self.deaths.notified();
            if self.runs.is_dead(run) {
                return;
            }
            deaths.await;
        }
    }

    /// Whether a fault of the kind `Cut` has struck.
    pub(crate) fn was_cut(&self) -> bool {
        self.lock_cut().is_some()
    }

    /// Serves one request that came over a connection. `None`: there is no answer
    /// to send, and the connection was ended if it had to be.
    pub(crate) async fn answer(self: &Arc<Self>, service: Arc<dyn Service>, call: Call, line: &Line) -> Option<Reply> {
        let floor = Arc::clone(self);
        let course = self.carry_out(async move { floor.work(&*service, &call).await }).await;
        match course {
            Some(Course::Answer(reply) | Course::Status(reply)) => Some(reply),
            Some(Course::Ended(how)) => {
                line.end(how);
                None
            }
            Some(Course::Silence) => None,
            // The server panicked; the panic was printed and the world is locked.
            None => {
                line.end(Ending::HangUp);
                None
            }
        }
    }

    async fn work(&self, service: &dyn Service, call: &Call) -> Course<Reply> {
        let arrived = self.arrive(call.run, service.backend(), |world| service.classify(world, call), call);
        let Some(arrival) = arrived else { return Course::Ended(Ending::Reset) };
        let held_up = |world: &World, waited| service.held_up(world, call, waited);
        let course = self.run_held_course(&arrival, call.run, held_up, |world| service.serve(world, call)).await;
        let place = arrival.place;
        match course {
            Course::Answer(reply) | Course::Status(reply) => {
                if !reply.penalty.is_zero() {
                    // `pending` never completes, so this only waits.
                    self.clock.within_real(reply.penalty, std::future::pending::<()>()).await;
                }
                let bytes = reply.body.len() as u64;
                self.journal.amend(place, |entry| entry.bytes = bytes);
                self.finish(call.run, place, reply.status, reply)
            }
            other => other,
        }
    }

    /// Writes the request down and asks what becomes of it. `None`: its run is
    /// dead, or the lab has stopped; the request never was.
    pub(crate) fn arrive(
        &self,
        run: RunId,
        backend: &str,
        classify: impl FnOnce(&World) -> Act,
        call: &Call,
    ) -> Option<Arrival> {
        let mut guard = self.lock_world();
        let world = guard.as_mut()?;
        if self.runs.is_dead(run) {
            return None;
        }
        let now = self.clock.elapsed();
        let before = world.revision();
        world.advance_to(now);
        if world.revision() != before {
            self.tell();
        }
        let act = classify(world);
        let (place, index) = self.journal.arrived(now, backend, call, &act);
        let nth = world.nth(&act.entity, &act.kind);
        let latency = if world.request_latency {
            world.draws().duration(act.latency, &act.entity, &act.kind, nth)
        } else {
            Duration::ZERO
        };
        let fault = self.faults.strike(backend, &act, run, index);
        if let Some(fault) = &fault {
            self.journal.amend(place, |entry| entry.fault = Some(fault.name().to_owned()));
        }
        Some(Arrival { place, index, fault, latency })
    }

    /// Half of the latency, the effect, the other half; with what the fault does
    /// to them.
    pub(crate) async fn run_course<T>(
        &self,
        arrival: &Arrival,
        run: RunId,
        effect: impl FnOnce(&mut World) -> T,
    ) -> Course<T> {
        self.run_held_course(arrival, run, |_, _| Duration::ZERO, effect).await
    }

    /// The same for a request that may be held up right before its effect, for as
    /// long as `held_up` says to what was waited so far.
    async fn run_held_course<T>(
        &self,
        arrival: &Arrival,
        run: RunId,
        held_up: impl Fn(&World, Duration) -> Duration,
        effect: impl FnOnce(&mut World) -> T,
    ) -> Course<T> {
        let mut before = arrival.latency / 2;
        let after = arrival.latency - before;
        if let Some(FaultEffect::Delay { seconds }) = arrival.fault {
            before += Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
        }
        self.sleep(before).await;
        self.turns.pass(run, arrival.index, &self.runs, &self.clock).await;
        match &arrival.fault {
            Some(FaultEffect::Stall) => return Course::Silence,
            Some(FaultEffect::ResetBefore) => return Course::Ended(Ending::Reset),
            Some(FaultEffect::Cut { after: false }) => {
                self.cut(run);
                return Course::Ended(Ending::Reset);
            }
            Some(FaultEffect::Status { status, reason, body, after: false }) => {
                self.sleep(after).await;
                return Course::Status(instead(*status, reason.as_deref(), body));
            }
            _ => {}
        }
        let mut waited = Duration::ZERO;
        loop {
            let Some(more) = self.peek_world(|world| held_up(world, waited)) else {
                return Course::Ended(Ending::Reset);
            };
            if more.is_zero() {
                break;
            }
            self.sleep(more).await;
            waited += more;
        }
        let Some(answer) = self.take_effect(run, effect) else { return Course::Ended(Ending::Reset) };
        self.journal.amend(arrival.place, |entry| entry.effect = true);
        match &arrival.fault {
            Some(FaultEffect::ResetAfter) => return Course::Ended(Ending::Reset),
            Some(FaultEffect::AnswerLost) => return Course::Ended(Ending::HangUp),
            Some(FaultEffect::Cut { .. }) => {
                self.cut(run);
                return Course::Ended(Ending::Reset);
            }
            _ => {}
        }
        self.sleep(after).await;
        match &arrival.fault {
            Some(FaultEffect::Status { status, reason, body, .. }) => {
                Course::Status(instead(*status, reason.as_deref(), body))
            }
            _ => Course::Answer(answer),
        }
    }

    /// Writes the answer down, unless its run died meanwhile.
    pub(crate) fn finish<T>(&self, run: RunId, place: usize, status: u16, answer: T) -> Course<T> {
        if self.runs.is_dead(run) {
            return Course::Ended(Ending::Reset);
        }
        let finished = self.clock.elapsed();
        self.journal.amend(place, |entry| {
            entry.status = Some(status);
            entry.finished = Some(finished);
        });
        Course::Answer(answer)
    }

    /// Changes the world, unless the run died meanwhile: bytes of the dead never
    /// reach it.
    fn take_effect<T>(&self, run: RunId, effect: impl FnOnce(&mut World) -> T) -> Option<T> {
        let mut guard = self.lock_world();
        let world = guard.as_mut()?;
        if self.runs.is_dead(run) {
            return None;
        }
        world.advance_to(self.clock.elapsed());
        let answer = effect(world);
        world.follow();
        drop(guard);
        self.tell();
        Some(answer)
    }

    fn cut(&self, run: RunId) {
        *self.lock_cut() = Some(run);
        self.kill(run);
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        // A timer of zero still waits for the next millisecond of the timer wheel.
        if !duration.is_zero() {
            self.clock.sleep(duration).await;
        }
    }

    fn lock_world(&self) -> MutexGuard<'_, Option<World>> {
        self.world.lock().expect("no server panicked while it changed the world")
    }

    fn lock_cut(&self) -> MutexGuard<'_, Option<RunId>> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn works(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.works.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer that a fault puts in place of the server's.
fn instead(status: u16, reason: Option<&str>, body: &str) -> Reply {
    let mut reply = Reply::new(status, Bytes::from(body.to_owned()));
    reply.reason = reason.map(str::to_owned);
    reply.close = status >= 400;
    reply
}
