//! `TalosOs` against nodes that speak the real protocol on loopback ports.

mod fake;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use castle_core::options::{DialMap, Options, SecretsAccess};
use castle_core::{
    Clock, Context, Env, ErrorKind, NodeOs, NodeSite, NodeState, NodeTarget, Pace, Project, Retry, SeededEntropy, Stage,
};
use castle_talos::{MaintenanceTrust, SecretsBundle, TalosOptions, TalosOs};
use fake::{Door, FakeNode, configured, configured_until, in_maintenance};
use futures::StreamExt;
use tonic::Code;
use uuid::Uuid;

const STATUS: &str = "MachineStatuses.runtime.talos.dev";
const SYSTEM: &str = "SystemInformations.hardware.talos.dev";
const VOLUME: &str = "DiscoveredVolumes.block.talos.dev";
const ADDRESS: &str = "AddressStatuses.net.talos.dev";
const OURS: Uuid = Uuid::from_u128(0x0f5c_0000_0000_4000_8000_0000_0000_0001);
const TRUSTING: TalosOptions =
    TalosOptions { maintenance: Some(MaintenanceTrust::OnFirstUse), pins: std::collections::BTreeMap::new() };

/// The first control plane of the example, played by one fake node.
struct Stand {
    fake: FakeNode,
    bundle: SecretsBundle,
    site: NodeSite,
    node: NodeTarget,
    env: Env,
    cx: Context,
}

impl Stand {
    async fn new() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/projects/fortress/proxmox/castle.yaml");
        let text = std::fs::read_to_string(path).expect("the example");
        let project = Project::parse(&text, castle_talos::image).expect("the example is right");
        let env = Env { clock: Clock::new(Pace::Virtual), entropy: Arc::new(SeededEntropy::new(7)) };
        let bundle = SecretsBundle::generate(&env).expect("a bundle");
        let node = NodeTarget { spec: project.machines[0].clone(), uuid: OURS };
        let site = NodeSite { project: Arc::new(project), bundle: bundle.to_yaml() };
        let fake = FakeNode::start().await;
        fake.script().set(SYSTEM, "systeminformation", &format!("manufacturer: QEMU\nuuid: {OURS}\n"));
        Self { fake, bundle, site, node, cx: Context::new(env.clone()), env }
    }

    fn os(&self, talos: TalosOptions) -> TalosOs {
        let declared = (self.node.spec.nic.address, 50_000).into();
        let options = Options {
            proxmox: None,
            maintenance: castle_core::options::MaintenanceAccess::default(),
            secrets: SecretsAccess::Memory,
            git: None,
            identity: None,
            dial: DialMap::exclusive([(declared, self.fake.at)]),
            source: None,
            pace: Pace::Virtual,
            lab: true,
        };
        TalosOs::new(&options, &self.env, talos).expect("options")
    }

    fn wait_for_configuration(&self) -> [u8; 32] {
        let (door, pin) = in_maintenance(self.node.spec.nic.address);
        self.fake.set_door(door);
        pin
    }

    fn be_ours(&self) {
        self.fake.set_door(configured(&self.bundle, self.node.spec.nic.address));
        self.fake.script().set(STATUS, "machine", "stage: booting\nstatus:\n    ready: false\n");
        self.fake.script().etcd = "Preparing".into();
    }

    async fn look(&self, os: &TalosOs) -> NodeState {
        os.look(&self.cx, &self.site, &self.node).await.expect("a look")
    }
}

/// Runs a test on the paused clock.
fn virtually<F: Future<Output = ()>>(test: F) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(test);
}

