//! The document without a kind.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::tree::Node;
use super::{Findings, Rules, complaint_of_endpoint, is_subnet_or_address, is_true, items_at, text_at, texts_at};

/// What Talos sets itself in the kubelet's configuration.
const KUBELET_PROTECTED: [&str; 13] = [
    "apiVersion",
    "kind",
    "authentication",
    "authorization",
    "cgroupRoot",
    "kubeletCgroups",
    "systemCgroups",
    "port",
    "protectKernelDefaults",
    "resolvConf",
    "rotateCertificates",
    "staticPodPath",
    "seccompDefault",
];

/// What a node is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Init,
    ControlPlane,
    Worker,
    Unknown,
}

impl Role {
    fn of(text: &str) -> Self {
        match text {
            "init" => Self::Init,
            "controlplane" => Self::ControlPlane,
            // `join` is what it was called once, and what nothing means.
            "worker" | "join" | "" => Self::Worker,
            _ => Self::Unknown,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::ControlPlane => "controlplane",
            Self::Worker => "worker",
            Self::Unknown => "unknown",
        }
    }

    fn rules(self) -> bool {
        matches!(self, Self::Init | Self::ControlPlane)
    }
}

pub(super) fn judge(root: &Node, rules: Rules) -> Findings {
    let mut found = Findings { listed: true, ..Findings::default() };
    let Some(machine) = root.at("machine") else {
        found.error("machine instructions are required");
        return found;
    };
    let written_role = text_at(machine, "type");
    let role = Role::of(written_role);
    cluster(&mut found, root.at("cluster"), role);
    if rules.requires_install {
        install(&mut found, machine);
    }
    let host_dns = "features.hostDNS";
    if is_true(machine, &format!("{host_dns}.forwardKubeDNSToHost"))
        && !is_true(machine, &format!("{host_dns}.enabled"))
    {
        found.error(
            "feature hostDNS.forwardKubeDNSToHost requires hostDNS.enabled to be true (.machine.features.hostDNS)",
        );
    }
    if role != Role::Unknown && role.name() != written_role {
        found.warn(format!("use {:?} instead of {written_role:?} for machine type", role.name()));
    }
    authorities(&mut found, root, machine, role, written_role);
    network(&mut found, machine);
    kubelet(&mut found, machine);
    encryption(&mut found, machine);
    kubespan(&mut found, root, machine);
    extensions(&mut found, machine);
    if machine.at("features.kubernetesTalosAPIAccess").is_some() && !role.rules() {
        found.error("feature Kubernetes Talos API Access can only be enabled on control plane machines");
    }
    if text_at(root, "persist") == "false" {
        found.error(".persist should be enabled");
    }
    if rules.strict {
        let warnings = std::mem::take(&mut found.warnings);
        found.errors.extend(warnings.into_iter().map(|warning| format!("warning: {warning}")));
    }
    found
}

fn cluster(found: &mut Findings, cluster: Option<&Node>, role: Role) {
    let Some(cluster) = cluster else {
        found.error("cluster instructions are required");
        return;
    };
    if let Some(control_plane) = cluster.at("controlPlane") {
        if control_plane.at("endpoint").is_none() {
            found.error("cluster controlplane endpoint is required");
            return;
        }
        if let Some(complaint) = complaint_of_endpoint(text_at(control_plane, "endpoint")) {
            found.error(format!("invalid controlplane endpoint: {complaint}"));
        }
    }
    let domain = text_at(cluster, "network.dnsDomain");
    if !domain.is_empty() && !is_dns_name(domain) {
        found.error(format!("{domain:?} is not a valid DNS name"));
    }
    if cluster
        .at("externalCloudProvider")
        .is_some_and(|provider| !is_true(provider, "enabled") && !items_at(provider, "manifests").is_empty())
    {
        found.error("external cloud provider is disabled, but manifests are provided");
    }
    if let Some(etcd) = cluster.at("etcd") {
        if role.rules() {
            etcd_section(found, etcd);
        } else {
            found.error("etcd config is only allowed on control plane machines");
        }
    }
    if !role.rules() && !text_at(cluster, "ca.key").is_empty() {
        found.error("cluster CA key is not allowed on non-controlplane nodes (.cluster.ca)");
    }
    let mut names = BTreeSet::new();
    for manifest in items_at(cluster, "inlineManifests") {
        let name = text_at(manifest, "name");
        if name.trim().is_empty() {
            found.error("inline manifest name can't be empty");
        }
        if !names.insert(name) {
            found.error(format!("inline manifest name {name:?} is duplicate"));
        }
    }
    if is_true(cluster, "discovery.enabled") && !is_true(cluster, "discovery.registries.service.disabled") {
        for key in ["id", "secret"] {
            if text_at(cluster, key).is_empty() {
                found.error(format!("cluster discovery service requires .cluster.{key}"));
            }
        }
    }
}

