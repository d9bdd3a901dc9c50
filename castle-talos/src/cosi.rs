//! Reading and watching a node's resources.
//!
//! Every fact about a Talos node is a resource: a namespace, a kind, an id, and
//! a spec that the server writes as YAML. Over the network they can only be
//! read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use prost::Message as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::client::Connection;
use crate::wire::cosi::{
    EventType, GetRequest, ListRequest, Resource as WireResource, WatchOptions, WatchRequest, WatchResponse,
};
use crate::{Error, Refusal, Result};

/// A kind of resource, where it lives, and how its spec reads.
pub(crate) struct Kind<T> {
    pub namespace: &'static str,
    pub name: &'static str,
    spec: std::marker::PhantomData<fn() -> T>,
}

impl<T> Kind<T> {
    const fn new(namespace: &'static str, name: &'static str) -> Self {
        Self { namespace, name, spec: std::marker::PhantomData }
    }
}

/// `machine`: how far the node's boot has come.
pub(crate) const MACHINE_STATUS: Kind<MachineStatus> = Kind::new("runtime", "MachineStatuses.runtime.talos.dev");
/// By service id: whether a service runs and is healthy.
pub(crate) const SERVICE: Kind<Service> = Kind::new("runtime", "Services.v1alpha1.talos.dev");
/// `systeminformation`: what the firmware says, readable in maintenance too.
pub(crate) const SYSTEM_INFORMATION: Kind<SystemInformation> =
    Kind::new("hardware", "SystemInformations.hardware.talos.dev");
/// By `<link>/<prefix>`: the addresses that the node really has.
pub(crate) const ADDRESS_STATUS: Kind<AddressStatus> = Kind::new("network", "AddressStatuses.net.talos.dev");
/// By device: what lies on the disks.
pub(crate) const DISCOVERED_VOLUME: Kind<DiscoveredVolume> = Kind::new("runtime", "DiscoveredVolumes.block.talos.dev");
/// By node id: whom the discovery service knows.
pub(crate) const AFFILIATE: Kind<Affiliate> = Kind::new("cluster", "Affiliates.cluster.talos.dev");
/// By node name: whom Talos counts as the cluster.
pub(crate) const MEMBER: Kind<ClusterMember> = Kind::new("cluster", "Members.cluster.talos.dev");
/// `current`: which cluster the node belongs to.
pub(crate) const INFO: Kind<Info> = Kind::new("cluster", "Infos.cluster.talos.dev");
/// `local`: the node's own member id in etcd.
pub(crate) const ETCD_MEMBER: Kind<EtcdMember> = Kind::new("etcd", "EtcdMembers.etcd.talos.dev");

/// Spec of [`MACHINE_STATUS`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct MachineStatus {
    pub stage: String,
    pub status: Readiness,
}

/// Whether the node is ready, and what it misses.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Readiness {
    pub ready: bool,
    pub unmet_conditions: Vec<UnmetCondition>,
}

/// One thing that the node misses.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct UnmetCondition {
    pub name: String,
    pub reason: String,
}

/// Spec of [`SERVICE`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Service {
    pub running: bool,
    pub healthy: bool,
}

/// Spec of [`SYSTEM_INFORMATION`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SystemInformation {
    pub uuid: String,
}

/// Spec of [`ADDRESS_STATUS`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AddressStatus {
    pub address: String,
}

/// Spec of [`DISCOVERED_VOLUME`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DiscoveredVolume {
    /// The file system or other content; empty on a blank partition.
    pub name: String,
    pub partition_label: String,
}

/// Spec of [`AFFILIATE`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Affiliate {
    pub node_id: String,
    pub addresses: Vec<IpAddr>,
    pub hostname: String,
    pub nodename: String,
    pub machine_type: String,
}

/// Spec of [`MEMBER`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ClusterMember {
    pub node_id: String,
    pub addresses: Vec<IpAddr>,
    pub hostname: String,
}

/// Spec of [`INFO`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Info {
    pub cluster_id: String,
}

/// Spec of [`ETCD_MEMBER`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct EtcdMember {
    /// 16 hex digits.
    #[serde(rename = "memberID")]
    pub member_id: String,
}

const GET: &str = "cosi.resource.State/Get";
const LIST: &str = "cosi.resource.State/List";
const WATCH: &str = "cosi.resource.State/Watch";

/// How many resources of one kind are read: a node has some dozens, and whoever
/// answers in maintenance is not proved to be one.
const LIST_MAX: usize = 10_000;
/// How many bytes they may have together on the wire.
const LIST_BYTES_MAX: usize = 16 << 20;

