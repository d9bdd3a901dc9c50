//! A small declared cluster, and an identity without keys.

use crate::port::identity::Identity;
use crate::{Cluster, Env, Error, ErrorKind, ImageRef, ImageSpec, Problem, Project, Result, Secret, SecretBytes};

/// The declaration that examples and tests share: one control plane and two
/// workers on one host.
pub const EXAMPLE: &str = "\
apiVersion: castle/v1alpha1
project: blue
platform: proxmox
cluster: {name: blue, talos: v1.13.9, kubernetes: v1.36.3, contract: \"1.13\"}
image: {extensions: [], storage: local}
network: {subnet: 192.168.1.0/24, gateway: 192.168.1.1, dns: [192.168.1.1], bridge: vmbr0}
hosts: {pve: {memory: 32GiB, reserve: 4GiB}}
defaults: {pool: blue, storage: local-lvm, cores: 4, memory: 8GiB, disk: 40GiB}
control_planes:
  - {name: blue-cp-01, vmid: 421, address: 192.168.1.211, host: pve}
workers:
  - {name: blue-wk-01, vmid: 431, address: 192.168.1.214, host: pve}
  - {name: blue-wk-02, vmid: 432, address: 192.168.1.215, host: pve}
";

/// Names an image after the release alone. For examples and tests; a real one
/// is named after its schematic.
///
/// # Errors
///
/// None; the signature is that of every [`crate::ImageNaming`].
pub fn plain_image(cluster: &Cluster, image: &ImageSpec) -> Result<ImageRef> {
    let file = format!("talos-{}.qcow2", cluster.talos);
    Ok(ImageRef { storage: image.storage.clone(), url: format!("https://images.example/{file}"), file })
}

/// [`EXAMPLE`], read.
///
/// # Panics
///
/// Never: the text is checked by a test.
#[must_use]
pub fn example_project() -> Project {
    let read: Result<Project, Vec<Problem>> = Project::parse(EXAMPLE, plain_image);
    read.expect("the example is a valid declaration")
}

/// An identity without keys: a bundle is the cluster id and nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryIdentity;

impl Identity for MemoryIdentity {
    fn generate(&self, env: &Env) -> Result<SecretBytes> {
        Ok(Secret::new(hex::encode(env.random32()).into_bytes()))
    }

    fn cluster_id(&self, bundle: &SecretBytes) -> Result<String> {
        let text = String::from_utf8(bundle.expose().clone()).ok().filter(|text| text.len() == 64);
        text.ok_or_else(|| {
            Error::new(ErrorKind::InvalidSpec, "the bundle of this life is not a bundle")
                .hint("restore it from a backup of the secret store")
        })
    }
}
