//! The machine configuration as a node reads it: the few fields that the model
//! acts upon, and a refusal of whatever the release does not know.
//!
//! Written apart from castle's own renderer and decoder, so that one misreading
//! is not shared: a configuration must pass both.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use castle_core::{Secret, SecretText};
use castle_talos::config as strict;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineType {
    /// It carries etcd and the API server.
    ControlPlane,
    /// It carries work only.
    Worker,
}

impl MachineType {
    /// The name in configurations and resources.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "controlplane",
            Self::Worker => "worker",
        }
    }
}

/// An authority as a configuration carries it.
#[derive(Clone, Default)]
pub struct Authority {
    /// The certificate, PEM.
    pub certificate: String,
    /// The key, PEM; workers have none.
    pub key: Option<SecretText>,
}

impl Authority {
    /// Tells authorities apart.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(self.certificate.trim()))
    }
}

/// The certificate names the key.
impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        self.certificate == other.certificate
    }
}

impl Eq for Authority {}

/// A configuration that was read and accepted.
#[derive(Clone)]
pub struct MachineConfig {
    /// The text as it came.
    pub text: SecretText,
    /// Control plane or worker.
    pub machine_type: MachineType,
    /// What the node shows to trustd.
    pub machine_token: SecretText,
    /// The authority of the Talos API.
    pub os_ca: Authority,
    /// The authority of the Kubernetes API.
    pub kubernetes_ca: Authority,
    /// The authority of etcd; control planes only.
    pub etcd_ca: Option<Authority>,
    /// Names the cluster at the discovery service.
    pub cluster_id: String,
    /// Opens what stands there.
    pub cluster_secret: SecretText,
    /// The cluster's name.
    pub cluster_name: String,
    /// The host of the endpoint: an address or a name.
    pub endpoint: String,
    /// Further names of the API server.
    pub api_names: Vec<String>,
    /// Further names of the Talos API.
    pub certificate_names: Vec<String>,
    /// The Kubernetes release, from the kubelet's image.
    pub kubernetes: String,
    /// The host name that was given; else one is derived.
    pub hostname: Option<String>,
    /// The addresses that were given; empty: DHCP, or the hypervisor's drive.
    pub addresses: Vec<String>,
    /// Shared addresses, with their link.
    pub vips: Vec<(IpAddr, String)>,
    /// Whether it tells the discovery service of itself.
    pub discovery: bool,
    /// The volumes that are encrypted.
    pub encrypted: BTreeSet<String>,
    /// The user volumes.
    pub user_volumes: Vec<String>,
    /// What the node would rather not see.
    pub warnings: Vec<String>,
}

impl MachineConfig {
    /// The cluster id by which it is known to the discovery service; empty if it keeps
    /// away from there.
    pub(crate) fn discovery_id(&self) -> String {
        if self.discovery { self.cluster_id.clone() } else { String::new() }
    }
}

/// Everything was read from the text.
impl PartialEq for MachineConfig {
    fn eq(&self, other: &Self) -> bool {
        self.text.expose() == other.text.expose()
    }
}

impl Eq for MachineConfig {}

impl fmt::Debug for MachineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineConfig")
            .field("machine_type", &self.machine_type)
            .field("cluster_name", &self.cluster_name)
            .field("hostname", &self.hostname)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("has_key", &self.key.is_some()).finish_non_exhaustive()
    }
}

/// The documents of Talos 1.13, each with the keys that it knows; `None`: the
/// lab looks no deeper.
const DOCUMENTS: &[(&str, Option<&[&str]>)] = &[
    ("HostnameConfig", Some(&["hostname", "auto"])),
    ("LinkConfig", Some(&["name", "up", "mtu", "addresses", "routes", "multicast"])),
    ("Layer2VIPConfig", Some(&["name", "link"])),
    ("ResolverConfig", Some(&["nameservers", "searchDomains"])),
    ("TimeSyncConfig", Some(&["enabled", "bootTimeout", "ntp", "ptp"])),
    ("VolumeConfig", Some(&["name", "provisioning", "encryption", "mount"])),
    ("UserVolumeConfig", Some(&["name", "volumeType", "provisioning", "filesystem", "encryption", "mount"])),
    ("RawVolumeConfig", Some(&["name", "provisioning", "encryption"])),
    ("SwapVolumeConfig", Some(&["name", "provisioning", "encryption"])),
    ("ExistingVolumeConfig", None),
    ("ExternalVolumeConfig", None),
    ("ExtensionServiceConfig", Some(&["name", "configFiles", "environment"])),
    ("TrustedRootsConfig", Some(&["name", "certificates"])),
    ("RegistryMirrorConfig", Some(&["name", "endpoints", "skipFallback"])),
    ("RegistryAuthConfig", None),
    ("RegistryTLSConfig", None),
    ("EnvironmentConfig", None),
    ("StaticHostConfig", None),
    ("DHCPv4Config", None),
    ("DHCPv6Config", None),
    ("LinkAliasConfig", None),
    ("BondConfig", None),
    ("BridgeConfig", None),
    ("VLANConfig", None),
    ("VRFConfig", None),
    ("DummyLinkConfig", None),
    ("WireguardConfig", None),
    ("BlackholeRouteConfig", None),
    ("RoutingRuleConfig", None),
    ("TCPProbeConfig", None),
    ("HCloudVIPConfig", None),
    ("OOMConfig", None),
    ("KubeSpanConfig", None),
    ("KubeSpanEndpointsConfig", None),
    ("SideroLinkConfig", None),
    ("KmsgLogConfig", None),
    ("EventSinkConfig", None),
    ("WatchdogTimerConfig", None),
    ("NetworkDefaultActionConfig", None),
    ("NetworkRuleConfig", None),
    ("EthernetConfig", None),
    ("PCIDriverRebindConfig", None),
    ("ZswapConfig", None),
];

