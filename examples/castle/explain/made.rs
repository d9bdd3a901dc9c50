//! Samples that castle itself makes while they are printed: real documents are read, real
//! machines judged, real plans made.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use castle_core::options::{DialMap, MaintenanceAccess, ProxmoxAccess, SecretsAccess, Trust};
use castle_core::yaml::Quoting;
use castle_core::{
    ByteSize, Decisions, Env, Goal, Inventory, Limits, Lives, Machine, MachineProvider, MachineSpec, Mark, Milestone,
    Observation, Options, Owner, Pace, Part, Plan, Power, Problem, Project, Secret, Slot, Standing,
};
use castle_proxmox::ProxmoxProvider;

use crate::snippet::Source;

/// The declaration that samples are made of.
const DECLARATION: &str = include_str!("model.yaml");
/// The option document of the same house.
const OPTIONS: &str = include_str!("options.yaml");

/// Texts replaced by others.
pub type Changes = &'static [(&'static str, &'static str)];

fn changed(model: &str, changes: Changes) -> String {
    changes.iter().fold(model.to_owned(), |text, (from, to)| text.replacen(from, to, 1))
}

fn model() -> Project {
    Project::parse(DECLARATION, castle_talos::image).expect("the model is valid: every sample is made of it")
}

/// What castle says of the changed declaration, and the text that it read.
pub fn declared(changes: Changes) -> (Vec<Problem>, Source) {
    judged(changed(DECLARATION, changes))
}

/// What castle says of a declaration with so many workers more, of whom none can be.
pub fn crowded(workers: usize) -> (Vec<Problem>, Source) {
    let worker = |number| format!("  - {{name: W_{number}, vmid: {}, address: 10.0.0, host: pve}}\n", number % 100);
    let workers: String = (0..workers).map(worker).collect();
    judged(DECLARATION.replacen("workers:\n", &format!("workers:\n{workers}"), 1))
}

fn judged(text: String) -> (Vec<Problem>, Source) {
    let problems = match Project::parse(&text, castle_talos::image) {
        Ok(project) => project.warnings,
        Err(problems) => problems,
    };
    (problems, Source { name: "castle.yaml".into(), text, quoting: Quoting::Allowed })
}

/// The files that the option document names.
struct Folder;

impl castle_core::Sources for Folder {
    fn file(&self, path: &Path) -> io::Result<String> {
        match path.extension() {
            Some(_) => Ok("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".into()),
            None => Ok("castle@pve!main=00000000-0000-0000-0000-000000000000".into()),
        }
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

/// What castle says of the changed option document.
pub fn opened(changes: Changes) -> (Vec<Problem>, Source) {
    let text = changed(OPTIONS, changes);
    let read = Options::parse_for(&model(), Path::new("."), &text, Path::new("."), &Folder);
    let source = Source { name: "options.yaml".into(), text, quoting: Quoting::Never };
    (read.err().unwrap_or_default(), source)
}

/// What the provider says of a machine that no castle.yaml can declare. Nobody is asked.
pub fn refused(change: fn(&mut MachineSpec)) -> Vec<Problem> {
    let project = model();
    let mut spec = project.machine("blue-wk-01").expect("the model declares it").clone();
    change(&mut spec);
    let access = ProxmoxAccess {
        url: "https://192.168.1.10:8006".into(),
        token: Secret::new("castle@pve!main=00000000-0000-0000-0000-000000000000".into()),
        trust: Trust::Fingerprints(vec![[0; 32]]),
    };
    let options = Options {
        proxmox: None,
        maintenance: MaintenanceAccess::default(),
        secrets: SecretsAccess::Memory,
        git: None,
        identity: None,
        dial: DialMap::direct(),
        source: None,
        pace: Pace::Real,
        lab: false,
    };
    let provider = ProxmoxProvider::connect(&access, &options, &Env::real(), Limits::default())
        .expect("the access has the form of one, and nothing is connected to");
    provider.validate(&spec)
}

/// What a plan says of a house that looks so.
pub fn planned(goal: Goal, look: fn(&mut Project, &mut Observation)) -> Vec<Problem> {
    let mut project = model();
    let reserved = project.machines.iter().map(|spec| spec.id);
    let slots = project.machines.iter().map(|spec| (spec.id, Slot::Absent)).collect();
    let mut observation = Observation {
        owner: Owner::new(project.project.clone(), project.cluster.name.clone(), None, reserved),
        machines: Part::Known(Inventory { slots, ..Inventory::default() }),
        lives: Part::Known(Lives::default()),
        has_key: Part::Known(true),
        bundle: None,
        nodes: BTreeMap::new(),
        api: None,
        seeds: Default::default(),
        handover: None,
        answered: Default::default(),
        escrowed: Default::default(),
    };
    look(&mut project, &mut observation);
    let until = if goal == Goal::Handover { Milestone::HandoverReady } else { Milestone::MachinesRunning };
    Plan::of(&project, &observation, goal, &Decisions::default(), until).problems
}

/// Lets the number of blue-wk-01 show something else than nothing.
pub fn worker_is(project: &Project, seen: &mut Observation, slot: Slot) {
    let id = project.machine("blue-wk-01").expect("the model declares it").id;
    if let Part::Known(inventory) = &mut seen.machines {
        inventory.slots.insert(id, slot);
    }
}

/// A machine that stands under the number of blue-wk-01.
pub fn machine(project: &Project, standing: Standing) -> Slot {
    let spec = project.machine("blue-wk-01").expect("the model declares it");
    Slot::Present(Box::new(Machine {
        id: spec.id,
        host: spec.host.to_string(),
        name: "desktop".into(),
        power: Power::Running,
        standing,
        uuid: None,
        cores: spec.cores,
        memory: ByteSize::gib_of(8),
        disk: Some(spec.disk),
        lock: None,
        protected: false,
        dying: false,
    }))
}

/// The mark of a machine of this cluster.
pub fn mark(project: &Project, life: u32, node: &str) -> Mark {
    Mark {
        project: project.project.clone(),
        cluster: project.cluster.name.clone(),
        life,
        node: node.parse().expect("the samples name nodes as they are named"),
        generation: 1,
        id: project.machines[1].id,
    }
}
