//! Nudges: asking Flux not to wait where waiting has become pointless.
//!
//! Flux looks again at a dependency after 30 s and at a failure after its
//! retryInterval, whatever has happened meanwhile. Castle sees what has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use castle_core::handover::{HandoverState, Health, Nudge};
use castle_core::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::flux::{self, FluxObject, Obstacle, REQUESTED_AT, RESET_AT, ROOT};
use crate::graph::Graph;
use crate::kubernetes::object::Kind;
use crate::look::{Asker, Looks};
use crate::manifest::text;
use crate::ownership::{KEPT, applied_by};
use crate::readiness;

/// An item whose cause has no time of its own is not asked more often: its
/// failure may have another cause than the one that is gone.
const PACE: u64 = 10;
/// A controller that has said nothing about a new object for so many seconds has
/// missed it.
const SILENCE: i64 = 60;
/// Who asks the lists.
const ASKER: Asker = "nudge";

/// Why an item need not wait any longer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cause {
    /// What makes it another cause than the last one.
    key: String,
    /// When it came about, in seconds, if the cluster tells.
    since: Option<i64>,
    reason: String,
}

/// What was asked already by this handle.
#[derive(Debug, Default)]
pub(crate) struct Asked(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    /// Items and the keys of the causes that they were asked for.
    causes: BTreeSet<(String, String)>,
    /// The last token and reason of each item.
    last: BTreeMap<String, (String, String)>,
}

/// Whether an item is to be asked for a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Now,
    /// Not so soon after the last request; nothing but time brings its turn.
    Later,
    /// It was asked for this cause already.
    Over,
}

impl Asked {
    fn keep(&self, item: &str, cause: &Cause, token: String) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.causes.insert((item.to_owned(), cause.key.clone()));
        memory.last.insert(item.to_owned(), (token, cause.reason.clone()));
    }

    /// What the cluster and this handle's own memory say. The object's last request
    /// is over: what it says of itself is newer.
    fn turn(&self, object: &FluxObject, cause: &Cause, now: i64) -> Turn {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let item = object.id();
        if memory.causes.contains(&(item.clone(), cause.key.clone())) {
            return Turn::Over;
        }
        let Some(token) = object.requested_at() else { return Turn::Now };
        let Some(requested) = flux::seconds(token) else { return Turn::Now };
        let own = memory.last.get(&item).filter(|(last, _)| last == token);
        // The token is of castle's clock and the cause of the cluster's. What this handle
        // asked for it knows by the causes, whatever the two clocks say. A time of the
        // cluster is cut to its second: within it, both orders are possible.
        if let Some(since) = cause.since {
            return if own.is_none() && requested > since { Turn::Over } else { Turn::Now };
        }
        let is_new = own.is_some_and(|(_, reason)| *reason != cause.reason);
        // A request from the future was made by a clock that is wrong: it holds nobody up.
        if is_new || now.abs_diff(requested) >= PACE { Turn::Now } else { Turn::Later }
    }
}

/// What came of a round of nudges.
#[derive(Debug, Default)]
pub(crate) struct Nudged {
    pub(crate) nudges: Vec<Nudge>,
    /// Whether an item's turn comes by nothing but time.
    pub(crate) is_to_be_asked_again: bool,
}

