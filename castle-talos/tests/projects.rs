//! The example projects are read without a complaint.

use std::io;
use std::path::{Path, PathBuf};

use castle_core::handover::{ProbeKind, ProbeTls, SeedPart};
use castle_core::options::{SecretsAccess, Trust};
use castle_core::{ByteSize, NodeRole, Options, Project, Sources};

fn text(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/projects").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn project(file: &str) -> Project {
    let project =
        Project::parse(&text(file), castle_talos::image).unwrap_or_else(|problems| panic!("{file}: {problems:#?}"));
    assert_eq!(project.warnings, [], "{file}");
    project
}

fn ids(project: &Project) -> Vec<u32> {
    project.machines.iter().map(|machine| machine.id.get()).collect()
}

#[test]
fn blue_is_one_control_plane_and_two_workers() {
    let blue = project("blue/proxmox/castle.yaml");
    assert_eq!(ids(&blue), [421, 431, 432]);
    assert_eq!(blue.with_role(NodeRole::ControlPlane).count(), 1);
    assert_eq!(blue.machines.iter().map(|machine| machine.memory).sum::<ByteSize>().to_string(), "24GiB");
    assert_eq!(blue.machines[0].image.file, "talos-613e1592b2da-v1.13.9.qcow2");
    assert!(blue.machines[0].image.url.ends_with("/v1.13.9/nocloud-amd64.qcow2"));
}

#[test]
fn fortress_survives_the_loss_of_one() {
    let fortress = project("fortress/proxmox/castle.yaml");
    assert_eq!(ids(&fortress), [521, 522, 523, 531, 532]);
    let memory: Vec<String> = fortress.machines.iter().map(|machine| machine.memory.to_string()).collect();
    assert_eq!(memory, ["4GiB", "4GiB", "4GiB", "6GiB", "6GiB"]);
    let ends: Vec<String> =
        fortress.machines.iter().map(|machine| machine.nic.address.to_string().replace("192.168.1.", ".")).collect();
    assert_eq!(ends, [".211", ".212", ".213", ".214", ".215"]);
    assert_eq!(fortress.network.vip, Some("192.168.1.210".parse().expect("an address")));
}

#[test]
fn blue_and_fortress_are_handed_over_alike() {
    for name in ["blue", "fortress"] {
        let project = project(&format!("{name}/proxmox/castle.yaml"));
        let address = |text: &str| text.parse().expect("an address");
        assert_eq!(project.network.load_balancers, Some((address("192.168.1.240"), address("192.168.1.247"))));
        let gitops = project.gitops.expect("declared");
        assert_eq!(gitops.repository.url, "https://git.castle.internal/tazlab-k8s.git");
        assert_eq!(gitops.repository.path, format!("clusters/{name}"));
        assert_eq!(gitops.seed, SeedPart::ALL);
        assert!(gitops.flux.is_none() && gitops.external_secrets.is_some());
        let keys =
            [project.escrow.kubeconfig, project.escrow.talosconfig].map(|key| key.expect("declared").to_string());
        assert_eq!(keys, ["KUBECONFIG_CONTENT", "TALOSCONFIG_CONTENT"]);
        assert_eq!((project.datasets.len(), project.probes.len()), (0, 1));
        let ProbeKind::Http { host, expect, tls, .. } = &project.probes[0].kind else { panic!("a request") };
        assert_eq!((host, expect, tls), (&format!("blog.{name}.castle.internal"), &200, &ProbeTls::NameOnly));
    }
}

/// The files that the example of the options refers to.
struct Desk;

impl Sources for Desk {
    fn file(&self, path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("/house/proxmox.token") => Ok("castle@pve!main=5d0b2c1e-7a34-4c7e-9d3f-0a1b2c3d4e5f\n".to_owned()),
            Some("/house/pve-root-ca.pem") => Ok("-----BEGIN CERTIFICATE-----\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

#[test]
fn the_house_and_its_options_are_read() {
    assert_eq!(ids(&project("house/castle.yaml")), [421, 431, 432]);
    let options = Options::parse(&text("house/options.example.yaml"), Path::new("/house"), &Desk)
        .unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(!options.lab);
    assert!(matches!(&options.secrets, SecretsAccess::Files(folder) if folder == &PathBuf::from("/house/secrets")));
    assert!(matches!(options.proxmox.expect("declared").trust, Trust::Authorities(_)));
    assert_eq!(options.dial.entries(), None);
}

/// The parser lists the keys that it knows, so the house's comments and the
/// editors' schema are compared with the parser itself.
#[test]
fn every_key_is_explained_in_the_house_and_known_to_the_schema() {
    let house = text("house/castle.yaml");
    let schema: serde_json::Value = serde_json::from_str(&text("castle.schema.json")).expect("the schema is JSON");
    let mut compared = 0;
    let mut compare = |probe: &str, mapping: &str| {
        let problems = Project::parse(probe, castle_talos::image).expect_err("an unknown key");
        let hint = problems[0].hint.as_deref().expect("a list of keys");
        let mut known: Vec<&str> = hint.strip_prefix("known here: ").expect("a list of keys").split(", ").collect();
        for key in &known {
            assert!(house.contains(&format!("{key}:")), "`{key}` is not in the house's castle.yaml");
        }
        let declared = schema.pointer(mapping).expect("a mapping of the schema");
        let mut keys: Vec<&String> = declared["properties"].as_object().expect("properties").keys().collect();
        known.sort_unstable();
        keys.sort_unstable();
        assert_eq!(keys, known, "{mapping}");
        assert_eq!(declared["additionalProperties"], false, "{mapping}");
        compared += known.len();
    };
    for (before, mapping) in [
        ("project: house", ""),
        ("  talos:", "/properties/cluster"),
        ("  gateway:", "/properties/network"),
        ("    reserve:", "/properties/hosts/additionalProperties"),
        ("  # The storage that holds", "/properties/image"),
        ("  cores: 4\n  memory", "/properties/defaults"),
        ("    vmid: 421", "/$defs/machine"),
        ("  # For every node, in order.", "/properties/patches"),
        ("  imports_per_storage:", "/properties/limits"),
        ("  import: 15m", "/properties/deadlines"),
        ("    # Files that you alone", "/properties/secrets/properties/store"),
        ("  # What castle plants", "/properties/gitops"),
        ("    # The branch that", "/properties/gitops/properties/repository"),
        ("      secret: git", "/properties/gitops/properties/repository/properties/credentials"),
        ("    repository: infrastructure", "/$defs/source"),
        ("  kubeconfig: KUBE", "/properties/escrow"),
        ("    # What would be lost", "/properties/datasets/items"),
        ("    # A request to the load", "/$defs/probe"),
        ("      host: blog", "/$defs/probe/properties/http"),
        ("      service: mail", "/$defs/probe/properties/tcp"),
        ("      kind: Deployment", "/$defs/probe/properties/condition"),
    ] {
        assert!(house.contains(before), "{before}");
        let indent = &before[..before.len() - before.trim_start().len()];
        let probe = house.replacen(before, &format!("{indent}unknown-zz: 1\n{before}"), 1);
        compare(&probe, mapping);
    }
    // What the house has as a comment, in the place of what it has.
    for kind in ["infisical", "sops", "environment"] {
        let probe = house.replacen("    files: secrets", &format!("    {kind}: {{unknown-zz: 1}}"), 1);
        compare(&probe, &format!("/properties/secrets/properties/store/properties/{kind}"));
    }
    assert!(compared > 75, "{compared} keys");
}
