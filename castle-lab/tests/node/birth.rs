//! From power to a configured node.

use castle_lab::node::request::{ApplyMode, Code};
use castle_lab::node::{Api, Stage};

use crate::house::{House, blue, is_in_maintenance};

#[test]
fn a_machine_boots_into_maintenance_with_real_downtime() {
    let mut house = House::of(blue(), 7);
    house.start();
    let on =
        house.until("it has power", |world| world.nodes.get("blue-cp-01").is_some_and(|node| node.session.is_some()));
    let address = "192.168.1.211".parse().unwrap();
    assert!(house.world.nodes.behind(address).is_none(), "nothing answers before the network is up");
    let network = house.until("its network is up", |world| world.nodes.behind(address).is_some());
    assert_eq!(house.session("blue-cp-01").api, Api::Off);
    let up = house.until("it waits", |world| is_in_maintenance(world, "blue-cp-01"));
    // OVMF takes ten seconds, the kernel and its services four at least.
    assert!(network > on && (14..=55).contains(&(up - on).as_secs()), "{:?} to {:?}", on, up);
    assert!(
        house.yaml("blue-cp-01", "runtime", "MachineStatuses.runtime.talos.dev", "machine").contains("maintenance")
    );
    let uuid = house.yaml("blue-cp-01", "hardware", "SystemInformations.hardware.talos.dev", "systeminformation");
    assert!(uuid.contains("uuid: \"6f1c0000-0000-5000-8000-000000000421\""), "{uuid}");
    house.holds_its_rules();
}

#[test]
fn a_configuration_ends_maintenance_and_opens_the_api_later() {
    let mut house = House::of(blue(), 7);
    house.start();
    house.until("it waits", |world| is_in_maintenance(world, "blue-cp-01"));
    let before = house.world.now();
    let applied = house.apply("blue-cp-01").unwrap();
    assert_eq!(
        (applied.mode, applied.details.as_str()),
        (ApplyMode::NoReboot, "Applied configuration without a reboot")
    );
    let again = house.apply("blue-cp-01").unwrap_err();
    assert_eq!(
        (again.code, again.message.as_str()),
        (Code::FailedPrecondition, "another apply configuration is already in progress")
    );
    house.until("the maintenance API is gone", |world| {
        world.nodes.get("blue-cp-01").unwrap().session.as_ref().unwrap().api == Api::Off
    });
    assert_eq!(house.session("blue-cp-01").stage, Stage::Booting);
    let open = house.until("its own API answers", |world| {
        world.nodes.get("blue-cp-01").unwrap().session.as_ref().unwrap().api == Api::Configured
    });
    assert_eq!((open - before).as_millis(), 10_500, "half a second to leave, ten to come back");
    // A control plane boots until etcd is up.
    let status = house.yaml("blue-cp-01", "runtime", "MachineStatuses.runtime.talos.dev", "machine");
    assert!(status.contains("stage: booting") && status.contains("etcd not running"), "{status}");
    house.holds_its_rules();
}

#[test]
fn a_worker_waits_for_the_trustd_of_a_control_plane() {
    let mut house = House::of(blue(), 7);
    house.start();
    house.until("the worker waits", |world| is_in_maintenance(world, "blue-wk-01"));
    house.apply("blue-wk-01").unwrap();
    house.until("it has left maintenance", |world| {
        world.nodes.get("blue-wk-01").unwrap().session.as_ref().unwrap().trust_since.is_some()
    });
    house.wait(120);
    assert_eq!(house.session("blue-wk-01").api, Api::Off, "nobody signs its certificate");
    house.until("the control plane waits", |world| is_in_maintenance(world, "blue-cp-01"));
    house.apply("blue-cp-01").unwrap();
    house.until("the worker's API answers", |world| {
        world.nodes.get("blue-wk-01").unwrap().session.as_ref().unwrap().api == Api::Configured
    });
    house.holds_its_rules();
}

#[test]
fn what_the_release_does_not_know_is_refused_in_talos_words() {
    let mut house = House::of(blue(), 7);
    house.start();
    house.until("it waits", |world| is_in_maintenance(world, "blue-cp-01"));
    let (good, vm) = (house.config("blue-cp-01"), 421);
    let mut refused = |text: &str| house.world.apply_configuration(vm, text, ApplyMode::Auto, false).unwrap_err();
    let unknown = refused(&format!("{good}\n---\napiVersion: v1alpha1\nkind: HostnameConfig2\nhostname: a\n"));
    assert_eq!(unknown.code, Code::InvalidArgument);
    assert!(unknown.message.contains("\"HostnameConfig2\" \"v1alpha1\": not registered"), "{}", unknown.message);
    let key = refused(&good.replacen("machine:\n", "machine:\n    colour: red\n", 1));
    assert!(key.message.contains("unknown keys found during decoding"), "{}", key.message);
    let partial = refused("apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a\n");
    assert!(partial.message.starts_with("the applied machine configuration doesn't contain v1alpha1 config"));
    let nothing = refused("---\n");
    assert_eq!(nothing.message, "config not found");
}

#[test]
fn two_runs_of_one_seed_tell_one_story() {
    let story = |seed| {
        let mut house = House::of(blue(), seed);
        house.raise();
        house.world.settle();
        house.story()
    };
    let (one, two) = (story(11), story(11));
    assert_eq!(one, two);
    assert_ne!(one, story(12));
}