#[test]
fn a_look_tells_every_state() {
    virtually(async {
        let stand = Stand::new().await;
        let os = stand.os(TalosOptions::default());
        let says = async |what: &str| match stand.look(&os).await {
            NodeState::Silent(why) | NodeState::Stranger(why) => assert!(why.contains(what), "{why}"),
            other => panic!("{other:?} instead of {what}"),
        };
        stand.fake.set_door(Door::Refuse);
        assert!(matches!(stand.look(&os).await, NodeState::Silent(_)));
        stand.fake.set_door(Door::Silent);
        says("no answer in time").await;
        assert!(stand.env.clock.elapsed() < Duration::from_secs(2), "a glance is short");

        stand.wait_for_configuration();
        assert_eq!(stand.look(&os).await, NodeState::Maintenance { uuid: Some(OURS), residue: vec![] });
        assert_eq!(os.meter().total().read, 2, "uuid and volumes");

        let other = SecretsBundle::generate(&Env { entropy: Arc::new(SeededEntropy::new(8)), ..stand.env.clone() });
        let address = stand.node.spec.nic.address;
        let os = stand.os(TalosOptions::default());
        let says = async |what: &str| match stand.look(&os).await {
            NodeState::Silent(why) | NodeState::Stranger(why) => assert!(why.contains(what), "{why}"),
            other => panic!("{other:?} instead of {what}"),
        };
        stand.fake.set_door(configured(&other.expect("a bundle"), address));
        says("which this cluster's authority did not sign").await;
        stand.fake.set_door(configured(&stand.bundle, "192.168.1.99".parse().expect("an address")));
        says("that is for another address").await;
        stand.fake.set_door(configured_until(&stand.bundle, address, 1990));
        says("that is not valid now").await;
        assert_eq!(os.meter().total().read, 0, "nothing is asked of a stranger");

        stand.be_ours();
        let NodeState::Ours(report) = stand.look(&os).await else { panic!("not ours") };
        assert_eq!((report.stage, report.uuid, report.holds_vip), (Stage::Booting, Some(OURS), false));
        assert_eq!(report.etcd.expect("a control plane").state, "Preparing");
        assert_eq!(os.meter().total().read, 3);
    });
}

#[test]
fn what_a_stranger_says_is_short_and_steers_no_terminal() {
    virtually(async {
        let stand = Stand::new().await;
        stand.wait_for_configuration();
        let check = async |ends_early: bool| match stand.look(&stand.os(TRUSTING)).await {
            NodeState::Silent(why) => {
                assert!(why.chars().count() < 700 && (why.contains('…') || !ends_early), "{} letters", why.len());
                assert!(!why.contains(char::is_control) && why.contains('\u{FFFD}'), "{why}");
            }
            NodeState::Maintenance { residue, .. } => {
                let [residue] = &residue[..] else { panic!("{residue:?}") };
                assert!(residue.len() < 4_000 && residue.contains('…') && !residue.contains(char::is_control));
            }
            other => panic!("{other:?}"),
        };
        // A header of gRPC has room for some kilobytes.
        let words: &'static str = String::leak(format!("go \u{1b}[2J{}", "away ".repeat(500)));
        stand.fake.script().refusals.insert("Get", (Code::Unavailable, words));
        check(true).await;
        stand.fake.script().refusals.clear();
        let long = format!("\\e[2J{}", "f".repeat(200_000));
        stand.fake.script().set(SYSTEM, "systeminformation", &format!("uuid: \"{long}\"\n"));
        check(true).await;
        stand.fake.script().set(SYSTEM, "systeminformation", &format!("uuid: {OURS}\n"));
        let volume = format!("name: \"{long}\"\npartition_label: STATE\n");
        stand.fake.script().set(VOLUME, "vda5", &volume);
        check(true).await;
    });
}

#[test]
fn a_list_without_an_end_is_not_read_to_it() {
    virtually(async {
        let stand = Stand::new().await;
        stand.wait_for_configuration();
        let says = async |what: &str| match stand.look(&stand.os(TRUSTING)).await {
            NodeState::Silent(why) => assert!(why.contains(what), "{why}"),
            other => panic!("{other:?}"),
        };
        for number in 0..10_001 {
            stand.fake.script().set(VOLUME, &format!("vda{number}"), "name: \"\"\n");
        }
        says("more than 10000 resources of kind DiscoveredVolumes.block.talos.dev, or 16 MiB of them").await;
        stand.fake.script().resources.retain(|(kind, _), _| kind != VOLUME);
        for number in 0..17 {
            let name = format!("name: \"{}\"\n", "x".repeat(1 << 20));
            stand.fake.script().set(VOLUME, &format!("vda{number}"), &name);
        }
        says("or 16 MiB of them").await;
    });
}

