//! Births and starts in bad weather: lost answers, busy locks, full storages,
//! power cuts.

use std::time::Duration;

use castle_core::{ErrorKind, EventKind, MachineProvider, Pace, Power, Slot};
use castle_lab::faults::FaultEffect;
use castle_lab::hypervisor::TaskFault;
use castle_lab::runtime;
use futures::future::join_all;

use crate::house::{Guest, House, TOKEN};

/// The ways to lose an answer, each with whether the request had its effect.
fn lost() -> Vec<FaultEffect> {
    let timed_out = |after| FaultEffect::Status {
        status: 596,
        reason: Some("Connection timed out".into()),
        body: String::new(),
        after,
    };
    vec![
        FaultEffect::AnswerLost,
        FaultEffect::ResetBefore,
        FaultEffect::ResetAfter,
        FaultEffect::Stall,
        timed_out(true),
        timed_out(false),
    ]
}

async fn is_whole(house: &House, guest: &Guest) {
    let spec = &house.specs()[0];
    let Slot::Present(machine) = guest.slot(spec).await else { panic!("{} is there", spec.id) };
    assert!(machine.standing.ours().is_some(), "{machine:#?}");
    assert_eq!((machine.disk, machine.power, machine.protected), (Some(spec.disk), Power::Stopped, true));
    let of_castle = house.world(|world| world.machines_of_castle());
    assert_eq!(of_castle, [spec.id.get()]);
    house.is_sound();
}

#[test]
fn a_lost_answer_makes_no_twin_and_no_orphan() {
    for kind in ["POST qemu", "PUT qemu/resize"] {
        for effect in lost() {
            let shown = format!("{kind} {effect:?}");
            runtime::run_virtual(|| async {
                let house = House::open().await;
                house.fault(kind, effect.clone());
                let guest = house.enter();
                guest.born(&house.specs()[0]).await;
                assert!(house.lab.faults().left().iter().all(|fault| fault.times == 0), "{shown} struck");
                is_whole(&house, &guest).await;
            });
        }
    }
}

#[test]
fn a_start_or_stop_whose_answer_was_lost_reaches_its_state() {
    for effect in lost() {
        runtime::run_virtual(|| async {
            let house = House::open().await;
            let (guest, spec) = (house.enter(), &house.specs()[0]);
            guest.born(spec).await;
            for (kind, power) in [("POST qemu/status/start", Power::Running), ("POST qemu/status/stop", Power::Stopped)]
            {
                house.fault(kind, effect.clone());
                guest.power(spec, power).await.unwrap_or_else(|error| panic!("{kind} {effect:?}: {}", error.chain()));
                assert!(matches!(guest.slot(spec).await, Slot::Present(machine) if machine.power == power));
            }
            house.is_sound();
        });
    }
}

#[test]
fn a_start_that_fails_after_its_effect_has_reached_its_goal() {
    runtime::run_virtual(|| async {
        let house = House::open().await;
        let (guest, spec) = (house.enter(), &house.specs()[0]);
        guest.born(spec).await;
        let fault = TaskFault::FailsAfterEffect("start failed: QEMU exited with code 1".into());
        house.world(|world| world.fail_task("qmstart", None, fault));
        guest.power(spec, Power::Running).await.expect("it runs");
        let fault = TaskFault::Fails("start failed: QEMU exited with code 1".into());
        guest.power(spec, Power::Stopped).await.expect("it stops");
        for _ in 0..3 {
            house.world(|world| world.fail_task("qmstart", None, fault.clone()));
        }
        let error = guest.power(spec, Power::Running).await.expect_err("it does not run");
        assert!(error.chain().contains("QEMU exited with code 1"), "{}", error.chain());
    });
}

