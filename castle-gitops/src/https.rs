//! Requests over HTTP, with TLS and without.
//!
//! Connections, trust, time and patience are castle's own, as everywhere: the
//! dial map and the source address of the option document, certificates judged
//! by castle's wall clock, one attempt for each call, an end for every answer.

mod error;
mod origin;
mod trust;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use castle_core::{Clock, Env, Meter, Options, SecretText};
use castle_wire::among_causes;
use http::header::{AUTHORIZATION, HOST, HeaderName, LOCATION};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::client::legacy;
use hyper_util::rt::TokioTimer;

pub use error::{Error, Result};
pub use origin::Origin;
pub(crate) use origin::shown;
pub use trust::Trust;

use crate::count::Count;
use crate::dial::{Dialer, Network, Owned, Tasks, real};

/// How long an answer may take, in the time of the house.
const ANSWER_BUDGET: Duration = Duration::from_secs(30);
/// Servers close idle connections after 5 s and more; a request sent into that
/// moment is lost.
const IDLE_BUDGET: Duration = Duration::from_secs(4);
/// How many bytes of an answer are read, unless the request says otherwise.
const CAP: usize = 8 << 20;
/// How many places a download is sent to.
const HOPS: usize = 5;

/// One request: a path of the client's server, and what goes with it.
///
/// ```
/// use castle_gitops::https::Request;
///
/// let request = Request::get("/api/status").header("accept", "application/json");
/// assert_eq!(format!("{request:?}"), "Request { method: GET, path: \"/api/status\", .. }");
/// ```
pub struct Request {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    is_read: bool,
    cap: usize,
    budget: Duration,
}

impl Request {
    /// Asks for `path`, which begins with `/` and is percent-encoded, with its
    /// query.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// Sends to `path`. Counted as a write unless [`Request::reading`] is said.
    #[must_use]
    pub fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self::new(Method::POST, path).body(body)
    }

    /// Any other request.
    #[must_use]
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            is_read: method.is_safe(),
            method,
            path: path.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            cap: CAP,
            budget: ANSWER_BUDGET,
        }
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a header of fixed text.
    ///
    /// # Panics
    ///
    /// If it is no header; both are constants of the program.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// Logs in with a token.
    ///
    /// # Errors
    ///
    /// If the token holds what no header may hold.
    pub fn bearer(self, token: &SecretText) -> Result<Self> {
        self.authorization(&format!("Bearer {}", token.expose()))
    }

    /// Logs in with a name and a password.
    ///
    /// # Errors
    ///
    /// If the name holds a colon, which would end it early.
    pub fn basic(self, user: &str, password: &SecretText) -> Result<Self> {
        if user.contains(':') {
            return Err(Error::BadUrl { why: "is used with a user name that holds a colon".into() });
        }
        self.authorization(&format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose()))))
    }

    fn authorization(mut self, text: &str) -> Result<Self> {
        let bad = |_| Error::BadUrl { why: "is used with a credential that no header can hold".into() };
        let mut value = HeaderValue::from_str(text).map_err(bad)?;
        value.set_sensitive(true);
        self.headers.insert(AUTHORIZATION, value);
        Ok(self)
    }

    /// It changes nothing, whatever its method.
    #[must_use]
    pub fn reading(mut self) -> Self {
        self.is_read = true;
        self
    }

    /// How many bytes of the answer are read at most.
    #[must_use]
    pub fn cap(mut self, bytes: usize) -> Self {
        self.cap = bytes;
        self
    }

    /// How long the whole answer may take, in the time of the house.
    #[must_use]
    pub fn within(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }
}

/// Neither headers nor body: both hold secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

/// An answer, whatever its status.
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

impl Answer {
    /// A header's text, if there is one and it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the status says success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// No body: it may be a secret.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// A client of one server.
///
/// Redirects are not followed: what a server is told is for that server.
///
/// # Cancellation
///
/// A dropped call may have been sent; connections end with the last clone.
#[derive(Clone)]
pub struct Client {
    http: legacy::Client<Dialer, Full<Bytes>>,
    origin: Arc<Origin>,
    clock: Clock,
    meter: Arc<Meter>,
    /// The connections end with the last handle.
    _tasks: Tasks,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server", &self.origin.to_string()).finish_non_exhaustive()
    }
}

impl Client {
    /// Prepares connections to `origin`. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`Error::BadTrust`], [`Error::NotDialled`].
    pub fn new(options: &Options, env: &Env, origin: &Origin, trust: &Trust) -> Result<Self> {
        Self::over(&Network::new(options, env), origin, None, trust, Arc::default())
    }

    /// The same, connected to an address that is chosen by the caller: a load
    /// balancer is asked for a host that no resolver knows yet. The dial map is
    /// asked for the address; host header and certificate stay those of `origin`.
    ///
    /// # Errors
    ///
    /// As [`Client::new`].
    pub fn at(options: &Options, env: &Env, origin: &Origin, address: SocketAddr, trust: &Trust) -> Result<Self> {
        Self::over(&Network::new(options, env), origin, Some(address), trust, Arc::default())
    }

