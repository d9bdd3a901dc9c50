//! The engine: order, limits, waiting, failing, stopping.
#![allow(clippy::unwrap_used)] // helpers of tests, which clippy does not take for tests

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use castle_core::engine::{self, Round, Shares};
use castle_core::step::{Step, Verdict};
use castle_core::{Clock, Context, Env, Error, ErrorKind, EventKind, Pace, Result, SeededEntropy, StepOutcome};
use futures::StreamExt;
use futures::stream::BoxStream;

#[derive(Default)]
struct World {
    done: Vec<&'static str>,
    at_once: usize,
    most_at_once: usize,
}

struct Task {
    id: &'static str,
    needs: Vec<String>,
    limit: Option<&'static str>,
    takes: Duration,
    deadline: Duration,
    fails: Option<ErrorKind>,
    watched: bool,
    urgent: bool,
    world: Arc<Mutex<World>>,
}

#[async_trait]
impl Step for Task {
    fn id(&self) -> &str {
        self.id
    }
    fn needs(&self) -> &[String] {
        &self.needs
    }
    fn deadline(&self) -> Duration {
        self.deadline
    }
    fn limit(&self) -> Option<&str> {
        self.limit
    }
    fn is_urgent(&self) -> bool {
        self.urgent
    }
    async fn probe(&self, _: &Context) -> Result<Verdict> {
        let done = self.world.lock().unwrap().done.contains(&self.id);
        Ok(if done { Verdict::Met } else { Verdict::NotYet(format!("{} is not there", self.id).into()) })
    }
    async fn act(&self, cx: &Context) -> Result<()> {
        {
            let mut world = self.world.lock().unwrap();
            world.at_once += 1;
            world.most_at_once = world.most_at_once.max(world.at_once);
        }
        if !self.watched {
            cx.clock().sleep(self.takes).await;
        }
        let mut world = self.world.lock().unwrap();
        world.at_once -= 1;
        if let Some(kind) = self.fails {
            return Err(Error::new(kind, format!("{} broke", self.id)));
        }
        if !self.watched {
            world.done.push(self.id);
        }
        Ok(())
    }
    fn watch(&self, cx: &Context) -> Option<BoxStream<'static, ()>> {
        let (clock, takes, world, id) = (cx.clock().clone(), self.takes, self.world.clone(), self.id);
        self.watched.then(|| {
            futures::stream::unfold(0, move |turn| {
                let (clock, world) = (clock.clone(), world.clone());
                async move {
                    clock.sleep(takes).await;
                    // The first wake-up comes too early, on purpose: a wake-up proves nothing.
                    if turn == 1 {
                        world.lock().unwrap().done.push(id);
                    }
                    Some(((), turn + 1))
                }
            })
            .boxed()
        })
    }
}

fn context() -> Context {
    Context::new(Env { clock: Clock::new(Pace::Virtual), entropy: Arc::new(SeededEntropy::new(1)) })
}

struct Graph(Arc<Mutex<World>>, Vec<Box<dyn Step>>);

impl Graph {
    fn new() -> Self {
        Self(Arc::default(), Vec::new())
    }

    fn task(mut self, id: &'static str, needs: &[&str], change: impl FnOnce(&mut Task)) -> Self {
        let mut task = Task {
            id,
            needs: needs.iter().map(ToString::to_string).collect(),
            limit: None,
            takes: Duration::from_secs(10),
            deadline: Duration::from_secs(60),
            fails: None,
            watched: false,
            urgent: false,
            world: self.0.clone(),
        };
        change(&mut task);
        self.1.push(Box::new(task));
        self
    }

    async fn run(&self, cx: &Context) -> Result<Round> {
        engine::run(&self.1, &Shares::from([("disk".to_owned(), 2)]), cx).await
    }

