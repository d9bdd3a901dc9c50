//! Planting: which objects of a part stand, and applying those that do not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use castle_core::{Context, Result};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use serde_json::Value;

use crate::handover::Error;
use crate::kubernetes::follow::{Followed, Follower};
use crate::kubernetes::object::{Hand, Kind};
use crate::kubernetes::{self, Cause};
use crate::look::{Asker, Looks};
use crate::manifest::{Object, text};
use crate::ownership;
use crate::readiness;
use crate::seed::Planned;

/// How many objects are applied at a time.
const AT_ONCE: usize = 8;
/// How long definitions may take to be established (Flux' own command waits as long).
const ESTABLISHED: Duration = Duration::from_secs(60);
/// Between two attempts at an object whose kind is established and not served yet:
/// the server's own list of kinds may lag a second.
const LAG: Duration = Duration::from_millis(500);
/// How often that is tried.
const LAGS: usize = 20;

/// How an object of the seed stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is as castle would apply it.
    Equal,
    /// Somebody else owns it, who brings it to what it shall be.
    Held(String),
    Missing,
    /// The first field that is otherwise.
    Differs(String),
}

impl Standing {
    pub(crate) fn stands(&self) -> bool {
        matches!(self, Self::Equal | Self::Held(_))
    }
}

/// What castle has applied and the server keeps in a form of its own, with the
/// version that the server gave it.
#[derive(Debug, Default)]
pub(crate) struct Settled(Mutex<BTreeMap<String, String>>);

impl Settled {
    fn keep(&self, object: &Object, live: &Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(object.to_string(), version(live));
    }

    fn has(&self, object: &Object, live: &Value) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&object.to_string()) == Some(&version(live))
    }
}

/// What changes when the object's wish does.
fn version(live: &Value) -> String {
    match live["metadata"]["generation"].as_i64() {
        Some(generation) => format!("{} {generation}", text(live, "/metadata/uid")),
        None => text(live, "/metadata/resourceVersion").to_owned(),
    }
}

/// How the objects of a part stand, in their order. Each kind is listed once;
/// Secrets are asked for singly, for a list would bring everybody's.
pub(crate) async fn standings<'a>(
    looks: &Looks,
    settled: &Settled,
    planned: &'a [Planned],
    asker: Asker,
) -> Result<Vec<(&'a Planned, Standing)>, kubernetes::Error> {
    let kinds: BTreeSet<&Kind> =
        planned.iter().map(|planned| &planned.object.kind).filter(|kind| **kind != Kind::SECRET).collect();
    // Boxed: the compiler does not see that a closure's future lives long enough.
    let lists: Vec<_> =
        kinds.into_iter().map(|kind| async move { Ok((kind, looks.all(kind, asker).await?)) }.boxed()).collect();
    let lists: BTreeMap<_, _> = stream::iter(lists).buffered(AT_ONCE).try_collect().await?;
    let mut all = Vec::with_capacity(planned.len());
    for planned in planned {
        let object = &planned.object;
        let found = match lists.get(&object.kind) {
            Some(objects) => {
                let is_it = |live: &&Value| {
                    text(live, "/metadata/name") == object.name()
                        && (!object.kind.namespaced || text(live, "/metadata/namespace") == object.namespace())
                };
                objects.iter().find(is_it).cloned()
            }
            None => looks.api.get(&object.kind, object.namespace(), object.name()).await?,
        };
        all.push((planned, standing(planned, found.as_ref(), settled)));
    }
    Ok(all)
}

fn standing(planned: &Planned, live: Option<&Value>, settled: &Settled) -> Standing {
    let Some(live) = live else { return Standing::Missing };
    if let Some(holder) = ownership::holder(live) {
        return Standing::Held(holder);
    }
    match ownership::equals(live, &planned.object.value, planned.manager) {
        Ok(()) => Standing::Equal,
        Err(_) if settled.has(&planned.object, live) => Standing::Equal,
        Err(field) => Standing::Differs(field),
    }
}

/// Applies what does not stand: namespaces and definitions first, the rest once
/// they are established.
pub(crate) async fn plant(cx: &Context, looks: &Arc<Looks>, settled: &Settled, planned: &[Planned]) -> Result<()> {
    // What was seen before this act began may be over.
    looks.changed(None);
    let standings = standings(looks, settled, planned, "plant").await?;
    let to_do: Vec<&Planned> =
        standings.into_iter().filter(|(_, standing)| !standing.stands()).map(|(planned, _)| planned).collect();
    let (ground, rest): (Vec<_>, Vec<_>) = to_do.into_iter().partition(|planned| planned.object.is_ground());
    let applied = apply_all(cx, looks, settled, &ground).await;
    looks.changed(None);
    applied?;
    let definitions: Vec<&str> =
        planned.iter().filter(|planned| planned.object.is_definition()).map(|planned| planned.object.name()).collect();
    if !definitions.is_empty() && !rest.is_empty() {
        established(cx, looks, &definitions).await?;
    }
    // In the order of the stages: those of one stage do not need each other.
    let mut rest = rest.as_slice();
    while let Some(first) = rest.first() {
        let stage = first.object.stage();
        let same = rest.iter().take_while(|planned| planned.object.stage() == stage).count();
        let (now, later) = rest.split_at(same);
        let applied = apply_all(cx, looks, settled, now).await;
        looks.changed(None);
        applied?;
        rest = later;
    }
    Ok(())
}

