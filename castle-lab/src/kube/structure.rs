//! Objects of custom kinds, and what their schema makes of them.

use serde_json::Value;

use super::kind::Kind;
use super::object;
use super::refusal::Refusal;

/// Takes away what the schema does not know and puts in its defaults.
///
/// # Errors
///
/// 400 with the unknown fields, where they are to be refused.
pub(super) fn fit(kind: &Kind, version: &str, custom: &mut Value, strict: bool) -> Result<(), Refusal> {
    let Some(schema) = kind.schema(version) else { return Ok(()) };
    let unknown = schema.prune(custom);
    if strict && !unknown.is_empty() {
        let fields: Vec<_> = unknown.iter().map(|field| format!("unknown field \"{field}\"")).collect();
        let name = &kind.kind;
        return Err(Refusal::bad_request(format!(
            "{name} in version \"{version}\" cannot be handled as a {name}: strict decoding error: {}",
            fields.join(", ")
        )));
    }
    schema.fill(custom);
    Ok(())
}

/// Checks an object of a custom kind against its schema.
///
/// # Errors
///
/// 422 with everything that does not fit.
pub(super) fn check(kind: &Kind, version: &str, custom: &Value) -> Result<(), Refusal> {
    let Some(schema) = kind.schema(version) else { return Ok(()) };
    let causes = schema.check(custom);
    if causes.is_empty() {
        return Ok(());
    }
    let causes: Vec<_> = causes.iter().map(|(field, reason, why)| (field.as_str(), *reason, why.clone())).collect();
    Err(Refusal::invalid(kind, object::name(custom), &causes))
}
