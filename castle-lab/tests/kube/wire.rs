use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use castle_lab::kube::KubeIdentity;
use castle_lab::{Lab, World, runtime};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use reqwest::{Method, StatusCode};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use crate::{node, pod};

const ENDPOINT: &str = "192.168.1.210:6443";

/// A lab with one cluster, reached over HTTP/1.1.
struct Cluster {
    lab: Lab,
    at: SocketAddr,
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
}

impl Cluster {
    async fn start() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let ca_pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let own = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
        let mut world = World::empty(7);
        world.kubernetes.identity =
            Some(KubeIdentity { ca_pem: ca_pem.clone(), cert_pem: server.pem(), key_pem: own.serialize_pem() });
        world.kubernetes.serve();
        world.kubernetes.put(node("cp-01")).unwrap();
        let endpoint: SocketAddr = ENDPOINT.parse().unwrap();
        let lab = Lab::of(world).cluster_at(endpoint).start().await.unwrap();
        let at = lab.address_of(endpoint).unwrap();
        Self { lab, at, issuer, ca_pem }
    }

    /// A client with a certificate of this group, or without one.
    fn client(&self, group: Option<&str>) -> reqwest::Client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match group {
            None => builder.with_no_client_auth(),
            Some(group) => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
                let mut params = CertificateParams::new(Vec::new()).unwrap();
                params.distinguished_name.push(DnType::CommonName, "admin");
                params.distinguished_name.push(DnType::OrganizationName, group);
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                let certificate = params.signed_by(&key, &self.issuer).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        };
        reqwest::Client::builder().http1_only().tls_backend_preconfigured(config).build().unwrap()
    }

    fn admin(&self) -> reqwest::Client {
        self.client(Some("system:masters"))
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.at)
    }

    async fn get(&self, client: &reqwest::Client, path: &str) -> (u16, Value) {
        self.ask(client, Method::GET, path, "", Value::Null).await
    }

    async fn ask(
        &self,
        client: &reqwest::Client,
        method: Method,
        path: &str,
        media: &str,
        body: Value,
    ) -> (u16, Value) {
        let mut request = client.request(method, self.url(path));
        if !body.is_null() {
            request = request.header("content-type", media).body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

#[test]
fn the_right_to_ask_depends_on_the_certificate() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let (anonymous, admin, other) = (cluster.client(None), cluster.admin(), cluster.client(Some("people")));
        for path in ["/readyz", "/livez", "/healthz"] {
            assert_eq!(cluster.get(&anonymous, path).await, (200, json!("ok")), "{path}");
        }
        assert_eq!(cluster.get(&anonymous, "/version").await.1["gitVersion"], "v1.36.2");
        let (status, refused) = cluster.get(&anonymous, "/api/v1/nodes").await;
        assert_eq!((status, refused["reason"].as_str()), (403, Some("Forbidden")));
        assert_eq!(
            refused["message"],
            "nodes is forbidden: User \"system:anonymous\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"
        );
        let (_, refused) = cluster.get(&anonymous, "/apis").await;
        assert_eq!(refused["message"], "forbidden: User \"system:anonymous\" cannot get path \"/apis\"");
        let (status, refused) = cluster.get(&other, "/api/v1/namespaces/kube-system/pods/a").await;
        assert_eq!(status, 403);
        assert_eq!(
            refused["message"],
            "pods \"a\" is forbidden: User \"admin\" cannot get resource \"pods\" in API group \"\" in the namespace \"kube-system\""
        );
        assert_eq!(cluster.get(&other, "/apis").await.0, 200, "whoever has a name may discover");
        assert_eq!(cluster.get(&admin, "/api/v1/nodes").await.0, 200);
        let (status, verbose) = cluster.get(&admin, "/readyz?verbose").await;
        assert!(status == 200 && verbose.as_str().unwrap().ends_with("readyz check passed\n"), "{verbose}");
        assert!(verbose.as_str().unwrap().contains("[+]etcd ok\n"));
    });
}

