//! The ideal time of a cluster is the time that the world then really needs.

use std::time::Duration;

use castle_core::{NodeRole, Project};
use castle_lab::Latency;
use castle_lab::ideal::{Beginning, api_ideal};
use castle_lab::node::Api;

use crate::house::{House, all_ready, blue, fortress, is_in_maintenance};

struct Measured {
    api_serving: Duration,
    nodes_ready: Duration,
}

/// A client without any delay: it configures what waits, and gives birth once the
/// first control plane answers.
fn perfect(project: Project, seed: u64) -> Measured {
    let mut house = House::of(project, seed);
    house.start();
    let (names, vip) = (house.project.machines.clone(), house.project.network.vip.unwrap());
    let planes: Vec<String> =
        house.project.with_role(NodeRole::ControlPlane).map(|spec| spec.node.to_string()).collect();
    let (mut is_born, mut serving) = (false, None);
    while !all_ready(&house.world, &house.project.clone()) {
        let next = house.world.next_event_at().unwrap_or_else(|| panic!("it stands still:\n{}", house.story()));
        house.world.advance_to(next);
        for spec in &names {
            let name = spec.node.as_str();
            if is_in_maintenance(&house.world, name) && house.node(name).disk.config.is_none() {
                house.apply(name).unwrap();
            }
        }
        let answers = |house: &House, name: &String| {
            let session = house.world.nodes.get(name).and_then(|node| node.session.as_ref());
            session.is_some_and(|session| session.api == Api::Configured)
        };
        if !is_born && answers(&house, &planes[0]) {
            is_born = house.bootstrap(&planes[0]).is_ok();
        }
        if house.world.kubernetes.is_serving() && house.world.nodes.api_server_behind(vip).is_some() {
            serving = serving.or(Some(house.world.now()));
        }
    }
    house.holds_its_rules();
    Measured { api_serving: serving.unwrap(), nodes_ready: house.world.now() }
}

#[test]
fn the_ideal_is_what_a_perfect_client_measures() {
    for seed in 0..12 {
        for mut project in [blue(), fortress()] {
            // The house of this test imports everything at once.
            project.limits.imports_per_storage = 9;
            let world = castle_lab::World::home(&project, seed);
            let ideal = api_ideal(&project, &world, Beginning::Empty);
            let measured = perfect(project.clone(), seed);
            // It resizes no disk; a resize is part of each machine's way in the ideal.
            let resizes = project
                .machines
                .iter()
                .map(|spec| world.draws().duration(Latency::RESIZE, &spec.id.to_string(), "resize", 0));
            let resize = resizes.max().unwrap();
            let slack = Duration::from_millis(1500);
            for (what, ideal, measured) in [
                ("api_serving", ideal.api_serving, measured.api_serving),
                ("nodes_ready", ideal.nodes_ready, measured.nodes_ready),
            ] {
                assert!(
                    measured + resize + Duration::from_millis(1) >= ideal,
                    "seed {seed} {what}: {measured:?} < {ideal:?}"
                );
                assert!(measured <= ideal + slack, "seed {seed} {what}: {measured:?} > {ideal:?}");
            }
        }
    }
}

#[test]
fn the_median_from_birth_to_all_nodes_ready_is_the_reference_s() {
    for project in [blue(), fortress()] {
        let mut spans: Vec<f64> = (0..21)
            .map(|seed| {
                let mut house = House::of(project.clone(), seed);
                house.raise();
                let (born, project) = (house.world.now(), house.project.clone());
                let ready = house.until("all nodes are Ready", |world| all_ready(world, &project));
                (ready - born).as_secs_f64()
            })
            .collect();
        spans.sort_by(f64::total_cmp);
        assert!((85.0..=130.0).contains(&spans[10]), "{}: {}", project.cluster.name, spans[10]);
        assert!(spans[0] >= 60.0 && spans[20] <= 240.0, "{} to {}", spans[0], spans[20]);
    }
}
