use super::*;

fn ip(host: u8) -> IpAddr {
    [192, 168, 1, host].into()
}

fn member(id: u64, name: &str, host: u8) -> Member {
    Member { id, name: name.into(), addresses: vec![ip(host)], learner: false }
}

fn affiliate(id: &str, name: &str, host: u8) -> Affiliate {
    Affiliate {
        node_id: id.into(),
        addresses: vec![ip(host)],
        hostname: name.into(),
        nodename: name.into(),
        machine_type: "controlplane".into(),
    }
}

/// Three healthy control planes that agree, the VIP on the first.
fn healthy() -> Scene {
    let etcd_members = vec![member(1, "cp-01", 211), member(2, "cp-02", 212), member(3, "cp-03", 213)];
    let affiliates: Vec<_> = (1..=3u8).map(|n| affiliate(&format!("id{n}"), &format!("cp-0{n}"), 210 + n)).collect();
    let members: Vec<_> = affiliates
        .iter()
        .map(|affiliate| ClusterMember {
            node_id: affiliate.node_id.clone(),
            addresses: affiliate.addresses.clone(),
            hostname: affiliate.hostname.clone(),
        })
        .collect();
    let nodes = (1..=3u8)
        .map(|n| Sighting {
            node: format!("cp-0{n}"),
            address: ip(210 + n),
            control_plane: true,
            seen: Seen::Ours(Box::new(Testimony {
                cluster_id: Some("ours".into()),
                affiliates: affiliates.clone(),
                members: members.clone(),
                etcd: EtcdService { state: RUNNING.into(), healthy: true, message: String::new() },
                etcd_members: etcd_members.clone(),
                etcd_id: Some(u64::from(n)),
                holds_vip: n == 1,
            })),
        })
        .collect();
    Scene { cluster_id: "ours".into(), nodes, vip: Some((ip(210), VipAnswer::Ours)) }
}

fn testimony(scene: &mut Scene, n: usize) -> &mut Testimony {
    match &mut scene.nodes[n].seen {
        Seen::Ours(testimony) => testimony,
        other => panic!("{other:?} is not ours"),
    }
}

