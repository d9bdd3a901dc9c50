//! Power cuts: the world goes on, the dead do not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use castle_core::{ErrorKind, Pace, Secret};
use castle_lab::runtime::{Outcome, run_virtual, run_virtual_until_cut};
use castle_lab::{Fault, FaultEffect, Journal, Lab, LabBuilder, RunId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::echo::{Client, HOUSE, around, house, trusting};

/// Five posts of two seconds, one after the other.
async fn engine(lab: Arc<Lab>) -> RunId {
    let run = lab.new_run();
    let client = Client::of(&lab, run);
    for _ in 0..5 {
        client.post("/latency/2000").await.unwrap();
    }
    run
}

/// A bare connection from a run's address.
async fn connect(lab: &Lab, run: RunId) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((lab.source(run), 0).into()).unwrap();
    socket.connect(lab.address_of(*HOUSE).unwrap()).await.unwrap()
}

fn cut_at(lab: LabBuilder, index: u64, after: bool) -> LabBuilder {
    lab.faults(vec![Fault::at_request(RunId(1), index, FaultEffect::Cut { after })])
}

#[test]
fn a_cut_carries_the_world_out_and_nothing_else() {
    for (after, effects) in [(false, 2), (true, 3)] {
        let (echo, lab) = house(7);
        let journal = Journal::new();
        let outcome = run_virtual_until_cut(cut_at(lab, 2, after).journal(journal.clone()), engine).unwrap();
        let Outcome::Cut(world) = outcome else { panic!("the engine came to its end: {outcome:?}") };
        assert_eq!(echo.effects.load(Ordering::SeqCst), effects);
        assert_eq!(Arc::strong_count(&echo), 1, "the old lab is gone with everything on it");
        let last = journal.entries().pop().unwrap();
        assert_eq!((last.index, last.effect, last.status), (2, after, None));
        let stood_at = world.now();

        let (echo, lab) = around(world);
        let next = run_virtual_until_cut(lab.journal(journal.clone()), engine).unwrap();
        let Outcome::Done(run, world) = next else { panic!("nothing was left to strike") };
        assert_eq!(run, RunId(2), "run 1 is dead and its number with it");
        assert_eq!(echo.effects.load(Ordering::SeqCst), 5);
        assert!(world.now() >= stood_at + Duration::from_secs(10), "{:?} after {stood_at:?}", world.now());
        assert_eq!(journal.requests(RunId(1))["echo"].write, 3);
        assert_eq!(journal.requests(RunId(2))["echo"].write, 5);
    }
}

#[test]
fn an_engine_that_is_done_gives_its_value_and_the_world() {
    let outcome = run_virtual_until_cut(cut_at(house(7).1, 5, false), engine).unwrap();
    assert!(matches!(outcome, Outcome::Done(RunId(1), _)), "there is no sixth request: {outcome:?}");
}

#[test]
fn what_an_engine_spawned_dies_with_it() {
    let (echo, lab) = house(7);
    let outcome = run_virtual_until_cut(cut_at(lab, 0, false), |lab| async move {
        let mut tasks = tokio::task::JoinSet::new();
        let client = Client::of(&lab, lab.new_run());
        let clock = lab.clock();
        tasks.spawn(async move {
            loop {
                clock.sleep(Duration::from_secs(1)).await;
                // Whatever the answer, an engine that is alive asks again.
                drop(client.post("/latency/0").await);
            }
        });
        tasks.join_next().await;
    })
    .unwrap();
    assert!(matches!(outcome, Outcome::Cut(_)));
    assert_eq!(echo.effects.load(Ordering::SeqCst), 0);
}

