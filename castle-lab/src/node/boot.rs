//! From power to a configured life: what a machine goes through until its API
//! answers, and what it loses when the power goes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use castle_core::SecretText;

use super::config::{Authority, MachineConfig, MachineType};
use super::disk::Disk;
use super::etcd::EtcdState;
use super::resource::Table;
use super::service::Services;
use super::{Dns, Due, Node, NodeEvent};
use crate::hypervisor::storage::split_volume_id;
use crate::hypervisor::{PropertyString, Vm, config as machine};
use crate::latency::Latency;
use crate::world::{Event, World};

/// How far a node has come, as `MachineStatus` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Firmware, kernel, services; a control plane until etcd is up.
    Booting,
    /// It waits for a configuration.
    Maintenance,
    /// Its boot is over.
    Running,
    /// It restarts.
    Rebooting,
    /// It wipes itself.
    Resetting,
}

/// What listens at the port of the Talos API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Nothing.
    Off,
    /// The maintenance API, for anybody.
    Maintenance,
    /// The API of a configured node.
    Configured,
}

/// One boot of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// How far it has come.
    pub stage: Stage,
    /// Whether its network works.
    pub network: bool,
    /// What listens.
    pub api: Api,
    /// The incarnation of what listens; 0 before the first.
    pub ticket: u64,
    /// The configuration in force.
    pub config: Option<Arc<MachineConfig>>,
    /// Who signed its API's certificate.
    pub signer: Option<Authority>,
    /// Whether its clock is in sync.
    pub time_synced: bool,
    /// Whether containers can run.
    pub cri: bool,
    /// Its services.
    pub services: Services,
    /// Its etcd.
    pub etcd: EtcdState,
    /// Whether its images for etcd are there.
    pub etcd_image: bool,
    /// Since when a worker waits for its certificate.
    pub trust_since: Option<Duration>,
    /// Whether its API server was asked to start.
    pub api_server_planned: bool,
    /// The incarnation of its API server, while that answers.
    pub api_server: Option<u64>,
    /// Whether its kubelet has made its object.
    pub registered: bool,
    /// What lies between an API that serves and the node's object, for its kubelet.
    pub(crate) registers_after: Duration,
    /// Since when its pod network works.
    pub cni_at: Option<Duration>,
    /// Since when its node is Ready.
    pub ready_at: Option<Duration>,
    /// CoreDNS, if this node carries it.
    pub dns: Option<Dns>,
    /// Names its boot: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// The maintenance API stays for a moment after it took a configuration, so that
/// its answer leaves. Estimate.
pub(crate) const LEAVE: Duration = Duration::from_millis(500);
/// cri follows apid (issues 10129, 13759).
pub(crate) const CRI: Duration = Duration::from_secs(1);
/// The network has its address when so much of the way to the API is behind it.
/// Estimate: the address comes from the hypervisor's drive, early.
const NETWORK_SHARE: f64 = 0.6;
/// How a worker asks for its certificate: exponential back-off up to a minute,
/// then from the beginning (Talos' code).
const TRUST_BACKOFF: [u64; 7] = [0, 1, 3, 7, 15, 31, 60];

impl Session {
    fn new(boot_id: String) -> Self {
        Self {
            stage: Stage::Booting,
            network: false,
            api: Api::Off,
            ticket: 0,
            config: None,
            signer: None,
            time_synced: false,
            cri: false,
            services: Services::default(),
            etcd: EtcdState::Off,
            etcd_image: false,
            trust_since: None,
            api_server_planned: false,
            api_server: None,
            registered: false,
            registers_after: Duration::ZERO,
            cni_at: None,
            ready_at: None,
            dns: None,
            boot_id,
        }
    }
}

impl World {
    /// Compares machines with nodes and draws the consequences.
    pub(crate) fn follow_nodes(&mut self) {
        let gone: Vec<u32> = self
            .nodes
            .nodes
            .values()
            .filter(|node| node.vm < super::Nodes::STRANGERS)
            .filter(|node| self.proxmox.vms.get(&node.vm).is_none_or(|vm| vm.incarnation != node.incarnation))
            .map(|node| node.vm)
            .collect();
        for vm in gone {
            self.power_lost(vm);
            self.nodes.nodes.remove(&vm);
        }
        let changed: Vec<u32> = self
            .proxmox
            .vms
            .values()
            .filter(|vm| {
                let known = self.nodes.nodes.get(&vm.id).map(|node| node.running_since);
                known.is_some_and(|since| since != vm.running_since) || (known.is_none() && vm.is_running())
            })
            .map(|vm| vm.id)
            .collect();
        for id in changed {
            self.power_changed(id);
        }
        // Every change of a node is an event or leaves a line in the history; what
        // only asks does neither.
        let present = (self.revision(), self.trace().len());
        if self.nodes.fresh != present && self.nodes.nodes.values().any(|node| node.session.is_some()) {
            self.nodes.fresh = present;
            self.refresh_tables();
        }
    }

