//! Nodes that are lost on the way, and nodes that others wait for.

use std::time::Duration;

use castle_core::Milestone;
use castle_lab::World;
use castle_lab::node::MachineType;
use castle_lab::world::Moment;

use crate::case::{Case, End, fortress};
use crate::cluster::{PLANE, PLANE_NAME, WORKER, WORKER_NAME};

fn create(name: &str, end: End) -> Case {
    Case::create(name, end).until(Milestone::NodesReady)
}

/// Something happens as soon as that node has taken its configuration.
fn once_configured(world: &mut World, node: &str, deed: impl Fn(&mut World) + Send + Sync + 'static) {
    world.when(Moment::after("machine.ApplyConfiguration").of(node), deed);
}

/// Something happens as soon as etcd was born: not at a call that is refused
/// because the node is not ready for it.
fn once_born(world: &mut World, deed: fn(&mut World)) {
    world.when(Moment::after("machine.Bootstrap"), move |world| match world.bootstraps() {
        0 => once_born(world, deed),
        _ => deed(world),
    });
}

/// Something happens so much later.
fn later(world: &mut World, seconds: u64, deed: impl Fn(&mut World) + Send + Sync + 'static) {
    let at = world.now() + Duration::from_secs(seconds);
    world.schedule(at, deed);
}

fn switched_off_for(world: &mut World, machine: u32, seconds: u64) {
    world.admin_stop(machine);
    later(world, seconds, move |world| world.admin_start(machine));
}

#[test]
fn a_control_plane_that_loses_power_before_its_birth_comes_back_to_it() {
    create("power lost for two minutes", End::Reached)
        .weather(|world| once_configured(world, PLANE_NAME, |world| switched_off_for(world, PLANE, 120)))
        .check();
    create("power lost until castle restores it", End::Reached)
        .weather(|world| once_configured(world, PLANE_NAME, |world| world.admin_stop(PLANE)))
        .check();
}

#[test]
fn a_control_plane_that_somebody_destroys_before_its_birth_is_born_anew() {
    create("destroyed before its birth", End::Reached)
        .weather(|world| once_configured(world, PLANE_NAME, |world| world.admin_destroy(PLANE)))
        .check();
}

#[test]
fn a_control_plane_that_loses_power_after_its_birth_is_not_born_twice() {
    create("power lost after the birth", End::Reached)
        .weather(|world| once_born(world, |world| switched_off_for(world, PLANE, 60)))
        .check();
}

/// Nobody has seen its etcd alive yet. That it was asked to give birth is known all
/// the same, to this run and to the next.
#[test]
fn a_control_plane_that_is_destroyed_after_its_birth_takes_the_life_with_it() {
    create("destroyed after the birth", End::Refused("evidence_missing", "destroy the cluster"))
        .weather(|world| once_born(world, |world| world.admin_destroy(PLANE)))
        .insists()
        .cured_by_destroy()
        .check();
}

/// The run that finds its machine gone and makes it anew refuses the birth, and so
/// does the next one, which finds the machine there.
#[test]
fn a_control_plane_that_is_destroyed_where_the_castle_stands_takes_the_life_with_it() {
    create("destroyed where it stands", End::Refused("evidence_missing", "destroy"))
        .standing()
        .weather(|world| world.admin_destroy(PLANE))
        .insists()
        .cured_by_destroy()
        .check();
}

#[test]
fn a_worker_that_is_destroyed_where_the_castle_stands_is_made_anew() {
    create("worker destroyed", End::Reached).standing().weather(|world| world.admin_destroy(WORKER)).check();
}

/// Dead control planes in the discovery service keep a new one from joining until
/// their entries run out (S0).
#[test]
fn an_etcd_stuck_in_preparing_names_the_residue_of_a_former_life() {
    let residue = |world: &mut World| {
        let plane = world.nodes.iter().find(|node| node.is_control_plane()).expect("it gave birth");
        let id = plane.config().expect("it is configured").cluster_id.clone();
        let gone = "192.168.1.99".parse().expect("an address");
        world.plant_affiliate(&id, "old-cp-02", gone, MachineType::ControlPlane);
    };
    create("S0", End::Failed("deadline_exceeded", "of a former life in the discovery service"))
        .of(fortress())
        .weather(move |world| once_born(world, residue))
        .tells("etcd is preparing: etcd is waiting to join the cluster: 192.168.1.99: context deadline exceeded")
        .cured_by_destroy()
        .check();
}

#[test]
fn a_worker_waits_for_a_control_plane_that_is_late() {
    create("control plane late", End::Reached)
        .weather(|world| {
            world.when(Moment::before("machine.ApplyConfiguration").of(WORKER_NAME), |world| {
                switched_off_for(world, PLANE, 180);
            });
        })
        .tells("trustd")
        .check();
}

#[test]
fn a_node_that_falls_silent_does_not_hold_the_watch_for_ever() {
    let falls_silent = |machine: u32, back: bool| {
        move |world: &mut World| {
            world.when(Moment::after("WATCH pods"), move |world| {
                world.plant_silence(machine);
                if back {
                    later(world, 60, move |world| switched_off_for(world, machine, 5));
                }
            });
        }
    };
    create("worker silent for ever", End::Failed("deadline_exceeded", "not Ready is switched on or destroyed"))
        .weather(falls_silent(WORKER, false))
        .clears(|world| switched_off_for(world, WORKER, 1))
        .check();
    create("worker silent for a minute", End::Reached).weather(falls_silent(WORKER, true)).within(10).check();
    create("control plane silent for a minute", End::Reached).weather(falls_silent(PLANE, true)).within(10).check();
    create("control plane silent for ever", End::Failed("deadline_exceeded", "not Ready is switched on or destroyed"))
        .weather(falls_silent(PLANE, false))
        .clears(|world| switched_off_for(world, PLANE, 1))
        .check();
}
