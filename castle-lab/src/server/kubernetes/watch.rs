//! Watches: what has happened to a selection, as a stream of JSON lines.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::document;
use super::query::{Form, Query};
use super::route::Target;
use crate::front::{Feed, Helping, Reply};
use crate::kube::{Change, ChangeKind, Kind, Refusal, Selection, Store};
use crate::world::World;

/// A watch without a limit of its own ends after this; a real server draws
/// between half an hour and an hour.
const LIFE: Duration = Duration::from_secs(30 * 60);
/// The period of bookmarks (apiserver, cacher).
const BOOKMARK: Duration = Duration::from_secs(60);

/// One open watch.
struct Watch {
    target: Target,
    kind: Kind,
    selection: Selection,
    form: Form,
    query: Query,
    /// Everything up to this resource version was told.
    told: u64,
    /// Whether the present state is still to be told, and whether its end is
    /// marked.
    beginning: Option<Beginning>,
    /// When the next bookmark may be sent.
    bookmark_at: Option<Duration>,
    ends_at: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Beginning {
    Told,
    Marked,
}

/// Opens a watch at `now` of the lab's time.
pub(super) fn open(
    store: &Store,
    query: &Query,
    form: Form,
    target: &Target,
    selection: Selection,
    now: Duration,
) -> Result<Reply, Refusal> {
    let version = query.text("resourceVersion");
    let told = match version {
        "" => 0,
        text => text.parse().map_err(|_| {
            Refusal::bad_request(format!(
                "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: invalid syntax"
            ))
        })?,
    };
    let wants_beginning = query.is_set("sendInitialEvents");
    let has_bookmarks = query.is_set("allowWatchBookmarks");
    if wants_beginning && (!has_bookmarks || query.text("resourceVersionMatch") != "NotOlderThan") {
        let kind = store.kind(&target.resource)?;
        let why = "Forbidden: sendInitialEvents requires resourceVersionMatch=NotOlderThan and bookmarks".to_owned();
        return Err(Refusal::invalid(kind, "", &[("sendInitialEvents", "FieldValueForbidden", why)]));
    }
    let beginning = match (wants_beginning, told) {
        (true, _) => Some(Beginning::Marked),
        // Without a version, or with `0`, a watch begins with what is there, unless that is refused by name.
        (false, 0) if !query.has("sendInitialEvents") => Some(Beginning::Told),
        _ => None,
    };
    let life = query.number("timeoutSeconds")?.map_or(LIFE, Duration::from_secs);
    let mut watch = Watch {
        target: target.clone(),
        kind: store.kind(&target.resource)?.clone(),
        selection,
        form,
        query: query.clone(),
        told: if told == 0 { store.revision() } else { told },
        beginning,
        bookmark_at: has_bookmarks.then_some(now + BOOKMARK),
        ends_at: now + life,
    };
    Ok(Reply::new(200, "")
        .header("content-type", "application/json")
        .header("cache-control", "no-cache, private")
        .followed_by(Feed::new(move |world| watch.next(world))))
}

impl Watch {
    fn next(&mut self, world: &World) -> Helping {
        let (store, now) = (&world.kubernetes, world.now());
        let mut lines = String::new();
        // Another etcd counts anew; a client of the old one has to begin again.
        if !store.is_serving() || store.revision() < self.told {
            return Helping { bytes: Bytes::new(), is_last: true, again_at: None };
        }
        if let Some(beginning) = self.beginning.take() {
            self.tell_beginning(store, beginning, &mut lines);
        }
        match store.changes_after(self.told) {
            Ok(changes) => {
                for change in changes.filter(|change| change.resource == self.target.resource) {
                    self.tell(store, change, &mut lines);
                }
            }
            Err(refusal) => {
                push(&mut lines, "ERROR", refusal.to_status());
                return Helping { bytes: lines.into(), is_last: true, again_at: None };
            }
        }
        let is_over = now >= self.ends_at;
        let seen = store.revision();
        let bookmark_is_due = self.bookmark_at.is_some_and(|at| now >= at || is_over);
        if bookmark_is_due && seen > self.told {
            self.tell_bookmark(seen, false, &mut lines);
        }
        if bookmark_is_due {
            self.bookmark_at = Some(now + BOOKMARK);
        }
        if !lines.is_empty() {
            self.told = seen;
        }
        // An idle cluster gets no bookmarks, so that its watchers leave no timer behind.
        let again_at = match self.bookmark_at {
            Some(at) if seen > self.told => at.min(self.ends_at),
            _ => self.ends_at,
        };
        Helping { bytes: lines.into(), is_last: is_over, again_at: Some(again_at) }
    }

    fn tell_beginning(&mut self, store: &Store, beginning: Beginning, lines: &mut String) {
        for object in store.list(&self.target.resource, &self.selection) {
            push(lines, "ADDED", self.shown(store, object));
        }
        self.told = store.revision();
        if beginning == Beginning::Marked {
            self.tell_bookmark(self.told, true, lines);
        }
    }

    /// What a change means for those who see only the selection.
    fn tell(&self, store: &Store, change: &Change, lines: &mut String) {
        let was_in = change.before.as_ref().is_some_and(|before| self.selection.matches(before));
        let is_in = change.kind != ChangeKind::Deleted && self.selection.matches(&change.object);
        match (was_in, is_in, &change.before) {
            (false, true, _) => push(lines, "ADDED", self.shown(store, &change.object)),
            (true, true, _) => push(lines, "MODIFIED", self.shown(store, &change.object)),
            (true, false, Some(before)) => {
                // Who sees only the selection sees the object as it last was in it.
                let mut last = Value::clone(before);
                last["metadata"]["resourceVersion"] = json!(change.revision.to_string());
                push(lines, "DELETED", self.shown(store, &Arc::new(last)));
            }
            _ => {}
        }
    }

    fn tell_bookmark(&self, revision: u64, ends_beginning: bool, lines: &mut String) {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if ends_beginning {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let api_version = self.kind.api_version(&self.target.version);
        push(lines, "BOOKMARK", json!({"kind": self.kind.kind, "apiVersion": api_version, "metadata": metadata}));
    }

    fn shown(&self, store: &Store, object: &Arc<Value>) -> Value {
        document::one(&self.kind, &self.target.version, object, self.form, &self.query, store.wall())
    }
}

fn push(lines: &mut String, kind: &str, object: Value) {
    lines.push_str(&json!({"type": kind, "object": object}).to_string());
    lines.push('\n');
}
