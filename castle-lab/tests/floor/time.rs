//! One canary for each rule of virtual time.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use castle_core::{Clock, ErrorKind, Pace};
use castle_lab::address::{self, SilentHost};
use castle_lab::runtime::{VirtualThread, push_time, run_scaled, run_virtual, run_virtual_watched};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::echo::{Client, block, house, localhost};

const SECOND: Duration = Duration::from_secs(1);

/// tokio below 1.53.3 fails here: half of the timeouts fire although the answer
/// is on its way.
#[test]
fn a_slow_answer_over_a_real_socket_is_no_timeout() {
    let (timeouts, elapsed) = run_virtual(|| async {
        let clock = Clock::new(Pace::Virtual);
        let listener = TcpListener::bind((localhost(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server_clock = clock.clone();
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut byte = [0];
            while stream.read_exact(&mut byte).await.is_ok() {
                server_clock.sleep(7 * SECOND).await;
                stream.write_all(&byte).await.unwrap();
            }
        });
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut timeouts = 0;
        for _ in 0..2_000 {
            let mut byte = [7];
            client.write_all(&byte).await.unwrap();
            match clock.within(10 * SECOND, client.read_exact(&mut byte)).await {
                Some(read) => assert_eq!(read.unwrap(), 1),
                None => timeouts += 1,
            }
        }
        (timeouts, clock.elapsed())
    });
    assert_eq!(timeouts, 0);
    assert_eq!(elapsed.as_secs() / 7, 2_000, "{elapsed:?} is not 2,000 times 7 s and the timer's granularity");
}

#[test]
fn a_slow_answer_to_reqwest_over_tls_is_no_timeout() {
    run_virtual(|| async {
        let (echo, lab) = house(1);
        let lab = lab.start().await.unwrap();
        let client = Client::with(&lab, lab.new_run(), 10 * SECOND);
        for number in 1..=2_000 {
            let text = client.get("/latency/7000").await.unwrap();
            assert!(text.starts_with(&format!("{number} ")), "{text}");
        }
        assert_eq!(echo.effects.load(Ordering::SeqCst), 2_000);
        assert_eq!(lab.clock().elapsed().as_secs() / 7, 2_000, "{:?}", lab.clock().elapsed());
    });
}

/// Work that the runtime does not know of is no reason to stand still.
#[test]
fn a_thread_outside_does_not_hold_the_clock_and_spawn_blocking_does() {
    run_virtual(|| async {
        let clock = Clock::new(Pace::Virtual);
        let (done, answer) = tokio::sync::oneshot::channel();
        let outside = std::thread::spawn(move || {
            block(Duration::from_millis(50));
            // The waiter gave up long ago.
            done.send(()).is_err()
        });
        assert_eq!(clock.within(600 * SECOND, answer).await, None, "the deadline expires while the thread works");
        assert!(outside.join().unwrap());

        let before = clock.elapsed();
        let work = tokio::task::spawn_blocking(|| block(Duration::from_millis(50)));
        assert!(clock.within(600 * SECOND, work).await.is_some(), "the deadline waits for blocking work");
        assert!(clock.elapsed() - before < SECOND, "{:?} passed", clock.elapsed() - before);
    });
}

/// While blocking work holds the clock, whatever waits for virtual time waits
/// until the work ends: a server that the work itself asks must not sleep.
#[test]
fn blocking_work_keeps_timers_from_firing() {
    run_virtual(|| async {
        let clock = Clock::new(Pace::Virtual);
        let work = tokio::task::spawn_blocking(|| block(Duration::from_millis(50)));
        tokio::select! {
            biased;
            done = work => done.unwrap(),
            () = clock.sleep(SECOND) => panic!("a timer fired although blocking work holds the clock"),
        }
    });
}

/// The way out for such a server: it moves time itself.
#[test]
fn time_can_be_pushed_while_blocking_work_holds_it() {
    run_virtual(|| async {
        let clock = Clock::new(Pace::Virtual);
        let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel::<std::sync::mpsc::Sender<()>>();
        let work = tokio::task::spawn_blocking(move || {
            for _ in 0..3 {
                let (answer, answered) = std::sync::mpsc::channel();
                ask.send(answer).unwrap();
                answered.recv().unwrap();
            }
        });
        while let Some(answer) = asked.recv().await {
            push_time(Duration::from_millis(50)).await;
            answer.send(()).unwrap();
        }
        work.await.unwrap();
        assert_eq!(clock.elapsed(), Duration::from_millis(150));
    });
}

#[test]
fn a_lab_without_a_job_stands_still() {
    let thread = VirtualThread::start();
    let (lab, client) = thread.run(|| async {
        let lab = house(1).1.start().await.unwrap();
        let client = Client::of(&lab, lab.new_run());
        client.get("/latency/1000").await.unwrap();
        (lab, client)
    });
    let clock = lab.clock();
    let before = {
        let clock = clock.clone();
        thread.run(move || async move { clock.elapsed() })
    };
    // The server's idle timer is pending: a runtime that were driven would run to it and on.
    block(Duration::from_millis(100));
    let after = thread.run(move || async move { clock.elapsed() });
    assert_eq!(before, after);
    let seconds = thread.run(move || async move {
        lab.advance(3600 * SECOND).await.unwrap();
        client.get("/latency/0").await.unwrap();
        lab.clock().elapsed().as_secs()
    });
    assert_eq!(seconds, 3601, "the lab goes on where it stood");
}

#[test]
fn a_job_s_panic_reaches_its_caller_and_the_thread_lives_on() {
    let thread = VirtualThread::start();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        thread.run(|| async { std::panic::panic_any("a wrong turn") });
    }));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"a wrong turn"));
    assert_eq!(thread.run(|| async { 7 }), 7);
}

