//! A node's complete configuration, from the declaration and the bundle.

use castle_core::node::{NodeSite, NodeTarget};
use castle_core::{Error, ErrorKind, ImageSpec, NodeRole, Problem, Project, Result, SecretBytes};

use super::generate::Generator;
use super::model::*;
use super::schema::V1ALPHA1;
use super::{Config, Refusal, Version};
use crate::{Schematic, SecretsBundle, client_certificate, kubeconfig};

/// The link of the one network card. The image's kernel runs with
/// `net.ifnames=0`, so it is `eth0` whatever slot the hypervisor gives it; an
/// alias by hardware address would say the same with one document more.
const LINK: &str = "eth0";

/// What Longhorn needs besides its mount.
const LONGHORN: [&str; 2] = ["siderolabs/iscsi-tools", "siderolabs/util-linux-tools"];

/// The complete machine configuration of a node: the same bytes for the same
/// bundle, project and node.
///
/// - **Network**: the address that the machine was born with, now as its own:
///   a link document switches DHCP off, so the address never changes. The VIP,
///   if declared, on control planes only.
/// - **No `install`**: the image for the platform `nocloud` is a disk that is
///   already installed; the section would be ignored, and asking for an
///   installation is what an ISO needs. Upgrades name [`installer`].
/// - **Encryption**: STATE and EPHEMERAL with a key that follows from the
///   machine's uuid. They are formatted at the first boot, so it must be said
///   before it.
/// - **Longhorn**: if both of its extensions are declared, the kubelet sees
///   `/var/lib/longhorn`, the path that Longhorn uses unless told otherwise.
/// - **Workers** hold certificates of authorities, no key of any.
/// - **Patches** of the declaration come last, by Talos' rules: `all`, then the
///   role's.
///
/// # Errors
///
/// [`ErrorKind::InvalidSpec`] if the bundle cannot be read or a patch cannot be
/// applied, or if Talos would refuse the result; [`ErrorKind::Unsupported`] for
/// another contract than 1.13. No value of the configuration is shown.
pub fn render(site: &NodeSite, node: &NodeTarget) -> Result<SecretBytes> {
    rendered(site, node).map(|config| config.encode())
}

/// As [`render`], parsed: to compare with what a node says about itself.
///
/// # Errors
///
/// As [`render`].
pub fn rendered(site: &NodeSite, node: &NodeTarget) -> Result<Config> {
    let bundle = client_certificate::bundle(site)?;
    let project = &site.project;
    if Version::of(&project.cluster.contract) != Some(Version::V1_13) {
        let message = format!("castle does not write contract {}", project.cluster.contract);
        return Err(Error::new(ErrorKind::Unsupported, message).hint("set `cluster.contract` to \"1.13\""));
    }
    let spec = &node.spec;
    let base = of_node(site, node, &bundle)?;
    let own = match spec.role {
        NodeRole::ControlPlane => ("control_planes", &project.patches.control_planes),
        NodeRole::Worker => ("workers", &project.patches.workers),
    };
    let mut config = base;
    for (list, patches) in [("all", &project.patches.all), own] {
        for (index, patch) in patches.iter().enumerate() {
            config = config
                .patched(patch)
                .map_err(|refusal| refused(&refusal, &format!("patches.{list}[{index}]")).with("node", &spec.node))?;
        }
    }
    config.validate(super::Rules::cloud()).map_err(|refusal| {
        Error::new(ErrorKind::InvalidSpec, format!("Talos would refuse the configuration of {}", spec.node))
            .hint("look at `patches` of castle.yaml: what castle writes itself is valid")
            .caused_by(refusal)
    })?;
    Ok(config)
}

fn refused(refusal: &Refusal, subject: &str) -> Error {
    let keys = match refusal.unknown_keys() {
        [] => String::new(),
        keys => format!(" (`{}`)", keys.join("`, `")),
    };
    Error::new(ErrorKind::InvalidSpec, format!("`{subject}` cannot be applied: {refusal}{keys}"))
}

