//! Power cuts: at every write, in three moments each, and at every second.

use std::collections::BTreeSet;
use std::time::Duration;

use castle_core::{Goal, Outcome, RunOptions};
use futures::future::{Either, select};

use crate::fuse::{Fuse, Moment};
use crate::home::{Home, id, replacing, writes};

/// A job that is cut, and the home that it begins in.
struct Job {
    goal: Goal,
    options: RunOptions,
    stands: bool,
}

impl Job {
    fn rebirth() -> Self {
        Self { goal: Goal::Rebirth, options: replacing(1), stands: true }
    }

    async fn home(&self) -> Home {
        if self.stands { Home::standing().await } else { Home::new() }
    }

    /// How many writes it asks for when nothing cuts it.
    async fn writes(&self) -> usize {
        let (home, fuse) = (self.home().await, Fuse::that_holds());
        let report = home.castle_behind(&fuse).run(self.goal, self.options.clone()).await;
        assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
        fuse.writes()
    }

    /// Runs behind `fuse` until it blows, or to the end.
    async fn cut(&self, home: &Home, fuse: &std::sync::Arc<Fuse>) -> bool {
        let run = home.castle_behind(fuse).run(self.goal, self.options.clone());
        let blown = Box::pin(fuse.blown());
        matches!(select(run, blown).await, Either::Right(_))
    }

    /// A castle from an empty folder takes over, and finds its end.
    async fn is_finished(&self, home: &Home, how: &str) {
        let report = home.run(self.goal, self.options.clone()).await;
        assert_eq!(report.outcome, Outcome::Ok, "{} {how}: {report:#?}", self.goal);
        let again = home.run(self.goal, self.options.clone()).await;
        assert_eq!((again.outcome, writes(&again)), (Outcome::Ok, 0), "{} {how}, once more: {again:#?}", self.goal);
    }
}

/// Nothing was done twice: no life, no version of a secret, no planting, no birth.
async fn was_done_once(home: &Home, lives: u32, how: &str) {
    let known = home.lives().await;
    assert_eq!(known.newest().map(|(number, _)| number), Some(lives), "{how}: {known:?}");
    assert!(known.iter().all(|(_, life)| life.committed && life.complete), "{how}: {known:?}");
    for (key, times) in home.ledger.written.lock().unwrap().iter() {
        // An escrow has one version for each life.
        let most = if key.as_str().contains('/') { 1 } else { lives };
        assert!(*times <= most, "{how}: `{key}` was written {times} times");
    }
    assert!(home.cluster.births().iter().all(|times| *times == 1), "{how}: {:?}", home.cluster.births());
    let plantings = home.gitops.plantings();
    assert_eq!(plantings.iter().collect::<BTreeSet<_>>().len(), plantings.len(), "{how}: {plantings:?}");
    assert!(home.gitops.nudges().len() <= lives as usize, "{how}: {:?}", home.gitops.nudges());
}