/// Asks every item whose waiting has become pointless.
pub(crate) async fn nudge(
    cx: &Context,
    looks: &Looks,
    graph: &Graph,
    asked: &Asked,
    before: &HandoverState,
) -> Result<Nudged> {
    let mut nudged = Nudged::default();
    for item in &before.items {
        let Some(object) = graph.get(&item.id()) else { continue };
        let id = object.id();
        if object.spec.suspend || object.is_requested() {
            continue;
        }
        let wall = cx.clock().wall();
        let cause = match silent(graph, object, timestamp(wall).as_second()) {
            Some(cause) => Some(cause),
            None => cause(looks, graph, object, before).await?,
        };
        let Some(cause) = cause else { continue };
        let turn = asked.turn(object, &cause, timestamp(wall).as_second());
        nudged.is_to_be_asked_again |= turn == Turn::Later;
        if turn != Turn::Now {
            continue;
        }
        cx.check()?;
        let token = timestamp(wall).to_string();
        match ask(looks, object, &token).await {
            Ok(true) => {
                asked.keep(&id, &cause, token);
                nudged.nudges.push(Nudge { item: id, reason: cause.reason });
            }
            Ok(false) => {}
            // What was asked is told; the rest meets the same trouble at the next look.
            Err(error) if !nudged.nudges.is_empty() => {
                tracing::debug!(%error, "a nudge failed");
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(nudged)
}

/// Sets the annotation. `false`: the object is gone.
async fn ask(looks: &Looks, object: &FluxObject, token: &str) -> Result<bool, crate::kubernetes::Error> {
    let Some(kind) = kind_of(object) else { return Ok(false) };
    let mut annotations = json!({REQUESTED_AT: token});
    if is_exhausted(object) {
        // Its failures are forgotten only together with a request.
        annotations[RESET_AT] = token.into();
    }
    let patch = json!({"metadata": {"annotations": annotations}});
    let place = (object.metadata.namespace.as_str(), object.metadata.name.as_str());
    let answer = looks.api.merge(&kind, place, &patch, KEPT).await;
    looks.changed(Some(&kind));
    match answer {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

fn timestamp(wall: SystemTime) -> Timestamp {
    Timestamp::try_from(wall).unwrap_or(Timestamp::MAX)
}

fn kind_of(object: &FluxObject) -> Option<Kind> {
    [Kind::KUSTOMIZATION, Kind::HELM_RELEASE, Kind::GIT_REPOSITORY, Kind::OCI_REPOSITORY, Kind::HELM_REPOSITORY]
        .into_iter()
        .find(|kind| *kind.kind == *object.kind)
}

/// Whether a release has used up its attempts.
fn is_exhausted(object: &FluxObject) -> bool {
    object.condition("Stalled").is_some_and(|stalled| stalled.status == "True" && stalled.reason == "RetriesExceeded")
}

/// Why the object need not wait, if it does.
async fn cause(
    looks: &Looks,
    graph: &Graph,
    object: &FluxObject,
    before: &HandoverState,
) -> Result<Option<Cause>, crate::kubernetes::Error> {
    if let Some(cause) = behind(graph, object, before) {
        return Ok(Some(cause));
    }
    let Some(obstacle) = object.obstacle() else { return Ok(None) };
    let failed_at = object.condition("Ready").map(|ready| ready.last_transition_time.clone()).unwrap_or_default();
    let gone = |reason: String| Some(Cause { key: format!("{reason} {failed_at}"), since: None, reason });
    Ok(match obstacle {
        Obstacle::Dependency if graph.dependencies_are_ready(object) => dependencies(graph, object),
        Obstacle::Webhook(name) => {
            let found = before.webhooks.iter().filter(|webhook| webhook.name == name);
            let answers = found.into_iter().all(|webhook| webhook.health == Health::Ready);
            if answers { gone(format!("webhook {name} answers now")) } else { None }
        }
        Obstacle::Unserved(kind, version) => {
            let found = looks.api.find_kind(&version, &kind).await?;
            found.and_then(|_| gone(format!("{kind} of {version} is served now")))
        }
        Obstacle::Namespace(name) => {
            let found = looks.api.get(&Kind::NAMESPACE, "", &name).await?;
            found.and_then(|_| gone(format!("namespace {name} exists now")))
        }
        Obstacle::Trouble => gone("the API server answers again".to_owned()),
        Obstacle::Unhealthy(late) => {
            let is_ready = !late.is_empty() && are_ready(looks, graph, &late).await?;
            if is_ready { gone(format!("{} is ready now", late.join(", "))) } else { None }
        }
        Obstacle::Fetch => fetch(looks, object, before, &failed_at).await?,
        _ => None,
    })
}

/// Whether its controller has said nothing about it yet.
pub(crate) fn is_unheard(graph: &Graph, object: &FluxObject) -> bool {
    let has_source = object.sources().iter().all(|id| graph.get(id).is_some_and(|source| source.revision().is_some()));
    has_source && !object.spec.suspend && object.condition("Ready").is_none() && object.repository_has_status()
}

/// An object that its controller has missed.
fn silent(graph: &Graph, object: &FluxObject, now: i64) -> Option<Cause> {
    let made = flux::seconds(&object.metadata.creation_timestamp)?;
    if !is_unheard(graph, object) || now - made < SILENCE {
        return None;
    }
    let reason = format!("nothing was heard of it for {SILENCE} s");
    Some(Cause { key: format!("silent {}", object.metadata.generation), since: Some(made + SILENCE), reason })
}

/// A source that has fetched less than the branch has.
fn behind(graph: &Graph, object: &FluxObject, before: &HandoverState) -> Option<Cause> {
    let head = before.head.as_ref()?;
    let is_root_source = graph.root()?.sources().first() == Some(&object.id());
    let is_at_rest = object.condition("Ready").is_some_and(|ready| ready.status == "True");
    let fetched = object.revision()?;
    if !is_root_source || !is_at_rest || fetched == head {
        return None;
    }
    Some(Cause { key: format!("behind {head}"), since: None, reason: format!("the branch stands at {head}") })
}

/// The dependencies of an object, all ready, since the last of them is.
fn dependencies(graph: &Graph, object: &FluxObject) -> Option<Cause> {
    let since = |id: &String| {
        let ready = graph.get(id).and_then(|dependency| dependency.condition("Ready")?.seconds());
        (ready.unwrap_or(i64::MIN), id.clone())
    };
    let (at, last) = object.dependencies().iter().map(since).max()?;
    let revision = graph.get(&last).and_then(FluxObject::revision).unwrap_or_default();
    let reason = format!("{last} is ready now");
    Some(Cause { key: format!("{last} {at} {revision}"), since: Some(at), reason })
}

/// Whether what a health check waited for in vain is ready meanwhile.
async fn are_ready(looks: &Looks, graph: &Graph, late: &[String]) -> Result<bool, crate::kubernetes::Error> {
    for id in late {
        let mut parts = id.splitn(3, '/');
        let (Some(kind), Some(namespace), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Ok(false);
        };
        let is_ready = match graph.get(id) {
            Some(object) => graph.health(object).is_ready(),
            None if kind == "Deployment" => {
                let deployments = looks.all(&Kind::DEPLOYMENT, ASKER).await?;
                let is_it = |object: &&Value| {
                    text(object, "/metadata/namespace") == namespace && text(object, "/metadata/name") == name
                };
                deployments.iter().find(is_it).is_some_and(|object| readiness::health(object).is_ready())
            }
            // Of other kinds a condition would have to be known.
            None => false,
        };
        if !is_ready {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A source that could not be fetched: its credentials are other ones since, or the
/// server answers castle.
async fn fetch(
    looks: &Looks,
    object: &FluxObject,
    before: &HandoverState,
    failed_at: &str,
) -> Result<Option<Cause>, crate::kubernetes::Error> {
    let is_root_source = object.metadata.name == ROOT && object.metadata.namespace == ROOT;
    if object.kind != "GitRepository" || !is_root_source {
        return Ok(None);
    }
    let secret = looks.api.get(&Kind::SECRET, ROOT, ROOT).await?;
    let changed =
        secret.as_ref().and_then(|secret| applied_by(secret, KEPT)).map(|entry| text(entry, "/time").to_owned());
    if let Some(changed) = changed.filter(|changed| flux::seconds(changed) >= flux::seconds(failed_at)) {
        let reason = "its credentials have changed".to_owned();
        return Ok(Some(Cause { key: format!("credentials {changed}"), since: flux::seconds(&changed), reason }));
    }
    let reason = "the repository answers".to_owned();
    Ok(before.head.as_ref().map(|_| Cause { key: format!("answers {failed_at}"), since: None, reason }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flux::{Artifact, Condition, Metadata, Status};

    fn requested(at: Option<&str>) -> FluxObject {
        let annotations = at.map(|at| (REQUESTED_AT.to_owned(), at.to_owned())).into_iter().collect();
        FluxObject { metadata: Metadata { annotations, ..Metadata::default() }, ..FluxObject::default() }
    }

    fn cause_since(since: Option<i64>) -> Cause {
        Cause { key: "k".into(), since, reason: "r".into() }
    }

    const NOON: &str = "2026-11-21T12:00:00Z";

    fn noon() -> i64 {
        flux::seconds(NOON).expect("a time")
    }

    #[test]
    fn the_cluster_tells_what_was_asked_already() {
        let check = |requested_at: Option<&str>, since: Option<i64>, expected: Turn| {
            let found = Asked::default().turn(&requested(requested_at), &cause_since(since), noon());
            assert_eq!(found, expected, "{requested_at:?} {since:?}");
        };
        check(None, Some(noon()), Turn::Now);
        check(Some("2026-11-21T11:59:59.9Z"), Some(noon()), Turn::Now);
        check(Some("2026-11-21T12:00:00.9Z"), Some(noon()), Turn::Now);
        check(Some("2026-11-21T12:00:01.1Z"), Some(noon()), Turn::Over);
        check(Some("2026-11-21T11:59:55Z"), None, Turn::Later);
        check(Some("2026-11-21T11:59:40Z"), None, Turn::Now);
        check(Some("2026-11-21T13:00:00Z"), None, Turn::Now);
    }

    #[test]
    fn a_clock_that_is_ahead_asks_all_the_same() {
        let asked = Asked::default();
        let object = requested(Some("2026-11-21T13:00:00Z"));
        asked.keep(&object.id(), &cause_since(Some(noon())), "2026-11-21T13:00:00Z".into());
        let check = |key: &str, expected: Turn| {
            let cause = Cause { key: key.into(), ..cause_since(Some(noon() + 30)) };
            assert_eq!(asked.turn(&object, &cause, noon() + 3631), expected, "{key}");
        };
        check("k", Turn::Over);
        check("the next dependency", Turn::Now);
    }

    #[test]
    fn a_handle_asks_once_for_one_cause_and_at_once_for_another() {
        let asked = Asked::default();
        let object = requested(Some(NOON));
        asked.keep(&object.id(), &cause_since(None), NOON.into());
        let check = |key: &str, reason: &str, expected: Turn| {
            let cause = Cause { key: key.into(), since: None, reason: reason.into() };
            assert_eq!(asked.turn(&object, &cause, noon() + 2), expected, "{key} {reason}");
        };
        check("k", "r", Turn::Over);
        check("another failure", "r", Turn::Later);
        check("another failure", "another reason", Turn::Now);
        // The last request was not this handle's.
        let other = requested(Some("2026-11-21T12:00:01Z"));
        let cause = Cause { key: "l".into(), since: None, reason: "s".into() };
        assert_eq!(asked.turn(&other, &cause, noon() + 2), Turn::Later);
    }

    #[test]
    fn a_source_is_behind_when_the_branch_is_elsewhere() {
        let ready = Condition { kind: "Ready".into(), status: "True".into(), ..Condition::default() };
        let named = || Metadata { namespace: ROOT.into(), name: ROOT.into(), ..Metadata::default() };
        let source = FluxObject {
            kind: "GitRepository".into(),
            metadata: named(),
            status: Status {
                artifact: Some(Artifact { revision: "main@sha1:a".into() }),
                conditions: vec![ready],
                ..Status::default()
            },
            ..FluxObject::default()
        };
        let mut root = FluxObject { kind: "Kustomization".into(), metadata: named(), ..FluxObject::default() };
        root.spec.source_ref =
            Some(flux::Reference { kind: "GitRepository".into(), name: ROOT.into(), namespace: String::new() });
        let graph = Graph::of([root.clone(), source.clone()]);
        let check = |object: &FluxObject, head: Option<&str>, expected: Option<&str>| {
            let before = HandoverState { head: head.map(str::to_owned), ..HandoverState::default() };
            let found = behind(&graph, object, &before).map(|cause| cause.reason);
            assert_eq!(found.as_deref(), expected, "{head:?}");
        };
        check(&source, Some("main@sha1:b"), Some("the branch stands at main@sha1:b"));
        check(&source, Some("main@sha1:a"), None);
        check(&source, None, None);
        check(&root, Some("main@sha1:b"), None);
    }

    #[test]
    fn a_controller_that_says_nothing_for_long_is_reminded() {
        let made = flux::seconds("2026-11-21T12:00:00Z").expect("a time");
        let mut object = FluxObject { kind: "Kustomization".into(), ..FluxObject::default() };
        object.metadata.creation_timestamp = "2026-11-21T12:00:00Z".into();
        let check = |object: &FluxObject, after: i64, expected: Option<&str>| {
            let found = silent(&Graph::default(), object, made + after).map(|cause| cause.reason);
            assert_eq!(found.as_deref(), expected, "{after}");
        };
        check(&object, 59, None);
        check(&object, 60, Some("nothing was heard of it for 60 s"));
        object.status.conditions.push(Condition {
            kind: "Ready".into(),
            status: "Unknown".into(),
            ..Condition::default()
        });
        check(&object, 600, None);
    }

    #[test]
    fn a_token_is_a_time_with_its_fractions() {
        let wall = SystemTime::UNIX_EPOCH + std::time::Duration::new(1_795_262_400, 123_456_789);
        assert_eq!(timestamp(wall).to_string(), "2026-11-21T12:00:00.123456789Z");
    }
}
