//! Removals that come late: the number that they were to free holds the next life.

use castle_core::memory::{MachineCall, MemoryMachine};
use castle_core::{Error, ErrorKind, Goal, Milestone, Outcome, RunOptions, Secret, SecretStore};
use futures::FutureExt;

use crate::fuse::Fuse;
use crate::home::{Home, id, until};

/// The control plane as it stands in this life.
fn control_plane(home: &Home) -> MemoryMachine {
    home.machines.machine(id(421)).unwrap()
}

/// Takes the facts of a life out of the store, as if it had not begun yet.
async fn forget(home: &Home, life: u32) {
    let below = format!("blue/blue/talos/{life}");
    for key in home.ledger.secrets.list("blue/blue/talos").await.unwrap() {
        if key.as_str() == below || key.as_str().starts_with(&format!("{below}.")) {
            home.ledger.secrets.delete(&key).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rebirth_that_comes_late_leaves_the_new_life_alone() {
    let home = Home::standing().await;
    let old = control_plane(&home);
    home.reaches(Goal::Rebirth, RunOptions::default()).await;
    let newborn = control_plane(&home);
    // This operator looks while the old machine stands; the other one is faster.
    home.machines.plant(id(421), old);
    let (machines, planted) = (home.machines.clone(), newborn.clone());
    let fuse = Fuse::with_race(move || machines.plant(id(421), planted));
    let report = home.castle_behind(&fuse).run(Goal::Create, until(Milestone::MachinesRunning)).await;
    assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
    assert_eq!((control_plane(&home), report.requests["machines"].write), (newborn, 0), "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_destroy_that_comes_late_leaves_the_next_life_alone() {
    let home = Home::standing().await;
    let old = control_plane(&home);
    home.reaches(Goal::Rebirth, RunOptions::default()).await;
    let newborn = control_plane(&home);
    home.machines.plant(id(421), old);
    for number in [431, 432] {
        home.machines.plant(id(number), None);
    }
    forget(&home, 2).await;
    home.ledger.secrets.delete(&"blue/blue/talos/1.ended".parse().unwrap()).await.unwrap();
    let (machines, planted) = (home.machines.clone(), newborn.clone());
    let fuse = Fuse::with_race(move || machines.plant(id(421), planted));
    let report = home.castle_behind(&fuse).run(Goal::Destroy, RunOptions::default()).await;
    let error = report.error.as_ref().unwrap();
    assert_eq!((report.outcome, error.kind()), (Outcome::Failed, ErrorKind::Conflict), "{report:#?}");
    assert_eq!(error.to_string(), "machine 421 is of life 2: it was born since this removal was decided");
    assert_eq!((control_plane(&home), report.rounds), (newborn, 1));
}

#[tokio::test(start_paused = true)]
async fn a_destroy_does_not_end_a_life_that_began_meanwhile() {
    let home = Home::standing().await;
    let (machines, secrets) = (home.machines.clone(), home.ledger.secrets.clone());
    let fuse = Fuse::with_race(move || {
        // The removal fails for once, and another operator begins the next life.
        machines.fail_next(MachineCall::Destroy, Error::new(ErrorKind::Unreachable, "no answer"));
        let key = "blue/blue/talos/2.began".parse().unwrap();
        secrets.create(&key, &Secret::new(b"create".to_vec())).now_or_never().unwrap().unwrap();
    });
    let report = home.castle_behind(&fuse).run(Goal::Destroy, RunOptions::default()).await;
    let error = report.error.as_ref().unwrap();
    assert_eq!((error.kind(), report.rounds), (ErrorKind::Conflict, 2), "{report:#?}");
    assert_eq!(error.to_string(), "life 2 began while this destroy was under way");
    assert!(!home.lives().await.get(2).unwrap().ended, "{report:#?}");
}
