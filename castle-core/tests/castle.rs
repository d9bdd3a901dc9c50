//! The verbs over the ports in memory: what they do, refuse and survive.
#![allow(clippy::unwrap_used)] // helpers of tests, which clippy does not take for tests

use std::sync::Arc;
use std::time::Duration;

use castle_core::memory::{MachineCall, MemoryIdentity, MemoryMachine, MemoryMachines, MemorySecrets, example_project};
use castle_core::{
    ByteSize, Capabilities, Castle, Clock, Context, Env, Error, ErrorKind, EventKind, Goal, LostLife, MachineId,
    Milestone, Outcome, Pace, Power, Problem, Project, Report, RunOptions, Secret, SecretStore, SeededEntropy, Vault,
    Waiver,
};
use uuid::Uuid;

/// A house and a store that outlive the castles that visit them.
#[derive(Clone)]
struct Home {
    machines: MemoryMachines,
    secrets: MemorySecrets,
    project: Project,
    clock: Clock,
}

impl Home {
    fn new() -> Self {
        let machines = MemoryMachines::new().with_host("pve", ByteSize::gib_of(32));
        Self { machines, secrets: MemorySecrets::new(), project: example_project(), clock: Clock::new(Pace::Virtual) }
    }

    /// A castle from an empty folder: it knows the declaration and nothing else.
    fn castle(&self) -> Castle {
        self.castle_with([])
    }

    fn castle_with(&self, waivers: impl IntoIterator<Item = Waiver>) -> Castle {
        Castle::builder(self.project.clone())
            .machines(Arc::new(self.machines.clone()))
            .secrets(Arc::new(self.secrets.clone()))
            .identity(Arc::new(MemoryIdentity))
            .env(Env { clock: self.clock.clone(), entropy: Arc::new(SeededEntropy::new(7)) })
            .waivers(waivers)
            .build()
            .unwrap()
    }

    async fn run(&self, goal: Goal) -> Report {
        self.castle().run(goal, RunOptions::default()).await
    }

    async fn plan(&self, goal: Goal) -> String {
        let castle = self.castle();
        castle.plan(&Context::new(castle.env().clone()), goal, LostLife::Ask, None).await.unwrap().to_string()
    }

    fn running(&self) -> Vec<u32> {
        let ids = self.project.machines.iter().map(|spec| spec.id);
        ids.filter(|id| self.machines.machine(*id).is_some_and(|machine| machine.power == Power::Running))
            .map(MachineId::get)
            .collect()
    }

    fn writes(report: &Report) -> u64 {
        report.requests.values().map(|count| count.write).sum()
    }
}

fn id(number: u32) -> MachineId {
    number.try_into().unwrap()
}

fn stranger() -> MemoryMachine {
    MemoryMachine::stranger("pve", Uuid::from_u128(99), "")
}

fn codes(report: &Report) -> Vec<&'static str> {
    report.problems.iter().map(|problem| problem.code).collect()
}

#[tokio::test(start_paused = true)]
async fn a_plan_reads_as_what_will_happen() {
    let home = Home::new();
    let expected = "  + machine blue-cp-01 (421 on pve): 4 cores, 8GiB, 40GiB on local-lvm, 192.168.1.211
  + machine blue-wk-01 (431 on pve): 4 cores, 8GiB, 40GiB on local-lvm, 192.168.1.214
  + machine blue-wk-02 (432 on pve): 4 cores, 8GiB, 40GiB on local-lvm, 192.168.1.215
Plan: 3 to add, 0 to change, 0 to destroy.";
    assert_eq!(home.plan(Goal::Create).await, expected);
    assert_eq!(home.plan(Goal::Destroy).await, "No changes.");
    home.run(Goal::Create).await;
    assert_eq!(home.plan(Goal::Create).await, "No changes.");
    let expected = "  - machine blue-cp-01 (421 on pve): running, life 1, with its own disks
  - machine blue-wk-01 (431 on pve): running, life 1, with its own disks
  - machine blue-wk-02 (432 on pve): running, life 1, with its own disks
Plan: 0 to add, 0 to change, 3 to destroy.";
    assert_eq!(home.plan(Goal::Destroy).await, expected);
}

