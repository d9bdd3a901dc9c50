//! A secret store that is well but for one read, and one that has lost something.

use std::collections::BTreeMap;

use castle_core::memory::ReadFault;
use castle_core::{
    Context, ErrorKind, Goal, LostLife, Milestone, Outcome, Part, Report, RunOptions, Secret, SecretKey, SecretStore,
};

use crate::home::{Home, codes, until, writes};

/// How often each secret was written so far.
fn written(home: &Home) -> BTreeMap<SecretKey, u32> {
    home.ledger.written.lock().unwrap().clone()
}

/// Whether what refuses has a way out.
fn tells_the_way_out(report: &Report) -> bool {
    let by_error = report.error.as_ref().is_some_and(|error| error.advice().is_some());
    by_error || report.problems.iter().any(|problem| problem.is_error() && problem.hint.is_some())
}

/// A home in the midst of a rebirth: life 2 is begun, and its machines run.
async fn half_reborn() -> Home {
    let home = Home::standing().await;
    home.reaches(Goal::Rebirth, until(Milestone::MachinesRunning)).await;
    let complete: SecretKey = "blue/blue/talos/2.complete".parse().unwrap();
    home.ledger.secrets.delete(&complete).await.unwrap();
    home.ledger.written.lock().unwrap().remove(&complete);
    home
}

