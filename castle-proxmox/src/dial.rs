//! Where a declared address really leads.
//!
//! A literal address is looked up in the dial map once, when the provider is
//! made. A name is resolved at each connection, and each of its addresses is
//! looked up in the map.

use std::net::{IpAddr, SocketAddr};

use castle_core::options::DialMap;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderValue;
use rustls::pki_types::ServerName;

use crate::{Error, Result};

/// A declared `https` address, and how to reach it.
#[derive(Debug)]
pub(crate) struct Target {
    /// As it was declared, without a path: for messages.
    pub shown: String,
    /// What is put into requests.
    pub url: Url,
    /// The `Host` header, where `url` would give another.
    pub host: Option<HeaderValue>,
    /// The name that the certificate must hold.
    pub name: ServerName<'static>,
    /// The resolver, where there is a name to resolve.
    pub names: Option<Names>,
}

impl Target {
    /// Reads `declared` and looks it up in `map`. Sends nothing.
    pub(crate) fn of(declared: &str, map: &DialMap) -> Result<Self> {
        let bad = |why: &str| Error::BadOption { option: "proxmox.url", why: why.to_owned() };
        let mut url = Url::parse(declared).map_err(|_| bad("is not a URL; write `https://host:8006`"))?;
        if url.scheme() != "https" {
            return Err(bad("does not begin with `https://`"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("holds a user or password; the token belongs into `proxmox.token`"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(bad("has a path; write `https://host:8006`"));
        }
        let host = url.host_str().ok_or_else(|| bad("names no host"))?.to_owned();
        let port = url.port_or_known_default().ok_or_else(|| bad("names no port"))?;
        let shown = format!("https://{host}:{port}");
        let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        let name = match literal {
            Some(ip) => ServerName::IpAddress(ip.into()),
            None => ServerName::try_from(host.clone()).map_err(|_| bad("names no host that TLS can check"))?,
        };
        let mut header = None;
        let mut names = None;
        match literal {
            Some(ip) => {
                let declared = SocketAddr::new(ip, port);
                let real = map
                    .resolve(declared)
                    .map_err(|why| Error::NotDialled { url: shown.clone(), source: std::sync::Arc::new(why) })?;
                if real != declared {
                    header = Some(authority(&host, port)?);
                    // Neither can fail: an https URL takes any address and port.
                    url.set_ip_host(real.ip()).map_err(|()| bad("cannot be redirected by the dial map"))?;
                    url.set_port(Some(real.port())).map_err(|()| bad("cannot be redirected by the dial map"))?;
                }
            }
            None => {
                // Without a port in the URL, the connector uses the one that the
                // resolver gives, and so the dial map's.
                url.set_port(None).map_err(|()| bad("cannot be redirected by the dial map"))?;
                header = Some(authority(&host, port)?);
                names = Some(Names { map: map.clone(), port });
            }
        }
        Ok(Self { shown, url, host: header, name, names })
    }
}

fn authority(host: &str, port: u16) -> Result<HeaderValue> {
    HeaderValue::try_from(format!("{host}:{port}"))
        .map_err(|_| Error::BadOption { option: "proxmox.url", why: "names no host that a header can hold".into() })
}

/// Resolves names by the system, and each address by the dial map.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    map: DialMap,
    port: u16,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { map, port } = self.clone();
        Box::pin(async move {
            let mut real = Vec::new();
            for declared in tokio::net::lookup_host((name.as_str(), port)).await? {
                real.push(map.resolve(declared)?);
            }
            Ok(Box::new(real.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(declared: &str, map: &DialMap, expected: &str) {
        let found = match Target::of(declared, map) {
            Ok(Target { shown, url, host, names, .. }) => {
                format!("{shown} by {url} host {} resolved {}", host.is_some(), names.is_some())
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{declared}");
    }

    #[test]
    fn an_address_is_dialled_as_it_is_or_as_the_map_says() {
        let direct = DialMap::direct();
        check(
            "https://192.168.1.10:8006",
            &direct,
            "https://192.168.1.10:8006 by https://192.168.1.10:8006/ host false resolved false",
        );
        check(
            "https://[fd00::1]:8006/",
            &direct,
            "https://[fd00::1]:8006 by https://[fd00::1]:8006/ host false resolved false",
        );
        check("https://pve.home:8006", &direct, "https://pve.home:8006 by https://pve.home/ host true resolved true");
        let map =
            DialMap::exclusive([("192.168.1.10:8006".parse().expect("addr"), "127.0.0.1:4000".parse().expect("addr"))]);
        check(
            "https://192.168.1.10:8006",
            &map,
            "https://192.168.1.10:8006 by https://127.0.0.1:4000/ host true resolved false",
        );
        check("https://192.168.1.11:8006", &map, "https://192.168.1.11:8006 is not dialled");
    }

    #[test]
    fn what_is_not_a_server_is_refused_with_the_way_out() {
        let direct = DialMap::direct();
        for (declared, why) in [
            ("http://pve:8006", "does not begin with `https://`"),
            ("pve:8006", "does not begin with `https://`"),
            ("https://root@pve:8006", "holds a user or password; the token belongs into `proxmox.token`"),
            ("https://pve:8006/api2/json", "has a path; write `https://host:8006`"),
            ("", "is not a URL; write `https://host:8006`"),
        ] {
            check(declared, &direct, &format!("option `proxmox.url` {why}"));
        }
    }
}
