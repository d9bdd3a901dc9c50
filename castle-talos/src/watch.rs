//! When it is worth looking at a node again.
//!
//! A node of ours tells what changes; nobody else can be watched, so castle
//! looks again after a while.

use std::sync::Arc;
use std::time::Duration;

use castle_core::{NodeRole, NodeSite, NodeTarget};
use futures::future::join3;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};

use crate::client::Connection;
use crate::cosi::{ADDRESS_STATUS, MACHINE_STATUS, SERVICE, is_unknown_kind};
use crate::session::{Mode, Session};
use crate::{Error, Result};

/// The first wait before looking again, in castle's time; it doubles.
const BACKOFF: Duration = Duration::from_millis(250);

/// The longest wait: what a silent node that begins to answer is missed for.
const BACKOFF_MOST: Duration = Duration::from_millis(500);

/// A node that told nothing for so long is looked at anyway: what etcd's members
/// are, for one, it does not tell by itself.
const QUIET: Duration = Duration::from_secs(20);

/// Whether something changed, or the watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Change,
    End,
}

/// Wake-ups for one node.
pub(crate) fn wakes(session: Arc<Session>, site: &NodeSite, node: &NodeTarget) -> BoxStream<'static, ()> {
    let is_control_plane = node.spec.role == NodeRole::ControlPlane;
    let watching = Watching {
        session,
        node: node.clone(),
        etcd: is_control_plane,
        addresses: is_control_plane && site.project.network.vip.is_some(),
        open: None,
        backoff: BACKOFF,
        first: true,
    };
    stream::unfold(watching, |mut watching| async move {
        watching.wake().await;
        Some(((), watching))
    })
    .boxed()
}

struct Watching {
    session: Arc<Session>,
    node: NodeTarget,
    /// Whether it has an etcd.
    etcd: bool,
    /// Whether it may carry the VIP.
    addresses: bool,
    /// What is told, and the connection that tells it.
    open: Option<(Arc<Connection>, stream::SelectAll<BoxStream<'static, Told>>)>,
    backoff: Duration,
    first: bool,
}

impl Watching {
    /// Returns when a look may show something new.
    async fn wake(&mut self) {
        let first = std::mem::take(&mut self.first);
        let live = self.session.live(&self.node, Mode::Ours);
        // A look may have found the connection dead before the watch did.
        self.open.take_if(|(held, _)| !live.as_ref().is_some_and(|live| Arc::ptr_eq(live, held)));
        if self.open.is_none()
            && let Some(connection) = live
        {
            match open(&connection, self.etcd, self.addresses).await {
                // What changed until now is seen by looking now.
                Ok(streams) => {
                    self.open = Some((connection, streams));
                    return;
                }
                Err(error) => tracing::debug!(%error, node = %self.node.spec.node, "cannot be watched"),
            }
        }
        if first {
            return;
        }
        let clock = self.session.reach.clock().clone();
        let Some((_, streams)) = &mut self.open else {
            self.wait().await;
            return;
        };
        let mut told = match clock.within(QUIET, streams.next()).await {
            None => return,
            Some(told) => told,
        };
        // One look sees all that was told by now.
        while told == Some(Told::Change) {
            match streams.next().now_or_never() {
                Some(more) => told = more,
                None => {
                    self.backoff = BACKOFF;
                    return;
                }
            }
        }
        // The connection ended, or a node of ours tells no more.
        self.open = None;
        self.wait().await;
    }

    async fn wait(&mut self) {
        self.session.reach.clock().sleep(self.backoff).await;
        self.backoff = (self.backoff * 2).min(BACKOFF_MOST);
    }
}

/// Watches what makes a node's report. All of it is told by now, up to the first
/// wake-up.
async fn open(
    connection: &Connection,
    etcd: bool,
    addresses: bool,
) -> Result<stream::SelectAll<BoxStream<'static, Told>>> {
    let status = connection.changes(&MACHINE_STATUS, Some("machine"));
    let etcd = async {
        match etcd {
            true => known(connection.changes(&SERVICE, Some("etcd")).await),
            false => Ok(None),
        }
    };
    let addresses = async {
        match addresses {
            true => known(connection.changes(&ADDRESS_STATUS, None).await),
            false => Ok(None),
        }
    };
    let (status, etcd, addresses) = join3(status, etcd, addresses).await;
    let opened = [Some(status?), etcd?, addresses?].into_iter().flatten();
    // The end of one is the end of all, so that all are opened anew.
    let end = || stream::once(std::future::ready(Told::End));
    Ok(stream::select_all(opened.map(|changes| changes.map(|()| Told::Change).chain(end()).boxed())))
}

/// A kind that this Talos does not know cannot be watched; the others can.
fn known(opened: Result<BoxStream<'static, ()>, Error>) -> Result<Option<BoxStream<'static, ()>>, Error> {
    match opened {
        Err(error) if is_unknown_kind(&error) => Ok(None),
        opened => opened.map(Some),
    }
}
