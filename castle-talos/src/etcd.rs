//! Etcd on the nodes: its service, its members, its birth.

use std::net::IpAddr;

use castle_core::words::heard;
use castle_core::{EtcdService, Member};

use crate::client::Connection;
use crate::wire::machine::{BootstrapRequest, EtcdMemberListRequest, EtcdRemoveMemberByIdRequest, ServiceInfo};
use crate::{Error, Refusal, Result};

const SERVICE: &str = "etcd";

/// The state in which etcd answers.
pub(crate) const RUNNING: &str = "Running";

const SERVICE_LIST: &str = "machine.MachineService/ServiceList";
const MEMBER_LIST: &str = "machine.MachineService/EtcdMemberList";
const REMOVE_MEMBER: &str = "machine.MachineService/EtcdRemoveMemberByID";
const BOOTSTRAP: &str = "machine.MachineService/Bootstrap";

impl Connection {
    /// The etcd service of a control plane. Before the node knows that it has one,
    /// its state is empty.
    pub(crate) async fn etcd_service(&self) -> Result<EtcdService> {
        let mut machine = self.machine();
        let answer = self.read(SERVICE_LIST, async { machine.service_list(()).await }).await?.into_inner();
        let mut services = answer.messages.into_iter().flat_map(|list| list.services);
        Ok(services.find(|service| service.id == SERVICE).map(service_of).unwrap_or_default())
    }

    /// Etcd's members, as the node's own etcd lists them. Empty: it does not run.
    pub(crate) async fn etcd_members(&self) -> Result<Vec<Member>> {
        let refused = match self.member_list(true).await {
            Ok(members) => return Ok(members),
            // A learner does not answer itself, but it knows who does.
            Err(error) if error.refusal() == Some(Refusal::Learner) => return self.member_list(false).await,
            Err(error) if error.refusal().is_some() => error,
            Err(lost) => return Err(lost),
        };
        match refused.refusal() {
            Some(Refusal::NotAuthorized | Refusal::NotAControlPlane | Refusal::Unsupported) => Err(refused),
            // Talos words the silence of its own etcd in many ways; the service tells
            // whether etcd is meant to answer.
            _ if self.etcd_service().await?.state == RUNNING => Err(refused),
            _ => Ok(Vec::new()),
        }
    }

    async fn member_list(&self, query_local: bool) -> Result<Vec<Member>> {
        let mut machine = self.machine();
        let request = EtcdMemberListRequest { query_local };
        let answer = self.read(MEMBER_LIST, async { machine.etcd_member_list(request).await }).await?.into_inner();
        let listed = answer.messages.into_iter().flat_map(|list| list.members);
        let mut members: Vec<Member> = listed
            .map(|member| Member {
                id: member.id,
                name: member.hostname,
                addresses: member.peer_urls.iter().filter_map(|url| address_of(url)).collect(),
                learner: member.is_learner,
            })
            .collect();
        members.sort();
        Ok(members)
    }

