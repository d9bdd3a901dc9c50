//! What `talosctl gen config` writes: the base that castle's own configurations stand on.

use std::collections::BTreeMap;

use castle_core::NodeRole;
use serde::Serialize;
use serde_json::{Value, json};

use super::model::*;
use super::schema::{Type, V1ALPHA1, schema};
use super::tree::{Entry, Node};
use super::{Config, Document, Version, canonical};
use crate::SecretsBundle;

/// The options of Talos' generator that the contract 1.13 knows.
#[derive(Debug, Clone)]
pub struct Generator {
    /// The cluster's name.
    pub cluster: String,
    /// Where the Kubernetes API is asked for: `https://192.168.1.210:6443`.
    pub endpoint: String,
    /// The Kubernetes release without a `v`.
    pub kubernetes: String,
    /// Names and addresses that certificates carry besides the node's own.
    pub cert_sans: Vec<String>,
    /// Whether pods may run on control planes; `None` says nothing about it.
    pub schedule_on_control_planes: Option<bool>,
    /// The cluster's domain.
    pub dns_domain: String,
    /// The port of the API server on its own node, if it is not 6443.
    pub local_api_port: Option<u16>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Manifests of a CNI, instead of flannel.
    pub custom_cni: Vec<String>,
    /// Mirrors by registry.
    pub mirrors: BTreeMap<String, String>,
    /// How to install. `None` writes no such section.
    pub install: Option<Installation>,
}

/// The section `install`: for machines that boot from something that is not their disk.
#[derive(Debug, Clone, Default)]
pub struct Installation {
    /// The disk.
    pub disk: Option<String>,
    /// The installer's image.
    pub image: Option<String>,
    /// Arguments of the kernel.
    pub kernel_args: Vec<String>,
}

impl Generator {
    /// The generator's defaults.
    #[must_use]
    pub fn new(cluster: impl Into<String>, endpoint: impl Into<String>, kubernetes: impl Into<String>) -> Self {
        Self {
            cluster: cluster.into(),
            endpoint: endpoint.into(),
            kubernetes: kubernetes.into(),
            cert_sans: Vec::new(),
            schedule_on_control_planes: None,
            dns_domain: "cluster.local".to_owned(),
            local_api_port: None,
            sysctls: BTreeMap::new(),
            custom_cni: Vec::new(),
            mirrors: BTreeMap::new(),
            install: Some(Installation::default()),
        }
    }

    /// The configuration of a node of this role, as the generator writes it.
    #[must_use]
    pub fn generate(&self, bundle: &SecretsBundle, role: NodeRole) -> Config {
        let mut config = Config::empty(Version::V1_13);
        config.push(V1ALPHA1, &self.machine_config(bundle, role, Vec::new()));
        for (name, url) in &self.mirrors {
            let endpoints = json!([{"url": url}]);
            config.push_kind("RegistryMirrorConfig", RegistryMirror { name: name.clone(), endpoints });
        }
        config.push_kind("HostnameConfig", Hostname { hostname: None, auto: Some("stable") });
        config
    }

