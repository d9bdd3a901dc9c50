//! One Talos node on a loopback port: the real protocol over the real TLS, and
//! behind it whatever a test says.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use castle_talos::SecretsBundle;
use castle_talos::wire::cosi::state_server::{State, StateServer};
use castle_talos::wire::cosi::{
    Event, EventType, GetRequest, GetResponse, ListRequest, ListResponse, Metadata, Resource, Spec, WatchRequest,
    WatchResponse,
};
use castle_talos::wire::machine::machine_service_server::{MachineService, MachineServiceServer};
use castle_talos::wire::machine::{
    ApplyConfiguration, ApplyConfigurationRequest, ApplyConfigurationResponse, BootstrapRequest, BootstrapResponse,
    EtcdMember, EtcdMemberListRequest, EtcdMemberListResponse, EtcdMembers, EtcdRemoveMemberByIdRequest,
    EtcdRemoveMemberByIdResponse, ServiceHealth, ServiceInfo, ServiceList, ServiceListResponse, VersionResponse,
};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, PKCS_ED25519, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::codegen::Service;
use tonic::{Code, Request, Response, Status};

/// What the node is and says. A test changes it while it runs.
#[derive(Default)]
pub struct Script {
    /// By kind and id: the spec as YAML.
    pub resources: BTreeMap<(String, String), String>,
    pub etcd: String,
    pub members: Vec<(u64, &'static str, u8, bool)>,
    /// Refusals by call, given until taken away.
    pub refusals: BTreeMap<&'static str, (Code, &'static str)>,
    /// Calls after whose effect the connection dies.
    pub lost: Vec<&'static str>,
    /// Each call with the number of its connection.
    pub calls: Vec<(u32, String)>,
    pub applied: Vec<Vec<u8>>,
    watchers: Vec<mpsc::UnboundedSender<WatchResponse>>,
}

impl Script {
    pub fn set(&mut self, kind: &str, id: &str, yaml: &str) {
        self.resources.insert((kind.to_owned(), id.to_owned()), yaml.to_owned());
        let response = WatchResponse { event: vec![event(EventType::Updated, Some(resource(kind, id, yaml)))] };
        self.watchers.retain(|watcher| watcher.send(response.clone()).is_ok());
    }

    pub fn names(&self) -> Vec<&str> {
        self.calls.iter().map(|(_, call)| call.as_str()).collect()
    }
}

/// How the node answers at its port.
pub enum Door {
    /// It resets every connection.
    Refuse,
    /// It accepts and says nothing.
    Silent,
    Tls(Arc<ServerConfig>),
}

pub struct FakeNode {
    pub script: Arc<Mutex<Script>>,
    pub door: Arc<Mutex<Door>>,
    pub at: SocketAddr,
    _tasks: JoinSet<()>,
}

impl FakeNode {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address");
        let (script, door) = (Arc::<Mutex<Script>>::default(), Arc::new(Mutex::new(Door::Refuse)));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, script.clone(), door.clone()));
        Self { script, door, at, _tasks: tasks }
    }

    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no test panics with it")
    }

    pub fn set_door(&self, door: Door) {
        *self.door.lock().expect("no test panics with it") = door;
    }
}

async fn accept(listener: TcpListener, script: Arc<Mutex<Script>>, door: Arc<Mutex<Door>>) {
    let mut connections = JoinSet::new();
    let mut silent = Vec::new();
    for number in 0.. {
        let (tcp, _) = listener.accept().await.expect("a connection");
        // Held-back segments arrive in real time, and a paused clock does not wait.
        tcp.set_nodelay(true).expect("a connection");
        let tls = match &*door.lock().expect("no test panics with it") {
            Door::Refuse => continue,
            Door::Silent => {
                silent.push(tcp);
                continue;
            }
            Door::Tls(config) => config.clone(),
        };
        let script = script.clone();
        connections.spawn(async move {
            let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(tcp).await else { return };
            let (hang_up, mut hung_up) = mpsc::unbounded_channel();
            let node = Node { number, script, hang_up };
            let machine = MachineServiceServer::new(node.clone());
            let state = StateServer::new(node);
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let (mut machine, mut state) = (machine.clone(), state.clone());
                async move {
                    if request.uri().path().starts_with("/machine.") {
                        machine.call(request).await
                    } else {
                        state.call(request).await
                    }
                    .map_err(|never: Infallible| never)
                }
            });
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                biased;
                _ = hung_up.recv() => {}
                _ = serving => {}
            }
        });
    }
}