#[test]
fn a_birth_that_is_cut_anywhere_is_completed_by_the_next() {
    let requests = runtime::run_virtual(|| async {
        let house = House::open().await;
        let guest = house.enter();
        guest.born(&house.specs()[0]).await;
        guest.provider.meter().total()
    });
    let count = requests.read + requests.write;
    assert!(count > 8, "{requests:?}");
    for index in 0..count {
        for after in [false, true] {
            runtime::run_virtual(|| async {
                let house = House::open().await;
                let first = house.enter();
                house.lab.faults().at_request(first.run, index, FaultEffect::Cut { after });
                let end = house.until_cut(first.ensure(&house.specs()[0])).await;
                assert!(end.is_none(), "request {index} after {after}: it was not cut: {end:?}");
                let second = house.enter();
                second.born(&house.specs()[0]).await;
                is_whole(&house, &second).await;
            });
        }
    }
}

#[test]
fn a_busy_lock_is_waited_for() {
    runtime::run_virtual(|| async {
        let house = House::open().await;
        let (guest, spec) = (house.enter(), &house.specs()[0]);
        house.world(|world| world.occupy_storage("pve", "local-lvm", Duration::from_secs(15)));
        guest.born(spec).await;
        let told = guest.cx.log().events().into_iter().any(
            |event| matches!(&event.kind, EventKind::StepWaiting { why, .. } if why.starts_with("a busy lock on pve")),
        );
        assert!(told, "{:#?}", guest.cx.log().events());
        is_whole(&house, &guest).await;
    });
}

#[test]
fn failures_of_the_host_are_typed_and_leave_nothing() {
    fn check(kind: ErrorKind, hint: &str, weather: impl Fn(&mut castle_lab::World) + Send + Sync) {
        runtime::run_virtual(|| async {
            let house = House::open().await;
            let (guest, spec) = (house.enter(), &house.specs()[0]);
            house.world(&weather);
            let error = guest.ensure(spec).await.expect_err("bad weather");
            assert_eq!(error.kind(), kind, "{error:#?}");
            assert!(error.advice().is_some_and(|advice| advice.contains(hint)), "{error:#?}");
            assert!(house.traces(spec.id.get()).is_empty(), "{:?}", house.traces(spec.id.get()));
            house.is_sound();
        });
    }
    check(ErrorKind::Exhausted, "pvesm status", |world| world.fill_storage("pve", "local-lvm", true));
    check(ErrorKind::NotFound, "castle check", |world| {
        assert!(world.remove_image("pve", "local", "talos-test.qcow2"));
    });
    check(ErrorKind::NotFound, "pvesm status", |world| world.set_storage_online("pve", "local-lvm", false));
    check(ErrorKind::Unauthenticated, "proxmox.token", |world| world.revoke_token(TOKEN));
    check(ErrorKind::PermissionDenied, "castle check", |world| world.withdraw_privilege("VM.Allocate"));
    check(ErrorKind::PermissionDenied, "castle check", |world| world.withdraw_privilege("SDN.Use"));
}

#[test]
fn a_killed_creation_is_left_to_the_administrator_with_the_command() {
    runtime::run_virtual(|| async {
        let house = House::open().await;
        let (guest, spec) = (house.enter(), &house.specs()[0]);
        house.world(|world| world.fail_task("qmcreate", None, TaskFault::Killed));
        let error = guest.ensure(spec).await.expect_err("half made");
        assert_eq!(error.kind(), ErrorKind::ForeignOwner, "{error:#?}");
        let advice = error.advice().expect("a hint");
        assert!(advice.contains("qm unlock 421") && advice.contains("qm destroy 421"), "{advice}");
        let writes = house.writes(guest.run);
        assert_eq!(writes, ["POST qemu"], "it was tried again over the remains");
    });
}

#[test]
fn warnings_of_a_task_are_a_success_and_are_told() {
    runtime::run_virtual(|| async {
        let house = House::open().await;
        let guest = house.enter();
        house.world(|world| world.fail_task("qmcreate", None, TaskFault::Warns(2)));
        guest.born(&house.specs()[0]).await;
        let told = guest
            .cx
            .log()
            .events()
            .into_iter()
            .any(|event| matches!(&event.kind, EventKind::Notice { text } if text.contains("with 2 warnings")));
        assert!(told, "{:#?}", guest.cx.log().events());
    });
}

