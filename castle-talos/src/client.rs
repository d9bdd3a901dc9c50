//! Connections to nodes, and calls over them.
//!
//! A connection is one TCP connection: it never reconnects by itself, so what
//! was proved on it stays proved, and a call that is answered was answered by
//! the machine that was proved. Whoever needs another one opens another one.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use castle_core::options::{DialMap, Options};
use castle_core::words::heard;
use castle_core::{Clock, Meter, Pace};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::{Body as HttpBody, Service, http};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::tls::distrust_in;
use crate::wire::{cosi::state_client::StateClient, machine::machine_service_client::MachineServiceClient};
use crate::{Error, Refusal, Result};

/// Where Talos answers.
pub(crate) const API_PORT: u16 = 50_000;

/// How long something may take: in castle's time, and never less than so much of
/// the machine's own, because at a fast pace handshakes and kernels are as slow as
/// ever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    castle: Duration,
    least: Duration,
}

impl Budget {
    const fn of(castle: Duration, least: Duration) -> Self {
        Self { castle, least }
    }

    /// In the machine's own time.
    fn real(self, pace: Pace) -> Duration {
        match pace {
            Pace::Scaled(factor) => self.castle.div_f64(factor.get()).max(self.least.min(self.castle)),
            Pace::Virtual | Pace::Real => self.castle,
        }
    }
}

/// How long a look waits for a connection: on a segment of one's own an answer
/// takes milliseconds, and the next look comes soon.
pub(crate) const GLANCE: Budget = Budget::of(Duration::from_millis(1500), Duration::from_millis(100));

/// How long an act waits for a connection.
pub(crate) const PATIENCE: Budget = Budget::of(Duration::from_secs(5), Duration::from_secs(1));

/// How long a read may take.
const READING: Budget = Budget::of(Duration::from_secs(5), Duration::from_secs(1));

/// How long a write may take before its answer counts as lost: a bootstrap waits
/// up to 5 s for the clock alone.
const WRITING: Budget = Budget::of(Duration::from_secs(30), Duration::from_secs(2));

/// How often a connection with an open stream is asked whether it lives, and how
/// long it may take to say so.
const KEEP_ALIVE: Budget = Budget::of(Duration::from_secs(10), Duration::from_secs(1));

/// Talos' own limit for one message.
const MESSAGE_CAP: usize = 32 << 20;

/// How nodes are reached.
#[derive(Clone)]
pub(crate) struct Reach {
    dial: DialMap,
    source: Option<IpAddr>,
    clock: Clock,
    meter: Arc<Meter>,
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").field("source", &self.source).finish_non_exhaustive()
    }
}

/// A TLS connection that stands.
pub(crate) type Secured = TlsStream<TcpStream>;

impl Reach {
    pub(crate) fn new(options: &Options, clock: Clock) -> Self {
        Self { dial: options.dial.clone(), source: options.source, clock, meter: Arc::default() }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Runs `doing` for no longer than `budget`.
    async fn within<F: Future>(&self, budget: Budget, doing: F) -> Option<F::Output> {
        self.clock.within_real(budget.real(self.clock.pace()), doing).await
    }

    /// Connects and proves the server, within `budget`.
    pub(crate) async fn secure(
        &self,
        address: IpAddr,
        port: u16,
        tls: ClientConfig,
        budget: Budget,
    ) -> Result<Secured> {
        let declared = SocketAddr::new(address, port);
        let real =
            self.dial.resolve(declared).map_err(|why| Error::NotDialled { address, port, source: Arc::new(why) })?;
        let name = ServerName::IpAddress(address.into());
        let connecting = async {
            let tcp = self.dial(real).await?;
            TlsConnector::from(Arc::new(tls)).connect(name, tcp).await
        };
        let silent = |how: String| Error::Silent { address, port, how };
        match self.within(budget, Box::pin(connecting)).await {
            Some(Ok(stream)) => Ok(stream),
            Some(Err(why)) => Err(match distrust_in(&why) {
                Some(distrust) => Error::Untrusted { address, port, distrust },
                None => silent(told(&why)),
            }),
            None => Err(silent("no answer in time".into())),
        }
    }

    async fn dial(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(source) = self.source.filter(|source| source.is_ipv4() == to.is_ipv4()) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let tcp = socket.connect(to).await?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }

    /// Opens a connection to the API of `node`, within `budget`.
    pub(crate) async fn open(
        &self,
        node: &str,
        address: IpAddr,
        tls: ClientConfig,
        budget: Budget,
    ) -> Result<Arc<Connection>> {
        let stream = self.secure(address, API_PORT, tls, budget).await?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
        let tasks: Arc<Mutex<JoinSet<()>>> = Arc::default();
        let executor = Owned(Arc::downgrade(&tasks));
        let silent = |how: String| Error::Silent { address, port: API_PORT, how };
        let keep_alive = KEEP_ALIVE.real(self.clock.pace());
        let shaking = Builder::new(executor)
            .timer(TokioTimer::new())
            .keep_alive_interval(keep_alive)
            .keep_alive_timeout(keep_alive)
            .max_frame_size(1 << 16)
            .handshake(TokioIo::new(stream));
        let (send, running) = match self.within(budget, Box::pin(shaking)).await {
            Some(Ok(parts)) => parts,
            Some(Err(why)) => return Err(silent(told(&why))),
            None => return Err(silent("no answer in time".into())),
        };
        let end: Arc<OnceLock<String>> = Arc::default();
        let ended = end.clone();
        tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
            if let Err(why) = running.await {
                // Set once: nobody else writes it.
                let _ = ended.set(told(&why));
            }
        });
        Ok(Arc::new(Connection {
            node: node.to_owned(),
            address,
            certificate,
            uuid: OnceLock::new(),
            send: Wire { send },
            end,
            reach: self.clone(),
            _tasks: tasks,
        }))
    }
}

