//! The faults that the engine's tests rely on.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use uuid::Uuid;

use super::*;
use crate::{
    Birth, ByteSize, Clock, Context, Env, Error, ErrorKind, ImageRef, MacAddress, MachineId, MachineProvider,
    MachineSpec, Nic, NodeRole, Owner, Pace, Power, ProjectKey, Secret, SecretStore, SeededEntropy, Slot, Standing,
};

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O needs nothing of the system").block_on(future)
}

fn spec(number: u32) -> MachineSpec {
    let (cluster, node) = ("blue".parse().expect("a name"), format!("blue-{number}").parse().expect("a name"));
    MachineSpec {
        role: NodeRole::Worker,
        id: MachineId::try_from(number).expect("in range"),
        host: "pve".parse().expect("a name"),
        pool: "castle-blue".into(),
        storage: "local".into(),
        cores: 2,
        memory: ByteSize::gib_of(8),
        disk: ByteSize::gib_of(20),
        nic: Nic {
            address: "192.168.1.211".parse().expect("an address"),
            subnet: "192.168.1.0/24".parse().expect("a subnet"),
            gateway: "192.168.1.1".parse().expect("an address"),
            dns: Vec::new(),
            bridge: "vmbr0".into(),
            vlan: None,
            mac: MacAddress::of_node(&cluster, &node),
        },
        image: ImageRef { storage: "local".into(), file: "talos.qcow2".into(), url: String::new() },
        node,
    }
}

/// A house of 12 GiB, a caller, and the calls on machine 421.
struct Scene {
    house: MemoryMachines,
    cx: Context,
    owner: Owner,
    spec: MachineSpec,
    birth: Birth,
}

impl Scene {
    fn new() -> Self {
        let cx = Context::new(Env { clock: Clock::new(Pace::Virtual), entropy: Arc::new(SeededEntropy::new(1)) });
        let house = MemoryMachines::new().with_host("pve", ByteSize::gib_of(12));
        let key = ProjectKey::from_bytes(Secret::new(vec![7; 32]));
        let name = || "blue".parse().expect("a name");
        let (spec, ids) = (spec(421), [421, 422].map(|id| MachineId::try_from(id).expect("in range")));
        let birth = Birth::of("scene", 1, &spec.node, 1);
        Self { house, cx, owner: Owner::new(name(), name(), key, ids), spec, birth }
    }

    async fn ensure(&self) -> crate::Result<crate::Machine> {
        self.house.ensure(&self.cx, &self.owner, &self.spec, &self.birth).await
    }

    async fn slot(&self) -> Slot {
        self.house.get(&self.cx, &self.owner, &self.spec).await.expect("the house answers")
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Unreachable, "the answer was lost")
}

#[test]
fn a_failed_call_has_no_effect_and_a_lost_answer_has() {
    run(async {
        let scene = Scene::new();
        scene.house.fail_next(MachineCall::Ensure, lost());
        assert_eq!(scene.ensure().await.expect_err("it fails").kind(), ErrorKind::Unreachable);
        assert_eq!(scene.slot().await, Slot::Absent);

        scene.house.lose_answer(MachineCall::Ensure, lost());
        assert_eq!(scene.ensure().await.expect_err("it is lost").kind(), ErrorKind::Unreachable);
        let Slot::Present(seen) = scene.slot().await else { panic!("the effect is missing") };
        assert_eq!((seen.standing, seen.disk), (Standing::InCreation, None));
        let began = scene.cx.clock().elapsed();
        assert!(scene.ensure().await.expect("the creation is awaited").standing.ours().is_some());
        assert_eq!(scene.cx.clock().elapsed() - began, MachineDurations::default().birth);

        scene.house.lose_answer(MachineCall::Destroy, lost());
        let end = scene.house.destroy(&scene.cx, &scene.owner, &scene.spec).await;
        assert_eq!(end.expect_err("it is lost").kind(), ErrorKind::Unreachable);
        assert_eq!(scene.slot().await, Slot::Absent);
    });
}

#[test]
fn a_creation_goes_on_without_its_caller() {
    run(async {
        let scene = Scene::new();
        let clock = scene.cx.clock();
        assert!(clock.within(Duration::from_secs(1), scene.ensure()).await.is_none(), "it takes longer");
        clock.sleep(MachineDurations::default().birth).await;
        let Slot::Present(seen) = scene.slot().await else { panic!("the creation was lost") };
        assert!(seen.standing.ours().is_some() && seen.disk.is_some(), "{seen:#?}");
    });
}

