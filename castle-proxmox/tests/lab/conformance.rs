//! The rules of the port, run against the lab.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use castle_core::conformance::machines::{self, MachinesHarness, Silence};
use castle_core::{Context, MachineId, MachineProvider, MachineSpec, Owner};
use castle_lab::hypervisor::{Hypervisor, MachineWish, TaskFault};
use castle_lab::runtime;
use uuid::Uuid;

use crate::house::House;

struct Harness {
    house: House,
    cx: Context,
    /// The configurations as they were planted.
    planted: Mutex<BTreeMap<MachineId, String>>,
    /// Rights and pools before the silence.
    before: Mutex<Option<Hypervisor>>,
}

impl Harness {
    async fn fresh() -> Self {
        let house = House::open().await;
        let cx = Context::new(house.lab.env(house.lab.new_run()));
        Self { house, cx, planted: Mutex::default(), before: Mutex::default() }
    }

    fn text(&self, id: MachineId) -> Option<String> {
        self.house.world(|world| {
            let vm = world.proxmox.vms.get(&id.get())?;
            Some(format!("{:?} running {} {:?}", vm.config, vm.is_running(), world.proxmox.pool_of(id.get())))
        })
    }

    fn note(&self, id: MachineId) {
        let text = self.text(id).expect("it was planted");
        self.planted.lock().expect("nobody panicked").insert(id, text);
    }
}

#[async_trait]
impl MachinesHarness for Harness {
    async fn provider(&self) -> Arc<dyn MachineProvider> {
        self.house.enter().shared()
    }

    fn context(&self) -> Context {
        self.cx.clone()
    }

    fn owner(&self) -> Owner {
        self.house.owner()
    }

    fn specs(&self) -> Vec<MachineSpec> {
        self.house.specs().to_vec()
    }

    async fn plant_stranger(&self, id: MachineId, uuid: Uuid, description: &str) {
        // In castle's own pool, so that only its own judgement protects it.
        let wish = MachineWish::new(id.get(), "stranger")
            .in_pool("blue")
            .with("smbios1", format!("uuid={uuid}"))
            .with("description", description);
        self.house.world(|world| world.admin_create(wish));
        self.note(id);
    }

    async fn plant_stub(&self, id: MachineId) {
        let spec = self.house.specs().iter().find(|spec| spec.id == id).expect("a reserved id");
        self.house.world(|world| world.fail_task("qmcreate", Some(id.get()), TaskFault::Killed));
        self.house.enter().ensure(spec).await.expect_err("its creation is killed");
        self.note(id);
    }

    async fn plant_hidden(&self, id: MachineId) {
        self.house.world(|world| world.admin_create(MachineWish::new(id.get(), "hidden")));
        self.note(id);
    }

    async fn silence(&self, how: Option<Silence>) {
        let mut before = self.before.lock().expect("nobody panicked");
        self.house.world(|world| {
            if let Some(before) = before.take() {
                world.proxmox.access = before.access;
                world.proxmox.pools = before.pools;
            }
            let Some(how) = how else { return };
            *before = Some(world.proxmox.clone());
            match how {
                Silence::Refused => world.proxmox.access.tokens.clear(),
                Silence::Empty => world.withdraw_privilege("VM.Audit"),
                Silence::Partial => world.proxmox.pools.values_mut().for_each(|members| members.clear()),
            }
        });
    }

    async fn is_untouched(&self, id: MachineId) -> bool {
        let planted = self.planted.lock().expect("nobody panicked").get(&id).cloned();
        planted.is_some() && self.text(id) == planted && self.house.world(|world| world.untouched(id.get()))
    }

    async fn traces(&self, id: MachineId) -> Vec<String> {
        self.house.traces(id.get())
    }
}

macro_rules! rules {
    ($($rule:ident),* $(,)?) => {
        $(
            #[test]
            fn $rule() {
                runtime::run_virtual(|| async { machines::$rule(&Harness::fresh().await).await });
            }
        )*

        #[test]
        fn no_rule_is_forgotten() {
            assert_eq!([$(stringify!($rule)),*], machines::RULES);
        }
    };
}

rules!(
    an_empty_house_is_proved_empty,
    a_machine_is_born_ours_and_off,
    ensure_twice_makes_one,
    a_taken_id_is_left_alone,
    power_is_idempotent,
    destroy_leaves_no_trace,
    destroy_twice_is_fine,
    a_stranger_survives,
    a_younger_life_survives,
    silence_is_not_absence,
);