    pub(crate) fn over(
        network: &Network,
        origin: &Origin,
        address: Option<SocketAddr>,
        trust: &Trust,
        meter: Arc<Meter>,
    ) -> Result<Self> {
        let server = || origin.to_string();
        let (host, port) = match address {
            Some(address) => (address.ip().to_string(), address.port()),
            None => (origin.host().to_owned(), origin.port()),
        };
        network.check(&host, port).map_err(|why| Error::NotDialled { server: server(), source: Arc::new(why) })?;
        let mut dialer = Dialer::plain(network.clone(), host, port);
        if let Some(name) = origin.tls_name() {
            let config = trust.config(network.clock()).map_err(|why| Error::BadTrust { server: server(), why })?;
            dialer = dialer.tls(name, config);
        }
        let tasks = Tasks::default();
        let http = legacy::Client::builder(Owned(Arc::downgrade(&tasks)))
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(real(network.clock(), IDLE_BUDGET))
            .build(dialer);
        Ok(Self { http, origin: Arc::new(origin.clone()), clock: network.clock().clone(), meter, _tasks: tasks })
    }

    /// Counts its requests on `meter`, which others may share.
    #[must_use]
    pub fn counted_on(mut self, meter: Arc<Meter>) -> Self {
        self.meter = meter;
        self
    }

    /// Where its requests are counted.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The server.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Sends a request, once, and reads the whole answer.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if there was no whole answer in its time: what became
    /// of the request is not known then. [`Error::Distrusted`] and
    /// [`Error::TooLong`]. An answer of any status is an answer.
    pub async fn send(&self, request: Request) -> Result<Answer> {
        let (cap, budget) = (request.cap, real(&self.clock, request.budget));
        let is_read = request.is_read;
        let request = self.prepared(request)?;
        let mut count = Count::of(&self.meter, is_read);
        let answer = async {
            let answer = self.http.request(request).await;
            if answer.as_ref().is_err_and(legacy::Error::is_connect) {
                count.never_sent();
            }
            let (head, body) = answer.map_err(|error| self.meaning(error))?.into_parts();
            let body = Limited::new(body, cap).collect().await.map_err(|error| self.broken(error, cap))?.to_bytes();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        self.clock
            .within_real(budget, answer)
            .await
            .unwrap_or_else(|| Err(self.unreachable(std::io::Error::from(std::io::ErrorKind::TimedOut))))
    }

    fn prepared(&self, request: Request) -> Result<http::Request<Full<Bytes>>> {
        let bad = |_| Error::BadUrl { why: "has a path that no request can hold".into() };
        let uri = format!("{}{}", self.origin, request.path);
        let mut out =
            http::Request::builder().method(request.method).uri(uri).body(Full::new(request.body)).map_err(bad)?;
        *out.headers_mut() = request.headers;
        out.headers_mut().insert(HOST, self.origin.host_header());
        Ok(out)
    }

    fn unreachable(&self, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Unreachable { server: self.origin.to_string(), source: Arc::new(source) }
    }

    fn meaning(&self, error: legacy::Error) -> Error {
        match among_causes::<rustls::Error>(&error) {
            Some(rustls::Error::InvalidCertificate(why)) => {
                Error::Distrusted { server: self.origin.to_string(), why: why.to_string() }
            }
            _ => self.unreachable(error),
        }
    }

    fn broken(&self, error: Box<dyn std::error::Error + Send + Sync>, cap: usize) -> Error {
        if error.is::<LengthLimitError>() {
            return Error::TooLong { server: self.origin.to_string(), cap };
        }
        Error::Unreachable { server: self.origin.to_string(), source: Arc::from(error) }
    }
}

/// Reads what `url` leads to, at most `cap` bytes of it.
///
/// Redirects to other `https` servers are followed, and nothing is told to any of
/// them, so this is for content that is known by its hash.
///
/// # Errors
///
/// Those of [`Client::send`], and [`Error::NotServed`].
pub async fn download(options: &Options, env: &Env, url: &str, trust: &Trust, cap: usize) -> Result<Bytes> {
    let (mut origin, mut path) = Origin::split(url)?;
    for _ in 0..HOPS {
        let client = Client::new(options, env, &origin, trust)?;
        let answer = client.send(Request::get(path.as_str()).cap(cap)).await?;
        if answer.is_success() {
            return Ok(answer.body);
        }
        let place = answer.header(LOCATION.as_str()).filter(|_| matches!(answer.status, 301 | 302 | 303 | 307 | 308));
        match place {
            Some(place) if place.starts_with('/') && !place.starts_with("//") => path = place.to_owned(),
            Some(place) => {
                let (next, rest) = Origin::split(place)?;
                if origin.is_tls() && !next.is_tls() {
                    return Err(Error::BadUrl { why: "leads from https to plain http".into() });
                }
                (origin, path) = (next, rest);
            }
            None => return Err(Error::NotServed { server: origin.to_string(), status: answer.status }),
        }
    }
    Err(Error::BadUrl { why: format!("leads on for more than {HOPS} times") })
}

/// Whether a server takes connections at this address of the house.
///
/// # Errors
///
/// [`Error::NotDialled`], [`Error::Unreachable`].
pub async fn connects(options: &Options, env: &Env, address: SocketAddr) -> Result<()> {
    let network = Network::new(options, env);
    let server = format!("{address}");
    let host = address.ip().to_string();
    network
        .check(&host, address.port())
        .map_err(|why| Error::NotDialled { server: server.clone(), source: Arc::new(why) })?;
    match Dialer::plain(network, host, address.port()).dial().await {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::Unreachable { server, source: Arc::new(error) }),
    }
}