#[tokio::test(start_paused = true)]
async fn a_rebirth_that_is_cut_at_any_write_is_finished_as_the_same() {
    let job = Job::rebirth();
    let total = job.writes().await;
    assert!(total > 25, "the sweep would prove little: {total} writes");
    for write in 0..total {
        for moment in Moment::ALL {
            let how = format!("cut {moment:?} write {write} of {total}");
            let home = job.home().await;
            assert!(job.cut(&home, &Fuse::that_blows(write, moment)).await, "{how}: it was not cut");
            job.is_finished(&home, &how).await;
            assert_eq!(home.running(), Home::stands_in(2), "{how}");
            was_done_once(&home, 2, &how).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rebirth_that_is_cut_twice_is_finished_as_the_same() {
    let job = Job::rebirth();
    let total = job.writes().await;
    for first in (0..total).step_by(3) {
        for second in (0..total - first).step_by(4) {
            let how = format!("cut at write {first}, then {second} writes later");
            let home = job.home().await;
            assert!(job.cut(&home, &Fuse::that_blows(first, Moment::During)).await, "{how}: it was not cut");
            job.cut(&home, &Fuse::that_blows(second, Moment::After)).await;
            job.is_finished(&home, &how).await;
            assert_eq!(home.running(), Home::stands_in(2), "{how}");
            was_done_once(&home, 2, &how).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_and_a_rebirth_from_nothing_survive_the_same() {
    for goal in [Goal::Create, Goal::Rebirth] {
        let options = if goal == Goal::Rebirth { replacing(0) } else { RunOptions::default() };
        let job = Job { goal, options, stands: false };
        let total = job.writes().await;
        for write in 0..total {
            for moment in Moment::ALL {
                let how = format!("cut {moment:?} write {write} of {total}");
                let home = job.home().await;
                assert!(job.cut(&home, &Fuse::that_blows(write, moment)).await, "{how}: it was not cut");
                job.is_finished(&home, &how).await;
                assert_eq!(home.running(), Home::stands_in(1), "{how}");
                was_done_once(&home, 1, &how).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rebirth_that_is_cut_at_any_second_is_finished_as_the_same() {
    let job = Job::rebirth();
    let whole = job.home().await.run(job.goal, job.options.clone()).await.took.as_secs();
    for seconds in 0..whole {
        let how = format!("cut after {seconds} of {whole} s");
        let home = job.home().await;
        let run = home.castle().run(job.goal, job.options.clone());
        assert!(home.clock.within(Duration::from_secs(seconds), run).await.is_none(), "{how}: it was not cut");
        job.is_finished(&home, &how).await;
        assert_eq!(home.running(), Home::stands_in(2), "{how}");
        was_done_once(&home, 2, &how).await;
    }
}

/// Between the last write of a rebirth and its report the world is as it is after
/// it, so a request without a key is a new one there, and only there.
#[tokio::test(start_paused = true)]
async fn without_a_key_only_the_last_moment_is_ambiguous() {
    let job = Job { options: RunOptions::default(), ..Job::rebirth() };
    let total = job.writes().await;
    for write in 0..total {
        for moment in Moment::ALL {
            let home = job.home().await;
            assert!(job.cut(&home, &Fuse::that_blows(write, moment)).await);
            let report = home.run(job.goal, job.options.clone()).await;
            assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
            let is_last = write + 1 == total && moment != Moment::Before;
            let life = if is_last { 3 } else { 2 };
            assert_eq!(home.running(), Home::stands_in(life), "cut {moment:?} write {write} of {total}");
        }
    }
}

/// Somebody removes the control plane after a cut: its etcd may have been born and
/// lost with it, whether or not anybody saw it alive.
#[tokio::test(start_paused = true)]
async fn a_control_plane_that_is_lost_after_a_cut_gets_no_second_etcd_in_its_life() {
    let job = Job { goal: Goal::Create, options: RunOptions::default(), stands: false };
    let total = job.writes().await;
    let mut refused = 0;
    for write in 0..total {
        for moment in Moment::ALL {
            let how = format!("cut {moment:?} write {write} of {total}");
            let home = job.home().await;
            assert!(job.cut(&home, &Fuse::that_blows(write, moment)).await, "{how}: it was not cut");
            home.machines.plant(id(421), None);
            // The machine was asked: what it did is not known to anybody any more.
            let asked = home.secret("blue/blue/talos/1.bootstrap").await.is_some();
            assert!(asked || home.cluster.births().is_empty(), "{how}: an etcd was born that nobody announced");
            for _ in 0..2 {
                let report = home.run(Goal::Create, RunOptions::default()).await;
                let births = home.cluster.births();
                assert_eq!(report.outcome == Outcome::Ok, !asked, "{how}, births {births:?}: {report:#?}");
            }
            assert!(home.cluster.births().iter().all(|births| *births == 1), "{how}: {:?}", home.cluster.births());
            refused += usize::from(asked);
            // The way out that the refusal names.
            home.reaches(Goal::Rebirth, RunOptions::default()).await;
            assert_eq!(home.running(), Home::stands_in(2), "{how}");
        }
    }
    assert!(refused > 10, "{refused} of {total} cuts came after the birth of etcd");
}
