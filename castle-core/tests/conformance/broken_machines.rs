//! Machine providers that break one rule each.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use castle_core::conformance::machines::{self, RULES};
use castle_core::conformance::{MachinesHarness, Silence};
use castle_core::memory::{MemoryMachine, MemoryMachines};
use castle_core::{
    Birth, ByteSize, Capabilities, Clock, Context, Env, Error, ErrorKind, ImageRef, Inventory, MacAddress, Machine,
    MachineId, MachineProvider, MachineSpec, Meter, Name, Nic, NodeRole, Owner, Pace, Power, Problem, ProjectKey,
    Removal, Result, Secret, SeededEntropy, Slot, Standing,
};
use uuid::Uuid;

use super::{all_rules_are_broken, catches, run};

/// What is wrong with a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    ForgetsFreeIds,
    CallsHiddenAbsent,
    LookWrites,
    StartsAtBirth,
    MarksAfterwards,
    MakesItAgain,
    TakesTheId,
    AdoptsAnotherBirth,
    PromisesPower,
    SecondStartFails,
    PromisesRemoval,
    TakesTheNeighbour,
    FailsOnAbsent,
    RemovesStrangers,
    SkipsStrangers,
    TrustsTheName,
    TakesTheYounger,
    SkipsTheYounger,
    SilenceIsAbsence,
    SilenceIsRemoval,
}

/// Flaw, the rule that catches it, and what that rule says.
const CAUGHT: [(Flaw, &str, &str); 20] = [
    (Flaw::ForgetsFreeIds, RULES[0], "the ids that list shows"),
    (Flaw::CallsHiddenAbsent, RULES[0], "is not seen as hidden"),
    (Flaw::LookWrites, RULES[0], "looks sent"),
    (Flaw::StartsAtBirth, RULES[1], "power: Running"),
    (Flaw::MarksAfterwards, RULES[1], "a look during the birth saw"),
    (Flaw::MakesItAgain, RULES[2], "the second ensure wrote"),
    (Flaw::TakesTheId, RULES[3], "succeeded where foreign_owner was due"),
    (Flaw::AdoptsAnotherBirth, RULES[3], "ensure of another birth"),
    (Flaw::PromisesPower, RULES[4], "after power running"),
    (Flaw::SecondStartFails, RULES[4], "already running"),
    (Flaw::PromisesRemoval, RULES[5], "by get"),
    (Flaw::TakesTheNeighbour, RULES[5], "the neighbour of a removed machine"),
    (Flaw::FailsOnAbsent, RULES[6], "destroy of what never was"),
    (Flaw::RemovesStrangers, RULES[7], "succeeded where foreign_owner was due"),
    (Flaw::SkipsStrangers, RULES[7], "succeeded where foreign_owner was due"),
    (Flaw::TrustsTheName, RULES[7], "a machine whose mark cannot be checked"),
    (Flaw::TakesTheYounger, RULES[8], "succeeded where conflict was due"),
    (Flaw::SkipsTheYounger, RULES[8], "succeeded where conflict was due"),
    (Flaw::SilenceIsAbsence, RULES[9], "as absent"),
    (Flaw::SilenceIsRemoval, RULES[9], "destroy said done"),
];

/// A provider with a flaw, on a house in memory that the harness shares.
#[derive(Debug, Clone)]
struct Broken {
    flaw: Flaw,
    inner: MemoryMachines,
    meter: Arc<Meter>,
}

impl Broken {
    /// Does to the house what a provider without scruples would.
    fn evict(&self, id: MachineId) {
        self.meter.count_write();
        self.inner.plant(id, None);
    }

    fn worsen(&self, slot: Slot) -> Slot {
        match (self.flaw, slot) {
            (Flaw::CallsHiddenAbsent, Slot::Hidden) | (Flaw::SilenceIsAbsence, Slot::Unknown(_)) => Slot::Absent,
            (_, slot) => slot,
        }
    }
}

#[async_trait]
impl MachineProvider for Broken {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn validate(&self, spec: &MachineSpec) -> Vec<Problem> {
        self.inner.validate(spec)
    }

    async fn preflight(&self, cx: &Context, specs: &[MachineSpec], inventory: &Inventory) -> Result<Vec<Problem>> {
        self.inner.preflight(cx, specs, inventory).await
    }

