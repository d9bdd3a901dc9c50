//! Documents with a kind.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::tree::Node;
use super::super::{Document, Version};
use super::{Findings, is_true, items_at, size, text_at};

/// Volumes of the system, and the release that lets them be configured.
const VOLUMES: [(&str, Version); 7] = [
    ("STATE", Version::V1_13),
    ("EPHEMERAL", Version::V1_13),
    ("IMAGECACHE", Version::V1_13),
    ("ETCD", Version::V1_14),
    ("CRI", Version::V1_14),
    ("KUBELET", Version::V1_14),
    ("LOG", Version::V1_14),
];

pub(super) fn judge(document: &Document, version: Version) -> Findings {
    let (mut found, root) = (Findings::default(), &document.root);
    match document.kind {
        "HostnameConfig" => hostname(&mut found, root),
        "Layer2VIPConfig" => vip(&mut found, root),
        "LinkConfig" => link(&mut found, root),
        "VolumeConfig" => volume(&mut found, root, version),
        "UserVolumeConfig" => user_volume(&mut found, root),
        _ => {}
    }
    found
}

/// What a document says that the one without a kind says too.
pub(super) fn conflict(document: &Document, machine: &Node) -> Option<String> {
    match document.kind {
        "HostnameConfig" if !text_at(machine, "machine.network.hostname").is_empty() => {
            Some("static hostname is already set in v1alpha1 config".to_owned())
        }
        "VolumeConfig" => {
            let name = document.name.as_str();
            let old = machine.at(&format!("machine.systemDiskEncryption.{}", name.to_lowercase()));
            let both = old.is_some() && !text_at(&document.root, "encryption.provider").is_empty();
            both.then(|| {
                format!("system disk encryption for {name:?} is configured in both v1alpha1.Config and VolumeConfig")
            })
        }
        _ => None,
    }
}

fn hostname(found: &mut Findings, root: &Node) {
    let (auto, hostname) = (text_at(root, "auto"), text_at(root, "hostname"));
    if auto.is_empty() && hostname.is_empty() {
        found.error("either 'auto' or 'hostname' must be set");
    }
    if !auto.is_empty() && auto != "off" && !hostname.is_empty() {
        found.error("'auto' and 'hostname' cannot be set at the same time");
    }
    if !["", "off", "stable"].contains(&auto) {
        found.error(format!("invalid value for 'auto': {auto:?}"));
    }
    if hostname.is_empty() {
        return;
    }
    if hostname.len() > 253 {
        found.error(format!("fqdn is too long: {}", hostname.len()));
    }
    let label = hostname.split('.').next().unwrap_or_default();
    if label.is_empty() || label.len() > 63 {
        found.error(format!("invalid hostname {label:?}"));
    }
}

fn vip(found: &mut Findings, root: &Node) {
    let name = text_at(root, "name");
    if name.is_empty() {
        found.error("name must be specified");
    } else if name.parse::<IpAddr>().is_err() {
        found.error(format!("name must be a valid IP address: ParseAddr({name:?}): unable to parse IP"));
    }
    if text_at(root, "link").is_empty() {
        found.error("link must be specified");
    }
}

fn link(found: &mut Findings, root: &Node) {
    if text_at(root, "name").is_empty() {
        found.error("name must be specified");
    }
    for (index, address) in items_at(root, "addresses").iter().enumerate() {
        match text_at(address, "address") {
            "" => found.error(format!("address {index} must be specified")),
            text => match text.parse::<ipnet::IpNet>() {
                Err(_) => found.error(format!("address {index} must be a valid IP prefix")),
                Ok(net) if net.addr().is_unspecified() => {
                    found.error(format!("address {index} must be a valid IP address"));
                }
                Ok(_) => {}
            },
        }
    }
    for (index, route) in items_at(root, "routes").iter().enumerate() {
        let destination = text_at(route, "destination");
        if !destination.is_empty()
            && destination.parse::<ipnet::IpNet>().map_or(true, |net| net.addr().is_unspecified())
        {
            found.error(format!("route {index} destination must be a valid IP prefix"));
        }
        for key in ["gateway", "source"] {
            let text = text_at(route, key);
            if !text.is_empty() && text.parse::<IpAddr>().map_or(true, |address| address.is_unspecified()) {
                found.error(format!("route {index} {key} must be a valid IP address"));
            }
        }
    }
}

