//! Repositories as data: ids, commits, what a project's home holds.

use std::time::Duration;

use castle_core::handover::{HandoverSpec, Repository as RepositorySpec, SeedPart};
use castle_core::{Cluster, ImageRef, ImageSpec, Project};
use castle_lab::git::object::{Object, ObjectId, ObjectKind, Objects};
use castle_lab::{Lab, World, git, runtime};

use crate::house::{PATH, files, world};

#[test]
fn ids_are_the_true_ones() {
    let blob = |text: &str| Object::new(ObjectKind::Blob, text.as_bytes().to_vec()).id().to_string();
    assert_eq!(blob(""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
    assert_eq!(blob("hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
    let mut objects = Objects::default();
    assert_eq!(objects.plant(&files(&[])).to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
    // Folders are sorted as if their names ended in a slash: `a.b` before `a/`.
    let tree = objects.plant(&files(&[("a/c", "x"), ("a.b", "y"), ("a0", "z")]));
    let names: Vec<_> = objects.tree(tree).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["a.b", "a", "a0"]);
}

#[test]
fn the_same_history_has_the_same_ids() {
    let heads: Vec<_> = (0..2).map(|_| world().git.repositories[PATH].head("main").unwrap().commit.clone()).collect();
    assert_eq!(heads[0], heads[1]);
    let repository = &world().git.repositories[PATH];
    let log: Vec<_> = repository.log("main").into_iter().map(|(_, commit)| commit.message).collect();
    assert_eq!(log, ["Version 3\n", "Version 2\n", "Version 1\n"]);
    assert_eq!(repository.landings().len(), 3);
    assert!(repository.head("other").is_none());
}

#[test]
fn a_commit_has_the_worlds_day_and_none_is_made_for_nothing() {
    let mut world = world();
    let before = world.git.revision();
    world.advance_to(Duration::from_secs(3600));
    let id = world.edit_files(PATH, "main", "One more", |files| {
        files.insert("new.txt".to_owned(), b"new".to_vec());
    });
    let repository = &world.git.repositories[PATH];
    let (newest, commit) = repository.log("main").remove(0);
    assert_eq!(newest, id);
    assert_eq!(commit.author, format!("castle-lab <lab@castle.internal> {} +0000", world.unix_now()));
    assert_eq!(repository.head("main").unwrap().files.len(), 3);
    assert_eq!(repository.landings().last().unwrap().at, Duration::from_secs(3600));
    assert_eq!(world.git.revision(), before + 1);
    assert_eq!(world.edit_files(PATH, "main", "Nothing", |_| {}), id);
    assert_eq!(world.git.revision(), before + 1);
}

#[test]
fn a_world_that_was_cloned_goes_its_own_way() {
    let mut world = world();
    let copy = world.clone();
    world.edit_files(PATH, "main", "Elsewhere", |files| files.clear());
    assert!(world.git.repositories[PATH].head("main").unwrap().files.is_empty());
    assert_eq!(copy.git.repositories[PATH].head("main").unwrap().files.len(), 2);
}

pub fn handed_over(url: &str) -> Project {
    let text = include_str!("../../../examples/projects/blue/proxmox/castle.yaml");
    fn named(_: &Cluster, image: &ImageSpec) -> castle_core::Result<ImageRef> {
        Ok(ImageRef {
            storage: image.storage.clone(),
            file: "talos.qcow2".into(),
            url: "https://factory.example".into(),
        })
    }
    let mut project = Project::parse(text, named).unwrap();
    project.gitops = Some(HandoverSpec {
        repository: RepositorySpec { url: url.into(), branch: "main".into(), path: "clusters/blue".into() },
        seed: SeedPart::ALL.to_vec(),
        flux: None,
        external_secrets: None,
    });
    project
}

#[test]
fn a_home_has_the_repository_that_its_project_names() {
    let project = handed_over("https://git.castle.internal/tazlab-k8s.git");
    let world = World::home(&project, 3);
    let head = world.git.repositories[PATH].head("main").unwrap();
    assert_eq!(head.files, git::template(&project));
    assert!(head.files.contains_key("clusters/blue/flux-system/gotk-sync.yaml"), "{:?}", head.files.keys());
    let other = World::home(&project, 4);
    let token = |world: &World| world.git.accounts.token().unwrap().expose().clone();
    assert_ne!(token(&world), token(&other), "two homes have two tokens");
    assert_eq!(token(&world), token(&World::home(&project, 3)));
    assert_eq!(world.git.secrets().map(|(_, secret)| secret).collect::<Vec<_>>(), [token(&world)]);
    assert!(!format!("{:?}", world.git).contains(&token(&world)));
}

#[test]
fn the_options_name_the_servers_and_the_credentials() {
    let project = handed_over("https://git.somewhere.lan:3000/team/repository.git");
    let (options, ids, port) = runtime::run_virtual(|| async move {
        let lab = Lab::builder(&project).seed(3).start().await.unwrap();
        let ids = lab.with_world(|world| {
            let token = world.git.accounts.token().unwrap().expose().clone();
            let (id, identity) = world.infisical.identity("external-secrets").unwrap();
            (token, id.to_owned(), identity.client_secret.expose().clone())
        });
        let port = lab.address_of_name("GIT.somewhere.lan", 3000).unwrap();
        (lab.options(lab.new_run()).unwrap(), ids, port)
    });
    let git = options.git.unwrap();
    assert_eq!((git.username.as_str(), git.password.expose()), ("git", &ids.0));
    let identity = options.identity.unwrap();
    assert_eq!((identity.client_id.expose(), identity.client_secret.expose()), (&ids.1, &ids.2));
    assert_eq!(options.dial.resolve_name("git.somewhere.lan", 3000).unwrap(), Some(port));
    assert!(options.dial.resolve_name("infisical.castle.internal", 443).unwrap().is_some());
    assert!(options.dial.resolve_name("github.com", 443).is_err());
}

#[test]
fn a_project_without_gitops_has_neither_server() {
    let mut project = handed_over("https://git.castle.internal/tazlab-k8s.git");
    project.gitops = None;
    let options = runtime::run_virtual(|| async move {
        let lab = Lab::builder(&project).start().await.unwrap();
        assert!(lab.infisical_access().is_none());
        lab.options(lab.new_run()).unwrap()
    });
    assert!(options.git.is_none() && options.identity.is_none());
    assert!(options.dial.names().is_empty());
}

#[test]
fn an_id_has_forty_digits() {
    let id = "ce013625030ba8dba906f756967f9e9ca394464a";
    assert_eq!(id.parse::<ObjectId>().unwrap().to_string(), id);
    for text in ["", "ce01", "zz013625030ba8dba906f756967f9e9ca394464a"] {
        assert_eq!(text.parse::<ObjectId>().unwrap_err().to_string(), format!("`{text}` is no object id"));
    }
}

#[test]
fn the_servers_stand_where_no_load_balancer_will() {
    let mut project = handed_over("https://git.castle.internal/tazlab-k8s.git");
    let range: [std::net::IpAddr; 2] = ["192.168.1.10", "192.168.1.200"].map(|text| text.parse().unwrap());
    project.network.load_balancers = Some((range[0], range[1]));
    runtime::run_virtual(|| async move {
        let lab = Lab::builder(&project).start().await.unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for name in ["git.castle.internal", "infisical.castle.internal"] {
            let at = lab.address_of_name(name, 443).unwrap();
            let (house, _) = lab.addresses().find(|(_, listening)| *listening == at).unwrap();
            assert!(house.ip() > range[1] && seen.insert(house), "{name} stands at {house}");
        }
    });
}
