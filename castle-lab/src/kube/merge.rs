//! Patches.

use serde_json::{Map, Value};

/// Applies a JSON merge patch (RFC 7386).
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    let fields = made_map(target);
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

/// Applies a strategic merge patch: as a merge patch, but lists whose elements
/// have an identity are merged by it, as the built-in types declare.
///
/// Of the directives, `$patch: delete` and `$patch: replace` are understood; the
/// ordering and primitive-list ones (`$setElementOrder`, `$retainKeys`) order or
/// prune, and are left out of the result.
pub(crate) fn strategic_merge(target: &mut Value, patch: &Value) {
    merge_fields(target, patch, "");
}

fn merge_fields(target: &mut Value, patch: &Value, field: &str) {
    match patch {
        Value::Object(changes) => {
            if changes.get("$patch").and_then(Value::as_str) == Some("replace") {
                let mut whole = changes.clone();
                whole.remove("$patch");
                *target = Value::Object(whole);
                return;
            }
            let fields = made_map(target);
            for (key, change) in changes {
                if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
                    delete_from(fields, list, change);
                } else if key.starts_with('$') {
                    continue;
                } else if change.is_null() {
                    fields.remove(key);
                } else {
                    merge_fields(fields.entry(key.clone()).or_insert(Value::Null), change, key);
                }
            }
        }
        Value::Array(changes) => match merge_key(field, changes) {
            Some(identity) => merge_list(target, changes, identity),
            None if field == "finalizers" => {
                let list = made_list(target);
                for change in changes.iter().filter(|change| !change.is_null()) {
                    if !list.contains(change) {
                        list.push(change.clone());
                    }
                }
            }
            None => *target = patch.clone(),
        },
        scalar => *target = scalar.clone(),
    }
}

/// The field that tells elements of a list apart (the `patchMergeKey` of the
/// core types); `None` for lists that are replaced whole.
fn merge_key(field: &str, changes: &[Value]) -> Option<&'static str> {
    let has = |key: &str| changes.iter().any(|change| change.get(key).is_some());
    match field {
        "conditions" | "addresses" | "hostAliases" if has("type") => Some("type"),
        "hostAliases" => Some("ip"),
        "ownerReferences" => Some("uid"),
        // A container's ports are told apart by their inner port, a service's by its own.
        "ports" if has("containerPort") => Some("containerPort"),
        "ports" if has("port") => Some("port"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "secrets" => Some("name"),
        "topologySpreadConstraints" => Some("topologyKey"),
        // Taints are atomic in a strategic patch of a node, like tolerations of a pod.
        _ => None,
    }
}

fn merge_list(target: &mut Value, changes: &[Value], identity: &str) {
    let list = made_list(target);
    let replaces = |change: &Value| change.get("$patch").and_then(Value::as_str) == Some("replace");
    if changes.iter().any(replaces) {
        *list = changes.iter().filter(|change| !replaces(change)).cloned().collect();
        return;
    }
    for change in changes {
        let wanted = change.get(identity);
        let place = list.iter().position(|element| wanted.is_some() && element.get(identity) == wanted);
        let is_deletion = change.get("$patch").and_then(Value::as_str) == Some("delete");
        match place {
            Some(place) if is_deletion => {
                list.remove(place);
            }
            Some(place) => merge_fields(&mut list[place], change, ""),
            None if is_deletion => {}
            None => {
                let mut fresh = Value::Object(Map::new());
                merge_fields(&mut fresh, change, "");
                list.push(fresh);
            }
        }
    }
}

fn delete_from(fields: &mut Map<String, Value>, list: &str, gone: &Value) {
    let (Some(Value::Array(elements)), Some(gone)) = (fields.get_mut(list), gone.as_array()) else { return };
    elements.retain(|element| !gone.contains(element));
}

/// Applies a JSON patch (RFC 6902).
///
/// # Errors
///
/// Which operation cannot be done, and why.
pub(crate) fn operate(target: &mut Value, operations: &Value) -> Result<(), String> {
    let operations = operations.as_array().ok_or("a JSON patch is a list of operations")?;
    for operation in operations {
        let text = |key: &str| operation.get(key).and_then(Value::as_str).unwrap_or("");
        let (name, path) = (text("op"), text("path"));
        let failed = |why: &str| format!("{name} operation on {path} failed: {why}");
        let value = || operation.get("value").cloned().ok_or_else(|| failed("it has no value"));
        let taken = |target: &Value, from: &str| target.pointer(from).cloned().ok_or_else(|| failed("missing path"));
        match name {
            "add" => place(target, path, value()?).map_err(failed)?,
            "remove" => drop(take(target, path).map_err(failed)?),
            "replace" => *target.pointer_mut(path).ok_or_else(|| failed("missing path"))? = value()?,
            "test" if taken(target, path)? == value()? => {}
            "test" => return Err(failed("the value is another")),
            "copy" => {
                let copied = taken(target, text("from"))?;
                place(target, path, copied).map_err(failed)?;
            }
            "move" => {
                let moved = take(target, text("from")).map_err(failed)?;
                place(target, path, moved).map_err(failed)?;
            }
            _ => return Err(failed("there is no such operation")),
        }
    }
    Ok(())
}

