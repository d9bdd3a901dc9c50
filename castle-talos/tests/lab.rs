//! `TalosOs` against the lab's nodes: a whole life, over sockets, in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use castle_core::{
    Context, ErrorKind, Identity, NodeOs, NodeRole, NodeSite, NodeState, NodeTarget, Pace, Project, Stage,
};
use castle_lab::hypervisor::Principal;
use castle_lab::hypervisor::birth::MachineOrder;
use castle_lab::node::{MachineType, Residue};
use castle_lab::{Fault, FaultEffect, Lab, runtime};
use castle_talos::{MaintenanceTrust, TalosIdentity, TalosOptions, TalosOs};
use futures::StreamExt;
use futures::future::join_all;

/// A house with machines that were just started.
struct House {
    lab: Lab,
    os: TalosOs,
    cx: Context,
    site: NodeSite,
    nodes: Vec<NodeTarget>,
}

impl House {
    fn control_plane(&self) -> &NodeTarget {
        self.nodes.iter().find(|node| node.spec.role == NodeRole::ControlPlane).expect("every cluster has one")
    }

    async fn ghosts(&self) -> Vec<&'static str> {
        let ghosts = self.os.ghosts(&self.cx, &self.site, &self.nodes).await.expect("ghosts");
        ghosts.iter().map(|ghost| ghost.kind).collect()
    }

    /// Asks for the birth of etcd until the node can do it.
    async fn bootstrap(&self, node: &NodeTarget) -> castle_core::Result<()> {
        let mut wakes = self.os.watch(&self.cx, &self.site, node);
        loop {
            wakes.next().await.expect("a watch does not end");
            match self.os.bootstrap(&self.cx, &self.site, node).await {
                Err(error) if error.kind() == ErrorKind::Conflict && !error.chain().contains("time") => {}
                answer => return answer,
            }
        }
    }

    fn nothing_went_wrong(&self) {
        assert_eq!(self.lab.with_world(|world| world.violations().to_vec()), [] as [&str; 0]);
    }

    async fn of(example: &str, seed: u64) -> Self {
        let path = format!("{}/../examples/projects/{example}/proxmox/castle.yaml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).expect("the example");
        let project = Arc::new(Project::parse(&text, castle_talos::image).expect("the example is right"));
        let lab = Lab::builder(&project).seed(seed).pace(Pace::Virtual).start().await.expect("a lab");
        let run = lab.new_run();
        let (options, env) = (lab.options(run).expect("options"), lab.env(run));
        let trust = TalosOptions { maintenance: Some(MaintenanceTrust::OnFirstUse), ..TalosOptions::default() };
        let os = TalosOs::new(&options, &env, trust).expect("options");
        let bundle = TalosIdentity.generate(&env).expect("a bundle");
        let nodes: Vec<NodeTarget> = project
            .machines
            .iter()
            .map(|spec| NodeTarget { uuid: uuid::Uuid::from_u128(u128::from(spec.id.get()) << 64), spec: spec.clone() })
            .collect();
        lab.with_world(|world| {
            let who = Principal { user: "castle@pve".into(), token: Some("main".into()) };
            for node in &nodes {
                let spec = &node.spec;
                let settings: BTreeMap<String, String> = [
                    ("name", spec.node.to_string()),
                    ("cpu", "host".to_owned()),
                    ("bios", "ovmf".to_owned()),
                    ("memory", spec.memory.mib().to_string()),
                    ("smbios1", format!("uuid={}", node.uuid)),
                    (
                        "scsi0",
                        format!("{}:0,import-from={}:import/{}", spec.storage, spec.image.storage, spec.image.file),
                    ),
                    ("ide2", format!("{}:cloudinit", spec.storage)),
                    ("net0", format!("virtio={},bridge={}", spec.nic.mac, spec.nic.bridge)),
                    (
                        "ipconfig0",
                        format!("ip={}/{},gw={}", spec.nic.address, spec.nic.subnet.prefix_len(), spec.nic.gateway),
                    ),
                ]
                .map(|(key, value)| (key.to_owned(), value))
                .into();
                let order = MachineOrder { id: spec.id.get(), settings, start: true, ..MachineOrder::default() };
                world.create_machine(spec.host.as_str(), &who, order).expect("a machine");
            }
        });
        Self { lab, os, cx: Context::new(env), site: NodeSite { project, bundle }, nodes }
    }

    async fn look(&self, node: &NodeTarget) -> NodeState {
        self.os.look(&self.cx, &self.site, node).await.expect("a look does not fail")
    }

    /// Waits as a step does, and gives up after an hour.
    async fn until(&self, node: &NodeTarget, what: &str, holds: impl Fn(&NodeState) -> bool) -> NodeState {
        let mut last = None;
        let waiting = async {
            let mut wakes = self.os.watch(&self.cx, &self.site, node);
            while wakes.next().await.is_some() {
                let state = self.look(node).await;
                if holds(&state) {
                    return Some(state);
                }
                last = Some(state);
            }
            None
        };
        match self.cx.clock().within(Duration::from_secs(3600), waiting).await {
            Some(Some(state)) => state,
            _ => panic!("{} never {what}: {last:?}", node.spec.node),
        }
    }

    async fn waits(&self, node: &NodeTarget) -> NodeState {
        self.until(node, "waits", |state| matches!(state, NodeState::Maintenance { .. })).await
    }

    async fn apply(&self, node: &NodeTarget) -> castle_core::Result<()> {
        self.os.apply(&self.cx, &self.site, node).await
    }

    async fn configured(&self, node: &NodeTarget) -> NodeState {
        self.waits(node).await;
        self.apply(node).await.expect("it is blank and ours");
        self.until(node, "is ours", |state| matches!(state, NodeState::Ours(_))).await
    }
}

