//! Reading and writing the metadata of an object.

use std::time::Duration;

use serde_json::{Map, Value, json};

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

/// The resource version; 0 if it has none.
pub(crate) fn revision(object: &Value) -> u64 {
    text(object, &["metadata", "resourceVersion"]).parse().unwrap_or(0)
}

/// The metadata, made if missing or not a map.
pub(crate) fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let fields = object.as_object_mut().expect("it was made a map a line ago");
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    if !metadata.is_object() {
        *metadata = json!({});
    }
    metadata.as_object_mut().expect("it was made a map a line ago")
}

/// Sets a field of the metadata, or removes it.
pub(crate) fn set_metadata(object: &mut Value, key: &str, value: Option<Value>) {
    let metadata = metadata(object);
    match value {
        Some(value) => metadata.insert(key.to_owned(), value),
        None => metadata.remove(key),
    };
}

/// Whether a finalizer still holds it.
pub(crate) fn has_finalizers(object: &Value) -> bool {
    object.pointer("/metadata/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty())
}

/// Whether its deletion was asked for.
pub(crate) fn is_terminating(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null())
}

/// A wall time as Kubernetes writes it: whole seconds of RFC 3339.
pub(crate) fn timestamp(wall: Duration) -> String {
    let seconds = i64::try_from(wall.as_secs()).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_second(seconds) {
        Ok(stamp) => stamp.to_string(),
        // Past the year 9999 there is no such text; nothing compares it.
        Err(_) => jiff::Timestamp::MAX.to_string(),
    }
}

/// The age of something as `kubectl` prints it: `44s`, `3m12s`, `5h`, `2d4h`.
pub(crate) fn age(created: &str, wall: Duration) -> String {
    let Ok(created) = created.parse::<jiff::Timestamp>() else { return "<unknown>".to_owned() };
    let now = i64::try_from(wall.as_secs()).unwrap_or(i64::MAX);
    human_duration(now - created.as_second())
}

/// apimachinery's `HumanDuration`: at most two units, the second only where it
/// still says something.
fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |big: i64, unit: char, small: i64, sub: char| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{sub}"),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..=0 => "0s".to_owned(),
        1..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(hours / 24, 'd', hours % 24, 'h'),
        _ if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        _ if hours < 24 * 365 * 8 => two(hours / 24 / 365, 'y', hours / 24 % 365, 'd'),
        _ => format!("{}y", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_written_as_kubectl_writes_it() {
        let ages: Vec<_> = [0, 44, 119, 120, 192, 600, 10_800, 28_800, 172_800, 187_200, 700_000, 63_072_000]
            .into_iter()
            .map(human_duration)
            .collect();
        assert_eq!(ages, ["0s", "44s", "119s", "2m", "3m12s", "10m", "3h", "8h", "2d", "2d4h", "8d", "2y"]);
    }

    #[test]
    fn a_timestamp_has_whole_seconds() {
        assert_eq!(timestamp(Duration::from_millis(1_763_711_488_900)), "2025-11-21T07:51:28Z");
    }
}
