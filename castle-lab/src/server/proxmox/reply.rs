//! Answers as the real server writes them.

use serde_json::{Map, Value, json};

use super::Answer;
use crate::front::Reply;
use crate::hypervisor::Refusal;
use crate::latency::Latency;

const JSON: &str = "application/json;charset=UTF-8";

/// A success.
pub(super) fn data(answer: Answer) -> Reply {
    let mut body = Map::from_iter([("data".to_owned(), answer.data)]);
    if let Some(total) = answer.total {
        body.insert("total".to_owned(), json!(total));
    }
    with_body(200, &Value::Object(body))
}

/// A refusal: the first line of its message is the reason phrase, the whole of it
/// stands in the body, and the connection ends.
pub(super) fn refusal(refusal: &Refusal) -> Reply {
    let mut body = Map::from_iter([
        ("data".to_owned(), Value::Null),
        ("message".to_owned(), json!(format!("{}\n", refusal.message))),
    ]);
    if !refusal.errors.is_empty() {
        body.insert("errors".to_owned(), json!(refusal.errors));
    }
    let reply = match refusal.status {
        // Errors of the proxy have no body: there was no answer to wrap.
        595..=599 => Reply::new(refusal.status, ""),
        status => with_body(status, &Value::Object(body)),
    };
    reply.reason(refusal.message.lines().next().unwrap_or_default()).closing()
}

/// A 401: no body, and late.
pub(super) fn unauthenticated(text: &str) -> Reply {
    Reply::new(401, "").reason(text).penalised(Latency::UNAUTHENTICATED).closing()
}

fn with_body(status: u16, body: &Value) -> Reply {
    Reply::new(status, body.to_string())
        .header("Server", "pve-api-daemon/3.0")
        .header("Content-Type", JSON)
        .header("Cache-Control", "max-age=0")
        .header("Pragma", "no-cache")
}