fn etcd_section(found: &mut Findings, etcd: &Node) {
    if etcd.at("ca").is_none() {
        found.error("key/cert combination should not be empty");
    }
    if !text_at(etcd, "subnet").is_empty() && !items_at(etcd, "advertisedSubnets").is_empty() {
        found.error("etcd subnet can't be set when advertised subnets are set");
    }
    for (key, what) in [("advertisedSubnets", "advertised"), ("listenSubnets", "listen")] {
        for cidr in texts_at(etcd, key).map(|cidr| cidr.strip_prefix('!').unwrap_or(cidr)) {
            if !is_subnet_or_address(cidr) {
                found.error(format!("etcd {what} subnet is not valid: {cidr:?}"));
            }
        }
    }
}

fn install(found: &mut Findings, machine: &Node) {
    let Some(install) = machine.at("install") else { return };
    if text_at(install, "disk").is_empty() && install.at("diskSelector").is_none() {
        found.error("either install disk or diskSelector should be defined");
    }
    if !items_at(install, "extraKernelArgs").is_empty() && is_true(install, "grubUseUKICmdline") {
        found.error("install.extraKernelArgs and install.grubUseUKICmdline can't be used together");
    }
}

fn authorities(found: &mut Findings, root: &Node, machine: &Node, role: Role, written_role: &str) {
    let ca = machine.at("ca");
    let accepts_others = !items_at(machine, "acceptedCAs").is_empty();
    if ca.is_none() && !accepts_others {
        found.error("issuing CA or some accepted CAs are required (.machine.ca, machine.acceptedCAs)");
    }
    match role {
        Role::Init | Role::ControlPlane => {
            if let Some(cni) = root.at("cluster.network") {
                self::cni(found, cni.at("cni"));
            }
            match ca {
                None => found.error("issuing CA is required (.machine.ca)"),
                Some(ca) if text_at(ca, "key").is_empty() => {
                    found.error("issuing CA key is required for controlplane nodes (.machine.ca.key)");
                }
                Some(_) => {}
            }
        }
        Role::Worker => {
            for device in items_at(machine, "network.interfaces") {
                let vlans = items_at(device, "vlans").iter().filter(|vlan| vlan.at("vip").is_some()).count();
                for _ in 0..usize::from(device.at("vip").is_some()) + vlans {
                    found.error("virtual (shared) IP is not allowed on non-controlplane nodes");
                }
            }
            if let Some(ca) = ca {
                if !text_at(ca, "key").is_empty() {
                    found.error("issuing Talos API CA key is not allowed on non-controlplane nodes (.machine.ca)");
                }
                if text_at(ca, "crt").is_empty() && !accepts_others {
                    found.error(
                        "trusted CA certificates are required on non-controlplane nodes \
                         (.machine.ca.crt, .machine.acceptedCAs)",
                    );
                }
            }
            if !text_at(root, "cluster.ca.key").is_empty() {
                found.error("issuing Kubernetes API CA key is not allowed on non-controlplane nodes (.cluster.ca)");
            }
        }
        Role::Unknown => found.error(format!("unknown machine type {written_role:?}")),
    }
}

