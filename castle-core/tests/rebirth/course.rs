//! The course of a rebirth: what it ends, what it begins, what it takes up again.

use std::time::Duration;

use castle_core::memory::MemoryMachine;
use castle_core::{ByteSize, Decisions, ErrorKind, Goal, Milestone, Outcome, RunOptions, SecretStore};
use uuid::Uuid;

use crate::home::{Home, codes, id, replacing, until, writes};

fn abandoning() -> RunOptions {
    RunOptions { abandon: true, ..RunOptions::default() }
}

/// Lets a rebirth, or a create, begin and drops it on its way.
async fn left_half_done(home: &Home, goal: Goal) {
    let run = home.castle().run(goal, RunOptions::default());
    assert!(home.clock.within(Duration::from_secs(70), run).await.is_none(), "it takes longer");
}

#[tokio::test(start_paused = true)]
async fn a_rebirth_is_one_plan() {
    let home = Home::standing().await;
    let plan = home.plan(Goal::Rebirth, Decisions::default()).await;
    let expected = "-/+ machine blue-cp-01 (421 on pve): running, life 1; then 4 cores, 8GiB, 40GiB on local-lvm, 192.168.1.211
-/+ machine blue-wk-01 (431 on pve): running, life 1; then 4 cores, 8GiB, 40GiB on local-lvm, 192.168.1.214
-/+ machine blue-wk-02 (432 on pve): running, life 1; then 4 cores, 8GiB, 40GiB on local-lvm, 192.168.1.215
  ~ secret KUBECONFIG_CONTENT: an administrator's kubeconfig
  ~ secret TALOSCONFIG_CONTENT: an administrator's talosconfig
  ~ handover: Flux follows clusters/blue of https://git.example/home.git, branch main; planted: namespaces, external-secrets, machine-identity, git-credentials, flux
Plan: 3 to add, 3 to change, 3 to destroy.";
    assert_eq!(plan.to_string(), expected);
    let steps: Vec<_> = plan.steps.iter().map(|step| format!("{} <- {}", step.id, step.needs.join(" "))).collect();
    assert_eq!(
        steps[..8],
        [
            "life/1/end <- ",
            "life/2/begin <- life/1/end",
            "machine/blue-cp-01/remove <- life/2/begin",
            "machine/blue-cp-01/create <- machine/blue-cp-01/remove",
            "machine/blue-cp-01/start <- machine/blue-cp-01/create",
            "machine/blue-wk-01/remove <- life/2/begin",
            "machine/blue-wk-01/create <- machine/blue-wk-01/remove",
            "machine/blue-wk-01/start <- machine/blue-wk-01/create",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_stood_is_gone_and_the_next_life_stands() {
    let home = Home::standing().await;
    let report = home.reaches(Goal::Rebirth, RunOptions::default()).await;
    assert_eq!((home.running(), report.rounds), (Home::stands_in(2), 1));
    assert_eq!(report.timeline.critical_path[..2], ["life/1/end", "life/2/begin"], "{report:#?}");
    for milestone in Milestone::ALL {
        assert!(report.milestones.contains_key(milestone.name()), "{milestone}: {:?}", report.milestones);
    }
    assert!(!report.milestones.contains_key("machines_gone"), "{:?}", report.milestones);
    let lives = home.lives().await;
    let (first, second) = (lives.get(1).unwrap(), lives.get(2).unwrap());
    assert!(first.ended && second.complete && !second.ended, "{lives:?}");
    for (fact, text) in
        [("1.began", "create"), ("1.ended", "rebirth"), ("2.began", "rebirth"), ("2.complete", "rebirth")]
    {
        assert_eq!(home.secret(&format!("blue/blue/talos/{fact}")).await.as_deref(), Some(text), "{fact}");
    }
    assert!(home.plan(Goal::Create, Decisions::default()).await.is_done());
}

#[tokio::test(start_paused = true)]
async fn from_an_empty_house_a_rebirth_begins_the_first_life() {
    let home = Home::new();
    left_half_done(&home, Goal::Rebirth).await;
    assert_eq!(home.secret("blue/blue/talos/1.began").await.as_deref(), Some("rebirth"));
    home.reaches(Goal::Rebirth, RunOptions::default()).await;
    assert_eq!(home.running(), Home::stands_in(1));
}

#[tokio::test(start_paused = true)]
async fn a_rebirth_that_was_left_is_taken_up_by_the_next_rebirth_and_by_a_create() {
    for goal in [Goal::Rebirth, Goal::Create] {
        let home = Home::standing().await;
        left_half_done(&home, Goal::Rebirth).await;
        home.reaches(goal, RunOptions::default()).await;
        assert_eq!(home.running(), Home::stands_in(2), "{goal}");
        assert_eq!(home.cluster.births(), [1, 1]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_create_left_half_born_is_ended_and_not_taken_up() {
    let home = Home::new();
    left_half_done(&home, Goal::Create).await;
    home.reaches(Goal::Rebirth, RunOptions::default()).await;
    assert_eq!(home.running(), Home::stands_in(2));
    assert!(home.lives().await.get(1).unwrap().ended);
}

#[tokio::test(start_paused = true)]
async fn a_half_born_life_can_be_abandoned() {
    let home = Home::standing().await;
    left_half_done(&home, Goal::Rebirth).await;
    let report = home.reaches(Goal::Rebirth, abandoning()).await;
    assert_eq!((home.running(), report.rounds), (Home::stands_in(3), 1));
    assert!(home.lives().await.get(2).unwrap().ended);
    // The key of that request, had it been given.
    assert_eq!(writes(&home.reaches(Goal::Rebirth, RunOptions { abandon: true, ..replacing(2) }).await), 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_request_twice_is_one_rebirth() {
    let home = Home::standing().await;
    home.reaches(Goal::Rebirth, replacing(1)).await;
    let again = home.reaches(Goal::Rebirth, replacing(1)).await;
    assert_eq!((writes(&again), home.running()), (0, Home::stands_in(2)), "{again:#?}");
    // A request without a key is a new wish.
    home.reaches(Goal::Rebirth, RunOptions::default()).await;
    assert_eq!(home.running(), Home::stands_in(3));
}

#[tokio::test(start_paused = true)]
async fn requests_that_contradict_the_store_are_refused() {
    let home = Home::standing().await;
    let check = async |home: &Home, options: RunOptions, expected: &str| {
        let report = home.run(Goal::Rebirth, options).await;
        assert_eq!((report.outcome, codes(&report)), (Outcome::Refused, vec!["life-mismatch"]), "{report:#?}");
        assert_eq!((report.problems[0].message.as_str(), writes(&report)), (expected, 0));
    };
    let newer = "life 5 is to be replaced, but the newest life that the secret store knows is 1";
    check(&home, replacing(5), newer).await;
    check(&Home::new(), replacing(1), "life 1 is to be replaced, but the secret store knows no life").await;
    left_half_done(&home, Goal::Rebirth).await;
    check(&home, replacing(2), "life 2 is to be replaced, but a rebirth began it and is not finished").await;
    home.reaches(Goal::Rebirth, replacing(1)).await;
    home.reaches(Goal::Destroy, RunOptions::default()).await;
    check(&home, replacing(1), "life 1 was replaced already, and life 2, the newest since, is over as well").await;
    home.reaches(Goal::Rebirth, replacing(2)).await;
    assert_eq!(home.running(), Home::stands_in(3));
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_born_again_is_not_removed_first() {
    let stranger = MemoryMachine::stranger("pve", Uuid::from_u128(99), "");
    for machine in [stranger.clone(), MemoryMachine { hidden: true, ..stranger }, MemoryMachine::stub("pve")] {
        let home = Home::standing().await;
        home.machines.plant(id(432), machine);
        let report = home.run(Goal::Rebirth, RunOptions::default()).await;
        assert_eq!((report.outcome, writes(&report)), (Outcome::Refused, 0), "{report:#?}");
        assert_eq!(home.running(), Home::stands_in(1)[..2]);
    }
    let home = Home::standing().await;
    home.machines.plant(
        id(900),
        MemoryMachine { memory: ByteSize::gib_of(6), ..MemoryMachine::stranger("pve", Uuid::from_u128(98), "") },
    );
    let report = home.run(Goal::Rebirth, RunOptions::default()).await;
    assert_eq!((report.outcome, codes(&report)), (Outcome::Refused, vec!["memory"]), "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_younger_than_the_store_refuses_the_rebirth() {
    let home = Home::standing().await;
    home.reaches(Goal::Rebirth, RunOptions::default()).await;
    // The store comes back from a backup that does not know life 2.
    for key in home.ledger.secrets.list("blue/blue/talos").await.unwrap() {
        if key.as_str().contains("talos/2") || key.as_str().ends_with(".ended") {
            home.ledger.secrets.delete(&key).await.unwrap();
        }
    }
    let report = home.run(Goal::Rebirth, RunOptions::default()).await;
    assert_eq!((report.outcome, codes(&report)), (Outcome::Refused, vec!["unknown-life"; 3]), "{report:#?}");
    assert_eq!((home.running(), writes(&report)), (Home::stands_in(2), 0));
}

#[tokio::test(start_paused = true)]
async fn a_sick_castle_is_reborn_without_being_asked() {
    let home = Home::standing().await;
    home.machines.plant(id(432), None);
    home.cluster.silence(true);
    home.gitops.silence(true);
    let report = home.reaches(Goal::Rebirth, until(Milestone::MachinesRunning)).await;
    assert_eq!(home.running(), Home::stands_in(2));
    for silent in ["nodes", "kubernetes", "git"] {
        assert_eq!(report.requests[silent].read + report.requests[silent].write, 0, "{silent}: {report:#?}");
    }
    let report = home.reaches(Goal::Destroy, RunOptions::default()).await;
    assert_eq!((home.running(), report.requests["nodes"].read), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_a_host_is_never_exceeded_on_the_way() {
    let mut home = Home::standing().await;
    home.machines = home.machines.clone().with_host("pve", ByteSize::gib_of(24));
    for host in home.project.hosts.values_mut() {
        host.reserve = ByteSize::default();
    }
    // As much as before: each takes the room that its own removal made.
    let report = home.reaches(Goal::Rebirth, RunOptions::default()).await;
    assert_eq!(report.rounds, 1, "{report:#?}");
    let starts = |report: &castle_core::Report, id: &str| {
        let step = report.timeline.steps.iter().find(|step| step.id == id).unwrap().clone();
        (step.start_ms, step.end_ms)
    };
    // One has grown and two have shrunk: the grown one waits for every removal.
    let memory = [10, 7, 7].map(ByteSize::gib_of);
    for (spec, memory) in home.project.machines.iter_mut().zip(memory) {
        spec.memory = memory;
    }
    let plan = home.plan(Goal::Rebirth, Decisions::default()).await;
    let needs = &plan.steps.iter().find(|step| step.id == "machine/blue-cp-01/start").unwrap().needs;
    assert_eq!(needs.len(), 4, "{needs:?}");
    let report = home.reaches(Goal::Rebirth, RunOptions::default()).await;
    assert_eq!((report.rounds, home.running()), (1, Home::stands_in(3)), "{report:#?}");
    let (start, _) = starts(&report, "machine/blue-cp-01/start");
    for node in ["blue-wk-01", "blue-wk-02"] {
        assert!(starts(&report, &format!("machine/{node}/remove")).1 <= start, "{report:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_operators_make_one_rebirth() {
    for delay in [0, 1, 4, 7, 30, 60, 100] {
        let home = Home::standing().await;
        let late = async {
            home.clock.sleep(Duration::from_secs(delay)).await;
            home.run(Goal::Rebirth, replacing(1)).await
        };
        let (one, two) = futures::join!(home.run(Goal::Rebirth, replacing(1)), late);
        assert_eq!((one.outcome, two.outcome), (Outcome::Ok, Outcome::Ok), "{delay} s: {one:#?}\n{two:#?}");
        assert_eq!(home.running(), Home::stands_in(2), "{delay} s");
        assert_eq!(home.cluster.births(), [1, 1], "{delay} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_store_or_house_stops_a_rebirth_before_anything_is_lost() {
    let home = Home::standing().await;
    home.ledger.secrets.silence(true);
    let report = home.run(Goal::Rebirth, RunOptions::default()).await;
    let kind = report.error.as_ref().map(castle_core::Error::kind);
    assert_eq!((report.outcome, kind), (Outcome::Failed, Some(ErrorKind::Unreachable)), "{report:#?}");
    home.ledger.secrets.silence(false);
    home.machines.blind(true);
    let report = home.run(Goal::Rebirth, RunOptions::default()).await;
    assert_eq!((report.outcome, writes(&report)), (Outcome::Failed, 0), "an empty list is no proof: {report:#?}");
    home.machines.blind(false);
    assert_eq!((home.running(), home.lives().await.next()), (Home::stands_in(1), 2));
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_orderly_and_the_rebirth_goes_on_later() {
    for seconds in [1, 6, 50, 90, 110] {
        let home = Home::standing().await;
        let options = replacing(1);
        let token = options.cancel.clone();
        let stop = async {
            home.clock.sleep(Duration::from_secs(seconds)).await;
            token.cancel();
        };
        let (report, ()) = futures::join!(home.run(Goal::Rebirth, options), stop);
        assert_eq!(report.outcome, Outcome::Cancelled, "{seconds} s: {report:#?}");
        assert!(report.left.iter().any(|step| step == "life/2/complete"), "{seconds} s: {:?}", report.left);
        home.reaches(Goal::Rebirth, replacing(1)).await;
        assert_eq!((home.running(), home.cluster.births()), (Home::stands_in(2), vec![1, 1]), "{seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn what_stands_already_is_told_at_the_first_look() {
    let home = Home::new();
    home.reaches(Goal::Create, until(Milestone::NodesReady)).await;
    let report = home.reaches(Goal::Create, RunOptions::default()).await;
    for milestone in [Milestone::MachinesRunning, Milestone::ApiServing, Milestone::CniReady, Milestone::NodesReady] {
        assert_eq!(report.milestones[milestone.name()].as_secs(), 0, "{milestone}: {report:#?}");
    }
    assert!(report.milestones["handover_ready"].as_secs() > 0, "{report:#?}");
}
