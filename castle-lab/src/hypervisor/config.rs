//! The configuration file of a machine, and the property strings in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sha2::{Digest, Sha256};

/// A machine's configuration: keys and values as the file holds them, and what
/// waits for the next cold start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    values: BTreeMap<String, String>,
    pending: BTreeMap<String, String>,
    pending_removals: BTreeSet<String>,
}

impl Config {
    /// A file that holds nothing but a lock: what a create writes first, as its
    /// reservation of the number.
    #[must_use]
    pub fn stub(lock: &str) -> Self {
        Self { values: BTreeMap::from([("lock".to_owned(), lock.to_owned())]), ..Self::default() }
    }

    /// The value of a key as it is in force.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// Writes a value that is in force at once.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.pending.remove(key);
        self.pending_removals.remove(key);
        self.values.insert(key.to_owned(), value.into());
    }

    /// Removes a key at once.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.pending.remove(key);
        self.pending_removals.remove(key);
        self.values.remove(key)
    }

    /// Writes a value that a running machine takes over at its next cold start.
    pub fn set_pending(&mut self, key: &str, value: impl Into<String>) {
        self.pending_removals.remove(key);
        self.pending.insert(key.to_owned(), value.into());
    }

    /// Marks a key for removal at the next cold start.
    pub fn remove_pending(&mut self, key: &str) {
        self.pending.remove(key);
        self.pending_removals.insert(key.to_owned());
    }

    /// Puts what waited in force: a cold start.
    pub fn settle(&mut self) {
        for key in std::mem::take(&mut self.pending_removals) {
            self.values.remove(&key);
        }
        self.values.append(&mut self.pending);
    }

    /// The keys and values in force.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The keys and values as the next cold start will see them.
    #[must_use]
    pub fn upcoming(&self) -> BTreeMap<String, String> {
        let mut next = self.clone();
        next.settle();
        next.values
    }

    /// The volumes that drives refer to, with the drive's key.
    pub fn volumes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter(|(key, _)| is_drive(key) || key.starts_with("unused")).filter_map(|(key, value)| {
            let volume = PropertyString::parse(value).first()?.to_owned();
            let at = value.find(&volume)?;
            let text = &value[at..at + volume.len()];
            (text.contains(':')).then_some((key, text))
        })
    }

    /// Whether a drive of it is the cloud-init drive.
    #[must_use]
    pub fn has_cloud_init(&self) -> bool {
        self.volumes().any(|(_, volume)| volume.ends_with("-cloudinit") || volume.contains("-cloudinit."))
    }

    /// A number under a key, or the default.
    #[must_use]
    pub fn number(&self, key: &str, default: u64) -> u64 {
        let text = self.get(key).map(|value| PropertyString::parse(value).first_or("current").unwrap_or_default());
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// Memory in MiB; Proxmox VE's default is 512.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.number("memory", 512)
    }

    /// Whether a boolean key is set.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.get(key) == Some("1")
    }

    /// The 40 hexadecimal digits that stand for the file's text. Proxmox VE uses
    /// SHA-1; clients may only compare it.
    #[must_use]
    pub fn digest(&self) -> String {
        hex::encode(&Sha256::digest(self.to_string())[..20])
    }
}

impl fmt::Display for Config {
    /// The file's text: description as comment lines first, keys in order, the
    /// pending section last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(description) = self.values.get("description") {
            for line in description.lines() {
                writeln!(f, "#{line}")?;
            }
        }
        for (key, value) in self.values.iter().filter(|(key, _)| *key != "description") {
            writeln!(f, "{key}: {value}")?;
        }
        if !self.pending.is_empty() || !self.pending_removals.is_empty() {
            writeln!(f, "\n[PENDING]")?;
            for (key, value) in &self.pending {
                writeln!(f, "{key}: {value}")?;
            }
            if !self.pending_removals.is_empty() {
                let keys: Vec<_> = self.pending_removals.iter().map(String::as_str).collect();
                writeln!(f, "delete: {}", keys.join(","))?;
            }
        }
        Ok(())
    }
}

/// Whether a key names a drive.
#[must_use]
pub fn is_drive(key: &str) -> bool {
    let indexed = |prefix: &str, count: u32| {
        key.strip_prefix(prefix)
            .is_some_and(|index| index.parse::<u32>().is_ok_and(|n| n < count && n.to_string() == index))
    };
    indexed("ide", 4)
        || indexed("scsi", 31)
        || indexed("virtio", 16)
        || indexed("sata", 6)
        || key == "efidisk0"
        || key == "tpmstate0"
}

/// A value of the form `bare,key=value,key=value`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PropertyString {
    bare: Option<String>,
    properties: BTreeMap<String, String>,
}