#[test]
fn a_look_over_a_standing_connection_is_two_calls_and_a_dead_one_is_replaced() {
    virtually(async {
        let stand = Stand::new().await;
        let os = stand.os(TalosOptions::default());
        stand.be_ours();
        stand.look(&os).await;
        stand.look(&os).await;
        assert_eq!(stand.fake.script().names()[3..], ["Get MachineStatuses", "Services"]);
        stand.fake.script().etcd = "Running".into();
        stand.fake.script().set(ADDRESS, "eth0/192.168.1.210/32", "address: 192.168.1.210/32\nlinkName: eth0\n");
        let NodeState::Ours(report) = stand.look(&os).await else { panic!("not ours") };
        assert!(report.holds_vip);
        assert!(stand.fake.script().calls.iter().all(|(connection, _)| *connection == 0));
    });
}

#[test]
fn another_machine_of_the_cluster_is_a_stranger() {
    virtually(async {
        let stand = Stand::new().await;
        let os = stand.os(TRUSTING);
        stand.be_ours();
        stand.fake.script().set(SYSTEM, "systeminformation", "uuid: 00000000-0000-4000-8000-00000000dead\n");
        assert!(matches!(stand.look(&os).await, NodeState::Stranger(_)));
        let refused = os.bootstrap(&stand.cx, &stand.site, &stand.node).await.expect_err("another machine");
        assert_eq!(refused.kind(), ErrorKind::ForeignOwner);
        assert!(!stand.fake.script().names().contains(&"Bootstrap"));
    });
}

#[test]
fn secrets_go_only_to_a_proved_machine() {
    virtually(async {
        let stand = Stand::new().await;
        let pin = stand.wait_for_configuration();
        let refused = async |talos: TalosOptions, kind: ErrorKind, word: &str| {
            let os = stand.os(talos);
            let error = os.apply(&stand.cx, &stand.site, &stand.node).await.expect_err(word);
            assert_eq!(error.kind(), kind, "{}", error.chain());
            assert!(error.chain().contains(word), "{}", error.chain());
            assert!(error.advice().is_some());
        };
        let pinned = |pin: [u8; 32]| TalosOptions {
            pins: [(stand.node.spec.node.to_string(), pin)].into(),
            ..TalosOptions::default()
        };
        refused(TalosOptions::default(), ErrorKind::EvidenceMissing, "no pin").await;
        refused(pinned([1; 32]), ErrorKind::ForeignOwner, "is pinned").await;

        stand.fake.script().set(SYSTEM, "systeminformation", "uuid: 00000000-0000-4000-8000-00000000dead\n");
        refused(TRUSTING, ErrorKind::ForeignOwner, "00000000dead").await;
        refused(pinned(pin), ErrorKind::ForeignOwner, "00000000dead").await;
        stand.fake.script().set(SYSTEM, "systeminformation", "manufacturer: QEMU\n");
        refused(TRUSTING, ErrorKind::ForeignOwner, "does not tell its uuid").await;

        stand.fake.script().set(SYSTEM, "systeminformation", &format!("uuid: {OURS}\n"));
        stand.fake.script().set(VOLUME, "sda5", "name: xfs\npartition_label: EPHEMERAL\n");
        refused(TRUSTING, ErrorKind::EvidenceMissing, "partition EPHEMERAL on sda5 holds xfs").await;
        assert!(stand.fake.script().applied.is_empty());

        stand.fake.script().set(VOLUME, "sda5", "partition_label: EPHEMERAL\n");
        stand.fake.script().calls.clear();
        stand.os(pinned(pin)).apply(&stand.cx, &stand.site, &stand.node).await.expect("all is proved");
        let script = stand.fake.script();
        assert_eq!(
            script.names(),
            ["Get SystemInformations", "List DiscoveredVolumes", "Apply AUTO"],
            "what proves it is read on the connection that carries the secrets"
        );
        assert!(script.calls.iter().all(|(connection, _)| *connection == script.calls[0].0));
        assert_eq!(script.applied[0], *stand.os(TRUSTING).render(&stand.site, &stand.node).expect("text").expose());
    });
}

