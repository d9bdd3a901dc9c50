//! The web at load balancers' addresses, through real sockets in virtual time.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use castle_core::{Cluster as Named, ImageRef, ImageSpec, Pace, Project, Result};
use castle_lab::kube::Resource;
use castle_lab::runtime::{run_scaled, run_virtual};
use castle_lab::{Lab, World};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::cluster::{Cluster, advertisement, deployment, metallb, pool, service};

const YAML: &str = r#"
apiVersion: castle/v1alpha1
project: blue
platform: proxmox
cluster: {name: blue, talos: v1.13.9, kubernetes: v1.36.3, contract: "1.13"}
image: {extensions: [], storage: local}
network: {subnet: 192.168.1.0/24, gateway: 192.168.1.1, dns: [192.168.1.1], bridge: vmbr0, vip: 192.168.1.10}
hosts: {pve1: {memory: 32GiB, reserve: 4GiB}}
defaults: {pool: blue, storage: local-lvm, cores: 4, memory: 8GiB, disk: 40GiB}
control_planes:
  - {name: blue-cp-01, vmid: 421, address: 192.168.1.9, host: pve1}
"#;

fn naming(_: &Named, image: &ImageSpec) -> Result<ImageRef> {
    let file = "talos-000000000000-v1.13.9.qcow2".to_owned();
    Ok(ImageRef { storage: image.storage.clone(), url: format!("https://factory.invalid/{file}"), file })
}

fn project() -> Project {
    let mut project = Project::parse(YAML, naming).unwrap();
    project.network.load_balancers = Some(("192.168.1.240".parse().unwrap(), "192.168.1.242".parse().unwrap()));
    project
}

/// The ingress controller behind 192.168.1.240, a blog behind it.
fn house(certificate: Option<(&str, &str)>) -> World {
    house_in(World::empty(7), certificate)
}

fn house_in(world: World, certificate: Option<(&str, &str)>) -> World {
    let mut cluster = Cluster::within(world, 2);
    for object in metallb() {
        cluster.apply(object);
    }
    cluster.world.settle();
    cluster.namespace("ingress");
    cluster.namespace("blog");
    let mut blog = deployment("blog", "blog", 1, "v1");
    blog["spec"]["template"]["spec"]["volumes"] = json!([{"name": "pages", "configMap": {"name": "pages"}}]);
    let rule = |host: &str, service: &str| {
        let backend = json!({"service": {"name": service, "port": {"number": 80}}});
        json!({"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}})
    };
    for object in [
        pool("home", &["192.168.1.240-192.168.1.242"]),
        deployment("ingress", "traefik", 1, "v3"),
        service("ingress", "traefik", "traefik", "LoadBalancer"),
        blog,
        service("blog", "blog", "blog", "ClusterIP"),
        service("blog", "nobody", "nobody", "ClusterIP"),
        deployment("blog", "shop", 1, "v1"),
        service("blog", "shop", "shop", "ClusterIP"),
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "pages", "namespace": "blog"},
            "data": {"index.html": "<h1>the blog</h1>", "style.css": "h1 {}"},
        }),
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "blog", "namespace": "blog"},
            "spec": {
                "rules": [rule("blog.house", "blog"), rule("nobody.house", "nobody"), rule("shop.house", "shop")],
                "tls": [{"hosts": ["blog.house"], "secretName": "blog-tls"}],
            },
        }),
    ] {
        cluster.apply(object);
    }
    if let Some((certificate, key)) = certificate {
        let coded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        cluster.apply(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "blog-tls", "namespace": "blog"},
            "type": "kubernetes.io/tls",
            "data": {"tls.crt": coded(certificate), "tls.key": coded(key)},
        }));
    }
    cluster.world.settle();
    cluster.world
}

/// Asks as a browser would whose name server knows every host.
struct Browser {
    http: reqwest::Client,
}

impl Browser {
    fn of(lab: &Lab, ca: Option<&str>) -> Self {
        Self::at("127.0.0.1".parse().unwrap(), lab, ca)
    }

    fn at(address: IpAddr, lab: &Lab, ca: Option<&str>) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        if let Some(ca) = ca {
            roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
        }
        let tls = castle_wire::builder(&lab.clock()).with_root_certificates(roots).with_no_client_auth();
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .local_address(lab.source(lab.new_run()))
            .tls_backend_preconfigured(tls)
            .timeout(Duration::from_secs(120));
        for host in ["blog.house", "nobody.house", "shop.house", "other.house"] {
            builder = builder.resolve(host, SocketAddr::new(address, 0));
        }
        Self { http: builder.build().unwrap() }
    }

    async fn get(&self, url: &str, at: SocketAddr) -> reqwest::Result<(u16, String)> {
        // The port of the URL is where the lab really listens.
        let (scheme, rest) = url.split_once("://").unwrap();
        let (host, path) = rest.split_once('/').unwrap();
        let answer = self.http.get(format!("{scheme}://{host}:{}/{path}", at.port())).send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await?))
    }
}

fn at(lab: &Lab, house: &str) -> SocketAddr {
    lab.address_of(house.parse().unwrap()).unwrap()
}

fn announce(lab: &Lab) {
    lab.with_world(|world| {
        world.kubernetes.put(advertisement()).unwrap();
    });
}

