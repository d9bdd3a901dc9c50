use std::sync::atomic::{AtomicUsize, Ordering};

use castle_core::{Env, EventKind, OsEntropy, Pace};

use super::*;
use crate::scripted::{Reply, Scripted};

const ONE: &str = "UPID:pve:00000001:00000001:69201A0F:qmcreate:421:castle@pve!main:";
const TWO: &str = "UPID:pve:00000002:00000002:69201A10:qmcreate:431:castle@pve!main:";

struct Stand {
    server: Scripted,
    watch: Watch,
    cx: Context,
    clock: Clock,
}

async fn stand(script: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Stand {
    let server = Scripted::start(script).await;
    let clock = Clock::new(Pace::Virtual);
    let client = Arc::new(Client::plain(&server.url, clock.clone()));
    let watch = Watch::new("pve", client, clock.clone());
    let cx = Context::new(Env { clock: clock.clone(), entropy: Arc::new(OsEntropy) }).for_step("step");
    Stand { server, watch, cx, clock }
}

fn upid(text: &str) -> Upid {
    text.parse().expect("a task")
}

fn list(entries: &[(&str, &str)]) -> Reply {
    let entry = |(upid, status): &(&str, &str)| match *status {
        "RUNNING" => format!(r#"{{"upid":"{upid}","status":"RUNNING"}}"#),
        ended => format!(r#"{{"upid":"{upid}","status":"{ended}","endtime":1763711999}}"#),
    };
    Reply::ok(&format!("[{}]", entries.iter().map(entry).collect::<Vec<_>>().join(",")))
}

#[tokio::test(start_paused = true)]
async fn the_wait_grows_from_50_to_250_milliseconds() {
    let stand = stand(|number, _| list(&[(ONE, if number < 9 { "RUNNING" } else { "OK" })])).await;
    let began = stand.clock.elapsed();
    stand.watch.task(&stand.cx, &upid(ONE), "it").await.expect("ended well");
    // 50 + 75 + 112.5 + 168.75 + 250 * 5, each rounded up to a timer's tick.
    let took = (stand.clock.elapsed() - began).as_millis();
    assert!((1656..1680).contains(&took), "{took} ms");
    assert_eq!(stand.server.met.lines().len(), 9);
    assert_eq!(stand.server.met.lines()[0], "GET /api2/json/nodes/pve/tasks?source=all&since=1763711502&limit=500");
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_share_each_look() {
    let stand = stand(|number, line| match line.contains("/tasks") {
        true => list(&[(ONE, if number < 6 { "RUNNING" } else { "WARNINGS: 1" }), (TWO, "RUNNING")]),
        false => Reply::ok(r#"[{"vmid":421,"status":"running"}]"#),
    })
    .await;
    let (one, two) = (upid(ONE), upid(TWO));
    let (first, again, second, power) = futures::join!(
        stand.watch.task(&stand.cx, &one, "it"),
        stand.watch.task(&stand.cx, &one, "it"),
        stand.clock.within(Duration::from_secs(10), stand.watch.task(&stand.cx, &two, "it")),
        stand.watch.power(&stand.cx, 421, Power::Running, "it"),
    );
    assert_eq!(first.expect("ended well").warnings.as_deref(), Some("1"));
    assert!(again.is_ok() && power.is_ok());
    assert!(second.is_none(), "it runs for ever");
    let lines = stand.server.met.lines();
    assert_eq!(lines.iter().filter(|line| line.contains("/qemu")).count(), 1, "{lines:?}");
    // Ten seconds at 250 ms, and no more for three waiters than for one.
    assert!((40..50).contains(&lines.len()), "{}", lines.len());
}

#[tokio::test(start_paused = true)]
async fn nobody_asks_once_nobody_waits() {
    let stand = stand(|_, _| list(&[(ONE, "RUNNING")])).await;
    let one = upid(ONE);
    // The one who looks is dropped in the middle; the other takes over.
    let wait = || stand.watch.task(&stand.cx, &one, "it");
    let (short, long) = futures::join!(
        stand.clock.within(Duration::from_millis(130), wait()),
        stand.clock.within(Duration::from_secs(2), wait()),
    );
    assert!(short.is_none() && long.is_none());
    let asked = stand.server.met.lines().len();
    assert!(asked >= 8, "{asked}");
    stand.clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(stand.server.met.lines().len(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_new_waiter_is_not_kept_for_an_old_one() {
    let stand = stand(|_, _| list(&[(ONE, "RUNNING"), (TWO, "OK")])).await;
    let (one, two) = (upid(ONE), upid(TWO));
    let old = stand.clock.within(Duration::from_secs(3), stand.watch.task(&stand.cx, &one, "it"));
    let new = async {
        // By now the wait is 250 ms long, and the next look is more than 50 away.
        stand.clock.sleep(Duration::from_millis(1700)).await;
        let began = stand.clock.elapsed();
        stand.watch.task(&stand.cx, &two, "it").await.expect("ended well");
        stand.clock.elapsed() - began
    };
    let (_, took) = futures::join!(old, new);
    assert!(took <= Duration::from_millis(55), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_the_list_misses_is_asked_for() {
    let stand = stand(|number, line| match (line.ends_with("/status"), number) {
        (false, _) => list(&[(TWO, "OK")]),
        (true, 2) => Reply::Say("400 Parameter verification failed.", r#"{"errors":{"upid":"no such task"}}"#.into()),
        (true, 4) => Reply::ok(r#"{"status":"running"}"#),
        (true, _) => Reply::ok(r#"{"status":"stopped","exitstatus":"can't do it"}"#),
    })
    .await;
    let error = stand.watch.task(&stand.cx, &upid(ONE), "it").await.expect_err("it failed");
    assert!(matches!(&error, Error::TaskFailed { exit, .. } if exit == "can't do it"), "{error:?}");
    assert_eq!(stand.server.met.lines().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_denied_for_long_is_lost() {
    let stand = stand(|_, line| match line.ends_with("/status") {
        false => Reply::ok("[]"),
        true => Reply::Say("400 Parameter verification failed.", r#"{"errors":{"upid":"no such task"}}"#.into()),
    })
    .await;
    let error = stand.watch.task(&stand.cx, &upid(ONE), "it").await.expect_err("it is lost");
    assert!(error.leaves_doubt(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_and_asked_again_and_is_no_failure() {
    let failures = Arc::new(AtomicUsize::new(0));
    let stand = stand(move |_, _| match failures.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::Say("596 Connection timed out", String::new()),
        1 => Reply::HangUp,
        2 => Reply::Say("595 No route to host", String::new()),
        _ => list(&[(ONE, "OK")]),
    })
    .await;
    stand.watch.task(&stand.cx, &upid(ONE), "the import").await.expect("ended well");
    let told: Vec<String> = stand
        .cx
        .log()
        .events()
        .into_iter()
        .filter_map(|event| match event.kind {
            EventKind::StepWaiting { why, .. } => Some(why),
            _ => None,
        })
        .collect();
    assert_eq!(told[0], "the import");
    assert!(told[1].starts_with("the import; host pve does not answer: "), "{told:?}");
    assert!(told.iter().any(|why| why.contains("No route to host")), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_token_ends_the_wait() {
    let stand = stand(|_, _| Reply::Say("401 No ticket", String::new())).await;
    let error = stand.watch.task(&stand.cx, &upid(ONE), "it").await.expect_err("no right to know");
    assert_eq!(error.refusal(), Some(&Refusal::Unauthenticated));
}

#[tokio::test(start_paused = true)]
async fn a_wish_to_stop_ends_the_wait() {
    let stand = stand(|_, _| list(&[(ONE, "RUNNING")])).await;
    let one = upid(ONE);
    let stop = async {
        stand.clock.sleep(Duration::from_secs(1)).await;
        stand.cx.cancel().cancel();
    };
    let (error, ()) = futures::join!(stand.watch.task(&stand.cx, &one, "it"), stop);
    assert!(matches!(error, Err(Error::Cancelled)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn an_old_look_proves_no_power_state() {
    let stand = stand(|number, _| {
        let status = if number == 1 { "stopped" } else { "running" };
        Reply::ok(&format!(r#"[{{"vmid":"421","status":"{status}"}}]"#))
    })
    .await;
    stand.watch.power(&stand.cx, 421, Power::Stopped, "it").await.expect("it is off");
    let again = stand.watch.power(&stand.cx, 421, Power::Stopped, "it");
    assert!(stand.clock.within(Duration::from_secs(5), again).await.is_none(), "it was started meanwhile");
    let error = stand.watch.power(&stand.cx, 421, Power::Stopped, "it").await.expect_err("for a minute");
    assert!(matches!(error, Error::NotReached { .. }), "{error:?}");
    let began = stand.clock.elapsed();
    let error = stand.watch.power(&stand.cx, 431, Power::Stopped, "it").await.expect_err("it is not there");
    assert!(matches!(error, Error::NotReached { .. }), "{error:?}");
    assert!(stand.clock.elapsed() - began < Duration::from_secs(1));
}
