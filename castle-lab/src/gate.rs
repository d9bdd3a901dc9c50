//! Doors whose servers come and go with the world: a node that boots, restarts
//! its API with other certificates, or dies without a word.
//!
//! The socket listens from the lab's start to its end. What a client finds there
//! is decided by the world when the client arrives, and again whenever the world
//! has changed while the client is connected.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::floor::Floor;
use crate::run::RunId;
use crate::wire::{Ending, HANDSHAKE_MAX, Line, Socket, accept};
use crate::world::World;

/// When a client's kernel sends its SYN again to an address that is silent
/// (Linux: after 1, 2, 4, ... seconds). A host that has come up meanwhile answers
/// the next one.
const SYN_AT: [u64; 7] = [0, 1, 3, 7, 15, 31, 63];
/// How long a refused client may take to read why.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// What a connection finds at its arrival.
pub(crate) enum Admission {
    /// Nothing: the machine is off, or its network is not up.
    Silent,
    /// A machine that is up, where nobody listens: the connection is reset.
    /// (A closed port would refuse the SYN; the socket of the lab has to accept
    /// it first.)
    Refused,
    /// A server. The ticket names its incarnation: a restarted server has another.
    Served {
        /// Its identity and whom it trusts.
        tls: Arc<ServerConfig>,
        /// Its incarnation.
        ticket: u64,
    },
    /// A server that speaks without TLS.
    ServedPlainly {
        /// Its incarnation.
        ticket: u64,
    },
}

/// What becomes of a connection that was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its server is still there.
    Served,
    /// Its server went away in order: the connection is reset.
    Ended,
    /// Its machine died: not even a FIN.
    Muted,
}

/// A connection behind its handshake, if there was one.
pub(crate) struct Connection<S = TlsStream<Socket>> {
    /// The bytes, decrypted. With TLS, `get_ref().1.peer_certificates()` has the
    /// client's.
    pub(crate) stream: S,
    /// What requests go through.
    pub(crate) floor: Arc<Floor>,
    /// Who is at the other end.
    pub(crate) run: RunId,
    /// Which incarnation of the server it speaks to.
    pub(crate) ticket: u64,
    /// Its switch.
    pub(crate) line: Arc<Line>,
}

/// A server that follows the world.
pub(crate) trait Gate: Send + Sync {
    /// The name under which its requests are counted, for example `talos`.
    fn backend(&self) -> &'static str;

    /// What a connection finds now. Called with the world brought to the present.
    fn admit(&self, world: &World) -> Admission;

    /// What becomes of a connection of that ticket.
    fn fate(&self, world: &World, ticket: u64) -> Fate;

    /// Serves one connection to its end. Dropped when the connection must end.
    fn converse(&self, connection: Connection) -> BoxFuture<'static, ()>;

    /// The same for one that was admitted without TLS. A gate that admits none so
    /// hangs up.
    fn converse_plainly(&self, connection: Connection<Socket>) -> BoxFuture<'static, ()> {
        connection.line.end(Ending::HangUp);
        Box::pin(std::future::ready(()))
    }
}

impl fmt::Debug for dyn Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({})", self.backend())
    }
}

/// Serves one gate's connections until it is dropped, and all its connections with
/// it.
pub(crate) async fn serve(listener: TcpListener, floor: Arc<Floor>, gate: Arc<dyn Gate>) {
    let (name, ground) = (gate.backend(), Arc::clone(&floor));
    accept(listener, &ground, name, |socket, run, line| {
        let (floor, gate) = (Arc::clone(&floor), Arc::clone(&gate));
        async move { greet(&floor, &*gate, socket, run, &line).await }
    })
    .await;
}

/// From the first SYN to the end of the connection.
async fn greet(floor: &Arc<Floor>, gate: &dyn Gate, socket: Socket, run: RunId, line: &Arc<Line>) {
    let began = floor.clock.elapsed();
    for seconds in SYN_AT {
        let at = began + Duration::from_secs(seconds);
        floor.sleep(at.saturating_sub(floor.clock.elapsed())).await;
        match floor.peek_world(|world| gate.admit(world)) {
            None => return,
            Some(Admission::Silent) => {}
            Some(Admission::Refused) => return line.end(Ending::Reset),
            Some(Admission::Served { tls, ticket }) => {
                return attend(floor, gate, socket, Some(tls), run, ticket, line).await;
            }
            Some(Admission::ServedPlainly { ticket }) => {
                return attend(floor, gate, socket, None, run, ticket, line).await;
            }
        }
    }
    // The client's kernel has given up by now.
    line.end(Ending::HangUp);
}

/// Serves an admitted connection for as long as its server is there.
async fn attend(
    floor: &Arc<Floor>,
    gate: &dyn Gate,
    socket: Socket,
    tls: Option<Arc<ServerConfig>>,
    run: RunId,
    ticket: u64,
    line: &Arc<Line>,
) {
    let mut served = std::pin::pin!(async {
        let (floor, line) = (Arc::clone(floor), Arc::clone(line));
        let Some(tls) = tls else {
            let connection = Connection { stream: socket, floor, run, ticket, line };
            return gate.converse_plainly(connection).await;
        };
        let accept = TlsAcceptor::from(tls).accept(socket).into_fallible();
        let stream = match floor.clock.within_real(HANDSHAKE_MAX, accept).await {
            Some(Ok(stream)) => stream,
            Some(Err((error, socket))) => {
                tracing::debug!(%error, %run, "no TLS session");
                return farewell(&floor, socket).await;
            }
            None => return tracing::debug!(%run, "the TLS handshake took too long"),
        };
        gate.converse(Connection { stream, floor, run, ticket, line }).await;
    });
    let fate = tokio::select! {
        biased;
        fate = end_of_service(floor, gate, ticket) => fate,
        () = &mut served => return,
    };
    if fate == Fate::Muted {
        // `served` is kept and not polled any more: the socket stays open and says nothing.
        std::future::pending::<()>().await;
    }
    line.end(Ending::Reset);
}

/// Completes once the server of that ticket is not there any more.
async fn end_of_service(floor: &Floor, gate: &dyn Gate, ticket: u64) -> Fate {
    loop {
        let news = floor.news.notified();
        match floor.peek_world(|world| gate.fate(world, ticket)) {
            Some(Fate::Served) => news.await,
            Some(fate) => return fate,
            None => return Fate::Ended,
        }
    }
}

/// Lets a client whose handshake failed read the alert: with unread bytes in the
/// socket a close would be a reset, which may overtake it.
async fn farewell(floor: &Floor, mut socket: Socket) {
    let mut scratch = [0; 1024];
    let drain = async {
        // The client may be gone already; then there is nobody to tell.
        if socket.shutdown().await.is_ok() {
            while socket.read(&mut scratch).await.is_ok_and(|count| count > 0) {}
        }
    };
    let _ = floor.clock.within_real(FAREWELL_MAX, drain).await;
}
