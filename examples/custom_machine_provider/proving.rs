//! What the suite needs of a house: a way in, and the weather. For a real backend
//! this is the part that talks to a test account, or to a simulator.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use castle_core::conformance::{MachinesHarness, Silence};
use castle_core::memory::{MemoryMachine, MemoryMachines, example_project};
use castle_core::{
    ByteSize, Clock, Context, Env, ErrorKind, MachineId, MachineProvider, MachineSpec, Owner, Pace, ProjectKey, Secret,
    SeededEntropy,
};
use uuid::Uuid;

use super::Audited;

/// A house of one host, and what was planted in it behind the provider's back.
pub struct Ground {
    house: MemoryMachines,
    clock: Clock,
    planted: Mutex<BTreeMap<MachineId, MemoryMachine>>,
}

impl Ground {
    /// An empty house.
    pub fn new() -> Self {
        let house = MemoryMachines::new().with_host("pve", ByteSize::gib_of(64));
        Self { house, clock: Clock::new(Pace::Virtual), planted: Mutex::default() }
    }

    fn plant(&self, id: MachineId, machine: MemoryMachine) {
        self.house.plant(id, machine.clone());
        self.planted.lock().unwrap_or_else(PoisonError::into_inner).insert(id, machine);
    }
}

#[async_trait]
impl MachinesHarness for Ground {
    async fn provider(&self) -> Arc<dyn MachineProvider> {
        Arc::new(Audited::new(self.house.clone()))
    }

    fn context(&self) -> Context {
        Context::new(Env { clock: self.clock.clone(), entropy: Arc::new(SeededEntropy::new(1)) })
    }

    fn owner(&self) -> Owner {
        let project = example_project();
        let key = ProjectKey::from_bytes(Secret::new(vec![7; 32]));
        Owner::new(project.project, project.cluster.name, key, self.specs().iter().map(|spec| spec.id))
    }

    fn specs(&self) -> Vec<MachineSpec> {
        let mut specs = example_project().machines;
        let mut fourth = specs[2].clone();
        fourth.node = "blue-wk-03".parse().expect("a DNS label");
        fourth.id = MachineId::try_from(433).expect("a number that Proxmox would take");
        specs.push(fourth);
        specs
    }

    async fn plant_stranger(&self, id: MachineId, uuid: Uuid, description: &str) {
        self.plant(id, MemoryMachine::stranger("pve", uuid, description));
    }

    async fn plant_stub(&self, id: MachineId) {
        self.plant(id, MemoryMachine::stub("pve"));
    }

    async fn plant_hidden(&self, id: MachineId) {
        self.plant(id, MemoryMachine { hidden: true, ..MemoryMachine::stranger("pve", Uuid::from_u128(2), "") });
    }

    async fn silence(&self, how: Option<Silence>) {
        self.house.silence((how == Some(Silence::Refused)).then_some(ErrorKind::PermissionDenied));
        self.house.blind(how == Some(Silence::Empty));
        self.house.set_online("pve", how != Some(Silence::Partial));
    }

    async fn is_untouched(&self, id: MachineId) -> bool {
        let planted = self.planted.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        planted.is_some() && self.house.machine(id) == planted
    }

    async fn traces(&self, id: MachineId) -> Vec<String> {
        self.house.machine(id).map(|machine| format!("{machine:?}")).into_iter().collect()
    }
}
