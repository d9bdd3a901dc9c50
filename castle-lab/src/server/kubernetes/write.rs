//! Requests that change objects.

use serde_json::{Value, json};

use super::document;
use super::query::{Form, Query};
use super::route::Target;
use crate::front::{Call, Reply};
use crate::kube::{Delete, Hand, ListOptions, Listing, Part, Patch, Propagation, Refusal, Store};

const JSON: &[&str] = &["application/json"];
const PATCHES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", APPLY, "application/strategic-merge-patch+json"];

/// Does what a writing request asks.
pub(super) fn act(
    store: &mut Store,
    call: &Call,
    query: &Query,
    target: &Target,
    verb: &str,
) -> Result<Reply, Refusal> {
    let hand = hand(call, query)?;
    let part = if target.subresource == "status" { Part::Status } else { Part::Main };
    let form = Form::of(call)?;
    let mut unknown = Vec::new();
    let (status, object) = match verb {
        "create" => {
            if !target.name.is_empty() {
                return Err(super::not_allowed());
            }
            let object = body(store, call, target)?;
            unknown = store.unknown_fields(&object);
            (201, store.create(object, &hand)?)
        }
        "update" => {
            let object = body(store, call, target)?;
            unknown = store.unknown_fields(&object);
            let name = object["metadata"]["name"].as_str().unwrap_or("");
            if name != target.name {
                return Err(Refusal::bad_request(format!(
                    "the name of the object ({name}) does not match the name on the URL ({})",
                    target.name
                )));
            }
            (200, store.update(object, part, &hand)?)
        }
        "patch" if is_apply(call) => return apply(store, call, query, target, part, &hand, form),
        "patch" => {
            if query.has("force") {
                return Err(invalid_options("force: Forbidden: may not be specified for non-apply patch", "force"));
            }
            let patch = patch(store, call, target)?;
            (200, store.patch(&target.resource, &target.namespace, &target.name, &patch, part, &hand)?)
        }
        "delete" => return delete(store, call, query, target),
        _ => return delete_collection(store, query, target),
    };
    let kind = store.kind(&target.resource)?;
    let document = document::one(kind, &target.version, &object, form, query, store.wall());
    let is_silent = query.text("fieldValidation") == "Ignore";
    // Whoever did not ask to be refused is warned.
    let warnings =
        unknown.iter().filter(|_| !is_silent).map(|field| format!("299 - \"unknown field \\\"{field}\\\"\""));
    Ok(warnings.fold(document::json(status, &document), |reply, warning| reply.header("warning", warning)))
}

/// Who writes: the field manager of the query, else the program that the client
/// says it is.
fn hand(call: &Call, query: &Query) -> Result<Hand, Refusal> {
    let program = call.header("user-agent").and_then(|agent| agent.split('/').next()).unwrap_or("");
    let named = query.text("fieldManager");
    let manager = [named, program].into_iter().find(|name| !name.is_empty()).unwrap_or("unknown");
    let strict = match query.text("fieldValidation") {
        "Strict" => true,
        "" | "Warn" | "Ignore" => false,
        other => {
            return Err(Refusal::bad_request(format!(
                "fieldValidation: Unsupported value: \"{other}\": supported values: \"Ignore\", \"Warn\", \"Strict\""
            )));
        }
    };
    Ok(Hand { manager: manager.to_owned(), dry_run: query.is_dry_run()?, force: query.is_set("force"), strict })
}

/// The media type of the body, if it is one of these.
fn media<'a>(call: &'a Call, accepted: &[&str]) -> Result<&'a str, Refusal> {
    let header = call.header("content-type").unwrap_or("application/json");
    let media = header.split(';').next().unwrap_or(header).trim();
    if accepted.contains(&media) {
        return Ok(media);
    }
    Err(Refusal::new(
        415,
        "UnsupportedMediaType",
        format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        ),
    ))
}

/// The media type of server-side apply.
const APPLY: &str = "application/apply-patch+yaml";

fn is_apply(call: &Call) -> bool {
    let header = call.header("content-type").unwrap_or("");
    header.split(';').next().unwrap_or("").trim() == APPLY
}

/// The refusal of a request whose options do not fit.
fn invalid_options(why: &str, field: &str) -> Refusal {
    let mut refusal = Refusal::new(422, "Invalid", format!("PatchOptions.meta.k8s.io \"\" is invalid: {why}"));
    let message = why.split_once(": ").map_or(why, |(_, message)| message);
    let reason = if message.starts_with("Required") { "FieldValueRequired" } else { "FieldValueForbidden" };
    refusal.details = Some(json!({
        "group": "meta.k8s.io", "kind": "PatchOptions",
        "causes": [{"reason": reason, "message": message, "field": field}],
    }));
    refusal
}