#[test]
fn discovery_tells_the_same_in_both_forms() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let admin = cluster.admin();
        let (_, groups) = cluster.get(&admin, "/apis/").await;
        let names: Vec<_> = groups["groups"].as_array().unwrap().iter().map(|group| group["name"].clone()).collect();
        for group in ["apiextensions.k8s.io", "apps", "networking.k8s.io", "rbac.authorization.k8s.io"] {
            assert!(names.contains(&json!(group)), "{names:?}");
        }
        let (_, core) = cluster.get(&admin, "/api/v1").await;
        let pods = core["resources"].as_array().unwrap().iter().find(|row| row["name"] == "pods").unwrap();
        assert_eq!(
            (&pods["kind"], &pods["shortNames"], &pods["namespaced"]),
            (&json!("Pod"), &json!(["po"]), &json!(true))
        );
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        for (path, group, plural) in [("/api", None, "nodes"), ("/apis", Some("apps"), "daemonsets")] {
            let answer = admin.get(cluster.url(path)).header("accept", accept).send().await.unwrap();
            let media = answer.headers()["content-type"].to_str().unwrap().to_owned();
            assert!(media.contains("as=APIGroupDiscoveryList"), "{media}");
            let all: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            let items = all["items"].as_array().unwrap();
            let item = items.iter().find(|item| item["metadata"].get("name").and_then(Value::as_str) == group).unwrap();
            let rows = item["versions"][0]["resources"].as_array().unwrap();
            assert!(rows.iter().any(|row| row["resource"] == plural), "{item}");
        }
        assert_eq!(cluster.get(&admin, "/apis/nothing.example/v1").await.0, 404);
        assert_eq!(
            cluster.get(&admin, "/openapi/v3").await.1["paths"]["apis/apps/v1"]["serverRelativeURL"],
            "/openapi/v3/apis/apps/v1"
        );
    });
}

#[test]
fn a_table_has_the_cells_of_kubectl() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let admin = cluster.admin();
        cluster.lab.with_world(|world| {
            let mut ready = node("cp-01");
            ready["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] = json!("");
            ready["status"] = json!({
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "192.168.1.211"}, {"type": "Hostname", "address": "cp-01"}],
                "nodeInfo": {
                    "kubeletVersion": "v1.36.2", "osImage": "Talos (v1.13.2)", "kernelVersion": "6.18.2-talos",
                    "containerRuntimeVersion": "containerd://2.2.1",
                },
            });
            world.kubernetes.put(ready).unwrap();
        });
        cluster.lab.advance(Duration::from_secs(192)).await.unwrap();
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        let table = async |path: &str| -> Value {
            let answer = admin.get(cluster.url(path)).header("accept", accept).send().await.unwrap();
            serde_json::from_str(&answer.text().await.unwrap()).unwrap()
        };
        let nodes = table("/api/v1/nodes?limit=500").await;
        assert_eq!(
            (&nodes["kind"], &nodes["rows"][0]["object"]["kind"]),
            (&json!("Table"), &json!("PartialObjectMetadata"))
        );
        assert_eq!(
            nodes["rows"][0]["cells"],
            json!([
                "cp-01",
                "Ready",
                "control-plane",
                "3m12s",
                "v1.36.2",
                "192.168.1.211",
                "<none>",
                "Talos (v1.13.2)",
                "6.18.2-talos",
                "containerd://2.2.1"
            ])
        );
        cluster.lab.with_world(|world| world.kubernetes.put(pod("a", "dns", "cp-01", "Pending")).unwrap());
        let pods = table("/api/v1/pods").await;
        assert_eq!(
            pods["rows"][0]["cells"],
            json!(["a", "0/1", "Pending", "0", "0s", "<none>", "cp-01", "<none>", "<none>"])
        );
        let one = table("/api/v1/namespaces/default").await;
        assert_eq!(one["rows"][0]["cells"], json!(["default", "Active", "3m12s"]));
    });
}

