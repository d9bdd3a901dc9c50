//! Serves the Kubernetes API of a small made-up cluster, for `kubectl` and other
//! clients, without machines behind it.
//!
//! ```text
//! cargo run -p castle-lab --example cluster -- FOLDER
//! kubectl --kubeconfig FOLDER/kubeconfig get nodes -o wide
//! ```
//!
//! It ends with its standard input.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use castle_core::Pace;
use castle_lab::kube::{KubeIdentity, Store};
use castle_lab::{Lab, World, runtime};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use serde_json::json;

const ENDPOINT: &str = "192.168.1.210:6443";

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("usage: cluster FOLDER")?.into();
    runtime::run_scaled(move || async move { serve(&folder).await })
}

async fn serve(folder: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
    let endpoint: SocketAddr = ENDPOINT.parse()?;
    let lab = Lab::of(World::empty(7)).pace(Pace::scaled(60.0)?).public().cluster_at(endpoint).start().await?;
    let at = lab.address_of(endpoint).ok_or("the cluster has no address")?;

    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::OrganizationName, "kubernetes");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca_pem = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);

    let own = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut server = CertificateParams::new(Vec::new())?;
    server.subject_alt_names = vec![SanType::IpAddress(at.ip()), SanType::IpAddress(endpoint.ip())];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let cert_pem = server.signed_by(&own, &issuer)?.pem();
    let identity = KubeIdentity { ca_pem: ca_pem.clone(), cert_pem, key_pem: own.serialize_pem() };
    lab.with_world(|world| {
        world.kubernetes.identity = Some(identity);
        // Only now: the lab has the real wall's time, and objects the time at which they are made.
        populate(&mut world.kubernetes)
    })?;

    let client = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut admin = CertificateParams::new(Vec::new())?;
    admin.distinguished_name.push(DnType::CommonName, "admin");
    admin.distinguished_name.push(DnType::OrganizationName, "system:masters");
    admin.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = admin.signed_by(&client, &issuer)?.pem();
    let data = |pem: &str| STANDARD.encode(pem);
    let user = json!({
        "client-certificate-data": data(&certificate), "client-key-data": data(&client.serialize_pem()),
    });
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "admin@blue",
        "clusters": [{
            "name": "blue",
            "cluster": {"server": format!("https://{at}"), "certificate-authority-data": data(&ca_pem)},
        }],
        "contexts": [{
            "name": "admin@blue",
            "context": {"cluster": "blue", "user": "admin@blue", "namespace": "default"},
        }],
        "users": [{"name": "admin@blue", "user": user}],
    });
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("ca.pem"), &ca_pem)?;
    let path = folder.join("kubeconfig");
    // JSON is YAML.
    std::fs::write(&path, kubeconfig.to_string())?;
    println!("kubectl --kubeconfig {} get nodes -o wide", path.display());

    // A node that becomes ready while somebody watches: after two minutes, which are two seconds.
    lab.with_world(|world| {
        let at = world.now() + Duration::from_secs(120);
        world.schedule(at, |world| {
            if let Err(refusal) = world.kubernetes.put(node("w-02", 224, "", "True")) {
                tracing::error!(%refusal, "the node could not become ready");
            }
        });
    });
    let (gone, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Whatever comes of the input, its end is the end.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = gone.send(());
    });
    // The sender lives in the thread until it has sent.
    let _ = ended.await;
    Ok(())
}

fn populate(store: &mut Store) -> Result<(), Box<dyn Error + Send + Sync>> {
    store.serve();
    for (name, host, role, ready) in
        [("cp-01", 211, "control-plane", "True"), ("w-01", 223, "", "True"), ("w-02", 224, "", "False")]
    {
        store.put(node(name, host, role, ready))?;
        for app in ["flannel", "kube-proxy"] {
            store.put(pod(&format!("{app}-{name}"), app, name, host))?;
        }
    }
    store.put(pod("coredns-5f7b9d-x2x7c", "kube-dns", "w-01", 223))?;
    store.put(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "coredns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"k8s-app": "kube-dns"}},
            "template": {
                "metadata": {"labels": {"k8s-app": "kube-dns"}},
                "spec": {"containers": [{"name": "coredns", "image": "registry.k8s.io/coredns/coredns:v1.14.1"}]},
            },
        },
        "status": {"replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "observedGeneration": 1,
            "conditions": [{"type": "Available", "status": "True"}]},
    }))?;
    Ok(())
}

fn node(name: &str, host: u8, role: &str, ready: &str) -> serde_json::Value {
    let mut labels = json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"});
    if !role.is_empty() {
        labels[format!("node-role.kubernetes.io/{role}")] = json!("");
    }
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDR": format!("10.244.{host}.0/24")},
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "reason": "KubeletReady", "message": "kubelet reports its state"}],
            "addresses": [
                {"type": "InternalIP", "address": format!("192.168.1.{host}")}, {"type": "Hostname", "address": name},
            ],
            "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "nodeInfo": {
                "kubeletVersion": "v1.36.2", "osImage": "Talos (v1.13.2)", "kernelVersion": "6.18.2-talos",
                "containerRuntimeVersion": "containerd://2.2.1", "operatingSystem": "linux", "architecture": "amd64",
                "systemUUID": format!("6d2d06e1-7b2c-4e5a-9a3b-0d7b4c1f2a{host:02x}"), "machineID": "", "bootID": "",
                "kubeProxyVersion": "",
            },
        },
    })
}

fn pod(name: &str, app: &str, node: &str, host: u8) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "kube-system", "labels": {"k8s-app": app}},
        "spec": {"nodeName": node, "containers": [{"name": app, "image": format!("example/{app}")}]},
        "status": {
            "phase": "Running", "podIP": format!("192.168.1.{host}"), "hostIP": format!("192.168.1.{host}"),
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": app, "ready": true, "restartCount": 0, "image": format!("example/{app}"), "imageID": "",
                "state": {"running": {"startedAt": "2026-11-21T12:00:00Z"}},
            }],
        },
    })
}