fn of_node(site: &NodeSite, node: &NodeTarget, bundle: &SecretsBundle) -> Result<Config> {
    let (project, spec) = (&site.project, &node.spec);
    let kubernetes = project.cluster.kubernetes.trim_start_matches('v');
    let mut generator = Generator::new(project.cluster.name.as_str(), kubeconfig::server(site)?, kubernetes);
    generator.install = None;
    // Without workers nothing could run anywhere.
    generator.schedule_on_control_planes = (project.with_role(NodeRole::Worker).next().is_none()).then_some(true);
    let mounts = if needs_longhorn(&project.image) { vec![longhorn_mount()] } else { Vec::new() };
    let mut machine = generator.machine_config(bundle, spec.role, mounts);
    // Talos adds the node's own addresses; the names let a client ask for any node by name.
    machine.machine.cert_sans = vec![spec.nic.address.to_string(), spec.node.to_string()];
    if let Some(api_server) = &mut machine.cluster.api_server {
        // Every control plane answers under the VIP, and each under its own address, so
        // that an administrator can go around a VIP that does not come.
        let addresses = project.with_role(NodeRole::ControlPlane).map(|spec| spec.nic.address);
        api_server.cert_sans = project.network.vip.into_iter().chain(addresses).map(|at| at.to_string()).collect();
    }

    let mut config = Config::empty(reader(project));
    config.push(V1ALPHA1, &machine);
    config.push_kind("HostnameConfig", Hostname { hostname: Some(spec.node.to_string()), auto: None });
    config.push_kind(
        "LinkConfig",
        Link {
            name: LINK,
            up: true,
            addresses: vec![Address { address: format!("{}/{}", spec.nic.address, spec.nic.subnet.prefix_len()) }],
            routes: vec![Route { gateway: spec.nic.gateway.to_string() }],
        },
    );
    if !spec.nic.dns.is_empty() {
        let nameservers = spec.nic.dns.iter().map(|server| Address { address: server.to_string() }).collect();
        config.push_kind("ResolverConfig", Resolver { nameservers });
    }
    if let (NodeRole::ControlPlane, Some(vip)) = (spec.role, project.network.vip) {
        config.push_kind("Layer2VIPConfig", Vip { name: vip.to_string(), link: LINK });
    }
    for name in ["STATE", "EPHEMERAL"] {
        config.push_kind("VolumeConfig", Volume { name, encryption: node_id_encryption() });
    }
    Ok(config)
}

/// The release that reads the configuration: a newer one than the contract knows
/// more kinds, and patches may use them.
fn reader(project: &Project) -> Version {
    Version::of(&project.cluster.talos).unwrap_or(Version::V1_13)
}

/// Longhorn is what both of its extensions together are for.
fn needs_longhorn(image: &ImageSpec) -> bool {
    LONGHORN.iter().all(|extension| image.extensions.iter().any(|declared| declared == extension))
}

/// The kubelet runs in a container of its own: what pods are to mount, and mount
/// on, must be visible there.
fn longhorn_mount() -> ExtraMount {
    let path = "/var/lib/longhorn";
    ExtraMount { destination: path, kind: "bind", source: path, options: vec!["bind", "rshared", "rw"] }
}

/// The installer's image for upgrades: of the same schematic as the boot image,
/// or the extensions would be gone after the first of them.
///
/// # Errors
///
/// [`ErrorKind::InvalidSpec`] if an extension's name cannot stand in a schematic.
pub fn installer(project: &Project) -> Result<String> {
    let id = Schematic::of(&project.image).id()?;
    Ok(format!("factory.talos.dev/nocloud-installer/{id}:{}", project.cluster.talos))
}

/// Judges what only this module can: the contract, and the patches as far as they
/// go without a configuration below them.
#[must_use]
pub fn check(project: &Project) -> Vec<Problem> {
    let mut problems = Vec::new();
    if Version::of(&project.cluster.contract) != Some(Version::V1_13) {
        let message = format!("castle does not write contract {}", project.cluster.contract);
        problems.push(Problem::error("contract", "cluster.contract", message).hint("use \"1.13\""));
    }
    let patches = &project.patches;
    for (list, patches) in
        [("all", &patches.all), ("control_planes", &patches.control_planes), ("workers", &patches.workers)]
    {
        for (index, patch) in patches.iter().enumerate() {
            if let Err(refusal) = super::patch::parse(patch, reader(project)) {
                let subject = format!("patches.{list}[{index}]");
                let problem = Problem::error("invalid-patch", subject, refused_text(&refusal));
                problems.push(
                    problem.hint(format!("write a part of a machine configuration of Talos {}", reader(project))),
                );
            }
        }
    }
    problems
}

fn refused_text(refusal: &Refusal) -> String {
    match refusal.unknown_keys() {
        [] => refusal.to_string(),
        keys => format!("{refusal}: `{}`", keys.join("`, `")),
    }
}
