//! A lab with an Infisical, and a client that speaks JSON.

use std::net::SocketAddr;
use std::sync::LazyLock;

use castle_lab::infisical::Place;
use castle_lab::infisical::identity::Identity;
use castle_lab::{Door, Lab, LabBuilder, RunId, World, runtime, server};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

pub static HOUSE: LazyLock<SocketAddr> = LazyLock::new(|| "192.168.1.8:443".parse().unwrap());
pub const WRITER: (&str, &str) = ("client-of-the-writer", "secret-of-the-writer");
pub const READER: (&str, &str) = ("client-of-the-reader", "secret-of-the-reader");

pub fn place(path: &str) -> Place {
    Place::new("castle", "prod", path)
}

pub fn world() -> World {
    let mut world = World::empty(7);
    for ((client_id, secret), may_write) in [(WRITER, true), (READER, false)] {
        let identity = Identity::new(client_id, secret.to_owned(), may_write);
        world.infisical.identities.by_client_id.insert(client_id.to_owned(), identity);
    }
    world.put_secret(&place("/apps"), "BLOG", "first");
    world
}

fn around(world: World) -> LabBuilder {
    let names = vec!["infisical.castle.internal".to_owned()];
    Lab::of(world).door(Door { house: *HOUSE, names, service: server::infisical() })
}

pub fn in_lab<T: Send>(test: impl AsyncFnOnce(&Lab, &mut Client) -> T + Send) -> T {
    runtime::run_virtual(|| async {
        let lab = around(world()).start().await.unwrap();
        let mut client = Client::of(&lab, lab.new_run());
        test(&lab, &mut client).await
    })
}

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub retry_after: Option<String>,
}

impl Answer {
    #[track_caller]
    pub fn ok(&self) -> &Value {
        assert_eq!(self.status, 200, "{self:?}");
        &self.body
    }

    /// The status, the class and the words of a refusal.
    #[track_caller]
    pub fn refused(&self, status: u16, error: &str, message: &str) {
        assert_eq!(self.body["statusCode"], self.status, "{self:?}");
        assert!(self.body["reqId"].is_string(), "{self:?}");
        let told = (self.status, self.body["error"].as_str().unwrap(), self.body["message"].as_str().unwrap());
        assert_eq!(told, (status, error, message));
    }

    /// The fields that a 422 names, with its words.
    #[track_caller]
    pub fn invalid(&self) -> Vec<(String, String)> {
        assert_eq!((self.status, self.body["error"].as_str()), (422, Some("ValidationFailure")), "{self:?}");
        let issues = self.body["message"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let path = |issue: &Value| issue["path"].as_array().unwrap().iter().map(text).collect::<Vec<_>>().join(".");
        issues.map(|issue| (path(issue), issue["message"].as_str().unwrap().to_owned())).collect()
    }
}

pub struct Client {
    http: reqwest::Client,
    base: String,
    pub token: Option<String>,
    project: String,
}

impl Client {
    pub fn of(lab: &Lab, run: RunId) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(lab.pki().ca_pem().as_bytes()).unwrap()).unwrap();
        let tls = castle_wire::builder(&lab.clock()).with_root_certificates(roots).with_no_client_auth();
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(tls)
            .local_address(lab.source(run))
            .pool_idle_timeout(std::time::Duration::from_secs(4))
            .build()
            .unwrap();
        let base = format!("https://{}", lab.address_of(*HOUSE).unwrap());
        let project = lab.with_world(|world| world.infisical.projects["castle"].id.clone());
        Self { http, base, token: None, project }
    }

    pub async fn log_in(&mut self, (client_id, secret): (&str, &str)) -> Answer {
        let body = json!({ "clientId": client_id, "clientSecret": secret });
        let answer = self.ask("POST", "/api/v1/auth/universal-auth/login", body).await;
        if let Some(token) = answer.body["accessToken"].as_str() {
            self.token = Some(token.to_owned());
        }
        answer
    }

    /// A request with a body, or for GET with a query of the same fields.
    pub async fn ask(&self, method: &str, path: &str, fields: Value) -> Answer {
        let request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.base));
        let request = match method {
            "GET" => request.query(&fields),
            _ => request.json(&fields),
        };
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.unwrap();
        let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        Answer { status: response.status().as_u16(), retry_after, body: response.json().await.unwrap() }
    }

    /// A request about the folder `/apps`, with further fields.
    pub async fn apps(&self, method: &str, path: &str, more: Value) -> Answer {
        let mut fields = json!({ "projectId": self.project, "environment": "prod", "secretPath": "/apps" });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.ask(method, path, fields).await
    }

    pub fn project(&self) -> &str {
        &self.project
    }
}
