//! Objects in the form that a client asked for.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::query::{Form, Query};
use crate::front::Reply;
use crate::kube::{self, Kind, Listing};

/// An answer in JSON.
pub(super) fn json(status: u16, document: &Value) -> Reply {
    typed(status, document, "application/json")
}

/// An answer in JSON of a named type.
pub(super) fn typed(status: u16, document: &Value, media: &str) -> Reply {
    let mut body = document.to_string();
    body.push('\n');
    Reply::new(status, body).header("content-type", media).header("cache-control", "no-cache, private")
}

/// One object.
pub(super) fn one(kind: &Kind, version: &str, object: &Arc<Value>, form: Form, query: &Query, wall: Duration) -> Value {
    let object = &kind.in_version(object, version);
    match form {
        Form::Plain | Form::AggregatedDiscovery => Value::clone(object),
        Form::Metadata => metadata_of(object),
        Form::Table => {
            let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            kube::table(kind, version, std::slice::from_ref(object), metadata, wall, query.text("includeObject"))
        }
    }
}

/// One page of a list.
pub(super) fn list(kind: &Kind, version: &str, listing: &Listing, form: Form, query: &Query, wall: Duration) -> Value {
    let mut metadata = json!({"resourceVersion": listing.revision.to_string()});
    if let Some(token) = &listing.continue_token {
        metadata["continue"] = json!(token);
    }
    if let Some(remaining) = listing.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    let (list_kind, api_version, items): (_, _, Vec<_>) = match form {
        Form::Table => return kube::table(kind, version, &listing.items, metadata, wall, query.text("includeObject")),
        Form::Metadata => (
            "PartialObjectMetadataList".to_owned(),
            "meta.k8s.io/v1".to_owned(),
            listing.items.iter().map(|object| metadata_of(object)).collect(),
        ),
        Form::Plain | Form::AggregatedDiscovery => (
            kind.list_kind.to_string(),
            kind.api_version(version),
            listing.items.iter().map(|object| item(kind, version, object)).collect(),
        ),
    };
    json!({"kind": list_kind, "apiVersion": api_version, "metadata": metadata, "items": items})
}

/// Elements of a list of a built-in kind do not repeat what the list says.
fn item(kind: &Kind, version: &str, object: &Arc<Value>) -> Value {
    let mut item = Value::clone(&kind.in_version(object, version));
    if let (false, Some(fields)) = (kind.is_custom, item.as_object_mut()) {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    item
}

fn metadata_of(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}
