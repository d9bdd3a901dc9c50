//! Bad weather: each thing that a test can plant shows the way it does in life.

use castle_lab::node::request::Code;
use castle_lab::node::{Api, EtcdState, MachineType, Residue};

use crate::house::{House, blue, bundle, config, fortress, is_in_maintenance};

#[test]
fn an_old_configuration_keeps_a_machine_out_of_maintenance() {
    let mut house = House::of(blue(), 7);
    let mut former = house.site.clone();
    former.bundle = bundle(99);
    let text = config(&former, &house.target("blue-cp-01"));
    house.world.plant_residue(421, Residue::Config(text));
    house.start();
    house.until("its API answers", |world| {
        world.nodes.get("blue-cp-01").and_then(|node| node.session.as_ref()).is_some_and(|s| s.api != Api::Off)
    });
    assert_eq!(house.session("blue-cp-01").api, Api::Configured, "it never waits for anybody");
}

#[test]
fn an_old_data_directory_refuses_the_bootstrap_and_never_gets_well() {
    let mut house = House::of(blue(), 7);
    house.world.plant_residue(421, Residue::Etcd { members: 3 });
    house.start();
    house.until("it waits", |world| is_in_maintenance(world, "blue-cp-01"));
    let found = house.node("blue-cp-01").table.list("runtime", "DiscoveredVolumes.block.talos.dev");
    assert!(found.map(|volume| volume.spec.yaml()).any(|yaml| yaml.contains("EPHEMERAL")), "it shows before any apply");
    house.apply("blue-cp-01").unwrap();
    house.until("containers run", |world| world.nodes.get("blue-cp-01").unwrap().session.as_ref().unwrap().cri);
    assert_eq!(house.bootstrap("blue-cp-01").unwrap_err().code, Code::AlreadyExists);
    house.world.settle();
    assert!(!house.session("blue-cp-01").services.is_healthy("etcd"));
    assert_eq!(house.world.bootstraps(), 0);
}

#[test]
fn a_dead_entry_keeps_the_others_in_preparing_until_it_runs_out() {
    let mut house = House::of(fortress(), 7);
    house.raise();
    let id = house.node("fortress-cp-01").config().unwrap().cluster_id.clone();
    house.world.plant_affiliate(&id, "old-cp", "192.168.1.250".parse().unwrap(), MachineType::ControlPlane);
    house.wait(600);
    assert!(matches!(house.session("fortress-cp-02").etcd, EtcdState::Preparing { .. }));
    let told = house.session("fortress-cp-02").services.get("etcd").unwrap().message.clone();
    assert!(told.contains("192.168.1.250: context deadline exceeded"), "{told}");
    house.world.settle();
    let joined =
        ["fortress-cp-02", "fortress-cp-03"].iter().filter(|name| house.session(name).etcd == EtcdState::Running);
    // They gave up or got in within the same minute: both is thirty minutes.
    assert!(
        joined.count()
            + house
                .world
                .nodes
                .iter()
                .filter(|n| n.session.as_ref().is_some_and(|s| s.etcd == EtcdState::Failed))
                .count()
            == 2
    );
}

#[test]
fn a_stranger_answers_first_and_has_another_uuid() {
    let mut house = House::of(blue(), 7);
    let address = "192.168.1.211".parse().unwrap();
    house.world.plant_stranger(address, "DEADBEEF-0000-4000-8000-000000000001");
    house.start();
    house.until("ours waits too", |world| is_in_maintenance(world, "blue-cp-01"));
    assert_eq!(house.world.nodes.behind(address).unwrap().uuid, "deadbeef-0000-4000-8000-000000000001");
    house.world.remove_stranger(address);
    assert_eq!(house.world.nodes.behind(address).unwrap().name, "blue-cp-01");
}

#[test]
fn a_machine_may_answer_elsewhere() {
    let mut house = House::of(blue(), 7);
    house.world.plant_address(421, "192.168.1.77".parse().unwrap());
    house.start();
    house.until("it waits", |world| is_in_maintenance(world, "blue-cp-01"));
    assert!(house.world.nodes.behind("192.168.1.211".parse().unwrap()).is_none());
    assert_eq!(house.world.nodes.behind("192.168.1.77".parse().unwrap()).unwrap().name, "blue-cp-01");
}

#[test]
fn three_kinds_of_machine_never_come_up() {
    for (what, changes, plant) in
        [("CPU", &[("cpu", "kvm64")][..], None), ("bridge", &[], Some("bridge")), ("image", &[], Some("image"))]
    {
        let mut house = House::of(blue(), 7);
        match plant {
            Some("bridge") => house.world.plant_dead_bridge("vmbr0", true),
            Some(_) => house.world.plant_broken_image("talos-abababababab-v1.13.9.qcow2"),
            None => {}
        }
        house.start_with(changes);
        house.world.settle();
        assert!(house.world.proxmox.vms[&421].is_running(), "Proxmox VE shows it running");
        assert!(house.world.nodes.behind("192.168.1.211".parse().unwrap()).is_none(), "{what}");
    }
}

#[test]
fn somebody_else_may_configure_our_machine() {
    let mut house = House::of(blue(), 7);
    let mut theirs = house.site.clone();
    theirs.bundle = bundle(5);
    let text = config(&theirs, &house.target("blue-cp-01"));
    house.world.plant_configuration(421, text);
    house.start();
    house.until("it is configured", |world| {
        world.nodes.get("blue-cp-01").and_then(|node| node.session.as_ref()).is_some_and(|s| s.api == Api::Configured)
    });
    assert_ne!(house.node("blue-cp-01").config().unwrap().text.expose(), &house.config("blue-cp-01"));
}

#[test]
fn an_api_server_may_go_away_for_a_while() {
    let mut house = House::of(blue(), 7);
    house.world.plant_api_refusal(std::time::Duration::from_secs(5), std::time::Duration::from_secs(30));
    house.raise();
    house.until("it serves", |world| world.kubernetes.is_serving());
    let away = house.until("it serves no more", |world| !world.kubernetes.is_serving());
    let back = house.until("it serves again", |world| world.kubernetes.is_serving());
    assert_eq!((back - away).as_secs(), 30);
}