fn spec<T: DeserializeOwned>(from: &Connection, call: &'static str, resource: WireResource) -> Result<T> {
    let yaml = resource.spec.map(|spec| spec.yaml_spec).unwrap_or_default();
    // The parser's words may quote the spec; the kind is enough.
    serde_saphyr::from_str(&yaml).map_err(|_| {
        let kind = resource.metadata.map(|metadata| metadata.r#type).unwrap_or_default();
        from.malformed(call, format!("the spec of a resource of kind {kind} does not read as one"))
    })
}

impl Connection {
    /// One resource; `None` if the node has none of that id.
    pub(crate) async fn get<T: DeserializeOwned>(&self, kind: &Kind<T>, id: &str) -> Result<Option<T>> {
        let request =
            GetRequest { namespace: kind.namespace.into(), r#type: kind.name.into(), id: id.into(), options: None };
        let mut state = self.state();
        let answer = match self.read(GET, async { state.get(request).await }).await {
            Err(error) if error.refusal() == Some(Refusal::NoSuchResource) => return Ok(None),
            answer => answer?.into_inner(),
        };
        let resource = answer.resource.ok_or_else(|| self.malformed(GET, "it holds no resource"))?;
        spec(self, GET, resource).map(Some)
    }

    /// Every resource of a kind, by id.
    pub(crate) async fn list<T: DeserializeOwned>(&self, kind: &Kind<T>) -> Result<BTreeMap<String, T>> {
        let request = ListRequest { namespace: kind.namespace.into(), r#type: kind.name.into(), options: None };
        let mut state = self.state();
        let resources = self
            .read(LIST, async {
                let mut answers = state.list(request).await?.into_inner();
                let (mut resources, mut bytes) = (Vec::new(), 0);
                while let Some(answer) = answers.message().await? {
                    bytes += answer.encoded_len();
                    resources.extend(answer.resource);
                    if resources.len() > LIST_MAX || bytes > LIST_BYTES_MAX {
                        return Ok(None);
                    }
                }
                Ok(Some(resources))
            })
            .await?
            .ok_or_else(|| {
                let mib = LIST_BYTES_MAX >> 20;
                self.malformed(
                    LIST,
                    format!("more than {LIST_MAX} resources of kind {}, or {mib} MiB of them", kind.name),
                )
            })?;
        let mut found = BTreeMap::new();
        for resource in resources {
            let id = resource.metadata.as_ref().map(|metadata| metadata.id.clone()).unwrap_or_default();
            found.insert(id, spec(self, LIST, resource)?);
        }
        Ok(found)
    }

    /// Opens a watch of one resource or of a kind. It is established, and what
    /// exists already was told, when this returns; the stream then gives one item
    /// for each message with changes, and ends with the connection.
    pub(crate) async fn changes<T>(&self, kind: &Kind<T>, id: Option<&str>) -> Result<BoxStream<'static, ()>> {
        let request = WatchRequest {
            namespace: kind.namespace.into(),
            r#type: kind.name.into(),
            id: id.map(str::to_owned),
            // For one id the server refuses the option, and tells the present state anyway.
            options: id.is_none().then(|| WatchOptions { bootstrap_contents: true, ..WatchOptions::default() }),
            api_version: 1,
        };
        let mut state = self.state();
        let opening = async {
            let mut messages = state.watch(request).await?.into_inner();
            while let Some(message) = messages.message().await? {
                if is_complete(&message, id.is_some()) {
                    return Ok(Some(messages));
                }
            }
            Ok(None)
        };
        let messages = self
            .read(WATCH, opening)
            .await?
            .ok_or_else(|| self.malformed(WATCH, "the stream ended before it told the present state"))?;
        Ok(stream::unfold(messages, |mut messages| async move {
            loop {
                match messages.message().await {
                    Ok(Some(message)) if message.event.iter().any(is_change) => return Some(((), messages)),
                    Ok(Some(message)) if message.event.iter().any(is_error) => return None,
                    Ok(Some(_)) => {}
                    // The end, or a broken connection: whoever watches looks again.
                    Ok(None) | Err(_) => return None,
                }
            }
        })
        .boxed())
    }
}

/// Whether the present state has been told: for one id by its first event, for a
/// kind by an event of its own.
fn is_complete(message: &WatchResponse, one: bool) -> bool {
    message.event.iter().any(|event| match event.event_type() {
        EventType::Bootstrapped => true,
        EventType::Created | EventType::Updated | EventType::Destroyed => one,
        EventType::Errored | EventType::Noop => false,
    })
}

fn is_change(event: &crate::wire::cosi::Event) -> bool {
    matches!(event.event_type(), EventType::Created | EventType::Updated | EventType::Destroyed)
}

fn is_error(event: &crate::wire::cosi::Event) -> bool {
    event.event_type() == EventType::Errored
}

impl Connection {
    /// The uuid of the machine, asked once on this connection.
    pub(crate) async fn uuid(&self) -> Result<Option<uuid::Uuid>> {
        if let Some(known) = self.uuid_slot().get() {
            return Ok(*known);
        }
        let said = self.get(&SYSTEM_INFORMATION, "systeminformation").await?;
        let uuid = match said {
            // Not read from the firmware yet: asked again at the next look.
            None => return Ok(None),
            Some(said) if said.uuid.is_empty() => None,
            Some(said) => {
                Some(said.uuid.parse().map_err(|_| self.malformed(GET, format!("`{}` is no uuid", said.uuid)))?)
            }
        };
        Ok(*self.uuid_slot().get_or_init(|| uuid))
    }
}

/// The refusal of a watch on a kind that this Talos does not know is no reason to
/// fail: the other watches and the back-off remain.
pub(crate) fn is_unknown_kind(error: &Error) -> bool {
    matches!(error.refusal(), Some(Refusal::Unsupported | Refusal::NotAuthorized))
}
