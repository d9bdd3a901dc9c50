//! A house whose machines are born from a Talos image, and a clock to turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use castle_core::{Cluster, Env, ImageRef, ImageSpec, NodeSite, NodeTarget, Pace, Project, SecretBytes, SeededEntropy};
use castle_lab::World;
use castle_lab::hypervisor::Principal;
use castle_lab::hypervisor::birth::MachineOrder;
use castle_lab::node::request::{Applied, ApplyMode, Refused};
use castle_lab::node::{Node, Session};
use castle_talos::SecretsBundle;

fn named(_: &Cluster, image: &ImageSpec) -> castle_core::Result<ImageRef> {
    let url = format!("https://factory.example/image/{}/v1.13.9/nocloud-amd64.qcow2", "ab".repeat(32));
    Ok(ImageRef { storage: image.storage.clone(), file: "talos-abababababab-v1.13.9.qcow2".into(), url })
}

pub fn blue() -> Project {
    project("blue", 1)
}

pub fn fortress() -> Project {
    project("fortress", 3)
}

fn project(name: &str, control_planes: u8) -> Project {
    let planes: String = (1..=control_planes)
        .map(|n| {
            format!(
                "  - {{name: {name}-cp-0{n}, vmid: {}, address: 192.168.1.{}, host: pve}}\n",
                420 + u32::from(n),
                210 + n
            )
        })
        .collect();
    let text = format!(
        r#"
apiVersion: castle/v1alpha1
project: {name}
platform: proxmox
cluster: {{name: {name}, talos: v1.13.9, kubernetes: v1.36.3, contract: "1.13"}}
image: {{extensions: [siderolabs/iscsi-tools], storage: local}}
network: {{subnet: 192.168.1.0/24, gateway: 192.168.1.1, dns: [192.168.1.1], bridge: vmbr0, vip: 192.168.1.210}}
hosts: {{pve: {{memory: 64GiB, reserve: 4GiB}}}}
defaults: {{pool: blue, storage: local-lvm, cores: 4, memory: 4GiB, disk: 40GiB}}
control_planes:
{planes}workers:
  - {{name: {name}-wk-01, vmid: 431, address: 192.168.1.221, host: pve}}
  - {{name: {name}-wk-02, vmid: 432, address: 192.168.1.222, host: pve}}
"#
    );
    Project::parse(&text, named).expect("the project is well formed")
}

pub fn uuid_of(vm: u32) -> uuid::Uuid {
    format!("6f1c0000-0000-5000-8000-{vm:012}").parse().unwrap()
}

pub struct House {
    pub world: World,
    pub project: Arc<Project>,
    pub site: NodeSite,
}

impl House {
    pub fn of(project: Project, seed: u64) -> Self {
        let world = World::home(&project, seed);
        let project = Arc::new(project);
        let site = NodeSite { project: Arc::clone(&project), bundle: bundle(seed) };
        Self { world, project, site }
    }

    pub fn target(&self, name: &str) -> NodeTarget {
        let spec = self.project.machine(name).expect("a declared node").clone();
        let uuid = uuid_of(spec.id.get());
        NodeTarget { spec, uuid }
    }

    pub fn config(&self, name: &str) -> String {
        config(&self.site, &self.target(name))
    }

