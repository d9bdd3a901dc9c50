use std::collections::BTreeMap;
use std::sync::Arc;

use castle_core::handover::Repository;
use castle_core::options::GitAccess;
use castle_core::{ErrorKind, Secret};
use castle_gitops::git::{Error, Reader};
use castle_lab::{Act, Call, Fault, FaultEffect, Reply, Service, World, runtime, server};

use crate::house::House;

const NAME: &str = "git.castle.internal";
const PATH: &str = "/tazlab-k8s.git";

fn files(list: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    list.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

async fn house() -> House {
    let mut world = World::empty(7);
    world.git.accounts.add("git", "the-token".into());
    let tree = files(&[
        ("README.md", "read me"),
        ("clusters/blue/flux-system/gotk-components.yaml", &"kind: Namespace\n---\n".repeat(2000)),
        ("clusters/blue/flux-system/gotk-sync.yaml", "kind: GitRepository\n"),
        ("clusters/blue-green/a.yaml", "a"),
        ("apps/blog.yaml", "kind: Deployment\n"),
    ]);
    world.commit_files(PATH, "main", tree, "Begin");
    world.commit_files(PATH, "next", files(&[("README.md", "next")]), "Begin otherwise");
    House::with(NAME, world, server::git()).await
}

fn reader_of(house: &House, url: &str, token: Option<&str>) -> Result<Reader, Error> {
    let mut options = house.options();
    options.git = token.map(|token| GitAccess {
        username: "git".into(),
        password: Secret::new(token.to_owned()),
        trust: Some(house.trust()),
    });
    let repository = Repository { url: url.into(), branch: "main".into(), path: "clusters/blue".into() };
    Reader::new(&options, &house.env(), &repository)
}

fn reader(house: &House) -> Reader {
    reader_of(house, &format!("https://{NAME}{PATH}"), Some("the-token")).unwrap()
}

#[test]
fn a_branch_and_its_files_are_read() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let reader = reader(&house);
        let head = reader.head("main").await.unwrap();
        let stands = house.lab.with_world(|world| world.git.repository(PATH).unwrap().head("main").unwrap().clone());
        assert_eq!(head, stands.commit);
        let found = reader.files(&head, &["clusters/blue", "README.md", "absent"]).await.unwrap();
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        let flux = "clusters/blue/flux-system/gotk-";
        assert_eq!(names, ["README.md", &format!("{flux}components.yaml"), &format!("{flux}sync.yaml")]);
        assert!(found.iter().all(|(path, bytes)| stands.files[path] == *bytes));
        assert_eq!(reader.files(&head, &[""]).await.unwrap(), stands.files);
        assert_eq!(reader.files(&head, &["absent"]).await.unwrap(), BTreeMap::new());
    });
}

#[test]
fn a_commit_is_fetched_once_and_a_branch_is_asked_each_time() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let reader = reader(&house);
        let head = reader.head("main").await.unwrap();
        reader.files(&head, &["README.md"]).await.unwrap();
        let before = reader.meter().total();
        reader.files(&head, &["README.md"]).await.unwrap();
        assert_eq!(reader.meter().total(), before);
        assert_eq!(reader.head("main").await.unwrap(), head);
        assert_eq!((reader.meter().total().read, before.read), (before.read + 1, before.read));
        house.lab.with_world(|world| {
            world.edit_files(PATH, "main", "Change", |files| {
                files.insert("README.md".into(), b"changed".to_vec());
            });
        });
        let next = reader.head("main").await.unwrap();
        assert_ne!(next, head);
        let found = reader.files(&next, &["README.md"]).await.unwrap();
        assert_eq!(found["README.md"], b"changed");
        assert_eq!(reader.meter().total().write, 0);
    });
}