    fn power_changed(&mut self, id: u32) {
        let Some(vm) = self.proxmox.vms.get(&id).cloned() else { return };
        if !self.nodes.nodes.contains_key(&id) {
            let Some(node) = self.node_of(&vm) else { return };
            self.nodes.nodes.insert(id, node);
            self.leave_residue(id);
        }
        self.power_lost(id);
        let (curse, firmware, disk_size) = (self.curse_of(&vm), firmware_of(&vm), vm.disk_size());
        let address = self.nodes.plants.addresses.get(&id).copied();
        let Some(node) = self.nodes.nodes.get_mut(&id) else { return };
        node.running_since = vm.running_since;
        (node.curse, node.disk_size) = (curse, disk_size);
        (node.memory, node.cpus) = (vm.memory(), vm.cpus());
        node.firmware = Duration::ZERO;
        node.address = address_of(&vm).map(|(given, length)| (address.unwrap_or(given), length));
        if vm.is_running() {
            let firmware = self.draw(firmware, &id.to_string(), "firmware");
            self.boot(id, firmware);
        }
    }

    /// The machine as its guest sees it; `None` if its disk holds no Talos.
    fn node_of(&self, vm: &Vm) -> Option<Node> {
        let drive = vm.config.get("scsi0")?;
        let volume = PropertyString::parse(drive).first()?.to_owned();
        let (storage, name) = split_volume_id(&volume)?;
        let storage = self.proxmox.storages.get(&(vm.host.clone(), storage.to_owned()))?;
        let file = storage.volumes.get(name)?.image.as_ref()?;
        let image = self.nodes.images.content(file)?;
        let smbios = PropertyString::parse(vm.config.get("smbios1").unwrap_or_default());
        let mac = machine::network_card(vm.config.get("net0").unwrap_or_default()).1.unwrap_or_default();
        Some(Node {
            vm: vm.id,
            name: vm.name(),
            uuid: smbios.get("uuid").unwrap_or_default().to_lowercase(),
            mac: mac.to_lowercase(),
            address: None,
            image,
            memory: vm.memory(),
            cpus: vm.cpus(),
            disk_size: vm.disk_size(),
            disk: Disk::default(),
            session: None,
            table: Table::default(),
            boots: 0,
            firmware: Duration::ZERO,
            curse: None,
            incarnation: vm.incarnation,
            running_since: None,
        })
    }