#[derive(Clone)]
struct Node {
    number: u32,
    script: Arc<Mutex<Script>>,
    hang_up: mpsc::UnboundedSender<()>,
}

impl Node {
    /// Notes a call; answers what the script says against it.
    fn called(&self, call: &'static str, detail: &str) -> Result<MutexGuard<'_, Script>, Status> {
        let mut script = self.script.lock().expect("no test panics with it");
        let shown = if detail.is_empty() { call.to_owned() } else { format!("{call} {detail}") };
        script.calls.push((self.number, shown));
        match script.refusals.get(call) {
            Some((code, said)) => Err(Status::new(*code, *said)),
            None => Ok(script),
        }
    }

    fn after(&self, script: &Script, call: &'static str) {
        if script.lost.contains(&call) {
            self.hang_up.send(()).expect("the connection stands");
        }
    }
}

#[tonic::async_trait]
impl MachineService for Node {
    async fn apply_configuration(
        &self,
        request: Request<ApplyConfigurationRequest>,
    ) -> Result<Response<ApplyConfigurationResponse>, Status> {
        let request = request.into_inner();
        {
            let mut script = self.called("Apply", request.mode().as_str_name())?;
            script.applied.push(request.data);
            self.after(&script, "Apply");
            if !script.lost.contains(&"Apply") {
                let applied = ApplyConfiguration { warnings: vec!["mind the gap".into()], ..Default::default() };
                return Ok(Response::new(ApplyConfigurationResponse { messages: vec![applied] }));
            }
        }
        std::future::pending().await
    }

    async fn bootstrap(&self, _: Request<BootstrapRequest>) -> Result<Response<BootstrapResponse>, Status> {
        {
            let script = self.called("Bootstrap", "")?;
            self.after(&script, "Bootstrap");
            if !script.lost.contains(&"Bootstrap") {
                return Ok(Response::new(BootstrapResponse::default()));
            }
        }
        std::future::pending().await
    }

    async fn etcd_member_list(
        &self,
        request: Request<EtcdMemberListRequest>,
    ) -> Result<Response<EtcdMemberListResponse>, Status> {
        let local = request.into_inner().query_local;
        let script = self.called(if local { "Members" } else { "MembersOfAll" }, "")?;
        let members = script.members.iter().map(|(id, name, host, is_learner)| EtcdMember {
            id: *id,
            hostname: (*name).to_owned(),
            peer_urls: vec![format!("https://192.168.1.{host}:2380")],
            client_urls: Vec::new(),
            is_learner: *is_learner,
        });
        let messages = vec![EtcdMembers { members: members.collect(), ..Default::default() }];
        Ok(Response::new(EtcdMemberListResponse { messages }))
    }

    async fn etcd_remove_member_by_id(
        &self,
        request: Request<EtcdRemoveMemberByIdRequest>,
    ) -> Result<Response<EtcdRemoveMemberByIdResponse>, Status> {
        let id = request.into_inner().member_id;
        let mut script = self.called("Remove", &id.to_string())?;
        let before = script.members.len();
        script.members.retain(|member| member.0 != id);
        match script.members.len() == before {
            true => Err(Status::not_found("etcdserver: member not found")),
            false => Ok(Response::new(EtcdRemoveMemberByIdResponse::default())),
        }
    }

    async fn service_list(&self, _: Request<()>) -> Result<Response<ServiceListResponse>, Status> {
        let script = self.called("Services", "")?;
        let health = ServiceHealth { healthy: script.etcd == "Running", ..Default::default() };
        let etcd = ServiceInfo { id: "etcd".into(), state: script.etcd.clone(), health: Some(health), events: None };
        let messages = vec![ServiceList { metadata: None, services: vec![etcd] }];
        Ok(Response::new(ServiceListResponse { messages }))
    }