    /// Creates and starts every machine at once, and waits for nothing.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    pub fn start_with(&mut self, changes: &[(&str, &str)]) {
        let who = Principal { user: "castle@pve".into(), token: Some("main".into()) };
        for spec in self.project.machines.clone() {
            let mut settings: BTreeMap<String, String> = [
                ("name", spec.node.to_string()),
                ("cpu", "host".to_owned()),
                ("bios", "ovmf".to_owned()),
                ("memory", spec.memory.mib().to_string()),
                ("smbios1", format!("uuid={}", uuid_of(spec.id.get()))),
                ("scsi0", format!("local-lvm:0,import-from=local:import/{},discard=on", spec.image.file)),
                ("ide2", "local-lvm:cloudinit".to_owned()),
                ("net0", format!("virtio={},bridge=vmbr0", spec.nic.mac)),
                ("ipconfig0", format!("ip={}/24,gw=192.168.1.1", spec.nic.address)),
            ]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
            settings.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
            let order = MachineOrder { id: spec.id.get(), settings, start: true, ..MachineOrder::default() };
            self.world.create_machine("pve", &who, order).unwrap();
        }
    }

    pub fn stop(&mut self, vm: u32) {
        let root = Principal { user: "root@pam".into(), token: None };
        self.world.stop_machine("pve", vm, &root, false).unwrap();
        self.until("the machine is off", |world| !world.proxmox.vms[&vm].is_running());
    }

    pub fn power_on(&mut self, vm: u32) {
        let root = Principal { user: "root@pam".into(), token: None };
        self.world.start_machine("pve", vm, &root).unwrap();
    }

    /// Lets events happen until it holds, and says when that was.
    #[track_caller]
    pub fn until(&mut self, what: &str, holds: impl Fn(&World) -> bool) -> Duration {
        let now = self.world.now();
        self.world.advance_to(now);
        while !holds(&self.world) {
            match self.world.next_event_at() {
                Some(at) => self.world.advance_to(at),
                None => panic!("it never came to pass that {what}:\n{}", self.story()),
            }
        }
        self.world.now()
    }

    pub fn wait(&mut self, seconds: u64) {
        let now = self.world.now();
        self.world.advance_to(now + Duration::from_secs(seconds));
    }

    pub fn node(&self, name: &str) -> &Node {
        self.world.nodes.get(name).unwrap_or_else(|| panic!("no node {name}"))
    }

    pub fn session(&self, name: &str) -> &Session {
        self.node(name).session.as_ref().unwrap_or_else(|| panic!("{name} is off"))
    }

    pub fn apply(&mut self, name: &str) -> Result<Applied, Refused> {
        let (vm, text) = (self.node(name).vm, self.config(name));
        let applied = self.world.apply_configuration(vm, &text, ApplyMode::Auto, false);
        self.world.follow();
        applied
    }

    pub fn bootstrap(&mut self, name: &str) -> Result<(), Refused> {
        let vm = self.node(name).vm;
        let answer = self.world.bootstrap(vm);
        self.world.follow();
        answer
    }

    /// The YAML of a resource, or nothing.
    pub fn yaml(&self, name: &str, namespace: &str, kind: &str, id: &str) -> String {
        self.node(name).table.get(namespace, kind, id).map(|found| found.spec.yaml()).unwrap_or_default()
    }

    /// From nothing to all nodes configured, and the first control plane asked to
    /// give birth.
    pub fn raise(&mut self) {
        self.start();
        let names: Vec<String> = self.project.machines.iter().map(|spec| spec.node.to_string()).collect();
        for name in &names {
            self.until(&format!("{name} waits in maintenance"), |world| is_in_maintenance(world, name));
            self.apply(name).unwrap();
        }
        let first = names[0].clone();
        self.until("containers can run", |world| {
            world.nodes.get(&first).and_then(|node| node.session.as_ref()).is_some_and(|session| session.cri)
        });
        self.bootstrap(&first).unwrap();
    }

    pub fn story(&self) -> String {
        let lines = self.world.trace().iter().map(|(at, what)| format!("{:>10.3}  {what}\n", at.as_secs_f64()));
        lines.collect()
    }

    #[track_caller]
    pub fn holds_its_rules(&self) {
        assert_eq!(self.world.violations(), [] as [&str; 0], "\n{}", self.story());
    }
}

pub fn bundle(seed: u64) -> SecretBytes {
    let clock = castle_core::Clock::resumed(
        Pace::Real,
        Duration::ZERO,
        std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_763_711_488),
    );
    let env = Env { clock, entropy: Arc::new(SeededEntropy::new(seed)) };
    SecretsBundle::generate(&env).expect("keys can be made").to_yaml()
}

pub fn config(site: &NodeSite, node: &NodeTarget) -> String {
    String::from_utf8(castle_talos::config::render(site, node).unwrap().expose().clone()).unwrap()
}

pub fn is_in_maintenance(world: &World, name: &str) -> bool {
    world
        .nodes
        .get(name)
        .and_then(|node| node.session.as_ref())
        .is_some_and(|session| session.api == castle_lab::node::Api::Maintenance)
}

pub fn is_ready(world: &World, name: &str) -> bool {
    let session = world.nodes.get(name).and_then(|node| node.session.as_ref());
    session.is_some_and(|session| session.ready_at.is_some())
}

pub fn all_ready(world: &World, project: &Project) -> bool {
    project.machines.iter().all(|spec| is_ready(world, spec.node.as_str()))
}