#[test]
fn the_ingress_leads_hosts_to_their_pages() {
    run_virtual(|| async {
        let lab = Lab::builder(&project()).world(house(None)).start().await.unwrap();
        announce(&lab);
        let (browser, door) = (Browser::of(&lab, None), at(&lab, "192.168.1.240:80"));
        for (url, status, body) in [
            ("http://blog.house/", 200, "<h1>the blog</h1>"),
            ("http://blog.house/style.css", 200, "h1 {}"),
            ("http://blog.house/nothing", 404, "404 page not found\n"),
            ("http://shop.house/", 200, "<!doctype html>\n<title>shop</title>\n<h1>shop</h1>\n"),
            ("http://other.house/", 404, "404 page not found\n"),
            ("http://nobody.house/", 503, "no available server\n"),
        ] {
            assert_eq!(browser.get(url, door).await.unwrap(), (status, body.to_owned()), "{url}");
        }
        let entry = &lab.journal().entries()[0];
        assert_eq!((entry.backend.as_str(), entry.kind.as_str(), entry.write), ("web", "GET page", false));
        assert_eq!(entry.entity, "blog.house");
    });
}

#[test]
fn an_address_that_nobody_announces_is_silent_until_somebody_does() {
    run_virtual(|| async {
        let lab = Lab::builder(&project()).world(house(None)).start().await.unwrap();
        let (browser, door) = (Browser::of(&lab, None), at(&lab, "192.168.1.240:80"));
        let began = lab.clock().elapsed();
        let (answer, ()) = tokio::join!(browser.get("http://blog.house/", door), async {
            lab.advance(Duration::from_secs(5)).await.unwrap();
            announce(&lab);
        });
        assert_eq!(answer.unwrap().0, 200);
        let waited = lab.clock().elapsed() - began;
        // The client's kernel asks again after seven seconds.
        assert!((7..9).contains(&waited.as_secs()), "{waited:?}");
        // No service has this one.
        let other = browser.get("http://blog.house/", at(&lab, "192.168.1.241:80")).await.unwrap_err();
        assert!(other.is_timeout() || other.is_request(), "{other:?}");
        assert!(lab.clock().elapsed() - began > Duration::from_secs(60));
    });
}

#[test]
fn a_host_is_shown_the_certificate_of_its_secret() {
    run_virtual(|| async {
        let key = rcgen_key();
        let (ca, certificate, key) = key;
        let lab = Lab::builder(&project()).world(house(Some((&certificate, &key)))).start().await.unwrap();
        announce(&lab);
        let (browser, door) = (Browser::of(&lab, Some(&ca)), at(&lab, "192.168.1.240:443"));
        let answer = browser.get("https://blog.house/", door).await.unwrap();
        assert_eq!(answer, (200, "<h1>the blog</h1>".to_owned()));
        // Another host gets a certificate that nobody has signed.
        let error = browser.get("https://shop.house/", door).await.unwrap_err();
        assert!(format!("{error:?}").contains("UnknownIssuer"), "{error:?}");
    });
}

#[test]
fn a_renewed_secret_is_shown_to_the_next_client() {
    run_virtual(|| async {
        let (_, old, old_key) = rcgen_key();
        let lab = Lab::builder(&project()).world(house(Some((&old, &old_key)))).start().await.unwrap();
        announce(&lab);
        let (ca, certificate, key) = rcgen_key();
        let (browser, door) = (Browser::of(&lab, Some(&ca)), at(&lab, "192.168.1.240:443"));
        assert!(browser.get("https://blog.house/", door).await.is_err());
        lab.with_world(|world| {
            let coded = |text: &str| json!(base64::engine::general_purpose::STANDARD.encode(text));
            let secret = world.kubernetes.get(&Resource::SECRETS, "blog", "blog-tls").unwrap();
            let mut secret = Value::clone(secret);
            secret["data"] = json!({"tls.crt": coded(&certificate), "tls.key": coded(&key)});
            world.kubernetes.put(secret).unwrap();
        });
        assert_eq!(browser.get("https://blog.house/", door).await.unwrap().0, 200);
    });
}

#[test]
fn machines_that_are_gone_announce_nothing() {
    run_virtual(|| async {
        // The objects are still in etcd, as after a destroy; the hosts have no machine.
        let lab = Lab::builder(&project()).world(house_in(World::home(&project(), 7), None)).start().await.unwrap();
        announce(&lab);
        let error = Browser::of(&lab, None).get("http://blog.house/", at(&lab, "192.168.1.240:80")).await.unwrap_err();
        assert!(lab.clock().elapsed() > Duration::from_secs(60), "{error:?}");
        assert!(lab.journal().is_empty());
    });
}

#[test]
fn a_public_lab_shows_its_web_to_foreign_clients() {
    run_scaled(|| async {
        let lab = Lab::builder(&project())
            .world(house(None))
            .pace(Pace::scaled(60.0).unwrap())
            .public()
            .start()
            .await
            .unwrap();
        announce(&lab);
        let door = at(&lab, "192.168.1.240:80");
        // 80 for the administrator, 8080 for everybody else.
        assert_eq!(door.port() % 8000, 80);
        let browser = Browser::at(door.ip(), &lab, None);
        assert_eq!(browser.get("http://blog.house/", door).await.unwrap().1, "<h1>the blog</h1>");
    });
}

/// An authority, and a certificate of it for the blog with its key.
fn rcgen_key() -> (String, String, String) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let day = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2035, 1, 1);
    };
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    day(&mut authority);
    let ca = authority.self_signed(&authority_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["blog.house".to_owned()]).unwrap();
    day(&mut params);
    let issuer = Issuer::new(authority, authority_key);
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    (ca, certificate, key.serialize_pem())
}
