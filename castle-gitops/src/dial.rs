//! Connections: the dial map, the source address, TLS by castle's wall clock,
//! and who owns them.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use castle_core::options::DialMap;
use castle_core::{Clock, Env, Options, Pace};
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// How long a connection may take, in the time of the house.
pub(crate) const CONNECT_BUDGET: Duration = Duration::from_secs(3);
/// A budget of a fast lab is never below this: its answers still cross real sockets.
const LEAST: Duration = Duration::from_secs(2);

/// A budget of castle's time in the machine's own.
pub(crate) fn real(clock: &Clock, budget: Duration) -> Duration {
    match clock.pace() {
        Pace::Scaled(factor) => budget.div_f64(factor.get()).max(LEAST),
        Pace::Virtual | Pace::Real => budget,
    }
}

/// What all connections of one run share.
#[derive(Clone)]
pub(crate) struct Network {
    map: DialMap,
    source: Option<IpAddr>,
    clock: Clock,
}

impl Network {
    pub(crate) fn new(options: &Options, env: &Env) -> Self {
        Self { map: options.dial.clone(), source: options.source, clock: env.clock.clone() }
    }

    pub(crate) fn of(map: &DialMap, source: Option<IpAddr>, clock: &Clock) -> Self {
        Self { map: map.clone(), source, clock: clock.clone() }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether the server may be dialled at all. Asks nobody.
    pub(crate) fn check(&self, host: &str, port: u16) -> castle_core::Result<()> {
        self.map.resolve_name(host, port).map(drop)
    }

    /// Where a server is.
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self.map.resolve_name(host, port).map_err(io::Error::other)? {
            Some(at) => Ok(vec![at]),
            None => Ok(tokio::net::lookup_host((host, port)).await?.collect()),
        }
    }

    async fn open(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(source) = self.source.filter(|source| source.is_ipv4() == to.is_ipv4()) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Opens connections to one server.
#[derive(Clone)]
pub(crate) struct Dialer {
    network: Network,
    host: String,
    port: u16,
    tls: Option<(ServerName<'static>, Arc<ClientConfig>)>,
}

impl Dialer {
    /// `host` is a name, or an address without brackets.
    pub(crate) fn plain(network: Network, host: impl Into<String>, port: u16) -> Self {
        Self { network, host: host.into(), port, tls: None }
    }

    /// The server's certificate is judged for `name`.
    pub(crate) fn tls(mut self, name: ServerName<'static>, config: ClientConfig) -> Self {
        self.tls = Some((name, Arc::new(config)));
        self
    }

    /// A connection, to the first of the server's addresses that gives one.
    pub(crate) async fn dial(self) -> io::Result<Link> {
        let clock = self.network.clock();
        let budget = real(clock, CONNECT_BUDGET);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.network.addresses(&self.host, self.port).await? {
            match clock.within_real(budget, self.attempt(address)).await {
                Some(Ok(link)) => return Ok(link),
                Some(Err(error)) => last = error,
                None => last = io::Error::from(io::ErrorKind::TimedOut),
            }
        }
        Err(last)
    }

    async fn attempt(&self, address: SocketAddr) -> io::Result<Link> {
        let stream = self.network.open(address).await?;
        let Some((name, config)) = &self.tls else {
            return Ok(Link { stream: TokioIo::new(Box::new(stream)), speaks_h2: false });
        };
        let stream = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await?;
        let speaks_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Link { stream: TokioIo::new(Box::new(stream)), speaks_h2 })
    }
}

impl tower::Service<Uri> for Dialer {
    type Response = Link;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Link>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        // One dialer knows one server; requests carry no other.
        Box::pin(self.clone().dial())
    }
}

/// What carries bytes both ways, with TLS or without.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A connection that stands.
pub(crate) struct Link {
    stream: TokioIo<Box<dyn Wire>>,
    speaks_h2: bool,
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        if self.speaks_h2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl hyper::rt::Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

/// The tasks of the connections, which end with whoever holds this.
pub(crate) type Tasks = Arc<Mutex<JoinSet<()>>>;

/// Runs connections for as long as their owner lives.
#[derive(Clone)]
pub(crate) struct Owned(pub(crate) Weak<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Owned {
    fn execute(&self, task: F) {
        if let Some(tasks) = self.0.upgrade() {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }
}
