//! Where something is: URLs, paths of a repository, names of hosts, services and secrets.

use serde_saphyr::Spanned;

use super::{Findings, matching, parsed, shown};
use crate::yaml::place;
use crate::{Name, Problem, SecretKey};

/// The longest URL or path that is read, in bytes.
const LONGEST: usize = 500;

/// What may follow the host of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UrlPath {
    /// Nothing, or a single slash, which is dropped.
    Forbidden,
    /// A path of whole segments.
    Needed,
}

/// An `https` address without credentials. One that may hold some is not quoted.
pub(crate) fn https_url(
    findings: &mut Findings,
    (subject, wanted): (&str, &str),
    text: &Spanned<String>,
    path: UrlPath,
) -> Option<String> {
    let refuse = |message: String, hint: &str| {
        let problem = Problem::error("invalid-url", subject, message).hint(hint).at(place(text.referenced));
        Err::<String, Problem>(problem)
    };
    let url = text.value.as_str();
    let judged = if url.contains('@') {
        match url.starts_with("https://") {
            true => refuse(
                "holds credentials, and this document is readable".into(),
                "leave them out of the URL; access belongs to the option document",
            ),
            false => refuse("is not an `https` address".into(), wanted),
        }
    } else if url.contains(['?', '#']) {
        refuse("has a query or a fragment, which may hold a secret".into(), wanted)
    } else if is_https(url, path) {
        Ok(url.trim_end_matches('/').to_owned())
    } else if url.starts_with("https://") {
        refuse(format!("`{}` is not an address of the form that is wanted", shown(url)), wanted)
    } else {
        refuse(format!("`{}` is not an `https` address", shown(url)), wanted)
    };
    judged.map_err(|problem| findings.push(problem)).ok()
}

/// Whether it is `https://host[:port]` with the path that is wanted.
pub(crate) fn is_https(url: &str, path: UrlPath) -> bool {
    let Some(rest) = url.strip_prefix("https://").filter(|_| url.len() <= LONGEST) else { return false };
    let (authority, rest) = rest.split_once('/').map_or((rest, None), |(authority, rest)| (authority, Some(rest)));
    let path_is_good = match (path, rest) {
        (UrlPath::Forbidden, rest) => rest.is_none_or(str::is_empty),
        (UrlPath::Needed, rest) => rest.is_some_and(is_path),
    };
    path_is_good && is_authority(authority)
}

/// Whether it is `host` or `host:port`.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let host_is_good = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')),
    };
    host_is_good && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Whether it is a path of whole segments, without slashes at its ends.
fn is_path(text: &str) -> bool {
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..") && segment.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    };
    text.len() <= LONGEST && text.split('/').all(segment)
}

