//! The handover: what it plans, waits for, tells and refuses.

use std::time::Duration;

use castle_core::handover::Dataset;
use castle_core::{
    Context, ErrorKind, EventKind, Goal, LostLife, Milestone, Outcome, Project, Report, RunOptions, Secret, SecretStore,
};

use crate::home::{Home, codes, declared, id, until, writes};

#[tokio::test(start_paused = true)]
async fn a_create_goes_as_far_as_the_declaration_and_a_second_one_writes_nothing() {
    let home = Home::new();
    let report = home.reaches(Goal::Create, RunOptions::default()).await;
    let reached: Vec<_> = report.milestones.keys().map(String::as_str).collect();
    assert_eq!(
        reached,
        ["api_serving", "apps_ready", "cni_ready", "handover_ready", "machines_running", "nodes_ready"]
    );
    assert!(home.plan(Goal::Create, LostLife::Ask).await.is_done());
    let again = home.reaches(Goal::Create, RunOptions::default()).await;
    assert_eq!((writes(&again), again.timeline.steps.len()), (0, 0), "{again:#?}");
}

#[tokio::test(start_paused = true)]
async fn the_seed_waits_for_the_api_alone() {
    let plan = Home::new().plan(Goal::Create, LostLife::Ask).await;
    let needs = |id: &str| plan.steps.iter().find(|step| step.id == id).map(|step| step.needs.join(" "));
    for (step, expected) in [
        ("seed/namespaces", "cluster/api"),
        ("seed/external-secrets", "seed/namespaces"),
        ("seed/machine-identity", "seed/external-secrets"),
        ("seed/git-credentials", "seed/machine-identity"),
        ("seed/flux", "seed/git-credentials"),
        ("handover/flux", "seed/flux"),
        ("handover/apps/blog", "handover/flux"),
        ("escrow/kubeconfig", "cluster/api"),
        ("escrow/talosconfig", "cluster/api"),
    ] {
        assert_eq!(needs(step).as_deref(), Some(expected), "{step}");
    }
    let complete = needs("life/1/complete").unwrap();
    for last in ["cluster/nodes", "handover/flux", "handover/apps/blog", "escrow/kubeconfig", "escrow/talosconfig"] {
        assert!(complete.split(' ').any(|need| need == last), "the life is whole before {last}: {complete}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_stands_is_handed_over_and_nothing_else_is() {
    let home = Home::new();
    let empty = home.run(Goal::Handover, RunOptions::default()).await;
    assert_eq!((empty.outcome, codes(&empty), writes(&empty)), (Outcome::Refused, vec!["nothing-stands"], 0));

    home.reaches(Goal::Create, until(Milestone::NodesReady)).await;
    assert_eq!(home.gitops.plantings(), []);
    let report = home.reaches(Goal::Handover, RunOptions::default()).await;
    assert!(report.milestones.contains_key("handover_ready") && !report.milestones.contains_key("apps_ready"));
    assert_eq!(home.gitops.plantings().len(), 5);
    let again = home.reaches(Goal::Handover, RunOptions::default()).await;
    assert_eq!(writes(&again), 0, "{again:#?}");

    home.machines.plant(id(432), None);
    let sick = home.run(Goal::Handover, RunOptions::default()).await;
    assert_eq!((sick.outcome, codes(&sick), writes(&sick)), (Outcome::Refused, vec!["nothing-stands"], 0));
    assert!(sick.problems[0].subject.contains("blue-wk-02"), "{:?}", sick.problems);
}

#[tokio::test(start_paused = true)]
async fn a_project_without_gitops_has_nobody_to_hand_over_to() {
    let home = Home::of(Project { gitops: None, ..declared() });
    let created = home.reaches(Goal::Create, RunOptions::default()).await;
    assert!(!created.milestones.contains_key("handover_ready"), "{:?}", created.milestones);
    let report = home.run(Goal::Handover, RunOptions::default()).await;
    assert_eq!((report.outcome, codes(&report)), (Outcome::Refused, vec!["no-gitops"]));
}

fn nudges(home: &Home, report: &Report) -> usize {
    assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
    home.gitops.nudges().len()
}

#[tokio::test(start_paused = true)]
async fn flux_is_nudged_once_for_each_reason_and_the_reason_is_an_event() {
    let home = Home::new();
    let run = home.castle().run(Goal::Create, RunOptions::default());
    let log = run.log();
    let report = run.await;
    assert_eq!(nudges(&home, &report), 1);
    let told = log.events().into_iter().filter_map(|event| match event.kind {
        EventKind::Nudged { item, reason } => Some(format!("{item}: {reason}")),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), ["Kustomization/flux-system/apps: its webhook answers now"]);
    // Ten minutes is what Flux would have waited by itself.
    let handover = report.timeline.steps.iter().find(|step| step.id == "handover/flux").unwrap();
    assert!(handover.end_ms - handover.start_ms < 60_000, "{handover:?}");
}

#[tokio::test(start_paused = true)]
async fn a_handover_that_does_not_come_names_its_holder_and_keeps_everything() {
    let home = Home::new();
    home.gitops.set_stuck(true);
    let report = home.run(Goal::Create, RunOptions::default()).await;
    let error = report.error.as_ref().unwrap();
    assert_eq!((report.outcome, error.kind()), (Outcome::Failed, ErrorKind::DeadlineExceeded), "{report:#?}");
    assert_eq!(
        error.to_string(),
        "`handover/flux` was not done within 1800 s: Kustomization/flux-system/apps holds the rest: kustomization \
         path not found; no waiting mends it, a push to the branch may"
    );
    assert_eq!(report.left, ["handover/flux", "handover/apps/blog", "life/1/complete"]);
    assert!(report.milestones.contains_key("nodes_ready"));
    // Somebody pushes; the next run goes on from there.
    home.gitops.set_stuck(false);
    let mended = home.reaches(Goal::Create, RunOptions::default()).await;
    assert!(mended.milestones.contains_key("apps_ready"));
    assert_eq!(home.gitops.plantings().len(), 5, "the seed is planted once");
}

#[tokio::test(start_paused = true)]
async fn a_push_in_time_mends_a_handover_that_had_failed() {
    let home = Home::new();
    home.gitops.set_stuck(true);
    let push = async {
        home.clock.sleep(Duration::from_secs(900)).await;
        home.gitops.set_stuck(false);
    };
    let (report, ()) = futures::join!(home.run(Goal::Create, RunOptions::default()), push);
    assert_eq!((report.outcome, report.rounds), (Outcome::Ok, 1), "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn applications_that_do_not_serve_never_undo_the_handover() {
    let home = Home::new();
    home.gitops.set_answered("blog", false);
    let began = home.clock.elapsed();
    let report = home.run(Goal::Create, RunOptions::default()).await;
    assert_eq!(report.error.as_ref().map(castle_core::Error::kind), Some(ErrorKind::DeadlineExceeded), "{report:#?}");
    assert!(report.milestones.contains_key("handover_ready") && !report.milestones.contains_key("apps_ready"));
    let waited = home.clock.elapsed() - began - report.milestones["handover_ready"];
    assert_eq!(waited.as_secs(), home.project.deadlines.apps.as_secs(), "its own deadline");
    assert_eq!(report.left, ["handover/apps/blog", "life/1/complete"]);

    home.gitops.set_answered("blog", true);
    let steps: Vec<_> = home.plan(Goal::Create, LostLife::Ask).await.steps.into_iter().map(|step| step.id).collect();
    assert_eq!(steps, ["life/1/complete"], "it is answered by now, and that is all that was missing");
    home.reaches(Goal::Create, RunOptions::default()).await;
    assert!(home.lives().await.get(1).unwrap().complete);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_falls_silent_is_waited_for() {
    let home = Home::new();
    let weather = async {
        for _ in 0..30 {
            home.clock.sleep(Duration::from_secs(9)).await;
            home.gitops.silence(true);
            home.clock.sleep(Duration::from_secs(4)).await;
            home.gitops.silence(false);
        }
    };
    let (report, ()) = futures::join!(home.run(Goal::Create, RunOptions::default()), weather);
    assert_eq!((report.outcome, report.rounds), (Outcome::Ok, 1), "{report:#?}");
    assert_eq!(home.gitops.plantings().len(), 5, "{:?}", home.gitops.plantings());
}

#[tokio::test(start_paused = true)]
async fn a_part_of_the_seed_that_is_gone_is_planted_again() {
    let home = Home::standing().await;
    home.gitops.uproot(castle_core::handover::SeedPart::MachineIdentity);
    let steps: Vec<_> = home.plan(Goal::Create, LostLife::Ask).await.steps.into_iter().map(|step| step.id).collect();
    assert_eq!(steps, ["seed/machine-identity", "handover/flux", "handover/apps/blog"]);
    home.reaches(Goal::Create, RunOptions::default()).await;
    assert_eq!(home.gitops.plantings().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn credentials_are_put_into_escrow_once_in_each_life() {
    let home = Home::standing().await;
    let (config, talos) = (home.secret("KUBECONFIG_CONTENT").await, home.secret("TALOSCONFIG_CONTENT").await);
    assert_eq!(config, home.secret("blue/blue/talos/1.kubeconfig").await);
    assert_eq!(talos, home.secret("blue/blue/talos/1.talosconfig").await);
    let kept = home.castle().credential(castle_core::Credential::Kubeconfig).await.unwrap();
    assert_eq!(Some(kept.expose()), config.as_ref());
    let put = home.castle().escrow().await.unwrap();
    assert!(put.iter().all(|escrowed| !escrowed.written), "{put:?}");

    // Somebody broke one of them.
    let key = "KUBECONFIG_CONTENT".parse().unwrap();
    let broken = Secret::new(b"cluster: of long ago\nkubeconfig 00000000\n".to_vec());
    home.ledger.secrets.put(&key, &broken).await.unwrap();
    let steps: Vec<_> = home.plan(Goal::Create, LostLife::Ask).await.steps.into_iter().map(|step| step.id).collect();
    assert_eq!(steps, ["escrow/kubeconfig"]);
    home.reaches(Goal::Create, RunOptions::default()).await;
    assert_eq!(home.secret("KUBECONFIG_CONTENT").await, config, "the kept one comes back");

    home.reaches(Goal::Rebirth, RunOptions::default()).await;
    let next = home.secret("KUBECONFIG_CONTENT").await;
    assert_eq!(next, home.secret("blue/blue/talos/2.kubeconfig").await);
    assert_ne!(next, config);
}

#[tokio::test(start_paused = true)]
async fn an_escrow_that_nobody_declared_is_refused() {
    let home = Home::of(Project { escrow: Default::default(), datasets: Vec::<Dataset>::new(), ..declared() });
    home.reaches(Goal::Create, RunOptions::default()).await;
    let error = home.castle().escrow().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
    assert_eq!(home.secret("KUBECONFIG_CONTENT").await, None);
}

/// What is there is somebody's, and there is no second copy of it.
#[tokio::test(start_paused = true)]
async fn a_secret_of_somebody_else_is_never_overwritten() {
    let plant = async |home: &Home, text: &str| {
        let key = "KUBECONFIG_CONTENT".parse().unwrap();
        home.ledger.secrets.put(&key, &Secret::new(text.as_bytes().to_vec())).await.unwrap();
    };
    let home = Home::new();
    plant(&home, "precious").await;
    let report = home.run(Goal::Create, RunOptions::default()).await;
    assert_eq!((report.outcome, codes(&report), writes(&report)), (Outcome::Refused, vec!["escrow-taken"], 0));
    let castle = home.castle();
    let found = castle.check(&Context::new(castle.env().clone())).await.unwrap();
    assert_eq!(found.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["escrow-taken"], "{found:?}");
    assert!(!format!("{report:?}{found:?}").contains("precious"));

    let home = Home::standing().await;
    plant(&home, "precious").await;
    let error = home.castle().escrow().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EvidenceMissing, "{error:?}");
    assert!(error.to_string().contains("`KUBECONFIG_CONTENT`") && error.advice().is_some(), "{error:?}");
    let report = home.run(Goal::Create, RunOptions::default()).await;
    assert_eq!(report.outcome, Outcome::Refused, "{report:?}");
    assert_eq!(home.secret("KUBECONFIG_CONTENT").await.as_deref(), Some("precious"));

    // A former life's credential is castle's own.
    plant(&home, "cluster: of long ago\nkubeconfig 00000000\n").await;
    home.reaches(Goal::Create, RunOptions::default()).await;
    assert!(home.castle().escrow().await.unwrap().iter().all(|escrowed| !escrowed.written));
}
