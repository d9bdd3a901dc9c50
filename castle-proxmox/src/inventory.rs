//! One look at everything: the reserved numbers, the hosts, and what else is there.

use std::collections::{BTreeMap, BTreeSet};

use castle_core::{
    ByteSize, Context, HostState, Inventory, Machine, MachineId, MachineSpec, Owner, Power, Slot, Standing,
};

use crate::Result;
use crate::client::answers;
use crate::config::Tags;
use crate::machines::{Sight, entry_of, slot_of};
use crate::provider::ProxmoxProvider;
use crate::watch::power_of;
use crate::wire::{Guest, NodeMemory, NodeStatus, Resource};

/// Reads in flight at once. More gain nothing: a host has three workers.
const READS_AT_ONCE: usize = 8;

/// Power states by node and number. A node that did not answer is missing.
type PowerByNode = BTreeMap<String, BTreeMap<u64, Power>>;

impl ProxmoxProvider {
    /// Looks at every reserved number, at the hosts, and at what else can be seen.
    ///
    /// A number that cannot be read is [`Slot::Unknown`], and no list that is
    /// short, empty or refused makes one [`Slot::Absent`].
    pub(crate) async fn take_inventory(
        &self,
        _cx: &Context,
        owner: &Owner,
        specs: &[MachineSpec],
    ) -> castle_core::Result<Inventory> {
        // Both to their end: one that is dropped halfway may or may not be sent.
        let (listed, nodes) = futures::join!(self.list_machines(), self.list_nodes());
        let (listed, nodes) = (listed?, nodes?);
        let declared: BTreeSet<&str> = specs.iter().map(|spec| spec.host.as_str()).collect();
        let (hosts, power) =
            futures::join!(self.host_states(&declared, &nodes), self.power_lists(&declared, &listed, &nodes));

        let mut reserved: BTreeMap<MachineId, &str> = specs.iter().map(|spec| (spec.id, spec.host.as_str())).collect();
        if let Some(first) = declared.first() {
            for id in owner.reserved() {
                reserved.entry(*id).or_insert(first);
            }
        }
        let slots = self.slots(owner, &reserved, &listed, &power).await?;
        let strangers = listed.iter().filter_map(|entry| {
            let id = MachineId::try_from(u32::try_from(entry.vmid?).ok()?).ok()?;
            (!reserved.contains_key(&id)).then_some((id, entry))
        });
        let others = strangers.map(|(id, entry)| self.other(owner, id, entry, &power)).collect();
        let others = answers(READS_AT_ONCE, others).await;
        Ok(Inventory { slots, others, hosts })
    }

    pub(crate) async fn list_nodes(&self) -> Result<Vec<Resource>> {
        self.client.get(&["cluster", "resources"], &[("type", "node".to_owned())]).await
    }

    async fn slots(
        &self,
        owner: &Owner,
        reserved: &BTreeMap<MachineId, &str>,
        listed: &[Resource],
        power: &PowerByNode,
    ) -> Result<BTreeMap<MachineId, Slot>> {
        let seen: Vec<(MachineId, &str, &Resource)> =
            reserved.iter().filter_map(|(id, host)| Some((*id, *host, entry_of(listed, *id)?))).collect();
        let sights = answers(READS_AT_ONCE, seen.iter().map(|(id, _, entry)| self.listed(owner, *id, entry)).collect());
        let told = |(id, host): (MachineId, &str), sight| (id, told(sight, id, host, power));
        let mut slots: BTreeMap<MachineId, Slot> =
            seen.iter().zip(sights.await).map(|((id, host, _), sight)| told((*id, host), sight)).collect();

        let unlisted: Vec<(MachineId, &str)> =
            reserved.iter().map(|(id, host)| (*id, *host)).filter(|(id, _)| !slots.contains_key(id)).collect();
        if unlisted.is_empty() {
            return Ok(slots);
        }
        let taken = answers(READS_AT_ONCE, unlisted.iter().map(|(id, _)| self.is_taken(*id)).collect()).await;
        // Only a list that was read after the numbers were said to be free can
        // prove that nothing was on its way.
        let after = self.list_machines().await?;
        let rest = unlisted.iter().zip(taken).map(|((id, host), taken)| self.decide(owner, *id, host, taken, &after));
        let sights = answers(READS_AT_ONCE, rest.collect()).await;
        slots.extend(unlisted.iter().zip(sights).map(|(place, sight)| told(*place, sight)));
        Ok(slots)
    }

    async fn decide(
        &self,
        owner: &Owner,
        id: MachineId,
        host: &str,
        taken: Result<bool>,
        after: &[Resource],
    ) -> Result<Sight> {
        self.resolve(owner, id, host, taken?, after).await
    }