const ROOT: &[&str] = &["version", "debug", "persist", "machine", "cluster"];
const MACHINE: &[&str] = &[
    "type",
    "token",
    "ca",
    "acceptedCAs",
    "certSANs",
    "controlPlane",
    "kubelet",
    "pods",
    "network",
    "disks",
    "install",
    "files",
    "env",
    "time",
    "sysctls",
    "sysfs",
    "registries",
    "systemDiskEncryption",
    "features",
    "udev",
    "logging",
    "kernel",
    "seccompProfiles",
    "baseRuntimeSpecOverrides",
    "nodeLabels",
    "nodeAnnotations",
    "nodeTaints",
];
const CLUSTER: &[&str] = &[
    "id",
    "secret",
    "controlPlane",
    "clusterName",
    "network",
    "token",
    "aescbcEncryptionSecret",
    "secretboxEncryptionSecret",
    "ca",
    "acceptedCAs",
    "aggregatorCA",
    "serviceAccount",
    "apiServer",
    "controllerManager",
    "proxy",
    "scheduler",
    "discovery",
    "etcd",
    "coreDNS",
    "externalCloudProvider",
    "extraManifests",
    "extraManifestHeaders",
    "inlineManifests",
    "adminKubeconfig",
    "allowSchedulingOnMasters",
    "allowSchedulingOnControlPlanes",
];

/// What a text holds.
#[derive(Debug, Clone)]
pub enum Decoded {
    /// All that a node needs.
    Complete(Box<MachineConfig>),
    /// Documents, and no machine configuration among them.
    Partial,
}

/// Reads a configuration as a node of Talos 1.13 does.
///
/// # Errors
///
/// The decoder's or the validator's text, as `ApplyConfiguration` returns it.
pub fn decode(text: &str) -> Result<Decoded, String> {
    // The strict decoder knows every key of every kind; what follows knows less,
    // and was written by somebody else.
    let bytes = Secret::new(text.as_bytes().to_vec());
    let in_talos_words = |refusal: strict::Refusal| refusal.talos_text().expose().clone();
    let strict = strict::Config::decode(&bytes, strict::Version::V1_13).map_err(in_talos_words)?;
    let warnings = strict.validate(strict::Rules::cloud()).map_err(in_talos_words)?;
    let mut decoded = read_documents(text)?;
    if let Decoded::Complete(config) = &mut decoded {
        config.warnings = warnings;
    }
    Ok(decoded)
}

