//! The declared API server, and how it is dialled.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::Uri;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use super::{Error, Result};
use crate::dial::{Dialer, Network};
use crate::kubeconfig::Access;

/// The declared server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// As it was declared: for messages.
    pub(super) shown: String,
    /// What requests are sent to.
    pub(super) uri: Uri,
    host: String,
    port: u16,
}

impl Server {
    pub(super) fn of(declared: &str) -> Result<Self> {
        let bad = |why: &str| Error::BadKubeconfig { why: why.to_owned() };
        let uri: Uri = declared.parse().map_err(|_| bad("names a server that is not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("names a server that does not begin with `https://`"));
        }
        let authority = uri.authority().ok_or_else(|| bad("names a server without a host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("names a server with a user in it"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("names a server with a path"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(443);
        let shown = format!("https://{}:{port}", authority.host());
        Ok(Self { shown, host, port, uri })
    }

    fn literal(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }

    /// What opens connections to it.
    pub(super) fn dialer(&self, access: Access, network: &Network) -> Result<Dialer> {
        if self.literal().is_some() {
            network
                .check(&self.host, self.port)
                .map_err(|why| Error::NotDialled { server: self.shown.clone(), source: Arc::new(why) })?;
        }
        let name = ServerName::try_from(self.host.clone())
            .map_err(|_| Error::BadKubeconfig { why: "names a host that TLS cannot check".into() })?;
        let config = client_config(access, network)?;
        Ok(Dialer::plain(network.clone(), &self.host, self.port).tls(name, config))
    }
}

fn client_config(access: Access, network: &Network) -> Result<ClientConfig> {
    let bad = |what: &str, why: rustls::Error| Error::BadKubeconfig {
        why: format!("has a {what} that cannot be used: {why}"),
    };
    let mut roots = RootCertStore::empty();
    for authority in access.authorities {
        roots.add(authority).map_err(|why| bad("certificate authority", why))?;
    }
    let config = castle_wire::builder(network.clock())
        .with_root_certificates(roots)
        .with_client_auth_cert(access.certificate, access.key)
        .map_err(|why| bad("client certificate", why))?;
    // One connection carries requests and watches; every API server speaks h2.
    Ok(castle_wire::finished(config, "h2"))
}