async fn apply_all(cx: &Context, looks: &Looks, settled: &Settled, planned: &[&Planned]) -> Result<()> {
    // Boxed: the compiler does not see that a closure's future lives long enough.
    let applies: Vec<_> = planned.iter().map(|planned| apply(cx, looks, settled, planned).boxed()).collect();
    stream::iter(applies).buffered(AT_ONCE).try_collect::<Vec<()>>().await.map(drop)
}

async fn apply(cx: &Context, looks: &Looks, settled: &Settled, planned: &Planned) -> Result<()> {
    let object = &planned.object;
    let mut hand = Hand { manager: planned.manager, force: false };
    let mut lags = 0;
    loop {
        cx.check()?;
        match looks.api.apply(&object.kind, &object.value, hand).await {
            Ok(live) => {
                settled.keep(object, &live);
                return Ok(());
            }
            Err(error) if error.is_not_found() && lags < LAGS && !object.is_ground() => {
                // Its definition or its namespace was made a moment ago.
                cx.waiting(format!("{object} is not served yet"));
                lags += 1;
                cx.clock().sleep(LAG).await;
            }
            Err(error) => match error.conflicts().map(verdict) {
                Some(Conflict::Own) if !hand.force => hand.force = true,
                Some(Conflict::Engine(holder)) => {
                    cx.notice(format!("{object} is left to {holder}"));
                    return Ok(());
                }
                Some(Conflict::Other(holder, fields)) => {
                    return Err(Error::Held { object: object.to_string(), fields, holder }.into());
                }
                Some(Conflict::Own) | None => {
                    return Err(Error::NotPlanted { object: object.to_string(), source: Box::new(error) }.into());
                }
            },
        }
    }
}

/// Whose fields stand in the way.
#[derive(Debug, PartialEq, Eq)]
enum Conflict {
    /// Castle's own, of another release.
    Own,
    /// The engine's: it owns the object.
    Engine(String),
    /// Somebody else's, with the fields.
    Other(String, String),
}

fn verdict(causes: &[Cause]) -> Conflict {
    let holder = |cause: &Cause| cause.said.split('"').nth(1).unwrap_or("somebody").to_owned();
    let holders: Vec<_> = causes.iter().map(holder).collect();
    if let Some(engine) = holders.iter().find(|holder| ownership::is_engine(holder)) {
        return Conflict::Engine(engine.clone());
    }
    match causes.iter().zip(&holders).find(|(_, holder)| !ownership::is_castle(holder)) {
        None => Conflict::Own,
        Some((_, other)) => {
            let fields = causes.iter().zip(&holders).filter(|(_, holder)| *holder == other);
            let fields: Vec<_> = fields.map(|(cause, _)| cause.field.as_str()).collect();
            Conflict::Other(other.clone(), fields.join(", "))
        }
    }
}

/// Waits until the definitions are established.
async fn established(cx: &Context, looks: &Arc<Looks>, names: &[&str]) -> Result<()> {
    let mut follower: Option<Follower> = None;
    let deadline = cx.clock().elapsed() + ESTABLISHED;
    loop {
        cx.check()?;
        let definitions = looks.all(&Kind::DEFINITION, "established").await?;
        let waiting = names.iter().find_map(|name| {
            let found = definitions.iter().find(|definition| text(definition, "/metadata/name") == *name);
            let health = found.map(readiness::health);
            match health {
                Some(health) if health.is_ready() => None,
                Some(castle_core::handover::Health::Waiting(why) | castle_core::handover::Health::Failed(why)) => {
                    Some((*name, why))
                }
                _ => Some((*name, "does not exist".to_owned())),
            }
        });
        let Some((definition, why)) = waiting else { return Ok(()) };
        cx.waiting(format!("{definition} {why}"));
        let left = deadline.saturating_sub(cx.clock().elapsed());
        let shared = Arc::clone(looks);
        let follower = follower.get_or_insert_with(|| {
            let listener = Arc::new(move |kind: Option<&Kind>| shared.changed(kind));
            Follower::new(looks.api.clone(), vec![Followed::of(Kind::DEFINITION)], listener)
        });
        if left.is_zero() || cx.clock().within(left, follower.next_wake()).await.is_none() {
            return Err(Error::NotEstablished { definition: definition.to_owned(), why }.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(field: &str, holder: &str) -> Cause {
        Cause {
            reason: "FieldManagerConflict".into(),
            field: field.into(),
            said: format!("conflict with \"{holder}\" using apps/v1"),
        }
    }

    #[test]
    fn castle_yields_to_the_engine_and_takes_from_itself_only() {
        assert_eq!(verdict(&[cause(".a", "castle"), cause(".b", "kubectl-castle")]), Conflict::Own);
        assert_eq!(
            verdict(&[cause(".a", "castle"), cause(".b", "kustomize-controller")]),
            Conflict::Engine("kustomize-controller".into())
        );
        assert_eq!(
            verdict(&[cause(".a", "kubectl"), cause(".b", "castle"), cause(".c", "kubectl")]),
            Conflict::Other("kubectl".into(), ".a, .c".into())
        );
    }
}
