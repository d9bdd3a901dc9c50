//! Storages and the volumes on them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::latency::Latency;

/// How a storage keeps its volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageKind {
    /// Files in a folder.
    Dir,
    /// Thin logical volumes.
    LvmThin,
}

impl StorageKind {
    /// The type as Proxmox VE names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dir => "dir",
            Self::LvmThin => "lvmthin",
        }
    }
}

/// A storage as one host sees it.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The host.
    pub host: String,
    /// Its name.
    pub name: String,
    /// How it keeps volumes.
    pub kind: StorageKind,
    /// What may be kept on it: `images`, `import`, `iso`, ...
    pub contents: BTreeSet<String>,
    /// Its size in bytes.
    pub total: u64,
    /// Bytes in use that are no volume of ours: other files, or a test that
    /// filled it.
    pub occupied: u64,
    /// Whether its definition is switched on.
    pub enabled: bool,
    /// Whether it can be reached.
    pub online: bool,
    /// How long one allocation or removal holds its lock. Slow disks make this
    /// long, and parallel work then ends in lock timeouts.
    pub lock_hold: Duration,
    /// Its volumes, by name without the storage: `vm-421-disk-0`,
    /// `import/talos.qcow2`.
    pub volumes: BTreeMap<String, Volume>,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// What it is: `images`, `import`, `iso`.
    pub content: String,
    /// Its format.
    pub format: String,
    /// The size that a machine sees, in bytes.
    pub size: u64,
    /// What it takes on the storage, in bytes.
    pub written: u64,
    /// The machine in its name.
    pub owner: Option<u32>,
    /// When it was made, in the world's time.
    pub created_at: Duration,
    /// The file of the image that it is a copy of.
    pub image: Option<String>,
}

impl Storage {
    /// An empty storage that is online.
    pub fn new(
        host: impl Into<String>,
        name: impl Into<String>,
        kind: StorageKind,
        contents: &[&str],
        total: u64,
    ) -> Self {
        Self {
            host: host.into(),
            name: name.into(),
            kind,
            contents: contents.iter().map(|&content| content.to_owned()).collect(),
            total,
            occupied: 0,
            enabled: true,
            online: true,
            lock_hold: Latency::STORAGE_LOCK_HOLD,
            volumes: BTreeMap::new(),
        }
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        (self.occupied + self.volumes.values().map(|volume| volume.written).sum::<u64>()).min(self.total)
    }

    /// Bytes that are free.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.total - self.used()
    }

    /// The name that a new disk of a machine gets: the first free number.
    #[must_use]
    pub fn next_disk_name(&self, id: u32, format: &str) -> String {
        (0_u32..)
            .map(|index| self.volume_name(id, &format!("disk-{index}"), format))
            .find(|name| {
                // Two formats of one number would be two volumes of one name.
                let stem = name.split('.').next().unwrap_or(name);
                !self.volumes.keys().any(|other| other.split('.').next() == Some(stem))
            })
            .expect("an endless range has a free number")
    }

    /// The name of a volume of a machine: files live in a folder of the machine
    /// and carry their format as a suffix.
    #[must_use]
    pub fn volume_name(&self, id: u32, what: &str, format: &str) -> String {
        match self.kind {
            StorageKind::Dir => format!("{id}/vm-{id}-{what}.{format}"),
            StorageKind::LvmThin => format!("vm-{id}-{what}"),
        }
    }

    /// The format of new volumes here.
    #[must_use]
    pub fn default_format(&self) -> &'static str {
        match self.kind {
            StorageKind::Dir => "qcow2",
            StorageKind::LvmThin => "raw",
        }
    }

    /// The full id of a volume.
    #[must_use]
    pub fn volume_id(&self, name: &str) -> String {
        format!("{}:{name}", self.name)
    }

    /// What the storage's tools say when `size` bytes do not fit. `None`: they fit.
    #[must_use]
    pub fn refuses(&self, name: &str, size: u64) -> Option<String> {
        if !self.online {
            return Some(format!("storage '{}' is not online", self.name));
        }
        if size <= self.available() {
            return None;
        }
        Some(match self.kind {
            // Extents are 4 MiB.
            StorageKind::LvmThin => format!(
                "lvcreate 'pve/{name}' error:   Volume group \"pve\" has insufficient free space ({} extents): {} required.",
                self.available() >> 22,
                size.div_ceil(1 << 22)
            ),
            StorageKind::Dir => {
                format!("unable to create image: qemu-img: {name}: Could not write: No space left on device")
            }
        })
    }
}

/// Splits a volume id into storage and name.
#[must_use]
pub fn split_volume_id(volume: &str) -> Option<(&str, &str)> {
    volume.split_once(':').filter(|(storage, name)| !storage.is_empty() && !name.is_empty())
}

/// A size as it stands in a drive's `size=`: the largest unit that divides it.
#[must_use]
pub fn print_size(bytes: u64) -> String {
    for (unit, shift) in [("T", 40), ("G", 30), ("M", 20), ("K", 10)] {
        if bytes >> shift > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// A size with a unit in powers of 1024; bytes without one.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.chars().last()? {
        'K' => (&text[..text.len() - 1], 10),
        'M' => (&text[..text.len() - 1], 20),
        'G' => (&text[..text.len() - 1], 30),
        'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || digits.ends_with('.') {
        return None;
    }
    let number: f64 = digits.parse().ok()?;
    Some((number * (1_u64 << shift) as f64).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (bytes, text) in [(1246 << 20, "1246M"), (40 << 30, "40G"), (528 << 10, "528K"), (1 << 40, "1T")] {
            assert_eq!(print_size(bytes), text);
            assert_eq!(parse_size(text), Some(bytes));
        }
        assert_eq!(parse_size("1.5G"), Some(1536 << 20));
        for bad in ["", "G", "x", "1.", "-1G"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn disks_take_the_first_free_number() {
        let mut storage = Storage::new("pve", "local-lvm", StorageKind::LvmThin, &["images"], 100 << 30);
        assert_eq!(storage.next_disk_name(421, "raw"), "vm-421-disk-0");
        let volume = Volume {
            content: "images".into(),
            format: "raw".into(),
            size: 1,
            written: 1,
            owner: Some(421),
            created_at: Duration::ZERO,
            image: None,
        };
        storage.volumes.insert("vm-421-disk-0".into(), volume);
        assert_eq!(storage.next_disk_name(421, "raw"), "vm-421-disk-1");
        assert_eq!(storage.next_disk_name(431, "raw"), "vm-431-disk-0");
    }

    #[test]
    fn a_full_storage_says_so_in_its_tool_s_words() {
        let mut storage = Storage::new("pve", "local-lvm", StorageKind::LvmThin, &["images"], 8 << 20);
        assert_eq!(storage.refuses("vm-421-disk-0", 8 << 20), None);
        storage.occupied = 8 << 20;
        let text = storage.refuses("vm-421-disk-0", 4 << 20).expect("full");
        assert!(text.contains("insufficient free space (0 extents): 1 required"), "{text}");
    }
}
