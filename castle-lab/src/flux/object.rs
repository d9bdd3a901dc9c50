//! Reading objects: names, ids as an inventory writes them, conditions.

use serde_json::{Value, json};

/// The text at a path of keys, empty if there is none.
pub(crate) fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    path.iter().try_fold(object, |value, key| value.get(key)).and_then(Value::as_str).unwrap_or("")
}

/// The name.
pub(crate) fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}

/// The namespace, empty if there is none.
pub(crate) fn namespace(object: &Value) -> &str {
    text(object, &["metadata", "namespace"])
}

/// The kind.
pub(crate) fn kind(object: &Value) -> &str {
    text(object, &["kind"])
}

/// The API group, empty for the core group.
pub(crate) fn group(object: &Value) -> &str {
    text(object, &["apiVersion"]).rsplit_once('/').map_or("", |(group, _)| group)
}

/// The API version without its group.
pub(crate) fn version(object: &Value) -> &str {
    let text = text(object, &["apiVersion"]);
    text.rsplit_once('/').map_or(text, |(_, version)| version)
}

/// The generation.
pub(crate) fn generation(object: &Value) -> i64 {
    object["metadata"]["generation"].as_i64().unwrap_or(0)
}

/// As Flux names it in messages: `Deployment/blog/blog`, `Namespace/blog`.
pub(crate) fn subject(object: &Value) -> String {
    match namespace(object) {
        "" => format!("{}/{}", kind(object), name(object)),
        namespace => format!("{}/{namespace}/{}", kind(object), name(object)),
    }
}

/// As an inventory writes it: `blog_blog_apps_Deployment`. A colon, which the names
/// of roles may have, is written `__`.
pub(crate) fn id(object: &Value) -> String {
    let name = name(object).replace(':', "__");
    format!("{}_{name}_{}_{}", namespace(object), group(object), kind(object))
}

/// A condition of the status.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object.pointer("/status/conditions")?.as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Whether a condition of the status is `True`.
pub(crate) fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

/// Sets a condition of a status. The time of its transition moves only with its
/// status.
pub(crate) fn set_condition(
    status: &mut Value,
    now: &str,
    generation: i64,
    (kind, state, reason, message): (&str, &str, &str, &str),
) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    let mut fresh = json!({
        "type": kind,
        "status": state,
        "reason": reason,
        "message": message,
        "lastTransitionTime": now,
        "observedGeneration": generation,
    });
    match conditions.iter_mut().find(|condition| condition["type"] == kind) {
        Some(condition) => {
            if condition["status"] == state {
                fresh["lastTransitionTime"] = condition["lastTransitionTime"].clone();
            }
            *condition = fresh;
        }
        None => conditions.push(fresh),
    }
}

/// Takes a condition away.
pub(crate) fn remove_condition(status: &mut Value, kind: &str) {
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.retain(|condition| condition["type"] != kind);
    }
}

/// A duration as Go writes it: `1m0s`, `750ms`, `1h`.
pub(crate) fn duration(text: &str) -> Option<std::time::Duration> {
    // A field that is not there is no time of nothing.
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut sum = std::time::Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum += std::time::Duration::try_from_secs_f64(number * unit).ok()?;
        rest = &rest[letters..];
    }
    Some(sum)
}

/// A duration in Go's words, as messages have it.
pub(crate) fn in_words(duration: std::time::Duration) -> String {
    let (hours, minutes) = (duration.as_secs() / 3600, duration.as_secs() / 60 % 60);
    let seconds = duration.as_secs() % 60;
    match (hours, minutes) {
        (0, 0) => format!("{}s", (duration.as_secs_f64() * 1e3).round() / 1e3),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let read: Vec<_> = ["1m0s", "10m", "1h", "750ms", "1.5s", "2h3m4s"].into_iter().map(duration).collect();
        let millis =
            [60_000, 600_000, 3_600_000, 750, 1_500, 7_384_000].map(|millis| Some(Duration::from_millis(millis)));
        assert_eq!(read, millis);
        assert_eq!([duration(""), duration("10"), duration("m"), duration("5d")], [None; 4]);
    }

    #[test]
    fn an_inventory_names_objects_as_flux_does() {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "metallb-system:speaker"}});
        assert_eq!(id(&role), "_metallb-system__speaker_rbac.authorization.k8s.io_ClusterRole");
        let service =
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "podinfo", "namespace": "default"}});
        assert_eq!(id(&service), "default_podinfo__Service");
    }
}