/// An error with its causes on one line.
fn told(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    heard(&text)
}

/// Runs a connection's tasks as long as the connection is held.
#[derive(Clone)]
struct Owned(Weak<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Owned {
    fn execute(&self, task: F) {
        if let Some(tasks) = self.0.upgrade() {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }
}

/// The connection broke; the node did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection broke")]
pub(crate) struct Lost(#[source] hyper::Error);

/// The sending half, as tonic's clients want it.
#[derive(Clone)]
pub(crate) struct Wire {
    send: SendRequest<tonic::body::Body>,
}

impl Service<http::Request<tonic::body::Body>> for Wire {
    type Response = http::Response<Answer>;
    type Error = Lost;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        self.send.poll_ready(cx).map_err(Lost)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let answer = self.send.send_request(request);
        Box::pin(async move { Ok(answer.await.map_err(Lost)?.map(Answer)) })
    }
}

/// The body of an answer. Its errors can be told from those of the node.
pub(crate) struct Answer(Incoming);

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Lost;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Lost>>> {
        Pin::new(&mut self.0).poll_frame(cx).map_err(Lost)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// One connection to one node.
pub(crate) struct Connection {
    node: String,
    address: IpAddr,
    certificate: Option<CertificateDer<'static>>,
    /// The uuid that the node said on this connection.
    uuid: OnceLock<Option<Uuid>>,
    send: Wire,
    /// Why it ended, if it did.
    end: Arc<OnceLock<String>>,
    reach: Reach,
    // Dropping them closes the connection.
    _tasks: Arc<Mutex<JoinSet<()>>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("node", &self.node).field("address", &self.address).finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// What the node showed at the handshake.
    pub(crate) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    pub(crate) fn uuid_slot(&self) -> &OnceLock<Option<Uuid>> {
        &self.uuid
    }

    /// Whether a call can still be sent.
    pub(crate) fn is_alive(&self) -> bool {
        !self.send.send.is_closed()
    }

    pub(crate) fn machine(&self) -> MachineServiceClient<Wire> {
        MachineServiceClient::with_origin(self.send.clone(), origin()).max_decoding_message_size(MESSAGE_CAP)
    }

    pub(crate) fn state(&self) -> StateClient<Wire> {
        StateClient::with_origin(self.send.clone(), origin()).max_decoding_message_size(MESSAGE_CAP)
    }

    /// Asks, counts the question, and reads what an error means.
    pub(crate) async fn read<T>(
        &self,
        call: &'static str,
        asking: impl Future<Output = Result<T, Status>>,
    ) -> Result<T> {
        self.reach.meter.count_read();
        match self.reach.within(READING, Box::pin(asking)).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(status)) => Err(self.refused(call, &status).unwrap_or_else(|how| self.silent(how))),
            None => Err(self.silent("no answer in time".into())),
        }
    }

    /// Changes something, once, and counts it. What became of a call whose answer
    /// was lost is for the caller to find out: it is never sent again from here.
    pub(crate) async fn write<T>(
        &self,
        call: &'static str,
        asking: impl Future<Output = Result<T, Status>>,
    ) -> Result<T> {
        self.reach.meter.count_write();
        let unknown = |how: String| Error::OutcomeUnknown { node: self.node.clone(), call, how };
        match self.reach.within(WRITING, Box::pin(asking)).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(status)) => Err(match self.refused(call, &status) {
                // Words of a proxy or of a server that goes down: it may have begun.
                Ok(Error::Refused {
                    code: Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled, said, ..
                }) => unknown(said),
                Ok(refused) => refused,
                Err(how) => unknown(how),
            }),
            None => Err(unknown("no answer in time".into())),
        }
    }

    fn silent(&self, how: String) -> Error {
        Error::Silent { address: self.address, port: API_PORT, how }
    }

    /// The node's own no; `Err` if it did not answer at all, and how.
    pub(crate) fn refused(&self, call: &'static str, status: &Status) -> Result<Error, String> {
        if let Some(cause) = status.source() {
            // The stream's error is often only that the connection is gone.
            return Err(self.end.get().cloned().unwrap_or_else(|| told(cause)));
        }
        let (code, said) = (status.code(), status.message());
        Ok(Error::Refused { node: self.node.clone(), call, refusal: Refusal::of(code, said), code, said: heard(said) })
    }

    pub(crate) fn malformed(&self, call: &'static str, why: impl AsRef<str>) -> Error {
        Error::Malformed { node: self.node.clone(), call, why: heard(why.as_ref()) }
    }
}

/// What stands in requests as their target; the connection decides where they go.
fn origin() -> http::Uri {
    http::Uri::from_static("https://talos")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_source_address_of_the_other_family_is_not_used() {
        let Ok(listener) = TcpListener::bind("[::1]:0").await else {
            println!("skipped: a_source_address_of_the_other_family_is_not_used (no IPv6 here)");
            return;
        };
        let reach = Reach {
            dial: DialMap::default(),
            source: Some("127.0.0.1".parse().expect("an address")),
            clock: Clock::new(Pace::Real),
            meter: Arc::default(),
        };
        let at = listener.local_addr().expect("an address");
        assert!(reach.dial(at).await.expect("a connection").peer_addr().expect("a peer").is_ipv6());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let tcp = reach.dial(listener.local_addr().expect("an address")).await.expect("a connection");
        assert_eq!(tcp.local_addr().expect("an address").ip(), reach.source.expect("a source"));
    }
}