#[test]
fn an_apply_whose_answer_is_lost_is_sent_once_and_looked_after() {
    virtually(async {
        let stand = Stand::new().await;
        let os = stand.os(TRUSTING);
        stand.wait_for_configuration();
        stand.fake.script().lost.push("Apply");
        let lost = os.apply(&stand.cx, &stand.site, &stand.node).await.expect_err("no answer");
        assert_eq!((lost.kind(), lost.retry_class()), (ErrorKind::Unreachable, Retry::AfterObserving));
        assert_eq!(stand.fake.script().applied.len(), 1);
        // The node took it, and comes back as ours: then there is nothing left to do.
        stand.be_ours();
        os.apply(&stand.cx, &stand.site, &stand.node).await.expect("it is configured");
        assert_eq!(stand.fake.script().applied.len(), 1);
    });
}

#[test]
fn a_configuration_that_talos_does_not_take_is_the_declaration_s_fault() {
    virtually(async {
        let stand = Stand::new().await;
        stand.wait_for_configuration();
        stand.fake.script().refusals.insert("Apply", (Code::InvalidArgument, "unknown keys found during decoding"));
        let error = stand.os(TRUSTING).apply(&stand.cx, &stand.site, &stand.node).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidSpec);
        assert!(error.chain().contains("unknown keys found"), "{}", error.chain());
    });
}

#[test]
fn a_bootstrap_is_judged_by_talos_words_and_by_the_member_list() {
    virtually(async {
        let stand = Stand::new().await;
        let os = stand.os(TRUSTING);
        stand.be_ours();
        let attempt = async || {
            os.bootstrap(&stand.cx, &stand.site, &stand.node)
                .await
                .map_err(|error| (error.kind(), error.retry_class(), error.chain()))
        };
        let refuse = |code, said| stand.fake.script().refusals.insert("Bootstrap", (code, said));

        refuse(Code::FailedPrecondition, "bootstrap is not available yet");
        let (kind, retry, _) = attempt().await.expect_err("not yet");
        assert_eq!((kind, retry), (ErrorKind::Conflict, Retry::AfterObserving));
        refuse(Code::FailedPrecondition, "time is not in sync yet");
        let (kind, _, chain) = attempt().await.expect_err("no time");
        assert!(kind == ErrorKind::Conflict && chain.contains("time is not in sync yet"), "{chain}");

        refuse(Code::AlreadyExists, "etcd data directory is not empty");
        let (kind, retry, _) = attempt().await.expect_err("nobody is known yet");
        assert_eq!((kind, retry), (ErrorKind::Conflict, Retry::AfterObserving));
        let name: &'static str = String::leak(stand.node.spec.node.to_string());
        stand.fake.script().etcd = "Running".into();
        stand.fake.script().members = vec![(1, name, 211, false)];
        attempt().await.expect("it is this cluster");
        stand.fake.script().members.push((2, "former-cp-02", 99, false));
        let (kind, _, chain) = attempt().await.expect_err("old data");
        assert!(kind == ErrorKind::EvidenceMissing && chain.contains("former-cp-02 at 192.168.1.99"), "{chain}");

        stand.fake.script().refusals.clear();
        stand.fake.script().lost.push("Bootstrap");
        stand.fake.script().calls.clear();
        let (kind, retry, _) = attempt().await.expect_err("lost");
        assert_eq!((kind, retry), (ErrorKind::Unreachable, Retry::AfterObserving));
        assert_eq!(stand.fake.script().names().iter().filter(|call| **call == "Bootstrap").count(), 1);
    });
}

#[test]
fn members_go_by_id_and_a_sleeping_etcd_has_none() {
    virtually(async {
        let stand = Stand::new().await;
        let os = stand.os(TRUSTING);
        stand.be_ours();
        let members = async || os.members(&stand.cx, &stand.site, &stand.node).await;
        stand.fake.script().refusals.insert("Members", (Code::Unknown, "dial tcp: connection refused"));
        assert_eq!(members().await.expect("it does not run"), []);
        stand.fake.script().etcd = "Running".into();
        assert_eq!(members().await.expect_err("it should answer").kind(), ErrorKind::Unexpected);
        stand.fake.script().members = vec![(7, "", 212, true), (5, "a", 211, false)];
        stand
            .fake
            .script()
            .refusals
            .insert("Members", (Code::Unavailable, "etcdserver: rpc not supported for learner"));
        let found = members().await.expect("the others answer");
        assert_eq!(found.iter().map(|member| (member.id, member.learner)).collect::<Vec<_>>(), [(5, false), (7, true)]);

        os.remove_member(&stand.cx, &stand.site, &stand.node, 7).await.expect("removed");
        os.remove_member(&stand.cx, &stand.site, &stand.node, 7).await.expect("absent is success");
        assert_eq!(stand.fake.script().members.len(), 1);
    });
}

