//! Machines in memory.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::house::{House, MachineCall, MachineDurations, MemoryMachine, born, judge};
use crate::{
    Birth, ByteSize, Capabilities, Context, Error, ErrorKind, HostState, Inventory, Machine, MachineId,
    MachineProvider, MachineSpec, Meter, Owner, Power, Problem, Removal, Result, Slot, Standing,
};

#[derive(Default)]
struct Shared {
    house: Mutex<House>,
    meter: Meter,
}

/// A house of machines in memory, for the engine's tests.
///
/// Clones are handles on the same house. Time passes on the clock of the
/// [`Context`]; a creation goes on in the house if its caller is dropped, as it
/// does on a real host. Faults are data: [`MemoryMachines::fail_next`],
/// [`MemoryMachines::lose_answer`], [`MemoryMachines::silence`].
#[derive(Clone, Default)]
pub struct MemoryMachines(Arc<Shared>);

impl MemoryMachines {
    /// A house without hosts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a host with so much memory.
    #[must_use]
    pub fn with_host(self, name: &str, memory: ByteSize) -> Self {
        let host = HostState { online: true, memory_total: memory, memory_used: ByteSize::default() };
        self.house().hosts.insert(name.to_owned(), host);
        self
    }

    /// Sets how long things take.
    #[must_use]
    pub fn with_durations(self, durations: MachineDurations) -> Self {
        self.house().durations = durations;
        self
    }

    /// Puts a machine there, behind castle's back, or takes it away.
    pub fn plant(&self, id: MachineId, machine: impl Into<Option<MemoryMachine>>) {
        match machine.into() {
            Some(machine) => self.house().machines.insert(id, machine),
            None => self.house().machines.remove(&id),
        };
    }

    /// What the house really holds under a number.
    #[must_use]
    pub fn machine(&self, id: MachineId) -> Option<MemoryMachine> {
        self.house().machines.get(&id).cloned()
    }

    /// Turns a host off or on. Machines of a host that is off are unknown.
    pub fn set_online(&self, host: &str, online: bool) {
        if let Some(host) = self.house().hosts.get_mut(host) {
            host.online = online;
        }
    }

    /// The next such call fails before it changes anything.
    pub fn fail_next(&self, call: MachineCall, error: Error) {
        self.house().failures.push((call, false, error));
    }

    /// The next such call has its effect, then its answer is lost.
    pub fn lose_answer(&self, call: MachineCall, error: Error) {
        self.house().failures.push((call, true, error));
    }

    /// Every call fails with this kind, or, with `None`, all are answered again.
    pub fn silence(&self, kind: Option<ErrorKind>) {
        self.house().silence = kind;
    }

    /// The removal of this machine leaves something behind, and tells it.
    pub fn leave_behind(&self, id: MachineId, leftover: Problem) {
        self.house().leftovers.insert(id, leftover);
    }

    /// Makes it a house that can do this and no more.
    #[must_use]
    pub fn with_capabilities(self, capabilities: Capabilities) -> Self {
        self.house().capabilities = Some(capabilities);
        self
    }

    /// Lists are neither answered nor refused.
    pub fn hang(&self, hangs: bool) {
        self.house().hangs = hangs;
    }

    /// Every preflight finds this as well.
    pub fn find_in_preflight(&self, finding: Problem) {
        self.house().findings.push(finding);
    }

    /// Lists and looks are answered, and show nothing.
    pub fn blind(&self, blind: bool) {
        self.house().blind = blind;
    }