    pub(super) fn machine_config(
        &self,
        bundle: &SecretsBundle,
        role: NodeRole,
        extra_mounts: Vec<ExtraMount>,
    ) -> MachineConfig {
        let rules = role == NodeRole::ControlPlane;
        let of_control_plane = |name: &str| rules.then(|| Image { image: self.image("registry.k8s.io", name) });
        let (aescbc, secretbox) = encryption(bundle);
        let mut node_labels = BTreeMap::new();
        if rules {
            // Talos' own choice: load balancers of clouds leave control planes alone.
            node_labels.insert("node.kubernetes.io/exclude-from-external-load-balancers".to_owned(), String::new());
        }
        MachineConfig {
            version: "v1alpha1",
            debug: false,
            persist: true,
            machine: Machine {
                role: if rules { "controlplane" } else { "worker" },
                token: Carried(bundle.trustd_token.clone()),
                ca: CertificateAndKey::of(&bundle.os, rules),
                cert_sans: self.cert_sans.clone(),
                kubelet: Kubelet {
                    image: self.image("ghcr.io/siderolabs", "kubelet"),
                    extra_mounts,
                    default_runtime_seccomp_profile_enabled: true,
                    disable_manifests_directory: true,
                },
                install: self.install.as_ref().map(|install| Install {
                    disk: install.disk.clone(),
                    extra_kernel_args: install.kernel_args.clone(),
                    image: install.image.clone(),
                    wipe: false,
                    grub_use_uki_cmdline: true,
                }),
                sysctls: self.sysctls.clone(),
                features: Features {
                    disk_quota_support: true,
                    kube_prism: KubePrism { enabled: true, port: 7445 },
                    host_dns: HostDns { enabled: true, forward_kube_dns_to_host: true },
                },
                node_labels,
            },
            cluster: Cluster {
                id: bundle.cluster_id.clone(),
                secret: Carried(bundle.cluster_secret.clone()),
                control_plane: ControlPlane {
                    endpoint: self.endpoint.clone(),
                    local_api_server_port: self.local_api_port.filter(|_| rules),
                },
                cluster_name: self.cluster.clone(),
                network: ClusterNetwork {
                    cni: self.cni(),
                    dns_domain: self.dns_domain.clone(),
                    pod_subnets: vec!["10.244.0.0/16".to_owned()],
                    service_subnets: vec!["10.96.0.0/12".to_owned()],
                },
                token: Carried(bundle.bootstrap_token.clone()),
                aescbc_encryption_secret: aescbc.filter(|_| rules),
                secretbox_encryption_secret: secretbox.filter(|_| rules),
                ca: CertificateAndKey::of(&bundle.kubernetes, rules),
                aggregator_ca: rules.then(|| CertificateAndKey::whole(&bundle.aggregator)),
                service_account: rules.then(|| Key::of(&bundle.service_account_key)),
                api_server: rules.then(|| ApiServer {
                    image: self.image("registry.k8s.io", "kube-apiserver"),
                    cert_sans: self.cert_sans.clone(),
                    admission_control: pod_security(),
                    audit_policy: audit_policy(),
                }),
                controller_manager: of_control_plane("kube-controller-manager"),
                proxy: of_control_plane("kube-proxy"),
                scheduler: of_control_plane("kube-scheduler"),
                discovery: discovery(),
                etcd: rules.then(|| Etcd { ca: CertificateAndKey::whole(&bundle.etcd) }),
                allow_scheduling_on_control_planes: self.schedule_on_control_planes.filter(|_| rules),
            },
        }
    }

    fn image(&self, registry: &str, name: &str) -> String {
        format!("{registry}/{name}:v{}", self.kubernetes)
    }

    fn cni(&self) -> Option<Value> {
        (!self.custom_cni.is_empty()).then(|| json!({"name": "custom", "urls": self.custom_cni}))
    }
}

impl Config {
    pub(super) fn empty(version: Version) -> Self {
        Self { version, documents: Vec::new() }
    }

    pub(super) fn push_kind(&mut self, kind: &'static str, content: impl Serialize) {
        self.push(kind, &Kinded::new(kind, content));
    }

    /// Adds a document of castle's own types.
    ///
    /// # Panics
    ///
    /// If the type and the decoder's table differ; tests render every document.
    pub(super) fn push(&mut self, kind: &'static str, content: &impl Serialize) {
        let value = serde_json::to_value(content).expect("castle's own documents have texts for keys");
        let target = Type::Struct(schema().kind(kind).expect("castle's own kinds are known").root);
        let node = tree_of(&value);
        let strange = canonical::unknown(&node, &target, self.version);
        assert!(strange.is_none(), "castle's own `{kind}` has a key that Talos does not know");
        let mut mistakes = Vec::new();
        let root = canonical::typed(&node, &target, self.version, &mut mistakes);
        let root = root.filter(|_| mistakes.is_empty()).expect("castle's own documents have the decoder's types");
        let name = value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.documents.push(Document { kind, target, name, root });
    }
}

fn tree_of(value: &Value) -> Node {
    match value {
        Value::Null => Node::null(),
        Value::Bool(_) | Value::Number(_) => Node::plain(value.to_string()),
        Value::String(text) => Node::text(text.as_str()),
        Value::Array(items) => Node::list(items.iter().map(tree_of).collect()),
        Value::Object(fields) => {
            Node::map(fields.iter().map(|(key, value)| Entry::new(key.as_str(), tree_of(value))).collect())
        }
    }
}
