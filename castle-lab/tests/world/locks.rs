//! Locks: files that are held while code runs, fields that outlive it.

use std::time::Duration;

use castle_lab::hypervisor::TaskFault;

use crate::house::House;

const STORAGE: &str = "can't lock file '/var/lock/pve-manager/pve-storage-local-lvm' - got timeout";

#[test]
fn parallel_creates_share_a_quick_storage() {
    let mut house = House::new();
    let upids: Vec<_> = [421, 431, 432].map(|id| house.create(id).text()).into();
    for upid in upids {
        assert_eq!(house.exit(&upid), "OK");
    }
    assert_eq!(house.world.machines_of_castle(), [421, 431, 432]);
    house.is_tidy();
}

#[test]
fn parallel_creates_on_a_slow_storage_time_out_and_clean_up() {
    let mut house = House::new();
    house.world.slow_storage("pve", "local-lvm", Duration::from_secs(7));
    let upids: Vec<_> = [421, 431, 432].map(|id| house.create(id).text()).into();
    let exits: Vec<_> = upids.iter().map(|upid| house.exit(upid)).collect();
    let timeouts = exits.iter().filter(|exit| exit.contains(STORAGE)).count();
    assert!(timeouts > 0, "{exits:?}");
    for (id, exit) in [421, 431, 432].into_iter().zip(&exits) {
        let failed = exit.starts_with(&format!("unable to create VM {id} - "));
        assert!(exit == "OK" || failed, "{exit}");
        assert_eq!(house.world.proxmox.vms.contains_key(&id), exit == "OK");
    }
    house.is_tidy();
}

#[test]
fn a_busy_storage_lets_a_create_wait_for_ten_seconds() {
    for (busy, exit) in [(9, "OK".to_owned()), (11, format!("unable to create VM 421 - {STORAGE}"))] {
        let mut house = House::new();
        house.world.occupy_storage("pve", "local-lvm", Duration::from_secs(busy));
        let upid = house.create(421).text();
        assert_eq!(house.exit(&upid), exit);
        house.is_tidy();
    }
}

#[test]
fn a_create_waits_only_a_second_for_the_machine() {
    let mut house = House::new();
    house.world.occupy_machine("pve", 421, Duration::from_secs(2));
    let upid = house.create(421).text();
    assert_eq!(house.exit(&upid), "can't lock file '/var/lock/qemu-server/lock-421.conf' - got timeout");
    house.is_tidy();
}

/// A removal that cannot free a volume says so in its log, forgets the machine,
/// and ends well: the volume is left for good.
#[test]
fn a_destroy_forgets_what_it_could_not_free() {
    let mut house = House::new();
    house.born(421);
    house.world.occupy_storage("pve", "local-lvm", Duration::from_secs(20));
    let upid = house.ask("DELETE", "/nodes/pve/qemu/421", &[("destroy-unreferenced-disks", "0")]).text();
    assert_eq!(house.exit(&upid), "OK");
    let log = house.task_log(&upid);
    let complaint = format!("Could not remove disk 'local-lvm:vm-421-disk-0', check manually: {STORAGE}");
    assert!(log.contains(&complaint), "{log:#?}");
    assert!(!house.world.proxmox.vms.contains_key(&421));
    let left = house.world.leftovers();
    assert!(left.contains(&"volume local-lvm:vm-421-disk-0 on pve: VM 421 does not exist".to_owned()), "{left:?}");
}

#[test]
fn a_change_waits_for_the_lock_file_or_gives_up() {
    let mut house = House::new();
    house.born(421);
    house.world.occupy_machine("pve", 421, Duration::from_secs(4));
    let got = house.ask("PUT", "/nodes/pve/qemu/421/config", &[("name", "late")]);
    assert_eq!((got.status, got.delay), (200, Duration::from_secs(4)));
    house.world.occupy_machine("pve", 421, Duration::from_secs(30));
    let got = house.ask("PUT", "/nodes/pve/qemu/421/config", &[("name", "later")]);
    got.refused(500, "can't lock file '/var/lock/qemu-server/lock-421.conf' - got timeout");
    assert_eq!(got.delay, Duration::from_secs(10));
}

/// What waits has not happened: nobody sees it, and a digest is judged when it does.
#[test]
fn a_change_has_its_effect_when_it_has_the_lock_file() {
    let mut house = House::new();
    house.born(421);
    let digest = house.ask("GET", "/nodes/pve/qemu/421/config", &[]).data()["digest"].as_str().unwrap().to_owned();
    house.world.occupy_machine("pve", 421, Duration::from_secs(4));
    let now = house.world.now();
    house.world.schedule(now + Duration::from_secs(3), |world| {
        assert_eq!(world.proxmox.vms[&421].config.get("name"), Some("blue-421"), "its lock file is not free");
        let vm = world.proxmox.vms.get_mut(&421).expect("it is there");
        vm.config.set("description", "somebody was quicker".to_owned());
    });
    let got = house.ask("PUT", "/nodes/pve/qemu/421/config", &[("name", "late"), ("digest", &digest)]);
    got.refused(500, "checksum mismatch (file change by other user?)");
    assert_eq!(got.delay, Duration::from_secs(4));
    assert_eq!(house.world.proxmox.vms[&421].config.get("name"), Some("blue-421"));
}