#[test]
fn the_bytes_of_a_dead_run_never_reach_the_world() {
    run_virtual(|| async {
        let (echo, lab) = house(7);
        let lab = lab.start().await.unwrap();
        let (dead, living) = (lab.new_run(), lab.new_run());
        let (at_work, client) = (Client::of(&lab, dead), Client::of(&lab, living));

        // One request is at work, another is half sent, and a third comes later.
        let stream = connect(&lab, dead).await;
        let tls = TlsConnector::from(Arc::new(trusting(lab.pki().ca_pem(), lab.clock())));
        let mut half = tls.connect(stream.peer_addr().unwrap().ip().into(), stream).await.unwrap();
        half.write_all(b"POST /latency/0 HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nab").await.unwrap();
        let killer = async {
            lab.clock().sleep(Duration::from_secs(2)).await;
            lab.kill(dead);
        };
        let (struck, ()) = tokio::join!(at_work.post("/latency/8000"), killer);
        assert!(struck.is_err());
        // Its own kernel may not know yet; then the bytes go into a socket that was reset.
        let sent = half.write_all(b"cd").await;
        let later = at_work.post("/latency/0").await;
        lab.advance(Duration::from_secs(60)).await.unwrap();
        assert_eq!(echo.effects.load(Ordering::SeqCst), 0, "sent: {sent:?}");
        assert!(later.is_err(), "{later:?}");
        assert_eq!(lab.journal().len(), 1, "only the request at work had arrived");
        client.post("/latency/0").await.expect("the living are served");
    });
}

#[test]
fn a_dead_run_is_reset_where_it_stands_and_where_it_comes() {
    run_virtual(|| async {
        let lab = house(7).1.start().await.unwrap();
        let dead = lab.new_run();
        let mut idle = connect(&lab, dead).await;
        let tls = TlsConnector::from(Arc::new(trusting(lab.pki().ca_pem(), lab.clock())));
        let mut idle_tls = {
            let stream = connect(&lab, dead).await;
            let name = stream.peer_addr().unwrap().ip().into();
            tls.connect(name, stream).await.unwrap()
        };
        lab.kill(dead);
        for error in [idle.read_u8().await.unwrap_err(), idle_tls.read_u8().await.unwrap_err()] {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        let accepted = lab.connections();
        let error = connect(&lab, dead).await.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(lab.connections(), accepted, "not even a handshake is begun with the dead");
        assert!(lab.clock().elapsed().is_zero(), "nobody waited for a timer");
    });
}

#[test]
fn the_secret_store_does_not_hear_the_dead() {
    run_virtual(|| async {
        let lab = house(7).1.start().await.unwrap();
        let dead = lab.new_run();
        let store = lab.secrets(dead);
        lab.kill(dead);
        let error = store.create(&"a".parse().unwrap(), &Secret::new(vec![7])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(lab.journal().is_empty());
        lab.with_world(|world| assert!(world.ledger.secrets.0.is_empty()));
    });
}

#[test]
fn an_engine_that_ends_in_the_turn_of_the_cut_was_cut() {
    let outcome = run_virtual_until_cut(cut_at(house(7).1, 0, true), |lab| async move {
        let store = lab.secrets(lab.new_run());
        let (key, value) = ("a".parse().unwrap(), Secret::new(vec![7]));
        tokio::select! {
            biased;
            created = store.create(&key, &value) => panic!("a dead engine learns nothing: {created:?}"),
            () = std::future::ready(()) => {}
        }
    });
    assert!(matches!(outcome, Ok(Outcome::Cut(_))), "{outcome:?}");
}

#[test]
fn a_cut_in_the_secret_store_leaves_the_secret_or_not() {
    for after in [false, true] {
        let lab = cut_at(house(7).1, 1, after);
        let outcome = run_virtual_until_cut(lab, |lab| async move {
            let store = lab.secrets(lab.new_run());
            let key = "talos/1".parse().unwrap();
            assert!(store.get(&key).await.unwrap().is_none());
            let created = store.create(&key, &Secret::new(b"hunter2".to_vec())).await;
            panic!("the engine went on after its death: {created:?}");
        });
        let Ok(Outcome::Cut(world)) = outcome else { panic!("no cut: {outcome:?}") };
        assert!(!format!("{world:?}").contains("hunter2"));
        let found = run_virtual(|| async {
            let lab = around(world).1.start().await.unwrap();
            lab.secrets(lab.new_run()).get(&"talos/1".parse().unwrap()).await.unwrap()
        });
        assert_eq!(found.is_some(), after);
    }
}

#[test]
fn only_virtual_time_can_be_cut() {
    let outcome = run_virtual_until_cut(house(7).1.pace(Pace::Real), engine);
    assert!(outcome.unwrap_err().advice().unwrap().contains("Pace::Virtual"));
}
