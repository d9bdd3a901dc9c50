//! Removals: what goes, what stays, and what survives in spite of everything.

use castle_core::{Birth, ErrorKind, MachineProvider, MachineSpec, Power, Slot};
use castle_lab::World;
use castle_lab::faults::FaultEffect;
use castle_lab::hypervisor::{MachineWish, TaskFault};
use castle_lab::runtime;
use castle_lab::world::Moment;

use crate::house::{Guest, House};

/// A house with one machine, running or not.
async fn inhabited(running: bool) -> (House, Guest, MachineSpec) {
    let house = House::open().await;
    let (guest, spec) = (house.enter(), house.specs()[0].clone());
    guest.born(&spec).await;
    if running {
        guest.power(&spec, Power::Running).await.expect("it starts");
    }
    (house, guest, spec)
}

/// The kinds of the requests of one removal, in their order.
fn requests_of_a_removal(running: bool) -> Vec<String> {
    runtime::run_virtual(|| async {
        let (house, _, spec) = inhabited(running).await;
        let guest = house.enter();
        guest.destroy(&spec).await.expect("it goes");
        let entries = house.lab.journal().entries();
        entries.into_iter().filter(|entry| entry.run == guest.run).map(|entry| entry.kind).collect()
    })
}

#[test]
fn a_removal_that_is_cut_anywhere_is_completed_by_the_next() {
    let kinds = requests_of_a_removal(true);
    for (index, kind) in (0..).zip(&kinds) {
        for after in [false, true] {
            runtime::run_virtual(|| async {
                let (house, _, spec) = inhabited(true).await;
                let first = house.enter();
                house.lab.faults().at_request(first.run, index, FaultEffect::Cut { after });
                let end = house.until_cut(first.destroy(&spec)).await;
                assert!(end.is_none(), "{index} {kind} {after}: it was not cut: {end:?}");
                let second = house.enter();
                let removal = second.destroy(&spec).await;
                let removal = removal.unwrap_or_else(|error| panic!("{index} {kind} {after}: {}", error.chain()));
                assert!(removal.leftovers.is_empty(), "{index} {kind} {after}: {removal:#?}");
                assert!(house.traces(421).is_empty(), "{index} {kind} {after}: {:?}", house.traces(421));
                house.is_sound();
            });
        }
    }
}

#[test]
fn a_lost_answer_stops_no_removal() {
    for kind in ["PUT qemu/config", "POST qemu/status/stop", "DELETE qemu"] {
        for effect in [FaultEffect::AnswerLost, FaultEffect::ResetBefore, FaultEffect::ResetAfter, FaultEffect::Stall] {
            runtime::run_virtual(|| async {
                let (house, guest, spec) = inhabited(true).await;
                house.fault(kind, effect.clone());
                let removal = guest.destroy(&spec).await;
                removal.unwrap_or_else(|error| panic!("{kind} {effect:?}: {}", error.chain()));
                assert!(house.traces(421).is_empty(), "{kind} {effect:?}: {:?}", house.traces(421));
                house.is_sound();
            });
        }
    }
}

/// Gives the number to a stranger just before one request of a removal, and
/// tells whether the stranger lived, untouched.
fn recycled(index: u32, running: bool, stranger: MachineWish) -> bool {
    runtime::run_virtual(|| async {
        let (house, _, spec) = inhabited(running).await;
        let guest = house.enter();
        house.world(|world| {
            world.when(Moment::before_request(guest.run, index), move |world: &mut World| {
                world.admin_destroy(421);
                world.admin_create(stranger.clone());
            });
        });
        let _ = guest.destroy(&spec).await;
        house.world(|world| {
            let lives = world.proxmox.vms.get(&421).is_some_and(|vm| vm.name() == "stranger");
            lives && world.untouched(421)
        })
    })
}

#[test]
fn a_stranger_who_got_the_number_survives_between_any_two_requests() {
    for running in [false, true] {
        for (index, kind) in (0..).zip(requests_of_a_removal(running)) {
            for on in [false, true] {
                let mut stranger = MachineWish::new(421, "stranger");
                stranger.running = on;
                assert!(recycled(index, running, stranger), "{running} {index} {kind} {on}");
            }
        }
    }
}

