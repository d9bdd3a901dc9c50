//! The ideal time of a cluster is the time that the world then really needs.

use std::time::Duration;

use castle_core::{NodeRole, Project};
use castle_lab::Latency;
use castle_lab::ideal::{Beginning, api_ideal};
use castle_lab::node::{Api, Dns, EtcdState};

use crate::house::{House, all_ready, blue, fortress, is_in_maintenance};

struct Measured {
    api_serving: Duration,
    all_vote: Duration,
    cni_ready: Duration,
    nodes_ready: Duration,
}

fn planes_of(project: &Project) -> u32 {
    project.with_role(NodeRole::ControlPlane).map(|_| 1).sum()
}

fn dns_answers(world: &castle_lab::World) -> bool {
    world.nodes.iter().any(|node| node.session.as_ref().is_some_and(|session| session.dns == Some(Dns::Available)))
}

/// A client without any delay: it configures what waits, and gives birth once the
/// first control plane answers.
fn perfect(project: Project, seed: u64) -> Measured {
    let mut house = House::of(project, seed);
    house.start();
    let (names, vip) = (house.project.machines.clone(), house.project.network.vip.unwrap());
    let planes: Vec<String> =
        house.project.with_role(NodeRole::ControlPlane).map(|spec| spec.node.to_string()).collect();
    let (mut is_born, mut serving, mut voting, mut cni, mut ready) = (false, None, None, None, None);
    let all_vote = |world: &castle_lab::World| {
        let votes = |name: &String| {
            let session = world.nodes.get(name).and_then(|node| node.session.as_ref());
            session.is_some_and(|session| session.etcd == EtcdState::Running)
        };
        planes.iter().all(votes)
    };
    while voting.is_none() || cni.is_none() || ready.is_none() {
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
        let now = house.world.now();
        voting = voting.or(all_vote(&house.world).then_some(now));
        cni = cni.or(dns_answers(&house.world).then_some(now));
        ready = ready.or(all_ready(&house.world, &house.project.clone()).then_some(now));
    }
    house.holds_its_rules();
    let (all_vote, cni_ready) = (voting.unwrap(), cni.unwrap());
    let nodes_ready = ready.unwrap().max(all_vote).max(cni_ready);
    Measured { api_serving: serving.unwrap(), all_vote, cni_ready, nodes_ready }
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
            // Whoever asks to be let into etcd asks every three seconds.
            let attempts = slack + Latency::ETCD_JOIN_RETRY * (planes_of(&project) - 1);
            let waits_for_votes = measured.nodes_ready == measured.all_vote;
            for (what, ideal, measured, slack) in [
                ("api_serving", ideal.api_serving, measured.api_serving, slack),
                ("all_vote", ideal.all_vote, measured.all_vote, attempts),
                ("cni_ready", ideal.cni_ready, measured.cni_ready, slack),
                (
                    "nodes_ready",
                    ideal.nodes_ready,
                    measured.nodes_ready,
                    if waits_for_votes { attempts } else { slack },
                ),
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