fn check(change: impl FnOnce(&mut Scene), expected: &[&str]) {
    let mut scene = healthy();
    change(&mut scene);
    let found: Vec<String> = named(&scene)
        .iter()
        .inspect(|ghost| assert!(!ghost.cure.is_empty(), "{ghost}"))
        .map(ToString::to_string)
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_healthy_cluster_has_no_ghosts() {
    check(|_| {}, &[]);
    check(|scene| scene.vip = None, &[]);
    // While it is born: one waits, one is silent, one is alone in etcd.
    check(
        |scene| {
            scene.nodes[1].seen = Seen::Silent;
            scene.nodes[2].seen = Seen::Maintenance(Vec::new());
            let alone = testimony(scene, 0);
            alone.etcd_members.truncate(1);
            alone.affiliates.truncate(1);
            alone.members.truncate(1);
        },
        &[],
    );
}

#[test]
fn a_member_that_catches_up_is_no_ghost() {
    check(|scene| (0..3).for_each(|n| testimony(scene, n).etcd_members[2].learner = true), &[]);
    check(
        |scene| {
            for n in 0..2 {
                testimony(scene, n).etcd_members[2] =
                    Member { learner: true, name: String::new(), ..member(3, "", 213) };
            }
            let joining = testimony(scene, 2);
            joining.etcd_members.clear();
            joining.etcd_id = None;
            joining.etcd.state = "Preparing".into();
        },
        &[],
    );
}

#[test]
fn dead_nodes_in_the_discovery_service() {
    check(
        |scene| testimony(scene, 0).affiliates.push(affiliate("id0", "cp-09", 219)),
        &["stale-affiliate on cp-01: the discovery service knows the control plane cp-09 at 192.168.1.219, which is \
           not declared"],
    );
    check(
        |scene| (0..3).for_each(|n| testimony(scene, n).affiliates.push(affiliate("id0", "cp-01", 211))),
        &["stale-affiliate on cp-01: the discovery service knows 2 identities at 192.168.1.211: id0 and id1"],
    );
}

#[test]
fn one_address_with_two_members() {
    let twin = |scene: &mut Scene, name: &str| {
        testimony(scene, 2).members.push(ClusterMember {
            node_id: "id0".into(),
            addresses: vec![ip(212)],
            hostname: name.into(),
        });
    };
    check(
        |scene| twin(scene, "talos-abc"),
        &["doubled-member on cp-03: 192.168.1.212 is more than one member of the cluster: cp-02 (id2) and talos-abc \
           (id0)"],
    );
    check(
        |scene| twin(scene, "cp-02"),
        &["doubled-member on cp-03: 192.168.1.212 is more than one member of the cluster: cp-02 (id0) and cp-02 (id2)"],
    );
}

#[test]
fn a_member_with_our_name_and_another_id() {
    check(
        |scene| {
            for n in [0, 2] {
                testimony(scene, n).etcd_members[1].id = 77;
            }
            let joining = testimony(scene, 1);
            joining.etcd_members.clear();
        },
        &["impostor-member on cp-02: etcd counts cp-02 at 192.168.1.212 (000000000000004d), and the node itself is \
           0000000000000002"],
    );
}

#[test]
fn a_member_that_nobody_declared() {
    check(
        |scene| (0..3).for_each(|n| testimony(scene, n).etcd_members.push(member(9, "cp-09", 219))),
        &[
            "impostor-member on cp-01: etcd counts cp-09 at 192.168.1.219 (0000000000000009), which is no declared node",
            "impostor-member on cp-02: etcd counts cp-09 at 192.168.1.219 (0000000000000009), which is no declared node",
            "impostor-member on cp-03: etcd counts cp-09 at 192.168.1.219 (0000000000000009), which is no declared node",
        ],
    );
}

#[test]
fn etcd_that_runs_with_old_data() {
    check(
        |scene| {
            let old = testimony(scene, 1);
            old.etcd_members = vec![member(91, "cp-01", 211), member(92, "cp-02", 212)];
            old.etcd_id = Some(92);
        },
        &["old-data-directory on cp-02: its etcd runs with old data: it lists cp-01 at 192.168.1.211 \
           (000000000000005b), cp-02 at 192.168.1.212 (000000000000005c), and cp-01 knows none of them"],
    );
    check(
        |scene| {
            scene.nodes[1].seen = Seen::Silent;
            scene.nodes[2].seen = Seen::Silent;
            let old = testimony(scene, 0);
            old.etcd_members = vec![member(91, "old-01", 91)];
            old.etcd_id = Some(91);
        },
        &["old-data-directory on cp-01: its etcd runs with old data: it lists old-01 at 192.168.1.91 \
           (000000000000005b)"],
    );
}

#[test]
fn strangers_at_our_addresses() {
    let foreign = |talos| Seen::Foreign { why: "shows the certificate of X".into(), talos };
    check(
        |scene| scene.nodes[2].seen = foreign(false),
        &["foreign-certificate on cp-03: it shows the certificate of X"],
    );
    check(
        |scene| scene.nodes[2].seen = foreign(true),
        &["old-configuration on cp-03: it shows the certificate of X: it was configured with another cluster's \
           authority"],
    );
    check(
        |scene| scene.nodes[2].seen = Seen::OtherMachine("it is the machine X".into()),
        &["foreign-machine on cp-03: it is the machine X"],
    );
}

#[test]
fn disks_that_are_not_blank() {
    let residue = |label: &str| Residue { label: label.into(), content: "xfs".into(), device: "sda5".into() };
    check(
        |scene| scene.nodes[1].seen = Seen::Maintenance(vec![residue("EPHEMERAL"), residue("STATE")]),
        &[
            "ephemeral-residue on cp-02: partition EPHEMERAL on sda5 holds xfs",
            "old-configuration on cp-02: partition STATE on sda5 holds xfs",
        ],
    );
}

#[test]
fn a_node_that_counts_itself_elsewhere() {
    check(
        |scene| testimony(scene, 0).cluster_id = Some("former".into()),
        &["wrong-cluster-id on cp-01: it counts itself to cluster former, and this life is ours"],
    );
    check(|scene| testimony(scene, 0).cluster_id = None, &[]);
}

#[test]
fn a_vip_that_nobody_of_ours_holds() {
    check(
        |scene| testimony(scene, 0).holds_vip = false,
        &[
            "unknown-vip-holder on the VIP: 192.168.1.210 answers for this cluster, and no declared control plane holds it",
        ],
    );
    check(
        |scene| scene.vip = Some((ip(210), VipAnswer::Foreign("shows the certificate of X".into()))),
        &["unknown-vip-holder on the VIP: what answers at 192.168.1.210 shows the certificate of X"],
    );
    // The silent one may hold it.
    check(|scene| scene.nodes[0].seen = Seen::Silent, &[]);
}

#[test]
fn a_learner_that_will_never_vote() {
    check(
        |scene| {
            for n in 0..2 {
                testimony(scene, n).etcd_members[2].learner = true;
            }
            scene.nodes[2].seen = Seen::Silent;
        },
        &["stuck-learner on cp-01: cp-03 at 192.168.1.213 (0000000000000003) learns and will never vote: cp-03 does \
           not answer; no other can join before it does"],
    );
    check(
        |scene| {
            for n in 0..2 {
                testimony(scene, n).etcd_members[2].learner = true;
            }
            let stuck = testimony(scene, 2);
            stuck.etcd.state = "Failed".into();
            stuck.etcd_members.clear();
        },
        &["stuck-learner on cp-01: cp-03 at 192.168.1.213 (0000000000000003) learns and will never vote: etcd on \
           cp-03 is \"Failed\"; no other can join before it does"],
    );
}