/// The same for a machine of the next life: every proof of ownership holds for it.
#[test]
fn the_next_life_survives_a_removal_that_comes_late() {
    let survives = |index: u32, spared: Option<u32>| {
        runtime::run_virtual(|| async {
            let (house, _, spec) = inhabited(false).await;
            let mut guest = house.enter();
            let birth = Birth::of("the next life", 2, &spec.node, 1);
            let newborn = MachineWish::new(421, spec.node.as_str())
                .in_pool("blue")
                .with("protection", "1")
                .with("smbios1", format!("uuid={}", birth.uuid))
                .with("description", guest.owner.mark(&spec, &birth).expect("the house gives a key"));
            if let Some(life) = spared {
                guest.owner = guest.owner.clone().sparing(life);
            }
            house.world(|world| {
                world.when(Moment::before_request(guest.run, index), move |world: &mut World| {
                    world.admin_destroy(421);
                    world.admin_create(newborn.clone());
                });
            });
            let _ = guest.destroy(&spec).await;
            house.world(|world| world.proxmox.vms.contains_key(&421) && world.untouched(421))
        })
    };
    let kinds = requests_of_a_removal(false);
    for (index, kind) in (0..).zip(&kinds) {
        assert!(survives(index, Some(2)), "{index} {kind}");
    }
    assert!(!survives(0, None), "it is the life that saves it");
}

/// The window that the module's documentation names: one request wide, and open
/// only for a machine that somebody put into castle's own pool.
#[test]
fn within_castle_s_own_pool_one_request_is_left_uncovered() {
    let lost = |running: bool, wish: &dyn Fn() -> MachineWish| {
        let kinds = requests_of_a_removal(running);
        let lost = (0..).zip(kinds).filter(|(index, _)| !recycled(*index, running, wish()));
        lost.map(|(_, kind)| kind).collect::<Vec<_>>()
    };
    let bare = || MachineWish::new(421, "stranger").in_pool("blue");
    assert_eq!(lost(false, &bare), ["DELETE qemu"]);
    assert!(lost(false, &|| bare().running()).is_empty(), "a machine that runs is not removed");
    assert!(lost(false, &|| bare().with("protection", "1")).is_empty(), "a protected machine is not removed");
    assert_eq!(lost(true, &bare), ["POST qemu/status/stop", "DELETE qemu"]);
}

#[test]
fn a_machine_that_was_changed_meanwhile_is_judged_again() {
    runtime::run_virtual(|| async {
        let (house, guest, spec) = inhabited(false).await;
        house.world(|world| {
            world.when(Moment::before("PUT qemu/config"), |world: &mut World| world.admin_rename(421, "renamed"));
        });
        guest.destroy(&spec).await.expect("a new name changes nothing");
        assert!(house.traces(421).is_empty());
    });
    runtime::run_virtual(|| async {
        let (house, guest, spec) = inhabited(false).await;
        house.world(|world| {
            world.when(Moment::before("PUT qemu/config"), |world: &mut World| world.admin_set_description(421, "mine"));
        });
        let error = guest.destroy(&spec).await.expect_err("its mark is gone");
        assert_eq!(error.kind(), ErrorKind::ForeignOwner, "{error:#?}");
        assert!(!house.traces(421).is_empty());
    });
    runtime::run_virtual(|| async {
        let (house, guest, spec) = inhabited(false).await;
        house.world(|world| {
            world.when(Moment::before("DELETE qemu"), |world: &mut World| world.admin_set(421, "protection", "1"));
        });
        let error = guest.destroy(&spec).await.expect_err("somebody wants to keep it");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error:#?}");
        assert!(!house.traces(421).is_empty());
    });
}

