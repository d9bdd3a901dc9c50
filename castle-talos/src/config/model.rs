//! The documents of contract 1.13 that castle writes, as types.
//!
//! Fields that castle never sets are not here; patches reach them all.

use std::collections::BTreeMap;

use castle_core::SecretText;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::{Authority, EncryptionSecret, SecretsBundle};

/// A secret on its way into the one document that carries it.
#[derive(Clone)]
pub(super) struct Carried(pub SecretText);

impl Serialize for Carried {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

/// The document without a kind.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MachineConfig {
    pub version: &'static str,
    pub debug: bool,
    pub persist: bool,
    pub machine: Machine,
    pub cluster: Cluster,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Machine {
    #[serde(rename = "type")]
    pub role: &'static str,
    pub token: Carried,
    pub ca: CertificateAndKey,
    #[serde(rename = "certSANs")]
    pub cert_sans: Vec<String>,
    pub kubelet: Kubelet,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub install: Option<Install>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    pub features: Features,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_labels: BTreeMap<String, String>,
}

/// A certificate and, on control planes, its key: base64 of PEM.
#[derive(Serialize)]
pub(super) struct CertificateAndKey {
    pub crt: String,
    pub key: Carried,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kubelet {
    pub image: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_mounts: Vec<ExtraMount>,
    pub default_runtime_seccomp_profile_enabled: bool,
    pub disable_manifests_directory: bool,
}

#[derive(Serialize)]
pub(super) struct ExtraMount {
    pub destination: &'static str,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub source: &'static str,
    pub options: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Install {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_kernel_args: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    pub wipe: bool,
    #[serde(rename = "grubUseUKICmdline")]
    pub grub_use_uki_cmdline: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Features {
    pub disk_quota_support: bool,
    pub kube_prism: KubePrism,
    #[serde(rename = "hostDNS")]
    pub host_dns: HostDns,
}

#[derive(Serialize)]
pub(super) struct KubePrism {
    pub enabled: bool,
    pub port: u16,
}

#[derive(Serialize)]
pub(super) struct HostDns {
    pub enabled: bool,
    #[serde(rename = "forwardKubeDNSToHost")]
    pub forward_kube_dns_to_host: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cluster {
    pub id: String,
    pub secret: Carried,
    pub control_plane: ControlPlane,
    pub cluster_name: String,
    pub network: ClusterNetwork,
    pub token: Carried,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aescbc_encryption_secret: Option<Carried>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secretbox_encryption_secret: Option<Carried>,
    pub ca: CertificateAndKey,
    #[serde(rename = "aggregatorCA", skip_serializing_if = "Option::is_none")]
    pub aggregator_ca: Option<CertificateAndKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<Key>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_server: Option<ApiServer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller_manager: Option<Image>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Image>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Image>,
    pub discovery: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<Etcd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_scheduling_on_control_planes: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ControlPlane {
    pub endpoint: String,
    #[serde(rename = "localAPIServerPort", skip_serializing_if = "Option::is_none")]
    pub local_api_server_port: Option<u16>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterNetwork {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cni: Option<Value>,
    pub dns_domain: String,
    pub pod_subnets: Vec<String>,
    pub service_subnets: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Key {
    pub key: Carried,
}

#[derive(Serialize)]
pub(super) struct Image {
    pub image: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiServer {
    pub image: String,
    #[serde(rename = "certSANs", skip_serializing_if = "Vec::is_empty")]
    pub cert_sans: Vec<String>,
    pub admission_control: Value,
    pub audit_policy: Value,
}

#[derive(Serialize)]
pub(super) struct Etcd {
    pub ca: CertificateAndKey,
}

/// A document with a kind.
#[derive(Serialize)]
pub(super) struct Kinded<T> {
    #[serde(rename = "apiVersion")]
    pub api_version: &'static str,
    pub kind: &'static str,
    #[serde(flatten)]
    pub content: T,
}

impl<T> Kinded<T> {
    pub fn new(kind: &'static str, content: T) -> Self {
        Self { api_version: "v1alpha1", kind, content }
    }
}

/// The host name, given or drawn from the machine's identity.
#[derive(Serialize)]
pub(super) struct Hostname {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto: Option<&'static str>,
}

/// The addresses of a link. Any such document switches DHCP off on all links.
#[derive(Serialize)]
pub(super) struct Link {
    pub name: &'static str,
    pub up: bool,
    pub addresses: Vec<Address>,
    pub routes: Vec<Route>,
}

#[derive(Serialize)]
pub(super) struct Address {
    pub address: String,
}

/// A route without a destination is the way out.
#[derive(Serialize)]
pub(super) struct Route {
    pub gateway: String,
}

#[derive(Serialize)]
pub(super) struct Resolver {
    pub nameservers: Vec<Address>,
}

/// An address that moves between control planes.
#[derive(Serialize)]
pub(super) struct Vip {
    pub name: String,
    pub link: &'static str,
}

#[derive(Serialize)]
pub(super) struct Volume {
    pub name: &'static str,
    pub encryption: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RegistryMirror {
    pub name: String,
    pub endpoints: Value,
}

impl CertificateAndKey {
    /// Both halves: for a control plane.
    pub fn whole(authority: &Authority) -> Self {
        Self { crt: base64(authority.certificate.as_bytes()), key: Carried(secret_base64(&authority.key)) }
    }

    /// The public half alone: for a worker, who signs nothing.
    pub fn public(authority: &Authority) -> Self {
        Self { crt: base64(authority.certificate.as_bytes()), key: Carried(String::new().into()) }
    }

    pub fn of(authority: &Authority, signs: bool) -> Self {
        if signs { Self::whole(authority) } else { Self::public(authority) }
    }
}

impl Key {
    pub fn of(key: &SecretText) -> Self {
        Self { key: Carried(secret_base64(key)) }
    }
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}

fn secret_base64(text: &SecretText) -> SecretText {
    base64(text.expose().as_bytes()).into()
}

/// The secret that encrypts Kubernetes' secrets, in the field of its cipher.
pub(super) fn encryption(bundle: &SecretsBundle) -> (Option<Carried>, Option<Carried>) {
    match &bundle.encryption {
        EncryptionSecret::AesCbc(secret) => (Some(Carried(secret.clone())), None),
        EncryptionSecret::Secretbox(secret) => (None, Some(Carried(secret.clone()))),
    }
}

/// What pods may do: the baseline for all but Kubernetes' own, the restricted
/// profile as a warning.
pub(super) fn pod_security() -> Value {
    json!([{
        "name": "PodSecurity",
        "configuration": {
            "apiVersion": "pod-security.admission.config.k8s.io/v1alpha1",
            "kind": "PodSecurityConfiguration",
            "defaults": {
                "audit": "restricted",
                "audit-version": "latest",
                "enforce": "baseline",
                "enforce-version": "latest",
                "warn": "restricted",
                "warn-version": "latest",
            },
            "exemptions": {"namespaces": ["kube-system"], "runtimeClasses": [], "usernames": []},
        },
    }])
}

/// Who did what to which object, without bodies.
pub(super) fn audit_policy() -> Value {
    json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]})
}

/// Members find each other through the discovery service. Kubernetes' own
/// registry does not work with Kubernetes 1.32 and later.
pub(super) fn discovery() -> Value {
    json!({"enabled": true, "registries": {"kubernetes": {"disabled": true}, "service": {}}})
}

/// A volume whose key follows from the machine's SMBIOS uuid: a disk alone, sold
/// or stolen, opens nowhere else.
pub(super) fn node_id_encryption() -> Value {
    json!({"provider": "luks2", "keys": [{"slot": 0, "nodeID": {}}]})
}