    fn house(&self) -> MutexGuard<'_, House> {
        // No code that holds the lock can panic halfway through a change.
        self.0.house.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request arrives: it is counted, and perhaps refused.
    fn enter(&self, call: MachineCall) -> Result<MutexGuard<'_, House>> {
        self.0.meter.count_read();
        let mut house = self.house();
        if let Some(kind) = house.silence {
            return Err(Error::new(kind, "the house gives no answer").with("call", format!("{call:?}")));
        }
        house.fault(call, false)?;
        Ok(house)
    }

    /// Proves that the machine of `spec` is ours, as before each change. `None`: absent.
    fn prove(&self, house: &House, cx: &Context, owner: &Owner, spec: &MachineSpec) -> Result<Option<Machine>> {
        let why = match house.slot(spec.id, cx, owner) {
            Slot::Absent => return Ok(None),
            Slot::Present(machine) if machine.standing.ours().is_some() => return Ok(Some(*machine)),
            Slot::Present(machine) if machine.standing == Standing::InCreation => {
                return Err(Error::new(ErrorKind::Conflict, "its creation is under way").with("machine", spec.id));
            }
            Slot::Present(machine) => machine.standing.to_string(),
            Slot::Hidden => "a machine that the token may not see".to_owned(),
            Slot::Unknown(why) => return Err(Error::new(ErrorKind::Unreachable, why).with("machine", spec.id)),
        };
        Err(Error::new(ErrorKind::ForeignOwner, format!("machine {} is not ours: {why}", spec.id))
            .hint("declare another id, or let the administrator remove the machine"))
    }
}

#[async_trait]
impl MachineProvider for MemoryMachines {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn meter(&self) -> &Meter {
        &self.0.meter
    }

    fn capabilities(&self) -> Capabilities {
        let all = Capabilities::none().with_layer2().with_fencing().with_fixed_addresses();
        self.house().capabilities.unwrap_or(all)
    }

    fn validate(&self, spec: &MachineSpec) -> Vec<Problem> {
        match self.house().hosts.contains_key(spec.host.as_str()) {
            true => Vec::new(),
            false => {
                vec![Problem::error("unknown-host", spec.node.as_str(), format!("host `{}` is unknown", spec.host))]
            }
        }
    }

    async fn preflight(&self, _: &Context, specs: &[MachineSpec], _: &Inventory) -> Result<Vec<Problem>> {
        let findings = self.enter(MachineCall::Preflight)?.findings.clone();
        Ok(specs.iter().flat_map(|spec| self.validate(spec)).chain(findings).collect())
    }

    async fn list(&self, cx: &Context, owner: &Owner, specs: &[MachineSpec]) -> Result<Inventory> {
        let hangs = self.house().hangs;
        if hangs {
            std::future::pending::<()>().await;
        }
        let mut house = self.enter(MachineCall::List)?;
        let ids: BTreeSet<_> = owner.reserved().iter().copied().chain(specs.iter().map(|spec| spec.id)).collect();
        let visible = |(id, machine): &(&MachineId, &MemoryMachine)| !ids.contains(id) && !machine.hidden;
        let others =
            house.machines.iter().filter(visible).map(|(id, machine)| judge(*id, machine, cx, owner)).collect();
        let slots = ids.iter().map(|id| (*id, house.slot(*id, cx, owner))).collect();
        let inventory = Inventory { slots, others, hosts: house.hosts() };
        house.fault(MachineCall::List, true)?;
        Ok(inventory)
    }