    /// A machine outside of the reserved numbers. Its configuration is read only
    /// if a tag says that it might be of interest.
    async fn other(&self, owner: &Owner, id: MachineId, entry: &Resource, power: &PowerByNode) -> Machine {
        let tagged = Tags::parse(entry.tags.as_deref().unwrap_or("")).name_castle();
        let why = if tagged {
            match self.listed(owner, id, entry).await {
                Ok(Sight::Seen(seen)) => return seen.machine(id, power_in(power, &seen.node, id)),
                Ok(Sight::Busy(upid)) => format!("task {upid} works on it"),
                Ok(Sight::Stub(text)) => text,
                Ok(Sight::Hidden | Sight::Absent) => "its configuration may not be read".to_owned(),
                Err(error) => format!("its configuration was not read: {error}"),
            }
        } else {
            "it carries no tag of castle".to_owned()
        };
        let node = entry.node.clone().unwrap_or_default();
        Machine {
            id,
            power: power_in(power, &node, id),
            host: node,
            name: entry.name.clone().unwrap_or_default(),
            standing: Standing::Foreign(why),
            uuid: None,
            cores: u32::try_from(entry.maxcpu.unwrap_or(0)).unwrap_or(u32::MAX),
            memory: ByteSize::bytes(entry.maxmem.unwrap_or(0)),
            disk: entry.maxdisk.filter(|bytes| *bytes > 0).map(ByteSize::bytes),
            lock: entry.lock.clone(),
            protected: false,
            dying: false,
        }
    }

    async fn host_states(&self, declared: &BTreeSet<&str>, nodes: &[Resource]) -> BTreeMap<String, HostState> {
        let known = declared.iter().filter_map(|host| Some((*host, node_of(nodes, host)?)));
        let states = known.map(|(host, entry)| self.host_state(host, entry)).collect();
        answers(READS_AT_ONCE, states).await.into_iter().collect()
    }

    async fn host_state(&self, host: &str, entry: &Resource) -> (String, HostState) {
        let online = is_online(entry);
        let mut memory = NodeMemory::default();
        if online {
            match self.node_status(host).await {
                Ok(status) => memory = status.memory,
                // The membership list carries older figures; better than none.
                Err(error) => tracing::debug!(%error, host, "the live figures are missing"),
            }
        }
        let state = HostState {
            online,
            memory_total: ByteSize::bytes(memory.total.or(entry.maxmem).unwrap_or(0)),
            memory_used: ByteSize::bytes(memory.used.or(entry.mem).unwrap_or(0)),
        };
        (host.to_owned(), state)
    }

    async fn node_status(&self, host: &str) -> Result<NodeStatus> {
        self.client.get(&["nodes", host, "status"], &[]).await
    }

    /// The power states, asked from each declared host that is up and carries
    /// machines. `/cluster/resources` tells them ten seconds late.
    async fn power_lists(&self, declared: &BTreeSet<&str>, listed: &[Resource], nodes: &[Resource]) -> PowerByNode {
        let carries = |host: &str| listed.iter().any(|entry| entry.node.as_deref() == Some(host));
        let asked: Vec<&str> = declared
            .iter()
            .copied()
            .filter(|host| carries(host) && node_of(nodes, host).is_some_and(is_online))
            .collect();
        let lists = answers(READS_AT_ONCE, asked.iter().map(|host| self.list_guests(host)).collect()).await;
        asked
            .iter()
            .zip(lists)
            .filter_map(|(host, guests)| {
                // Without an answer the power is unknown, which is what the slots say.
                let guests = guests.inspect_err(|error| tracing::debug!(%error, host, "no power states")).ok()?;
                let states = guests.iter().filter_map(|guest| Some((guest.vmid?, power_of(guest)))).collect();
                Some(((*host).to_owned(), states))
            })
            .collect()
    }

    async fn list_guests(&self, host: &str) -> Result<Vec<Guest>> {
        self.client.get(&["nodes", host, "qemu"], &[]).await
    }
}

fn told(sight: Result<Sight>, id: MachineId, host: &str, power: &PowerByNode) -> Slot {
    match sight {
        Ok(sight) => {
            let state = match &sight {
                Sight::Seen(seen) => power_in(power, &seen.node, id),
                _ => Power::Unknown,
            };
            slot_of(sight, id, host, state)
        }
        Err(error) => Slot::Unknown(castle_core::Error::from(error).chain()),
    }
}

fn power_in(power: &PowerByNode, node: &str, id: MachineId) -> Power {
    power.get(node).and_then(|states| states.get(&u64::from(id.get()))).copied().unwrap_or(Power::Unknown)
}

fn node_of<'a>(nodes: &'a [Resource], host: &str) -> Option<&'a Resource> {
    nodes.iter().find(|entry| entry.node.as_deref() == Some(host))
}

fn is_online(entry: &Resource) -> bool {
    entry.status.as_deref() == Some("online")
}
