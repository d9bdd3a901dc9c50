//! The whole way over sockets: TLS in both forms, gRPC, streams, the journal, by
//! castle's own adapter.

use std::sync::Arc;
use std::time::Duration;

use castle_core::{Context, NodeOs, NodeState, Project, Stage};
use castle_lab::faults::{Fault, FaultEffect};
use castle_lab::runtime::run_virtual;
use castle_lab::{Lab, RunId, World};
use castle_talos::{MaintenanceTrust, TalosOptions, TalosOs};
use futures::StreamExt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::house::{House, blue, is_ready};

struct Operator {
    talos: TalosOs,
    cx: Context,
}

fn operator(lab: &Lab, run: RunId) -> Operator {
    let env = lab.env(run);
    let trust = TalosOptions { maintenance: Some(MaintenanceTrust::OnFirstUse), ..TalosOptions::default() };
    let talos = TalosOs::new(&lab.options(run).unwrap(), &env, trust).unwrap();
    Operator { talos, cx: Context::new(env) }
}

/// A house whose machines were just switched on.
fn house(project: Project, seed: u64) -> House {
    let mut house = House::of(project, seed);
    house.start();
    house
}

impl Operator {
    /// Looks until it holds, as often as the node's own watch says.
    async fn until(&self, house: &House, name: &str, holds: impl Fn(&NodeState) -> bool) -> NodeState {
        let node = house.target(name);
        let mut wakes = self.talos.watch(&self.cx, &house.site, &node);
        loop {
            let state = self.talos.look(&self.cx, &house.site, &node).await.unwrap();
            if holds(&state) {
                return state;
            }
            wakes.next().await.expect("a watch never ends");
        }
    }
}

fn is_ours(state: &NodeState) -> bool {
    matches!(state, NodeState::Ours(_))
}

async fn raise(lab: &Lab, house: &House) -> Operator {
    let operator = operator(lab, lab.new_run());
    let names = ["blue-cp-01", "blue-wk-01", "blue-wk-02"];
    for name in names {
        let waits = operator.until(house, name, |state| matches!(state, NodeState::Maintenance { .. })).await;
        let NodeState::Maintenance { uuid, residue } = waits else { unreachable!("it was waited for") };
        assert_eq!((uuid, residue.len()), (Some(house.target(name).uuid), 0));
        operator.talos.apply(&operator.cx, &house.site, &house.target(name)).await.unwrap();
    }
    for name in names {
        operator.until(house, name, is_ours).await;
    }
    let first = house.target("blue-cp-01");
    while operator.talos.bootstrap(&operator.cx, &house.site, &first).await.is_err() {
        operator.cx.clock().sleep(Duration::from_secs(1)).await;
    }
    operator
        .until(house, "blue-cp-01", |state| matches!(state, NodeState::Ours(report) if report.stage == Stage::Running))
        .await;
    operator
}

#[test]
fn castle_raises_a_cluster_over_sockets_and_two_runs_agree() {
    let run = |seed| {
        run_virtual(move || async move {
            let mut house = house(blue(), seed);
            let project = house.project.clone();
            let world = std::mem::replace(&mut house.world, World::empty(0));
            let lab = Lab::builder(&project).world(world).start().await.unwrap();
            let operator = raise(&lab, &house).await;
            let first = house.target("blue-cp-01");
            let members = operator.talos.members(&operator.cx, &house.site, &first).await.unwrap();
            assert_eq!((members.len(), members[0].name.as_str()), (1, "blue-cp-01"));
            let ghosts = operator.talos.ghosts(&operator.cx, &house.site, std::slice::from_ref(&first)).await.unwrap();
            assert_eq!(ghosts, []);
            for name in ["blue-cp-01", "blue-wk-01", "blue-wk-02"] {
                operator.until(&house, name, |_| lab.with_world(|world| is_ready(world, name))).await;
            }
            lab.with_world(|world| {
                assert_eq!(world.violations(), [] as [&str; 0]);
                assert_eq!(world.unproved_configurations(), [] as [&str; 0]);
                assert_eq!(world.bootstraps(), 1);
            });
            assert_eq!(ask_the_shared_address(&lab, "/readyz").await, (200, "ok".to_owned()));
            let entries = lab.journal().entries();
            assert!(entries.iter().any(|e| e.backend == "talos" && e.kind == "machine.Bootstrap" && e.write));
            (lab.journal().digest(), lab.with_world(|world| world.trace().to_vec()))
        })
    };
    let (one, two) = (run(7), run(7));
    assert_eq!(one.1, two.1);
    assert_eq!(one.0, two.0);
    assert_ne!(run(8).0, one.0);
}

#[test]
fn a_lost_answer_leaves_its_effect_and_a_cut_connection() {
    run_virtual(|| async {
        let mut house = house(blue(), 7);
        let project = house.project.clone();
        let world = std::mem::replace(&mut house.world, World::empty(0));
        let lost = Fault { kind: Some("machine.Bootstrap".into()), skip: 0, ..Fault::of(FaultEffect::AnswerLost) };
        let lab = Lab::builder(&project).world(world).faults(vec![lost]).start().await.unwrap();
        raise(&lab, &house).await;
        assert_eq!(lab.with_world(|world| world.bootstraps()), 1);
        assert!(lab.faults().left().iter().all(|fault| fault.times == 0), "it struck");
    });
}

#[test]
fn a_machine_that_dies_is_silent_and_not_refusing() {
    run_virtual(|| async {
        let mut house = house(blue(), 7);
        let project = house.project.clone();
        let world = std::mem::replace(&mut house.world, World::empty(0));
        let lab = Arc::new(Lab::builder(&project).world(world).start().await.unwrap());
        let operator = raise(&lab, &house).await;
        lab.with_world(|world| world.plant_silence(421));
        let state = operator.talos.look(&operator.cx, &house.site, &house.target("blue-cp-01")).await.unwrap();
        assert!(matches!(state, NodeState::Silent(_)), "{state:?}");
    });
}

#[test]
fn an_idle_lab_with_nodes_does_not_run_away() {
    run_virtual(|| async {
        let mut house = house(blue(), 7);
        let project = house.project.clone();
        let world = std::mem::replace(&mut house.world, World::empty(0));
        let lab = Lab::builder(&project).world(world).start().await.unwrap();
        lab.advance(Duration::from_secs(600)).await.unwrap();
        assert_eq!(lab.with_world(|world| world.now().as_secs()), 600);
        assert_eq!(lab.with_world(|world| world.next_event_at()), None, "machines that wait need no events");
    });
}

/// Asks the API server at the shared address, trusting the authority that castle
/// put into the configuration, and nobody else.
async fn ask_the_shared_address(lab: &Lab, path: &str) -> (u16, String) {
    let ca = lab.with_world(|world| world.nodes.get("blue-cp-01").unwrap().config().unwrap().kubernetes_ca.clone());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.certificate.as_bytes()).unwrap()).unwrap();
    let tls = castle_wire::builder(&lab.clock()).with_root_certificates(roots).with_no_client_auth();
    let http = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls).build().unwrap();
    let at = lab.address_of("192.168.1.210:6443".parse().unwrap()).unwrap();
    let answer = http.get(format!("https://{at}{path}")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}