    async fn list(&self, cx: &Context, owner: &Owner, specs: &[MachineSpec]) -> Result<Inventory> {
        self.meter.count_read();
        if self.flaw == Flaw::LookWrites {
            self.meter.count_write();
        }
        let mut inventory = self.inner.list(cx, owner, specs).await?;
        if self.flaw == Flaw::ForgetsFreeIds {
            inventory.slots.retain(|_, slot| *slot != Slot::Absent);
        }
        inventory.slots = inventory.slots.into_iter().map(|(id, slot)| (id, self.worsen(slot))).collect();
        Ok(inventory)
    }

    async fn get(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> Result<Slot> {
        self.meter.count_read();
        match self.inner.get(cx, owner, spec).await {
            Err(_) if self.flaw == Flaw::SilenceIsAbsence => Ok(Slot::Absent),
            slot => slot.map(|slot| self.worsen(slot)),
        }
    }

    async fn ensure(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, birth: &Birth) -> Result<Machine> {
        let before = self.inner.meter().total().write;
        if self.flaw == Flaw::MakesItAgain {
            self.evict(spec.id);
        }
        if self.flaw == Flaw::MarksAfterwards {
            self.inner.plant(spec.id, MemoryMachine::stranger(spec.host.as_str(), birth.uuid, "not yet"));
            cx.clock().sleep(std::time::Duration::from_secs(5)).await;
            self.inner.plant(spec.id, None);
        }
        let end = match self.inner.ensure(cx, owner, spec, birth).await {
            Err(error) if error.kind() == ErrorKind::ForeignOwner && self.flaw == Flaw::TakesTheId => {
                self.evict(spec.id);
                self.inner.ensure(cx, owner, spec, birth).await
            }
            Err(error) if self.flaw == Flaw::AdoptsAnotherBirth => match self.inner.get(cx, owner, spec).await? {
                Slot::Present(machine) if machine.standing.ours().is_some() => Ok(*machine),
                _ => Err(error),
            },
            end => end,
        };
        if self.inner.meter().total().write > before {
            self.meter.count_write();
        }
        match (self.flaw, end) {
            (Flaw::StartsAtBirth, Ok(machine)) => {
                self.inner.power(cx, owner, spec, Power::Running).await?;
                Ok(Machine { power: Power::Running, ..machine })
            }
            (_, end) => end,
        }
    }

    async fn power(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, power: Power) -> Result<()> {
        let slot = self.inner.get(cx, owner, spec).await;
        match (self.flaw, slot) {
            (Flaw::PromisesPower, _) => Ok(()),
            (Flaw::SecondStartFails, Ok(Slot::Present(m))) if m.power == power && power == Power::Running => {
                Err(Error::new(ErrorKind::Conflict, "already running"))
            }
            _ => self.inner.power(cx, owner, spec, power).await,
        }
    }

    async fn destroy(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> Result<Removal> {
        let slot = self.inner.get(cx, owner, spec).await;
        match (self.flaw, &slot) {
            (Flaw::PromisesRemoval, _) | (Flaw::SilenceIsRemoval, Err(_) | Ok(Slot::Unknown(_))) => {
                return Ok(Removal::default());
            }
            (Flaw::TakesTheNeighbour, _) => {
                let next = MachineId::try_from(spec.id.get() + 2)?;
                self.inner.plant(next, None);
            }
            (Flaw::FailsOnAbsent, Ok(Slot::Absent)) => return Err(Error::new(ErrorKind::NotFound, "no such machine")),
            (Flaw::RemovesStrangers, Ok(Slot::Present(_))) => self.evict(spec.id),
            (Flaw::SkipsStrangers, Ok(Slot::Present(machine))) if matches!(machine.standing, Standing::Foreign(_)) => {
                return Ok(Removal::default());
            }
            (Flaw::TrustsTheName, Ok(Slot::Present(machine))) if machine.name == spec.node.as_str() => {
                self.evict(spec.id);
            }
            (Flaw::TakesTheYounger, Ok(Slot::Present(_))) => self.evict(spec.id),
            (Flaw::SkipsTheYounger, Ok(Slot::Present(machine)))
                if machine.standing.ours().is_some_and(|mark| owner.may_remove(mark, machine.dying).is_err()) =>
            {
                return Ok(Removal::default());
            }
            _ => {}
        }
        self.inner.destroy(cx, owner, spec).await
    }
}

/// A house in memory with one host, and the machines that were planted in it.
struct Rig {
    flaw: Flaw,
    house: MemoryMachines,
    clock: Clock,
    planted: Mutex<Vec<(MachineId, MemoryMachine)>>,
}

impl Rig {
    fn new(flaw: Flaw) -> Self {
        let house = MemoryMachines::new().with_host("pve", ByteSize::gib_of(64));
        Self { flaw, house, clock: Clock::new(Pace::Virtual), planted: Mutex::default() }
    }

    fn plant(&self, id: MachineId, machine: MemoryMachine) {
        self.house.plant(id, machine.clone());
        let mut planted = self.planted.lock().unwrap_or_else(PoisonError::into_inner);
        planted.retain(|(known, _)| *known != id);
        planted.push((id, machine));
    }
}

#[async_trait]
impl MachinesHarness for Rig {
    async fn provider(&self) -> Arc<dyn MachineProvider> {
        Arc::new(Broken { flaw: self.flaw, inner: self.house.clone(), meter: Arc::default() })
    }

    fn context(&self) -> Context {
        Context::new(Env { clock: self.clock.clone(), entropy: Arc::new(SeededEntropy::new(1)) })
    }

    fn owner(&self) -> Owner {
        let key = ProjectKey::from_bytes(Secret::new(vec![7; 32]));
        Owner::new(name("blue"), name("blue"), key, self.specs().iter().map(|spec| spec.id))
    }

    fn specs(&self) -> Vec<MachineSpec> {
        (421..=424).map(spec).collect()
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
        let planted = self.planted.lock().unwrap_or_else(PoisonError::into_inner);
        let planted = planted.iter().find(|(known, _)| *known == id).map(|(_, machine)| machine.clone());
        planted.is_some() && self.house.machine(id) == planted
    }

    async fn traces(&self, id: MachineId) -> Vec<String> {
        self.house.machine(id).map(|machine| format!("{machine:?}")).into_iter().collect()
    }
}

fn name(text: &str) -> Name {
    text.parse().expect("a DNS label")
}

fn spec(number: u32) -> MachineSpec {
    let node = name(&format!("blue-{number}"));
    MachineSpec {
        role: NodeRole::Worker,
        id: MachineId::try_from(number).expect("in range"),
        host: name("pve"),
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
            mac: MacAddress::of_node(&name("blue"), &node),
        },
        image: ImageRef { storage: "local".into(), file: "talos.qcow2".into(), url: String::new() },
        node,
    }
}

#[test]
fn the_house_in_memory_keeps_every_rule() {
    let lines = run(machines::all(async || Rig::new(Flaw::None)));
    assert_eq!(lines.len(), RULES.len());
    assert_eq!(lines[0], "conformance machines memory an_empty_house_is_proved_empty ok");
}

#[test]
fn every_rule_catches_the_provider_that_breaks_it() {
    for (flaw, rule, complaint) in CAUGHT {
        catches(rule, &format!("{flaw:?}"), complaint, async move {
            let house = Rig::new(flaw);
            match rule {
                "an_empty_house_is_proved_empty" => machines::an_empty_house_is_proved_empty(&house).await,
                "a_machine_is_born_ours_and_off" => machines::a_machine_is_born_ours_and_off(&house).await,
                "ensure_twice_makes_one" => machines::ensure_twice_makes_one(&house).await,
                "a_taken_id_is_left_alone" => machines::a_taken_id_is_left_alone(&house).await,
                "power_is_idempotent" => machines::power_is_idempotent(&house).await,
                "destroy_leaves_no_trace" => machines::destroy_leaves_no_trace(&house).await,
                "destroy_twice_is_fine" => machines::destroy_twice_is_fine(&house).await,
                "a_stranger_survives" => machines::a_stranger_survives(&house).await,
                "a_younger_life_survives" => machines::a_younger_life_survives(&house).await,
                "silence_is_not_absence" => machines::silence_is_not_absence(&house).await,
                unknown => unreachable!("no rule is called {unknown}"),
            }
        });
    }
    all_rules_are_broken(&RULES, CAUGHT.map(|(_, rule, _)| rule));
}
