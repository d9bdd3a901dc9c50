//! Machines of others, and the moments at which they appear.

use castle_lab::RunId;
use castle_lab::hypervisor::MachineWish;
use castle_lab::world::Moment;
use serde_json::json;

use crate::house::{House, uuid_of};

#[test]
fn a_number_changes_hands_between_two_requests() {
    let mut house = House::new();
    house.born(421);
    house.world.when(Moment::before("DELETE qemu").of("421"), |world| {
        world.admin_destroy(421);
        world.admin_create(MachineWish::new(421, "somebody-else").in_pool("blue"));
    });
    assert!(house.world.untouched(421));
    let upid = house.ask("DELETE", "/nodes/pve/qemu/421", &[]).text();
    assert_eq!(house.exit(&upid), "OK");
    assert!(!house.world.untouched(421), "the world saw the wrong destroy by itself");
    let touches = house.world.foreign_touches();
    assert!(touches[0].contains("castle@pve!main destroys VM 421 (somebody-else)"), "{touches:?}");
    assert!(house.world.violations().iter().any(|line| line.contains("foreign machine touched")));
}

#[test]
fn moments_are_counted_by_run_kind_and_entity() {
    let mut house = House::new();
    house.world.when(Moment::before_request(RunId(1), 2), |world| world.log("third request"));
    house.world.when(Moment::after("GET nodes").skipping(1), |world| world.log("second list"));
    house.world.when(Moment::before("POST*").in_run(RunId(9)), |world| world.log("another run"));
    let lines = |house: &House| house.world.trace().iter().map(|(_, line)| line.clone()).collect::<Vec<_>>();
    let before = lines(&house).len();
    house.ask("GET", "/nodes", &[]);
    house.ask("GET", "/version", &[]);
    assert_eq!(lines(&house).len(), before);
    house.ask("GET", "/nodes", &[]);
    assert_eq!(lines(&house)[before..], ["third request", "second list"]);
    house.create(421);
    assert!(!lines(&house).iter().any(|line| line == "another run"));
    assert_eq!(house.world.served(RunId(1)), 4);
}

#[test]
fn deeds_happen_at_their_time() {
    let mut house = House::new();
    house.world.schedule(std::time::Duration::from_secs(5), |world| {
        world.admin_create(MachineWish::new(431, "late").running());
    });
    house.wait(4.9);
    assert!(!house.world.proxmox.vms.contains_key(&431));
    house.wait(0.2);
    assert!(house.world.proxmox.vms[&431].is_running());
}

#[test]
fn a_manual_clone_copies_mark_and_tags_and_is_foreign() {
    let mut house = House::new();
    house.running(421);
    house.world.admin_clone(421, 500, "copy");
    let copy = house.ask("GET", "/nodes/pve/qemu/500/config", &[]).data().clone();
    let original = house.ask("GET", "/nodes/pve/qemu/421/config", &[]).data().clone();
    for same in ["description", "tags", "ipconfig0"] {
        assert_eq!(copy[same], original[same], "{same}");
    }
    for different in ["smbios1", "net0", "vmgenid", "scsi0", "name"] {
        assert_ne!(copy[different], original[different], "{different}");
    }
    assert_eq!(copy["scsi0"], "local-lvm:vm-500-disk-1,discard=on,size=1246M");
    assert_eq!(house.world.machines_of_castle(), [421]);
    house.ask("PUT", "/nodes/pve/qemu/500/config", &[("name", "mine")]).data();
    assert!(!house.world.untouched(500));
    assert!(house.world.untouched(421));
}

#[test]
fn the_administrator_changes_what_castle_must_notice() {
    let mut house = House::new();
    house.born(421);
    house.world.admin_set_uuid(421, "00000000-0000-4000-8000-000000000000");
    house.world.admin_set_description(421, "");
    house.world.admin_rename(421, "renamed");
    let config = house.ask("GET", "/nodes/pve/qemu/421/config", &[]).data().clone();
    assert_ne!(config["smbios1"], uuid_of(421));
    assert!(config.get("description").is_none());
    assert_eq!(config["name"], "renamed");
    house.world.admin_adopt(421);
    let upid = house.ask("POST", "/nodes/pve/qemu/421/status/start", &[]).text();
    assert_eq!(house.exit(&upid), "OK");
    assert!(!house.world.untouched(421), "an adopted machine is the administrator's");
}

#[test]
fn stubs_and_templates_are_what_they_look_like() {
    let mut house = House::new();
    house.world.admin_leave_stub(431, "clone");
    assert_eq!(house.root().ask("GET", "/nodes/pve/qemu/431/config", &[]).data()["lock"], "clone");
    assert_eq!(house.world.leftovers().len(), 1);
    let template = MachineWish { template: true, ..MachineWish::new(432, "talos-template").in_pool("blue") };
    house.world.admin_create(template);
    let upid = house.castle().ask("POST", "/nodes/pve/qemu/432/status/start", &[]).text();
    assert_eq!(house.exit(&upid), "you can't start a vm if it's a template");
    assert_eq!(house.ask("GET", "/nodes/pve/qemu/432/status/current", &[]).data()["template"], json!(1));
}

#[test]
fn twins_on_the_segment_are_a_violation() {
    let mut house = House::new();
    house.running(421);
    let same = house.ask("GET", "/nodes/pve/qemu/421/config", &[]).data()["net0"].as_str().unwrap().to_owned();
    let upid = house.create_with(431, &[("net0", &same)]).text();
    assert_eq!(house.exit(&upid), "OK");
    assert_eq!(house.world.violations(), [] as [&str; 0], "a machine that is off disturbs nobody");
    let upid = house.ask("POST", "/nodes/pve/qemu/431/status/start", &[]).text();
    assert_eq!(house.exit(&upid), "OK");
    let violations = house.world.violations();
    assert!(violations[0].contains("VMs 421 and 431 both have hardware address"), "{violations:?}");
}

#[test]
fn a_borrowed_disk_survives_its_borrower() {
    let mut house = House::new();
    house.born(421);
    house.world.admin_create(MachineWish::new(500, "lender"));
    house.world.admin_set(421, "scsi1", "local-lvm:vm-500-disk-0,size=8G");
    let upid = house.ask("DELETE", "/nodes/pve/qemu/421", &[]).text();
    assert_eq!(house.exit(&upid), "OK");
    house.is_tidy();
}
