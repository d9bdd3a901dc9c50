//! Waking when objects have changed.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;

use super::object::Kind;
use super::{Error, KubeApi, Result, SYSTEM, wire};

/// The first pause after a failure, in castle's time. It doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LONGEST: Duration = Duration::from_millis(500);
/// A watch is opened anew after so many seconds (kube's own value); the server
/// ends it in order.
const WATCH_SECONDS: u32 = 290;

/// A collection that is followed.
#[derive(Debug, Clone)]
pub(crate) struct Followed {
    pub(crate) kind: Kind,
    /// Empty: all namespaces.
    pub(crate) namespace: &'static str,
    /// Whether a definition makes the kind, so that it may not be there yet.
    pub(crate) is_defined: bool,
}

impl Followed {
    /// A kind that every API serves.
    pub(crate) fn of(kind: Kind) -> Self {
        Self { kind, namespace: "", is_defined: false }
    }

    /// A kind that a definition brings. Such ones are followed together with
    /// [`Kind::DEFINITION`].
    pub(crate) fn defined(kind: Kind) -> Self {
        Self { kind, namespace: "", is_defined: true }
    }

    fn api(&self, api: &KubeApi) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: self.kind.group.to_string(),
            version: self.kind.version.to_string(),
            api_version: self.kind.api_version(),
            kind: self.kind.kind.to_string(),
            plural: self.kind.plural.to_string(),
        };
        match self.namespace {
            "" => Api::all_with(api.client.clone(), &resource),
            namespace => Api::namespaced_with(api.client.clone(), namespace, &resource),
        }
    }
}

/// Who is told what has changed; `None`: everything may have.
pub(crate) type Listener = Arc<dyn Fn(Option<&Kind>) + Send + Sync>;

/// What came of one event of a watch.
enum Heard {
    /// The object of this name has changed.
    Change(String),
    /// A bookmark.
    Nothing,
    /// The watch ended in order.
    End,
    /// The watch broke, or began too far back.
    Failed(Error),
}

type Events = BoxStream<'static, (Heard, Option<String>)>;

/// The watch of one collection: where it is, and its stream while it stands.
struct Watch {
    of: Followed,
    place: Place,
}

enum Place {
    /// Its definition does not exist.
    Absent,
    /// Its definition exists; it is not served yet, as far as is known.
    Expected,
    At {
        version: String,
        events: Option<Events>,
    },
}

/// One follower of some collections.
pub(crate) struct Follower {
    api: KubeApi,
    of: Vec<Followed>,
    listener: Listener,
    /// `None` until they were listed.
    watches: Option<Vec<Watch>>,
    pause: Duration,
    /// Whether nothing was heard since the last list.
    is_fresh: bool,
    /// Whether a kind is served that was not, and nobody was woken for it yet. Kept
    /// here, for a call may be dropped while the next watch is opened.
    is_new: bool,
}

/// A wake at the beginning, one after each change of nodes or system pods, and,
/// while the API does not answer, one after each pause.
pub(super) fn wakes(api: KubeApi) -> BoxStream<'static, ()> {
    let pods = Followed { namespace: SYSTEM, ..Followed::of(Kind::POD) };
    let follower = Follower::new(api, vec![Followed::of(Kind::NODE), pods], Arc::new(|_| {}));
    stream::unfold((follower, true), |(mut follower, is_first)| async move {
        if !is_first {
            follower.next_wake().await;
        }
        Some(((), (follower, false)))
    })
    .boxed()
}

impl Follower {
    pub(crate) fn new(api: KubeApi, of: Vec<Followed>, listener: Listener) -> Self {
        Self { api, of, listener, watches: None, pause: PAUSE_FIRST, is_fresh: true, is_new: false }
    }

