//! A machine of the simulated Proxmox VE.

use std::time::Duration;

use super::config::Config;

/// Who made a machine. The world keeps this by itself, so it can judge what
/// castle does without believing castle's own marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// An API token of castle's user.
    Castle,
    /// Anybody else.
    Admin,
}

/// One machine.
#[derive(Debug, Clone)]
pub struct Vm {
    /// Its number.
    pub id: u32,
    /// The host that holds its configuration.
    pub host: String,
    /// Its configuration.
    pub config: Config,
    /// When it was powered on, in the world's time; `None`: it is off.
    pub running_since: Option<Duration>,
    /// The process id of its QEMU while it runs.
    pub pid: u32,
    /// Who made it.
    pub maker: Maker,
    /// Counts every machine that ever was: a number that is handed on to another
    /// machine keeps the number and changes this.
    pub incarnation: u64,
    /// Whether its guest reacts to a shutdown request.
    pub answers_acpi: bool,
}

impl Vm {
    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running_since.is_some()
    }

    /// Its name, or the one Proxmox VE shows without one.
    #[must_use]
    pub fn name(&self) -> String {
        self.config.get("name").map_or_else(|| format!("VM {}", self.id), str::to_owned)
    }

    /// The state that its configuration says it is in: `create`, `clone`, `backup`, ...
    #[must_use]
    pub fn lock(&self) -> Option<&str> {
        self.config.get("lock")
    }

    /// Whether it is a template.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.config.flag("template")
    }

    /// Its memory in bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.config.memory() << 20
    }

    /// Its virtual CPUs.
    #[must_use]
    pub fn cpus(&self) -> u64 {
        self.config.number("cores", 1) * self.config.number("sockets", 1)
    }

    /// The size of its boot disk in bytes.
    #[must_use]
    pub fn disk_size(&self) -> u64 {
        let boot = self.config.get("boot").unwrap_or_default();
        let first = boot.trim_start_matches("order=").split(';').find(|device| super::config::is_drive(device));
        let value = first.and_then(|drive| self.config.get(drive)).or_else(|| self.config.get("scsi0"));
        value
            .and_then(|value| super::PropertyString::parse(value).get("size").and_then(super::storage::parse_size))
            .unwrap_or(0)
    }
}
