//! Nodes that are not what they should be: elsewhere, somebody else's, or never up.

use std::net::IpAddr;

use castle_core::Milestone;
use castle_lab::World;
use castle_lab::faults::{Fault, FaultEffect};
use castle_lab::node::{ImageContent, Residue};
use castle_lab::world::Moment;

use crate::case::{Case, End, blue};
use crate::cluster::{PLANE, PLANE_ADDRESS, of_another_cluster};

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A create that goes all the way to ready nodes.
fn create(name: &str, end: End) -> Case {
    Case::create(name, end).until(Milestone::NodesReady)
}

#[test]
fn a_node_in_maintenance_on_another_address_is_told_with_the_three_usual_causes() {
    create("another address", End::Failed("deadline_exceeded", "nocloud image, which ignores the address"))
        .weather(|world| world.plant_address(PLANE, address("192.168.1.250")))
        .tells("qm terminal 421` on host pve")
        .clears(|world| world.plant_address(PLANE, address(PLANE_ADDRESS)))
        .within(12)
        .check();
}

#[test]
fn a_boot_that_never_comes_names_the_three_usual_causes_and_where_to_look() {
    for cause in ["bridge vmbr0 does not reach", "a CPU type below x86-64-v2", "an image that is not Talos'"] {
        create("dead bridge", End::Failed("deadline_exceeded", cause))
            .weather(|world| world.plant_dead_bridge("vmbr0", true))
            .tells("qm terminal 4")
            .clears(|world| world.plant_dead_bridge("vmbr0", false))
            .cured_by_destroy()
            .within(12)
            .check();
    }
}

#[test]
fn a_cpu_type_that_talos_halts_on_is_among_the_causes() {
    create("old CPU type", End::Failed("deadline_exceeded", "a CPU type below x86-64-v2"))
        .weather(|world| {
            let old = |world: &mut World| world.admin_set(PLANE, "cpu", "kvm64");
            world.when(Moment::before("POST qemu/status/start").of("421"), old);
        })
        .tells("qm terminal 421` on host pve")
        .cured_by_destroy()
        .within(12)
        .check();
}

#[test]
fn an_image_that_does_not_boot_is_among_the_causes() {
    let file = blue().machines[0].image.file.to_string();
    let (broken, mended) = (file.clone(), file);
    create("broken image", End::Failed("deadline_exceeded", "an image that is not Talos'"))
        .weather(move |world| world.plant_broken_image(&broken))
        .tells("nothing answers there")
        .clears(move |world| {
            let content = world.nodes.images.content(&mended).expect("the image is known");
            world.nodes.images.0.insert(mended.clone(), ImageContent { boots: true, ..content });
        })
        .cured_by_destroy()
        .within(12)
        .check();
}

#[test]
fn a_stranger_on_our_address_gets_nothing() {
    let uuid = "00000000-0000-4000-8000-00000000dead";
    create("stranger", End::Refused("foreign_owner", "find the machine with that address"))
        .weather(move |world| world.plant_stranger(address(PLANE_ADDRESS), uuid))
        .tells(uuid)
        .clears(move |world| {
            let stranger = world.nodes.behind(address(PLANE_ADDRESS)).expect("it answers");
            assert_eq!((stranger.uuid.as_str(), stranger.disk.config.is_none()), (uuid, true));
            world.remove_stranger(address(PLANE_ADDRESS));
        })
        .check();
}

#[test]
fn a_node_that_somebody_else_configured_is_left_alone() {
    create("configured by another", End::Refused("foreign_owner", "`castle destroy` and `castle create`"))
        .weather(|world| world.plant_configuration(PLANE, of_another_cluster()))
        .cured_by_destroy()
        .check();
}

#[test]
fn a_certificate_of_another_cluster_at_our_address_is_no_node_of_ours() {
    create("certificate of another cluster", End::Refused("foreign_owner", "`castle destroy` and `castle create`"))
        .weather(|world| world.plant_residue(PLANE, Residue::Config(of_another_cluster().into())))
        .cured_by_destroy()
        .check();
}

#[test]
fn residue_of_a_former_life_is_not_configured_over() {
    for residue in [Residue::Etcd { members: 3 }, Residue::Ephemeral] {
        let planted = residue.clone();
        create(&format!("{residue:?}"), End::Refused("evidence_missing", "destroy the machine with its disks"))
            .weather(move |world| world.plant_residue(PLANE, planted.clone()))
            .tells("EPHEMERAL")
            .cured_by_destroy()
            .check();
    }
}

#[test]
fn a_clock_that_is_not_in_sync_is_told_and_waited_for() {
    create("clock off for five minutes", End::Reached)
        .weather(|world| {
            world.plant_skewed_clock(PLANE, true);
            world.schedule(std::time::Duration::from_secs(300), |world| world.plant_skewed_clock(PLANE, false));
        })
        .tells("time is not in sync yet")
        .check();
    create("clock off for ever", End::Failed("deadline_exceeded", "NTP"))
        .weather(|world| world.plant_skewed_clock(PLANE, true))
        .tells("time is not in sync yet")
        .clears(|world| world.plant_skewed_clock(PLANE, false))
        .check();
}

#[test]
fn an_answer_that_never_comes_is_not_an_empty_control_plane() {
    let fault = Fault {
        backend: Some("talos".into()),
        kind: Some("cosi.Get".into()),
        times: 3,
        ..Fault::of(FaultEffect::Stall)
    };
    create("reads that stall", End::Reached).fault(fault).check();
}