/// The parent runs this very test in a child process, where it hangs.
#[test]
fn a_hang_is_ended_by_the_watchdog() {
    const CHILD: &str = "CASTLE_LAB_TEST_HANGS";
    if std::env::var_os(CHILD).is_some() {
        // Nobody wakes this, no timer is pending: no CPU burns and nothing is said.
        run_virtual_watched(Duration::from_millis(400), std::future::pending::<()>);
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "time::a_hang_is_ended_by_the_watchdog"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(!child.status.success(), "the child came to an end by itself: {said}");
    assert!(said.contains("castle-lab watchdog: no progress for 0.4 s"), "{said}");
}

/// A watchdog that bites those who work would be worse than none.
#[test]
fn long_virtual_work_is_progress() {
    let seconds = run_virtual_watched(Duration::from_millis(200), || async {
        let clock = Clock::new(Pace::Virtual);
        for _ in 0..4 {
            for _ in 0..100 {
                clock.sleep(3600 * SECOND).await;
            }
            tokio::task::spawn_blocking(|| block(Duration::from_millis(100))).await.unwrap();
        }
        clock.elapsed().as_secs()
    });
    assert_eq!(seconds / 3600, 400);
}

#[test]
fn virtual_time_opens_no_public_port() {
    let error = run_virtual(|| async { house(1).1.public().start().await.map(|_| ()) }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.advice().unwrap().contains("--pace 60x"), "{error:?}");
}

#[test]
fn a_silent_host_is_not_a_refusing_one() {
    run_virtual(|| async {
        let clock = Clock::new(Pace::Virtual);
        let silent = SilentHost::listen((localhost(), 0).into()).await.unwrap();
        let address = silent.address().unwrap();
        let answer = clock.within(10 * SECOND, TcpStream::connect(address)).await;
        assert!(answer.is_none(), "a dead node answered: {answer:?}");
        assert_eq!(clock.elapsed().as_secs(), 10);

        drop(silent);
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

/// The house's work scales; the protocol's own timers do not, for the peer's
/// kernel does not know our pace.
#[test]
fn a_scaled_lab_works_faster_and_hangs_up_no_sooner() {
    run_scaled(|| async {
        let real = Clock::new(Pace::Real);
        let lab = house(1).1.pace(Pace::scaled(600.0).unwrap()).start().await.unwrap();
        let client = Client::of(&lab, lab.new_run());
        client.get("/latency/30000").await.unwrap();
        // A minute of the lab, a tenth of a second here: the connection is still open.
        lab.clock().sleep(60 * SECOND).await;
        client.get("/latency/0").await.unwrap();
        assert!(lab.clock().elapsed() >= 90 * SECOND);
        assert!(real.elapsed() < 2 * SECOND, "{:?}", real.elapsed());
        assert_eq!(lab.connections(), 1, "the second request came over the first connection");
        let error = lab.advance(SECOND).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    });
}

#[test]
fn a_listener_of_another_lab_is_named() {
    run_scaled(|| async {
        let first = address::listen((localhost(), 0).into()).unwrap();
        let taken = first.local_addr().unwrap();
        let error = address::listen(taken).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddressInUse);
        assert_eq!(error.to_string(), format!("port {} of 127.0.0.1 is taken", taken.port()));
    });
}