/// A path of the repository, from its root.
pub(crate) fn repository_path(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<String> {
    let path = text.value.as_str();
    if is_path(path) {
        return Some(path.to_owned());
    }
    let message = format!("`{}` is not a path of the repository such as `clusters/blue`", shown(path));
    let trimmed = path.trim_start_matches("./").trim_matches('/');
    let hint = match is_path(trimmed) {
        true => format!("write `{}`", shown(trimmed)),
        false => "write it from the repository's root, without `..` and without slashes at its ends".to_owned(),
    };
    findings.push(Problem::error("invalid-path", subject, message).hint(hint).at(place(text.referenced)));
    None
}

/// A folder of a vault: absolute.
pub(crate) fn vault_folder(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<String> {
    let path = text.value.as_str();
    let good = path == "/" || path.strip_prefix('/').is_some_and(is_path);
    if !good {
        let message = format!("`{}` is not a folder of the vault", shown(path));
        let hint = "begin it with `/`, without `..` and without a slash at its end";
        findings.push(Problem::error("invalid-path", subject, message).hint(hint).at(place(text.referenced)));
    }
    good.then(|| path.to_owned())
}

/// A folder or file of this machine.
pub(crate) fn local_path(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<String> {
    let good = !text.value.is_empty() && !text.value.contains(char::is_control);
    if !good {
        let message = format!("`{}` is not a path", shown(&text.value));
        findings.push(Problem::error("invalid-path", subject, message).at(place(text.referenced)));
    }
    good.then(|| text.value.clone())
}

/// A branch, by git's own rules for names.
pub(crate) fn branch(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<String> {
    matching(findings, ("invalid-branch", subject, "a branch such as `main`"), text, |text| {
        let segment = |segment: &str| !segment.is_empty() && !segment.starts_with('.') && !segment.ends_with(".lock");
        let letters = text.bytes().all(|b| {
            b.is_ascii_graphic() && !matches!(b, b'~' | b'^' | b':' | b'?' | b'*' | b'[' | b'\\' | b'"' | b'\'')
        });
        let good = letters
            && text.split('/').all(segment)
            && !text.starts_with('-')
            && !text.ends_with('.')
            && !text.contains("..")
            && !text.contains("@{")
            && text != "@";
        good.then(|| text.to_owned())
    })
}

/// A slug of a vault: its project, its environment.
pub(crate) fn slug(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<String> {
    matching(findings, ("invalid-slug", subject, "a slug such as `prod`"), text, |text| {
        let good = text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        good.then(|| text.to_owned())
    })
}

/// The beginning of names of environment variables.
pub(crate) fn variable_prefix(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<String> {
    matching(
        findings,
        ("invalid-prefix", subject, "the beginning of variables such as `CASTLE_SECRET_`"),
        text,
        |text| {
            let good = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            good.then(|| text.to_owned())
        },
    )
}

/// The name of a secret in the store.
pub(crate) fn secret_key(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<SecretKey> {
    parsed(findings, "invalid-secret", subject, &text.value, place(text.referenced))
}

/// Whether it is a name of the domain name system, as RFC 1123 has it.
pub(crate) fn is_host_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|label| label.parse::<Name>().is_ok())
}

/// A name of the domain name system.
pub(crate) fn host_name(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<String> {
    matching(findings, ("invalid-host", subject, "a host name such as `blog.example.net`"), text, |text| {
        // `192.168.1.240` would be a name by its letters alone.
        (is_host_name(text) && text.parse::<std::net::Ipv4Addr>().is_err()).then(|| text.to_owned())
    })
}

/// The path of an HTTP request.
pub(crate) fn http_path(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<String> {
    let good = text.value.len() <= LONGEST
        && text.value.starts_with('/')
        && text.value.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if !good {
        let message = format!("`{}` is not the path of a request such as `/health`", shown(&text.value));
        findings.push(Problem::error("invalid-path", subject, message).at(place(text.referenced)));
    }
    good.then(|| text.value.clone())
}

/// Namespace and name of a service: `traefik/traefik`.
pub(crate) fn service(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<(String, String)> {
    let wanted = "the namespace and the name of a service such as `traefik/traefik`";
    matching(findings, ("invalid-service", subject, wanted), text, |text| {
        let (namespace, name) = text.split_once('/')?;
        let good = namespace.parse::<Name>().is_ok() && name.parse::<Name>().is_ok();
        good.then(|| (namespace.to_owned(), name.to_owned()))
    })
}

/// A version of the Kubernetes API: `v1`, `apps/v1`.
pub(crate) fn api_version(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<String> {
    matching(findings, ("invalid-object", subject, "an API version such as `apps/v1`"), text, |text| {
        let (group, version) = text.rsplit_once('/').map_or((None, text), |(group, version)| (Some(group), version));
        let digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        let good = version.strip_prefix('v').is_some_and(digit) && version.parse::<Name>().is_ok();
        (good && group.is_none_or(is_host_name)).then(|| text.to_owned())
    })
}

/// A word in capitals and small letters: a kind, a condition.
pub(crate) fn camel(
    findings: &mut Findings,
    subject: &str,
    text: &Spanned<String>,
    wanted: &str,
    more: &str,
) -> Option<String> {
    matching(findings, ("invalid-object", subject, wanted), text, |text| {
        super::plain(text, more, 100).then(|| text.to_owned())
    })
}

/// The name of a Kubernetes object.
pub(crate) fn object_name(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<String> {
    matching(findings, ("invalid-object", subject, "the name of an object such as `blog`"), text, |text| {
        is_host_name(text).then(|| text.to_owned())
    })
}

/// A SHA-256 in hex.
pub(crate) fn sha256(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<[u8; 32]> {
    matching(findings, ("invalid-digest", subject, "a SHA-256: 64 digits of 0-9 and a-f"), text, |text| {
        <[u8; 32]>::try_from(hex::decode(text).ok()?).ok()
    })
}