async fn sweep(stands: impl AsyncFn() -> Home, goal: Goal, fault: ReadFault) {
    let options = RunOptions::default;
    let reference = stands().await;
    reference.reaches(goal, options()).await;
    for read in 0.. {
        let home = stands().await;
        home.ledger.secrets.fail_read(read, fault);
        let report = home.run(goal, options()).await;
        if home.ledger.secrets.faults_left() > 0 {
            assert!(read > 1, "{goal} reads the store");
            return;
        }
        let story = format!("{goal}, {fault:?}, read {read}: {report:#?}");
        if report.outcome != Outcome::Ok {
            assert_eq!(fault, ReadFault::Damaged, "an answer that is lost once is asked for again: {story}");
            assert!(tells_the_way_out(&report), "{story}");
            let right = written(&reference);
            let wrong: Vec<_> =
                written(&home).into_iter().filter(|(key, times)| right.get(key) < Some(times)).collect();
            assert_eq!(wrong, [], "a run without the fault writes it as well: {story}");
            home.reaches(goal, options()).await;
        }
        assert_eq!(written(&home), written(&reference), "{story}");
        assert_eq!(home.running(), reference.running(), "{story}");
        assert_eq!(home.cluster.births(), reference.cluster.births(), "{story}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_lost_read_is_asked_again_and_changes_nothing() {
    for goal in [Goal::Create, Goal::Handover, Goal::Rebirth, Goal::Destroy] {
        sweep(Home::standing, goal, ReadFault::Lost).await;
    }
    for goal in [Goal::Create, Goal::Rebirth, Goal::Destroy] {
        sweep(half_reborn, goal, ReadFault::Lost).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_damaged_read_is_refused_and_writes_nothing_wrong() {
    for goal in [Goal::Create, Goal::Handover, Goal::Rebirth, Goal::Destroy] {
        sweep(Home::standing, goal, ReadFault::Damaged).await;
    }
    for goal in [Goal::Create, Goal::Rebirth] {
        sweep(half_reborn, goal, ReadFault::Damaged).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_says_what_it_could_not_read() {
    let home = Home::standing().await;
    let look = async || {
        let castle = home.castle();
        castle.observe(&Context::new(castle.env().clone()), Milestone::AppsReady).await
    };
    let (known, before) = (look().await, written(&home));
    for read in 0.. {
        home.ledger.secrets.fail_read(read, ReadFault::Lost);
        let seen = look().await;
        if home.ledger.secrets.faults_left() > 0 {
            break;
        }
        let unknown = matches!(seen.lives, Part::Unknown(_))
            || matches!(seen.has_key, Part::Unknown(_))
            || matches!(seen.bundle, Some(Part::Unknown(_)));
        // A credential in escrow that could not be read is one that nobody vouches for.
        let escrow = seen.escrowed.len() + 1 == known.escrowed.len() && seen.nodes == known.nodes;
        assert!(unknown || escrow, "read {read}: {seen:#?}");
    }
    assert_eq!(written(&home), before);
}

/// A tombstone over machines that nobody can prove to be ours gives a cluster up that
/// stands: the next create would replace all of it.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_damaged_or_gone_ends_no_life() {
    let key: SecretKey = "blue/project-key".parse().unwrap();
    let home = Home::standing().await;
    let whole = home.ledger.secrets.get(&key).await.unwrap().unwrap();
    let before = written(&home);
    home.ledger.secrets.put(&key, &Secret::new(whole.expose()[..31].to_vec())).await.unwrap();
    for goal in [Goal::Create, Goal::Handover, Goal::Rebirth, Goal::Destroy] {
        let report = home.run(goal, RunOptions::default()).await;
        let error = report.error.as_ref().unwrap();
        assert_eq!((report.outcome, error.kind()), (Outcome::Failed, ErrorKind::Unexpected), "{report:#?}");
        assert!(error.chain().contains("the project key in the secret store is damaged"), "{error:?}");
        assert!(error.advice().unwrap().contains("restore it from a backup"), "{error:?}");
    }
    home.ledger.secrets.delete(&key).await.unwrap();
    let report = home.run(Goal::Destroy, RunOptions::default()).await;
    assert_eq!((report.outcome, codes(&report)), (Outcome::Refused, vec!["foreign-machine"; 3]), "{report:#?}");
    let report = home.run(Goal::Create, RunOptions::default()).await;
    assert_eq!((report.outcome, codes(&report)), (Outcome::Refused, vec!["foreign-machine"; 3]), "{report:#?}");
    assert!(report.problems[0].hint.as_ref().unwrap().contains("restore the project key"), "{report:#?}");
    assert_eq!((written(&home), home.running()), (before, Home::stands_in(1)));

    home.ledger.secrets.put(&key, &whole).await.unwrap();
    assert_eq!(writes(&home.reaches(Goal::Create, RunOptions::default()).await), 0);
    home.reaches(Goal::Destroy, RunOptions::default()).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_silent_proves_nothing_to_a_destroy() {
    let home = Home::standing().await;
    home.ledger.secrets.silence(true);
    let report = home.run(Goal::Destroy, RunOptions::default()).await;
    let kind = report.error.as_ref().map(castle_core::Error::kind);
    assert_eq!((report.outcome, kind), (Outcome::Failed, Some(ErrorKind::Unreachable)), "{report:#?}");
    assert_eq!(home.running(), Home::stands_in(1));
    let hints = report.problems.iter().filter_map(|problem| problem.hint.as_deref());
    assert_eq!(hints.filter(|hint| hint.contains("--waive-ownership")).count(), 3, "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_life_that_lost_its_secrets_says_so_and_can_be_ended() {
    let bundle: SecretKey = "blue/blue/talos/1".parse().unwrap();
    for goal in [Goal::Destroy, Goal::Rebirth] {
        let home = Home::standing().await;
        let whole = home.ledger.secrets.get(&bundle).await.unwrap().unwrap();
        home.ledger.secrets.delete(&bundle).await.unwrap();
        let castle = home.castle();
        let cx = Context::new(castle.env().clone());
        for report in [
            home.run(Goal::Create, RunOptions::default()).await,
            home.run(Goal::Create, until(Milestone::MachinesRunning)).await,
            home.run(Goal::Handover, RunOptions::default()).await,
        ] {
            assert_eq!((report.outcome, codes(&report)), (Outcome::Refused, vec!["lost-secrets"]), "{report:#?}");
            assert!(report.problems[0].hint.as_ref().unwrap().contains("restore `blue/blue/talos/1`"), "{report:#?}");
        }
        let found = castle.check(&cx).await.unwrap();
        assert_eq!(found.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["lost-secrets"]);
        assert_eq!(home.lives().await.get(1).unwrap().state(), "without its secrets");
        let error = castle.credential(castle_core::Credential::Kubeconfig).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EvidenceMissing, "{error:?}");

        home.ledger.secrets.put(&bundle, &whole).await.unwrap();
        assert_eq!(writes(&home.reaches(Goal::Create, RunOptions::default()).await), 0);
        home.ledger.secrets.delete(&bundle).await.unwrap();
        home.reaches(goal, RunOptions::default()).await;
        home.reaches(Goal::Create, RunOptions::default()).await;
        assert_eq!(home.running(), Home::stands_in(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_life_that_lost_its_secrets_and_its_machines_is_not_continued() {
    let home = Home::standing().await;
    home.ledger.secrets.delete(&"blue/blue/talos/1".parse().unwrap()).await.unwrap();
    for number in [421, 431, 432] {
        home.machines.plant(crate::home::id(number), None);
    }
    for lost_life in [LostLife::Ask, LostLife::Continue] {
        let report = home.run(Goal::Create, RunOptions { lost_life, ..RunOptions::default() }).await;
        assert_eq!((report.outcome, codes(&report)), (Outcome::Refused, vec!["lost-secrets"]), "{report:#?}");
    }
    home.reaches(Goal::Create, RunOptions { lost_life: LostLife::Begin, ..RunOptions::default() }).await;
    assert_eq!(home.running(), Home::stands_in(2));
}