#[test]
fn objects_are_made_changed_and_removed() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let admin = cluster.admin();
        let all = "/api/v1/namespaces/default/configmaps";
        let one = "/api/v1/namespaces/default/configmaps/vars";
        let json_media = "application/json";
        let object = json!({"metadata": {"name": "vars"}, "data": {"a": "1"}});
        let (status, made) = cluster.ask(&admin, Method::POST, all, json_media, object.clone()).await;
        assert_eq!(
            (status, &made["kind"], &made["metadata"]["namespace"]),
            (201, &json!("ConfigMap"), &json!("default"))
        );
        assert_eq!(cluster.ask(&admin, Method::POST, all, json_media, object).await.0, 409);
        let mut stale = made.clone();
        let merge = "application/merge-patch+json";
        let (status, patched) =
            cluster.ask(&admin, Method::PATCH, one, merge, json!({"data": {"b": "2", "a": null}})).await;
        assert_eq!((status, &patched["data"]), (200, &json!({"b": "2"})));
        stale["data"]["c"] = json!("3");
        let (status, conflict) = cluster.ask(&admin, Method::PUT, one, json_media, stale).await;
        assert_eq!((status, conflict["reason"].as_str()), (409, Some("Conflict")));
        let (status, refused) = cluster.ask(&admin, Method::PATCH, one, "application/cbor", json!({})).await;
        assert_eq!((status, refused["reason"].as_str()), (415, Some("UnsupportedMediaType")));
        let (status, refused) = cluster.ask(&admin, Method::POST, all, json_media, json!({"kind": "Secret"})).await;
        assert_eq!(status, 400, "{refused}");
        let wrong = json!({"preconditions": {"uid": "x"}});
        assert_eq!(cluster.ask(&admin, Method::DELETE, one, json_media, wrong).await.0, 409);
        let (status, gone) = cluster.ask(&admin, Method::DELETE, one, "", Value::Null).await;
        assert_eq!((status, &gone["status"], &gone["details"]["kind"]), (200, &json!("Success"), &json!("configmaps")));
        assert_eq!(cluster.get(&admin, one).await.0, 404);
        let strategic = "application/strategic-merge-patch+json";
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let (_, node) = cluster.ask(&admin, Method::PATCH, "/api/v1/nodes/cp-01/status", strategic, ready).await;
        assert_eq!(
            node["status"]["conditions"],
            json!([{"type": "Ready", "status": "True", "reason": "KubeletNotReady"}])
        );
        let writes: Vec<_> =
            cluster.lab.journal().entries().into_iter().filter(|entry| entry.write).map(|entry| entry.kind).collect();
        assert_eq!(writes[0], "POST configmaps");
        assert_eq!(writes.last().unwrap(), "PATCH nodes/status");
        assert_eq!(cluster.lab.journal().entries()[2].entity, "default/vars");
    });
}

#[test]
fn objects_are_applied() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let admin = cluster.admin();
        let one = "/api/v1/namespaces/default/configmaps/vars";
        let apply = async |query: &str, body: &str| -> (u16, Value) {
            let request = admin
                .request(Method::PATCH, cluster.url(&format!("{one}?{query}")))
                .header("content-type", "application/apply-patch+yaml")
                .body(body.to_owned());
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
        };
        let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: vars}\ndata: {a: '1'}\n";
        let (status, refused) = apply("force=false", yaml).await;
        assert_eq!(status, 422);
        assert_eq!(
            refused["message"],
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
        );
        let (status, shown) = apply("fieldManager=castle&dryRun=All", yaml).await;
        assert_eq!((status, &shown["data"]["a"]), (201, &json!("1")));
        assert_eq!(cluster.get(&admin, one).await.0, 404);
        assert_eq!(apply("fieldManager=castle", yaml).await.0, 201);
        let (status, again) = apply("fieldManager=castle", yaml).await;
        assert_eq!((status, &again["metadata"]["managedFields"][0]["manager"]), (200, &json!("castle")));
        let json_body = r#"{"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "2"}}"#;
        let (status, conflict) = apply("fieldManager=other", json_body).await;
        assert_eq!((status, &conflict["details"]["causes"][0]["field"]), (409, &json!(".data.a")));
        assert_eq!(apply("fieldManager=other&force=true", json_body).await.1["data"]["a"], "2");
        let (status, refused) = apply("fieldManager=other", "apiVersion: v1\nkind: Secret\n").await;
        assert_eq!(status, 400, "{refused}");
        assert_eq!(apply("fieldManager=other", "a: [").await.0, 400);
        let merge = "application/merge-patch+json";
        let (status, refused) =
            cluster.ask(&admin, Method::PATCH, &format!("{one}?force=true"), merge, json!({"data": {}})).await;
        assert_eq!(status, 422, "{refused}");
    });
}