#[test]
fn each_refusal_says_what_to_do() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let url = format!("https://{NAME}{PATH}");
        let check = async |url: &str, token: Option<&str>, branch: &str, kind: ErrorKind, words: [&str; 2]| {
            let asked = match reader_of(&house, url, token) {
                Ok(reader) => reader.head(branch).await,
                Err(error) => Err(error),
            };
            let error = castle_core::Error::from(asked.expect_err(url));
            assert_eq!(error.kind(), kind, "{}", error.chain());
            let told = format!("{} | {}", error.chain(), error.advice().unwrap_or_default());
            assert!(words.iter().all(|word| told.contains(word)), "{told}");
            assert!(!format!("{told} {error:?}").contains("wrong-token"), "{told}");
        };
        let token = Some("the-token");
        check(&url, Some("wrong-token"), "main", ErrorKind::Unauthenticated, ["401", "may have expired"]).await;
        check(&url, token, "absent", ErrorKind::NotFound, ["no branch `absent`, it has `main`, `next`", "push"]).await;
        let missing = format!("https://{NAME}/missing.git");
        check(&missing, token, "main", ErrorKind::NotFound, ["404", "castle.yaml"]).await;
        check(&format!("https://{NAME}"), token, "main", ErrorKind::InvalidSpec, ["no repository", "host/path.git"])
            .await;
        check("http://git.castle.internal/a.git", token, "main", ErrorKind::InvalidSpec, ["https://", "write"]).await;
        check("https://me:wrong-token@git.castle.internal/a.git", token, "main", ErrorKind::InvalidSpec, ["user", ""])
            .await;
        check("https://elsewhere.example/a.git", token, "main", ErrorKind::Unreachable, ["dial map", "dial"]).await;
        let with = |status, body: &str| {
            let body = body.to_owned();
            house.lab.faults().add(Fault::of(FaultEffect::Status { status, reason: None, body, after: false }));
        };
        with(403, "");
        check(&url, token, "main", ErrorKind::Unauthenticated, ["403", "lack the right"]).await;
        with(200, "<html>log in</html>");
        check(&url, token, "main", ErrorKind::Unreachable, ["does not speak git", "`git clone`"]).await;
        with(429, "");
        check(&url, token, "main", ErrorKind::RateLimited, ["429", "wait"]).await;
        with(502, "");
        check(&url, token, "main", ErrorKind::Unreachable, ["502", "wait"]).await;
        house.lab.faults().add(Fault::of(FaultEffect::ResetBefore));
        check(&url, token, "main", ErrorKind::Unreachable, ["does not answer", "network"]).await;
    });
}

#[test]
fn without_a_token_the_hint_names_the_option() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let mut options = house.options();
        options.git = Some(GitAccess {
            username: "nobody".into(),
            password: Secret::new(String::new()),
            trust: Some(house.trust()),
        });
        let repository =
            Repository { url: format!("https://{NAME}{PATH}"), branch: "main".into(), path: String::new() };
        let reader = Reader::new(&options, &house.env(), &repository).unwrap();
        let error = castle_core::Error::from(reader.head("main").await.unwrap_err());
        assert!(error.advice().unwrap().contains("`git.username` and `git.password`"), "{error:?}");
    });
}

#[test]
fn a_commit_that_the_server_does_not_have_is_refused() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let reader = reader(&house);
        let error = reader.files(&"0123456789".repeat(4), &["README.md"]).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        assert_eq!(castle_core::Error::from(error).kind(), ErrorKind::Conflict);
        assert!(matches!(reader.files("main", &[""]).await.unwrap_err(), Error::Malformed { .. }));
    });
}

/// Git as the lab serves it, by a server that cannot leave files out.
struct Unfiltered(Arc<dyn Service>);

impl Service for Unfiltered {
    fn backend(&self) -> &'static str {
        self.0.backend()
    }

    fn classify(&self, world: &World, call: &Call) -> Act {
        self.0.classify(world, call)
    }

    fn serve(&self, world: &mut World, call: &Call) -> Reply {
        let mut reply = self.0.serve(world, call);
        if call.path.ends_with("/info/refs") {
            let text = String::from_utf8(reply.body.to_vec()).unwrap();
            assert!(text.contains(" filter\n"), "{text}");
            // As long as before, for the line begins with its length.
            reply.body = text.replace(" filter\n", " fitler\n").into();
        }
        reply
    }
}

#[test]
fn a_repository_with_a_large_file_is_too_large_where_the_server_sends_all() {
    runtime::run_virtual(|| async {
        let mut world = World::empty(7);
        world.git.accounts.add("git", "the-token".into());
        let mut tree = files(&[("README.md", "read me")]);
        world.commit_files(PATH, "small", tree.clone(), "Begin");
        tree.insert("talos.iso".into(), vec![0; 20 << 20]);
        world.commit_files(PATH, "main", tree, "A picture");
        let house = House::with(NAME, world, Arc::new(Unfiltered(server::git()))).await;
        let reader = reader(&house);
        let head = reader.head("small").await.unwrap();
        assert_eq!(reader.files(&head, &["README.md"]).await.unwrap()["README.md"], b"read me");
        let head = reader.head("main").await.unwrap();
        let error = reader.files(&head, &["README.md"]).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
        let error = castle_core::Error::from(error);
        assert!(error.chain().contains("has a file of 20971520 bytes, up to 16 MiB are read"), "{}", error.chain());
        assert!(error.advice().unwrap().contains("pictures and archives"), "{:?}", error.advice());
    });
}

#[test]
fn one_seed_is_one_history() {
    let history = || {
        runtime::run_virtual(|| async {
            let house = house().await;
            let reader = reader(&house);
            for branch in ["main", "next", "main"] {
                let head = reader.head(branch).await.unwrap();
                reader.files(&head, &["README.md"]).await.unwrap();
            }
            (house.lab.clock().elapsed(), house.lab.journal().digest())
        })
    };
    assert_eq!(history(), history());
}
