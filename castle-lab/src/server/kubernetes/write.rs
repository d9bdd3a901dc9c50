//! Requests that change objects.

use serde_json::{Value, json};

use super::document;
use super::query::{Form, Query};
use super::route::Target;
use crate::front::{Call, Reply};
use crate::kube::{Delete, ListOptions, Listing, Part, Patch, Refusal, Store};

const JSON: &[&str] = &["application/json"];
const PATCHES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];

/// Does what a writing request asks.
pub(super) fn act(
    store: &mut Store,
    call: &Call,
    query: &Query,
    target: &Target,
    verb: &str,
) -> Result<Reply, Refusal> {
    let dry_run = query.is_dry_run()?;
    let part = if target.subresource == "status" { Part::Status } else { Part::Main };
    let form = Form::of(call)?;
    let (status, object) = match verb {
        "create" => {
            if !target.name.is_empty() {
                return Err(super::not_allowed());
            }
            (201, store.create(body(store, call, target)?, dry_run)?)
        }
        "update" => {
            let object = body(store, call, target)?;
            let name = object["metadata"]["name"].as_str().unwrap_or("");
            if name != target.name {
                return Err(Refusal::bad_request(format!(
                    "the name of the object ({name}) does not match the name on the URL ({})",
                    target.name
                )));
            }
            (200, store.update(object, part, dry_run)?)
        }
        "patch" => {
            let patch = patch(store, call, target)?;
            (200, store.patch(&target.resource, &target.namespace, &target.name, &patch, part, dry_run)?)
        }
        "delete" => return delete(store, call, query, target),
        _ => return delete_collection(store, query, target),
    };
    let kind = store.kind(&target.resource)?;
    Ok(document::json(status, &document::one(kind, &object, form, query, store.wall())))
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
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if kind.namespaced {
        let given = object["metadata"]["namespace"].as_str().unwrap_or("");
        if !given.is_empty() && given != target.namespace {
            return Err(Refusal::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        object["metadata"]["namespace"] = json!(target.namespace);
    }
    Ok(object)
}

fn patch(store: &Store, call: &Call, target: &Target) -> Result<Patch, Refusal> {
    // A custom resource has no Go type that could say how its lists merge.
    let is_custom = store.kind(&target.resource)?.is_custom;
    let accepted = if is_custom { &PATCHES[..2] } else { PATCHES };
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
