//! Looking at one number: is there a machine, and whose is it?

use castle_core::Context;
use castle_core::words::heard;
use castle_core::{ByteSize, ErrorKind, Evidence, Machine, MachineId, MachineSpec, Owner, Power, Slot, Standing};

use crate::config::{Config, DYING};
use crate::provider::ProxmoxProvider;
use crate::task::{TaskState, Upid};
use crate::watch::power_of;
use crate::wire::{Guest, Resource, TaskEntry};
use crate::{Error, Refusal, Result};

/// How many tasks of one machine are read; the newest come first.
const TASKS_READ: u32 = 50;

/// What is behind one number.
#[derive(Debug)]
pub(crate) enum Sight {
    /// Nothing: the number is free, and no list read afterwards shows it.
    Absent,
    /// A machine that was read and judged.
    Seen(Box<Seen>),
    /// A task of our token works on it, and it cannot be read meanwhile.
    Busy(Upid),
    /// What a dead task left behind; the text is for the administrator.
    Stub(String),
    /// Something that the token may not see.
    Hidden,
}

/// A machine that was read.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The node that owns its configuration.
    pub node: String,
    pub config: Config,
    pub standing: Standing,
}

impl Seen {
    /// The machine as the port tells it.
    pub(crate) fn machine(&self, id: MachineId, power: Power) -> Machine {
        let config = &self.config;
        Machine {
            id,
            host: self.node.clone(),
            name: config.get("name").unwrap_or("").to_owned(),
            power,
            standing: self.standing.clone(),
            uuid: config.uuid(),
            cores: config.cores(),
            memory: config.memory(),
            disk: config.disk(),
            lock: config.lock().map(str::to_owned),
            protected: config.protected(),
            dying: config.tags().has(DYING),
        }
    }
}

impl Error {
    /// Whether a read that failed so may mean that the machine is not there. A
    /// token that is confined to a pool may not see machines outside of it, so
    /// for it a missing machine and a hidden one look alike.
    pub(crate) fn may_mean_absence(&self) -> bool {
        matches!(self.refusal(), Some(Refusal::NoSuchMachine | Refusal::Forbidden { .. }))
    }
}

impl ProxmoxProvider {
    /// Looks at one reserved number, as the port asks it.
    pub(crate) async fn slot(&self, _cx: &Context, owner: &Owner, spec: &MachineSpec) -> castle_core::Result<Slot> {
        let sight = self.sight(owner, spec.id, spec.host.as_str()).await?;
        let power = match &sight {
            Sight::Seen(seen) => self.power_now(&seen.node, spec.id).await?,
            _ => Power::Unknown,
        };
        Ok(slot_of(sight, spec.id, spec.host.as_str(), power))
    }

    /// Reads a configuration from the node that should own it.
    pub(crate) async fn read_config(&self, node: &str, id: MachineId) -> Result<Config> {
        self.client.get(&["nodes", node, "qemu", &id.to_string(), "config"], &[]).await
    }

    /// The power state, from the node itself.
    pub(crate) async fn power_now(&self, node: &str, id: MachineId) -> Result<Power> {
        let guest: Guest = self.client.get(&["nodes", node, "qemu", &id.to_string(), "status", "current"], &[]).await?;
        Ok(power_of(&guest))
    }

    /// Every machine and container that the token may see.
    pub(crate) async fn list_machines(&self) -> Result<Vec<Resource>> {
        self.client.get(&["cluster", "resources"], &[("type", "vm".to_owned())]).await
    }

