//! Talos' strategic merge: a partial configuration laid over a complete one.
//!
//! | what | how |
//! |---|---|
//! | text, number | replaced, unless the patch's is empty or zero |
//! | boolean, bytes | replaced, `false` too |
//! | struct, map | field by field, key by key |
//! | list | the patch's items are added at the end |
//! | list with a key | an item with the same key is merged |
//! | `replace` | the patch's value stands alone |

use super::decode::Refusal;
use super::emit;
use super::schema::{Field, Type, schema};
use super::tree::{Data, Entry, Node, integer};

/// Merges `right` into `left`. Both are typed.
pub(crate) fn merge(left: &mut Node, right: &Node, kind: &Type) -> Result<(), Refusal> {
    if left.is_null() {
        *left = right.clone();
        return Ok(());
    }
    match (kind, &mut left.data, &right.data) {
        (Type::Url, Data::Scalar(old), Data::Scalar(new)) => {
            let merged = url(old.text.expose(), new.text.expose());
            old.text = merged.into();
        }
        (Type::Struct(name), Data::Map(_), Data::Map(entries)) => {
            let target = schema().of(name);
            for entry in entries {
                if let Some(field) = target.field(&entry.key) {
                    merge_field(left, field, &entry.value)?;
                }
            }
        }
        (Type::Map(inner), Data::Map(old), Data::Map(new)) => {
            for entry in new {
                match old.iter_mut().find(|other| other.key == entry.key) {
                    Some(other) => merge(&mut other.value, &entry.value, inner)?,
                    None => old.push(entry.clone()),
                }
            }
            old.sort_by(|a, b| a.key.cmp(&b.key));
        }
        (Type::List(_) | Type::Args, Data::List(old), Data::List(new)) => old.extend(new.iter().cloned()),
        (Type::Any, _, _) => free(left, right)?,
        (_, data, _) if !is_zero(right, kind) => *data = right.data.clone(),
        _ => {}
    }
    Ok(())
}

fn merge_field(left: &mut Node, field: &Field, right: &Node) -> Result<(), Refusal> {
    let Data::Map(entries) = &mut left.data else { return Ok(()) };
    let Some(entry) = entries.iter_mut().find(|entry| entry.key == field.name) else {
        entries.push(Entry::new(field.name, right.clone()));
        return Ok(());
    };
    if field.replace {
        if !right.entries().is_empty() || matches!(right.data, Data::List(_)) {
            entry.value = right.clone();
        }
        return Ok(());
    }
    let (Type::List(inner), false) = (&field.kind, field.keys.is_empty()) else {
        return merge(&mut entry.value, right, &field.kind);
    };
    if entry.value.is_null() {
        entry.value = Node::list(Vec::new());
    }
    let Data::List(items) = &mut entry.value.data else { return Ok(()) };
    for item in right.items() {
        match items.iter_mut().find(|other| is_same_item(other, item, &field.keys)) {
            Some(other) => merge(other, item, inner)?,
            None => items.push(item.clone()),
        }
    }
    Ok(())
}

/// Whether two items of a keyed list are one: by the first key that the patch's
/// item has.
fn is_same_item(left: &Node, right: &Node, keys: &[&str]) -> bool {
    let present = |key: &&&str| right.get(key).is_some_and(|value| !value.as_text().is_some_and(str::is_empty));
    let Some(key) = keys.iter().find(present) else { return false };
    match (left.get(key), right.get(key)) {
        (Some(a), Some(b)) => match (a.as_text(), b.as_text()) {
            (Some(a), Some(b)) => a == b,
            _ => emit::document(a) == emit::document(b),
        },
        _ => false,
    }
}

/// Free YAML: maps by key, lists at the end, and nothing changes its kind.
fn free(left: &mut Node, right: &Node) -> Result<(), Refusal> {
    let mismatch = || {
        let line = right.line;
        Refusal::open(format!("merge type mismatch: the value at line {line} of the patch is of another kind"))
    };
    match (&mut left.data, &right.data) {
        (Data::Map(old), Data::Map(new)) => {
            for entry in new {
                match old.iter_mut().find(|other| other.key == entry.key) {
                    Some(other) if other.value.is_null() => other.value = entry.value.clone(),
                    Some(other) => free(&mut other.value, &entry.value)?,
                    None => old.push(entry.clone()),
                }
            }
            old.sort_by(|a, b| a.key.cmp(&b.key));
            Ok(())
        }
        (Data::List(old), Data::List(new)) => {
            old.extend(new.iter().cloned());
            Ok(())
        }
        (Data::Scalar(old), Data::Scalar(new)) if old.tag() == new.tag() => {
            if new.text.expose() == "false" || !is_zero(right, &Type::Any) {
                *old = new.clone();
            }
            Ok(())
        }
        _ if right.is_null() => Ok(()),
        _ => Err(mismatch()),
    }
}

fn is_zero(node: &Node, kind: &Type) -> bool {
    match (kind, node.scalar()) {
        (Type::Bool | Type::Base64, _) | (_, None) => false,
        (_, Some(scalar)) if scalar.plain => integer(scalar.text.expose()) == Some(0),
        (_, Some(scalar)) => scalar.text.expose().is_empty(),
    }
}

/// An endpoint is merged part by part: a path of the old one stays if the new
/// one has none.
fn url(left: &str, right: &str) -> String {
    let split = |text: &str| -> (String, String, String) {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), text),
        };
        let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        (scheme, rest[..at].to_owned(), rest[at..].to_owned())
    };
    let (old, new) = (split(left), split(right));
    let either = |new: String, old: String| if new.is_empty() { old } else { new };
    format!("{}{}{}", either(new.0, old.0), either(new.1, old.1), either(new.2, old.2))
}
