//! What the Talos API may be asked to do, with Talos' conditions and texts.

use std::time::Duration;

use super::boot::{Api, Stage};
use super::etcd::EtcdState;
use super::{MachineType, Node};
use crate::latency::Latency;
use crate::world::World;

/// The codes of gRPC that nodes answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The request is wrong in itself.
    InvalidArgument = 3,
    /// There is no such thing.
    NotFound = 5,
    /// It is there already.
    AlreadyExists = 6,
    /// The caller may not.
    PermissionDenied = 7,
    /// Not in this state.
    FailedPrecondition = 9,
    /// Not on this machine.
    Unimplemented = 12,
    /// It broke.
    Internal = 13,
    /// Not now.
    Unavailable = 14,
}

/// Why a node refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The code.
    pub code: Code,
    /// Talos' words.
    pub message: String,
}

impl Refused {
    /// A refusal with a text.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// How a configuration shall be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyMode {
    /// By a restart.
    Reboot,
    /// As Talos sees fit.
    Auto,
    /// Without a restart.
    NoReboot,
    /// At the next restart.
    Staged,
    /// For a minute.
    Try,
}

/// What became of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// What the node would rather not see.
    pub warnings: Vec<String>,
    /// The mode that was taken.
    pub mode: ApplyMode,
    /// The same in words.
    pub details: String,
}

/// How long a reset wipes, drains and leaves (estimate of the reference: 35 s with
/// its restart of 8 s).
const RESET: Duration = Duration::from_secs(27);

impl World {
    /// `ApplyConfiguration`.
    ///
    /// # Errors
    ///
    /// Talos' code and text.
    pub fn apply_configuration(
        &mut self,
        vm: u32,
        text: &str,
        mode: ApplyMode,
        dry_run: bool,
    ) -> Result<Applied, Refused> {
        let invalid = |text: String| Refused::new(Code::InvalidArgument, text);
        let Some(node) = self.nodes.of(vm) else { return Err(gone()) };
        let Some(session) = node.session.as_ref() else { return Err(gone()) };
        if session.api == Api::Maintenance && node.disk.config.is_some() {
            return Err(Refused::new(Code::FailedPrecondition, "another apply configuration is already in progress"));
        }
        let decoded = super::config::decode(text).map_err(invalid)?;
        let super::config::Decoded::Complete(config) = decoded else {
            return Err(invalid(
                "the applied machine configuration doesn't contain v1alpha1 config, did you mean to patch the machine \
                 config instead?"
                    .to_owned(),
            ));
        };
        let is_same = node.disk.config.as_ref().is_some_and(|known| known.text.expose() == text);
        if dry_run {
            let change = if is_same { "No changes." } else { "Config diff:\n(not shown by the lab)" };
            let details =
                format!("Dry run summary:\nApplied configuration without a reboot (skipped in dry-run).\n{change}");
            return Ok(Applied { warnings: config.warnings, mode: ApplyMode::NoReboot, details });
        }
        if session.api == Api::Maintenance {
            let warnings = self.take_configuration(vm, text).map_err(invalid)?;
            return Ok(Applied {
                warnings,
                mode: ApplyMode::NoReboot,
                details: "Applied configuration without a reboot".to_owned(),
            });
        }
        let warnings = config.warnings.clone();
        let is_other_kind = session.config.as_ref().is_some_and(|known| known.machine_type != config.machine_type);
        if let Some(node) = self.nodes.nodes.get_mut(&vm) {
            node.disk.config = Some(std::sync::Arc::new(*config));
        }
        let restarts = mode == ApplyMode::Reboot || (mode == ApplyMode::Auto && is_other_kind);
        let (mode, details) = match mode {
            ApplyMode::Staged => (mode, "Staged configuration to be applied after the next reboot"),
            _ if restarts => (ApplyMode::Reboot, "Applied configuration with a reboot"),
            _ => (ApplyMode::NoReboot, "Applied configuration without a reboot"),
        };
        match mode {
            ApplyMode::Reboot => self.restart_node(vm, Stage::Rebooting, Duration::ZERO, Latency::KEXEC),
            ApplyMode::Staged => {}
            _ => {
                let config = self.nodes.of(vm).and_then(|node| node.disk.config.clone());
                self.session_mut(vm, |session| session.config = config);
            }
        }
        self.log(format!("node {vm} was configured again"));
        Ok(Applied { warnings, mode, details: details.to_owned() })
    }

