//! Faults of the world: storages, images, tasks, memory, power.

use std::time::Duration;

use castle_lab::hypervisor::TaskFault;

use crate::house::{House, IMAGE};

#[test]
fn a_create_fails_for_the_storage_s_reasons_and_leaves_nothing() {
    let image = format!("unable to create VM 421 - cannot import from 'local:import/{IMAGE}' - ");
    for (prepare, exit) in [
        (
            (|house: &mut House| house.world.fill_storage("pve", "local-lvm", true)) as fn(&mut House),
            "unable to create VM 421 - lvcreate 'pve/vm-421-disk-0' error:   Volume group \"pve\" has insufficient free space (0 extents): 1 required.".to_owned(),
        ),
        (
            |house| house.world.set_storage_online("pve", "local-lvm", false),
            "unable to create VM 421 - storage 'local-lvm' is not online".to_owned(),
        ),
        (
            |house| assert!(house.world.remove_image("pve", "local", IMAGE)),
            format!("{image}could not get size of local:import/{IMAGE}"),
        ),
        (|house| house.world.set_storage_online("pve", "local", false), format!("{image}storage 'local' is not online")),
    ] {
        let mut house = House::new();
        prepare(&mut house);
        let upid = house.create(421).text();
        assert_eq!(house.exit(&upid), exit);
        assert_eq!(house.task_log(&upid).last().unwrap(), &format!("TASK ERROR: {exit}"));
        assert!(!house.world.proxmox.vms.contains_key(&421));
        house.is_tidy();
    }
}

#[test]
fn a_storage_that_was_filled_can_be_emptied() {
    let mut house = House::new();
    house.world.fill_storage("pve", "local-lvm", true);
    let status = house.ask("GET", "/nodes/pve/storage/local-lvm/status", &[]).data().clone();
    assert_eq!(status["avail"], 0);
    house.world.fill_storage("pve", "local-lvm", false);
    house.born(421);
}

#[test]
fn an_old_volume_of_the_same_name_is_stepped_over_or_refused() {
    let mut house = House::new();
    house.world.admin_leave_volume("pve", "local-lvm", 421);
    let upid = house.create(421).text();
    assert_eq!(house.exit(&upid), "OK");
    let config = house.ask("GET", "/nodes/pve/qemu/421/config", &[]).data().clone();
    assert!(config["efidisk0"].as_str().unwrap().starts_with("local-lvm:vm-421-disk-1,"), "{config}");
    assert_eq!(house.world.leftovers(), ["volume local-lvm:vm-421-disk-0 on pve: VM 421 does not know it"]);
}

#[test]
fn planted_faults_hit_the_next_task_of_their_kind() {
    let mut house = House::new();
    house.world.fail_task("qmcreate", Some(421), TaskFault::Fails("the disk is on fire".into()));
    house.world.fail_task("qmstart", None, TaskFault::FailsAfterEffect("got timeout".into()));
    house.world.fail_task("qmstop", None, TaskFault::Warns(2));
    let upid = house.create(421).text();
    assert_eq!(house.exit(&upid), "unable to create VM 421 - the disk is on fire");
    house.is_tidy();
    house.born(421);
    let upid = house.ask("POST", "/nodes/pve/qemu/421/status/start", &[]).text();
    assert_eq!(house.exit(&upid), "got timeout");
    let status = house.ask("GET", "/nodes/pve/qemu/421/status/current", &[]);
    assert_eq!(status.data()["status"], "running", "a start can fail and the machine run");
    let upid = house.ask("POST", "/nodes/pve/qemu/421/status/stop", &[]).text();
    assert_eq!(house.exit(&upid), "WARNINGS: 2");
    let log = house.task_log(&upid);
    assert_eq!(log[log.len() - 3..], ["WARN: planted warning 1", "WARN: planted warning 2", "TASK WARNINGS: 2"]);
}

#[test]
fn qemu_fails_late_for_memory_and_bridges() {
    let mut house = House::new();
    let upid = house.create_with(421, &[("memory", "40960")]).text();
    assert_eq!(house.exit(&upid), "OK", "nobody counts memory before the start");
    let upid = house.ask("POST", "/nodes/pve/qemu/421/status/start", &[]).text();
    assert_eq!(house.exit(&upid), "start failed: QEMU exited with code 1");
    assert!(house.task_log(&upid)[0].contains("Cannot allocate memory"));

    house.born(431);
    house.world.proxmox.hosts.get_mut("pve").unwrap().bridges.clear();
    let upid = house.ask("POST", "/nodes/pve/qemu/431/status/start", &[]).text();
    assert_eq!(house.exit(&upid), "start failed: QEMU exited with code 1");
    assert_eq!(house.task_log(&upid)[0], "bridge 'vmbr0' does not exist");
}

#[test]
fn a_host_that_loses_power_kills_tasks_and_starts_what_shall_start() {
    let mut house = House::new();
    house.running(421);
    let upid = house.create_with(431, &[("net0", "virtio,bridge=vmbr0")]).text();
    house.wait(1.0);
    house.world.set_host_online("pve", false);
    house.ask("GET", "/nodes/pve/status", &[]).refused(595, "No route to host");
    house.world.set_host_online("pve", true);
    assert_eq!(house.exit(&upid), "unexpected status");
    assert!(house.world.proxmox.vms[&421].is_running(), "onboot=1");
    assert!(house.world.leftovers().iter().any(|line| line.contains("VM 431")));
    assert_eq!(house.world.violations(), [] as [&str; 0]);
}

#[test]
fn a_world_can_be_copied_and_both_go_the_same_way() {
    let mut house = House::new();
    house.create(421).text();
    house.wait(0.5);
    let mut twin = house.world.clone();
    house.world.settle();
    twin.settle();
    assert_eq!(house.world.trace(), twin.trace());
    assert_eq!(house.world.proxmox.vms[&421].config, twin.proxmox.vms[&421].config);
}

#[test]
fn one_seed_is_one_history() {
    let history = |seed: u64, order: [u32; 3]| {
        let mut house = House::with_seed(seed);
        let upids = order.map(|id| house.create(id).text());
        house.world.settle();
        let mut ends: Vec<(u32, Duration)> = upids
            .iter()
            .map(|upid| house.world.proxmox.task("pve", upid).unwrap())
            .map(|task| (task.machine, task.ended.as_ref().unwrap().0))
            .collect();
        ends.sort();
        (ends, house.world.trace().len())
    };
    assert_eq!(history(7, [421, 431, 432]), history(7, [421, 431, 432]));
    assert_ne!(history(7, [421, 431, 432]).0, history(8, [421, 431, 432]).0);
}
