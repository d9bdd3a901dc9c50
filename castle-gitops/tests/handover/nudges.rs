use std::collections::BTreeSet;
use std::time::Duration;

use castle_core::handover::HandoverState;
use castle_lab::git::template::template_with_chain;
use castle_lab::runtime;

use futures::StreamExt;

use crate::house::{House, PATH, project, sources};

async fn chain(nudging: bool) -> (Duration, usize) {
    let house = House::start_with(7, project(), |world| {
        let files = template_with_chain(&project(), 6);
        world.commit_files(PATH, "main", files, "A chain");
    })
    .await;
    let handover = house.open();
    house.plant(&handover).await;
    let (_, nudges) = house.until(&handover, nudging, HandoverState::is_handed_over).await;
    let unique: BTreeSet<_> = nudges.iter().map(|nudge| (nudge.item.clone(), nudge.reason.clone())).collect();
    assert_eq!(unique.len(), nudges.len(), "{nudges:#?}");
    (house.lab.clock().elapsed(), nudges.len())
}

#[test]
fn a_chain_does_not_wait_where_castle_sees_more() {
    runtime::run_virtual(|| async {
        let (with, nudges) = chain(true).await;
        let (without, none) = chain(false).await;
        assert!(nudges > 0 && none == 0);
        assert!(with + Duration::from_secs(60) < without, "{with:?} {without:?}");
    });
}

#[test]
fn a_source_behind_its_branch_is_told_once() {
    runtime::run_virtual(|| async {
        let house = House::start(7).await;
        let handover = house.open();
        house.plant(&handover).await;
        house.complete(&handover).await;
        house.lab.with_world(|world| {
            let mut files = world.git.repositories[PATH].head("main").unwrap().files.clone();
            files.insert("NEWS.md".into(), b"news\n".to_vec());
            world.commit_files(PATH, "main", files, "News");
            world.follow();
        });
        // What castle believed of the branch is over by then.
        house.lab.clock().sleep(Duration::from_secs(6)).await;
        let begin = house.lab.clock().elapsed();
        let state = handover.observe(&house.cx).await.unwrap();
        assert!(!state.is_handed_over());
        let nudges = handover.nudge(&house.cx, &state).await.unwrap();
        assert_eq!(nudges.len(), 1, "{nudges:?}");
        assert_eq!(nudges[0].item, "GitRepository/flux-system/flux-system");
        assert!(nudges[0].reason.starts_with("the branch stands at main@sha1:"), "{nudges:?}");
        assert_eq!(handover.nudge(&house.cx, &state).await.unwrap(), []);
        // A fresh handle reads from the cluster that it was asked.
        assert_eq!(house.open().nudge(&house.cx, &state).await.unwrap(), []);
        house.complete(&handover).await;
        assert!(house.lab.clock().elapsed() - begin < Duration::from_secs(30));
    });
}

#[test]
fn what_its_controller_missed_is_named_to_it_again() {
    runtime::run_virtual(|| async {
        let house = House::start_with(7, project(), |world| {
            world.flux.stick("metallb", castle_lab::flux::Stuck::UntilNudged);
        })
        .await;
        let handover = house.open();
        house.plant(&handover).await;
        let (_, nudges) = house.complete(&handover).await;
        let found: Vec<_> = nudges.iter().filter(|nudge| nudge.reason.contains("nothing was heard")).collect();
        assert_eq!(found.len(), 1, "{nudges:#?}");
        assert_eq!(found[0].item, "Kustomization/flux-system/metallb");
    });
}

#[test]
fn a_source_that_failed_is_told_when_the_repository_answers() {
    runtime::run_virtual(|| async {
        let house = House::start(7).await;
        let handover = house.open();
        house.plant(&handover).await;
        // Somebody revokes the token before Flux has fetched anything.
        let token = house.lab.with_world(|world| {
            let account = world.git.accounts.0.get_mut("git").unwrap();
            std::mem::replace(&mut account.token, castle_core::Secret::new("another".to_owned()))
        });
        let failed = |_: &HandoverState| {
            let source = house.find(&sources(), "flux-system", "flux-system").unwrap();
            source["status"]["conditions"].to_string().contains("GitOperationFailed")
        };
        let mut wakes = handover.watch(&house.cx);
        while wakes.next().await.is_some() {
            if failed(&HandoverState::default()) {
                break;
            }
        }
        house.lab.with_world(|world| world.git.accounts.0.get_mut("git").unwrap().token = token);
        let (_, nudges) = house.complete(&handover).await;
        let first = nudges.first().unwrap();
        assert_eq!(first.item, "GitRepository/flux-system/flux-system");
        assert_eq!(first.reason, "the repository answers");
    });
}

#[test]
fn a_source_that_failed_is_told_when_its_credentials_are_other_ones() {
    runtime::run_virtual(|| async {
        let mut house = House::start(7).await;
        let handover = house.open();
        house.plant(&handover).await;
        // Somebody rotates the token before Flux has fetched anything.
        let token = castle_core::Secret::new("another".to_owned());
        house.lab.with_world(|world| world.git.accounts.0.get_mut("git").unwrap().token = token.clone());
        let mut wakes = handover.watch(&house.cx);
        while wakes.next().await.is_some() {
            let source = house.find(&sources(), "flux-system", "flux-system").unwrap();
            if source["status"]["conditions"].to_string().contains("GitOperationFailed") {
                break;
            }
        }
        house.lab.clock().sleep(Duration::from_secs(2)).await;
        house.options.git.as_mut().unwrap().password = token;
        let env = house.lab.env(house.lab.new_run());
        house.gitops = castle_gitops::FluxGitOps::new(&house.options, &env, house.kubernetes.clone(), ".");
        let handover = house.open();
        // Made anew: the lab's store keeps an entry's time when only a value changes.
        house.lab.with_world(|world| {
            let (secrets, none) = (castle_lab::kube::Resource::SECRETS, castle_lab::kube::Delete::default());
            world.kubernetes.delete(&secrets, "flux-system", "flux-system", &none).unwrap();
        });
        handover.plant(&house.cx, castle_core::handover::SeedPart::GitCredentials).await.unwrap();
        let (_, nudges) = house.complete(&handover).await;
        let first = nudges.first().unwrap();
        assert_eq!(first.item, "GitRepository/flux-system/flux-system");
        assert_eq!(first.reason, "its credentials have changed");
    });
}
