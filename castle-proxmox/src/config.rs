//! The configuration of one machine, and the small languages inside its values.

use std::collections::{BTreeMap, BTreeSet};

use castle_core::ByteSize;
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use crate::wire;

/// The tag of a machine whose destroy has begun.
pub(crate) const DYING: &str = "castle-dying";

/// A configuration as `GET .../config` shows it: every value as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Config(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        wire::scalars(deserializer).map(Self)
    }
}

impl Config {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.trim().parse().ok()
    }

    /// The text that may hold a mark.
    pub(crate) fn description(&self) -> &str {
        self.get("description").unwrap_or("")
    }

    /// The SMBIOS uuid. It is written as it is even where `base64=1` says that
    /// its neighbours are not.
    pub(crate) fn uuid(&self) -> Option<Uuid> {
        Properties::parse(self.get("smbios1")?).get("uuid")?.parse().ok()
    }

    pub(crate) fn lock(&self) -> Option<&str> {
        self.get("lock")
    }

    pub(crate) fn digest(&self) -> Option<&str> {
        self.get("digest")
    }

    pub(crate) fn protected(&self) -> bool {
        self.get("protection") == Some("1")
    }

    pub(crate) fn tags(&self) -> Tags {
        Tags::parse(self.get("tags").unwrap_or(""))
    }

    pub(crate) fn cores(&self) -> u32 {
        let count = self.number("cores").unwrap_or(1).saturating_mul(self.number("sockets").unwrap_or(1));
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The memory: a number of MiB, or a property string whose bare first key is it.
    pub(crate) fn memory(&self) -> ByteSize {
        let mib = self.get("memory").and_then(|text| {
            let properties = Properties::parse(text);
            properties.bare().or_else(|| properties.get("current"))?.parse::<u64>().ok()
        });
        // Proxmox's own default.
        ByteSize::bytes(mib.unwrap_or(512).saturating_mul(1 << 20))
    }

    /// The system disk's size, once there is one.
    pub(crate) fn disk(&self) -> Option<ByteSize> {
        size(Properties::parse(self.get("scsi0")?).get("size")?)
    }

    /// Every disk: its key, its volume, and whether it is only a medium in a
    /// drive, which is not removed with the machine.
    pub(crate) fn disks(&self) -> impl Iterator<Item = Disk<'_>> {
        self.0.iter().filter(|(key, _)| is_disk_key(key)).filter_map(|(key, value)| {
            let properties = Properties::parse(value);
            let volume = properties.bare().or_else(|| properties.get("file"))?;
            let medium = properties.get("media") == Some("cdrom") && !volume.ends_with("-cloudinit");
            (volume != "none" && volume != "cdrom").then_some(Disk { key, volume, medium })
        })
    }
}

/// A disk that a configuration names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk<'a> {
    /// `scsi0`, `efidisk0`, `unused1`, ...
    pub key: &'a str,
    /// `storage:volume`.
    pub volume: &'a str,
    /// A medium in a drive, such as an installation image.
    pub medium: bool,
}

impl<'a> Disk<'a> {
    /// Whether its volume is named after this machine, as Proxmox names the
    /// volumes that it removes with the machine.
    pub(crate) fn belongs_to(&self, id: u32) -> bool {
        let name = self.volume.rsplit(['/', ':']).next().unwrap_or(self.volume);
        self.volume.contains(':') && name.starts_with(&format!("vm-{id}-"))
    }

    /// The storage that holds it; `None` for a device or file of the host.
    pub(crate) fn storage(&self) -> Option<&'a str> {
        self.volume.split_once(':').map(|(storage, _)| storage)
    }
}

fn is_disk_key(key: &str) -> bool {
    ["scsi", "virtio", "sata", "ide", "efidisk", "tpmstate", "unused"].iter().any(|bus| {
        key.strip_prefix(bus).is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// A size as Proxmox prints it: digits and `K`, `M`, `G`, `T`, or bytes.
pub(crate) fn size(text: &str) -> Option<ByteSize> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        b'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let bytes = match digits.parse::<u64>() {
        Ok(whole) => whole.checked_mul(1 << shift)?,
        Err(_) => {
            let amount = digits.parse::<f64>().ok().filter(|amount| amount.is_finite() && *amount >= 0.0)?;
            (amount * (1u64 << shift) as f64) as u64
        }
    };
    Some(ByteSize::bytes(bytes))
}

/// A size as Proxmox reads it: in GiB, or in the largest unit that holds it
/// without loss. Whole MiB at least.
pub(crate) fn size_text(size: ByteSize) -> String {
    let bytes = size.as_bytes();
    if bytes.is_multiple_of(1 << 30) { format!("{}G", bytes >> 30) } else { format!("{}M", bytes.div_ceil(1 << 20)) }
}

/// A property string: `bare,key=value,key=value`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Properties<'a> {
    bare: Option<&'a str>,
    keyed: Vec<(&'a str, &'a str)>,
}

impl<'a> Properties<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut properties = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(pair) => properties.keyed.push(pair),
                None => {
                    properties.bare.get_or_insert(part);
                }
            }
        }
        properties
    }

    /// The value without a key.
    pub(crate) fn bare(&self) -> Option<&'a str> {
        self.bare
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        self.keyed.iter().find(|(found, _)| *found == key).map(|(_, value)| *value)
    }
}

/// Tags, as a set: Proxmox sorts them, folds their case and joins them as the
/// datacenter's settings say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tags(BTreeSet<String>);

