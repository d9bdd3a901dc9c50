//! A small cluster for tests: a store with two nodes, its authority, and a
//! kubeconfig for it.

use std::net::SocketAddr;
use std::sync::Arc;

use castle_core::options::{DialMap, Options, SecretsAccess};
use castle_core::{Context, KubeApi, Kubernetes, Meter, Pace, Secret, SecretText};
use castle_gitops::kubernetes::KubeClient;
use castle_lab::kube::KubeIdentity;
use castle_lab::{Lab, RunId, World};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use serde_json::{Value, json};

pub const ENDPOINT: &str = "192.168.1.210:6443";

/// An authority of a cluster.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, "kubernetes");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, params: CertificateParams) -> (String, String) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// What the API server shows.
    pub fn server(&self) -> KubeIdentity {
        self.server_at(&["192.168.1.210", "127.0.0.1"])
    }

    /// What an API server at these addresses shows.
    pub fn server_at(&self, addresses: &[&str]) -> KubeIdentity {
        let names: Vec<_> = addresses.iter().map(|address| (*address).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (cert_pem, key_pem) = self.sign(params);
        KubeIdentity { ca_pem: self.pem.clone(), cert_pem, key_pem }
    }

    /// A kubeconfig for a user of these groups, whose certificate ends in `year`.
    pub fn kubeconfig(&self, vouches_for_server: &Self, group: &str, year: i32) -> SecretText {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "admin");
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let (certificate, key) = self.sign(params);
        let data = |pem: &str| base64(pem.as_bytes());
        Secret::new(format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: blue\n  cluster:\n    server: https://{ENDPOINT}\n    \
             certificate-authority-data: {}\nusers:\n- name: admin@blue\n  user:\n    client-certificate-data: {}\n    \
             client-key-data: {}\ncontexts:\n- name: admin@blue\n  context:\n    cluster: blue\n    namespace: default\n    \
             user: admin@blue\ncurrent-context: admin@blue\n",
            data(&vouches_for_server.pem),
            data(&certificate),
            data(&key),
        ))
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A lab with one cluster, and castle's client for it.
pub struct Cluster {
    pub lab: Lab,
    pub run: RunId,
    pub authority: Authority,
    pub client: KubeClient,
    pub cx: Context,
}

impl Cluster {
    /// A cluster that serves, with a control plane that is not ready yet.
    pub async fn start() -> Self {
        let authority = Authority::new();
        let mut world = World::empty(7);
        world.kubernetes.identity = Some(authority.server());
        world.kubernetes.serve();
        world.kubernetes.put(node("cp-01", "False")).unwrap();
        let lab = Lab::of(world).cluster_at(endpoint()).start().await.unwrap();
        let run = lab.new_run();
        let options = Options {
            proxmox: None,
            maintenance: castle_core::options::MaintenanceAccess::default(),
            secrets: SecretsAccess::Memory,
            git: None,
            identity: None,
            dial: DialMap::exclusive(lab.addresses()),
            source: Some(lab.source(run)),
            pace: Pace::Virtual,
            lab: true,
        };
        let env = lab.env(run);
        let client = KubeClient::new(&options, &env);
        Self { lab, run, authority, client, cx: Context::new(env) }
    }

    /// The API, by a kubeconfig as castle mints it.
    pub fn api(&self) -> Arc<dyn KubeApi> {
        let kubeconfig = self.authority.kubeconfig(&self.authority, "system:masters", 2100);
        self.client.connect(&self.cx, &kubeconfig).unwrap()
    }

    pub fn meter(&self) -> &Meter {
        self.client.meter()
    }

    /// Kind and status of every request so far.
    pub fn asked(&self) -> Vec<String> {
        let line = |entry: &castle_lab::journal::Entry| format!("{} {}", entry.kind, entry.status.unwrap_or(0));
        self.lab.journal().entries().iter().map(line).collect()
    }

    pub fn put(&self, object: Value) {
        self.lab.with_world(|world| world.kubernetes.put(object).unwrap());
    }
}

pub fn endpoint() -> SocketAddr {
    ENDPOINT.parse().unwrap()
}

pub fn node(name: &str, ready: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "status": {
            "conditions": [{
                "type": "Ready", "status": ready, "reason": "KubeletNotReady", "message": "cni plugin not initialized",
                "lastHeartbeatTime": "2026-11-21T12:00:00Z", "lastTransitionTime": "2026-11-21T12:00:00Z",
            }],
            "nodeInfo": {
                "systemUUID": "6D2D06E1-7B2C-4E5A-9A3B-0D7B4C1F2A11", "machineID": "", "bootID": "",
                "kernelVersion": "6.18.2-talos", "osImage": "Talos (v1.13.2)",
                "containerRuntimeVersion": "containerd://2.2.1", "kubeletVersion": "v1.36.2",
                "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64",
            },
        },
    })
}

pub fn pod(name: &str, app: &str, ready: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "kube-system", "labels": {"k8s-app": app}},
        "spec": {"nodeName": "cp-01", "containers": [{"name": app, "image": app}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    })
}
