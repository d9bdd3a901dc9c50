//! Sockets: accepting TLS, reading a request in full, answering, and hanging up
//! in every way a network can.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::floor::Floor;
use crate::front::{Call, Reply, Service};
use crate::run::RunId;

/// A connection without a request for this long is closed (Proxmox's value).
/// Protocol timers are real at every pace.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// A client that does not finish its handshake is hung up on.
pub(crate) const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Above the body limit of every server here, so that each can refuse in its own
/// words; a client that sends more is out of order.
const BODY_BYTES_MAX: usize = 4 << 20;
/// After so many requests a connection is closed (Proxmox's value).
const REQUESTS_MAX: u32 = 100;
/// How long a server that has no file handle left waits for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 16 << 10;

/// How a connection ends when not by the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By a TCP reset.
    Reset = 1,
    /// By closing without a word.
    HangUp = 2,
}

/// The switch of one connection.
#[derive(Debug, Default)]
pub(crate) struct Line {
    ending: AtomicU8,
    wake: Notify,
}

impl Line {
    /// Ends the connection. The first ending counts.
    pub(crate) fn end(&self, how: Ending) {
        // The permit of `notify_one` waits for the connection if it is busy.
        let _ = self.ending.compare_exchange(0, how as u8, Ordering::SeqCst, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Completes once the connection was ended.
    pub(crate) async fn ended(&self) {
        while self.ending.load(Ordering::SeqCst) == 0 {
            self.wake.notified().await;
        }
    }

    fn is_reset(&self) -> bool {
        self.ending.load(Ordering::SeqCst) == Ending::Reset as u8
    }
}

/// A socket that sends a reset when it is dropped after [`Ending::Reset`].
pub(crate) struct Socket {
    stream: TcpStream,
    line: Arc<Line>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, line: Arc<Line>) -> Self {
        Self { stream, line }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.line.is_reset() {
            reset(&self.stream);
        }
    }
}

/// Makes the drop of this stream a reset.
pub(crate) fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        // The peer may have closed already; then there is nothing to reset.
        tracing::debug!(%error, "the connection could not be reset");
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Serves one server's connections until it is dropped, and all its connections
/// with it.
pub(crate) async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, floor: Arc<Floor>, service: Arc<dyn Service>) {
    let acceptor = TlsAcceptor::from(tls);
    let (name, ground) = (service.backend(), Arc::clone(&floor));
    accept(listener, &ground, name, |socket, run, line| {
        let (acceptor, floor, service) = (acceptor.clone(), Arc::clone(&floor), Arc::clone(&service));
        async move { converse(acceptor, socket, floor, service, run, &line).await }
    })
    .await;
}

/// Accepts connections for `server` until it is dropped. Each is held by what
/// `converse` makes of it, and ends with it, with its line, or with this.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    floor: &Floor,
    server: &'static str,
    mut converse: impl FnMut(Socket, RunId, Arc<Line>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // The client left between its SYN and our accept, or the process
                // is out of file handles; neither is a reason to stop serving.
                tracing::warn!(%error, server, "a connection could not be accepted");
                floor.clock.within_real(ACCEPT_PAUSE, std::future::pending::<()>()).await;
                continue;
            }
        };
        let run = floor.runs.at(peer.ip());
        let Some(line) = floor.runs.open(run) else {
            reset(&stream);
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the client left at once");
            continue;
        }
        let conversation = converse(Socket::new(stream, Arc::clone(&line)), run, Arc::clone(&line));
        connections.spawn(async move {
            tokio::select! {
                biased;
                () = line.ended() => {}
                () = conversation => {}
            }
        });
    }
}

/// One connection, from its handshake to its last answer.
async fn converse(
    acceptor: TlsAcceptor,
    socket: Socket,
    floor: Arc<Floor>,
    service: Arc<dyn Service>,
    run: RunId,
    line: &Arc<Line>,
) {
    let tls = match floor.clock.within_real(HANDSHAKE_MAX, acceptor.accept(socket)).await {
        Some(Ok(tls)) => tls,
        // A client that distrusts our certificate ends here; it says so itself.
        Some(Err(error)) => return tracing::debug!(%error, %run, "no TLS session"),
        None => return tracing::debug!(%run, "the TLS handshake took too long"),
    };
    let served = AtomicU32::new(0);
    let handler = service_fn(|request: Request<Incoming>| {
        let (floor, service) = (Arc::clone(&floor), Arc::clone(&service));
        let is_last = served.fetch_add(1, Ordering::Relaxed) + 1 >= REQUESTS_MAX;
        async move {
            let call = match read(request, run).await {
                Ok(call) => call,
                Err(reply) => return Ok(response(reply)),
            };
            match floor.answer(service, call, line).await {
                Some(mut reply) => {
                    reply.close |= is_last;
                    Ok(response(reply))
                }
                // The line was ended, or will be by its client: no answer.
                None => std::future::pending::<Result<_, std::convert::Infallible>>().await,
            }
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        // The lab's servers say the lab's date themselves where they must.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(tls), handler);
    if let Err(error) = connection.await {
        tracing::debug!(%error, %run, "the connection ended");
    }
}

/// Reads a request in full.
pub(crate) async fn read(request: Request<Incoming>, run: RunId) -> Result<Call, Reply> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(Reply::new(413, "").closing()),
        Err(_) => return Err(Reply::new(400, "").closing()),
    };
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value.to_ascii_lowercase().contains("chunked"));
    Ok(Call {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers,
        body,
        chunked,
        run,
    })
}

/// What HTTP carries of an answer.
pub(crate) fn response(reply: Reply) -> Response<Full<Bytes>> {
    let mut builder = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        builder = builder.header(name, value);
    }
    if reply.close {
        builder = builder.header(hyper::header::CONNECTION, "close");
    }
    match builder.body(Full::new(reply.body)) {
        Ok(mut response) => {
            if let Some(phrase) = reply.reason.and_then(|reason| ReasonPhrase::try_from(one_line(&reason)).ok()) {
                response.extensions_mut().insert(phrase);
            }
            response
        }
        Err(error) => {
            // A status or header that HTTP cannot carry is a mistake of a model.
            tracing::error!(%error, "the lab made an answer that HTTP cannot carry");
            let mut response = Response::new(Full::new(Bytes::from(error.to_string())));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

/// A reason phrase is one line; Proxmox's die messages end with a line break.
fn one_line(reason: &str) -> String {
    reason.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
