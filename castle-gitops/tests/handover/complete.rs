use std::time::Duration;

use castle_core::GitOps;
use castle_core::handover::{Probe, ProbeKind, ProbeTls, SeedPart};
use castle_core::step::Verdict;
use castle_lab::git::template::blog_host;
use castle_lab::kube::Resource;
use castle_lab::runtime;
use futures::StreamExt;

use crate::house::{House, kustomizations};

#[test]
fn a_seed_becomes_a_handed_over_cluster() {
    runtime::run_virtual(|| async {
        let house = House::start(7).await;
        let handover = house.open();
        house.plant(&handover).await;
        let (state, nudges) = house.complete(&handover).await;
        let ids: Vec<_> = state.items.iter().map(castle_core::handover::FluxItem::id).collect();
        assert_eq!(ids.len(), 8, "{ids:?}");
        assert!(ids.iter().any(|id| id == "Kustomization/flux-system/blog"), "{ids:?}");
        assert!(
            state.webhooks.iter().any(|webhook| webhook.gates && webhook.health.is_ready()),
            "{:?}",
            state.webhooks
        );
        assert!(!nudges.is_empty());
        for nudge in &nudges {
            assert!(!nudge.reason.is_empty(), "{nudge:?}");
        }
        // A fresh handle sees the same.
        assert_eq!(house.open().observe(&house.cx).await.unwrap(), state);
    });
}

#[test]
fn what_flux_owns_is_left_alone() {
    runtime::run_virtual(|| async {
        let house = House::start(7).await;
        let handover = house.open();
        house.plant(&handover).await;
        house.complete(&handover).await;
        for (resource, namespace, name) in [
            (Resource::DEPLOYMENTS, "flux-system", "source-controller"),
            (Resource::DEPLOYMENTS, "external-secrets", "external-secrets"),
            (Resource::NAMESPACES, "", "flux-system"),
            (kustomizations(), "flux-system", "flux-system"),
        ] {
            let managers = house.managers(&resource, namespace, name);
            assert!(managers.contains(&"kustomize-controller".to_owned()), "{name}: {managers:?}");
            assert!(!managers.contains(&"kubectl-castle".to_owned()), "{name}: {managers:?}");
        }
        let writes = house.writes().len();
        house.plant(&handover).await;
        house.plant(&house.open()).await;
        assert_eq!(house.writes().len(), writes, "{:?}", &house.writes()[writes..]);
    });
}

#[test]
fn a_second_look_at_a_finished_castle_asks_little() {
    runtime::run_virtual(|| async {
        let house = House::start(7).await;
        let handover = house.open();
        house.plant(&handover).await;
        house.complete(&handover).await;
        drop(handover);
        let (kubernetes, git) = (house.requests().total(), house.gitops.meter().total());
        let before = house.lab.journal().len();
        let handover = house.open();
        for part in SeedPart::ALL {
            assert_eq!(handover.stands(&house.cx, part).await.unwrap(), Verdict::Met, "{part}");
        }
        let state = handover.observe(&house.cx).await.unwrap();
        assert!(state.is_handed_over(), "{:?}", state.why_not());
        let webhooks = state.webhooks.iter().filter(|webhook| webhook.gates).count() as u64;
        let asked = house.requests().total().read - kubernetes.read;
        let entries = house.lab.journal().entries();
        let kinds: Vec<_> = entries[before..].iter().map(|entry| entry.kind.as_str()).collect();
        assert!(asked <= 9 + webhooks, "{asked} requests, {webhooks} of them dry runs: {kinds:?}");
        assert_eq!(house.requests().total().write, kubernetes.write);
        assert!(house.gitops.meter().total().read - git.read <= 2);
    });
}

fn blog(house: &House, tls: ProbeTls, expect: u16) -> Probe {
    let service = house
        .all(&Resource::SERVICES)
        .iter()
        .find(|service| service["spec"]["type"] == "LoadBalancer")
        .map(|service| {
            let text = |key: &str| service["metadata"][key].as_str().unwrap().to_owned();
            (text("namespace"), text("name"))
        })
        .unwrap();
    let kind = ProbeKind::Http { host: blog_host(&house.project), path: "/".into(), service, expect, tls };
    Probe { name: "blog".into(), kind }
}