impl Tags {
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.split([';', ',', ' ', '\0']).filter(|tag| !tag.is_empty()).map(str::to_lowercase).collect())
    }

    pub(crate) fn of<I: IntoIterator<Item = String>>(tags: I) -> Self {
        Self(tags.into_iter().collect())
    }

    pub(crate) fn has(&self, tag: &str) -> bool {
        self.0.contains(tag)
    }

    pub(crate) fn with(mut self, tag: &str) -> Self {
        self.0.insert(tag.to_owned());
        self
    }

    /// Whether castle, of any project, marked the machine for people to see.
    pub(crate) fn name_castle(&self) -> bool {
        self.0.iter().any(|tag| tag == "castle" || tag.starts_with("castle.") || tag.starts_with("castle-"))
    }

    /// As Proxmox takes them.
    pub(crate) fn text(&self) -> String {
        self.0.iter().map(String::as_str).collect::<Vec<_>>().join(";")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        Config(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn numbers_beyond_all_machines_are_no_panic() {
        let most = u64::MAX.to_string();
        let pairs = [("cores", most.as_str()), ("sockets", "2"), ("memory", &most)];
        let read = Config(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect());
        assert_eq!((read.cores(), read.memory()), (u32::MAX, ByteSize::bytes(u64::MAX)));
    }

    #[test]
    fn a_configuration_of_the_reference_is_read() {
        let read: Config = serde_json::from_str(
            r#"{"name":"blue-cp-1","cores":4,"memory":"8192","balloon":0,"protection":1,
                "scsi0":"local-lvm:vm-421-disk-0,discard=on,size=40G","tags":"castle;castle.c.blue",
                "smbios1":"uuid=6f1c0000-0000-4000-8000-000000000421","digest":"4f0c"}"#,
        )
        .expect("a configuration");
        assert_eq!((read.cores(), read.memory().mib(), read.protected()), (4, 8192, true));
        assert_eq!(read.disk(), Some(ByteSize::gib_of(40)));
        assert_eq!(read.uuid().map(|uuid| uuid.as_u128() as u32), Some(0x0421));
        assert_eq!(read.tags(), Tags::parse("castle.c.blue, castle"));
    }

    #[test]
    fn memory_is_read_bare_and_keyed() {
        assert_eq!(config(&[("memory", "current=4096")]).memory().mib(), 4096);
        assert_eq!(config(&[]).memory().mib(), 512);
    }

    #[test]
    fn the_uuid_is_plain_beside_encoded_neighbours() {
        let smbios = "base64=1,serial=ZHM9bm9jbG91ZA==,uuid=6F1C0000-0000-4000-8000-000000000421";
        assert!(config(&[("smbios1", smbios)]).uuid().is_some());
        assert_eq!(config(&[("smbios1", "serial=x")]).uuid(), None);
        assert_eq!(config(&[("smbios1", "uuid=later")]).uuid(), None);
    }

    #[test]
    fn disks_are_told_from_media_and_from_other_keys() {
        let read = config(&[
            ("scsi0", "local-lvm:vm-421-disk-1,size=40G"),
            ("scsi1", "file=nfs:500/vm-500-disk-0.qcow2,size=1T"),
            ("scsihw", "virtio-scsi-pci"),
            ("ide0", "local:iso/talos.iso,media=cdrom"),
            ("ide1", "none,media=cdrom"),
            ("ide2", "local-lvm:vm-421-cloudinit,media=cdrom,size=4M"),
            ("efidisk0", "zfs:base-9000-disk-0/vm-421-disk-0,efitype=4m"),
            ("unused0", "local-lvm:vm-4210-disk-0"),
            ("virtio0", "/dev/sdb"),
        ]);
        let found: Vec<_> = read.disks().map(|disk| (disk.key, disk.belongs_to(421), disk.medium)).collect();
        assert_eq!(
            found,
            [
                ("efidisk0", true, false),
                ("ide0", false, true),
                ("ide2", true, false),
                ("scsi0", true, false),
                ("scsi1", false, false),
                ("unused0", false, false),
                ("virtio0", false, false),
            ]
        );
    }

    #[test]
    fn sizes_read_as_they_print() {
        for (text, bytes) in
            [("40G", 40 << 30), ("1246M", 1246 << 20), ("528K", 528 << 10), ("1T", 1 << 40), ("512", 512)]
        {
            assert_eq!(size(text), Some(ByteSize::bytes(bytes)), "{text}");
        }
        assert_eq!(size("1.5G"), Some(ByteSize::bytes(3 << 29)));
        for text in ["", "G", "-1G", "x"] {
            assert_eq!(size(text), None, "{text}");
        }
        for text in ["40G", "1246M"] {
            assert_eq!(size_text(size(text).expect(text)), text);
        }
        assert_eq!(size_text(ByteSize::bytes((1 << 20) + 1)), "2M");
    }

    #[test]
    fn property_strings_keep_their_parts() {
        let card = Properties::parse("virtio=BC:24:11:5E:00:11,bridge=vmbr0,tag=20");
        assert_eq!((card.get("virtio"), card.get("tag"), card.bare()), (Some("BC:24:11:5E:00:11"), Some("20"), None));
        let disk = Properties::parse("local-lvm:vm-1-disk-0,serial=a=b,,discard=on");
        assert_eq!((disk.bare(), disk.get("serial")), (Some("local-lvm:vm-1-disk-0"), Some("a=b")));
    }

    #[test]
    fn tags_are_a_set_without_case_and_order() {
        let tags = Tags::parse("Castle.c.Blue;castle,,castle-dying old");
        assert!(tags.name_castle() && tags.has(DYING) && tags.has("castle.c.blue"));
        assert_eq!(Tags::parse(&tags.text()), tags);
        assert!(!Tags::parse("castles;sandcastle").name_castle());
    }
}