#[test]
fn a_custom_kind_is_served_from_the_moment_of_its_definition() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let admin = cluster.admin();
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "towers.castle.example"},
            "spec": {
                "group": "castle.example", "scope": "Namespaced",
                "names": {"plural": "towers", "kind": "Tower"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "properties": {"height": {"type": "integer"}}},
                        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    }}},
                }],
            },
        });
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let towers = "/apis/castle.example/v1/namespaces/default/towers";
        let media = "application/json";
        assert_eq!(cluster.get(&admin, towers).await.0, 404);
        assert_eq!(cluster.ask(&admin, Method::POST, definitions, media, definition).await.0, 201);
        assert_eq!(cluster.get(&admin, "/apis/castle.example/v1").await.1["resources"][1]["name"], "towers/status");
        let (_, list) = cluster.get(&admin, towers).await;
        assert_eq!((&list["kind"], &list["items"]), (&json!("TowerList"), &json!([])));
        let tower = |height: Value| json!({"metadata": {"name": "north"}, "spec": {"height": height, "widht": 1}});
        let strict = format!("{towers}?fieldValidation=Strict&dryRun=All");
        let (status, refused) = cluster.ask(&admin, Method::POST, &strict, media, tower(json!(5))).await;
        assert_eq!(status, 400, "{refused}");
        let (status, refused) = cluster.ask(&admin, Method::POST, towers, media, tower(json!("high"))).await;
        assert_eq!((status, refused["reason"].as_str()), (422, Some("Invalid")));
        let (status, made) = cluster.ask(&admin, Method::POST, towers, media, tower(json!(5))).await;
        assert_eq!((status, &made["spec"]), (201, &json!({"height": 5})));
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let merge = "application/merge-patch+json";
        let (_, told) = cluster.ask(&admin, Method::PATCH, &format!("{towers}/north/status"), merge, ready).await;
        assert_eq!(told["status"]["conditions"][0]["status"], "True");
        let (_, paths) = cluster.get(&admin, "/openapi/v3").await;
        assert!(paths["paths"].get("apis/castle.example/v1").is_some(), "{paths}");
        let (_, described) = cluster.get(&admin, "/openapi/v3/apis/castle.example/v1").await;
        let schema = &described["components"]["schemas"]["example.castle.v1.Tower"];
        assert_eq!(schema["properties"]["spec"]["properties"]["height"]["type"], "integer");
        let request = admin.post(cluster.url(&format!("{towers}?dryRun=All"))).header("content-type", media);
        let other = json!({"metadata": {"name": "south"}, "spec": {"widht": 1}});
        let warned = request.body(other.to_string()).send().await.unwrap();
        assert_eq!(warned.headers()["warning"], "299 - \"unknown field \\\"spec.widht\\\"\"");
    });
}

#[test]
fn a_collection_is_deleted_as_it_is_selected() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let admin = cluster.admin();
        let all = "/api/v1/namespaces/default/configmaps";
        for (name, app) in [("a", "web"), ("b", "web"), ("c", "other")] {
            let object = json!({"metadata": {"name": name, "labels": {"app": app}}});
            assert_eq!(cluster.ask(&admin, Method::POST, all, "application/json", object).await.0, 201);
        }
        let names = async || -> Vec<Value> {
            let (_, list) = cluster.get(&admin, all).await;
            list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].clone()).collect()
        };
        let selected = format!("{all}?labelSelector=app%3Dweb");
        let dry = format!("{selected}&dryRun=All");
        let (status, shown) = cluster.ask(&admin, Method::DELETE, &dry, "", Value::Null).await;
        assert_eq!((status, shown["items"].as_array().map(Vec::len)), (200, Some(2)));
        assert_eq!(names().await.len(), 3);
        let (status, gone) = cluster.ask(&admin, Method::DELETE, &selected, "", Value::Null).await;
        assert_eq!((status, &gone["kind"]), (200, &json!("ConfigMapList")));
        assert_eq!(names().await, ["c"]);
    });
}

/// The lines of a watch that come within a second.
async fn lines(cluster: &Cluster, response: &mut reqwest::Response) -> Vec<String> {
    let mut text = String::new();
    let clock = cluster.lab.clock();
    while let Some(Ok(Some(chunk))) = clock.within(Duration::from_secs(1), response.chunk()).await {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    text.lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            let name = event["object"]["metadata"]["name"].as_str().or(event["object"]["reason"].as_str());
            format!("{} {}", event["type"].as_str().unwrap(), name.unwrap_or("-"))
        })
        .collect()
}