#[test]
fn a_lock_field_stops_everything_but_reading() {
    let mut house = House::new();
    house.born(421);
    house.world.admin_lock(421, Some("clone"));
    for (method, path, parameters) in [
        ("POST", "/nodes/pve/qemu/421/status/start", &[][..]),
        ("PUT", "/nodes/pve/qemu/421/resize", &[("disk", "scsi0"), ("size", "40G")]),
        ("DELETE", "/nodes/pve/qemu/421", &[]),
    ] {
        let upid = house.ask(method, path, parameters).text();
        assert_eq!(house.exit(&upid), "VM is locked (clone)", "{method} {path}");
    }
    house.ask("GET", "/nodes/pve/qemu/421/config", &[]).data();
}

#[test]
fn a_killed_create_leaves_a_stub_and_volumes() {
    let mut house = House::new();
    house.world.fail_task("qmcreate", Some(421), TaskFault::Killed);
    let upid = house.create(421).text();
    assert_eq!(house.exit(&upid), "unexpected status");
    let left = house.world.leftovers();
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(left.contains(&"VM 421 on pve: a configuration with the lock create and no task".to_owned()), "{left:?}");
    house.create(421).refused(500, "unable to create VM 421 - VM 421 already exists on node 'pve'");
    assert_eq!(house.world.violations(), [] as [&str; 0]);
}

#[test]
fn a_stopped_create_cleans_up() {
    let mut house = House::new();
    let upid = house.create(421).text();
    house.wait(1.0);
    house.ask("DELETE", &format!("/nodes/pve/tasks/{upid}"), &[]).data();
    assert_eq!(house.exit(&upid), "interrupted by signal");
    assert!(!house.world.proxmox.vms.contains_key(&421));
    house.is_tidy();
}

/// The token's rights come from the pool, so what was never in it, or is no more,
/// is hidden: neither there nor gone.
#[test]
fn what_died_halfway_is_hidden_from_the_token() {
    let mut house = House::new();
    house.world.fail_task("qmcreate", Some(421), TaskFault::KilledHalfway);
    let upid = house.create(421).text();
    assert_eq!(house.exit(&upid), "unexpected status");
    house.born(431);
    house.world.fail_task("qmdestroy", Some(431), TaskFault::KilledHalfway);
    let upid = house.ask("DELETE", "/nodes/pve/qemu/431", &[]).text();
    assert_eq!(house.exit(&upid), "unexpected status");
    for id in [421, 431] {
        let refusal = format!("Permission check failed (/vms/{id}, VM.Audit)");
        house.ask("GET", &format!("/nodes/pve/qemu/{id}/config"), &[]).refused(403, &refusal);
        house
            .ask("GET", "/cluster/nextid", &[("vmid", &id.to_string())])
            .refused(400, "Parameter verification failed.");
    }
    house.root();
    assert_eq!(house.ask("GET", "/nodes/pve/qemu/421/config", &[]).data()["name"], "blue-421");
    assert_eq!(house.ask("GET", "/nodes/pve/qemu/431/config", &[]).data()["lock"], "destroyed");
    // A grave may be closed by another destroy.
    let upid = house.ask("DELETE", "/nodes/pve/qemu/431", &[]).text();
    assert_eq!(house.exit(&upid), "OK");
}

#[test]
fn a_change_waits_for_a_start_to_end() {
    let mut house = House::new();
    house.born(421);
    let upid = house.ask("POST", "/nodes/pve/qemu/421/status/start", &[]).text();
    house.wait(0.1);
    let asked = house.world.now();
    let got = house.ask("PUT", "/nodes/pve/qemu/421/config", &[("name", "late")]);
    got.data();
    let changed = house.world.now();
    assert_eq!(house.exit(&upid), "OK");
    assert_eq!((got.delay, changed), (changed - asked, house.world.now()));
    assert!(got.delay > Duration::from_millis(400), "{:?}", got.delay);
}

#[test]
fn behind_a_destroy_there_is_nothing_to_change() {
    let mut house = House::new();
    house.born(421);
    let upid = house.ask("DELETE", "/nodes/pve/qemu/421", &[]).text();
    house.wait(0.1);
    let got = house.ask("PUT", "/nodes/pve/qemu/421/config", &[("protection", "1")]);
    got.refused(500, "Configuration file 'nodes/pve/qemu-server/421.conf' does not exist");
    assert_eq!(house.exit(&upid), "OK");
    house.is_tidy();
}