fn is_running(state: &NodeState) -> bool {
    matches!(state, NodeState::Ours(report) if report.stage == Stage::Running)
}

/// Raises `fortress`, checks it, and returns the journal's digest.
async fn born(seed: u64) -> String {
    let house = House::of("fortress", seed).await;
    let planes: Vec<&NodeTarget> = house.nodes.iter().filter(|node| node.spec.role == NodeRole::ControlPlane).collect();
    let workers = house.nodes.iter().filter(|node| node.spec.role == NodeRole::Worker);
    join_all(planes.iter().map(|node| house.configured(node))).await;
    join_all(workers.map(|node| house.configured(node))).await;
    house.bootstrap(planes[0]).await.expect("a birth");
    join_all(house.nodes.iter().map(|node| house.until(node, "runs", is_running))).await;
    let members = house.os.members(&house.cx, &house.site, planes[1]).await.expect("members");
    assert_eq!(members.iter().filter(|member| !member.learner).count(), 3, "{members:?}");
    // Born once: asked again, it is this cluster and no other.
    house.os.bootstrap(&house.cx, &house.site, planes[0]).await.expect("it stands");
    let mut holders = 0;
    for plane in &planes {
        if let NodeState::Ours(report) = house.look(plane).await {
            holders += u32::from(report.holds_vip);
        }
    }
    assert_eq!(holders, 1);
    assert_eq!(house.ghosts().await, [] as [&str; 0]);
    house.nothing_went_wrong();
    house.lab.journal().digest()
}

#[test]
fn a_cluster_is_born_and_the_same_seed_tells_the_same_story() {
    let digest = runtime::run_virtual(|| born(3));
    assert_eq!(runtime::run_virtual(|| born(3)), digest);
}

#[test]
fn a_disk_that_was_used_gets_no_configuration() {
    runtime::run_virtual(async || {
        let house = House::of("blue", 4).await;
        let plane = house.control_plane();
        house.lab.with_world(|world| world.plant_residue(plane.spec.id.get(), Residue::Etcd { members: 3 }));
        let NodeState::Maintenance { residue, .. } = house.waits(plane).await else { panic!("it waits") };
        assert!(residue[0].contains("EPHEMERAL"), "{residue:?}");
        assert_eq!(house.apply(plane).await.expect_err("it is not blank").kind(), ErrorKind::EvidenceMissing);
        assert_eq!(house.ghosts().await, ["ephemeral-residue"]);
        house.nothing_went_wrong();
    });
}

