//! What a machine's disk remembers: it lives as long as the volume, not as long
//! as the power.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::config::MachineConfig;

/// The system disk of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// STATE: the configuration that was applied.
    pub config: Option<Arc<MachineConfig>>,
    /// STATE: the identity that the node drew for itself.
    pub node_id: Option<String>,
    /// Whether EPHEMERAL was formatted.
    pub ephemeral: bool,
    /// EPHEMERAL: `/var/lib/etcd`.
    pub etcd: Option<DataDirectory>,
    /// EPHEMERAL: whether the images of a control plane, or the kubelet's, were
    /// pulled before.
    pub images: bool,
    /// EPHEMERAL: whether the images of the pod network were.
    pub network_images: bool,
}

/// `/var/lib/etcd`, when it is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataDirectory {
    /// The etcd cluster that it belongs to.
    pub cluster: u64,
    /// The member that it is.
    pub member: u64,
}

/// What a test leaves on a disk that should be blank.
#[derive(Clone, PartialEq, Eq)]
pub enum Residue {
    /// STATE with this configuration: the node boots with it and never waits in
    /// maintenance. An old life, or another cluster with its own authority.
    Config(String),
    /// EPHEMERAL with the data directory of an etcd whose other members are gone.
    /// So many members are remembered.
    Etcd {
        /// How many members the old cluster had.
        members: u8,
    },
    /// EPHEMERAL that was formatted, without anything in it.
    Ephemeral,
}

/// A configuration is one secret.
impl fmt::Debug for Residue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(text) => write!(f, "Config({} bytes)", text.len()),
            Self::Etcd { members } => f.debug_struct("Etcd").field("members", members).finish(),
            Self::Ephemeral => f.write_str("Ephemeral"),
        }
    }
}

impl Disk {
    /// The partitions that Talos finds on it, by label: (label, file system).
    #[must_use]
    pub fn partitions(&self) -> Vec<(&'static str, &'static str)> {
        let mut found = vec![("EFI", "vfat"), ("BIOS", ""), ("BOOT", "xfs"), ("META", "talosmeta")];
        // The image has both partitions; a file system says that they were used.
        found.push(("STATE", if self.config.is_some() || self.node_id.is_some() { "xfs" } else { "" }));
        if self.ephemeral {
            found.push(("EPHEMERAL", "xfs"));
        }
        found
    }

    /// Forgets partitions by their labels, as a reset does.
    pub fn wipe(&mut self, label: &str) {
        match label {
            "STATE" => (self.config, self.node_id) = (None, None),
            "EPHEMERAL" => {
                (self.ephemeral, self.etcd) = (false, None);
                (self.images, self.network_images) = (false, false);
            }
            _ => {}
        }
    }
}

/// What an image file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageContent {
    /// The Talos release, with its `v`.
    pub release: String,
    /// The id of the schematic that it was built from.
    pub schematic: String,
    /// Its extensions.
    pub extensions: Vec<String>,
    /// Whether it boots at all.
    pub boots: bool,
}

/// The image files that the house knows, by file name.
#[derive(Debug, Clone, Default)]
pub struct Images(pub BTreeMap<String, ImageContent>);

impl Images {
    /// What a file holds, if it is a Talos image: known ones, and files that are
    /// named `talos-<id>-<release>.<format>`.
    #[must_use]
    pub fn content(&self, file: &str) -> Option<ImageContent> {
        if let Some(known) = self.0.get(file) {
            return Some(known.clone());
        }
        let stem = file.strip_prefix("talos-")?;
        let stem = stem.strip_suffix(".qcow2").or_else(|| stem.strip_suffix(".raw"))?;
        let (schematic, release) = stem.rsplit_once('-')?;
        let is_release = release.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        is_release.then(|| ImageContent {
            release: release.to_owned(),
            schematic: schematic.to_owned(),
            extensions: Vec::new(),
            boots: true,
        })
    }
}
