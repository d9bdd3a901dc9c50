//! What leaves and enters the sockets.

use std::time::Duration;

use castle_core::Pace;
use castle_lab::runtime::{run_scaled, run_virtual};
use castle_lab::{Journal, RunId};
use hyper::ext::ReasonPhrase;

use crate::echo::{Client, HOUSE, chain, house};

#[test]
fn a_refusal_carries_its_own_reason_and_closes() {
    run_virtual(|| async {
        let lab = house(1).1.start().await.unwrap();
        let client = Client::of(&lab, lab.new_run());
        let answer = client.http.get(format!("{}/refuse", client.base)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 595);
        assert_eq!(answer.extensions().get::<ReasonPhrase>().unwrap().as_bytes(), b"No route to host");
        assert_eq!(answer.headers()["connection"], "close");
        client.get("/latency/0").await.unwrap();
        assert_eq!(lab.connections(), 2, "each over a connection of its own");
    });
}

#[test]
fn a_busy_house_scales_and_a_penalty_does_not() {
    let waits = |pace| async move {
        let lab = house(1).1.pace(pace).start().await.unwrap();
        let client = Client::of(&lab, lab.new_run());
        let mut waited = Vec::new();
        for path in ["/busy", "/unauthenticated"] {
            let begin = lab.clock().elapsed();
            client.get(path).await.unwrap();
            waited.push((lab.clock().elapsed() - begin).as_secs_f64());
        }
        waited
    };
    let in_virtual_time = run_virtual(|| waits(Pace::Virtual));
    assert_eq!(in_virtual_time.iter().map(|seconds| (seconds * 10.0).round()).collect::<Vec<_>>(), [200.0, 3.0]);
    let scaled = run_scaled(|| waits(Pace::scaled(600.0).unwrap()));
    // 20 s of the lab are 0.03 s here, on a busy machine some more; 0.3 s here are
    // 180 s of the lab.
    assert!((20.0..1200.0).contains(&scaled[0]) && scaled[1] >= 180.0, "{scaled:?}");
}

#[test]
fn the_server_learns_how_a_body_came() {
    run_virtual(|| async {
        let lab = house(1).1.start().await.unwrap();
        let run = lab.new_run();
        let client = Client::of(&lab, run);
        assert_eq!(client.post("/latency/0").await.unwrap(), format!("1 body=5 chunked=false run={run}"));
        let stream = http_body_util::StreamBody::new(futures::stream::iter([
            Ok::<_, std::io::Error>(hyper::body::Frame::data(bytes::Bytes::from_static(b"abc"))),
            Ok(hyper::body::Frame::data(bytes::Bytes::from_static(b"de"))),
        ]));
        let request = client.http.post(format!("{}/latency/0", client.base)).body(reqwest::Body::wrap(stream));
        let text = request.send().await.unwrap().text().await.unwrap();
        assert_eq!(text, format!("2 body=5 chunked=true run={run}"));
    });
}

#[test]
fn a_kept_connection_is_closed_after_five_idle_seconds() {
    run_virtual(|| async {
        let lab = house(1).1.start().await.unwrap();
        let client = Client::of(&lab, lab.new_run());
        for (pause, connections) in [(0, 1), (3, 1), (6, 2)] {
            lab.advance(Duration::from_secs(pause)).await.unwrap();
            client.get("/latency/0").await.unwrap();
            assert_eq!(lab.connections(), connections, "after {pause} idle seconds");
        }
        lab.advance(Duration::from_secs(6)).await.unwrap();
        assert_eq!(lab.open_connections(), 0, "the server hangs up by itself");
    });
}

#[test]
fn a_connection_serves_a_hundred_requests() {
    run_virtual(|| async {
        let lab = house(1).1.start().await.unwrap();
        let client = Client::of(&lab, lab.new_run());
        for (number, connections) in [(100, 1), (1, 2)] {
            for _ in 0..number {
                client.get("/latency/0").await.unwrap();
            }
            assert_eq!(lab.connections(), connections);
        }
    });
}

#[test]
fn whoever_was_not_allotted_is_foreign() {
    run_virtual(|| async {
        let lab = house(1).1.start().await.unwrap();
        let client = Client::of(&lab, RunId::FOREIGN);
        assert_eq!(client.get("/latency/0").await.unwrap(), "1 body=0 chunked=false run=foreign");
    });
}

#[test]
fn a_certificate_ends_with_the_lab_s_wall_not_the_machine_s() {
    run_virtual(|| async {
        let lab = house(1).1.start().await.unwrap();
        let run = lab.new_run();
        Client::of(&lab, run).get("/latency/0").await.unwrap();
        lab.advance(Duration::from_secs(3 * 365 * 24 * 3600)).await.unwrap();
        let error = Client::of(&lab, run).get("/latency/0").await.unwrap_err();
        assert!(chain(&error).contains("expired"), "{}", chain(&error));
    });
}

#[test]
fn a_stranger_s_authority_does_not_vouch_for_the_house() {
    run_virtual(|| async {
        let (ours, theirs) = (house(1).1.start().await.unwrap(), house(2).1.start().await.unwrap());
        let mut client = Client::of(&ours, ours.new_run());
        client.base = format!("https://{}", theirs.address_of(*HOUSE).unwrap());
        let error = client.get("/latency/0").await.unwrap_err();
        assert!(chain(&error).contains("certificate"), "{}", chain(&error));
        assert!(theirs.journal().is_empty());
    });
}

/// Three entities, four requests each, in one of two orders.
fn durations(seed: u64, reversed: bool) -> (Vec<(String, Duration)>, Journal) {
    let journal = Journal::new();
    let kept = journal.clone();
    run_virtual(move || async move {
        let lab = house(seed).1.journal(journal).start().await.unwrap();
        let client = Client::of(&lab, lab.new_run());
        let mut entities = ["421", "431", "432"];
        if reversed {
            entities.reverse();
        }
        for entity in entities {
            for _ in 0..4 {
                let url = format!("{}/latency/500/{entity}", client.base);
                client.http.get(url).header("x-tail", "long").send().await.unwrap();
            }
        }
    });
    let mut durations: Vec<_> =
        kept.entries().into_iter().map(|entry| (entry.entity, entry.finished.unwrap() - entry.at)).collect();
    // Stable: the order within an entity stays.
    durations.sort_by(|a, b| a.0.cmp(&b.0));
    (durations, kept)
}

#[test]
fn the_order_of_requests_changes_no_draw() {
    let (in_order, _) = durations(7, false);
    assert_eq!(in_order, durations(7, true).0);
    assert_ne!(in_order, durations(8, false).0);
    assert_ne!(in_order[0].1, in_order[1].1, "the durations are drawn: {in_order:?}");
}

#[test]
fn one_seed_is_one_journal() {
    let digest = |seed| durations(seed, false).1.digest();
    assert_eq!(digest(7), digest(7));
    assert_ne!(digest(7), digest(8));
}

#[test]
fn a_model_that_panics_is_no_silent_success() {
    run_virtual(|| async {
        let lab = house(1).1.start().await.unwrap();
        let client = Client::of(&lab, lab.new_run());
        assert!(client.get("/panic").await.is_err());
        assert!(client.get("/latency/0").await.is_err(), "a world that was left half changed serves nobody");
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lab.with_world(|world| world.now())));
        assert!(looked.is_err());
    });
}
