//! A server, as URLs name it.

use std::fmt;

use http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;

use super::{Error, Result};

/// Scheme, host and port of a server.
///
/// ```
/// use castle_gitops::https::Origin;
///
/// let (origin, path) = Origin::split("https://git.example/house/blue.git").unwrap();
/// assert_eq!((origin.to_string().as_str(), path.as_str()), ("https://git.example", "/house/blue.git"));
/// assert_eq!(origin.port(), 443);
/// assert!(Origin::split("https://me:secret@git.example/").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    tls: Option<ServerName<'static>>,
    host: String,
    port: u16,
}

impl Origin {
    /// A server without a path: `https://eu.infisical.com`.
    ///
    /// # Errors
    ///
    /// [`Error::BadUrl`] if it is no such URL, or has a path.
    pub fn of(url: &str) -> Result<Self> {
        let (origin, path) = Self::split(url)?;
        if path == "/" { Ok(origin) } else { Err(bad("has a path where none belongs")) }
    }

    /// The server of a URL, and its path with the query.
    ///
    /// # Errors
    ///
    /// [`Error::BadUrl`] if it is not `http` or `https`, or holds a user.
    pub fn split(url: &str) -> Result<(Self, String)> {
        let uri: Uri = url.parse().map_err(|_| bad("cannot be read"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("does not begin with `https://`")),
        };
        let authority = uri.authority().ok_or_else(|| bad("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("holds a user or a password"));
        }
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok((Self::new(is_tls, authority.host().trim_matches(['[', ']']), port)?, path.to_owned()))
    }

    /// A server by its parts; `host` is a name, or an address without brackets.
    ///
    /// # Errors
    ///
    /// [`Error::BadUrl`] if TLS cannot check the name.
    pub fn new(is_tls: bool, host: &str, port: u16) -> Result<Self> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| bad("names a host that is no name"))?;
        Ok(Self { tls: is_tls.then_some(name), host: host.to_owned(), port })
    }

    /// The host's name, or its address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) fn tls_name(&self) -> Option<ServerName<'static>> {
        self.tls.clone()
    }

    pub(super) fn host_header(&self) -> HeaderValue {
        let text = self.to_string();
        let authority = text.split_once("://").map_or("", |(_, authority)| authority);
        HeaderValue::from_str(authority).expect("a host that TLS can check has no other letters than a header")
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.is_tls() { ("https", 443) } else { ("http", 80) };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}", self.host)?;
        if self.port == usual { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// A URL that somebody else wrote, to be shown: without the user and the password
/// that it may hold, and not longer than a line.
pub(crate) fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let bare = match rest[..end].rfind('@') {
        Some(at) => format!("..{}", &rest[at..]),
        None => rest.to_owned(),
    };
    let whole = if scheme.is_empty() { bare } else { format!("{scheme}://{bare}") };
    whole.chars().filter(|letter| !letter.is_control()).take(200).collect()
}

fn bad(why: &str) -> Error {
    Error::BadUrl { why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        let check = |url: &str, expected: &str| assert_eq!(shown(url), expected);
        check("https://git.example/house/blue.git", "https://git.example/house/blue.git");
        check("https://me:hunter2@git.example/blue.git", "https://..@git.example/blue.git");
        check("ssh://git@git.example:22/blue.git", "ssh://..@git.example:22/blue.git");
        check("https://a@b:hunter2@git.example", "https://..@git.example");
        check("https://git.example/a@b", "https://git.example/a@b");
        check("me:hunter2@git.example", "..@git.example");
        check("https://git.example/\n", "https://git.example/");
    }
}
