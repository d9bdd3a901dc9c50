//! Custom resource definitions: how an object makes a kind.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::columns::PrinterColumn;
use super::kind::{Definition, Kind, Kinds, Resource};
use super::object;
use super::refusal::Refusal;
use super::schema::Schema;

/// The collection that a definition defines.
pub(super) fn collection(definition: &Value) -> Resource {
    Resource::named(
        object::text(definition, &["spec", "group"]),
        object::text(definition, &["spec", "names", "plural"]),
    )
}

/// Fills in what the API server fills in.
pub(super) fn set_defaults(definition: &mut Value) {
    let kind = object::text(definition, &["spec", "names", "kind"]).to_owned();
    if !definition["spec"].is_object() || !definition["spec"]["names"].is_object() {
        return;
    }
    let names = &mut definition["spec"]["names"];
    for (field, value) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))] {
        if object::text(names, &[field]).is_empty() {
            names[field] = json!(value);
        }
    }
    if definition["spec"].get("conversion").is_none() {
        definition["spec"]["conversion"] = json!({"strategy": "None"});
    }
}

/// Reads the kind that a definition defines.
///
/// # Errors
///
/// 422 with everything that makes it no definition.
pub(super) fn kind_of(kinds: &Kinds, definition: &Value) -> Result<Kind, Refusal> {
    let own = kinds.get(&Resource::DEFINITIONS).ok_or_else(Refusal::no_resource)?;
    let text = |path: &[&str]| object::text(definition, path).to_owned();
    let (name, group, plural) =
        (object::name(definition), text(&["spec", "group"]), text(&["spec", "names", "plural"]));
    let mut causes: Vec<(String, &str, String)> = Vec::new();
    let mut say = |field: &str, reason, why: String| causes.push((field.to_owned(), reason, why));
    if name != format!("{plural}.{group}") {
        let why = format!("Invalid value: \"{name}\": must be spec.names.plural+\".\"+spec.group");
        say("metadata.name", "FieldValueInvalid", why);
    }
    for path in [["spec", "group"].as_slice(), &["spec", "names", "plural"], &["spec", "names", "kind"]] {
        if object::text(definition, path).is_empty() {
            say(&path.join("."), "FieldValueRequired", "Required value".to_owned());
        }
    }
    let scope = text(&["spec", "scope"]);
    if !["Namespaced", "Cluster"].contains(&scope.as_str()) {
        let why = format!("Unsupported value: \"{scope}\": supported values: \"Cluster\", \"Namespaced\"");
        say("spec.scope", "FieldValueNotSupported", why);
    }
    let list = definition.pointer("/spec/versions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut versions = Vec::new();
    for (place, version) in list.iter().enumerate() {
        let schema = match version.pointer("/schema/openAPIV3Schema") {
            Some(schema) => Schema::read(schema).map(|schema| Some(Arc::new(schema))),
            None => {
                let field = format!("spec.versions[{place}].schema.openAPIV3Schema");
                say(&field, "FieldValueRequired", "Required value: schemas are required".to_owned());
                Ok(None)
            }
        };
        let schema = schema.unwrap_or_else(|why| {
            let field = format!("spec.versions[{place}].schema.openAPIV3Schema");
            say(&field, "FieldValueInvalid", format!("Invalid value: must be a valid regular expression: {why}"));
            None
        });
        let read = Definition {
            version: object::text(version, &["name"]).to_owned(),
            is_stored: version["storage"] == json!(true),
            schema,
            columns: PrinterColumn::read_all(version),
        };
        versions.push((version["served"] == json!(true), read));
    }
    if versions.iter().filter(|(_, version)| version.is_stored).count() != 1 {
        let why = "Invalid value: must have exactly one version marked as storage version".to_owned();
        say("spec.versions", "FieldValueInvalid", why);
    }
    if !causes.is_empty() {
        let causes: Vec<_> = causes.iter().map(|(field, reason, why)| (field.as_str(), *reason, why.clone())).collect();
        return Err(Refusal::invalid(own, name, &causes));
    }
    versions.sort_by_key(|(is_served, version)| (Reverse(*is_served), Reverse(priority(&version.version))));
    let names = |key: &str| -> Vec<Cow<'static, str>> {
        let list = definition["spec"]["names"][key].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(|name| Cow::Owned(name.to_owned())).collect()
    };
    Ok(Kind {
        resource: Resource::named(group, plural),
        versions: versions
            .iter()
            .filter(|(is_served, _)| *is_served)
            .map(|(_, version)| Cow::Owned(version.version.clone()))
            .collect(),
        kind: Cow::Owned(text(&["spec", "names", "kind"])),
        singular: Cow::Owned(text(&["spec", "names", "singular"])),
        short_names: names("shortNames"),
        categories: names("categories"),
        namespaced: scope == "Namespaced",
        has_status: list.iter().any(|version| version.pointer("/subresources/status").is_some()),
        has_generation: true,
        fields: Vec::new(),
        is_custom: true,
        list_kind: Cow::Owned(text(&["spec", "names", "listKind"])),
        definitions: versions.into_iter().map(|(_, version)| version).collect(),
    })
}

/// The order of versions: released ones before beta before alpha, the higher the
/// better; what is no version of Kubernetes' form comes last.
fn priority(version: &str) -> (u8, u64, u64) {
    let read = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (major, rest) = rest.split_at(digits);
        let major = major.parse().ok()?;
        let (stage, minor) = match rest {
            "" => (3, 0),
            _ => match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
                (Some(minor), _) => (2, minor.parse().ok()?),
                (_, Some(minor)) => (1, minor.parse().ok()?),
                _ => return None,
            },
        };
        Some((stage, major, minor))
    };
    read().unwrap_or((0, 0, 0))
}

/// Writes what the API server says of a definition whose kind it serves.
pub(super) fn settle(definition: &mut Value, wall: Duration) {
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": object::timestamp(wall),
        })
    };
    let names = definition["spec"]["names"].clone();
    let stored = definition["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|version| version["storage"] == json!(true))
        .map(|version| version["name"].clone());
    if !definition["status"].is_object() {
        definition["status"] = json!({});
    }
    let status = &mut definition["status"];
    if !status["conditions"].is_array() {
        status["conditions"] = json!([
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ]);
    }
    status["acceptedNames"] = names;
    if !status["storedVersions"].is_array() {
        status["storedVersions"] = json!([]);
    }
    if let (Some(stored), Some(list)) = (stored, status["storedVersions"].as_array_mut())
        && !list.contains(&stored)
    {
        list.push(stored);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_versions_come_first() {
        let mut versions = vec!["v1beta1", "foo1", "v2alpha1", "v1", "v10", "v2", "v1beta3"];
        versions.sort_by_key(|version| Reverse(priority(version)));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta3", "v1beta1", "v2alpha1", "foo1"]);
    }
}
