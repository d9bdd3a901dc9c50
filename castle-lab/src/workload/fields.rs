//! Reading what controllers read in objects: owners, labels, selectors,
//! conditions.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// The text at a path of keys, empty if there is none.
pub(super) fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    path.iter().try_fold(object, |value, key| value.get(key)).and_then(Value::as_str).unwrap_or("")
}

pub(super) fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}

pub(super) fn namespace(object: &Value) -> &str {
    text(object, &["metadata", "namespace"])
}

pub(super) fn uid(object: &Value) -> &str {
    text(object, &["metadata", "uid"])
}

/// The number at a path of keys, or what stands for it where there is none.
pub(super) fn number(object: &Value, path: &[&str], default: u64) -> u64 {
    path.iter().try_fold(object, |value, key| value.get(key)).and_then(Value::as_u64).unwrap_or(default)
}

/// The list under a key, empty if there is none.
pub(super) fn list<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    let found = path.iter().try_fold(object, |value, key| value.get(key)).and_then(Value::as_array);
    found.map_or(&[], Vec::as_slice)
}

/// Whether its deletion was asked for.
pub(super) fn is_terminating(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null())
}

/// The owner that controls the object: its kind and its uid.
pub(super) fn controller(object: &Value) -> Option<(&str, &str)> {
    list(object, &["metadata", "ownerReferences"])
        .iter()
        .find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
        .map(|owner| (text(owner, &["kind"]), text(owner, &["uid"])))
}

/// What an owned object says of its controlling owner.
pub(super) fn owned_by(owner: &Value) -> Value {
    json!([{
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name(owner),
        "uid": uid(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    }])
}

/// Whether labels have all that a map wants. An empty map selects nothing, as a
/// service without selector does.
pub(super) fn has_labels(wanted: &Value, object: &Value) -> bool {
    let labels = object.pointer("/metadata/labels");
    wanted.as_object().is_some_and(|wanted| {
        !wanted.is_empty() && wanted.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    })
}

/// The status of a condition: `True`, `False`, `Unknown`, or empty.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    list(object, &["status", "conditions"])
        .iter()
        .find(|condition| text(condition, &["type"]) == kind)
        .map_or("", |condition| text(condition, &["status"]))
}

/// A condition that keeps the time of its last change while its status stays.
pub(super) fn follow_condition(
    before: &Value,
    kind: &str,
    status: &str,
    (reason, message): (&str, &str),
    now: &str,
) -> Value {
    let known = list(before, &["status", "conditions"]).iter().find(|condition| text(condition, &["type"]) == kind);
    let since = match known {
        Some(known) if text(known, &["status"]) == status => text(known, &["lastTransitionTime"]),
        _ => now,
    };
    let mut condition = Map::new();
    condition.insert("type".into(), json!(kind));
    condition.insert("status".into(), json!(status));
    condition.insert("lastTransitionTime".into(), json!(since));
    for (key, value) in [("reason", reason), ("message", message)] {
        if !value.is_empty() {
            condition.insert(key.into(), json!(value));
        }
    }
    Value::Object(condition)
}

/// Makes a write of the object one that does not ask what was written meanwhile.
pub(super) fn forget_version(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
}

/// A wall time as Kubernetes writes it: whole seconds of RFC 3339.
pub(super) fn timestamp(wall: Duration) -> String {
    let seconds = i64::try_from(wall.as_secs()).unwrap_or(i64::MAX);
    // Past the year 9999 there is no such text; nothing compares it.
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// A share of a whole: a number, or a percentage that is rounded up or down.
pub(super) fn share(value: Option<&Value>, default: &str, whole: u64, rounds_up: bool) -> u64 {
    let text = match value {
        Some(Value::Number(number)) => return number.as_u64().unwrap_or(0),
        Some(Value::String(text)) => text.as_str(),
        _ => default,
    };
    let percent: u64 = text.trim_end_matches('%').parse().unwrap_or(0);
    if rounds_up { (whole * percent).div_ceil(100) } else { whole * percent / 100 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_number_or_a_percentage() {
        let shares = [(json!(2), 2, 2), (json!("25%"), 1, 0), (json!("50%"), 2, 1), (json!(null), 1, 0)];
        for (value, up, down) in shares {
            assert_eq!(share(Some(&value), "25%", 3, true), up, "{value}");
            assert_eq!(share(Some(&value), "25%", 3, false), down, "{value}");
        }
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        let pod = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}});
        for (wanted, fits) in [(json!({"app": "web"}), true), (json!({"app": "db"}), false), (json!({}), false)] {
            assert_eq!(has_labels(&wanted, &pod), fits, "{wanted}");
        }
        assert!(!has_labels(&Value::Null, &pod));
    }

    #[test]
    fn a_condition_remembers_when_it_changed() {
        let before = json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "then"},
        ]}});
        let same = follow_condition(&before, "Ready", "True", ("", ""), "now");
        assert_eq!(same["lastTransitionTime"], "then");
        let other = follow_condition(&before, "Ready", "False", ("Why", ""), "now");
        assert_eq!((other["lastTransitionTime"].as_str(), other["reason"].as_str()), (Some("now"), Some("Why")));
    }
}
