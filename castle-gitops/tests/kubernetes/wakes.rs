use std::time::Duration;

use castle_core::Clock;
use castle_lab::runtime;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::json;

use crate::cluster::{Cluster, node, pod};

/// Counts the wakes that come within so many seconds.
async fn wakes_within(clock: &Clock, stream: &mut BoxStream<'static, ()>, seconds: u64) -> usize {
    let (until, mut count) = (clock.elapsed() + Duration::from_secs(seconds), 0);
    while clock.within(until.saturating_sub(clock.elapsed()), stream.next()).await.is_some() {
        count += 1;
    }
    count
}

#[test]
fn a_change_wakes_and_quiet_does_not() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let clock = cluster.lab.clock();
        let mut stream = cluster.api().watch(&cluster.cx);
        // One at once, and one for the list that the watches begin from.
        assert_eq!(wakes_within(&clock, &mut stream, 60).await, 2);
        assert_eq!(cluster.asked(), ["GET nodes 200", "GET pods 200", "WATCH nodes 200", "WATCH pods 200"]);
        cluster.put(node("cp-01", "True"));
        assert_eq!(wakes_within(&clock, &mut stream, 10).await, 1);
        cluster.put(pod("coredns-a", "kube-dns", "False"));
        cluster.put(pod("coredns-a", "kube-dns", "True"));
        cluster.put(node("cp-02", "True"));
        assert!((1..=3).contains(&wakes_within(&clock, &mut stream, 10).await));
        // What is not watched does not wake.
        cluster.put(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "kube-system"}}),
        );
        assert_eq!(wakes_within(&clock, &mut stream, 100).await, 0);
        assert_eq!(cluster.asked().len(), 4, "nothing was asked meanwhile");
    });
}

#[test]
fn a_watch_that_ends_goes_on_where_it_was() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let clock = cluster.lab.clock();
        let mut stream = cluster.api().watch(&cluster.cx);
        assert_eq!(wakes_within(&clock, &mut stream, 1_000).await, 2);
        let asked = cluster.asked();
        assert_eq!(asked.iter().filter(|line| line.starts_with("GET")).count(), 2, "no list is repeated: {asked:?}");
        assert_eq!(asked.iter().filter(|line| line.starts_with("WATCH")).count(), 8, "{asked:?}");
        cluster.put(node("cp-01", "True"));
        assert_eq!(wakes_within(&clock, &mut stream, 10).await, 1);
    });
}

#[test]
fn a_watch_from_too_far_back_lists_again() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let clock = cluster.lab.clock();
        let mut stream = cluster.api().watch(&cluster.cx);
        let wakes = wakes_within(&clock, &mut stream, 1).await;
        assert_eq!(wakes, 2);
        cluster.put(node("cp-01", "True"));
        assert_eq!(wakes_within(&clock, &mut stream, 10).await, 1);
        // Both watches end at 290 s; while they pause, what they know is compacted away.
        let (mut count, until) = (0, Duration::from_millis(290_150));
        while clock.within(until.saturating_sub(clock.elapsed()), stream.next()).await.is_some() {
            count += 1;
        }
        assert_eq!(count, 0);
        cluster
            .put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}}));
        cluster.lab.with_world(|world| {
            let revision = world.kubernetes.revision();
            world.kubernetes.compact(revision);
        });
        assert_eq!(wakes_within(&clock, &mut stream, 60).await, 1);
        let lists = cluster.asked().iter().filter(|line| line.starts_with("GET nodes")).count();
        assert_eq!(lists, 2, "{:?}", cluster.asked());
        cluster.put(node("cp-02", "True"));
        assert_eq!(wakes_within(&clock, &mut stream, 10).await, 1);
    });
}

#[test]
fn while_the_api_is_away_the_wakes_come_by_back_off() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let clock = cluster.lab.clock();
        let mut stream = cluster.api().watch(&cluster.cx);
        assert_eq!(wakes_within(&clock, &mut stream, 1).await, 2);
        cluster.lab.with_world(|world| world.kubernetes.stop_serving());
        // After 0.25 s, then every 0.5 s, and the time of the attempts between.
        let wakes = wakes_within(&clock, &mut stream, 60).await;
        assert!((90..=122).contains(&wakes), "{wakes}");
        cluster.lab.with_world(|world| world.kubernetes.serve());
        assert!(wakes_within(&clock, &mut stream, 10).await >= 1);
        cluster.put(node("cp-01", "True"));
        assert_eq!(wakes_within(&clock, &mut stream, 10).await, 1);
    });
}

#[test]
fn one_seed_is_one_history() {
    let history = || {
        runtime::run_virtual(|| async {
            let cluster = Cluster::start().await;
            let clock = cluster.lab.clock();
            let api = cluster.api();
            let mut stream = api.watch(&cluster.cx);
            let mut seen = Vec::new();
            for step in 0..20 {
                cluster.put(node(&format!("w-{step:02}"), if step % 2 == 0 { "True" } else { "False" }));
                if clock.within(Duration::from_secs(3), stream.next()).await.is_some() {
                    seen.push((clock.elapsed().as_millis(), api.nodes(&cluster.cx).await.unwrap().len()));
                }
            }
            (seen, cluster.lab.journal().digest())
        })
    };
    let first = history();
    for _ in 0..5 {
        assert_eq!(history(), first);
    }
}