    /// Whether any machine of the cluster holds the number, seen or not: the one
    /// question that rights do not filter.
    pub(crate) async fn is_taken(&self, id: MachineId) -> Result<bool> {
        let free: Result<serde_json::Value> =
            self.client.get(&["cluster", "nextid"], &[("vmid", id.to_string())]).await;
        match free {
            Ok(_) => Ok(false),
            Err(error) if error.refusal() == Some(&Refusal::AlreadyExists) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Looks only where the machine should be. `None`: it cannot be read there,
    /// which proves nothing.
    pub(crate) async fn glance(&self, owner: &Owner, id: MachineId, host: &str) -> Result<Option<Sight>> {
        match self.read_config(host, id).await {
            Ok(config) => self.judge(owner, id, host, config).await.map(Some),
            Err(error) if error.may_mean_absence() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks everywhere, and proves absence.
    ///
    /// The order of the reads is the proof: the number was free, and a list that
    /// was read **afterwards** does not show it. A list read before could miss a
    /// machine that was on its way.
    pub(crate) async fn sight(&self, owner: &Owner, id: MachineId, host: &str) -> Result<Sight> {
        if let Some(sight) = self.glance(owner, id, host).await? {
            return Ok(sight);
        }
        let taken = self.is_taken(id).await?;
        let listed = self.list_machines().await?;
        self.resolve(owner, id, host, taken, &listed).await
    }

    /// Decides about a number that could not be read on its host, by whether it
    /// was taken and by a list that was read after that.
    pub(crate) async fn resolve(
        &self,
        owner: &Owner,
        id: MachineId,
        host: &str,
        taken: bool,
        listed: &[Resource],
    ) -> Result<Sight> {
        match (taken, entry_of(listed, id)) {
            (false, None) => Ok(Sight::Absent),
            (true, None) => self.unseen(owner, id, host).await,
            (_, Some(entry)) => self.listed(owner, id, entry).await,
        }
    }

    /// Reads a machine where a list says it is.
    pub(crate) async fn listed(&self, owner: &Owner, id: MachineId, entry: &Resource) -> Result<Sight> {
        let node = entry.node.as_deref().unwrap_or("");
        if entry.kind.as_deref() != Some("qemu") {
            let kind = entry.kind.as_deref().unwrap_or("something");
            let standing = Standing::Foreign(format!("it is no virtual machine but of type {kind}"));
            return Ok(Sight::Seen(Box::new(Seen { node: node.to_owned(), config: Config::default(), standing })));
        }
        match self.read_config(node, id).await {
            Ok(config) => self.judge(owner, id, node, config).await,
            Err(error) if matches!(error.refusal(), Some(Refusal::Forbidden { .. })) => Ok(Sight::Hidden),
            Err(error) => Err(error),
        }
    }

    async fn judge(&self, owner: &Owner, id: MachineId, node: &str, config: Config) -> Result<Sight> {
        let evidence = Evidence { id, uuid: config.uuid(), description: config.description() };
        let standing = owner.judge(&evidence);
        // These locks are held by tasks that write the whole configuration at
        // their end: until then there is a number and little else.
        match config.lock().filter(|lock| matches!(*lock, "create" | "clone" | "destroyed")) {
            Some(lock) if standing.ours().is_none() => self.half_made(node, id, lock).await,
            _ => Ok(Sight::Seen(Box::new(Seen { node: node.to_owned(), config, standing }))),
        }
    }

    async fn half_made(&self, node: &str, id: MachineId, lock: &str) -> Result<Sight> {
        let tasks = self.tasks_on(node, id).await?;
        Ok(match running(&tasks) {
            Some(upid) => Sight::Busy(upid.clone()),
            None => Sight::Stub(format!(
                "machine {id} on {node} is locked ({lock}), and no task of this token works on it; if nobody else's \
                 does, remove it as root: `qm unlock {id} && qm destroy {id}`"
            )),
        })
    }

    /// A number that is taken by something that no list shows. While a machine
    /// is made it is not in its pool yet, and while it is removed no more.
    async fn unseen(&self, owner: &Owner, id: MachineId, host: &str) -> Result<Sight> {
        let tasks = self.tasks_on(host, id).await?;
        if let Some(upid) = running(&tasks) {
            return Ok(Sight::Busy(upid.clone()));
        }
        let ended = tasks.iter().filter(|(upid, _)| matches!(upid.kind.as_str(), "qmcreate" | "qmdestroy"));
        let Some((upid, TaskState::Ended(exit))) = ended.max_by_key(|(upid, _)| upid.start) else {
            return Ok(Sight::Hidden);
        };
        // It may have ended after the number was found taken.
        if let Some(sight) = self.glance(owner, id, host).await? {
            return Ok(sight);
        }
        if !self.is_taken(id).await? {
            let listed = self.list_machines().await?;
            return match entry_of(&listed, id) {
                None => Ok(Sight::Absent),
                Some(entry) => self.listed(owner, id, entry).await,
            };
        }
        if exit == "OK" || exit.starts_with("WARNINGS") {
            return Ok(Sight::Hidden);
        }
        Ok(Sight::Stub(format!(
            "machine {id} on {host} is taken by something that the token may not see, and our {} of it ended with \
             {:?}; look with `qm config {id}`, and if it is what was left, remove it as root: `qm unlock {id}; qm \
             destroy {id}`",
            upid.kind,
            heard(exit),
        )))
    }

    /// The tasks of our token that worked or work on a machine.
    pub(crate) async fn tasks_on(&self, node: &str, id: MachineId) -> Result<Vec<(Upid, TaskState)>> {
        let query = [("source", "all".to_owned()), ("vmid", id.to_string()), ("limit", TASKS_READ.to_string())];
        let list: Vec<TaskEntry> = self.client.get(&["nodes", node, "tasks"], &query).await?;
        let named = |entry: &TaskEntry| Some((entry.upid.as_deref()?.parse().ok()?, TaskState::of_list(entry)));
        Ok(list.iter().filter_map(named).collect())
    }

    /// Waits for a task of ours that is already under way, however it ends.
    ///
    /// # Errors
    ///
    /// Only what says nothing about the task itself.
    pub(crate) async fn outlast(&self, cx: &Context, upid: &Upid) -> Result<()> {
        let why = format!("{} of {}, which is already under way", upid.kind, upid.id);
        match self.finish(cx, upid, &why).await {
            Err(Error::TaskFailed { .. } | Error::TaskLost { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The running task that began last.
pub(crate) fn running(tasks: &[(Upid, TaskState)]) -> Option<&Upid> {
    tasks
        .iter()
        .filter(|(_, state)| *state == TaskState::Running)
        .map(|(upid, _)| upid)
        .max_by(|one, other| (one.start, one.as_str()).cmp(&(other.start, other.as_str())))
}

pub(crate) fn entry_of(listed: &[Resource], id: MachineId) -> Option<&Resource> {
    listed.iter().find(|entry| entry.vmid == Some(u64::from(id.get())))
}

/// What a sight means for the inventory.
pub(crate) fn slot_of(sight: Sight, id: MachineId, host: &str, power: Power) -> Slot {
    let bare = |standing| Machine {
        id,
        host: host.to_owned(),
        name: String::new(),
        power: Power::Unknown,
        standing,
        uuid: None,
        cores: 0,
        memory: ByteSize::default(),
        disk: None,
        lock: None,
        protected: false,
        dying: false,
    };
    match sight {
        Sight::Absent => Slot::Absent,
        Sight::Hidden => Slot::Hidden,
        Sight::Seen(seen) => Slot::Present(Box::new(seen.machine(id, power))),
        Sight::Busy(upid) if upid.kind == "qmcreate" => Slot::Present(Box::new(bare(Standing::InCreation))),
        Sight::Busy(upid) => Slot::Unknown(format!("task {upid} works on it")),
        Sight::Stub(text) => Slot::Present(Box::new(bare(Standing::Stub(text)))),
    }
}

/// The refusal to touch what is not proved ours.
pub(crate) fn not_ours(spec: &MachineSpec, why: impl std::fmt::Display) -> castle_core::Error {
    castle_core::Error::new(ErrorKind::ForeignOwner, format!("machine {} is left alone: {why}", spec.id))
        .with("node", &spec.node)
        .with("host", &spec.host)
        .hint(format!("see what it is with `qm config {}`, or declare another id for {}", spec.id, spec.node))
}

/// The refusal of a number that is taken by something that cannot be read.
pub(crate) fn hidden(spec: &MachineSpec) -> castle_core::Error {
    not_ours(spec, "its number is taken by something that the token may not see")
}

/// The refusal of what a dead task left behind.
pub(crate) fn stub(spec: &MachineSpec, text: &str) -> castle_core::Error {
    castle_core::Error::new(ErrorKind::ForeignOwner, format!("machine {} is half made", spec.id))
        .with("node", &spec.node)
        .with("host", &spec.host)
        .hint(text)
}
