//! What survives the end of the power, and what does not.

use castle_lab::node::Api;

use crate::house::{House, blue, fortress, is_in_maintenance, is_ready};

#[test]
fn a_disk_remembers_over_a_stop_and_dies_with_its_machine() {
    let mut house = House::of(blue(), 7);
    house.raise();
    house.world.settle();
    let ticket = house.session("blue-cp-01").ticket;
    house.stop(421);
    assert!(house.node("blue-cp-01").session.is_none());
    assert!(house.world.nodes.is_mute(ticket), "its connections get no FIN");
    house.power_on(421);
    house.until("it is itself again", |world| is_ready(world, "blue-cp-01"));
    assert_eq!(house.session("blue-cp-01").api, Api::Configured);
    house.world.admin_destroy(421);
    house.world.follow();
    assert!(house.world.nodes.get("blue-cp-01").is_none());
    house.holds_its_rules();
}

#[test]
fn the_shared_address_moves_when_its_holder_dies() {
    let mut house = House::of(fortress(), 7);
    house.raise();
    house.world.settle();
    let vip = "192.168.1.210".parse().unwrap();
    let holder = house.world.nodes.vips[&vip].holder;
    house.stop(holder);
    let died = house.world.now();
    assert!(house.world.nodes.behind(vip).is_none());
    let moved = house.until("another holds it", |world| world.nodes.behind(vip).is_some());
    assert_eq!((moved - died).as_secs(), 45);
    house.holds_its_rules();
}

#[test]
fn a_dead_node_lingers_in_discovery_for_half_an_hour() {
    let mut house = House::of(fortress(), 7);
    house.raise();
    house.world.settle();
    let affiliates =
        |house: &House| house.node("fortress-cp-01").table.list("cluster", "Affiliates.cluster.talos.dev").count();
    assert_eq!(affiliates(&house), 5);
    house.stop(432);
    house.wait(29 * 60);
    assert_eq!(affiliates(&house), 5);
    house.wait(2 * 60);
    assert_eq!(affiliates(&house), 4);
}

#[test]
fn a_reset_leads_back_to_maintenance_with_a_new_identity() {
    let mut house = House::of(fortress(), 7);
    house.raise();
    house.world.settle();
    let before = house.yaml("fortress-cp-03", "cluster", "Identities.cluster.talos.dev", "local");
    house.world.reset(423, &["STATE".to_owned(), "EPHEMERAL".to_owned()], true).unwrap();
    house.until("it waits again", |world| is_in_maintenance(world, "fortress-cp-03"));
    assert_eq!(house.world.nodes.etcds.values().next().unwrap().members.len(), 2);
    house.apply("fortress-cp-03").unwrap();
    house.until("three members are there again", |world| {
        world.nodes.etcds.values().next().unwrap().members.values().filter(|member| !member.learner).count() == 3
    });
    assert_ne!(house.yaml("fortress-cp-03", "cluster", "Identities.cluster.talos.dev", "local"), before);
    house.holds_its_rules();
}