#[test]
fn a_host_gives_no_memory_twice() {
    run(async {
        let scene = Scene::new();
        let second = spec(422);
        scene.ensure().await.expect("the first machine");
        let birth = Birth::of("scene", 1, &second.node, 1);
        scene.house.ensure(&scene.cx, &scene.owner, &second, &birth).await.expect("the second machine, off");
        let on = |spec| scene.house.power(&scene.cx, &scene.owner, spec, Power::Running);
        on(&scene.spec).await.expect("8 of 12 GiB");
        assert_eq!(on(&second).await.expect_err("16 of 12 GiB").kind(), ErrorKind::Exhausted);
    });
}

#[test]
fn a_number_that_is_handed_on_during_a_destroy_is_left_alone() {
    run(async {
        let scene = Scene::new();
        scene.ensure().await.expect("a machine");
        let stranger = MemoryMachine::stranger("pve", Uuid::from_u128(1), "a note");
        let destroy = scene.house.destroy(&scene.cx, &scene.owner, &scene.spec);
        let hand_on = async {
            scene.cx.clock().sleep(Duration::from_secs(1)).await;
            scene.house.plant(scene.spec.id, stranger.clone());
        };
        let (end, ()) = join(destroy, hand_on).await;
        assert_eq!(end.expect_err("it is not ours any more").kind(), ErrorKind::ForeignOwner);
        assert_eq!(scene.house.machine(scene.spec.id), Some(stranger));
    });
}

#[test]
fn a_machine_that_is_made_again_during_a_destroy_is_left_alone() {
    run(async {
        let scene = Scene::new();
        scene.ensure().await.expect("a machine");
        let destroy = scene.house.destroy(&scene.cx, &scene.owner, &scene.spec);
        let make_again = async {
            scene.cx.clock().sleep(Duration::from_secs(1)).await;
            // Another operator has removed it, and finishes the same life.
            scene.house.plant(scene.spec.id, None);
            scene.ensure().await.expect("a machine again");
        };
        let (end, ()) = join(destroy, make_again).await;
        assert_eq!(end.expect_err("it is another one").kind(), ErrorKind::Conflict);
        assert!(scene.house.machine(scene.spec.id).is_some_and(|machine| !machine.dying));
    });
}

#[test]
fn a_birth_needs_the_key_and_a_destroy_that_began_is_not_undone() {
    run(async {
        let mut scene = Scene::new();
        scene.ensure().await.expect("a machine");
        let destroy = scene.house.destroy(&scene.cx, &scene.owner, &scene.spec);
        assert!(scene.cx.clock().within(Duration::from_secs(1), destroy).await.is_none(), "it takes longer");
        let Slot::Present(seen) = scene.slot().await else { panic!("it is not gone yet") };
        assert!(seen.dying && seen.standing.ours().is_some(), "{seen:#?}");
        assert_eq!(scene.ensure().await.expect_err("it is dying").kind(), ErrorKind::Conflict);

        let owner = &scene.owner;
        scene.owner = Owner::new(owner.project().clone(), owner.cluster().clone(), None, owner.reserved().clone());
        scene.house.plant(scene.spec.id, None);
        assert_eq!(scene.ensure().await.expect_err("no key").kind(), ErrorKind::EvidenceMissing);
        assert_eq!(scene.slot().await, Slot::Absent);
    });
}

#[test]
fn a_silent_store_answers_nothing_and_keeps_everything() {
    run(async {
        let (store, key) = (MemorySecrets::new(), "talos/1".parse().expect("a path"));
        store.create(&key, &Secret::new(b"bundle".to_vec())).await.expect("a secret");
        store.clone().silence(true);
        let (got, deleted) = (store.get(&key).await, store.delete(&key).await);
        assert_eq!(got.expect_err("silent").kind(), ErrorKind::Unreachable);
        assert_eq!(deleted.expect_err("silent").kind(), ErrorKind::Unreachable);
        store.silence(false);
        assert!(store.get(&key).await.expect("it answers").is_some());
    });
}