fn volume(found: &mut Findings, root: &Node, version: Version) {
    let name = text_at(root, "name");
    let known: Vec<&str> = VOLUMES.iter().filter(|(_, since)| version >= *since).map(|(name, _)| *name).collect();
    if !known.contains(&name) {
        let list: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
        found.error(format!("only [{}] volumes are supported", list.join(" ")));
        return;
    }
    let has = |key| root.at(key).is_some_and(|section| !section.entries().is_empty());
    if name == "STATE" {
        if has("provisioning") {
            found.error(format!("provisioning config is not allowed for the {name:?} volume"));
        }
        if items_at(root, "encryption.keys").iter().any(|key| is_true(key, "lockToState")) {
            found.error(format!("state-locked key is not allowed for the {name:?} volume"));
        }
    }
    if ["STATE", "IMAGECACHE"].contains(&name) && has("mount") {
        found.error(format!("mount config is not allowed for the {name:?} volume"));
    }
    provisioning(found, root, false, true);
    encryption(found, root);
}

fn user_volume(found: &mut Findings, root: &Node) {
    /// A partition's label has 36 characters, two of them are `u-`.
    const LONGEST: usize = 34;
    let name = text_at(root, "name");
    if name.is_empty() {
        found.error("name is required");
    }
    if name.is_empty() || name.len() > LONGEST {
        found.error(format!("name must be between 1 and {LONGEST} characters long"));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        found.error("name can only contain lowercase and uppercase ASCII letters, digits, and hyphens");
    }
    match text_at(root, "volumeType") {
        "directory" => {
            for section in ["provisioning", "encryption", "filesystem"] {
                if root.at(section).is_some_and(|section| !section.entries().is_empty()) {
                    found.error(format!("{section} spec is invalid for volumeType directory"));
                }
            }
            if root.at("mount.disableAccessTime").is_some() {
                found.error("mount.disableAccessTime is invalid for volumeType directory");
            }
        }
        kind @ ("" | "partition" | "disk") => {
            provisioning(found, root, true, kind != "disk");
            let filesystem = text_at(root, "filesystem.type");
            if !["", "xfs", "ext4", "btrfs"].contains(&filesystem) {
                found.error(format!("unsupported filesystem type: {filesystem:?}"));
            } else if is_true(root, "filesystem.projectQuotaSupport") && !["", "xfs"].contains(&filesystem) {
                found.error("project quota support is only available for xfs filesystem");
            }
            encryption(found, root);
        }
        other => found.error(format!("unsupported volume type {other:?}")),
    }
}

fn provisioning(found: &mut Findings, root: &Node, required: bool, sized: bool) {
    let (min, max) = (text_at(root, "provisioning.minSize"), text_at(root, "provisioning.maxSize"));
    if required && text_at(root, "provisioning.diskSelector.match").is_empty() {
        found.error("disk selector is required");
    }
    if !sized {
        if !min.is_empty() || !max.is_empty() || root.at("provisioning.grow").is_some() {
            found.error("min size, max size and grow are not supported");
        }
        return;
    }
    if let (Some(min), Some(max)) = (size(min), size(max))
        && max >= 0.0
        && min > max
    {
        found.error("min size is greater than max size");
    }
    if required && min.is_empty() && max.is_empty() {
        found.error("min size or max size is required");
    }
    if min.starts_with('-') {
        found.error("min size cannot be negative");
    }
}

fn encryption(found: &mut Findings, root: &Node) {
    let (provider, keys) = (text_at(root, "encryption.provider"), items_at(root, "encryption.keys"));
    if provider.is_empty() && keys.is_empty() {
        return;
    }
    if provider != "luks2" {
        let shown = if provider.is_empty() { "none".to_owned() } else { format!("{provider:?}") };
        found.error(format!("unsupported encryption provider: {shown}"));
    }
    if keys.is_empty() {
        found.error("encryption keys are required");
    }
    let mut slots = BTreeSet::new();
    for key in keys {
        let slot = match text_at(key, "slot") {
            "" => "0",
            slot => slot,
        };
        if !slots.insert(slot) {
            found.error(format!("duplicate key slot {slot}"));
        }
        if ["static", "nodeID", "kms", "tpm"].iter().all(|kind| key.at(kind).is_none()) {
            found.error(format!("at least one encryption key type must be specified for slot {slot}"));
        }
    }
}