#[test]
fn a_watch_wakes_with_the_node_and_by_back_off_without_it() {
    virtually(async {
        let stand = Stand::new().await;
        let os = stand.os(TRUSTING);
        let mut wakes = os.watch(&stand.cx, &stand.site, &stand.node);
        let clock = &stand.env.clock;
        let mut gaps = Vec::new();
        for _ in 0..5 {
            let before = clock.elapsed();
            wakes.next().await.expect("a watch does not end");
            gaps.push((clock.elapsed() - before).as_millis());
        }
        assert_eq!(gaps, [0, 250, 500, 500, 500]);

        stand.be_ours();
        stand.look(&os).await;
        let before = clock.elapsed();
        wakes.next().await.expect("the watch stands");
        assert_eq!(clock.elapsed(), before);
        assert_eq!(
            stand.fake.script().names()[3..],
            ["Watch MachineStatuses", "Watch Services", "Watch AddressStatuses"]
        );
        let change = async {
            clock.sleep(Duration::from_secs(3)).await;
            stand.fake.script().set(STATUS, "machine", "stage: running\nstatus:\n    ready: true\n");
        };
        let ((), woken) = futures::future::join(change, wakes.next()).await;
        woken.expect("the watch stands");
        assert_eq!((clock.elapsed() - before).as_secs(), 3);
    });
}

#[test]
fn an_address_outside_the_dial_map_is_an_error_and_no_silence() {
    virtually(async {
        let stand = Stand::new().await;
        let os = stand.os(TRUSTING);
        let mut elsewhere = stand.node.clone();
        elsewhere.spec.nic.address = "192.168.1.77".parse().expect("an address");
        let error = os.look(&stand.cx, &stand.site, &elsewhere).await.expect_err("not in the map");
        assert_eq!((error.kind(), error.retry_class()), (ErrorKind::Unreachable, Retry::Never));
    });
}

#[test]
fn ghosts_are_named_over_the_wire() {
    virtually(async {
        let stand = Stand::new().await;
        let os = stand.os(TRUSTING);
        stand.be_ours();
        stand.fake.script().set("Infos.cluster.talos.dev", "current", "clusterId: former\nclusterName: fortress\n");
        for (id, host) in [("one", 211), ("two", 211), ("three", 99)] {
            stand.fake.script().set(
                "Affiliates.cluster.talos.dev",
                id,
                &format!("nodeId: {id}\naddresses: [192.168.1.{host}]\nnodename: n-{id}\nmachineType: controlplane\n"),
            );
        }
        let ghosts = os.ghosts(&stand.cx, &stand.site, std::slice::from_ref(&stand.node)).await.expect("ghosts");
        let kinds: Vec<&str> = ghosts.iter().map(|ghost| ghost.kind).collect();
        assert_eq!(kinds, ["stale-affiliate", "stale-affiliate", "wrong-cluster-id"]);
    });
}

#[test]
fn nothing_public_prints_a_secret() {
    virtually(async {
        let stand = Stand::new().await;
        let os = stand.os(TRUSTING);
        stand.be_ours();
        stand.look(&os).await;
        let request = castle_talos::wire::machine::ApplyConfigurationRequest {
            data: stand.site.bundle.expose().clone(),
            ..Default::default()
        };
        let spec = castle_talos::wire::cosi::Spec {
            yaml_spec: stand.bundle.trustd_token.expose().clone(),
            ..Default::default()
        };
        let printed = format!("{os:?} {request:?} {spec:?}");
        assert!(!printed.contains(stand.bundle.trustd_token.expose()), "{printed}");
        assert!(printed.len() < 600, "{printed}");
    });
}
