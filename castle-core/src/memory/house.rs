//! What a house in memory holds, and how it is judged.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use crate::{
    Birth, ByteSize, Capabilities, Context, Error, ErrorKind, Evidence, HostState, Machine, MachineId, MachineSpec,
    Owner, Power, Problem, Result, Slot, Standing,
};

/// A call of [`crate::MachineProvider`], to say which one fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineCall {
    /// [`crate::MachineProvider::preflight`].
    Preflight,
    /// [`crate::MachineProvider::list`].
    List,
    /// [`crate::MachineProvider::get`].
    Get,
    /// [`crate::MachineProvider::ensure`].
    Ensure,
    /// [`crate::MachineProvider::power`].
    Power,
    /// [`crate::MachineProvider::destroy`].
    Destroy,
}

/// How long the house takes, in castle's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineDurations {
    /// From the create call to the complete machine.
    pub birth: Duration,
    /// A change of power.
    pub power: Duration,
    /// From the intent to the removal.
    pub removal: Duration,
}

impl Default for MachineDurations {
    fn default() -> Self {
        Self { birth: Duration::from_secs(40), power: Duration::from_secs(3), removal: Duration::from_secs(5) }
    }
}

/// What the house holds under a number, whoever put it there. Whose it is, is
/// judged anew at each look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryMachine {
    /// The host that runs it.
    pub host: String,
    /// Its name.
    pub name: String,
    /// Its SMBIOS uuid.
    pub uuid: Option<Uuid>,
    /// The text that may hold a mark.
    pub description: String,
    /// Whether it runs.
    pub power: Power,
    /// Virtual CPUs.
    pub cores: u32,
    /// Memory.
    pub memory: ByteSize,
    /// The system disk.
    pub disk: Option<ByteSize>,
    /// A lock the host holds on it.
    pub lock: Option<String>,
    /// Whether a destroy of it had begun.
    pub dying: bool,
    /// Whether the token may not see it.
    pub hidden: bool,
    /// When its creation is complete, on the house's clock.
    pub complete_at: Duration,
}

impl MemoryMachine {
    /// Somebody's machine, running.
    #[must_use]
    pub fn stranger(host: &str, uuid: Uuid, description: impl Into<String>) -> Self {
        Self {
            host: host.to_owned(),
            name: "stranger".to_owned(),
            uuid: Some(uuid),
            description: description.into(),
            power: Power::Running,
            cores: 1,
            memory: ByteSize::gib_of(1),
            disk: Some(ByteSize::gib_of(8)),
            lock: None,
            dying: false,
            hidden: false,
            complete_at: Duration::ZERO,
        }
    }

    /// What a creation leaves that was killed on the host: a number and a lock.
    #[must_use]
    pub fn stub(host: &str) -> Self {
        Self {
            uuid: None,
            power: Power::Stopped,
            disk: None,
            lock: Some("create".to_owned()),
            name: String::new(),
            ..Self::stranger(host, Uuid::nil(), "")
        }
    }
}

/// The house itself: what is there, and what goes wrong next.
#[derive(Default)]
pub(super) struct House {
    pub(super) hosts: BTreeMap<String, HostState>,
    pub(super) machines: BTreeMap<MachineId, MemoryMachine>,
    pub(super) durations: MachineDurations,
    pub(super) silence: Option<ErrorKind>,
    pub(super) blind: bool,
    pub(super) failures: Vec<(MachineCall, bool, Error)>, // call, after its effect, error
    pub(super) leftovers: BTreeMap<MachineId, Problem>,
    pub(super) findings: Vec<Problem>,
    pub(super) capabilities: Option<Capabilities>,
    pub(super) hangs: bool,
}

impl House {
    pub(super) fn fault(&mut self, call: MachineCall, after: bool) -> Result<()> {
        match self.failures.iter().position(|(which, when, _)| (*which, *when) == (call, after)) {
            Some(index) => Err(self.failures.remove(index).2),
            None => Ok(()),
        }
    }

    pub(super) fn slot(&self, id: MachineId, cx: &Context, owner: &Owner) -> Slot {
        match self.machines.get(&id) {
            // An empty list proves nothing, whatever the house holds.
            _ if self.blind => Slot::Unknown("the list is empty, and nothing proves that it is complete".to_owned()),
            None => Slot::Absent,
            Some(machine) if machine.hidden => Slot::Hidden,
            Some(machine) if self.hosts.get(&machine.host).is_none_or(|host| !host.online) => {
                Slot::Unknown(format!("host `{}` does not answer for it", machine.host))
            }
            Some(machine) => Slot::Present(Box::new(judge(id, machine, cx, owner))),
        }
    }

    pub(super) fn hosts(&self) -> BTreeMap<String, HostState> {
        let mut hosts = self.hosts.clone();
        for machine in self.machines.values().filter(|machine| machine.power == Power::Running) {
            if let Some(host) = hosts.get_mut(&machine.host) {
                host.memory_used = host.memory_used + machine.memory;
            }
        }
        hosts
    }
}

pub(super) fn judge(id: MachineId, machine: &MemoryMachine, cx: &Context, owner: &Owner) -> Machine {
    let evidence = Evidence { id, uuid: machine.uuid, description: &machine.description };
    let in_creation = machine.complete_at > cx.clock().elapsed();
    let standing = match owner.judge(&evidence) {
        Standing::Ours(_) if in_creation => Standing::InCreation,
        Standing::Foreign(_) if machine.lock.as_deref() == Some("create") && machine.description.is_empty() => {
            Standing::Stub(format!("the administrator can remove machine {id}"))
        }
        standing => standing,
    };
    Machine {
        id,
        host: machine.host.clone(),
        name: machine.name.clone(),
        power: machine.power,
        standing,
        uuid: machine.uuid,
        cores: machine.cores,
        memory: machine.memory,
        disk: machine.disk.filter(|_| !in_creation),
        lock: if in_creation { Some("create".to_owned()) } else { machine.lock.clone() },
        protected: false,
        dying: machine.dying,
    }
}

pub(super) fn born(owner: &Owner, spec: &MachineSpec, birth: &Birth, complete_at: Duration) -> Result<MemoryMachine> {
    let description = owner.mark(spec, birth).ok_or_else(|| {
        Error::new(ErrorKind::EvidenceMissing, "without the project key no machine can be marked, so none is made")
            .hint("restore the secret store")
    })?;
    Ok(MemoryMachine {
        name: spec.node.to_string(),
        power: Power::Stopped,
        cores: spec.cores,
        memory: spec.memory,
        disk: Some(spec.disk),
        complete_at,
        ..MemoryMachine::stranger(spec.host.as_str(), birth.uuid, description)
    })
}
