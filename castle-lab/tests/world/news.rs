//! What is fresh and what is old news.

use serde_json::{Value, json};

use crate::house::House;

fn resource(house: &mut House, id: u32) -> Option<Value> {
    let list = house.ask("GET", "/cluster/resources", &[("type", "vm")]);
    list.data().as_array().unwrap().iter().find(|entry| entry["vmid"] == json!(id)).cloned()
}

#[test]
fn a_new_machine_has_no_name_and_no_state_until_the_next_broadcast() {
    let mut house = House::new();
    let upid = house.create(421).text();
    assert_eq!(house.exit(&upid), "OK");
    let at = house.world.now().as_secs_f64();
    let broadcast = (at / 10.0).ceil() * 10.0;
    let fresh = resource(&mut house, 421).expect("it is in the pool");
    assert_eq!(fresh["tags"], "castle;castle.c.blue;castle.r.cp", "files are replicated at once");
    // A broadcast within the create has told of the stub; none has told of the machine.
    assert_ne!(fresh["name"], "blue-421");
    assert_ne!(fresh["status"], "running");
    house.wait(broadcast - at + 0.1);
    let told = resource(&mut house, 421).unwrap();
    assert_eq!((&told["name"], &told["status"]), (&json!("blue-421"), &json!("stopped")));
}

#[test]
fn a_stopped_machine_still_reads_running_for_a_while() {
    let mut house = House::new();
    house.running(421);
    house.wait(11.0);
    assert_eq!(resource(&mut house, 421).unwrap()["status"], "running");
    let to_tick = 10.0 - house.world.now().as_secs_f64() % 10.0 + 0.01;
    house.wait(to_tick);
    house.world.admin_stop(421);
    assert_eq!(resource(&mut house, 421).unwrap()["status"], "running", "old news");
    let live = house.ask("GET", "/nodes/pve/qemu/421/status/current", &[]);
    assert_eq!(live.data()["status"], "stopped", "the host itself knows");
    house.wait(10.0);
    assert_eq!(resource(&mut house, 421).unwrap()["status"], "stopped");
}

#[test]
fn locks_are_fresh() {
    let mut house = House::new();
    house.born(421);
    house.world.admin_lock(421, Some("backup"));
    assert_eq!(resource(&mut house, 421).unwrap()["lock"], "backup");
    let list = house.ask("GET", "/nodes/pve/qemu", &[]).data().clone();
    assert_eq!((&list[0]["name"], &list[0]["lock"]), (&json!("blue-421"), &json!("backup")));
}

#[test]
fn frozen_statistics_grow_old_and_existence_does_not() {
    let mut house = House::new();
    house.running(421);
    house.wait(11.0);
    house.world.freeze_statistics(true);
    house.world.admin_stop(421);
    house.world.admin_rename(421, "other");
    house.wait(60.0);
    let old = resource(&mut house, 421).unwrap();
    assert_eq!((&old["name"], &old["status"]), (&json!("blue-421"), &json!("running")));
    house.world.admin_destroy(421);
    assert!(resource(&mut house, 421).is_none());
    house.world.freeze_statistics(false);
}

#[test]
fn frozen_resources_show_what_is_no_more() {
    let mut house = House::new();
    house.born(421);
    house.world.freeze_resources(true);
    house.world.admin_destroy(421);
    house.wait(60.0);
    assert!(resource(&mut house, 421).is_some());
    assert_eq!(house.ask("GET", "/cluster/nextid", &[("vmid", "421")]).text(), "421", "numbers are fresh");
    house.world.freeze_resources(false);
    assert!(resource(&mut house, 421).is_none());
}

#[test]
fn a_silent_host_keeps_its_machines_and_loses_its_numbers() {
    let mut house = House::new();
    house.running(421);
    house.wait(11.0);
    house.world.set_host_online("pve", false);
    let nodes = house.ask("GET", "/nodes", &[]).data().clone();
    assert_eq!(nodes[0]["status"], "offline");
    assert_eq!(resource(&mut house, 421).unwrap()["status"], "running", "the last it said");
    let got = house.ask("GET", "/nodes/pve/qemu/421/status/current", &[]);
    got.refused(595, "No route to host");
    assert!(got.body.is_null());
    // Rights come before the proxy, the proxy before the schema.
    house.ask("GET", "/nodes/pve/qemu/100/config", &[]).refused(403, "Permission check failed (/vms/100, VM.Audit)");
    house.ask("POST", "/nodes/pve/qemu", &[("frobnicate", "1")]).refused(595, "No route to host");
    house.wait(301.0);
    let forgotten = resource(&mut house, 421).unwrap();
    assert_eq!((&forgotten["status"], forgotten.get("name")), (&json!("unknown"), None));
    assert_eq!(house.world.violations(), [] as [&str; 0]);
}

#[test]
fn an_idle_world_has_nothing_to_do() {
    let mut house = House::new();
    assert_eq!(house.world.next_event_at(), None);
    house.wait(86_400.0);
    assert_eq!(house.world.next_event_at(), None);
    let stranger = house.root().ask("GET", "/cluster/resources", &[("type", "vm")]).data()[0].clone();
    assert_eq!(stranger["uptime"], 86_400);
}
