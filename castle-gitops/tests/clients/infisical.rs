use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use castle_core::conformance::{SecretsHarness, secrets};
use castle_core::options::InfisicalAccess;
use castle_core::{Env, Options, Secret, SecretBytes, SecretKey, SecretStore};
use castle_gitops::secrets::InfisicalSecrets;
use castle_lab::infisical::Place;
use castle_lab::infisical::identity::Identity;
use castle_lab::{World, runtime, server};

use crate::house::House;

const NAME: &str = "infisical.castle.internal";
pub const PATH: &str = "/ephemeral-castle/blue";

/// A house with a vault that knows one identity.
pub async fn house() -> House {
    let mut world = World::empty(7);
    world.put_secret(&Place::new("castle", "prod", "/others"), "theirs", "x");
    let identity = Identity::new("castle", "client-secret-5e1f".into(), true);
    world.infisical.identities.by_client_id.insert("client-id".into(), identity);
    House::with(NAME, world, server::infisical()).await
}

pub fn access(house: &House) -> InfisicalAccess {
    InfisicalAccess {
        url: format!("https://{NAME}"),
        project: "castle".into(),
        environment: "prod".into(),
        path: PATH.into(),
        client_id: "client-id".into(),
        client_secret: Secret::new("client-secret-5e1f".into()),
        trust: Some(house.trust()),
    }
}

pub fn store(house: &House) -> InfisicalSecrets {
    InfisicalSecrets::new(&access(house), &house.options(), &house.env()).unwrap()
}

pub fn key(text: &str) -> SecretKey {
    text.parse().unwrap()
}

pub fn bytes(text: &str) -> SecretBytes {
    Secret::new(text.as_bytes().to_vec())
}

/// What lies in the vault, as others see it.
pub fn lies(house: &House, folder: &str, name: &str) -> Option<(String, u64)> {
    house.lab.with_world(|world| {
        let value = world.infisical.value("castle", "prod", folder, name)?.to_owned();
        Some((value, world.infisical.version("castle", "prod", folder, name)?))
    })
}

/// A folder of the vault.
struct Folder {
    access: InfisicalAccess,
    options: Options,
    env: Env,
}

impl SecretsHarness for Folder {
    fn store(&self) -> Arc<dyn SecretStore> {
        Arc::new(InfisicalSecrets::new(&self.access, &self.options, &self.env).unwrap())
    }
}

#[test]
fn infisical_keeps_every_rule() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let count = AtomicUsize::new(0);
        let lines = secrets::all(|| {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let access = InfisicalAccess { path: format!("/conformance/{number}"), ..access(&house) };
            Folder { access, options: house.options(), env: house.env() }
        })
        .await;
        println!("{}", lines.join("\n"));
        assert_eq!(lines.len(), secrets::RULES.len());
        assert!(lines[0].starts_with("conformance secrets infisical "), "{lines:?}");
    });
}

#[test]
fn the_root_of_a_project_may_hold_the_secrets() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let access = InfisicalAccess { path: "/".into(), ..access(&house) };
        let store = InfisicalSecrets::new(&access, &house.options(), &house.env()).unwrap();
        store.create(&key("talos/1"), &bytes("a")).await.unwrap();
        store.create(&key("project-key"), &bytes("b")).await.unwrap();
        let all = store.list("").await.unwrap();
        assert_eq!(all, [key("others/theirs"), key("project-key"), key("talos/1")]);
        assert_eq!(lies(&house, "/talos", "1"), Some(("a".into(), 1)));
    });
}

#[test]
fn texts_lie_there_for_others_to_read_and_bytes_do_not_get_lost() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let store = store(&house);
        let check = async |name: &str, value: &[u8], text: &str| {
            let (key, value) = (key(name), Secret::new(value.to_vec()));
            store.put(&key, &value).await.unwrap();
            assert_eq!(lies(&house, PATH, name).unwrap(), (text.to_owned(), 1));
            assert_eq!(store.get(&key).await.unwrap().unwrap().expose(), value.expose());
            assert!(!store.put(&key, &value).await.unwrap());
            assert_eq!(lies(&house, PATH, name).unwrap().1, 1);
        };
        check("KUBECONFIG_CONTENT", b"apiVersion: v1\nkind: Config\n", "apiVersion: v1\nkind: Config\n").await;
        check("blanks", b" x", "castle:base64:IHg=").await;
        check("bytes", &[0xff, 0xfe], "castle:base64://4=").await;
        check("empty", b"", "").await;
    });
}

#[test]
fn a_value_that_differs_in_trimmed_blanks_alone_is_not_written_again() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let store = store(&house);
        let place = Place::new("castle", "prod", PATH);
        house.lab.with_world(|world| world.put_secret(&place, "kubeconfig", "by an older server"));
        assert!(!store.put(&key("kubeconfig"), &bytes("by an older server\n")).await.unwrap());
        assert_eq!(lies(&house, PATH, "kubeconfig").unwrap().1, 1);
        assert!(store.put(&key("kubeconfig"), &bytes("another\n")).await.unwrap());
        assert_eq!(lies(&house, PATH, "kubeconfig").unwrap(), ("another\n".into(), 2));
    });
}

#[test]
fn a_store_logs_in_once_and_asks_little() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let store = store(&house);
        assert!(house.asked().is_empty(), "nothing is asked before it is needed");
        store.create(&key("talos/1/began"), &bytes("x")).await.unwrap();
        assert_eq!(
            house.asked(),
            ["POST login 200", "GET project 200", "POST secret 404", "POST folders 200", "POST secret 200"]
        );
        store.create(&key("talos/1/ended"), &bytes("x")).await.unwrap();
        store.get(&key("talos/1/began")).await.unwrap().unwrap();
        store.list("talos").await.unwrap();
        assert_eq!(house.asked()[5..], ["POST secret 200", "GET secret 200", "GET secrets 200"]);
        let total = store.meter().total();
        assert_eq!((total.read, total.write), (4, 4));
    });
}
