//! What the vault of a project's home holds.

use castle_core::handover::{HandoverSpec, Repository, SeedPart};
use castle_core::{Cluster, ImageRef, ImageSpec, Project};
use castle_lab::git::template::{VAULT_ENVIRONMENT, VAULT_PROJECT, blog_host, vault_names, vault_path};
use castle_lab::{Lab, World, runtime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

fn handed_over() -> Project {
    fn named(_: &Cluster, image: &ImageSpec) -> castle_core::Result<ImageRef> {
        Ok(ImageRef {
            storage: image.storage.clone(),
            file: "talos.qcow2".into(),
            url: "https://factory.example".into(),
        })
    }
    let text = include_str!("../../../examples/projects/blue/proxmox/castle.yaml");
    let mut project = Project::parse(text, named).unwrap();
    let url = "https://git.castle.internal/tazlab-k8s.git".to_owned();
    project.gitops = Some(HandoverSpec {
        repository: Repository { url, branch: "main".into(), path: "clusters/blue".into() },
        seed: SeedPart::ALL.to_vec(),
        flux: None,
        external_secrets: None,
    });
    project
}

#[test]
fn two_identities_are_known_one_to_write_and_one_to_read() {
    let world = World::home(&handed_over(), 3);
    let vault = &world.infisical;
    let mut seen = Vec::new();
    for (name, may_write) in [("castle", true), ("external-secrets", false)] {
        let (client_id, identity) = vault.identity(name).unwrap();
        assert_eq!(identity.may_write, may_write, "{name}");
        let secret = identity.client_secret.expose();
        assert!(vault.identity_is_valid(client_id, secret));
        assert!(!vault.identity_is_valid(client_id, "wrong") && !vault.identity_is_valid("wrong", secret));
        seen.push(secret.clone());
    }
    assert_ne!(seen[0], seen[1]);
    let told: Vec<_> = vault.secrets().map(|(_, secret)| secret).collect();
    assert!(seen.iter().all(|secret| told.contains(secret)));
    let other = World::home(&handed_over(), 4);
    assert_ne!(other.infisical.identity("castle").unwrap().1.client_secret.expose(), &seen[0]);
}

#[test]
fn the_blogs_certificate_is_the_houses_and_stays_the_same() {
    let project = handed_over();
    let [certificate_name, key_name] = vault_names();
    let read = |world: &mut World| {
        let path = vault_path(&handed_over());
        [certificate_name, key_name].map(|name| {
            let value = world.infisical.value(VAULT_PROJECT, VAULT_ENVIRONMENT, &path, name);
            value.expect(name).to_owned()
        })
    };
    let (first, second, trust) = runtime::run_virtual(|| async {
        let lab = Lab::builder(&project).seed(3).start().await.unwrap();
        let first = lab.with_world(read);
        let trust = lab.pki().ca_pem().to_owned();
        let lab = Lab::builder(&project).world(lab.into_world()).start().await.unwrap();
        (first, lab.with_world(read), trust)
    });
    assert_eq!(first, second, "a power cut changes no certificate");
    let der = pem::parse(&first[0]).unwrap();
    let (_, certificate) = X509Certificate::from_der(der.contents()).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names, [GeneralName::DNSName(&blog_host(&handed_over()))]);
    let authority = pem::parse(trust).unwrap();
    let (_, authority) = X509Certificate::from_der(authority.contents()).unwrap();
    assert_eq!(certificate.issuer(), authority.subject());
    assert!(first[1].starts_with("-----BEGIN PRIVATE KEY-----"), "a key");
}
