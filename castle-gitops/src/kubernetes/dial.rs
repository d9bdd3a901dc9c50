//! Connections to one API server: the dial map, the source address, TLS by
//! castle's wall clock, and who owns them.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use castle_core::Clock;
use castle_core::options::DialMap;
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Error, Result};
use crate::kubeconfig::Access;

/// The declared server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// As it was declared: for messages.
    pub(super) shown: String,
    /// What requests are sent to.
    pub(super) uri: Uri,
    host: String,
    port: u16,
}

impl Server {
    pub(super) fn of(declared: &str) -> Result<Self> {
        let bad = |why: &str| Error::BadKubeconfig { why: why.to_owned() };
        let uri: Uri = declared.parse().map_err(|_| bad("names a server that is not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("names a server that does not begin with `https://`"));
        }
        let authority = uri.authority().ok_or_else(|| bad("names a server without a host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("names a server with a user in it"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("names a server with a path"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(443);
        let shown = format!("https://{}:{port}", authority.host());
        Ok(Self { shown, host, port, uri })
    }

    fn literal(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

/// Opens connections to one server.
#[derive(Clone)]
pub(super) struct Dialer {
    server: Arc<Server>,
    map: DialMap,
    source: Option<IpAddr>,
    clock: Clock,
    budget: Duration,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
}

impl Dialer {
    pub(super) fn new(
        server: &Server,
        access: Access,
        map: &DialMap,
        source: Option<IpAddr>,
        clock: &Clock,
        budget: Duration,
    ) -> Result<Self> {
        if let Some(declared) = server.literal() {
            map.resolve(declared)
                .map_err(|why| Error::NotDialled { server: server.shown.clone(), source: Arc::new(why) })?;
        }
        let name = ServerName::try_from(server.host.clone())
            .map_err(|_| Error::BadKubeconfig { why: "names a host that TLS cannot check".into() })?;
        Ok(Self {
            server: Arc::new(server.clone()),
            map: map.clone(),
            source,
            clock: clock.clone(),
            budget,
            name,
            tls: Arc::new(client_config(access, clock)?),
        })
    }

    async fn connect(self) -> io::Result<Link> {
        let declared = match self.server.literal() {
            Some(declared) => vec![declared],
            None => tokio::net::lookup_host((self.server.host.as_str(), self.server.port)).await?.collect(),
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for declared in declared {
            let real = self.map.resolve(declared).map_err(io::Error::other)?;
            match self.open(real).await {
                Ok(link) => return Ok(link),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn open(&self, to: SocketAddr) -> io::Result<Link> {
        let opening = async {
            let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            if let Some(source) = self.source.filter(|source| source.is_ipv4() == to.is_ipv4()) {
                socket.bind(SocketAddr::new(source, 0))?;
            }
            let stream = socket.connect(to).await?;
            stream.set_nodelay(true)?;
            TlsConnector::from(Arc::clone(&self.tls)).connect(self.name.clone(), stream).await
        };
        match self.clock.within_real(self.budget, opening).await {
            Some(opened) => opened.map(|stream| Link(TokioIo::new(stream))),
            None => Err(io::Error::from(io::ErrorKind::TimedOut)),
        }
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
        Box::pin(self.clone().connect())
    }
}

/// A connection that stands.
pub(super) struct Link(TokioIo<TlsStream<TcpStream>>);

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new().negotiated_h2()
    }
}

impl hyper::rt::Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }
}

/// The tasks of the connections, which end with whoever holds this.
pub(super) type Tasks = Arc<Mutex<JoinSet<()>>>;

/// Runs connections for as long as their owner lives.
#[derive(Clone)]
pub(super) struct Owned(pub(super) Weak<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Owned {
    fn execute(&self, task: F) {
        if let Some(tasks) = self.0.upgrade() {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }
}

fn client_config(access: Access, clock: &Clock) -> Result<ClientConfig> {
    let bad = |what: &str, why: rustls::Error| Error::BadKubeconfig {
        why: format!("has a {what} that cannot be used: {why}"),
    };
    let mut roots = RootCertStore::empty();
    for authority in access.authorities {
        roots.add(authority).map_err(|why| bad("certificate authority", why))?;
    }
    // Never the process default: an embedder may have compiled a second provider in.
    let mut config =
        ClientConfig::builder_with_details(Arc::new(ring::default_provider()), Arc::new(Wall(clock.clone())))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default protocol versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(access.certificate, access.key)
            .map_err(|why| bad("client certificate", why))?;
    // A resumed session shows no certificate, so a changed one would go unseen.
    config.resumption = Resumption::disabled();
    // One connection carries requests and watches; every API server speaks h2.
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Castle's wall clock, which a lab may set to another year.
struct Wall(Clock);

impl fmt::Debug for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wall")
    }
}

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.wall().duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}
