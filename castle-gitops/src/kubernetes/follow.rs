//! Waking when nodes or system pods have changed.

use std::fmt;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use k8s_openapi::serde::de::DeserializeOwned;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;

use super::{Error, KubeApi, Result, wire};

/// The first pause after a failure, in castle's time. It doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LONGEST: Duration = Duration::from_millis(500);
/// A watch is opened anew after so many seconds (kube's own value); the server
/// ends it in order.
const WATCH_SECONDS: u32 = 290;

/// What came of one event of a watch.
enum Heard {
    /// Something has changed.
    Change,
    /// A bookmark.
    Nothing,
    /// The watch ended in order.
    End,
    /// The watch broke, or began too far back.
    Failed(Error),
}

/// The watch of one collection: where it is, and its stream while it stands.
struct Watch {
    version: String,
    events: Option<BoxStream<'static, (Heard, Option<String>)>>,
}

/// One follower of nodes and system pods.
struct Follower {
    api: KubeApi,
    /// Nodes and pods; `None` until they were listed.
    watches: Option<[Watch; 2]>,
    pause: Duration,
    /// Whether nothing was heard since the last list.
    is_fresh: bool,
    is_first: bool,
}

/// A wake at the beginning, one after each change, and, while the API does not
/// answer, one after each pause.
pub(super) fn wakes(api: KubeApi) -> BoxStream<'static, ()> {
    let follower = Follower { api, watches: None, pause: PAUSE_FIRST, is_fresh: true, is_first: true };
    stream::unfold(follower, |mut follower| async move {
        if !std::mem::take(&mut follower.is_first) {
            follower.next_wake().await;
        }
        Some(((), follower))
    })
    .boxed()
}

impl Follower {
    async fn next_wake(&mut self) {
        loop {
            if self.watches.is_none() {
                match list(&self.api).await {
                    Ok(watches) => {
                        self.watches = Some(watches);
                        self.is_fresh = true;
                        // What changed before this list was not watched.
                        return;
                    }
                    Err(error) => return self.rest(&error).await,
                }
            }
            match self.hear().await {
                Ok(true) => return,
                Ok(false) => {
                    let has_ended = self.watches.iter().flatten().any(|watch| watch.events.is_none());
                    if has_ended {
                        // Opened again from where it ended; the pause is for a server that ends every watch at once.
                        self.api.clock.sleep(PAUSE_FIRST).await;
                    }
                }
                Err(error) => {
                    self.watches = None;
                    if !error.is_expired() || self.is_fresh {
                        return self.rest(&error).await;
                    }
                }
            }
        }
    }

    /// Waits a little, longer each time.
    async fn rest(&mut self, error: &Error) {
        tracing::debug!(%error, "the watch of the cluster pauses");
        self.api.clock.sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_LONGEST);
    }

    /// Waits for the next event of either watch. `true`: something has changed.
    async fn hear(&mut self) -> Result<bool> {
        let (nodes_api, pods_api) = (self.api.nodes_api(), self.api.pods_api());
        let Some([nodes, pods]) = &mut self.watches else { return Ok(false) };
        if nodes.events.is_none() {
            nodes.events = Some(open(&self.api, "WATCH nodes", nodes_api, &nodes.version).await?);
        }
        if pods.events.is_none() {
            pods.events = Some(open(&self.api, "WATCH pods", pods_api, &pods.version).await?);
        }
        let (Some(node_events), Some(pod_events)) = (&mut nodes.events, &mut pods.events) else { return Ok(false) };
        let (watch, heard) = tokio::select! {
            biased;
            heard = node_events.next() => (nodes, heard),
            heard = pod_events.next() => (pods, heard),
        };
        let mut has_changed = watch.take(heard)?;
        (self.pause, self.is_fresh) = (PAUSE_FIRST, false);
        // What is here already is one wake with it.
        for watch in self.watches.iter_mut().flatten() {
            while let Some(heard) = watch.events.as_mut().and_then(|events| events.next().now_or_never()) {
                has_changed |= watch.take(heard)?;
                if watch.events.is_none() {
                    break;
                }
            }
        }
        Ok(has_changed)
    }
}

impl Watch {
    fn take(&mut self, heard: Option<(Heard, Option<String>)>) -> Result<bool> {
        let (heard, version) = heard.unwrap_or((Heard::End, None));
        if let Some(version) = version {
            self.version = version;
        }
        match heard {
            Heard::Change => Ok(true),
            Heard::Nothing => Ok(false),
            Heard::End => {
                self.events = None;
                Ok(false)
            }
            Heard::Failed(error) => Err(error),
        }
    }
}

/// Asks from which resource versions to watch.
async fn list(api: &KubeApi) -> Result<[Watch; 2]> {
    let at = |version: String| Watch { version, events: None };
    let nodes = version_of(api, "GET nodes", api.nodes_api()).await?;
    let pods = version_of(api, "GET pods", api.pods_api()).await?;
    Ok([at(nodes), at(pods)])
}

async fn version_of<K>(api: &KubeApi, request: &'static str, of: Api<K>) -> Result<String>
where
    K: Clone + DeserializeOwned + fmt::Debug,
{
    // The version counts, not the objects: whoever wakes lists them.
    let params = ListParams::default().limit(1);
    let list = wire::within(&api.clock, &api.server, request, of.list_metadata(&params)).await?;
    list.metadata
        .resource_version
        .ok_or_else(|| Error::Malformed { request, why: "the list has no resource version".into() })
}

async fn open<K>(
    api: &KubeApi,
    request: &'static str,
    of: Api<K>,
    version: &str,
) -> Result<BoxStream<'static, (Heard, Option<String>)>>
where
    K: Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    let params = WatchParams::default().timeout(WATCH_SECONDS);
    let events = wire::within(&api.clock, &api.server, request, of.watch_metadata(&params, version)).await?;
    let server = api.server.clone();
    Ok(events
        .map(move |event| match event {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object)) => {
                let PartialObjectMeta { metadata, .. } = object;
                (Heard::Change, metadata.resource_version)
            }
            Ok(WatchEvent::Bookmark(bookmark)) => (Heard::Nothing, Some(bookmark.metadata.resource_version)),
            Ok(WatchEvent::Error(status)) => {
                (Heard::Failed(wire::meaning(&server, request, kube::Error::Api(status))), None)
            }
            Err(error) => (Heard::Failed(wire::meaning(&server, request, error)), None),
        })
        .boxed())
}