/// Server-side apply, of an object that is there or not.
fn apply(
    store: &mut Store,
    call: &Call,
    query: &Query,
    target: &Target,
    part: Part,
    hand: &Hand,
    form: Form,
) -> Result<Reply, Refusal> {
    if query.text("fieldManager").is_empty() {
        return Err(invalid_options("fieldManager: Required value: is required for apply patch", "fieldManager"));
    }
    let text = std::str::from_utf8(&call.body)
        .map_err(|error| Refusal::bad_request(format!("error decoding YAML: {error}")))?;
    // Most bodies are JSON, which is read much faster than YAML.
    let mut object: Value = match serde_json::from_str(text) {
        Ok(object) => object,
        Err(_) => serde_saphyr::from_str(text)
            .map_err(|error| Refusal::bad_request(format!("error decoding YAML: {error}")))?,
    };
    let kind = store.kind(&target.resource)?;
    for (field, wanted) in [("apiVersion", kind.api_version(&target.version)), ("kind", kind.kind.to_string())] {
        let found = object.get(field).and_then(Value::as_str).unwrap_or("");
        if found != wanted {
            return Err(Refusal::bad_request(format!(
                "the {field} in the data ({found}) does not match the expected {field} ({wanted})"
            )));
        }
    }
    let name = object["metadata"]["name"].as_str().unwrap_or("");
    if !name.is_empty() && name != target.name {
        let wanted = &target.name;
        return Err(Refusal::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({wanted})"
        )));
    }
    in_place(&mut object, kind.namespaced, target)?;
    object["metadata"]["name"] = json!(target.name);
    let is_new = store.get(&target.resource, &target.namespace, &target.name).is_err();
    let applied = store.apply_part(object, part, hand)?;
    let kind = store.kind(&target.resource)?;
    let document = document::one(kind, &target.version, &applied, form, query, store.wall());
    Ok(document::json(if is_new { 201 } else { 200 }, &document))
}

/// Puts an object into the namespace of the path.
fn in_place(object: &mut Value, namespaced: bool, target: &Target) -> Result<(), Refusal> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if namespaced {
        let given = object["metadata"]["namespace"].as_str().unwrap_or("");
        if !given.is_empty() && given != target.namespace {
            return Err(Refusal::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        object["metadata"]["namespace"] = json!(target.namespace);
    }
    Ok(())
}

fn parsed(call: &Call) -> Result<Value, Refusal> {
    serde_json::from_slice(&call.body)
        .map_err(|error| Refusal::bad_request(format!("couldn't decode the body of the request: {error}")))
}

/// The object of a create or an update, in its place.
fn body(store: &Store, call: &Call, target: &Target) -> Result<Value, Refusal> {
    media(call, JSON)?;
    let mut object = parsed(call)?;
    let kind = store.kind(&target.resource)?;
    let api_version = kind.api_version(&target.version);
    if !object.is_object() {
        return Err(Refusal::bad_request("the body of the request is not an object"));
    }
    for (field, wanted) in [("apiVersion", api_version.as_str()), ("kind", kind.kind.as_ref())] {
        match object.get(field).and_then(Value::as_str) {
            None | Some("") => object[field] = json!(wanted),
            Some(found) if found == wanted => {}
            Some(found) => {
                return Err(Refusal::bad_request(format!(
                    "the {field} in the data ({found}) does not match the expected {field} ({wanted})"
                )));
            }
        }
    }
    in_place(&mut object, kind.namespaced, target)?;
    Ok(object)
}

fn patch(store: &Store, call: &Call, target: &Target) -> Result<Patch, Refusal> {
    // A custom resource has no Go type that could say how its lists merge.
    let is_custom = store.kind(&target.resource)?.is_custom;
    let accepted = if is_custom { &PATCHES[..3] } else { PATCHES };
    match media(call, accepted)? {
        "application/json-patch+json" => Ok(Patch::Json(parsed(call)?)),
        "application/strategic-merge-patch+json" => Ok(Patch::Strategic(parsed(call)?)),
        _ => Ok(Patch::Merge(parsed(call)?)),
    }
}

/// The options of a deletion, from the body and from the query.
fn options(call: &Call, query: &Query) -> Result<Delete, Refusal> {
    let body = if call.body.is_empty() { Value::Null } else { parsed(call)? };
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let in_body = body.pointer("/dryRun/0").and_then(Value::as_str) == Some("All");
    Ok(Delete {
        uid: text("/preconditions/uid"),
        resource_version: text("/preconditions/resourceVersion"),
        dry_run: in_body || query.is_dry_run()?,
        propagation: match text("/propagationPolicy").as_deref().unwrap_or(query.text("propagationPolicy")) {
            "Orphan" => Propagation::Orphan,
            "Foreground" => Propagation::Foreground,
            _ => Propagation::Background,
        },
    })
}

fn delete(store: &mut Store, call: &Call, query: &Query, target: &Target) -> Result<Reply, Refusal> {
    let options = options(call, query)?;
    let (object, is_gone) = store.delete(&target.resource, &target.namespace, &target.name, &options)?;
    if !is_gone {
        return Ok(document::json(200, &object));
    }
    let mut details = json!({
        "name": target.name,
        "kind": target.resource.plural,
        "uid": object["metadata"]["uid"],
    });
    if !target.resource.group.is_empty() {
        details["group"] = json!(target.resource.group);
    }
    Ok(document::json(
        200,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}),
    ))
}

fn delete_collection(store: &mut Store, query: &Query, target: &Target) -> Result<Reply, Refusal> {
    let selection = super::selection(store, query, target)?;
    let Listing { items, .. } = store.page(&target.resource, &selection, &ListOptions::default())?;
    let delete = Delete { dry_run: query.is_dry_run()?, ..Delete::default() };
    let mut deleted = Vec::new();
    for object in items {
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or("").to_owned();
        deleted.push(store.delete(&target.resource, &text("namespace"), &text("name"), &delete)?.0);
    }
    let listing = Listing { items: deleted, revision: store.revision(), continue_token: None, remaining: None };
    let kind = store.kind(&target.resource)?;
    let list = document::list(kind, &target.version, &listing, Form::Plain, query, store.wall());
    Ok(document::json(200, &list))
}