#[test]
fn a_stranger_at_our_address_gets_no_configuration() {
    runtime::run_virtual(async || {
        let house = House::of("blue", 5).await;
        let plane = house.control_plane();
        let uuid = "00000000-0000-4000-8000-00000000dead";
        house.lab.with_world(|world| world.plant_stranger(plane.spec.nic.address, uuid));
        house.waits(plane).await;
        assert_eq!(house.apply(plane).await.expect_err("a stranger").kind(), ErrorKind::ForeignOwner);
        assert_eq!(house.ghosts().await, ["foreign-machine"]);
        house.nothing_went_wrong();
    });
}

#[test]
fn a_node_that_somebody_else_configured_is_left_alone() {
    runtime::run_virtual(async || {
        let house = House::of("blue", 6).await;
        let plane = house.control_plane();
        let others = TalosIdentity.generate(house.cx.env()).expect("a bundle");
        let theirs = NodeSite { bundle: others, ..house.site.clone() };
        let text = house.os.render(&theirs, plane).expect("a configuration").expose().clone();
        let text = String::from_utf8(text).expect("YAML");
        house.lab.with_world(|world| world.plant_residue(plane.spec.id.get(), Residue::Config(text)));
        let state = house.until(plane, "is a stranger", |state| matches!(state, NodeState::Stranger(_))).await;
        assert!(format!("{state:?}").contains("did not sign"), "{state:?}");
        assert_eq!(house.apply(plane).await.expect_err("a stranger").kind(), ErrorKind::ForeignOwner);
        assert_eq!(house.ghosts().await, ["old-configuration"]);
        house.nothing_went_wrong();
    });
}

#[test]
fn a_clock_that_is_not_in_sync_is_named() {
    runtime::run_virtual(async || {
        let house = House::of("blue", 7).await;
        let plane = house.control_plane();
        house.configured(plane).await;
        house.lab.with_world(|world| world.plant_skewed_clock(plane.spec.id.get(), true));
        let error = house.bootstrap(plane).await.expect_err("no time");
        assert!(error.chain().contains("time is not in sync yet"), "{}", error.chain());
        house.lab.with_world(|world| world.plant_skewed_clock(plane.spec.id.get(), false));
        house.bootstrap(plane).await.expect("a birth");
    });
}

#[test]
fn a_birth_whose_answer_is_lost_is_recognised() {
    runtime::run_virtual(async || {
        let house = House::of("blue", 8).await;
        let plane = house.control_plane();
        house.configured(plane).await;
        let lost = Fault { kind: Some("machine.Bootstrap".into()), ..Fault::of(FaultEffect::AnswerLost) };
        house.lab.faults().add(lost);
        let mut lost = 0;
        while let Err(error) = house.bootstrap(plane).await {
            assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", error.chain());
            lost += 1;
            assert!(lost < 100, "{}", error.chain());
        }
        assert!(lost > 0, "no answer was lost");
        house.until(plane, "runs", is_running).await;
        house.nothing_went_wrong();
    });
}

#[test]
fn a_dead_node_in_the_discovery_service_is_named() {
    runtime::run_virtual(async || {
        let house = House::of("blue", 9).await;
        let plane = house.control_plane();
        house.configured(plane).await;
        let cluster_id = TalosIdentity.cluster_id(&house.site.bundle).expect("a bundle");
        house.lab.with_world(|world| {
            let address = "192.168.1.77".parse().expect("an address");
            world.plant_affiliate(&cluster_id, "former-cp", address, MachineType::ControlPlane);
        });
        assert_eq!(house.ghosts().await, ["stale-affiliate"]);
    });
}
