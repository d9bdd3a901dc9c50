//! A house for tests: a lab, a declaration, and ways in.

use std::pin::pin;
use std::sync::Arc;

use castle_core::{
    Birth, Context, ImageRef, Limits, Machine, MachineProvider, MachineSpec, Options, Owner, Pace, Problem, Project,
    ProjectKey, Result, Secret, Slot,
};
use castle_lab::faults::{Fault, FaultEffect};
use castle_lab::{Lab, RunId, World};
use castle_proxmox::ProxmoxProvider;
use futures::future::{Either, select};

/// The token that the lab's house gives to castle.
pub const TOKEN: &str = "castle@pve!main";

const DOCUMENT: &str = r#"
apiVersion: castle/v1alpha1
project: blue
platform: proxmox
cluster: {name: blue, talos: v1.13.9, kubernetes: v1.36.3, contract: "1.13"}
image: {extensions: [], storage: local}
network: {subnet: 192.168.1.0/24, gateway: 192.168.1.1, dns: [192.168.1.1], bridge: vmbr0}
hosts: {pve: {memory: 32GiB, reserve: 4GiB}}
defaults: {pool: blue, storage: local-lvm, cores: 2, memory: 4GiB, disk: 20GiB}
control_planes:
  - {name: blue-cp-01, vmid: 421, address: 192.168.1.211, host: pve}
workers:
  - {name: blue-wk-01, vmid: 431, address: 192.168.1.214, host: pve}
  - {name: blue-wk-02, vmid: 432, address: 192.168.1.215, host: pve}
  - {name: blue-wk-03, vmid: 433, address: 192.168.1.216, host: pve}
"#;

/// The declaration: four machines on one host.
pub fn project() -> Project {
    let naming = |_: &castle_core::Cluster, image: &castle_core::ImageSpec| {
        Ok(ImageRef {
            storage: image.storage.clone(),
            file: "talos-test.qcow2".into(),
            url: "https://factory.example/talos-test.qcow2".into(),
        })
    };
    Project::parse(DOCUMENT, naming).unwrap_or_else(|problems| panic!("the project is valid: {problems:#?}"))
}

/// A lab with its declaration.
pub struct House {
    pub lab: Lab,
    pub project: Project,
}

/// One engine run in a house: a provider with a source address of its own.
pub struct Guest {
    pub run: RunId,
    pub provider: ProxmoxProvider,
    pub cx: Context,
    pub owner: Owner,
}

impl House {
    pub async fn open() -> Self {
        Self::paced(Pace::Virtual).await
    }

    pub async fn paced(pace: Pace) -> Self {
        let project = project();
        let lab = Lab::builder(&project).seed(7).pace(pace).start().await.expect("a lab");
        Self { lab, project }
    }

    pub fn specs(&self) -> &[MachineSpec] {
        &self.project.machines
    }

    pub fn owner(&self) -> Owner {
        let key = ProjectKey::from_bytes(Secret::new(vec![7; 32])).expect("32 bytes");
        let ids = self.specs().iter().map(|spec| spec.id);
        Owner::new(self.project.project.clone(), self.project.cluster.name.clone(), Some(key), ids)
    }

    /// The next engine run.
    pub fn enter(&self) -> Guest {
        self.enter_with(|options| options)
    }

    /// The next engine run, with other options than the lab's.
    pub fn enter_with(&self, change: impl FnOnce(Options) -> Options) -> Guest {
        let run = self.lab.new_run();
        let options = change(self.lab.options(run).expect("a Proxmox server"));
        let access = options.proxmox.clone().expect("access to Proxmox");
        let env = self.lab.env(run);
        let provider = ProxmoxProvider::connect(&access, &options, &env, Limits::default()).expect("a provider");
        Guest { run, provider, cx: Context::new(env).for_step("test"), owner: self.owner() }
    }

    pub fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        self.lab.with_world(look)
    }

    /// Lets a request of that kind fail so, once.
    pub fn fault(&self, kind: &str, effect: FaultEffect) {
        self.lab.faults().add(Fault { kind: Some(kind.into()), ..Fault::of(effect) });
    }

    /// The kinds of the requests that changed something, in their order.
    pub fn writes(&self, run: RunId) -> Vec<String> {
        let entries = self.lab.journal().entries();
        entries.into_iter().filter(|entry| entry.run == run && entry.write).map(|entry| entry.kind).collect()
    }

    /// What the house still holds under a number.
    pub fn traces(&self, id: u32) -> Vec<String> {
        self.world(|world| {
            let vm = world.proxmox.vms.contains_key(&id).then(|| format!("configuration {id}"));
            let pooled = world.proxmox.pool_of(id).map(|pool| format!("{id} in pool {pool}"));
            let marker = format!("vm-{id}-");
            let volumes = world.proxmox.storages.values().flat_map(|storage| storage.volumes.keys());
            let volumes = volumes.filter(|name| name.contains(&marker)).map(|name| format!("volume {name}"));
            vm.into_iter().chain(pooled).chain(volumes).collect()
        })
    }

    /// Drives an engine until it is done or its power is cut. A cut engine would
    /// ask a silent house for ever: its deadline is the caller's.
    pub async fn until_cut<T>(&self, engine: impl Future<Output = T>) -> Option<T> {
        match select(pin!(self.lab.cut_happened()), pin!(engine)).await {
            Either::Left(_) => None,
            Either::Right((end, _)) => Some(end),
        }
    }

    /// Nothing of anybody else was written to, and no invariant broke.
    pub fn is_sound(&self) {
        let violations = self.world(|world| world.violations().to_vec());
        assert!(violations.is_empty(), "{violations:#?}");
        self.world(|world| assert!(world.foreign_touches().is_empty(), "{:#?}", world.foreign_touches()));
    }
}

impl Guest {
    pub fn birth(&self, spec: &MachineSpec) -> Birth {
        Birth::of("test", 1, &spec.node, 1)
    }

    pub async fn preflight(&self, specs: &[MachineSpec]) -> Result<Vec<Problem>> {
        let inventory = self.provider.list(&self.cx, &self.owner, specs).await?;
        self.provider.preflight(&self.cx, specs, &inventory).await
    }

    pub async fn ensure(&self, spec: &MachineSpec) -> Result<Machine> {
        self.provider.ensure(&self.cx, &self.owner, spec, &self.birth(spec)).await
    }

    pub async fn born(&self, spec: &MachineSpec) -> Machine {
        self.ensure(spec).await.unwrap_or_else(|error| panic!("{} is born: {error:#?}\n{}", spec.id, error.chain()))
    }

    pub async fn destroy(&self, spec: &MachineSpec) -> Result<castle_core::Removal> {
        self.provider.destroy(&self.cx, &self.owner, spec).await
    }

    pub async fn slot(&self, spec: &MachineSpec) -> Slot {
        self.provider.get(&self.cx, &self.owner, spec).await.unwrap_or_else(|error| panic!("{}", error.chain()))
    }

    pub async fn power(&self, spec: &MachineSpec, power: castle_core::Power) -> Result<()> {
        self.provider.power(&self.cx, &self.owner, spec, power).await
    }

    pub fn shared(self) -> Arc<ProxmoxProvider> {
        Arc::new(self.provider)
    }
}
