//! Credentials for clients that know no dial map.
//!
//! The cluster speaks of the addresses of its house, and so does what the secret
//! store keeps. `kubectl` and `talosctl` dial what they read: those of a served lab
//! are given the addresses at which the lab listens, for which its servers have
//! certificates too.

use std::net::{IpAddr, SocketAddr};

use castle_core::options::DialMap;

/// Where a node's own API listens; a talosconfig names no port.
const TALOS_PORT: u16 = 50_000;

/// A kubeconfig or a talosconfig with the addresses of the map. What the map lacks
/// stays as it is.
///
/// Castle wrote the text, so each address stands alone on its line, and everything
/// else is kept to the byte.
pub fn mapped(text: &str, dial: &DialMap) -> String {
    text.split_inclusive('\n').map(|line| moved(line, dial).unwrap_or_else(|| line.to_owned())).collect()
}

/// The line with another address, if it has one that is mapped.
fn moved(line: &str, dial: &DialMap) -> Option<String> {
    let content = line.trim_end().trim_start_matches([' ', '-']).trim_matches('"');
    let (old, new) = if let Some(server) = content.strip_prefix("server: https://") {
        let house: SocketAddr = server.parse().ok()?;
        (server, dial.entries()?.get(&house)?.to_string())
    } else {
        let house: IpAddr = content.parse().ok()?;
        let at = dial.entries()?.get(&SocketAddr::new(house, TALOS_PORT))?;
        (content, if at.port() == TALOS_PORT { at.ip().to_string() } else { at.to_string() })
    };
    Some(line.replace(old, &new))
}
