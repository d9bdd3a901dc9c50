use castle_core::ErrorKind;
use castle_lab::{Fault, FaultEffect, runtime};

use crate::cluster::{Cluster, node, pod};

#[test]
fn nodes_and_network_are_read_as_they_are() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let api = cluster.api();
        api.serves(&cluster.cx).await.unwrap();
        let nodes = api.nodes(&cluster.cx).await.unwrap();
        assert_eq!(
            format!("{nodes:?}"),
            "[KubeNode { name: \"cp-01\", system_uuid: \"6d2d06e1-7b2c-4e5a-9a3b-0d7b4c1f2a11\", ready: false, \
             why_not: \"KubeletNotReady: cni plugin not initialized\" }]"
        );
        let state = api.cni(&cluster.cx).await.unwrap();
        assert_eq!((state.is_ready(), state.waiting.as_deref()), (false, Some("no pod of the network plugin yet")));
        for (name, app) in [("kube-flannel-a", "flannel"), ("coredns-a", "kube-dns"), ("kube-proxy-a", "kube-proxy")] {
            cluster.put(pod(name, app, "True"));
        }
        cluster.put(node("cp-01", "True"));
        assert!(api.nodes(&cluster.cx).await.unwrap()[0].ready);
        let state = api.cni(&cluster.cx).await.unwrap();
        assert_eq!((state.is_ready(), state.wanted, state.ready), (true, 3, 3));

        // One connection carries everything, and what was sent is what arrived.
        assert_eq!(cluster.lab.connections(), 1);
        assert_eq!(cluster.asked().len() as u64, cluster.meter().total().read);
        assert_eq!(cluster.asked()[..2], ["GET readyz 200", "GET nodes 200"]);
        assert_eq!(cluster.meter().total().write, 0);
        let entries = cluster.lab.journal().entries();
        assert!(entries.iter().all(|entry| entry.run == cluster.run && entry.backend == "kubernetes"), "{entries:?}");
    });
}

#[test]
fn what_a_server_says_is_short_and_steers_no_terminal() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let message = format!("\\u001b[2J{}", "x".repeat(200_000));
        let body = format!(
            r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","code":403,"reason":"Forbidden","message":"{message}"}}"#
        );
        cluster.lab.faults().add(Fault::of(FaultEffect::Status { status: 403, reason: None, body, after: false }));
        let told = cluster.api().nodes(&cluster.cx).await.unwrap_err().chain();
        assert!(told.len() < 800 && told.contains('…'), "{} letters", told.len());
        assert!(!told.contains(char::is_control) && told.contains("\u{FFFD}[2Jxx"), "{told}");
        // What an object says of itself likewise.
        let mut late = node("cp-01", "False");
        late["status"]["conditions"][0]["message"] = format!("\u{1b}[2J{}", "x".repeat(200_000)).into();
        cluster.put(late);
        let why = cluster.api().nodes(&cluster.cx).await.unwrap().remove(0).why_not;
        assert!(why.len() < 600 && why.contains("\u{FFFD}[2Jxx"), "{} letters", why.len());
    });
}

#[test]
fn the_connections_end_with_the_last_handle() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let api = cluster.api();
        api.serves(&cluster.cx).await.unwrap();
        assert_eq!(cluster.lab.open_connections(), 1);
        drop(api);
        cluster.lab.clock().sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(cluster.lab.open_connections(), 0);
    });
}

#[test]
fn an_api_that_does_not_serve_is_unreachable_and_comes_back() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let api = cluster.api();
        cluster.lab.with_world(|world| world.kubernetes.stop_serving());
        let error = api.serves(&cluster.cx).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", error.chain());
        assert!(
            error.chain().starts_with("the Kubernetes API does not answer: no answer from https://192.168.1.210:6443")
        );
        assert_eq!(cluster.meter().total().read, 0, "nothing was sent");
        cluster.lab.with_world(|world| world.kubernetes.serve());
        api.serves(&cluster.cx).await.unwrap();
        // Once more: a connection stands, and dies.
        cluster.lab.with_world(|world| world.kubernetes.stop_serving());
        assert_eq!(api.nodes(&cluster.cx).await.unwrap_err().kind(), ErrorKind::Unreachable);
        cluster.lab.with_world(|world| world.kubernetes.serve());
        assert_eq!(api.nodes(&cluster.cx).await.unwrap().len(), 1);
    });
}

#[test]
fn an_answer_of_another_kind_is_told_by_its_status() {
    let cases = [
        (401, ErrorKind::Unauthenticated),
        (403, ErrorKind::PermissionDenied),
        (429, ErrorKind::RateLimited),
        (500, ErrorKind::Unreachable),
        (503, ErrorKind::Unreachable),
    ];
    runtime::run_virtual(move || async move {
        let cluster = Cluster::start().await;
        let api = cluster.api();
        for (status, kind) in cases {
            let effect = FaultEffect::Status { status, reason: None, body: "a proxy's own page".into(), after: false };
            cluster.lab.faults().add(Fault { kind: Some("GET nodes".into()), ..Fault::of(effect) });
            let error = api.nodes(&cluster.cx).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{status}: {}", error.chain());
        }
        // No silent second attempts.
        assert_eq!(cluster.asked().len(), cases.len());
    });
}

#[test]
fn a_server_that_falls_silent_costs_one_budget() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let api = cluster.api();
        cluster.lab.faults().add(Fault { kind: Some("GET readyz".into()), ..Fault::of(FaultEffect::Stall) });
        let error = api.serves(&cluster.cx).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", error.chain());
        let seconds = cluster.lab.clock().elapsed().as_secs();
        assert!((29..=31).contains(&seconds), "{seconds}");
        api.serves(&cluster.cx).await.unwrap();
    });
}