    /// Removes a member; absent is success.
    pub(crate) async fn remove_etcd_member(&self, member_id: u64) -> Result<()> {
        let mut machine = self.machine();
        let request = EtcdRemoveMemberByIdRequest { member_id };
        match self.write(REMOVE_MEMBER, async { machine.etcd_remove_member_by_id(request).await }).await {
            Err(error) if matches!(error.refusal(), Some(Refusal::NoSuchMember | Refusal::NoSuchResource)) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Gives birth to etcd here. Where it has data already, its member list decides:
    /// it answered over a connection that this life's authority proved, so it is
    /// success if it knows nobody but `declared` nodes.
    pub(crate) async fn bootstrap_etcd(&self, declared: &[(&str, IpAddr)]) -> Result<()> {
        let mut machine = self.machine();
        let request = BootstrapRequest { recover_etcd: false, recover_skip_hash_check: false };
        let refused = match self.write(BOOTSTRAP, async { machine.bootstrap(request).await }).await {
            Err(error) if error.refusal() == Some(Refusal::DataDirectoryNotEmpty) => error,
            answer => return answer.map(drop),
        };
        let members = self.etcd_members().await?;
        match strangers_among(&members, declared) {
            _ if members.is_empty() => Err(refused),
            strangers if strangers.is_empty() => Ok(()),
            strangers => Err(Error::OldData {
                node: self.node().to_owned(),
                evidence: format!("its member list names {}", strangers.join(", ")),
            }),
        }
    }
}

/// The members that are no declared node: neither by name nor, where they did not
/// start yet and have no name, by address.
pub(crate) fn strangers_among(members: &[Member], declared: &[(&str, IpAddr)]) -> Vec<String> {
    let is_declared = |member: &Member| {
        declared.iter().any(|(name, address)| match member.name.as_str() {
            "" => member.addresses.contains(address),
            named => named == *name && (member.addresses.is_empty() || member.addresses.contains(address)),
        })
    };
    members.iter().filter(|member| !is_declared(member)).map(shown).collect()
}

/// A member in words: name or address, and id.
pub(crate) fn shown(member: &Member) -> String {
    let addresses: Vec<String> = member.addresses.iter().map(ToString::to_string).collect();
    match (heard(&member.name).as_str(), addresses.is_empty()) {
        ("", true) => format!("a nameless member {:016x}", member.id),
        ("", false) => format!("{} ({:016x})", addresses.join(" "), member.id),
        (name, true) => format!("{name} ({:016x})", member.id),
        (name, false) => format!("{name} at {} ({:016x})", addresses.join(" "), member.id),
    }
}

fn service_of(info: ServiceInfo) -> EtcdService {
    let health = info.health.unwrap_or_default();
    let last_event = info.events.and_then(|events| events.events.into_iter().next_back());
    let message = match health.last_message.as_str() {
        "" => last_event.map(|event| event.msg).unwrap_or_default(),
        said => said.to_owned(),
    };
    EtcdService { healthy: !health.unknown && health.healthy, state: heard(&info.state), message: heard(&message) }
}

/// The address in `https://192.168.1.211:2380`.
fn address_of(url: &str) -> Option<IpAddr> {
    let host = url.split_once("://")?.1.rsplit_once(':')?.0;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, host: u8) -> Member {
        Member { id: u64::from(host), name: name.into(), addresses: vec![[192, 168, 1, host].into()], learner: false }
    }

    #[test]
    fn peer_urls_hold_addresses() {
        assert_eq!(address_of("https://192.168.1.211:2380"), Some([192, 168, 1, 211].into()));
        assert_eq!(address_of("https://[fd00::1]:2380"), Some("fd00::1".parse().expect("an address")));
        assert_eq!(address_of("https://cp-01:2380"), None);
        assert_eq!(address_of(""), None);
    }

    #[test]
    fn a_member_is_declared_by_name_and_address_together() {
        let declared = [("cp-01", IpAddr::from([192, 168, 1, 211])), ("cp-02", IpAddr::from([192, 168, 1, 212]))];
        let check = |members: &[Member], expected: &[&str]| {
            assert_eq!(strangers_among(members, &declared), expected);
        };
        check(&[member("cp-01", 211), member("", 212)], &[]);
        check(&[member("cp-01", 99)], &["cp-01 at 192.168.1.99 (0000000000000063)"]);
        check(&[member("old", 211)], &["old at 192.168.1.211 (00000000000000d3)"]);
        check(&[member("", 7)], &["192.168.1.7 (0000000000000007)"]);
    }

    #[test]
    fn what_etcd_says_last_is_told() {
        let info = |health: Option<&str>| ServiceInfo {
            id: SERVICE.into(),
            state: "Preparing".into(),
            events: Some(crate::wire::machine::ServiceEvents {
                events: ["Starting service", "Running pre state"]
                    .map(|msg| crate::wire::machine::ServiceEvent { msg: msg.into(), ..Default::default() })
                    .to_vec(),
            }),
            health: health.map(|said| crate::wire::machine::ServiceHealth {
                healthy: true,
                unknown: false,
                last_message: said.into(),
                last_change: None,
            }),
        };
        let silent = service_of(info(None));
        assert_eq!(
            (silent.state.as_str(), silent.healthy, silent.message.as_str()),
            ("Preparing", false, "Running pre state")
        );
        assert_eq!(
            service_of(info(Some("fine"))),
            EtcdService { state: "Preparing".into(), healthy: true, message: "fine".into() }
        );
    }
}
