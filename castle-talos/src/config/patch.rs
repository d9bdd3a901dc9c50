//! Patches: partial configurations, and `$patch: delete` in them.

use super::decode::{self, Id, Refusal};
use super::merge::merge;
use super::schema::{Type, V1ALPHA1, schema};
use super::tree::{self, Data, Entry, Node};
use super::{Config, Document, Version};

/// What Talos says to a list of JSON Patch operations; castle's configurations
/// always have more than one document.
const JSON_PATCH: &str = "JSON6902 patches are not supported for multi-document machine configuration";

/// What one document of a patch does, in this order.
pub(crate) struct Operation {
    deletes: Vec<Delete>,
    merges: Option<Document>,
}

/// A place that a patch empties.
struct Delete {
    kind: String,
    api_version: String,
    name: String,
    path: Vec<String>,
    /// The item of a list: its first key and that key's text.
    item: Option<(String, String)>,
}

/// Reads a patch.
pub(crate) fn parse(text: &str, version: Version) -> Result<Vec<Operation>, Refusal> {
    let mut operations = Vec::new();
    for mut root in tree::parse(text).map_err(decode::broken)? {
        if root.is_null() {
            continue;
        }
        if matches!(root.data, Data::List(_)) {
            return Err(Refusal::open(JSON_PATCH));
        }
        let line = root.line;
        let id = Id::of(&root)?;
        let mut found = Vec::new();
        let place =
            |says: String| Refusal::open(format!("error processing patch delete statements at line {line}: {says}"));
        let whole = extract(&mut root, false, &mut Vec::new(), &mut found).map_err(place)?;
        let deletes = found.into_iter().map(|(path, item)| Delete::of(&root, &id, path, item));
        let deletes = deletes.collect::<Result<Vec<_>, _>>().map_err(place)?;
        // What is left of a document that only deletes is its identity.
        let names = ["version", "apiVersion", "kind", "name"];
        let is_rest = root.entries().iter().all(|entry| names.contains(&entry.key.as_str()));
        let merges =
            if whole || (is_rest && !deletes.is_empty()) { None } else { Some(decode::document(&root, &id, version)?) };
        operations.push(Operation { deletes, merges });
    }
    if operations.is_empty() {
        return Err(Refusal::open("config not found"));
    }
    Ok(operations)
}

type Found = (Vec<String>, Option<(String, String)>);

/// Takes the deletions out of a tree. `true`: the node itself is to go.
fn extract(node: &mut Node, in_list: bool, path: &mut Vec<String>, found: &mut Vec<Found>) -> Result<bool, String> {
    match &mut node.data {
        Data::Map(entries) => {
            if entries.iter().any(is_delete) {
                let other = entries.iter().find(|entry| !is_delete(entry));
                let item = match (in_list, other) {
                    (false, _) if path.iter().any(|key| key.starts_with('[')) => {
                        return Err(format!("cannot delete an inner key in '{}'", path.join(".")));
                    }
                    (false, _) => None,
                    (true, None) => {
                        return Err(format!("no key:val found in sequence node for path {}", path.join(".")));
                    }
                    (true, Some(other)) => {
                        let text = other.value.scalar().map(|scalar| scalar.text.expose().clone());
                        Some((other.key.clone(), text.unwrap_or_default()))
                    }
                };
                found.push((path.clone(), item));
                return Ok(true);
            }
            let mut at = 0;
            while at < entries.len() {
                path.push(entries[at].key.clone());
                let gone = extract(&mut entries[at].value, false, path, found)?;
                path.pop();
                if gone {
                    entries.remove(at);
                    if entries.is_empty() {
                        return Ok(true);
                    }
                } else {
                    at += 1;
                }
            }
        }
        Data::List(items) => {
            let (mut at, mut index) = (0, 0);
            while at < items.len() {
                path.push(format!("[{index}]"));
                let gone = extract(&mut items[at], true, path, found)?;
                path.pop();
                index += 1;
                if gone {
                    items.remove(at);
                    if items.is_empty() {
                        return Ok(true);
                    }
                } else {
                    at += 1;
                }
            }
        }
        Data::Scalar(_) => {}
    }
    Ok(false)
}

fn is_delete(entry: &Entry) -> bool {
    entry.key == "$patch" && entry.value.as_text() == Some("delete")
}