    /// Waits until something has changed, or, while the API does not answer, for a
    /// pause.
    ///
    /// # Cancellation
    ///
    /// Nothing that was heard is lost.
    pub(crate) async fn next_wake(&mut self) {
        loop {
            if self.watches.is_none() {
                match list(&self.api, &self.of).await {
                    Ok(watches) => {
                        self.watches = Some(watches);
                        self.is_fresh = true;
                        // What changed before this list was not watched.
                        return (self.listener)(None);
                    }
                    Err(error) => return self.rest(&error).await,
                }
            }
            match self.hear().await {
                Ok(true) => return,
                Ok(false) => {
                    let ended = |watch: &Watch| matches!(watch.place, Place::At { events: None, .. });
                    if self.watches.iter().flatten().any(ended) {
                        // Opened again from where it ended; the pause is for a server that ends every watch at once.
                        self.api.clock.sleep(PAUSE_FIRST).await;
                    }
                }
                Err(error) => {
                    self.watches = None;
                    if !error.is_expired() || self.is_fresh {
                        (self.listener)(None);
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

    /// Waits for the next event of any watch. `true`: something has changed.
    async fn hear(&mut self) -> Result<bool> {
        let Some(watches) = &mut self.watches else { return Ok(false) };
        for watch in watches.iter_mut() {
            self.is_new |= watch.open(&self.api).await?;
        }
        if std::mem::take(&mut self.is_new) {
            (self.listener)(None);
            return Ok(true);
        }
        let is_expecting = watches.iter().any(|watch| matches!(watch.place, Place::Expected));
        let mut next = poll_fn(|cx| {
            for (index, watch) in watches.iter_mut().enumerate() {
                let Place::At { events: Some(events), .. } = &mut watch.place else { continue };
                if let Poll::Ready(heard) = events.poll_next_unpin(cx) {
                    return Poll::Ready((index, heard));
                }
            }
            Poll::Pending
        });
        let heard = if is_expecting {
            tokio::select! {
                biased;
                heard = &mut next => Some(heard),
                () = self.api.clock.sleep(PAUSE_LONGEST) => None,
            }
        } else {
            Some(next.await)
        };
        let Some((index, heard)) = heard else { return Ok(false) };
        let mut changes = Vec::new();
        changes.extend(watches[index].take(heard)?);
        (self.pause, self.is_fresh) = (PAUSE_FIRST, false);
        // What is here already is one wake with it.
        for watch in watches.iter_mut() {
            while let Place::At { events: Some(events), .. } = &mut watch.place {
                let Some(heard) = events.next().now_or_never() else { break };
                changes.extend(watch.take(heard)?);
            }
        }
        for (kind, name) in &changes {
            (self.listener)(Some(kind));
            if *kind == Kind::DEFINITION {
                let fits = |watch: &&mut Watch| watch.of.is_defined && watch.of.kind.definition() == *name;
                for watch in watches.iter_mut().filter(fits) {
                    if matches!(watch.place, Place::Absent) {
                        watch.place = Place::Expected;
                    }
                }
            }
        }
        Ok(!changes.is_empty())
    }
}

/// Asks from which resource versions to watch.
async fn list(api: &KubeApi, all: &[Followed]) -> Result<Vec<Watch>> {
    let mut watches = Vec::with_capacity(all.len());
    let mut definitions = BTreeSet::new();
    for of in all {
        if of.is_defined && !definitions.contains(&of.kind.definition()) {
            watches.push(Watch { of: of.clone(), place: Place::Absent });
            continue;
        }
        let is_whole = of.kind == Kind::DEFINITION;
        match version_of(api, of, is_whole).await {
            Ok((version, names)) => {
                definitions.extend(names.into_iter().filter(|_| is_whole));
                watches.push(Watch { of: of.clone(), place: Place::At { version, events: None } });
            }
            Err(error) if of.is_defined && error.is_not_found() => {
                watches.push(Watch { of: of.clone(), place: Place::Expected });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(watches)
}

impl Watch {
    /// Opens the stream where it is not open. `true`: the kind is served now.
    async fn open(&mut self, api: &KubeApi) -> Result<bool> {
        match &mut self.place {
            Place::Absent => Ok(false),
            Place::Expected => match version_of(api, &self.of, false).await {
                Ok((version, _)) => {
                    self.place = Place::At { version, events: None };
                    Ok(true)
                }
                Err(error) if error.is_not_found() => Ok(false),
                Err(error) => Err(error),
            },
            Place::At { events: Some(_), .. } => Ok(false),
            Place::At { version, events } => {
                *events = Some(open(api, &self.of, version).await?);
                Ok(false)
            }
        }
    }

    fn take(&mut self, heard: Option<(Heard, Option<String>)>) -> Result<Option<(Kind, String)>> {
        let Place::At { version, events } = &mut self.place else { return Ok(None) };
        let (heard, reached) = heard.unwrap_or((Heard::End, None));
        if let Some(reached) = reached {
            *version = reached;
        }
        match heard {
            Heard::Change(name) => Ok(Some((self.of.kind.clone(), name))),
            Heard::Nothing => Ok(None),
            Heard::End => {
                *events = None;
                Ok(None)
            }
            Heard::Failed(error) => Err(error),
        }
    }
}

/// The collection's version, and the names in it, of which one will do unless all
/// are asked for: whoever wakes lists the objects.
async fn version_of(api: &KubeApi, of: &Followed, is_all: bool) -> Result<(String, Vec<String>)> {
    let request = format!("GET {}", of.kind);
    let params = if is_all { ListParams::default() } else { ListParams::default().limit(1) };
    let list = wire::within(&api.clock, &api.server, &request, of.api(api).list_metadata(&params)).await?;
    let names = list.items.into_iter().filter_map(|object| object.metadata.name).collect();
    match list.metadata.resource_version {
        Some(version) => Ok((version, names)),
        None => Err(Error::Malformed { request, why: "the list has no resource version".into() }),
    }
}

async fn open(api: &KubeApi, of: &Followed, version: &str) -> Result<Events> {
    let request = format!("WATCH {}", of.kind);
    let params = WatchParams::default().timeout(WATCH_SECONDS);
    let of = of.api(api);
    let events = wire::within(&api.clock, &api.server, &request, of.watch_metadata(&params, version)).await?;
    let server = api.server.clone();
    Ok(events
        .map(move |event| match event {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object)) => {
                let PartialObjectMeta { metadata, .. } = object;
                (Heard::Change(metadata.name.unwrap_or_default()), metadata.resource_version)
            }
            Ok(WatchEvent::Bookmark(bookmark)) => (Heard::Nothing, Some(bookmark.metadata.resource_version)),
            Ok(WatchEvent::Error(status)) => {
                (Heard::Failed(wire::meaning(&server, &request, kube::Error::Api(status))), None)
            }
            Err(error) => (Heard::Failed(wire::meaning(&server, &request, error)), None),
        })
        .boxed())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use castle_core::{Clock, Pace};
    use castle_lab::runtime;
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use hyper::body::Frame;

    use super::*;
    use crate::dial::Tasks;
    use crate::kubernetes::dial::Server;

    /// An API whose collections are listed as `script` says, by plural and number of
    /// the question from 1: the names in it, 404, or no answer. Watches tell nothing.
    fn api(script: impl Fn(&str, usize) -> Option<Result<Vec<String>, u16>> + Send + Sync + 'static) -> KubeApi {
        let asked = Arc::new(Mutex::new(Vec::<String>::new()));
        let script = Arc::new(script);
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let plural = request.uri().path().rsplit('/').next().unwrap_or("").to_owned();
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let (asked, script) = (Arc::clone(&asked), Arc::clone(&script));
            async move {
                if is_watch {
                    let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, std::convert::Infallible>>());
                    return Ok::<_, std::convert::Infallible>(http::Response::new(body.boxed_unsync()));
                }
                let number = {
                    let mut asked = asked.lock().expect("nobody panics with it");
                    asked.push(plural.clone());
                    asked.iter().filter(|asked| **asked == plural).count()
                };
                let (status, body) = match script(&plural, number) {
                    None => std::future::pending().await,
                    Some(Err(status)) => (status, serde_json::json!({"kind": "Status", "code": status})),
                    Some(Ok(names)) => {
                        let items: Vec<_> =
                            names.iter().map(|name| serde_json::json!({"metadata": {"name": name}})).collect();
                        let list = serde_json::json!({
                            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
                            "metadata": {"resourceVersion": "7"}, "items": items,
                        });
                        (200, list)
                    }
                };
                let mut answer = http::Response::new(Full::new(Bytes::from(body.to_string())).boxed_unsync());
                *answer.status_mut() = http::StatusCode::from_u16(status).expect("a status");
                Ok(answer)
            }
        });
        KubeApi {
            client: kube::Client::new(service, "default"),
            server: Arc::new(Server::of("https://192.168.1.210:6443").expect("a server")),
            clock: Clock::new(Pace::Virtual),
            _tasks: Tasks::default(),
        }
    }

    #[test]
    fn a_dropped_call_loses_no_wake() {
        runtime::run_virtual(|| async {
            let (one, other) = (Kind::GIT_REPOSITORY, Kind::HELM_RELEASE);
            let (plural, names) = (one.plural.to_string(), vec![one.definition(), other.definition()]);
            let api = api(move |asked, number| match (asked, number) {
                ("customresourcedefinitions", _) => Some(Ok(names.clone())),
                // Served from the second question on.
                (asked, 2..) if asked == plural => Some(Ok(Vec::new())),
                // No answer to the second question, which comes in the same breath.
                (asked, 2) if asked != plural => None,
                _ => Some(Err(404)),
            });
            let clock = api.clock.clone();
            let kinds = vec![Followed::of(Kind::DEFINITION), Followed::defined(one), Followed::defined(other)];
            let mut follower = Follower::new(api, kinds, Arc::new(|_| {}));
            let mut is_woken = async || clock.within(Duration::from_secs(2), follower.next_wake()).await.is_some();
            assert!(is_woken().await, "by the list");
            assert!(!is_woken().await, "it hangs at the other kind");
            assert!(is_woken().await, "one kind is served now");
            assert!(!is_woken().await, "and that was told once");
        });
    }
}