    async fn version(&self, _: Request<()>) -> Result<Response<VersionResponse>, Status> {
        Err(Status::permission_denied("not authorized"))
    }
}

fn resource(kind: &str, id: &str, yaml: &str) -> Resource {
    let metadata = Metadata { r#type: kind.to_owned(), id: id.to_owned(), ..Metadata::default() };
    let spec = Spec { proto_spec: Vec::new(), yaml_spec: yaml.to_owned() };
    Resource { metadata: Some(metadata), spec: Some(spec) }
}

fn event(kind: EventType, resource: Option<Resource>) -> Event {
    Event { resource, event_type: kind.into(), ..Event::default() }
}

/// The first word of a kind, for the list of calls.
fn short(kind: &str) -> &str {
    kind.split('.').next().unwrap_or(kind)
}

#[tonic::async_trait]
impl State for Node {
    type ListStream = BoxStream<'static, Result<ListResponse, Status>>;
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let GetRequest { r#type: kind, id, .. } = request.into_inner();
        let script = self.called("Get", short(&kind))?;
        match script.resources.get(&(kind.clone(), id.clone())) {
            Some(yaml) => Ok(Response::new(GetResponse { resource: Some(resource(&kind, &id, yaml)) })),
            None => Err(Status::not_found(format!("resource {kind}(x/{id}@undefined) doesn't exist"))),
        }
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let kind = request.into_inner().r#type;
        let script = self.called("List", short(&kind))?;
        let of_kind = script.resources.iter().filter(|((of, _), _)| *of == kind);
        let found: Vec<_> =
            of_kind.map(|((_, id), yaml)| Ok(ListResponse { resource: Some(resource(&kind, id, yaml)) })).collect();
        Ok(Response::new(stream::iter(found).boxed()))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let WatchRequest { r#type: kind, id, options, api_version, .. } = request.into_inner();
        let mut script = self.called("Watch", short(&kind))?;
        let mut first = vec![WatchResponse::default()];
        match id {
            Some(_) if options.is_some_and(|options| options.bootstrap_contents) => {
                return Err(Status::unimplemented("bootstrap contents of one id"));
            }
            Some(id) => {
                let found = script.resources.get(&(kind.clone(), id.clone()));
                first.push(WatchResponse {
                    event: vec![match found {
                        Some(yaml) => event(EventType::Created, Some(resource(&kind, &id, yaml))),
                        None => event(EventType::Destroyed, None),
                    }],
                });
            }
            None if api_version == 1 => {
                first.push(WatchResponse { event: vec![event(EventType::Bootstrapped, None)] });
            }
            None => {}
        }
        let (send, receive) = mpsc::unbounded_channel();
        script.watchers.push(send);
        let later = Later(receive);
        Ok(Response::new(Box::pin(stream::iter(first).chain(later).map(Ok))))
    }
}

struct Later(mpsc::UnboundedReceiver<WatchResponse>);

impl Stream for Later {
    type Item = WatchResponse;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WatchResponse>> {
        self.0.poll_recv(cx)
    }
}

fn server(
    builder: rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>,
    roots: Option<RootCertStore>,
    certificate: rcgen::Certificate,
    key: &KeyPair,
) -> Door {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = match roots {
        Some(roots) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("a verifier"),
        ),
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).expect("a certificate");
    config.alpn_protocols = vec![b"h2".to_vec()];
    Door::Tls(Arc::new(config))
}

fn builder() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
}

/// A node that waits for a configuration, and the fingerprint of its key.
pub fn in_maintenance(address: IpAddr) -> (Door, [u8; 32]) {
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let mut params = params(address);
    params.distinguished_name.push(DnType::CommonName, castle_talos::tls::MAINTENANCE_NAME);
    let certificate = params.self_signed(&key).expect("a certificate");
    let (_, read) = x509_parser::parse_x509_certificate(certificate.der()).expect("a certificate");
    let pin = Sha256::digest(read.public_key().raw).into();
    (server(builder(), None, certificate, &key), pin)
}

fn params(address: IpAddr) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::IpAddress(address)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// A node that was configured with `bundle`: its certificate is for `address`.
pub fn configured(bundle: &SecretsBundle, address: IpAddr) -> Door {
    configured_until(bundle, address, 4000)
}

/// The same, with a certificate that is valid until a year begins.
pub fn configured_until(bundle: &SecretsBundle, address: IpAddr, year: i32) -> Door {
    let pem = bundle.os.key.expose().replace("ED25519 PRIVATE KEY", "PRIVATE KEY");
    let authority = KeyPair::from_pem(&pem).expect("the authority's key");
    let issuer = Issuer::from_ca_cert_pem(&bundle.os.certificate, authority).expect("the authority");
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let mut params = params(address);
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let mut roots = RootCertStore::empty();
    let ca = pem::parse(&bundle.os.certificate).expect("PEM").into_contents();
    roots.add(CertificateDer::from(ca)).expect("an authority");
    server(builder(), Some(roots), certificate, &key)
}
