//! Hosts, storages, images, locks.

use std::time::Duration;

use castle_lab::world::Moment;

use crate::case::{Case, End, blue};

#[test]
fn a_host_that_is_off_is_told_and_never_taken_for_empty() {
    Case::create("host offline", End::Refused("host-offline", "bring the host back"))
        .weather(|world| world.set_host_online("pve", false))
        .clears(|world| world.set_host_online("pve", true))
        .writes_nothing()
        .check();
    Case::destroy("host offline", End::Failed("unreachable", "mend the connection and run again"))
        .weather(|world| world.set_host_online("pve", false))
        .clears(|world| world.set_host_online("pve", true))
        .tells("595: No route to host")
        .check();
}

/// An import that dies with its host is a killed one: see the tasks.
#[test]
fn a_host_that_loses_power_while_its_machines_start_is_waited_for() {
    let last_start = || Moment::after("POST qemu/status/start").skipping(2);
    Case::create("host offline in the middle", End::Failed("deadline_exceeded", "`deadlines` in castle.yaml"))
        .weather(move |world| world.when(last_start(), |world| world.set_host_online("pve", false)))
        .tells("595: No route to host")
        .clears(|world| world.set_host_online("pve", true))
        .check();
    Case::create("host offline for a minute", End::Reached)
        .weather(move |world| {
            world.when(last_start(), |world| {
                world.set_host_online("pve", false);
                world.schedule(world.now() + Duration::from_secs(60), |world| world.set_host_online("pve", true));
            });
        })
        .tells("host pve does not answer")
        .check();
}

#[test]
fn a_full_storage_is_told_before_and_survived_in_the_middle() {
    Case::create("full storage", End::Refused("storage-full", "pvesm list local-lvm"))
        .weather(|world| world.fill_storage("pve", "local-lvm", true))
        .clears(|world| world.fill_storage("pve", "local-lvm", false))
        .writes_nothing()
        .check();
    Case::create("storage that fills up", End::Failed("exhausted", "pvesm status"))
        .weather(|world| world.when(Moment::before("POST qemu"), |world| world.fill_storage("pve", "local-lvm", true)))
        .clears(|world| world.fill_storage("pve", "local-lvm", false))
        .tells("insufficient free space")
        .check();
}

#[test]
fn a_storage_that_is_offline_is_told_before_and_survived_in_the_middle() {
    Case::create("storage offline", End::Refused("storage-offline", "pvesm status --storage local-lvm"))
        .weather(|world| world.set_storage_online("pve", "local-lvm", false))
        .clears(|world| world.set_storage_online("pve", "local-lvm", true))
        .writes_nothing()
        .check();
    Case::create("storage lost", End::Failed("not_found", "pvesm status"))
        .weather(|world| {
            world.when(Moment::before("POST qemu"), |world| world.set_storage_online("pve", "local-lvm", false));
        })
        .clears(|world| world.set_storage_online("pve", "local-lvm", true))
        .check();
}

#[test]
fn a_missing_image_comes_with_the_command_that_fetches_it() {
    let file = || blue().machines[0].image.file.clone();
    Case::create("missing image", End::Refused("image-missing", "download-url"))
        .weather(move |world| assert!(world.remove_image("pve", "local", &file())))
        .clears(move |world| world.add_image("pve", "local", &file()))
        .writes_nothing()
        .check();
    Case::create("image removed", End::Failed("not_found", "castle check"))
        .weather(move |world| {
            world.when(Moment::before("POST qemu"), move |world| {
                assert!(world.remove_image("pve", "local", &file()));
            });
        })
        .clears(move |world| world.add_image("pve", "local", &file()))
        .check();
}

#[test]
fn a_busy_lock_is_waited_for() {
    Case::create("busy storage lock", End::Reached)
        .weather(|world| world.occupy_storage("pve", "local-lvm", Duration::from_secs(15)))
        .tells("a busy lock on pve")
        .check();
    Case::create("busy machine lock", End::Reached)
        .weather(|world| {
            world.when(Moment::before("POST qemu/status/start"), |world| {
                world.occupy_machine("pve", 431, Duration::from_secs(15));
            });
        })
        .check();
    Case::destroy("busy machine lock", End::Reached)
        .weather(|world| world.occupy_machine("pve", 421, Duration::from_secs(15)))
        .tells("lock-421.conf' - got timeout")
        .check();
}

#[test]
fn a_lock_that_stays_busy_is_given_up_at_last() {
    Case::create("storage lock busy for a quarter of an hour", End::Failed("conflict", "run the same command again"))
        .weather(|world| world.occupy_storage("pve", "local-lvm", Duration::from_secs(900)))
        .tells("a busy lock on pve")
        .check();
}

#[test]
fn a_configuration_that_stays_locked_is_left_with_the_command() {
    Case::create("stuck config lock", End::Failed("conflict", "qm unlock"))
        .weather(|world| {
            let start = Moment::before("POST qemu/status/start").of("431");
            world.when(start, |world| world.admin_lock(431, Some("backup")));
        })
        .clears(|world| world.admin_lock(431, None))
        .tells("VM is locked (backup)")
        .check();
    Case::destroy("stuck config lock", End::Failed("conflict", "qm unlock"))
        .weather(|world| world.admin_lock(431, Some("backup")))
        .clears(|world| world.admin_lock(431, None))
        .tells("VM is locked (backup)")
        .check();
}

#[test]
fn old_news_of_the_cluster_decide_nothing() {
    for make in [Case::create as fn(&'static str, End) -> Case, Case::destroy] {
        make("stale statistics", End::Reached)
            .weather(|world| world.freeze_statistics(true))
            .clears(|world| world.freeze_statistics(false))
            .check();
        make("stale resources", End::Reached)
            .weather(|world| world.freeze_resources(true))
            .clears(|world| world.freeze_resources(false))
            .check();
    }
}