    /// `Bootstrap`.
    ///
    /// # Errors
    ///
    /// Talos' code and text; the conditions are asked in Talos' order.
    pub fn bootstrap(&mut self, vm: u32) -> Result<(), Refused> {
        let Some(node) = self.nodes.of(vm) else { return Err(gone()) };
        let Some(session) = node.session.as_ref() else { return Err(gone()) };
        let not_yet = |text: &str| Err(Refused::new(Code::FailedPrecondition, text));
        if !session.cri {
            return not_yet("bootstrap is not available yet");
        }
        self.control_planes_only(vm, "bootstrap")?;
        if !session.time_synced {
            return not_yet("time is not in sync yet");
        }
        if node.disk.etcd.is_some() {
            return Err(Refused::new(Code::AlreadyExists, "etcd data directory is not empty"));
        }
        self.etcd_bootstrap(vm);
        Ok(())
    }

    /// The rule of calls that only control planes answer.
    ///
    /// # Errors
    ///
    /// Talos' code and text elsewhere.
    pub fn control_planes_only(&self, vm: u32, what: &str) -> Result<(), Refused> {
        let text = match self.nodes.of(vm).and_then(Node::config).map(|config| config.machine_type) {
            Some(MachineType::ControlPlane) => return Ok(()),
            Some(MachineType::Worker) => format!("{what} is only available on control plane nodes"),
            None => format!("machine type is not set, cannot use {what} API"),
        };
        Err(Refused::new(Code::Unimplemented, text))
    }

    /// The etcd that a node can ask about its members: its own, while it is well.
    ///
    /// # Errors
    ///
    /// What the client of etcd inside Talos says otherwise.
    pub fn etcd_of(&self, vm: u32, what: &str) -> Result<u64, Refused> {
        self.control_planes_only(vm, what)?;
        let Some(node) = self.nodes.of(vm) else { return Err(gone()) };
        let state = node.session.as_ref().map_or(EtcdState::Off, |session| session.etcd);
        let data = node.disk.etcd.filter(|_| matches!(state, EtcdState::Running | EtcdState::Learning { .. }));
        match data {
            Some(data) if self.has_quorum(data.cluster) => Ok(data.cluster),
            Some(_) => Err(Refused::new(Code::Unavailable, "etcdserver: no leader")),
            None => Err(Refused::new(
                Code::Unavailable,
                "connection error: desc = \"transport: Error while dialing: dial tcp 127.0.0.1:2379: connect: connection \
                 refused\"",
            )),
        }
    }

    /// `Reboot`.
    pub fn reboot(&mut self, vm: u32, power_cycle: bool) {
        let latency = if power_cycle { Latency::POWER_CYCLE } else { Latency::KEXEC };
        self.restart_node(vm, Stage::Rebooting, Duration::ZERO, latency);
    }

    /// `Reset` of partitions by their labels, with a restart.
    ///
    /// # Errors
    ///
    /// Talos' text for a label that the disk does not have.
    pub fn reset(&mut self, vm: u32, labels: &[String], graceful: bool) -> Result<(), Refused> {
        if let Some(unknown) = labels.iter().find(|label| !["STATE", "EPHEMERAL", "META"].contains(&label.as_str())) {
            let text = format!("failed to get volume status with label \"{unknown}\": resource doesn't exist");
            return Err(Refused::new(Code::Internal, text));
        }
        let data = self.nodes.of(vm).and_then(|node| node.disk.etcd);
        let is_member = |data: &super::DataDirectory, world: &Self| {
            world.nodes.etcds.get(&data.cluster).is_some_and(|etcd| etcd.members.len() > 1)
        };
        if graceful && let Some(data) = data.filter(|data| is_member(data, self)) {
            self.etcd_remove(data.cluster, data.member);
        } else if let Some(data) = data.filter(|data| is_member(data, self)) {
            let others = self.nodes.etcds.get(&data.cluster).map_or(0, |etcd| etcd.members.len() - 1);
            if others < 2 {
                self.nodes
                    .misdeeds
                    .push(format!("the reset of node {vm} lost the quorum of etcd {:016x}", data.cluster));
            }
        }
        self.restart_node(vm, Stage::Resetting, RESET, Latency::KEXEC);
        // After the restart began: `left` would let the entry live on.
        let node_id = self.nodes.of(vm).and_then(|node| node.disk.node_id.clone());
        if let Some(node_id) = node_id {
            self.nodes.discovery.affiliates.remove(&node_id);
        }
        self.withdraw(vm);
        if let Some(node) = self.nodes.nodes.get_mut(&vm) {
            labels.iter().for_each(|label| node.disk.wipe(label));
        }
        self.wake_joiners();
        Ok(())
    }
}

fn gone() -> Refused {
    Refused::new(Code::Unavailable, "the node is not there any more")
}