#[test]
fn a_watch_pushes_what_becomes_of_its_selection() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let admin = cluster.admin();
        let put = |object: Value| cluster.lab.with_world(|world| drop(world.kubernetes.put(object).unwrap()));
        let path = "/api/v1/namespaces/kube-system/pods?watch=1&fieldSelector=status.phase%3DRunning";
        put(pod("old", "dns", "cp-01", "Running"));
        let mut watch = admin.get(cluster.url(path)).send().await.unwrap();
        assert_eq!(watch.status(), StatusCode::OK);
        assert_eq!(lines(&cluster, &mut watch).await, ["ADDED old"]);
        put(pod("a", "dns", "cp-01", "Pending"));
        assert!(lines(&cluster, &mut watch).await.is_empty());
        put(pod("a", "dns", "cp-01", "Running"));
        let mut changed = pod("a", "dns", "cp-01", "Running");
        changed["metadata"]["labels"]["x"] = json!("y");
        put(changed);
        put(pod("a", "dns", "cp-01", "Failed"));
        assert_eq!(lines(&cluster, &mut watch).await, ["ADDED a", "MODIFIED a", "DELETED a"]);
        // The lab's own time pushes too.
        cluster.lab.with_world(|world| {
            let at = world.now() + Duration::from_millis(500);
            world.schedule(at, |world| drop(world.kubernetes.put(pod("late", "dns", "cp-01", "Running")).unwrap()));
        });
        assert_eq!(lines(&cluster, &mut watch).await, ["ADDED late"]);
    });
}

#[test]
fn a_watch_that_begins_too_far_back_is_told_to_begin_anew() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let admin = cluster.admin();
        cluster.lab.with_world(|world| world.kubernetes.compact(u64::MAX));
        let mut watch = admin.get(cluster.url("/api/v1/nodes?watch=true&resourceVersion=2")).send().await.unwrap();
        assert_eq!(watch.status(), StatusCode::OK);
        assert_eq!(lines(&cluster, &mut watch).await, ["ERROR Expired"]);
        let path = "/api/v1/nodes?watch=true&sendInitialEvents=true&allowWatchBookmarks=true\
                    &resourceVersionMatch=NotOlderThan&timeoutSeconds=5";
        let mut watch = admin.get(cluster.url(path)).send().await.unwrap();
        assert_eq!(lines(&cluster, &mut watch).await, ["ADDED cp-01", "BOOKMARK -"]);
        cluster.lab.advance(Duration::from_secs(5)).await.unwrap();
        assert!(watch.chunk().await.unwrap().is_none(), "the watch ends in order");
    });
}

#[test]
fn an_idle_cluster_stands_still_under_a_watch() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let admin = cluster.admin();
        let mut watch = admin
            .get(cluster.url("/api/v1/nodes?watch=1&allowWatchBookmarks=true&resourceVersion=0"))
            .send()
            .await
            .unwrap();
        assert_eq!(lines(&cluster, &mut watch).await, ["ADDED cp-01"]);
        cluster.lab.advance(Duration::from_secs(600)).await.unwrap();
        assert!(lines(&cluster, &mut watch).await.is_empty(), "no news, no bookmark");
        cluster.lab.with_world(|world| drop(world.kubernetes.put(pod("a", "dns", "cp-01", "Running")).unwrap()));
        cluster.lab.advance(Duration::from_secs(61)).await.unwrap();
        assert_eq!(lines(&cluster, &mut watch).await, ["BOOKMARK -"], "others changed");
    });
}

#[test]
fn an_api_server_that_goes_ends_its_connections() {
    runtime::run_virtual(|| async {
        let cluster = Cluster::start().await;
        let admin = cluster.admin();
        let mut watch = admin.get(cluster.url("/api/v1/nodes?watch=1")).send().await.unwrap();
        assert_eq!(lines(&cluster, &mut watch).await, ["ADDED cp-01"]);
        cluster.lab.with_world(|world| world.kubernetes.stop_serving());
        // Reset, or ended in order just before: both are the end.
        assert!(!matches!(watch.chunk().await, Ok(Some(_))));
        assert!(admin.get(cluster.url("/readyz")).send().await.is_err());
        cluster.lab.with_world(|world| world.kubernetes.serve());
        assert_eq!(cluster.get(&admin, "/readyz").await.0, 200);
    });
}