#[tokio::test(start_paused = true)]
async fn create_and_destroy_are_done_once() {
    let home = Home::new();
    let created = home.run(Goal::Create).await;
    assert_eq!((created.outcome, home.running()), (Outcome::Ok, vec![421, 431, 432]), "{created:?}");
    assert!(created.milestones.contains_key("machines_running"));
    let again = home.run(Goal::Create).await;
    assert_eq!((again.outcome, Home::writes(&again)), (Outcome::Ok, 0), "{again:?}");
    let destroyed = home.run(Goal::Destroy).await;
    assert_eq!((destroyed.outcome, home.machines.machine(id(421))), (Outcome::Ok, None), "{destroyed:?}");
    let again = home.run(Goal::Destroy).await;
    assert_eq!((again.outcome, Home::writes(&again)), (Outcome::Ok, 0), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn imports_wait_for_their_limit_and_the_timeline_says_so() {
    let report = Home::new().run(Goal::Create).await;
    // Two imports of 40 s at a time, the third behind them, then 3 s to start.
    assert_eq!(report.took.as_secs(), 83);
    assert_eq!(
        report.timeline.critical_path,
        [
            "life/1/begin",
            "machine/blue-wk-01/create",
            "machine/blue-wk-02/create",
            "machine/blue-wk-02/start",
            "life/1/complete"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn each_life_is_new_and_its_uuids_are() {
    let home = Home::new();
    home.run(Goal::Create).await;
    let first = home.machines.machine(id(421)).unwrap();
    home.run(Goal::Destroy).await;
    home.run(Goal::Create).await;
    let second = home.machines.machine(id(421)).unwrap();
    assert!(first.description.contains(" life=1 ") && second.description.contains(" life=2 "));
    assert_ne!(first.uuid, second.uuid);
}

/// Drops a run after `cut` and lets a castle from an empty folder take over.
async fn cut_and_resume(goal: Goal, cut: Duration) -> Home {
    let home = Home::new();
    if goal == Goal::Destroy {
        home.run(Goal::Create).await;
    }
    let castle = home.castle();
    let clock = castle.env().clock.clone();
    let run = castle.run(goal, RunOptions::default());
    drop(clock.within(cut, run).await);
    let report = home.run(goal).await;
    assert_eq!(report.outcome, Outcome::Ok, "cut {goal} after {cut:?}: {report:?}");
    home
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_cut_anywhere_is_finished_by_the_next() {
    for seconds in 0..90 {
        let home = cut_and_resume(Goal::Create, Duration::from_secs(seconds)).await;
        assert_eq!(home.running(), [421, 431, 432], "cut after {seconds} s");
        let lives = home.secrets.list("blue/blue/talos").await.unwrap();
        assert_eq!(lives.len(), 3, "one life, cut after {seconds} s: {lives:?}");
    }
    for seconds in 0..10 {
        let home = cut_and_resume(Goal::Destroy, Duration::from_secs(seconds)).await;
        assert!([421, 431, 432].iter().all(|number| home.machines.machine(id(*number)).is_none()));
    }
}

#[tokio::test(start_paused = true)]
async fn two_operators_make_one_cluster() {
    let home = Home::new();
    let (one, two) = futures::join!(home.run(Goal::Create), home.run(Goal::Create));
    assert_eq!((one.outcome, two.outcome), (Outcome::Ok, Outcome::Ok), "{one:?}\n{two:?}");
    assert_eq!(home.running(), [421, 431, 432]);
    let keys = home.secrets.list("").await.unwrap();
    assert_eq!(keys.iter().filter(|key| key.as_str().contains("talos/2")).count(), 0, "{keys:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stranger_on_a_reserved_id_stops_the_create_before_it_begins() {
    for machine in [stranger(), MemoryMachine { hidden: true, ..stranger() }, MemoryMachine::stub("pve")] {
        let home = Home::new();
        home.machines.plant(id(432), machine.clone());
        let report = home.run(Goal::Create).await;
        assert_eq!((report.outcome, Home::writes(&report)), (Outcome::Refused, 0), "{report:?}");
        assert_eq!(home.machines.machine(id(432)), Some(machine));
        assert_eq!(home.machines.machine(id(421)), None);
    }
}

#[tokio::test(start_paused = true)]
async fn destroy_removes_ours_and_says_what_it_left() {
    let home = Home::new();
    home.run(Goal::Create).await;
    let mine = home.machines.machine(id(431)).unwrap();
    home.machines.plant(id(431), MemoryMachine { description: String::new(), ..mine });
    let report = home.run(Goal::Destroy).await;
    assert_eq!((report.outcome, codes(&report)), (Outcome::Refused, vec!["foreign-machine"]), "{report:?}");
    assert!(home.machines.machine(id(431)).is_some());
    assert!(home.machines.machine(id(421)).is_none() && home.machines.machine(id(432)).is_none());
}

#[tokio::test(start_paused = true)]
async fn memory_is_counted_before_anything_starts() {
    let home = Home::new();
    home.machines.plant(id(900), MemoryMachine { memory: ByteSize::gib_of(6), ..stranger() });
    let report = home.run(Goal::Create).await;
    assert_eq!((report.outcome, Home::writes(&report)), (Outcome::Refused, 0));
    let expected = "host pve: 24GiB are wanted, 22GiB are free: 32GiB less 4GiB reserve less 6GiB in use";
    assert_eq!(report.problems[0].to_string(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_life_that_lost_its_machines_is_asked_about() {
    let home = Home::new();
    home.run(Goal::Create).await;
    for number in [421, 431, 432] {
        home.machines.plant(id(number), None);
    }
    let asked = home.run(Goal::Create).await;
    assert_eq!((asked.outcome, codes(&asked), Home::writes(&asked)), (Outcome::Refused, vec!["lost-life"], 0));
    let run = |lost_life| home.castle().run(Goal::Create, RunOptions { lost_life, ..RunOptions::default() });
    assert_eq!(run(LostLife::Continue).await.outcome, Outcome::Ok);
    assert!(home.machines.machine(id(421)).unwrap().description.contains(" life=1 "));
    for number in [421, 431, 432] {
        home.machines.plant(id(number), None);
    }
    assert_eq!(run(LostLife::Begin).await.outcome, Outcome::Ok);
    assert!(home.machines.machine(id(421)).unwrap().description.contains(" life=2 "));
}

#[tokio::test(start_paused = true)]
async fn remainders_of_an_ended_life_are_replaced() {
    let home = Home::new();
    home.run(Goal::Create).await;
    let old = home.machines.machine(id(421)).unwrap();
    home.run(Goal::Destroy).await;
    home.machines.plant(id(421), old);
    assert!(home.plan(Goal::Create).await.contains("-/+ machine blue-cp-01 (421 on pve): a remainder of life 1"));
    assert_eq!(home.run(Goal::Create).await.outcome, Outcome::Ok);
    assert!(home.machines.machine(id(421)).unwrap().description.contains(" life=2 "));
}

#[tokio::test(start_paused = true)]
async fn a_lost_store_needs_a_waiver_that_names_each_machine() {
    let home = Home::new();
    home.run(Goal::Create).await;
    let lost = Home { secrets: MemorySecrets::new(), ..home.clone() };
    let refused = lost.run(Goal::Destroy).await;
    assert_eq!((refused.outcome, Home::writes(&refused), lost.running().len()), (Outcome::Refused, 0, 3));
    let hints: Vec<_> = refused.problems.iter().filter_map(|problem| problem.hint.clone()).collect();
    let waivers = hints.iter().map(|hint| {
        let typed = hint.split("--waive-ownership ").nth(1).unwrap().trim_end_matches('`');
        typed.parse::<Waiver>().unwrap()
    });
    let report = lost.castle_with(waivers).run(Goal::Destroy, RunOptions::default()).await;
    assert_eq!((report.outcome, lost.running().len()), (Outcome::Ok, 0), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn bad_weather_is_waited_out_and_told() {
    let home = Home::new();
    home.machines.fail_next(MachineCall::List, Error::new(ErrorKind::Unreachable, "connection reset"));
    home.machines.lose_answer(MachineCall::Ensure, Error::new(ErrorKind::Unreachable, "the answer was lost"));
    home.machines.lose_answer(MachineCall::Power, Error::new(ErrorKind::Unreachable, "the answer was lost"));
    let castle = home.castle();
    let run = castle.run(Goal::Create, RunOptions::default());
    let log = run.log();
    let report = run.await;
    assert_eq!((report.outcome, home.running().len()), (Outcome::Ok, 3), "{report:?}");
    let told = log.events().iter().filter(|event| matches!(event.kind, EventKind::RoundFailed { .. })).count();
    assert_eq!(told, 3, "{:#?}", log.events());
}

#[tokio::test(start_paused = true)]
async fn a_silent_house_ends_in_an_error_not_in_a_guess() {
    let home = Home::new();
    home.run(Goal::Create).await;
    home.machines.silence(Some(ErrorKind::Unreachable));
    let report = home.run(Goal::Destroy).await;
    assert_eq!((report.outcome, report.error.unwrap().kind()), (Outcome::Failed, ErrorKind::Unreachable));
    home.machines.silence(None);
    home.machines.blind(true);
    let report = home.run(Goal::Destroy).await;
    assert_eq!((report.outcome, Home::writes(&report)), (Outcome::Failed, 0), "an empty list is no proof");
    home.machines.blind(false);
    assert_eq!(home.running().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_orderly_and_says_what_is_left() {
    let home = Home::new();
    let castle = home.castle();
    let clock = castle.env().clock.clone();
    let options = RunOptions::default();
    let token = options.cancel.clone();
    let stop = async {
        clock.sleep(Duration::from_secs(50)).await;
        token.cancel();
    };
    let (report, ()) = futures::join!(castle.run(Goal::Create, options), stop);
    assert_eq!(report.outcome, Outcome::Cancelled);
    assert!(report.left.iter().any(|step| step == "life/1/complete"), "{:?}", report.left);
    assert_eq!(home.run(Goal::Create).await.outcome, Outcome::Ok);
}

/// A machine whose removal failed is looked at again, and what the first round left
/// behind is on no machine that the second one sees.
#[tokio::test(start_paused = true)]
async fn what_removals_left_behind_is_told_whatever_rounds_follow() {
    let leftover = |number: u32| {
        Problem::warning("leftovers-unknown", format!("machine {number}"), "its disks could not be listed")
            .hint(format!("`pvesm list local-lvm --vmid {number}`"))
    };
    for stumbles in [0, 1] {
        let home = Home::new();
        home.run(Goal::Create).await;
        for number in [421, 431, 432] {
            home.machines.leave_behind(id(number), leftover(number));
        }
        for _ in 0..stumbles {
            home.machines.fail_next(MachineCall::Destroy, Error::new(ErrorKind::Unreachable, "connection reset"));
        }
        let report = home.run(Goal::Destroy).await;
        assert_eq!((report.outcome, report.rounds), (Outcome::Ok, 1 + stumbles), "{report:?}");
        let mut told = report.problems.clone();
        told.sort_by(|one, other| one.subject.cmp(&other.subject));
        assert_eq!(told, [421, 431, 432].map(leftover), "{stumbles} stumbles");
        assert_eq!(report.left, Vec::<String>::new());
    }
}

/// The second round sees a stranger and is refused: nothing of it is left to be done.
#[tokio::test(start_paused = true)]
async fn what_is_left_is_left_of_the_last_plan() {
    let home = Home::new();
    home.machines.fail_next(MachineCall::Power, Error::new(ErrorKind::Unreachable, "connection reset"));
    let castle = home.castle();
    let run = castle.run(Goal::Create, RunOptions::default());
    let mut log = run.log().subscribe();
    let meanwhile = async {
        while let Some(event) = log.next().await {
            if matches!(event.kind, EventKind::RoundFailed { .. }) {
                home.machines.plant(id(432), stranger());
            }
        }
    };
    let (report, ()) = futures::join!(run, meanwhile);
    assert_eq!((report.outcome, codes(&report)), (Outcome::Refused, vec!["foreign-machine"]), "{report:?}");
    assert_eq!(report.left, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_log_of_a_run_that_was_dropped_ends() {
    let home = Home::new();
    let castle = home.castle();
    let ends = async |mut reader: castle_core::Subscription| {
        let all = async { while reader.next().await.is_some() {} };
        home.clock.within(Duration::from_secs(1), all).await.is_some()
    };
    let unpolled = castle.run(Goal::Create, RunOptions::default());
    let reader = unpolled.log().subscribe();
    drop(unpolled);
    assert!(ends(reader).await, "never polled");

    let run = castle.run(Goal::Create, RunOptions::default());
    let reader = run.log().subscribe();
    assert!(home.clock.within(Duration::from_secs(20), run).await.is_none(), "it takes longer");
    assert!(ends(reader).await, "dropped by a timeout");

    let run = castle.run(Goal::Create, RunOptions::default());
    let reader = run.log().subscribe();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(run);
    home.clock.sleep(Duration::from_secs(5)).await;
    tasks.shutdown().await;
    assert!(ends(reader).await, "aborted");
}

#[tokio::test(start_paused = true)]
async fn a_check_tells_what_differs_and_says_nothing_twice() {
    let home = Home::new();
    home.machines.plant(id(900), MemoryMachine { memory: ByteSize::gib_of(16), ..stranger() });
    home.machines.plant(id(432), stranger());
    let provider = |code, subject: &str| Problem::error(code, subject, "as the provider says it").hint("`pveum ..`");
    home.machines.find_in_preflight(provider("missing-privilege", "pve"));
    home.machines.find_in_preflight(provider("id-taken", "blue-wk-02 (432)"));
    let castle = home.castle();
    let found = castle.check(&Context::new(castle.env().clone())).await.unwrap();
    let told: Vec<_> = found.iter().map(|problem| (problem.code, problem.subject.as_str())).collect();
    assert_eq!(told, [("missing-privilege", "pve"), ("id-taken", "blue-wk-02 (432)"), ("memory", "host pve")]);
}

#[test]
fn a_castle_that_cannot_stand_says_everything_at_once() {
    let mut project = example_project();
    project.network.vip = Some("192.168.1.210".parse().unwrap());
    let build = |machines: MemoryMachines| {
        let castle = Castle::builder(project.clone()).machines(Arc::new(machines));
        castle.secrets(Arc::new(MemorySecrets::new())).identity(Arc::new(MemoryIdentity)).build()
    };
    assert!(build(MemoryMachines::new().with_host("pve", ByteSize::gib_of(32))).is_ok());
    let error = build(MemoryMachines::new().with_capabilities(Capabilities::none())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
    for part in ["network.vip: ", "platform: ", "blue-cp-01: ", "blue-wk-01: ", "blue-wk-02: host `pve` is unknown"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert!(error.advice().is_some_and(|advice| advice.contains("remove `vip`")), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_hangs_ends_every_look_and_a_stop_ends_it_at_once() {
    let home = Home::new();
    home.machines.hang(true);
    let castle = home.castle();
    let cx = Context::new(castle.env().clone());
    let plan = async || castle.plan(&cx, Goal::Create, LostLife::Ask, None).await.map(drop);
    let check = async || castle.check(&cx).await.map(drop);
    for error in [plan().await.unwrap_err(), check().await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error:?}");
        assert!(error.to_string().contains("a backend gives neither an answer nor an error"), "{error}");
        assert!(error.context().any(|(key, value)| key == "backends" && value.contains("memory")), "{error:?}");
    }
    assert!(castle.observe(&cx, Milestone::MachinesRunning).await.machines.known().is_none());
    let report = home.run(Goal::Create).await;
    assert_eq!(report.error.map(|error| error.kind()), Some(ErrorKind::DeadlineExceeded));

    let (began, stop) = (home.clock.elapsed(), async { cx.cancel().cancel() });
    let (planned, ()) = futures::join!(plan(), stop);
    assert_eq!(planned.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(check().await.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(home.clock.elapsed(), began);
}

/// The bundle of life 7 is looked for under `7`: what is written otherwise is no life.
#[tokio::test(start_paused = true)]
async fn only_numbers_as_castle_writes_them_are_lives() {
    let secrets = MemorySecrets::new();
    for name in ["1", "1.born", "007", "+8", "0", "4294967295", "99999999999", "x"] {
        let key = format!("blue/blue/talos/{name}").parse();
        if let Ok(key) = key {
            secrets.create(&key, &Secret::new(b"x".to_vec())).await.unwrap();
        }
    }
    let vault = Vault::new(Arc::new(secrets), "blue".parse().unwrap(), "blue".parse().unwrap());
    let lives = vault.lives().await.unwrap();
    assert_eq!(lives.iter().map(|(number, _)| number).collect::<Vec<_>>(), [1]);
    assert_eq!(lives.next(), 2);
}