    /// Why this machine will never boot into its network, if it will not.
    fn curse_of(&self, vm: &Vm) -> Option<&'static str> {
        let card = PropertyString::parse(vm.config.get("net0").unwrap_or_default());
        let bridge = card.get("bridge").unwrap_or_default().to_owned();
        let cpu = vm.config.get("cpu").map(PropertyString::parse).unwrap_or_default();
        let cpu = cpu.first_or("cputype").unwrap_or_else(|| "kvm64".to_owned());
        let node = self.nodes.nodes.get(&vm.id);
        if node.is_some_and(|node| !node.image.boots) {
            Some("the image does not boot")
        } else if cpu == "kvm64" || cpu == "qemu64" {
            // Talos is built for x86-64-v2 and halts below.
            Some("the CPU type is too old")
        } else if self.nodes.plants.dead_bridges.contains(&bridge) {
            Some("the bridge leads nowhere")
        } else {
            None
        }
    }

    /// Begins a boot, `delay` after now.
    pub(crate) fn boot(&mut self, vm: u32, delay: Duration) {
        let boot_id = self.generated_uuid(vm, "boot id");
        let way = self.draw(Latency::MAINTENANCE, &vm.to_string(), "kernel");
        let configured = self.draw(Latency::CONFIGURED_BOOT, &vm.to_string(), "configured boot");
        let time_synced = !self.nodes.plants.skewed.contains(&vm);
        let Some(node) = self.nodes.nodes.get_mut(&vm) else { return };
        node.boots += 1;
        node.table = Table::default();
        let mut session = Session::new(boot_id);
        session.time_synced = time_synced;
        node.session = Some(session);
        let (curse, is_configured) = (node.curse, node.disk.config.is_some());
        match curse {
            Some(why) => self.log(format!("node {vm} will not come up: {why}")),
            None if is_configured => {
                self.plan(vm, delay + configured.mul_f64(NETWORK_SHARE), Due::Network);
                self.plan(vm, delay + configured, Due::Services);
            }
            None => {
                self.plan(vm, delay + way.mul_f64(NETWORK_SHARE), Due::Network);
                self.plan(vm, delay + way, Due::Maintenance);
            }
        }
        self.log(format!("node {vm} boots"));
    }

    /// The power of a machine is gone: nothing says goodbye.
    pub(crate) fn power_lost(&mut self, vm: u32) {
        let Some(node) = self.nodes.nodes.get_mut(&vm) else { return };
        let Some(session) = node.session.take() else { return };
        self.nodes.silence(&session);
        self.log(format!("node {vm} died"));
        self.left(vm, &session, Latency::VIP_LOST);
    }

    /// What others notice when a node is not there any more.
    pub(crate) fn left(&mut self, vm: u32, session: &Session, vip_free_after: Duration) {
        self.stop_refreshing(vm);
        self.release_vips(vm, vip_free_after);
        self.etcd_changed();
        if session.registered {
            let grace = super::kubelet::grace(&self.kubernetes.version);
            self.plan_anyway(vm, grace, Due::Lost);
        }
    }

    /// Plans something in this boot of a node.
    pub(crate) fn plan(&mut self, vm: u32, after: Duration, due: Due) {
        let boot = self.nodes.nodes.get(&vm).map_or(0, Node::boot);
        let at = self.now() + after;
        self.at(at, Event::Node(NodeEvent { vm, boot, due }));
    }

    /// Plans something that no restart prevents.
    pub(crate) fn plan_anyway(&mut self, vm: u32, after: Duration, due: Due) {
        let at = self.now() + after;
        self.at(at, Event::Node(NodeEvent { vm, boot: 0, due }));
    }

    /// Something is due.
    pub(crate) fn node_happens(&mut self, event: &NodeEvent) {
        let NodeEvent { vm, boot, ref due } = *event;
        match due {
            Due::Lost => return self.node_lost(vm),
            Due::Expire => return self.expire_affiliates(),
            Due::Campaign if boot == 0 => return self.campaign_of_all(),
            _ => {}
        }
        if !self.nodes.nodes.get(&vm).is_some_and(|node| node.boot() == boot && node.session.is_some()) {
            return;
        }
        match due {
            Due::Network => self.session_mut(vm, |session| session.network = true),
            Due::Maintenance => self.enter_maintenance(vm),
            Due::Leave => self.leave_maintenance(vm),
            Due::Services => self.start_services(vm),
            Due::Trust => self.ask_for_trust(vm),
            Due::Cri => self.start_cri(vm),
            Due::Restart => self.boot(vm, Duration::ZERO),
            Due::Kubelet => self.kubelet_started(vm),
            Due::EtcdImage => self.etcd_image_pulled(vm),
            Due::EtcdUp => self.etcd_up(vm),
            Due::EtcdJoin => self.etcd_join(vm),
            Due::EtcdPromote => self.etcd_promote(vm),
            Due::EtcdTimeout => self.etcd_gives_up(vm),
            Due::ApiServer => self.api_server_up(vm),
            Due::Register => self.register(vm),
            Due::Cni => self.cni_up(vm),
            Due::NodeReady => self.node_ready(vm),
            Due::Dns => self.dns_up(vm),
            Due::Campaign => self.campaign(vm),
            Due::ApiServerAway(away) => self.api_server_away(vm, *away),
            Due::Lost | Due::Expire => {}
        }
    }

    /// Changes a node's session, if it has one.
    pub(crate) fn session_mut(&mut self, vm: u32, change: impl FnOnce(&mut Session)) {
        if let Some(session) = self.nodes.nodes.get_mut(&vm).and_then(|node| node.session.as_mut()) {
            change(session);
        }
    }

    fn enter_maintenance(&mut self, vm: u32) {
        let (ticket, now) = (self.nodes.next_ticket(), self.now());
        self.session_mut(vm, |session| {
            (session.stage, session.api, session.ticket) = (Stage::Maintenance, Api::Maintenance, ticket);
            session.network = true;
            for id in ["machined", "udevd", "containerd", "apid"] {
                session.services.run(now, id);
            }
        });
        self.log(format!("node {vm} is in maintenance"));
        if let Some(text) = self.nodes.plants.configured_by.remove(&vm)
            && let Err(text) = self.take_configuration(vm, text.expose())
        {
            self.log(format!("node {vm} refused what somebody gave it: {text}"));
        }
    }

    /// A node in maintenance takes a configuration; its API goes away soon.
    ///
    /// # Errors
    ///
    /// Talos' text if the configuration is refused.
    pub fn take_configuration(&mut self, vm: u32, text: &str) -> Result<Vec<String>, String> {
        let config = match super::config::decode(text)? {
            super::config::Decoded::Complete(config) => Arc::new(*config),
            super::config::Decoded::Partial => {
                return Err(
                    "the applied machine configuration doesn't contain v1alpha1 config, did you mean to patch \
                            the machine config instead?"
                        .to_owned(),
                );
            }
        };
        let warnings = config.warnings.clone();
        if let Some(node) = self.nodes.nodes.get_mut(&vm) {
            node.disk.config = Some(config);
        }
        self.plan(vm, LEAVE, Due::Leave);
        self.log(format!("node {vm} was configured"));
        Ok(warnings)
    }

    fn leave_maintenance(&mut self, vm: u32) {
        let wait = self.draw(Latency::CONFIGURED_BOOT, &vm.to_string(), "first configured boot");
        self.session_mut(vm, |session| (session.stage, session.api) = (Stage::Booting, Api::Off));
        self.plan(vm, wait, Due::Services);
    }

    fn start_services(&mut self, vm: u32) {
        let now = self.now();
        let node_id = hex::encode(self.draw_bytes(&vm.to_string(), "node id"));
        let Some(node) = self.nodes.nodes.get_mut(&vm) else { return };
        let Some(config) = node.disk.config.clone() else { return };
        node.disk.node_id.get_or_insert(node_id);
        node.disk.ephemeral = true;
        // A link document replaces what the hypervisor's drive said.
        let given = config.addresses.first().and_then(|address| address.split_once('/'));
        let is_moved = self.nodes.plants.addresses.contains_key(&vm);
        if let Some((Ok(address), Ok(length))) =
            given.filter(|_| !is_moved).map(|(address, length)| (address.parse::<IpAddr>(), length.parse()))
        {
            node.address = Some((address, length));
        }
        let is_control_plane = config.machine_type == MachineType::ControlPlane;
        let Some(session) = node.session.as_mut() else { return };
        session.network = true;
        for id in ["machined", "udevd", "containerd", "auditd", "syslogd", "dashboard"] {
            session.services.run(now, id);
        }
        for extension in &node.image.extensions {
            if extension == "siderolabs/iscsi-tools" {
                session.services.run(now, "ext-iscsid");
            }
        }
        session.config = Some(Arc::clone(&config));
        if is_control_plane {
            session.services.run(now, "trustd");
            session.signer = Some(config.os_ca.clone());
            self.announce(vm);
            self.open_api(vm);
        } else {
            session.trust_since = Some(now);
            self.announce(vm);
            self.ask_for_trust(vm);
        }
        self.plan(vm, CRI, Due::Cri);
    }

    fn open_api(&mut self, vm: u32) {
        let (ticket, now) = (self.nodes.next_ticket(), self.now());
        self.session_mut(vm, |session| {
            (session.api, session.ticket, session.trust_since) = (Api::Configured, ticket, None);
            session.services.run(now, "apid");
        });
        self.log(format!("node {vm} opens its API"));
        // A worker's kubelet may be up before trustd has signed for its API.
        self.settle_stage(vm);
        self.wake_workers();
    }

    /// A worker asks a control plane for its certificate, or waits on.
    fn ask_for_trust(&mut self, vm: u32) {
        let Some(node) = self.nodes.nodes.get(&vm) else { return };
        let Some((session, config)) = node.session.as_ref().zip(node.config()) else { return };
        if session.trust_since.is_none() {
            return;
        }
        let (signer, why) = self.find_trustd(vm, config);
        let now = self.now();
        match signer {
            Some(signer) => {
                self.session_mut(vm, |session| session.signer = Some(signer));
                self.open_api(vm);
            }
            // The next attempt is planned when a trustd appears.
            None => self.session_mut(vm, |session| session.services.enter(now, "apid", "Waiting", why)),
        }
    }

    /// The authority behind the first trustd that answers this worker.
    fn find_trustd(&self, vm: u32, config: &MachineConfig) -> (Option<Authority>, String) {
        let endpoint = config.endpoint.parse::<IpAddr>().ok();
        let known = self.control_planes_known_to(vm, config);
        let mut why = "Waiting for api certificates".to_owned();
        for address in endpoint.into_iter().chain(known) {
            let Some(peer) = self.nodes.behind(address).and_then(Node::config) else { continue };
            if peer.machine_type != MachineType::ControlPlane {
                continue;
            }
            if peer.os_ca.fingerprint() != config.os_ca.fingerprint() {
                "Waiting for api certificates: x509: certificate signed by unknown authority".clone_into(&mut why);
            } else if !same(&peer.machine_token, &config.machine_token) {
                "Waiting for api certificates: rpc error: code = Unauthenticated desc = invalid token"
                    .clone_into(&mut why);
            } else {
                return (Some(peer.os_ca.clone()), why);
            }
        }
        (None, why)
    }

    /// Workers that wait for a trustd try again, each at its next attempt.
    pub(crate) fn wake_workers(&mut self) {
        let now = self.now();
        let waiting: Vec<(u32, Duration)> =
            self.nodes.configured().filter_map(|(node, session, _)| Some((node.vm, session.trust_since?))).collect();
        for (vm, since) in waiting {
            let waited = now.saturating_sub(since);
            let round = Duration::from_secs(TRUST_BACKOFF[TRUST_BACKOFF.len() - 1]);
            let rounds = (waited.as_nanos() / round.as_nanos()) as u32;
            let next = TRUST_BACKOFF
                .iter()
                .map(|seconds| round * rounds + Duration::from_secs(*seconds))
                .find(|attempt| *attempt >= waited)
                .unwrap_or(waited);
            self.plan(vm, next.saturating_sub(waited), Due::Trust);
        }
    }

    fn start_cri(&mut self, vm: u32) {
        let (now, entity) = (self.now(), vm.to_string());
        let kubelet = self.draw(Latency::KUBELET_PULL, &entity, "kubelet pull");
        let etcd = self.draw(Latency::ETCD_PULL, &entity, "etcd pull");
        let Some(node) = self.nodes.nodes.get_mut(&vm) else { return };
        let cached = node.disk.images;
        let Some(session) = node.session.as_mut() else { return };
        session.cri = true;
        session.services.run(now, "cri");
        session.services.enter(now, "kubelet", "Preparing", "Running pre state");
        let is_control_plane = session.config.as_ref().is_some_and(|c| c.machine_type == MachineType::ControlPlane);
        self.plan(vm, if cached { Duration::ZERO } else { kubelet }, Due::Kubelet);
        if is_control_plane {
            self.etcd_starts(vm, if cached { Duration::ZERO } else { etcd });
        }
    }

    /// A node restarts in order: its API goes at once, its disk stays.
    pub fn restart_node(&mut self, vm: u32, stage: Stage, work: Duration, latency: Latency) {
        let restart = self.draw(latency, &vm.to_string(), "restart");
        let Some(session) = self.nodes.nodes.get(&vm).and_then(|node| node.session.clone()) else { return };
        self.session_mut(vm, |session| {
            (session.stage, session.api, session.network) = (stage, Api::Off, false);
            (session.config, session.api_server) = (None, None);
            session.etcd = EtcdState::Off;
        });
        self.left(vm, &session, Latency::VIP_HANDED_OVER);
        self.plan(vm, work + restart, Due::Restart);
    }
}

fn same(one: &SecretText, other: &SecretText) -> bool {
    one.expose() == other.expose()
}

fn firmware_of(vm: &Vm) -> Latency {
    if vm.config.get("bios") == Some("ovmf") { Latency::FIRMWARE_UEFI } else { Latency::FIRMWARE_BIOS }
}

/// The static address on the hypervisor's drive.
fn address_of(vm: &Vm) -> Option<(IpAddr, u8)> {
    let ip = PropertyString::parse(vm.config.get("ipconfig0")?);
    let text = ip.get("ip").filter(|text| text.contains('/')).or_else(|| ip.get("ip6"))?;
    let (address, length) = text.split_once('/')?;
    Some((address.parse().ok()?, length.parse().ok()?))
}
