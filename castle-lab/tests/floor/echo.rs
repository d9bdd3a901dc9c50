//! A server that says what it was asked, and clients for it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use castle_core::Clock;
use castle_lab::front::{Act, Call, Reply, Service};
use castle_lab::pki::WallOf;
use castle_lab::{Door, Lab, LabBuilder, Latency, RunId, World};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Where the echo stands in the house.
pub static HOUSE: LazyLock<SocketAddr> = LazyLock::new(|| "192.168.1.10:8443".parse().unwrap());

/// Answers with the number of requests that had their effect, and what the call
/// looked like. `/latency/<milliseconds>/<entity>` takes that long; `/refuse` is
/// answered as Proxmox would,
/// `/unauthenticated` as well, and `/busy` waits for a lock.
#[derive(Debug, Default)]
pub struct Echo {
    pub effects: AtomicU64,
}

impl Service for Echo {
    fn backend(&self) -> &'static str {
        "echo"
    }

    fn classify(&self, _: &World, call: &Call) -> Act {
        let mut parts = call.path.trim_start_matches('/').split('/');
        let kind = format!("{} {}", call.method, parts.next().unwrap_or_default());
        let milliseconds = parts.next().and_then(|text| text.parse().ok()).unwrap_or(0);
        let latency = Duration::from_millis(milliseconds);
        Act {
            kind,
            entity: parts.next().unwrap_or("echo").to_owned(),
            write: call.method != "GET",
            latency: Latency {
                p50: latency,
                p95: latency.mul_f64(call.header("x-tail").map_or(1.0, |_| 3.0)),
                bounds: None,
            },
            detail: call.query.clone().unwrap_or_default(),
        }
    }

    fn held_up(&self, _: &World, call: &Call, waited: Duration) -> Duration {
        // In two steps: whoever is held up is asked again.
        let in_all = Duration::from_secs(if call.path == "/busy" { 20 } else { 0 });
        in_all.saturating_sub(waited).min(Duration::from_secs(15))
    }

    fn serve(&self, _: &mut World, call: &Call) -> Reply {
        let effects = self.effects.fetch_add(1, Ordering::SeqCst) + 1;
        match call.path.as_str() {
            "/refuse" => Reply::new(595, "").reason("No route to host\n").closing(),
            "/unauthenticated" => Reply::new(401, "").penalised(Duration::from_millis(300)).closing(),
            "/panic" => panic!("the model of {effects} is broken"),
            _ => {
                Reply::new(200, format!("{effects} body={} chunked={} run={}", call.body.len(), call.chunked, call.run))
            }
        }
    }
}

/// An echo, and the builder of a lab that has it.
pub fn house(seed: u64) -> (Arc<Echo>, LabBuilder) {
    around(World::empty(seed))
}

/// An echo in an older world.
pub fn around(world: World) -> (Arc<Echo>, LabBuilder) {
    let echo = Arc::new(Echo::default());
    let door =
        Door { house: *HOUSE, names: vec!["echo.lab".to_owned()], service: Arc::clone(&echo) as Arc<dyn Service> };
    (echo, Lab::of(world).door(door))
}

/// A client as castle's adapters build theirs: rustls with ring, judged by the
/// lab's wall, from the run's source address.
pub struct Client {
    pub http: reqwest::Client,
    pub base: String,
}

impl Client {
    pub fn of(lab: &Lab, run: RunId) -> Self {
        Self::with(lab, run, Duration::from_secs(30))
    }

    pub fn with(lab: &Lab, run: RunId, limit: Duration) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(trusting(lab.pki().ca_pem(), lab.clock()))
            .local_address(lab.source(run))
            .pool_idle_timeout(Duration::from_secs(4))
            .timeout(limit)
            .build()
            .unwrap();
        Self { http, base: format!("https://{}", lab.address_of(*HOUSE).unwrap()) }
    }

    pub async fn get(&self, path: &str) -> reqwest::Result<String> {
        self.http.get(format!("{}{path}", self.base)).send().await?.text().await
    }

    pub async fn post(&self, path: &str) -> reqwest::Result<String> {
        self.http.post(format!("{}{path}", self.base)).body("hello").send().await?.text().await
    }
}

pub fn trusting(ca_pem: &str, clock: Clock) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    rustls::ClientConfig::builder_with_details(
        Arc::new(rustls::crypto::ring::default_provider()),
        Arc::new(WallOf(clock)),
    )
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth()
}

/// Every message of an error and its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

pub fn localhost() -> IpAddr {
    "127.0.0.1".parse().unwrap()
}

/// Blocks this thread for real, without the lab's knowledge.
pub fn block(real: Duration) {
    let (_held, never) = std::sync::mpsc::channel::<()>();
    assert!(never.recv_timeout(real).is_err());
}