fn read_documents(text: &str) -> Result<Decoded, String> {
    let mut legacy = None;
    let mut documents = Vec::new();
    let mut seen = BTreeSet::new();
    for (line, part) in split(text) {
        let value: Value = serde_saphyr::from_str(&part).map_err(|error| format!("decode error: {error}"))?;
        let Value::Object(document) = value else {
            if value.is_null() {
                continue;
            }
            return Err(format!("error decoding document //v1alpha1/ (line {line}): the document is no mapping"));
        };
        if ["machine", "cluster", "debug", "persist"].iter().any(|key| document.contains_key(*key)) {
            if legacy.is_some() {
                return Err(format!("duplicate document /v1alpha1/ is not allowed (line {line})"));
            }
            let mut unknown = unknown_keys(&document, ROOT);
            for (part, known) in [("machine", MACHINE), ("cluster", CLUSTER)] {
                let below = document.get(part).and_then(Value::as_object).map(|map| unknown_keys(map, known));
                for key in below.unwrap_or_default() {
                    unknown.push(format!("{part}:\n    {}", key.replace('\n', "\n    ")));
                }
            }
            refuse_unknown("/v1alpha1/", line, &unknown)?;
            legacy = Some(document);
            continue;
        }
        let text_of = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default();
        let (version, kind, name) = (text_of("apiVersion"), text_of("kind"), text_of("name"));
        let at = |kind: &str| format!("{version}/{kind}/{name}");
        if kind.is_empty() {
            return Err(format!("error decoding document {} (line {line}): missing kind", at("v1alpha1")));
        }
        if version.is_empty() {
            return Err(format!("error decoding document {} (line {line}): missing apiVersion", at(kind)));
        }
        let Some((_, keys)) = DOCUMENTS.iter().find(|(known, _)| *known == kind && version == "v1alpha1") else {
            return Err(format!(
                "error decoding document {} (line {line}): \"{kind}\" \"{version}\": not registered",
                at(kind)
            ));
        };
        if let Some(keys) = keys {
            let known: Vec<&str> = keys.iter().copied().chain(["apiVersion", "kind"]).collect();
            refuse_unknown(&at(kind), line, &unknown_keys(&document, &known))?;
        }
        if !seen.insert(at(kind)) {
            return Err(format!("duplicate document {} is not allowed (line {line})", at(kind)));
        }
        documents.push((kind.to_owned(), document));
    }
    match legacy {
        Some(root) => read(text, &root, &documents).map(|config| Decoded::Complete(Box::new(config))),
        None if documents.is_empty() => Err("config not found".to_owned()),
        None => Ok(Decoded::Partial),
    }
}

/// The documents of a text, each with the line that it begins at.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut parts = vec![(1, String::new())];
    for (index, line) in text.lines().enumerate() {
        if line.trim_end() == "---" {
            parts.push((index + 2, String::new()));
        } else if let Some((_, part)) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    let is_blank = |part: &str| part.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    parts.retain(|(_, part)| !is_blank(part));
    parts
}

