//! `dial` of an option document: where connections really go.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use super::{read, refuse};
use crate::options::DialMap;
use crate::value::Findings;
use crate::value::locator::is_host_name;
use crate::yaml::place;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DialText {
    from: Spanned<String>,
    to: Spanned<String>,
}

#[derive(Serialize)]
pub(super) struct RenderedDial {
    from: String,
    to: SocketAddr,
}

/// What is dialled: an address, or a server known by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Dialled {
    Address(SocketAddr),
    Name(String, u16),
}

impl Dialled {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address));
        }
        let (host, port) = text.rsplit_once(':')?;
        let host = host.to_ascii_lowercase();
        // The last label of a name has a letter: `192.168.1.256:443` is a slip.
        let is_name = is_host_name(&host)
            && host.rsplit('.').next().is_some_and(|label| label.contains(|c: char| c.is_ascii_alphabetic()));
        let port = port.parse().ok().filter(|port| *port > 0)?;
        is_name.then_some(Self::Name(host, port))
    }
}

/// The map of these entries. Nothing else is dialled, not even without entries.
pub(super) fn dial(findings: &mut Findings, entries: Vec<DialText>) -> DialMap {
    let mut map: BTreeMap<Dialled, SocketAddr> = BTreeMap::new();
    for entry in entries {
        let from = Dialled::parse(entry.from.value.trim());
        let at = place(entry.from.referenced);
        if from.is_none() {
            let hint = "write `192.168.1.10:8006` or `git.example.net:443`";
            refuse(findings, "dial.from", "is neither an address nor a name with a port", hint, at);
        }
        let to = read::<SocketAddr>(findings, "dial.to", &entry.to, "an address with a port");
        if let (Some(from), Some(to)) = (from, to)
            && map.insert(from, to).is_some()
        {
            refuse(findings, "dial.from", "is mapped twice", "keep one of the entries", at);
        }
    }
    let (mut addresses, mut names) = (BTreeMap::new(), BTreeMap::new());
    for (from, to) in map {
        match from {
            Dialled::Address(address) => drop(addresses.insert(address, to)),
            Dialled::Name(name, port) => drop(names.insert((name, port), to)),
        }
    }
    DialMap::exclusive(addresses).with_names(names)
}

/// The entries that [`dial`] reads back; `None` if every address is dialled as it is.
pub(super) fn rendered(map: &DialMap) -> Option<Vec<RenderedDial>> {
    let addresses = map.entries()?.iter().map(|(from, to)| RenderedDial { from: from.to_string(), to: *to });
    let names = map.names().iter().map(|((name, port), to)| RenderedDial { from: format!("{name}:{port}"), to: *to });
    Some(addresses.chain(names).collect())
}