fn cni(found: &mut Findings, cni: Option<&Node>) {
    let Some(cni) = cni else { return };
    let (name, urls) = (text_at(cni, "name"), items_at(cni, "urls"));
    match name {
        "" | "flannel" | "none" => {
            let name = if name.is_empty() { "flannel" } else { name };
            if !urls.is_empty() {
                found.error(format!("\"urls\" field should be empty for {name:?} CNI"));
            }
        }
        "custom" => {
            if urls.is_empty() {
                found.warn(format!("\"urls\" field should not be empty for {name:?} CNI"));
            }
            for url in texts_at(cni, "urls") {
                if let Some(complaint) = complaint_of_endpoint(url) {
                    found.error(complaint);
                }
            }
        }
        _ => found.error("cni name should be one of [\"flannel\", \"custom\", \"none\"]"),
    }
    if ["custom", "none"].contains(&name) && !items_at(cni, "flannel.extraArgs").is_empty() {
        found.error(format!("\"flanneldExtraArgs\" field should be empty for {name:?} CNI"));
    }
}

fn network(found: &mut Findings, machine: &Node) {
    let devices = items_at(machine, "network.interfaces");
    let mut secondary: BTreeMap<&str, &str> = BTreeMap::new();
    for device in devices {
        let name = text_at(device, "interface");
        if device.at("bond").is_some() && device.at("bridge").is_some() {
            found.error(format!(
                "interface has both bridge and bond sections set {name:?}: config sections are mutually exclusive"
            ));
        }
        for other in texts_at(device, "bond.interfaces").chain(texts_at(device, "bridge.interfaces")) {
            if let Some(first) = secondary.insert(other, name).filter(|first| *first != name) {
                found.error(format!(
                    "interface {other:?} is declared as part of two separate links: {first:?} and {name:?}"
                ));
            }
        }
    }
    for device in devices.iter().filter(|device| !is_true(device, "ignore")) {
        self::device(found, device, &secondary);
    }
}

fn device(found: &mut Findings, device: &Node, secondary: &BTreeMap<&str, &str>) {
    let name = text_at(device, "interface");
    let both = "[networking.os.device.interface], [networking.os.device.deviceSelector]";
    match (name.is_empty(), device.at("deviceSelector").is_some()) {
        (true, false) => found.error(format!("{both}: required either config section to be set")),
        (false, true) => found.error(format!("{both}: config sections are mutually exclusive")),
        _ => {}
    }
    let (cidr, addresses) = (text_at(device, "cidr"), items_at(device, "addresses"));
    let is_addressed =
        is_true(device, "dhcp") || !cidr.is_empty() || !addresses.is_empty() || device.at("vip").is_some();
    if secondary.contains_key(name) && is_addressed {
        found.error(format!(
            "[networking.os.device] {name:?}: bonded/bridged interface shouldn't have any addressing methods configured"
        ));
    }
    if !cidr.is_empty() && !addresses.is_empty() {
        found.error(format!("[networking.os.device] {name:?}: interface can't have both .cidr and .addresses set"));
    }
    if !cidr.is_empty() {
        if let Some(complaint) = complaint_of_address(cidr) {
            found.error(format!("[networking.os.device.CIDR] {name:?}: {complaint}"));
        }
        found.warn(format!(
            "{name:?}: machine.network.interface.cidr is deprecated, please use machine.network.interface.addresses"
        ));
    }
    for address in texts_at(device, "addresses") {
        if let Some(complaint) = complaint_of_address(address) {
            found.error(format!("[networking.os.device.addresses] {name:?}: {complaint}"));
        }
    }
    let vip = text_at(device, "vip.ip");
    if device.at("vip").is_some() && vip.parse::<IpAddr>().is_err() {
        found.error(format!("[networking.os.device.vip] failed to parse {vip:?} as IP address"));
    }
    for (index, route) in items_at(device, "routes").iter().enumerate() {
        let place = format!("networking.os.device.route[{index}]");
        let (net, gateway, source) = (text_at(route, "network"), text_at(route, "gateway"), text_at(route, "source"));
        if !net.is_empty() && net.parse::<ipnet::IpNet>().is_err() {
            found.error(format!("[{place}.network] {net:?}: invalid network address"));
        }
        if !gateway.is_empty() && gateway.parse::<IpAddr>().is_err() {
            found.error(format!("[{place}.gateway] {gateway:?}: invalid network address"));
        }
        if gateway.is_empty() && net.is_empty() {
            found.error(format!("[{place}]: either network or gateway should be set"));
        }
        if !source.is_empty() && source.parse::<IpAddr>().is_err() {
            found.error(format!("[{place}.source] {source:?}: invalid network address"));
        }
    }
}

