//! What the real server refuses before it reads what a call is about.

use crate::front::Call;
use crate::hypervisor::Refusal;

/// The largest body that the API takes (pve-http-server 5.2.1).
const BODY_MAX: usize = 512 << 10;

/// Checks method and body.
///
/// # Errors
///
/// 501 and 506, in the real server's words.
pub(super) fn check(call: &Call) -> Result<(), Refusal> {
    if !["GET", "POST", "PUT", "DELETE"].contains(&call.method.as_str()) {
        return Err(Refusal::other(501, format!("method '{}' not available", call.method)));
    }
    if call.chunked {
        return Err(Refusal::other(501, "chunked transfer encoding not supported"));
    }
    if call.body.len() > BODY_MAX {
        return Err(Refusal::other(501, "for data too large"));
    }
    if !call.body.is_empty() && ["GET", "DELETE"].contains(&call.method.as_str()) {
        return Err(Refusal::other(501, format!("Unexpected content for method '{}'", call.method)));
    }
    match media_type(call) {
        "" | "application/x-www-form-urlencoded" | "application/json" => Ok(()),
        other if !call.body.is_empty() => Err(Refusal::other(506, format!("unknown content-type '{other}'"))),
        _ => Ok(()),
    }
}

/// The media type of the body, without its parameters.
pub(super) fn media_type(call: &Call) -> &str {
    call.header("content-type").and_then(|value| value.split(';').next()).map_or("", str::trim)
}

/// The path below the API's root and format.
///
/// # Errors
///
/// 501 for a path that names no known format.
pub(super) fn relative_path(path: &str) -> Result<&str, Refusal> {
    let below = path.strip_prefix("/api2/json").or_else(|| path.strip_prefix("/api2/extjs"));
    match below {
        Some("") => Ok("/"),
        Some(rest) if rest.starts_with('/') => Ok(rest),
        _ => Err(Refusal::other(501, "no such uri")),
    }
}

/// Decodes percent signs, and in forms the plus sign.
pub(super) fn decode(text: &str, form: bool) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(if form && bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_are_decoded_once() {
        assert_eq!(decode("a%2Fb+c%20d", true), "a/b c d");
        assert_eq!(decode("a+b%2", false), "a+b%2");
        assert_eq!(decode("%2520", true), "%20");
    }

    #[test]
    fn only_known_formats_have_paths() {
        assert_eq!(relative_path("/api2/json/version"), Ok("/version"));
        assert_eq!(relative_path("/api2/json"), Ok("/"));
        for path in ["/", "/api2/png/version", "/api2/jsonx/version"] {
            assert_eq!(relative_path(path).expect_err(path).status, 501);
        }
    }
}
