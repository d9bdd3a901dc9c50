use castle_core::{ErrorKind, Kubernetes, Secret};
use castle_lab::runtime;

use crate::cluster::{Authority, Cluster, ENDPOINT};

#[test]
fn a_server_of_another_cluster_gets_nothing() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let other = Authority::new();
        let kubeconfig = cluster.authority.kubeconfig(&other, "system:masters", 2100);
        let api = cluster.client.connect(&cluster.cx, &kubeconfig).unwrap();
        let error = api.nodes(&cluster.cx).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.chain().contains("not vouched for by the cluster's authority"), "{}", error.chain());
        assert!(cluster.lab.journal().is_empty());
        assert_eq!(cluster.meter().total().read, 0);
    });
}

#[test]
fn a_client_that_the_cluster_does_not_know_is_told_so() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let other = Authority::new();
        for (signer, group, year, kind) in [
            (&other, "system:masters", 2100, ErrorKind::Unauthenticated),
            (&cluster.authority, "system:masters", 2025, ErrorKind::Unauthenticated),
            (&cluster.authority, "people", 2100, ErrorKind::PermissionDenied),
        ] {
            let kubeconfig = signer.kubeconfig(&cluster.authority, group, year);
            let api = cluster.client.connect(&cluster.cx, &kubeconfig).unwrap();
            let error = api.nodes(&cluster.cx).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{group} {year}: {}", error.chain());
        }
    });
}

#[test]
fn certificates_are_judged_by_the_lab_s_wall_clock() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        // The lab begins in November 2025; the certificate ends with 2026.
        let kubeconfig = cluster.authority.kubeconfig(&cluster.authority, "system:masters", 2027);
        let api = cluster.client.connect(&cluster.cx, &kubeconfig).unwrap();
        api.nodes(&cluster.cx).await.unwrap();
        drop(api);
        cluster.lab.advance(std::time::Duration::from_secs(500 * 24 * 3600)).await.unwrap();
        let api = cluster.client.connect(&cluster.cx, &kubeconfig).unwrap();
        assert_eq!(api.nodes(&cluster.cx).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    });
}

#[test]
fn what_is_not_in_the_dial_map_is_not_dialled() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let kubeconfig = cluster.authority.kubeconfig(&cluster.authority, "system:masters", 2100);
        let elsewhere = Secret::new(kubeconfig.expose().replace(ENDPOINT, "192.168.1.211:6443"));
        let error = cluster.client.connect(&cluster.cx, &elsewhere).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.chain().contains("192.168.1.211:6443 is not in the dial map"), "{}", error.chain());
        assert_eq!(cluster.lab.connections(), 0);
    });
}

#[test]
fn nothing_of_a_kubeconfig_is_shown() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let kubeconfig = cluster.authority.kubeconfig(&cluster.authority, "system:masters", 2100);
        let api = cluster.client.connect(&cluster.cx, &kubeconfig).unwrap();
        let shown = format!("{api:?} {:?}", cluster.client);
        assert_eq!(shown, "KubeApi { server: \"https://192.168.1.210:6443\", .. } KubeClient { .. }");
        // Each value in turn is broken; its neighbours must not be told either.
        let values: Vec<_> = kubeconfig
            .expose()
            .lines()
            .filter_map(|line| line.trim().split_once("-data: "))
            .map(|(_, value)| value)
            .collect();
        assert_eq!(values.len(), 3);
        for value in &values {
            let broken = Secret::new(kubeconfig.expose().replacen(value, &value[..40], 1));
            let error = cluster.client.connect(&cluster.cx, &broken).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidSpec);
            let told = format!("{} {error:?} {:?}", error.chain(), error.advice());
            assert!(values.iter().all(|value| !told.contains(&value[..20])), "{told}");
        }
    });
}