    fn done(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().done.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_ready_runs_at_once_and_needs_are_kept() {
    let cx = context();
    let graph = Graph::new().task("c", &["a", "b"], |_| {}).task("a", &[], |_| {}).task("b", &[], |_| {});
    let round = graph.run(&cx).await.unwrap();
    assert_eq!((round.done, graph.done().last(), cx.clock().elapsed().as_secs()), (3, Some(&"c"), 20));
}

#[tokio::test(start_paused = true)]
async fn a_limit_bounds_how_many_act() {
    let cx = context();
    let limited = |task: &mut Task| task.limit = Some("disk");
    let graph = ["a", "b", "c", "d", "e"].into_iter().fold(Graph::new(), |graph, id| graph.task(id, &[], limited));
    graph.run(&cx).await.unwrap();
    assert_eq!((graph.0.lock().unwrap().most_at_once, cx.clock().elapsed().as_secs()), (2, 30));
}

/// Two shares, and three that could take them at once: one is kept for the urgent
/// step, which is not ready before ten seconds.
#[tokio::test(start_paused = true)]
async fn an_urgent_step_does_not_queue_behind_others() {
    let took = async |urgent: bool| {
        let cx = context();
        let slow = |task: &mut Task| (task.limit, task.takes) = (Some("disk"), Duration::from_secs(20));
        let graph = Graph::new()
            .task("before", &[], |_| {})
            .task("first", &["before"], |task| {
                slow(task);
                task.urgent = urgent;
            })
            .task("after", &["first"], |_| {});
        let graph = ["a", "b", "c"].into_iter().fold(graph, |graph, id| graph.task(id, &[], slow));
        graph.run(&cx).await.unwrap();
        let done = graph.0.lock().unwrap().done.clone();
        assert_eq!((done.len(), graph.0.lock().unwrap().most_at_once), (6, 3));
        done.iter().position(|id| *id == "first").unwrap()
    };
    assert_eq!((took(true).await, took(false).await), (2, 3), "before, a, first; else before, a, b, first");
}

/// One share, which an urgent step would keep from what it waits for itself.
#[tokio::test(start_paused = true)]
async fn an_urgent_step_keeps_no_share_from_what_it_waits_for() {
    let cx = context();
    let limited = |task: &mut Task| task.limit = Some("one");
    let graph = Graph::new()
        .task("ground", &[], limited)
        .task("between", &["ground"], |_| {})
        .task("first", &["between"], |task| {
            limited(task);
            task.urgent = true;
        })
        .task("other", &[], limited);
    let round = engine::run(&graph.1, &Shares::from([("one".to_owned(), 1)]), &cx).await.unwrap();
    assert_eq!((round.done, graph.done()), (4, vec!["ground", "between", "first", "other"]), "{round:?}");
}

/// Nobody asked to stop: this is a fault of the plan, and it says whose.
#[tokio::test(start_paused = true)]
async fn steps_that_keep_their_shares_from_each_other_are_named() {
    let cx = context();
    let limited =
        |limit: &'static str, urgent: bool| move |task: &mut Task| (task.limit, task.urgent) = (Some(limit), urgent);
    let graph = Graph::new()
        .task("a", &[], limited("left", false))
        .task("b", &[], limited("right", false))
        .task("c", &["b"], limited("left", true))
        .task("d", &["a"], limited("right", true));
    let shares = Shares::from([("left".to_owned(), 1), ("right".to_owned(), 1)]);
    let round = engine::run(&graph.1, &shares, &cx).await.unwrap();
    let error = round.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Unexpected);
    assert_eq!(error.to_string(), "steps keep their shares from each other: a, b, c, d");
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_holds_is_not_acted_upon() {
    let cx = context();
    let graph = Graph::new().task("a", &[], |_| {});
    graph.run(&cx).await.unwrap();
    let again = graph.run(&cx).await.unwrap();
    assert_eq!((again.done, cx.clock().elapsed().as_secs()), (0, 10));
}

#[tokio::test(start_paused = true)]
async fn a_watched_step_is_asked_again_at_each_wake_up() {
    let cx = context();
    let graph = Graph::new().task("a", &[], |task| task.watched = true);
    let round = graph.run(&cx).await.unwrap();
    assert_eq!((round.done, cx.clock().elapsed().as_secs()), (1, 20));
}

#[tokio::test(start_paused = true)]
async fn a_failure_lets_its_neighbours_end_and_begins_nothing() {
    let cx = context();
    let graph = Graph::new()
        .task("a", &[], |task| (task.fails, task.takes) = (Some(ErrorKind::Exhausted), Duration::from_secs(1)))
        .task("b", &[], |_| {})
        .task("c", &["b"], |_| {});
    let round = graph.run(&cx).await.unwrap();
    assert_eq!(graph.done(), ["b"]);
    assert_eq!(round.left, ["a", "c"]);
    let error = round.error.unwrap();
    assert_eq!((error.kind(), error.context().collect::<Vec<_>>()), (ErrorKind::Exhausted, vec![("step", "a")]));
}

#[tokio::test(start_paused = true)]
async fn a_failure_drops_what_has_acted_and_only_waits() {
    let cx = context();
    // `b` waits for what `c` makes, and `c` will not begin.
    let graph = Graph::new()
        .task("a", &[], |task| (task.fails, task.takes) = (Some(ErrorKind::Conflict), Duration::from_secs(20)))
        .task("b", &[], |task| (task.watched, task.takes) = (true, Duration::from_secs(50)))
        .task("c", &["a"], |_| {});
    let round = graph.run(&cx).await.unwrap();
    assert_eq!(
        (round.left, round.error.unwrap().kind()),
        (["a", "b", "c"].map(str::to_owned).to_vec(), ErrorKind::Conflict)
    );
    assert_eq!(cx.clock().elapsed().as_secs(), 20);
    let ended = cx.log().events().into_iter().filter_map(|event| match event.kind {
        EventKind::StepEnded { step, outcome, .. } => Some((step, outcome)),
        _ => None,
    });
    let ended: Vec<_> = ended.collect();
    assert!(ended.contains(&("b".to_owned(), StepOutcome::Cancelled)), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_says_what_it_waited_for() {
    let cx = context();
    let slow = |task: &mut Task| (task.watched, task.takes) = (true, Duration::from_secs(90));
    let round = Graph::new().task("a", &[], slow).run(&cx).await.unwrap();
    let error = round.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert_eq!(error.to_string(), "`a` was not done within 60 s: a is not there");
}

#[tokio::test(start_paused = true)]
async fn an_act_without_effect_is_an_error_not_a_loop() {
    struct Idle(Vec<String>);
    #[async_trait]
    impl Step for Idle {
        fn id(&self) -> &str {
            "idle"
        }
        fn needs(&self) -> &[String] {
            &self.0
        }
        fn deadline(&self) -> Duration {
            Duration::from_secs(60)
        }
        async fn probe(&self, _: &Context) -> Result<Verdict> {
            Ok(Verdict::NotYet("nothing happened".into()))
        }
        async fn act(&self, _: &Context) -> Result<()> {
            Ok(())
        }
    }
    let steps: Vec<Box<dyn Step>> = vec![Box::new(Idle(Vec::new()))];
    let round = engine::run(&steps, &BTreeMap::new(), &context()).await.unwrap();
    assert_eq!(round.error.unwrap().to_string(), "`idle` acted, and yet nothing happened");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_waits_and_says_what_is_left() {
    let cx = context();
    let graph = Graph::new().task("a", &[], |task| (task.watched, task.takes) = (true, Duration::from_secs(30))).task(
        "b",
        &["a"],
        |_| {},
    );
    let stop = async {
        cx.clock().sleep(Duration::from_secs(5)).await;
        cx.cancel().cancel();
    };
    let (round, ()) = futures::join!(graph.run(&cx), stop);
    let round = round.unwrap();
    assert_eq!((round.left, cx.clock().elapsed().as_secs()), (vec!["a".to_owned(), "b".to_owned()], 5));
    assert_eq!(round.error.unwrap().kind(), ErrorKind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_graph_that_cannot_run_is_refused_before_it_begins() {
    for (graph, expected) in [
        (Graph::new().task("a", &["b"], |_| {}), "step `a` needs `b`, which does not exist"),
        (Graph::new().task("a", &[], |_| {}).task("a", &[], |_| {}), "two steps are named `a`"),
        (
            Graph::new().task("a", &["b"], |_| {}).task("b", &["a"], |_| {}),
            "steps wait for each other in a circle: a, b",
        ),
    ] {
        let cx = context();
        assert_eq!(graph.run(&cx).await.unwrap_err().to_string(), expected);
        assert!(cx.log().events().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn events_tell_the_story_in_order_and_reach_late_readers() {
    let cx = context();
    let graph = Graph::new().task("a", &[], |_| {});
    graph.run(&cx).await.unwrap();
    let mut reader = cx.log().subscribe();
    cx.log().close();
    let mut told = Vec::new();
    while let Some(event) = reader.next().await {
        told.push((event.seq, event.at_ms, matches!(event.kind, EventKind::StepEnded { .. })));
    }
    assert_eq!(told, [(0, 0, false), (1, 10_000, true)]);
}
