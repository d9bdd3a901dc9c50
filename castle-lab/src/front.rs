//! What a protocol server is to the lab, and how a request flows through it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::latency::Latency;
use crate::run::RunId;
use crate::world::World;

/// One request as a protocol server sees it, after its bytes were read in full.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method, in capitals.
    pub method: String,
    /// The raw path, still percent-encoded, without the query.
    pub path: String,
    /// The raw query, without the question mark.
    pub query: Option<String>,
    /// The headers in the order they came, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, decoded from chunks where it came in chunks.
    pub body: Bytes,
    /// Whether the body came with `Transfer-Encoding: chunked`, which some
    /// servers refuse.
    pub chunked: bool,
    /// Which engine run sent it, told by the source address.
    pub run: RunId,
}

impl Call {
    /// The first header of that name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What a protocol server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status code.
    pub status: u16,
    /// The reason phrase, if it is not the standard one of the status.
    pub reason: Option<String>,
    /// The headers to send; content length and date are added by the floor.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// What follows the body while the client listens, for servers that push.
    pub feed: Option<Feed>,
    /// Waited before the answer in real time at every pace: the protocol itself
    /// makes its client wait (a 401 of Proxmox takes three seconds).
    pub penalty: Duration,
    /// Whether the connection ends after this answer.
    pub close: bool,
}

impl Reply {
    /// An answer with a status and a body, and nothing else.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            reason: None,
            headers: Vec::new(),
            body: body.into(),
            feed: None,
            penalty: Duration::ZERO,
            close: false,
        }
    }

    /// Sets the reason phrase.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Goes on after the body with what the feed gives.
    #[must_use]
    pub fn followed_by(mut self, feed: Feed) -> Self {
        self.feed = Some(feed);
        self
    }

    /// Makes the client wait, in real time.
    #[must_use]
    pub fn penalised(mut self, penalty: Duration) -> Self {
        self.penalty = penalty;
        self
    }

    /// Ends the connection after this answer.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}

/// The endless part of an answer: a watch.
///
/// It is asked once at the beginning and then after each change of the world
/// that it gets to see; what it gives is sent as one chunk.
#[derive(Clone)]
pub struct Feed(Arc<Mutex<Look>>);

type Look = dyn FnMut(&World) -> Helping + Send;

/// What a feed gives at one look at the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helping {
    /// What to send now; may be empty.
    pub bytes: Bytes,
    /// Whether the answer ends with it.
    pub is_last: bool,
    /// When to ask again though nothing has happened, in the lab's time.
    pub again_at: Option<Duration>,
}

impl Feed {
    /// A feed that gives what `look` says of the world, brought to the present.
    pub fn new(look: impl FnMut(&World) -> Helping + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(look)))
    }

    /// What there is to send now.
    pub fn next(&self, world: &World) -> Helping {
        // A look that panicked has poisoned nothing but its own place in the news.
        (self.0.lock().unwrap_or_else(PoisonError::into_inner))(world)
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Feed")
    }
}

impl PartialEq for Feed {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Feed {}

/// How a server names a request before its effect: for journal, faults and
/// latency draws.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// The stable name of the kind of request, for example `POST qemu` or
    /// `GET qemu/config`.
    pub kind: String,
    /// What it is about, for example `421` or `pve`.
    pub entity: String,
    /// Whether it may change the world. A login and a dry run are reads.
    pub write: bool,
    /// How long it takes from arrival to answer.
    pub latency: Latency,
    /// One line for the journal, free of secrets, for example the decoded
    /// parameters.
    pub detail: String,
}

/// A protocol server: a pure translation between the wire and the world.
///
/// All methods are called with the world locked and brought to the present, so
/// they do no I/O and wait for nothing; waiting is said by [`Act::latency`] and
/// [`Service::held_up`].
pub trait Service: Send + Sync {
    /// The name under which requests are counted, for example `proxmox`.
    fn backend(&self) -> &'static str;

    /// Names the request without any effect on the world.
    fn classify(&self, world: &World, call: &Call) -> Act;

    /// How long the request is held up before its effect, in the lab's time: the
    /// house is busy, for example with a lock. It is asked again after each wait,
    /// with all that was `waited` so far, until it is zero.
    fn held_up(&self, world: &World, call: &Call, waited: Duration) -> Duration {
        let _ = (world, call, waited);
        Duration::ZERO
    }

    /// Does what the request asks and says the answer.
    fn serve(&self, world: &mut World, call: &Call) -> Reply;
}
