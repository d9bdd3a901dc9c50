//! Infisical's refusals, in its words.

use serde_json::{Value, json};

use crate::front::Reply;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    status: u16,
    error: &'static str,
    message: Value,
    /// The seconds after which a client may come again.
    retry_after: Option<u64>,
}

impl Refusal {
    fn new(status: u16, error: &'static str, message: impl Into<Value>) -> Self {
        Self { status, error, message: message.into(), retry_after: None }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message.into())
    }

    pub(super) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(401, "UnauthorizedError", message.into())
    }

    pub(super) fn token(message: &str) -> Self {
        Self::new(403, "TokenError", message)
    }

    pub(super) fn permission(action: &str, subject: &str) -> Self {
        Self::new(403, "PermissionDenied", format!("You are not allowed to {action} on {subject}"))
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "NotFound", message.into())
    }

    pub(super) fn no_folder(path: &str, environment: &str) -> Self {
        Self::not_found(format!("Folder with path '{path}' in environment with slug '{environment}' not found"))
    }

    pub(super) fn no_secret(name: &str) -> Self {
        Self::not_found(format!("Secret with name {name} not found"))
    }

    /// Every field that is wrong, with the reason.
    pub(super) fn invalid(issues: &[Issue]) -> Self {
        let issues: Vec<_> = issues.iter().map(Issue::told).collect();
        Self::new(422, "ValidationFailure", issues)
    }

    pub(super) fn too_many(seconds: u64) -> Self {
        let message = format!("Rate limit exceeded. Please try again in {seconds} seconds");
        Self { retry_after: Some(seconds), ..Self::new(429, "RateLimitExceeded", message) }
    }

    pub(super) fn reply(&self, request: &str) -> Reply {
        let mut body = json!({
            "reqId": request,
            "statusCode": self.status,
            "message": self.message,
            "error": self.error,
        });
        if self.error == "PermissionDenied" {
            body["details"] = json!([]);
        }
        let reply = super::json_reply(self.status, &body);
        match self.retry_after {
            Some(seconds) => reply.header("retry-after", seconds.to_string()),
            None => reply,
        }
    }
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Issue {
    /// Where it stands: `secretValue`, `secrets.0.secretKey`.
    pub place: String,
    /// Why.
    pub message: String,
}

impl Issue {
    pub(super) fn required(place: impl Into<String>) -> Self {
        Self { place: place.into(), message: "Required".to_owned() }
    }

    fn told(&self) -> Value {
        let (code, path) = (if self.message == "Required" { "invalid_type" } else { "custom" }, self.place.split('.'));
        let path: Vec<Value> =
            path.map(|part| part.parse::<u64>().map_or_else(|_| json!(part), |n| json!(n))).collect();
        let mut issue = json!({ "code": code, "path": path, "message": self.message });
        if code == "invalid_type" {
            issue["expected"] = json!("string");
            issue["received"] = json!("undefined");
        }
        issue
    }
}