#[test]
fn imports_into_one_storage_are_limited() {
    runtime::run_virtual(|| async {
        let house = House::open().await;
        let guest = house.enter();
        join_all(house.specs().iter().map(|spec| guest.born(spec))).await;
        let spans: Vec<(Duration, Duration)> = house.world(|world| {
            let creations = world.proxmox.tasks.iter().filter(|task| task.kind == "qmcreate");
            creations.map(|task| (task.started_at, task.ended.as_ref().expect("it ended").0)).collect()
        });
        let at_once = |at: Duration| spans.iter().filter(|(from, to)| (*from..*to).contains(&at)).count();
        let most = spans.iter().map(|(from, _)| at_once(*from)).max();
        assert_eq!((spans.len(), most), (4, Some(2)), "{spans:?}");
        house.is_sound();
    });
}

#[test]
fn all_who_wait_share_one_poll() {
    let polls = |machines: usize| {
        runtime::run_virtual(move || async move {
            let house = House::open().await;
            let guest = house.enter();
            join_all(house.specs()[..machines].iter().map(|spec| guest.born(spec))).await;
            let entries = house.lab.journal().entries();
            entries.iter().filter(|entry| entry.kind == "GET tasks").count()
        })
    };
    // Two at a time into one storage: four take twice as long as two, not more polls for each.
    let (two, four) = (polls(2), polls(4));
    assert!(two > 4 && four < two * 4, "{two} polls for 2 machines, {four} for 4");
}

#[test]
fn a_host_that_falls_silent_is_unknown_and_never_absent() {
    runtime::run_virtual(|| async {
        let house = House::open().await;
        let (guest, spec) = (house.enter(), &house.specs()[0]);
        guest.born(spec).await;
        house.world(|world| world.set_host_online("pve", false));
        let list = guest.provider.list(&guest.cx, &guest.owner, house.specs()).await;
        let slots = list.expect("the other members answer").slots;
        assert!(matches!(slots[&spec.id], Slot::Unknown(_)), "{slots:#?}");
        let error = guest.destroy(spec).await.expect_err("nobody answers");
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:#?}");
        assert!(!house.traces(spec.id.get()).is_empty());
    });
}

#[test]
fn a_wish_to_stop_ends_between_two_requests() {
    runtime::run_virtual(|| async {
        let house = House::open().await;
        let (guest, spec) = (house.enter(), &house.specs()[0]);
        guest.cx.cancel().cancel();
        let error = guest.ensure(spec).await.expect_err("stopped");
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error:#?}");
        assert!(house.writes(guest.run).is_empty() && house.traces(spec.id.get()).is_empty());
    });
}

#[test]
fn at_a_scaled_pace_all_is_the_same_and_sooner() {
    runtime::run_scaled(|| async {
        let house = House::paced(Pace::scaled(60.0).unwrap()).await;
        let (guest, spec) = (house.enter(), &house.specs()[0]);
        guest.born(spec).await;
        guest.power(spec, Power::Running).await.expect("it starts");
        guest.destroy(spec).await.expect("it goes");
        assert!(house.traces(spec.id.get()).is_empty());
        house.is_sound();
    });
}

#[test]
fn one_seed_is_one_history() {
    let history = || {
        runtime::run_virtual(|| async {
            let house = House::open().await;
            let guest = house.enter();
            join_all(house.specs().iter().map(|spec| guest.born(spec))).await;
            join_all(house.specs().iter().map(|spec| guest.power(spec, Power::Running))).await;
            join_all(house.specs().iter().map(|spec| guest.destroy(spec))).await;
            (house.lab.journal().digest(), house.lab.journal().len())
        })
    };
    let first = history();
    assert!((0..5).all(|_| history() == first));
}
