//! Which servers stand at which addresses of a project's house.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use castle_core::{Error, ErrorKind, Project, Result};

use crate::git::furnish::Location;
use crate::infisical::furnish::HOST as INFISICAL;
use crate::lab::Door;

/// The port of Proxmox VE's API.
pub(crate) const PROXMOX_PORT: u16 = 8006;
const HTTPS_PORT: u16 = 443;

/// The servers of a house beside its nodes.
#[derive(Default)]
pub(crate) struct House {
    pub(crate) doors: Vec<Door>,
    /// Which of them declarations know by name and port.
    pub(crate) names: BTreeMap<(String, u16), SocketAddr>,
}

/// One hypervisor for each host; a Git server and an Infisical where the project is
/// handed over. They stand at addresses of the subnet that nobody declared.
pub(crate) fn house_of(project: &Project) -> Result<House> {
    let mut house = House::default();
    let mut addresses = free_addresses(project);
    let mut address = |what: &str| {
        addresses.next().ok_or_else(|| {
            let subnet = project.network.subnet;
            Error::new(ErrorKind::InvalidSpec, format!("{subnet} has no address left for {what}"))
                .hint("declare a larger subnet")
        })
    };
    let proxmox = crate::server::proxmox();
    for host in project.hosts.keys() {
        house.doors.push(Door {
            house: SocketAddr::new(address(&format!("host `{host}`"))?, PROXMOX_PORT),
            names: vec![host.to_string(), format!("{host}.{}", project.cluster.name)],
            service: Arc::clone(&proxmox),
        });
    }
    let Some(gitops) = &project.gitops else { return Ok(house) };
    let mut named = |host: &str, port: u16, service| -> Result<()> {
        let at = match host.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, port),
            Err(_) => {
                let at = SocketAddr::new(address(&format!("`{host}`"))?, port);
                house.names.insert((host.to_ascii_lowercase(), port), at);
                at
            }
        };
        let names = if host.parse::<IpAddr>().is_ok() { Vec::new() } else { vec![host.to_owned()] };
        house.doors.push(Door { house: at, names, service });
        Ok(())
    };
    // A repository that is not reached by HTTPS is nobody's the lab could play.
    if let Some(Location { host, port, .. }) = Location::of(&gitops.repository.url) {
        named(&host, port, crate::server::git())?;
    }
    named(INFISICAL, HTTPS_PORT, crate::server::infisical())?;
    Ok(house)
}

/// The addresses of the subnet that the project leaves free, those past the
/// router's own low numbers first.
fn free_addresses(project: &Project) -> impl Iterator<Item = IpAddr> {
    let network = &project.network;
    let is_taken = |address: &IpAddr| {
        *address == network.gateway
            || network.vip == Some(*address)
            || network.dns.contains(address)
            || network.load_balancers.is_some_and(|(first, last)| (first..=last).contains(address))
            || project.machines.iter().any(|machine| machine.nic.address == *address)
    };
    let (low, high) = (network.subnet.hosts().take(9), network.subnet.hosts().skip(9));
    high.chain(low).filter(move |address| !is_taken(address))
}