impl Delete {
    fn of(root: &Node, id: &Id, path: Vec<String>, item: Option<(String, String)>) -> Result<Self, String> {
        let has_kind = root.get("kind").is_some();
        for (key, missing) in [("apiVersion", id.api_version.is_empty()), ("kind", !has_kind)] {
            if path.is_empty() && missing {
                return Err(format!("missing {key} in document for which $patch: delete is used"));
            }
        }
        if has_kind == id.api_version.is_empty() {
            return Err(format!("kind and apiVersion must be both set for path {}", path.join(".")));
        }
        let (kind, api_version, name) = (id.kind.clone(), id.api_version.clone(), id.name.clone());
        Ok(Self { kind, api_version, name, path, item })
    }

    fn is_about(&self, document: &Document) -> bool {
        let legacy = self.api_version.is_empty();
        document.kind == self.kind && (document.kind == V1ALPHA1) == legacy && document.name == self.name
    }

    /// Talos' words: the path stands in them, never a value.
    fn failed(&self, why: &str) -> Refusal {
        let path = self.path.join(".");
        let document = format!("{}/{}", self.api_version, self.kind);
        Refusal::open(if self.name.is_empty() {
            format!("patch delete: path '{path}' in document '{document}': failed to delete path '{path}': {why}")
        } else {
            format!("named patch delete: document {document}: failed to delete path '{path}': {why}")
        })
    }
}

const LOOKUP_FAILED: &str = "lookup failed";

fn delete_at(
    node: &mut Node,
    kind: &Type,
    path: &[String],
    item: Option<&(String, String)>,
) -> Result<(), &'static str> {
    let Some((key, rest)) = path.split_first() else { return Err("path is empty") };
    match (kind, &mut node.data) {
        (Type::List(_), Data::List(items)) => delete_item(items, key, rest, item),
        (_, Data::Map(entries)) => {
            let inner = match kind {
                Type::Struct(name) => schema().of(name).field(key).ok_or(LOOKUP_FAILED)?.kind.clone(),
                Type::Map(inner) => (**inner).clone(),
                _ => Type::Any,
            };
            let at = entries.iter().position(|entry| entry.key == *key && !entry.value.is_null());
            match (at, rest.is_empty(), kind) {
                (Some(at), true, _) => {
                    entries.remove(at);
                    Ok(())
                }
                (Some(at), false, _) => delete_at(&mut entries[at].value, &inner, rest, item),
                // A field that is known and empty is as empty as asked for; a key of a map is not there.
                (None, true, Type::Struct(_)) => Ok(()),
                (None, _, _) => Err(LOOKUP_FAILED),
            }
        }
        (Type::Any, Data::List(items)) => delete_item(items, key, rest, item),
        _ => Err(LOOKUP_FAILED),
    }
}

fn delete_item(
    items: &mut Vec<Node>,
    key: &str,
    rest: &[String],
    item: Option<&(String, String)>,
) -> Result<(), &'static str> {
    if !rest.is_empty() {
        return Err("searching for complex paths in slices is not supported");
    }
    if !key.starts_with('[') {
        return Err("searching for non-integer keys in slices is not supported");
    }
    let (key, text) = item.ok_or(LOOKUP_FAILED)?;
    let matches = |item: &Node| item.get(key).and_then(Node::as_text).unwrap_or_default() == text;
    let at = items.iter().position(matches).ok_or(LOOKUP_FAILED)?;
    items.remove(at);
    Ok(())
}

impl Config {
    /// Lays a patch over the configuration: a partial configuration of one or more
    /// documents, by Talos' rules of merging, with `$patch: delete`.
    ///
    /// # Errors
    ///
    /// A patch that Talos would refuse; it prints without any value.
    pub fn patched(&self, patch: &str) -> Result<Self, Refusal> {
        let mut patched = self.clone();
        for operation in parse(patch, self.version)? {
            for delete in operation.deletes {
                patched.delete(&delete)?;
            }
            let Some(document) = operation.merges else { continue };
            let is_same = |other: &&mut Document| other.kind == document.kind && other.name == document.name;
            match patched.documents.iter_mut().find(is_same) {
                Some(other) => merge(&mut other.root, &document.root, &document.target)?,
                None => patched.documents.push(document),
            }
        }
        Ok(patched)
    }

    fn delete(&mut self, delete: &Delete) -> Result<(), Refusal> {
        let Some(at) = self.documents.iter().position(|document| delete.is_about(document)) else {
            return Ok(()); // a document that is not there is deleted already
        };
        if delete.path.is_empty() {
            self.documents.remove(at);
            return Ok(());
        }
        let document = &mut self.documents[at];
        delete_at(&mut document.root, &document.target, &delete.path, delete.item.as_ref())
            .map_err(|why| delete.failed(why))
    }
}