fn complaint_of_address(address: &str) -> Option<String> {
    if is_subnet_or_address(address) {
        None
    } else if address.contains('/') {
        Some(format!("invalid CIDR address: {address}"))
    } else {
        Some(format!("failed to parse IP address {address:?}"))
    }
}

fn kubelet(found: &mut Findings, machine: &Node) {
    for cidr in texts_at(machine, "kubelet.nodeIP.validSubnets") {
        let cidr = cidr.strip_prefix('!').unwrap_or(cidr);
        if !is_subnet_or_address(cidr) {
            found.error(format!("kubelet nodeIP subnet is not valid: {cidr:?}"));
        }
    }
    for field in KUBELET_PROTECTED {
        if machine.at("kubelet.extraConfig").is_some_and(|config| config.get(field).is_some()) {
            found.error(format!("kubelet configuration field {field:?} can't be overridden"));
        }
    }
}

fn encryption(found: &mut Findings, machine: &Node) {
    for (section, label) in [("ephemeral", "EPHEMERAL"), ("state", "STATE")] {
        let Some(encryption) = machine.at(&format!("systemDiskEncryption.{section}")) else { continue };
        let keys = items_at(encryption, "keys");
        if keys.is_empty() {
            found.error(format!("partition {label:?}: no encryption keys provided"));
        }
        let mut slots = BTreeSet::new();
        for key in keys {
            let slot = text_at(key, "slot");
            if !slots.insert(slot) {
                found.error(format!("partition {label:?}: encryption key slot {slot} is already in use"));
            }
            if ["nodeID", "static", "kms", "tpm"].iter().all(|kind| key.at(kind).is_none()) {
                found.error(format!(
                    "partition {label:?}: encryption key at slot {slot} doesn't have the configuration parameters"
                ));
            }
        }
    }
}

fn kubespan(found: &mut Findings, root: &Node, machine: &Node) {
    if !is_true(machine, "network.kubespan.enabled") {
        return;
    }
    let mtu = text_at(machine, "network.kubespan.mtu");
    if mtu.parse::<u32>().is_ok_and(|mtu| mtu < 1280) {
        found.error("kubespan link MTU must be at least 1280");
    }
    if !is_true(root, "cluster.discovery.enabled") {
        found.error(".cluster.discovery should be enabled when .machine.network.kubespan is enabled");
    }
}

fn extensions(found: &mut Findings, machine: &Node) {
    let mut images = BTreeSet::new();
    for extension in items_at(machine, "install.extensions") {
        let image = text_at(extension, "image");
        if !images.insert(image) {
            found.error(format!("duplicate system extension {image:?}"));
        }
    }
    if !images.is_empty() {
        found.warn(
            ".machine.install.extensions is deprecated, please see \
             https://docs.siderolabs.com/talos/latest/platform-specific-installations/boot-assets",
        );
    }
}

fn is_dns_name(name: &str) -> bool {
    let name = name.strip_suffix(['.', '_']).unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    name.len() <= 255 && name.split('.').all(label)
}
