//! The lab as a user meets it: a project in, an option document out.

use std::net::SocketAddr;

use castle_core::options::{SecretsAccess, Trust};
use castle_core::{Cluster, ErrorKind, ImageRef, ImageSpec, Pace, Project, Result};
use castle_lab::runtime::{run_scaled, run_virtual};
use castle_lab::{Lab, LabBuilder};
use reqwest::header::AUTHORIZATION;

use crate::echo::{house, trusting};

const YAML: &str = r#"
apiVersion: castle/v1alpha1
project: blue
platform: proxmox
cluster: {name: blue, talos: v1.13.9, kubernetes: v1.36.3, contract: "1.13"}
image: {extensions: [], storage: local}
network: {subnet: 192.168.1.0/24, gateway: 192.168.1.1, dns: [192.168.1.1], bridge: vmbr0, vip: 192.168.1.10}
hosts: {pve1: {memory: 32GiB, reserve: 4GiB}, pve2: {memory: 32GiB, reserve: 4GiB}}
defaults: {pool: blue, storage: local-lvm, cores: 4, memory: 8GiB, disk: 40GiB}
control_planes:
  - {name: blue-cp-01, vmid: 421, address: 192.168.1.9, host: pve1}
"#;

fn naming(_: &Cluster, image: &ImageSpec) -> Result<ImageRef> {
    let file = "talos-000000000000-v1.13.9.qcow2".to_owned();
    Ok(ImageRef { storage: image.storage.clone(), url: format!("https://factory.invalid/{file}"), file })
}

fn blue() -> LabBuilder {
    Lab::builder(&Project::parse(YAML, naming).unwrap()).seed(7)
}

/// Asks as castle would: by the document alone.
async fn version(lab: &Lab) -> u16 {
    let options = lab.options(lab.new_run()).unwrap();
    let access = options.proxmox.unwrap();
    let house: SocketAddr = access.url.strip_prefix("https://").unwrap().parse().unwrap();
    let at = options.dial.resolve(house).unwrap();
    let Trust::Authorities(ca) = &access.trust else { panic!("the lab has an authority") };
    let http = reqwest::Client::builder()
        .no_proxy()
        .tls_backend_preconfigured(trusting(ca, lab.clock()))
        .local_address(options.source)
        .build()
        .unwrap();
    let request = http
        .get(format!("https://{at}/api2/json/version"))
        .header(AUTHORIZATION, format!("PVEAPIToken={}", access.token.expose()));
    request.send().await.unwrap().status().as_u16()
}

#[test]
fn the_option_document_opens_the_house() {
    run_virtual(|| async {
        let lab = blue().start().await.unwrap();
        assert_eq!(version(&lab).await, 200);
        let entry = &lab.journal().entries()[0];
        assert_eq!((entry.backend.as_str(), entry.kind.as_str(), entry.write), ("proxmox", "GET version", false));
        assert!(!entry.detail.contains("PVEAPIToken"));
    });
}

#[test]
fn the_document_says_what_a_lab_is() {
    run_virtual(|| async {
        let lab = blue().start().await.unwrap();
        let (first, second) = (lab.options(lab.new_run()).unwrap(), lab.options(lab.new_run()).unwrap());
        assert_ne!(first.source, second.source, "each run has a source of its own");
        assert!(first.lab);
        assert_eq!(first.pace, Pace::Virtual);
        assert!(matches!(first.secrets, SecretsAccess::Memory));
        // .1 is the router, .9 a node, .10 the VIP: hosts stand where nobody was declared.
        let doors: Vec<_> = lab.addresses().map(|(house, _)| house.to_string()).collect();
        let (node, vip) = (["192.168.1.9:6443", "192.168.1.9:50000"], "192.168.1.10:6443");
        assert_eq!(doors, [node[0], node[1], vip, "192.168.1.11:8006", "192.168.1.12:8006"]);
        let stranger = "192.168.1.211:50000".parse().unwrap();
        assert_eq!(first.dial.resolve(stranger).unwrap_err().kind(), ErrorKind::Unreachable);
    });
}

#[test]
fn a_run_s_random_bytes_are_its_own_and_repeat_with_the_seed() {
    run_virtual(|| async {
        let lab = blue().start().await.unwrap();
        let (one, two) = (lab.new_run(), lab.new_run());
        assert_eq!(lab.env(one).random32(), lab.env(one).random32());
        assert_ne!(lab.env(one).random32(), lab.env(two).random32());
        let other = blue().seed(8).start().await.unwrap();
        assert_ne!(lab.env(one).random32(), other.env(one).random32());
    });
}

#[test]
fn a_public_house_answers_at_its_real_port() {
    run_scaled(|| async {
        let lab = blue().pace(Pace::scaled(60.0).unwrap()).public().start().await.unwrap();
        assert!(lab.addresses().all(|(house, at)| house.port() == at.port()));
        assert_eq!(version(&lab).await, 200);
    });
}

#[test]
fn a_lab_without_a_hypervisor_has_no_options() {
    run_virtual(|| async {
        let lab = house(1).1.start().await.unwrap();
        let error = lab.options(lab.new_run()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}
