//! Members of etcd that are to be removed: only what is proved to be no living control
//! plane goes, and never a quorum with it.

use castle_core::{Castle, Context, ErrorKind, Goal, Milestone, Name, Outcome};
use castle_lab::faults::{Fault, FaultEffect};
use castle_lab::node::EtcdMember;
use castle_lab::{Lab, World, runtime};

use crate::case::{enter, fortress, visit};

const SECOND: &str = "fortress-cp-02";
const THIRD: &str = "fortress-cp-03";
const GHOST: u64 = 0x0dea_d000_0000_0007;

/// Lets a fortress stand, and tells a story about it.
fn stands(story: impl AsyncFnOnce(&Lab) + Send + 'static) {
    runtime::run_virtual(|| async move {
        let lab = Lab::builder(&fortress()).seed(1).start().await.expect("the lab starts");
        let report = visit(&fortress(), &lab, Goal::Create, Milestone::NodesReady, None).await.report;
        assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
        story(&lab).await;
        lab.with_world(|world| assert_eq!(world.violations(), [] as [String; 0]));
    });
}

fn names(world: &World) -> Vec<String> {
    let etcd = world.nodes.etcds.values().next().expect("etcd was born");
    let mut names: Vec<_> = etcd.members.values().map(|member| member.name.clone()).collect();
    names.sort();
    names
}

fn id_of(world: &World, name: &str) -> u64 {
    let etcd = world.nodes.etcds.values().next().expect("etcd was born");
    etcd.members.values().find(|member| member.name == name && member.id != GHOST).expect("it is a member").id
}

/// A connection to that node is reset, each time; the node lives.
fn out_of_reach(lab: &Lab, node: &str) {
    lab.faults().add(Fault {
        backend: Some("talos".into()),
        entity: Some(node.into()),
        times: 100_000,
        ..Fault::of(FaultEffect::ResetBefore)
    });
}

fn plant_ghost(world: &mut World, name: &str) {
    let etcd = world.nodes.etcds.values_mut().next().expect("etcd was born");
    let address = Some("192.168.1.250".parse().expect("an address"));
    etcd.members.insert(GHOST, EtcdMember { id: GHOST, name: name.into(), address, machine: u32::MAX, learner: false });
}

async fn remove(lab: &Lab, id: u64, waived: Option<&str>) -> Result<Name, (ErrorKind, String, String)> {
    let (castle, _, _alive): (Castle, _, _) = enter(&fortress(), lab, None).await;
    let waived: Option<Name> = waived.map(|name| name.parse().expect("a name"));
    castle
        .remove_member(&Context::new(castle.env().clone()), id, waived.as_ref())
        .await
        .map_err(|error| (error.kind(), error.chain(), error.advice().unwrap_or_default().to_owned()))
}

#[test]
fn a_voter_that_is_silent_for_a_moment_stays() {
    stands(async |lab| {
        let id = lab.with_world(|world| id_of(world, SECOND));
        out_of_reach(lab, SECOND);
        let (kind, told, hint) = remove(lab, id, None).await.expect_err("nothing proves that it is dead");
        assert_eq!(kind, ErrorKind::EvidenceMissing, "{told}");
        assert!(told.contains(SECOND) && told.contains("its machine 522 is running"), "{told}");
        assert!(hint.contains(&format!("--remove {id:016x} --waive-member {SECOND}")), "{hint}");
        assert_eq!(lab.with_world(|world| names(world)).len(), 3);
        // Another name vouches for nothing; its own does, and the quorum is kept.
        assert!(remove(lab, id, Some(THIRD)).await.is_err());
        assert_eq!(remove(lab, id, Some(SECOND)).await.expect("vouched for").as_str(), "fortress-cp-01");
        assert_eq!(lab.with_world(|world| names(world)), ["fortress-cp-01", THIRD]);
    });
}

#[test]
fn a_voter_that_answers_stays_whoever_vouches_for_its_death() {
    stands(async |lab| {
        // With a ghost of the same name, the name does not tell which of them lives.
        lab.with_world(|world| plant_ghost(world, SECOND));
        let id = lab.with_world(|world| id_of(world, SECOND));
        for waived in [None, Some(SECOND)] {
            let (kind, told, _) = remove(lab, id, waived).await.expect_err("it lives");
            assert_eq!(kind, ErrorKind::EvidenceMissing, "{told}");
            assert!(told.contains("is the living control plane fortress-cp-02"), "{told}");
        }
        remove(lab, GHOST, None).await.expect("a ghost");
        assert_eq!(lab.with_world(|world| names(world)), ["fortress-cp-01", SECOND, THIRD]);
        remove(lab, GHOST, None).await.expect("absent is success");
    });
}

#[test]
fn of_two_members_with_the_name_of_a_silent_voter_neither_goes() {
    stands(async |lab| {
        lab.with_world(|world| plant_ghost(world, SECOND));
        let id = lab.with_world(|world| id_of(world, SECOND));
        out_of_reach(lab, SECOND);
        for id in [id, GHOST] {
            let (kind, told, _) = remove(lab, id, None).await.expect_err("which of them lives is not known");
            assert_eq!(kind, ErrorKind::EvidenceMissing, "{told}");
        }
        assert_eq!(lab.with_world(|world| names(world)).len(), 4);
    });
}

#[test]
fn a_voter_whose_machine_is_absent_goes() {
    stands(async |lab| {
        let id = lab.with_world(|world| id_of(world, THIRD));
        lab.with_world(|world| world.admin_destroy(523));
        remove(lab, id, None).await.expect("its machine is proved absent");
        assert_eq!(lab.with_world(|world| names(world)), ["fortress-cp-01", SECOND]);
    });
}

#[test]
fn the_quorum_of_those_that_stay_is_never_given_away() {
    stands(async |lab| {
        let id = lab.with_world(|world| id_of(world, SECOND));
        out_of_reach(lab, SECOND);
        out_of_reach(lab, THIRD);
        let (kind, told, hint) = remove(lab, id, Some(SECOND)).await.expect_err("one of two would be healthy");
        assert_eq!(kind, ErrorKind::QuorumLost, "{told}");
        assert!(told.contains("2 voters, of which 1 are known to be healthy; its quorum is 2"), "{told}");
        assert!(hint.contains("(fortress-cp-03);"), "{hint}");
        assert_eq!(lab.with_world(|world| names(world)).len(), 3);
    });
}
