//! Declared data: nothing that holds it goes without a typed waiver.

use castle_core::handover::Dataset;
use castle_core::{Goal, Outcome, Project, RunOptions, SecretStore};

use crate::home::{Home, codes, declared, id, writes};

fn with_data() -> Home {
    let dataset = |name: &str, what: &str| Dataset { name: name.into(), what: what.into() };
    Home::of(Project {
        datasets: vec![dataset("photos", "the family's photos"), dataset("mail", "ten years of mail")],
        ..declared()
    })
}

fn waiving(name: &str) -> RunOptions {
    RunOptions { waive_data: Some(name.parse().unwrap()), ..RunOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn data_refuses_destroy_and_rebirth_with_the_whole_list() {
    let home = with_data();
    home.reaches(Goal::Create, RunOptions::default()).await;
    for goal in [Goal::Destroy, Goal::Rebirth] {
        for options in [RunOptions::default(), waiving("green")] {
            let report = home.run(goal, options).await;
            assert_eq!((report.outcome, writes(&report)), (Outcome::Refused, 0), "{goal}: {report:#?}");
            assert_eq!(codes(&report), ["unsafe-data", "unsafe-data"]);
            assert_eq!(
                report.problems[0].to_string(),
                "dataset photos: the family's photos would be lost, and nothing proves that a copy is safe"
            );
            assert!(report.problems[1].hint.as_ref().unwrap().contains("`--waive-data blue`"));
        }
        assert_eq!(home.running(), Home::stands_in(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiver_that_names_the_cluster_lets_them_pass() {
    let home = with_data();
    home.reaches(Goal::Create, RunOptions::default()).await;
    home.reaches(Goal::Rebirth, waiving("blue")).await;
    assert_eq!(home.running(), Home::stands_in(2));
    home.reaches(Goal::Destroy, waiving("blue")).await;
    assert_eq!(home.running(), []);
}

#[tokio::test(start_paused = true)]
async fn what_removes_nothing_loses_nothing() {
    let home = with_data();
    home.reaches(Goal::Destroy, RunOptions::default()).await;
    home.reaches(Goal::Rebirth, RunOptions::default()).await;
    assert_eq!(home.running(), Home::stands_in(1));
    let again = RunOptions { replaces: Some(0), ..RunOptions::default() };
    assert_eq!(writes(&home.reaches(Goal::Rebirth, again).await), 0);
    home.reaches(Goal::Destroy, waiving("blue")).await;
    assert_eq!(writes(&home.reaches(Goal::Destroy, RunOptions::default()).await), 0);
}

#[tokio::test(start_paused = true)]
async fn a_create_removes_only_what_was_given_up() {
    let mut home = Home::standing().await;
    let old = home.machines.machine(id(431)).unwrap();
    home.reaches(Goal::Rebirth, RunOptions::default()).await;
    home.project.datasets = with_data().project.datasets;
    home.machines.plant(id(431), old.clone());
    // Its life has a tombstone: whoever wrote it gave the data up.
    home.reaches(Goal::Create, RunOptions::default()).await;
    assert_eq!(home.running(), Home::stands_in(2));
    // Without one, nobody has.
    home.machines.plant(id(431), old);
    home.ledger.secrets.delete(&"blue/blue/talos/1.ended".parse().unwrap()).await.unwrap();
    let report = home.run(Goal::Create, RunOptions::default()).await;
    assert_eq!((report.outcome, codes(&report)), (Outcome::Refused, vec!["unsafe-data", "unsafe-data"]), "{report:#?}");
    home.reaches(Goal::Create, waiving("blue")).await;
    assert_eq!(home.running(), Home::stands_in(2));
}