impl PropertyString {
    /// Splits a value at its commas.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut parsed = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((key, value)) => {
                    parsed.properties.insert(key.to_owned(), value.to_owned());
                }
                None => parsed.bare = Some(part.to_owned()),
            }
        }
        parsed
    }

    /// The part without a key.
    #[must_use]
    pub fn first(&self) -> Option<&str> {
        self.bare.as_deref().or_else(|| self.get("file")).or_else(|| self.get("volume"))
    }

    /// The part without a key, or the value of the key it stands for.
    #[must_use]
    pub fn first_or(&self, key: &str) -> Option<String> {
        self.bare.clone().or_else(|| self.properties.get(key).cloned())
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }

    /// Sets a key.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.properties.insert(key.to_owned(), value.into());
    }

    /// Sets the part without a key.
    pub fn set_first(&mut self, value: impl Into<String>) {
        self.properties.remove("file");
        self.properties.remove("volume");
        self.bare = Some(value.into());
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.properties.remove(key)
    }

    /// The keys and values, without the bare part.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl fmt::Display for PropertyString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(bare) = &self.bare {
            f.write_str(bare)?;
            separator = ",";
        }
        for (key, value) in &self.properties {
            write!(f, "{separator}{key}={value}")?;
            separator = ",";
        }
        Ok(())
    }
}

/// Tags as Proxmox VE stores them by default: lower case, sorted, each once,
/// joined by `;`.
#[must_use]
pub fn stored_tags(text: &str) -> String {
    let tags: BTreeSet<String> = split_list(text).map(str::to_lowercase).collect();
    tags.into_iter().collect::<Vec<_>>().join(";")
}

/// Splits a list of Proxmox VE at commas, semicolons, blanks and NUL.
pub fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ';', ' ', '\t', '\n', '\0']).filter(|item| !item.is_empty())
}

/// The model and the hardware address of a network card, as `virtio=MAC` or
/// `model=virtio,macaddr=MAC` say it.
#[must_use]
pub fn network_card(text: &str) -> (Option<String>, Option<String>) {
    let card = PropertyString::parse(text);
    if let Some(model) = card.get("model") {
        return (Some(model.to_owned()), card.get("macaddr").map(str::to_owned));
    }
    if let Some(model) = &card.bare {
        return (Some(model.clone()), card.get("macaddr").map(str::to_owned));
    }
    let named = card.iter().find(|(key, _)| NETWORK_MODELS.contains(key));
    (named.map(|(model, _)| model.to_owned()), named.map(|(_, mac)| mac.to_owned()))
}

/// The same card with that hardware address, model first.
#[must_use]
pub fn with_hardware_address(text: &str, mac: &str) -> String {
    let (model, _) = network_card(text);
    let model = model.unwrap_or_else(|| "virtio".to_owned());
    let mut card = PropertyString::parse(text);
    card.bare = None;
    for key in ["model", "macaddr", model.as_str()] {
        card.remove(key);
    }
    let rest = card.to_string();
    let separator = if rest.is_empty() { "" } else { "," };
    format!("{model}={mac}{separator}{rest}")
}

/// The card models that may stand as a key before the hardware address.
pub const NETWORK_MODELS: [&str; 15] = [
    "e1000",
    "e1000-82540em",
    "e1000-82544gc",
    "e1000-82545em",
    "e1000e",
    "i82551",
    "i82557b",
    "i82559er",
    "ne2k_isa",
    "ne2k_pci",
    "pcnet",
    "rtl8139",
    "virtio",
    "vmxnet3",
    "vmxnet",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_follows_every_change() {
        let mut config = Config::stub("create");
        let before = config.digest();
        assert_eq!(before.len(), 40);
        config.set("name", "blue-cp-01");
        let named = config.digest();
        assert_ne!(before, named);
        config.set_pending("cores", "8");
        assert_ne!(named, config.digest());
        assert_eq!(config.get("cores"), None);
        assert_eq!(config.upcoming()["cores"], "8");
        config.settle();
        assert_eq!(config.get("cores"), Some("8"));
    }

    #[test]
    fn a_card_keeps_its_options_when_it_gets_an_address() {
        for (given, expected) in [
            ("virtio,bridge=vmbr0", "virtio=BC:24:11:00:00:01,bridge=vmbr0"),
            ("model=virtio,bridge=vmbr0,tag=7", "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=7"),
            ("e1000=AA:00:00:00:00:01,bridge=vmbr0", "e1000=BC:24:11:00:00:01,bridge=vmbr0"),
        ] {
            assert_eq!(with_hardware_address(given, "BC:24:11:00:00:01"), expected);
        }
    }

    #[test]
    fn tags_are_a_sorted_set_in_lower_case() {
        assert_eq!(stored_tags("castle.r.cp,Castle; castle castle.c.blue"), "castle;castle.c.blue;castle.r.cp");
    }

    #[test]
    fn volumes_of_drives_are_found() {
        let mut config = Config::default();
        config.set("scsi0", "local-lvm:vm-421-disk-1,size=40G");
        config.set("ide2", "local-lvm:vm-421-cloudinit,media=cdrom");
        config.set("ide3", "none,media=cdrom");
        config.set("scsihw", "virtio-scsi-pci");
        let found: Vec<_> = config.volumes().collect();
        assert_eq!(found, [("ide2", "local-lvm:vm-421-cloudinit"), ("scsi0", "local-lvm:vm-421-disk-1")]);
        assert!(config.has_cloud_init());
    }
}
