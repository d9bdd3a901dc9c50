//! Reality, as last seen.

use std::collections::{BTreeMap, BTreeSet};

use crate::handover::{HandoverState, SeedPart};
use crate::{
    CniState, Credential, Inventory, KubeNode, Lives, MachineId, MachineSpec, NodeState, Owner, Project, Slot,
};

/// One part of reality: known, or not and why. What is not known is never read
/// as absent, and never blocks what does not need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<T> {
    /// As seen.
    Known(T),
    /// The one who knows did not say.
    Unknown(String),
}

impl<T> Part<T> {
    /// What is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }
}

/// What the Kubernetes API shows while it serves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiView {
    /// The nodes.
    pub nodes: Vec<KubeNode>,
    /// The pods that carry the network.
    pub cni: CniState,
}

/// Everything castle saw in one look.
#[derive(Debug, Clone)]
pub struct Observation {
    /// On whose behalf it looked: with the project key, if the store gave it.
    pub owner: Owner,
    /// The machines.
    pub machines: Part<Inventory>,
    /// The lives. Unknown when the secret store is silent.
    pub lives: Part<Lives>,
    /// Whether the store holds a project key; unknown when it is silent.
    pub has_key: Part<bool>,
    /// Whether the secrets of the life that goes on could be read; `None` if nobody
    /// asked.
    pub bundle: Option<Part<()>>,
    /// What answers on the machines of the current life that run. Machines that do
    /// not run, or that nobody asked, are missing.
    pub nodes: BTreeMap<MachineId, NodeState>,
    /// What the API shows; `None` if nobody asked.
    pub api: Option<Part<ApiView>>,
    /// The parts of the seed that stand, as far as somebody asked.
    pub seeds: BTreeSet<SeedPart>,
    /// How far the handover is; `None` if nobody asked.
    pub handover: Option<Part<HandoverState>>,
    /// The declared probes that were answered, by name, as far as somebody asked.
    pub answered: BTreeSet<String>,
    /// The credentials that are where others look for them, and valid, as far as
    /// somebody asked.
    pub escrowed: BTreeSet<Credential>,
}

impl Observation {
    /// The declared machines, by their place in the project, that are proved absent.
    pub(crate) fn absent(&self, project: &Project) -> BTreeSet<usize> {
        let Part::Known(inventory) = &self.machines else { return BTreeSet::new() };
        let is_absent = |spec: &MachineSpec| matches!(inventory.slots.get(&spec.id), Some(Slot::Absent));
        (0..project.machines.len()).filter(|&machine| is_absent(&project.machines[machine])).collect()
    }

    /// What is known before a node is asked.
    pub(crate) fn begun(owner: Owner, machines: Part<Inventory>, lives: Part<Lives>, has_key: Part<bool>) -> Self {
        Self {
            owner,
            machines,
            lives,
            has_key,
            bundle: None,
            nodes: BTreeMap::new(),
            api: None,
            seeds: BTreeSet::new(),
            handover: None,
            answered: BTreeSet::new(),
            escrowed: BTreeSet::new(),
        }
    }

    /// The same without what answers on the machines.
    pub(crate) fn of_machines_alone(&self) -> Self {
        Self::begun(self.owner.clone(), self.machines.clone(), self.lives.clone(), self.has_key.clone())
    }
}