fn unknown_keys(map: &Map<String, Value>, known: &[&str]) -> Vec<String> {
    let unknown = map.iter().filter(|(key, _)| !known.contains(&key.as_str()));
    unknown.map(|(key, value)| format!("{key}: {}", scalar(value))).collect()
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn refuse_unknown(document: &str, line: usize, unknown: &[String]) -> Result<(), String> {
    if unknown.is_empty() {
        return Ok(());
    }
    let keys = unknown.join("\n");
    Err(format!("error decoding document {document} (line {line}): unknown keys found during decoding:\n{keys}\n"))
}

fn read(
    text: &str,
    root: &Map<String, Value>,
    documents: &[(String, Map<String, Value>)],
) -> Result<MachineConfig, String> {
    let at = |path: &str| path.split('.').try_fold(Value::Object(root.clone()), |value, key| value.get(key).cloned());
    let text_at = |path: &str| at(path).as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut errors = Vec::new();
    if !root.get("machine").is_some_and(Value::is_object) {
        return Err(aggregated(&["machine instructions are required".to_owned()]));
    }
    let machine_type = match text_at("machine.type").as_str() {
        "controlplane" => MachineType::ControlPlane,
        "worker" => MachineType::Worker,
        "" | "join" => MachineType::Worker,
        other => return Err(format!("invalid machine type: {other}")),
    };
    let is_control_plane = machine_type == MachineType::ControlPlane;
    if !root.get("cluster").is_some_and(Value::is_object) {
        errors.push("cluster instructions are required".to_owned());
    }
    let authority = |path: &str| Authority {
        certificate: decoded(&text_at(&format!("{path}.crt"))),
        key: Some(decoded(&text_at(&format!("{path}.key")))).filter(|key| !key.is_empty()).map(Secret::new),
    };
    let os_ca = authority("machine.ca");
    let kubernetes_ca = authority("cluster.ca");
    if os_ca.certificate.is_empty() {
        errors.push(if is_control_plane {
            "issuing CA certificate is required for controlplane nodes (.machine.ca)".to_owned()
        } else {
            "trusted CA certificates are required on non-controlplane nodes (.machine.ca.crt, .machine.acceptedCAs)"
                .to_owned()
        });
    } else if is_control_plane && os_ca.key.is_none() {
        errors.push("issuing CA key is required for controlplane nodes (.machine.ca.key)".to_owned());
    } else if !is_control_plane && os_ca.key.is_some() {
        errors.push("issuing CA key is not allowed on non-controlplane nodes (.machine.ca)".to_owned());
    }
    if !is_control_plane && kubernetes_ca.key.is_some() {
        errors.push("issuing Kubernetes CA key is not allowed on non-controlplane nodes (.cluster.ca)".to_owned());
    }
    if !is_control_plane && at("cluster.etcd").is_some_and(|etcd| !etcd.is_null()) {
        errors.push("etcd config is only allowed on control plane machines".to_owned());
    }
    let endpoint = host_of(&text_at("cluster.controlPlane.endpoint"));
    if endpoint.is_empty() {
        errors.push("hostname must not be blank".to_owned());
    }
    let discovery = at("cluster.discovery.enabled").and_then(|value| value.as_bool()).unwrap_or(false);
    let (cluster_id, cluster_secret) = (text_at("cluster.id"), text_at("cluster.secret"));
    if discovery && cluster_id.is_empty() {
        errors.push("cluster discovery service requires .cluster.id".to_owned());
    }
    if discovery && cluster_secret.is_empty() {
        errors.push("cluster discovery service requires .cluster.secret".to_owned());
    }
    let strings = |value: Option<Value>| -> Vec<String> {
        let list = value.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut config = MachineConfig {
        text: Secret::new(text.to_owned()),
        machine_type,
        machine_token: Secret::new(text_at("machine.token")),
        os_ca,
        kubernetes_ca,
        etcd_ca: is_control_plane.then(|| authority("cluster.etcd.ca")),
        cluster_id,
        cluster_secret: Secret::new(cluster_secret),
        cluster_name: text_at("cluster.clusterName"),
        endpoint,
        api_names: strings(at("cluster.apiServer.certSANs")),
        certificate_names: strings(at("machine.certSANs")),
        kubernetes: text_at("machine.kubelet.image").rsplit(':').next().unwrap_or_default().to_owned(),
        hostname: Some(text_at("machine.network.hostname")).filter(|name| !name.is_empty()),
        addresses: Vec::new(),
        vips: Vec::new(),
        discovery,
        encrypted: BTreeSet::new(),
        user_volumes: Vec::new(),
        warnings: Vec::new(),
    };
    for (kind, document) in documents {
        read_document(&mut config, kind, document, &mut errors);
    }
    if errors.is_empty() { Ok(config) } else { Err(aggregated(&errors)) }
}

fn read_document(config: &mut MachineConfig, kind: &str, document: &Map<String, Value>, errors: &mut Vec<String>) {
    let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default();
    match kind {
        "HostnameConfig" => match (text("hostname"), text("auto")) {
            ("", "") => errors.push("either 'auto' or 'hostname' must be set".to_owned()),
            ("", _) | (_, "off") if text("hostname").is_empty() => {}
            (_, auto) if !auto.is_empty() && auto != "off" => {
                errors.push("'auto' and 'hostname' cannot be set at the same time".to_owned());
            }
            (hostname, _) => config.hostname = Some(hostname.to_owned()),
        },
        "LinkConfig" => {
            let addresses = document.get("addresses").and_then(Value::as_array).cloned().unwrap_or_default();
            let given = addresses.iter().filter_map(|address| address.get("address")?.as_str().map(str::to_owned));
            config.addresses.extend(given);
        }
        "Layer2VIPConfig" => {
            if config.machine_type == MachineType::Worker {
                errors.push("virtual (shared) IP is not allowed on non-controlplane nodes".to_owned());
            }
            match text("name").parse() {
                Ok(vip) => config.vips.push((vip, text("link").to_owned())),
                Err(_) if text("name").is_empty() => errors.push("name must be specified".to_owned()),
                Err(_) => errors.push(format!(
                    "name must be a valid IP address: ParseAddr(\"{}\"): unable to parse IP",
                    text("name")
                )),
            }
            if text("link").is_empty() {
                errors.push("link must be specified".to_owned());
            }
        }
        "VolumeConfig" if document.get("encryption").is_some_and(Value::is_object) => {
            config.encrypted.insert(text("name").to_owned());
        }
        "UserVolumeConfig" => {
            if text("name").is_empty() {
                errors.push("name is required\nname must be between 1 and 34 characters long".to_owned());
            }
            config.user_volumes.push(text("name").to_owned());
            if document.get("encryption").is_some_and(Value::is_object) {
                config.encrypted.insert(format!("u-{}", text("name")));
            }
        }
        _ => {}
    }
}

fn decoded(text: &str) -> String {
    STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host.to_owned(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_owned(),
    }
}

/// Several errors as Talos lists them.
fn aggregated(errors: &[String]) -> String {
    let plural = if errors.len() == 1 { "error" } else { "errors" };
    let list: String = errors.iter().map(|error| format!("\t* {error}\n")).collect();
    format!("{} {plural} occurred:\n{list}\n", errors.len())
}
