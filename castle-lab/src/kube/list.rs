//! Lists in pages.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

use super::history::History;
use super::kind::Resource;
use super::object;
use super::refusal::Refusal;
use super::selector::Selection;
use super::store::Place;

/// How a list is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// At most so many objects; 0 for all.
    pub limit: usize,
    /// The token of the page before.
    pub continue_token: Option<String>,
}

/// One page of a list.
#[derive(Clone)]
pub struct Listing {
    /// The objects, by namespace and name.
    pub items: Vec<Arc<Value>>,
    /// The resource version that the list shows; all pages show the same.
    pub revision: u64,
    /// Where the next page begins.
    pub continue_token: Option<String>,
    /// How many objects follow, where no selector was given.
    pub remaining: Option<u64>,
}

impl fmt::Debug for Listing {
    /// Without the objects, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing")
            .field("items", &self.items.len())
            .field("revision", &self.revision)
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

/// Where a list goes on: the revision it began at and the last place it gave.
fn token(revision: u64, (namespace, name): &Place) -> String {
    hex::encode(format!("{revision}/{namespace}/{name}"))
}

fn read_token(token: &str) -> Result<(u64, Place), Refusal> {
    let read = || {
        let text = String::from_utf8(hex::decode(token).ok()?).ok()?;
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        let (revision, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
        Some((revision.parse().ok()?, (namespace, name)))
    };
    read().ok_or_else(|| Refusal::bad_request("continue key is not valid: incorrect encoding"))
}

/// The objects of one namespace, or all of them.
pub(super) fn within<'a>(
    objects: Option<&'a BTreeMap<Place, Arc<Value>>>,
    namespace: Option<&str>,
) -> impl Iterator<Item = (&'a Place, &'a Arc<Value>)> + use<'a> {
    let first = Bound::Included((namespace.unwrap_or("").to_owned(), String::new()));
    // A name cannot hold the null letter, so this is the first place behind the namespace.
    let last = match namespace {
        Some(namespace) => Bound::Excluded((format!("{namespace}\0"), String::new())),
        None => Bound::Unbounded,
    };
    objects.into_iter().flat_map(move |objects| objects.range((first.clone(), last.clone())))
}

/// One page, of the present or of the revision that the first page showed.
pub(super) fn page(
    objects: Option<&BTreeMap<Place, Arc<Value>>>,
    history: &History,
    present: u64,
    resource: &Resource,
    selection: &Selection,
    options: &ListOptions,
) -> Result<Listing, Refusal> {
    let mut revision = present;
    let mut after = None;
    let past;
    let mut seen = objects;
    if let Some(token) = &options.continue_token {
        let mut snapshot = objects.cloned().unwrap_or_default();
        let (began, place) = read_token(token)?;
        if !history.reaches(began) {
            return Err(Refusal::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new \
                 list without the continue parameter.",
            ));
        }
        // Back to what the first page saw, by undoing what came after.
        for change in history.after(began).rev().filter(|change| change.resource == *resource) {
            let place = (object::namespace(&change.object).to_owned(), object::name(&change.object).to_owned());
            match &change.before {
                Some(before) => drop(snapshot.insert(place, Arc::clone(before))),
                None => drop(snapshot.remove(&place)),
            }
        }
        (revision, after) = (began, Some(place));
        past = snapshot;
        seen = Some(&past);
    }
    let mut page: Vec<_> = within(seen, selection.namespace.as_deref())
        .filter(|(place, object)| after.as_ref().is_none_or(|after| *place > after) && selection.matches(object))
        .collect();
    let rest = if options.limit == 0 { 0 } else { page.len().saturating_sub(options.limit) };
    page.truncate(page.len() - rest);
    let continue_token = page.last().filter(|_| rest > 0).map(|(place, _)| token(revision, place));
    // Kubernetes counts the rest only where no selector filters it.
    let is_whole = selection.labels == Default::default() && selection.fields == Default::default();
    Ok(Listing {
        items: page.into_iter().map(|(_, object)| Arc::clone(object)).collect(),
        revision,
        continue_token,
        remaining: (rest > 0 && is_whole).then_some(rest as u64),
    })
}