#[test]
fn a_machine_that_is_locked_is_left_with_the_reason() {
    runtime::run_virtual(|| async {
        let (house, guest, spec) = inhabited(false).await;
        house.world(|world| world.admin_lock(421, Some("backup")));
        let error = guest.destroy(&spec).await.expect_err("a backup works on it");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error:#?}");
        assert!(error.advice().is_some_and(|advice| advice.contains("backup")), "{error:#?}");
        house.world(|world| world.admin_lock(421, None));
        guest.destroy(&spec).await.expect("the backup is over");
        assert!(house.traces(421).is_empty());
    });
}

#[test]
fn a_disk_that_is_not_its_own_stops_the_removal() {
    runtime::run_virtual(|| async {
        let (house, guest, spec) = inhabited(true).await;
        house.world(|world| {
            world.admin_leave_volume("pve", "local-lvm", 500);
            world.admin_set(421, "scsi1", "local-lvm:vm-500-disk-0,size=4G");
        });
        let error = guest.destroy(&spec).await.expect_err("somebody's data");
        assert_eq!(error.kind(), ErrorKind::ForeignOwner, "{error:#?}");
        assert!(error.advice().is_some_and(|advice| advice.contains("qm set 421 --delete scsi1")), "{error:#?}");
        let Slot::Present(machine) = guest.slot(&spec).await else { panic!("it is there") };
        assert!(machine.power == Power::Running && machine.protected && !machine.dying, "{machine:#?}");
    });
}

#[test]
fn what_is_left_is_told_with_its_command() {
    runtime::run_virtual(|| async {
        let (house, guest, spec) = inhabited(false).await;
        house.world(|world| world.admin_leave_volume("pve", "local-lvm", 421));
        let removal = guest.destroy(&spec).await.expect("it goes");
        let [left] = &removal.leftovers[..] else { panic!("{removal:#?}") };
        let hint = left.hint.as_deref().expect("a command");
        assert!(hint.contains(&format!("pvesm free {}", left.subject)), "{hint}");
        assert!(left.subject.starts_with("local-lvm:vm-421-disk-"), "{left:?}");
        assert!(!house.traces(421).is_empty(), "it is not castle's to free");
    });
}

#[test]
fn a_removal_that_fails_on_the_host_is_told_and_can_be_repeated() {
    runtime::run_virtual(|| async {
        let (house, guest, spec) = inhabited(false).await;
        house.world(|world| world.fail_task("qmdestroy", None, TaskFault::Fails("lvremove failed".into())));
        let error = guest.destroy(&spec).await.expect_err("it failed");
        assert!(error.chain().contains("lvremove failed"), "{}", error.chain());
        let Slot::Present(machine) = guest.slot(&spec).await else { panic!("it is there") };
        assert!(machine.dying && !machine.protected, "{machine:#?}");
        let refused = guest.ensure(&spec).await.expect_err("it is dying");
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused:#?}");
        guest.destroy(&spec).await.expect("the second time");
        assert!(house.traces(421).is_empty());
    });
}

#[test]
fn the_others_are_seen_and_left_alone() {
    runtime::run_virtual(|| async {
        let (house, guest, spec) = inhabited(true).await;
        house.world(|world| {
            // By hand, with description and tags, as the manager's web page copies.
            world.admin_clone(421, 900, "copy-of-421");
            world.admin_clone(421, 431, "copy-in-the-range");
        });
        let inventory = guest.provider.list(&guest.cx, &guest.owner, house.specs()).await.expect("a list");
        let copy = inventory.others.iter().find(|machine| machine.id.get() == 900).expect("the copy is seen");
        assert_eq!(copy.standing.to_string(), "foreign: its mark was written for machine 421: a copy");
        let in_range = &inventory.slots[&house.specs()[1].id];
        assert!(matches!(in_range, Slot::Present(machine) if machine.standing.ours().is_none()), "{in_range:?}");
        for spec in [&house.specs()[1], &spec] {
            let _ = guest.destroy(spec).await;
        }
        assert!(house.traces(421).is_empty() && !house.traces(431).is_empty() && !house.traces(900).is_empty());
        assert!(house.world(|world| world.untouched(431) && world.untouched(900)));
    });
}