#[test]
fn an_application_is_asked_at_its_load_balancer() {
    runtime::run_virtual(|| async {
        let house = House::start(7).await;
        let handover = house.open();
        house.plant(&handover).await;
        house.complete(&handover).await;
        let probe = blog(&house, ProbeTls::NameOnly, 200);
        let mut wakes = handover.watch(&house.cx);
        let mut last = Verdict::Met;
        let serving = async {
            while wakes.next().await.is_some() {
                last = handover.ask(&house.cx, &probe).await.unwrap();
                if last == Verdict::Met {
                    return;
                }
            }
        };
        if house.lab.clock().within(Duration::from_secs(300), serving).await.is_none() {
            panic!("{last:?}\n{}", house.picture());
        }
        let other = blog(&house, ProbeTls::NameOnly, 404);
        let verdict = handover.ask(&house.cx, &other).await.unwrap();
        assert!(
            matches!(&verdict, Verdict::NotYet(why) if why.contains("answers with 200, 404 is wanted")),
            "{verdict:?}"
        );
        let ProbeKind::Http { service, .. } = probe.kind else { panic!("it is one") };
        let tcp = Probe { name: "web".into(), kind: ProbeKind::Tcp { service, port: 443 } };
        assert_eq!(handover.ask(&house.cx, &tcp).await.unwrap(), Verdict::Met);
        let condition = |kind: &str, name: &str, condition: &str| Probe {
            name: "blog".into(),
            kind: ProbeKind::Condition {
                api_version: "apps/v1".into(),
                kind: kind.into(),
                namespace: "blog".into(),
                name: name.into(),
                condition: condition.into(),
            },
        };
        assert_eq!(handover.ask(&house.cx, &condition("Deployment", "blog", "Available")).await.unwrap(), Verdict::Met);
        let missing = handover.ask(&house.cx, &condition("Deployment", "log", "Available")).await.unwrap();
        assert_eq!(missing, Verdict::NotYet("Deployment blog/log does not exist".into()));
    });
}

#[test]
fn one_seed_is_one_history() {
    let history = || {
        runtime::run_virtual(|| async {
            let house = House::start(3).await;
            let handover = house.open();
            house.plant(&handover).await;
            let (_, nudges) = house.complete(&handover).await;
            (house.lab.clock().elapsed(), nudges, house.lab.journal().digest())
        })
    };
    let first = history();
    assert_eq!(history(), first);
}

#[test]
fn a_handover_is_near_the_ideal() {
    runtime::run_virtual(|| async {
        for seed in 0..5 {
            let house = House::start(seed).await;
            let begin = house.lab.clock().elapsed();
            let ideal = house.lab.with_world(|world| {
                let branch = world.git.repositories[crate::house::PATH].head("main").unwrap().clone();
                castle_lab::flux::ideal(
                    &house.project,
                    &branch,
                    world.draws(),
                    begin,
                    &castle_lab::flux::NodesReady::at(begin),
                )
                .unwrap()
            });
            let handover = house.open();
            house.plant(&handover).await;
            let planted = house.lab.clock().elapsed();
            let (_, nudges) = house.complete(&handover).await;
            let end = house.lab.clock().elapsed();
            let late = end.saturating_sub(ideal.handover_ready);
            let told = format!("seed {seed}: planted {planted:?}, {late:?} later than the ideal, {nudges:#?}");
            // Flux looks at the health of what it has applied every five seconds.
            let poll = castle_lab::Latency::HEALTH_POLL;
            assert!(late <= poll + Duration::from_secs(3), "{told}");
            assert!(ideal.handover_ready <= end, "seed {seed}: the ideal {:?} is after {end:?}", ideal.handover_ready);
        }
    });
}

#[test]
fn what_waits_for_its_controller_says_what_the_controller_waits_for() {
    runtime::run_virtual(|| async {
        let house = House::start(7).await;
        let handover = house.open();
        assert_eq!(
            handover.observe(&house.cx).await.unwrap().why_not().as_deref(),
            Some("the root Kustomization is not planted")
        );
        house.plant(&handover).await;
        let state = handover.observe(&house.cx).await.unwrap();
        assert_eq!(
            state.why_not().as_deref(),
            Some(
                "GitRepository/flux-system/flux-system holds the rest: its source-controller is not ready: 0 of 1 pods are \
                 available"
            )
        );
    });
}