/// The parent of a place and the last step to it.
fn parent<'a>(target: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), &'static str> {
    let (up, last) = path.rsplit_once('/').ok_or("the path does not begin with a slash")?;
    let parent = target.pointer_mut(up).ok_or("missing path")?;
    Ok((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn place(target: &mut Value, path: &str, value: Value) -> Result<(), &'static str> {
    if path.is_empty() {
        *target = value;
        return Ok(());
    }
    match parent(target, path)? {
        (Value::Object(fields), key) => drop(fields.insert(key, value)),
        (Value::Array(list), key) if key == "-" => list.push(value),
        (Value::Array(list), key) => match key.parse::<usize>() {
            Ok(index) if index <= list.len() => list.insert(index, value),
            _ => return Err("the index is out of bounds"),
        },
        _ => return Err("its parent holds nothing"),
    }
    Ok(())
}

fn take(target: &mut Value, path: &str) -> Result<Value, &'static str> {
    match parent(target, path)? {
        (Value::Object(fields), key) => fields.remove(&key).ok_or("missing path"),
        (Value::Array(list), key) => match key.parse::<usize>() {
            Ok(index) if index < list.len() => Ok(list.remove(index)),
            _ => Err("the index is out of bounds"),
        },
        _ => Err("its parent holds nothing"),
    }
}

fn made_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was made a map a line ago")
}

fn made_list(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut().expect("it was made a list a line ago")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(apply: fn(&mut Value, &Value), target: Value, patch: Value, expected: Value) {
        let mut target = target;
        apply(&mut target, &patch);
        assert_eq!(target, expected, "{patch}");
    }

    #[test]
    fn a_merge_patch_replaces_lists_and_removes_nulls() {
        check(
            merge,
            json!({"a": 1, "b": {"c": [1, 2], "d": 1}}),
            json!({"a": null, "b": {"c": [3]}}),
            json!({"b": {"c": [3], "d": 1}}),
        );
    }

    #[test]
    fn a_strategic_patch_merges_conditions_by_type() {
        check(
            strategic_merge,
            json!({"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "x"}, {"type": "Other"}]}}),
            json!({"status": {"$setElementOrder/conditions": [], "conditions": [{"type": "Ready", "status": "True"}]}}),
            json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "x"}, {"type": "Other"}]}}),
        );
    }

    #[test]
    fn a_strategic_patch_deletes_by_identity() {
        check(
            strategic_merge,
            json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "tolerations": [{"key": "x"}]}}),
            json!({"spec": {"containers": [{"$patch": "delete", "name": "a"}], "tolerations": [{"key": "y"}]}}),
            json!({"spec": {"containers": [{"name": "b"}], "tolerations": [{"key": "y"}]}}),
        );
    }

    #[test]
    fn operations_are_done_in_their_order() {
        let mut target = json!({"a": {"b/c": 1}, "list": [1, 3]});
        let operations = json!([
            {"op": "test", "path": "/a/b~1c", "value": 1},
            {"op": "add", "path": "/list/1", "value": 2},
            {"op": "add", "path": "/list/-", "value": 4},
            {"op": "move", "from": "/a/b~1c", "path": "/d"},
            {"op": "copy", "from": "/d", "path": "/a/e"},
            {"op": "replace", "path": "/d", "value": 5},
            {"op": "remove", "path": "/list/0"},
        ]);
        operate(&mut target, &operations).expect("all can be done");
        assert_eq!(target, json!({"a": {"e": 1}, "d": 5, "list": [2, 3, 4]}));
        for (operation, why) in [
            (json!({"op": "test", "path": "/d", "value": 6}), "test operation on /d failed: the value is another"),
            (json!({"op": "remove", "path": "/x"}), "remove operation on /x failed: missing path"),
            (
                json!({"op": "add", "path": "/list/9", "value": 1}),
                "add operation on /list/9 failed: the index is out of bounds",
            ),
            (json!({"op": "guess", "path": "/d"}), "guess operation on /d failed: there is no such operation"),
        ] {
            assert_eq!(operate(&mut target, &json!([operation])).expect_err("it cannot be done"), why);
        }
    }

    #[test]
    fn finalizers_are_a_set() {
        check(
            strategic_merge,
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c", "b"]}}),
            json!({"metadata": {"finalizers": ["b", "c"]}}),
        );
    }
}
