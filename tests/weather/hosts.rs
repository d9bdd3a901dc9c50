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
    Case::destroy("host offline", End::Blind("", ""))
        .weather(|world| world.set_host_online("pve", false))
        .clears(|world| world.set_host_online("pve", true))
        .tells("595")
        .check();
}

#[test]
fn a_host_that_loses_power_while_it_works_leaves_what_it_made_to_the_administrator() {
    Case::create("host offline in the middle", End::Refused("host-offline", "bring the host back"))
        .weather(|world| {
            world.when(Moment::after("POST qemu/status/start"), |world| world.set_host_online("pve", false));
        })
        .tells("595: No route to host")
        // The import that died with the host.
        .leaves(&["vm-421-cloudinit", "vm-421-disk-0", "vm-421-disk-1", "VM 421 on pve: a configuration with the lock create"])
        .clears(|world| {
            world.set_host_online("pve", true);
            world.admin_destroy(421);
        })
        .check();
}

#[test]
fn a_full_storage() {
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
fn a_storage_offline() {
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
fn a_missing_image() {
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
fn busy_locks() {
    Case::create("busy storage lock", End::Reached)
        .weather(|world| world.occupy_storage("pve", "local-lvm", Duration::from_secs(15)))
        .tells("a busy lock on pve")
        .check();
    Case::create("busy machine lock", End::Reached)
        .weather(|world| {
            world.when(Moment::before("POST qemu/status/start"), |world| {
                world.occupy_machine("pve", 421, Duration::from_secs(15));
            });
        })
        .check();
    Case::destroy("busy machine lock", End::Reached)
        .weather(|world| world.occupy_machine("pve", 421, Duration::from_secs(15)))
        .check();
    Case::destroy("stuck config lock", End::Failed("conflict", "qm unlock"))
        .weather(|world| world.admin_lock(431, Some("backup")))
        .clears(|world| world.admin_lock(431, None))
        .tells("backup")
        .check();
    Case::create("stuck config lock", End::Failed("conflict", "qm unlock"))
        .weather(|world| {
            world.when(Moment::before("POST qemu/status/start").of("431"), |world| {
                world.admin_lock(431, Some("backup"));
            });
        })
        .clears(|world| world.admin_lock(431, None))
        .check();
}

#[test]
fn stale_resources() {
    Case::create("stale statistics", End::Reached).weather(|world| world.freeze_statistics(true)).check();
    Case::destroy("stale statistics", End::Reached).weather(|world| world.freeze_statistics(true)).check();
    Case::create("stale resources", End::Reached)
        .weather(|world| world.freeze_resources(true))
        .clears(|world| world.freeze_resources(false))
        .check();
    Case::destroy("stale resources", End::Reached)
        .weather(|world| world.freeze_resources(true))
        .clears(|world| world.freeze_resources(false))
        .check();
}
