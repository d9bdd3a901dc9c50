//! What a handover will need is looked for before the first machine goes.

use castle_core::{ErrorKind, Goal, Milestone, Outcome, Problem, RunOptions};

use crate::home::{Home, codes, until, writes};

fn lacking(home: &Home) {
    home.gitops.set_missing(Some(Problem::error(
        "gitops-repository",
        "gitops.repository",
        "there is no branch `main`",
    )));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_handed_over_is_neither_made_nor_removed() {
    let empty = Home::new();
    lacking(&empty);
    let report = empty.run(Goal::Create, RunOptions::default()).await;
    assert_eq!((report.outcome, codes(&report), writes(&report)), (Outcome::Refused, vec!["gitops-repository"], 0));

    let home = Home::standing().await;
    lacking(&home);
    let report = home.run(Goal::Rebirth, RunOptions::default()).await;
    assert_eq!((report.outcome, codes(&report), writes(&report)), (Outcome::Refused, vec!["gitops-repository"], 0));
    assert_eq!((home.running(), home.lives().await.next()), (Home::stands_in(1), 2));
}

#[tokio::test(start_paused = true)]
async fn a_silent_repository_stops_a_rebirth_before_anything_is_lost() {
    let home = Home::standing().await;
    home.gitops.silence(true);
    let report = home.run(Goal::Rebirth, RunOptions::default()).await;
    let error = report.error.as_ref().unwrap();
    assert_eq!((report.outcome, error.kind(), writes(&report)), (Outcome::Failed, ErrorKind::Unreachable, 0));
    assert_eq!(
        error.chain(),
        "the handover at the end cannot be prepared, so nothing is begun: the repository does not answer"
    );
    assert!(report.rounds > 1, "a moment's silence is borne: {report:#?}");
    assert_eq!(home.running(), Home::stands_in(1));
}

#[tokio::test(start_paused = true)]
async fn who_wants_no_handover_is_not_asked_for_one() {
    let home = Home::new();
    lacking(&home);
    home.reaches(Goal::Create, until(Milestone::NodesReady)).await;
    home.reaches(Goal::Rebirth, until(Milestone::NodesReady)).await;
    let report = home.reaches(Goal::Destroy, RunOptions::default()).await;
    assert_eq!((home.running(), report.requests["git"].read), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn a_life_that_is_begun_is_finished_whatever_the_repository_says_meanwhile() {
    let home = Home::standing().await;
    let run = home.castle().run(Goal::Rebirth, RunOptions::default());
    assert!(home.clock.within(std::time::Duration::from_secs(20), run).await.is_none(), "it takes longer");
    lacking(&home);
    home.reaches(Goal::Rebirth, RunOptions::default()).await;
    assert_eq!(home.running(), Home::stands_in(2));
}

#[tokio::test(start_paused = true)]
async fn a_check_tells_what_a_handover_lacks() {
    let home = Home::new();
    let castle = home.castle();
    let cx = castle_core::Context::new(castle.env().clone());
    let found = async || castle.check(&cx).await.unwrap().iter().map(|problem| problem.code).collect::<Vec<_>>();
    assert_eq!(found().await, Vec::<&str>::new());
    lacking(&home);
    assert_eq!(found().await, ["gitops-repository"]);
    home.gitops.silence(true);
    assert_eq!(found().await, ["not-known"]);
}