    async fn get(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> Result<Slot> {
        Ok(self.enter(MachineCall::Get)?.slot(spec.id, cx, owner))
    }

    async fn ensure(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, birth: &Birth) -> Result<Machine> {
        let complete_at = {
            let mut house = self.enter(MachineCall::Ensure)?;
            let under_way = house.machines.get(&spec.id).filter(|machine| {
                matches!(house.slot(spec.id, cx, owner), Slot::Present(seen) if seen.standing == Standing::InCreation)
                    && machine.uuid == Some(birth.uuid)
            });
            let complete_at = match under_way.map(|machine| machine.complete_at) {
                Some(at) => at,
                None => match self.prove(&house, cx, owner, spec)? {
                    Some(machine) => return same_birth(machine, birth),
                    None => {
                        let at = cx.clock().elapsed() + house.durations.birth;
                        let machine = born(owner, spec, birth, at)?;
                        if house.hosts.get(&machine.host).is_none_or(|host| !host.online) {
                            return Err(Error::new(ErrorKind::Unreachable, "the host does not answer")
                                .with("host", &machine.host)
                                .hint("check that the host is up and declared"));
                        }
                        self.0.meter.count_write();
                        house.machines.insert(spec.id, machine);
                        at
                    }
                },
            };
            house.fault(MachineCall::Ensure, true)?;
            complete_at
        };
        cx.waiting(format!("the creation of machine {} is under way", spec.id));
        cx.clock().sleep_until(complete_at).await;
        let house = self.house();
        let machine = self.prove(&house, cx, owner, spec)?.ok_or_else(|| {
            Error::new(ErrorKind::Conflict, "the machine vanished while it was made").with("machine", spec.id)
        })?;
        same_birth(machine, birth)
    }

    async fn power(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, power: Power) -> Result<()> {
        let duration = {
            let mut house = self.enter(MachineCall::Power)?;
            if power == Power::Unknown {
                return Err(Error::new(ErrorKind::InvalidSpec, "a machine can be running or stopped, not unknown"));
            }
            let machine = self.prove(&house, cx, owner, spec)?.ok_or_else(|| {
                Error::new(ErrorKind::NotFound, format!("machine {} does not exist", spec.id)).hint("create it first")
            })?;
            if machine.power == power {
                return Ok(());
            }
            let room = house.hosts().get(&machine.host).map(|host| host.memory_total.saturating_sub(host.memory_used));
            if power == Power::Running && room.is_none_or(|room| room < machine.memory) {
                return Err(Error::new(ErrorKind::Exhausted, "the host has no memory left for the machine")
                    .with("host", &machine.host)
                    .with("machine", spec.id)
                    .hint("stop something on the host, or declare less memory"));
            }
            self.0.meter.count_write();
            house.machines.entry(spec.id).and_modify(|machine| machine.power = power);
            house.fault(MachineCall::Power, true)?;
            house.durations.power
        };
        cx.waiting(format!("machine {} is not {power} yet", spec.id));
        cx.clock().sleep(duration).await;
        Ok(())
    }

    async fn destroy(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> Result<Removal> {
        let in_creation = self.house().machines.get(&spec.id).map(|machine| machine.complete_at);
        if let Some(at) = in_creation.filter(|at| *at > cx.clock().elapsed()) {
            cx.waiting(format!("the creation of machine {} is under way", spec.id));
            cx.clock().sleep_until(at).await;
        }
        let (proved, duration) = {
            let mut house = self.enter(MachineCall::Destroy)?;
            let Some(machine) = self.prove(&house, cx, owner, spec)? else { return Ok(Removal::default()) };
            if let Some(mark) = machine.standing.ours() {
                owner.may_remove(mark, machine.dying)?;
            }
            self.0.meter.count_write();
            house.machines.entry(spec.id).and_modify(|machine| {
                (machine.dying, machine.power) = (true, Power::Stopped);
            });
            (machine.uuid, house.durations.removal)
        };
        cx.waiting(format!("machine {} is not removed yet", spec.id));
        cx.clock().sleep(duration).await;
        // The number may have been handed on meanwhile, perhaps to a machine of the
        // same birth, made again: prove it again.
        let mut house = self.house();
        let mut removal = Removal::default();
        if let Some(machine) = self.prove(&house, cx, owner, spec)?.filter(|machine| machine.uuid == proved) {
            if !machine.dying {
                return Err(Error::new(ErrorKind::Conflict, "it was made again meanwhile").with("machine", spec.id));
            }
            self.0.meter.count_write();
            house.machines.remove(&spec.id);
            removal.leftovers.extend(house.leftovers.get(&spec.id).cloned());
        }
        house.fault(MachineCall::Destroy, true)?;
        Ok(removal)
    }
}

fn same_birth(machine: Machine, birth: &Birth) -> Result<Machine> {
    if machine.uuid != Some(birth.uuid) {
        return Err(Error::new(ErrorKind::ForeignOwner, format!("machine {} is of another birth", machine.id))
            .hint("destroy it first: a machine is not carried from one life into the next"));
    }
    if machine.dying {
        return Err(Error::new(ErrorKind::Conflict, "its destroy had begun").with("machine", machine.id));
    }
    Ok(machine)
}

impl fmt::Debug for MemoryMachines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryMachines").field("machines", &self.house().machines).finish()
    }
}
