//! Talos as the operating system of castle's nodes.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use castle_core::options::Options;
use castle_core::words::heard;
use castle_core::{
    Context, Credential, Env, ErrorKind, Ghost, Member, Meter, NodeOs, NodeReport, NodeRole, NodeSite, NodeState,
    NodeTarget, Problem, Project, SecretBytes, SecretText,
};
use futures::future::{join, join_all, join3};
use futures::stream::BoxStream;

use crate::client::{Connection, GLANCE, PATIENCE, Reach};
use crate::cosi::{
    ADDRESS_STATUS, AFFILIATE, AddressStatus, DISCOVERED_VOLUME, ETCD_MEMBER, INFO, MACHINE_STATUS, MEMBER,
};
use crate::etcd::RUNNING;
use crate::ghosts::{self, Residue, Scene, Seen, Sighting, Testimony, VipAnswer};
use crate::session::{Contact, Mode, Session, TalosOptions, right_machine};
use crate::stage::Progress;
use crate::tls::{self, Distrust, Fingerprint};
use crate::wire::machine::ApplyConfigurationRequest;
use crate::wire::machine::apply_configuration_request::Mode as ApplyMode;
use crate::{Error, Result, watch};

const APPLY: &str = "machine.MachineService/ApplyConfiguration";

/// Where the Kubernetes API answers, for proving the VIP.
const KUBERNETES_PORT: u16 = 6443;

/// The partitions that must be blank before a node is configured, by their labels:
/// the configuration, the rest of a node's life, and etcd where it has one of its
/// own. The image brings some of them without a file system.
const BLANK_BEFORE_BIRTH: [&str; 3] = ["STATE", "EPHEMERAL", "ETCD"];

/// Nodes under Talos Linux.
///
/// # Guarantees
///
/// - Nothing secret is sent before the other end is proved: a configured node by
///   a certificate of the life's own authority for that very address, a waiting
///   one by a pin of its key, or, if [`TalosOptions`] allow it, by its uuid on the
///   same connection.
/// - A call that changes something is sent once. When its answer is lost, castle
///   looks before it acts again.
/// - Connections are kept while they live; a look is one to three calls.
pub struct TalosOs {
    session: Arc<Session>,
}

impl fmt::Debug for TalosOs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TalosOs").field("options", &self.session.options).finish_non_exhaustive()
    }
}

impl TalosOs {
    /// Prepares to reach nodes as `options` say. Asks nobody yet.
    ///
    /// # Errors
    ///
    /// `InvalidSpec` for a pin of zeros: a place that was never filled in.
    pub fn new(options: &Options, env: &Env, talos: TalosOptions) -> castle_core::Result<Self> {
        let pins = talos.pins.iter().map(|(node, pin)| (node.as_str(), *pin));
        let everybodys = talos.maintenance.and_then(|trust| match trust {
            tls::MaintenanceTrust::Pin(pin) => Some(("every node", pin)),
            tls::MaintenanceTrust::OnFirstUse => None,
        });
        if let Some((node, _)) = pins.chain(everybodys).find(|(_, pin)| *pin == [0; 32]) {
            return Err(castle_core::Error::new(ErrorKind::InvalidSpec, format!("the pin for {node} is all zeros"))
                .hint("give the fingerprint that the machine's console shows"));
        }
        let reach = Reach::new(options, env.clock.clone());
        Ok(Self { session: Arc::new(Session::new(reach, env.clone(), talos)) })
    }

    /// Looks once; over a connection that stood and died unseen, once more.
    async fn sight(&self, site: &NodeSite, node: &NodeTarget) -> Result<NodeState> {
        let contact = self.session.contact(site, node, GLANCE).await?;
        match self.look_over(&contact, site, node).await {
            Err(Error::Silent { .. }) if contact.kept => {
                self.session.forget(&contact);
                let contact = self.session.contact(site, node, GLANCE).await?;
                self.look_over(&contact, site, node).await
            }
            answer => answer,
        }
    }

    async fn look_over(&self, contact: &Contact, site: &NodeSite, node: &NodeTarget) -> Result<NodeState> {
        let looked = match contact.mode {
            Mode::Ours => self.report(&contact.connection, site, node).await,
            Mode::Maintenance => waiting(&contact.connection).await.map(|(uuid, residue)| NodeState::Maintenance {
                uuid,
                residue: residue.iter().map(ToString::to_string).collect(),
            }),
        };
        if let Err(Error::Silent { .. }) = looked {
            self.session.forget(contact);
        }
        looked
    }

    async fn report(&self, connection: &Connection, site: &NodeSite, node: &NodeTarget) -> Result<NodeState> {
        let control_plane = node.spec.role == NodeRole::ControlPlane;
        let etcd = async {
            match control_plane {
                true => connection.etcd_service().await.map(Some),
                false => Ok(None),
            }
        };
        let (uuid, status, etcd) = join3(connection.uuid(), connection.get(&MACHINE_STATUS, "machine"), etcd).await;
        let (uuid, progress, etcd) = (uuid?, Progress::of(status?), etcd?);
        if let Some(found) = uuid.filter(|found| *found != node.uuid) {
            return Ok(NodeState::Stranger(format!(
                "it is a node of this cluster on the machine {found}, and {} was born as {}",
                node.spec.node, node.uuid
            )));
        }
        // Only where etcd runs can the node have been elected to carry it.
        let holds_vip = match site.project.network.vip {
            Some(vip) if etcd.as_ref().is_some_and(|etcd| etcd.state == RUNNING) => carries(connection, vip).await?,
            _ => false,
        };
        let Progress { stage, ready, unmet, time_synced } = progress;
        Ok(NodeState::Ours(Box::new(NodeReport { uuid, stage, ready, unmet, time_synced, etcd, holds_vip })))
    }

    /// Proves a waiting node and its disk, on the connection that will carry the
    /// configuration.
    async fn prove_blank(&self, contact: &Contact, node: &NodeTarget) -> Result<()> {
        let name = node.spec.node.as_str();
        if self.session.options.trust_in(name).is_none() {
            let found = Session::shown_key(&contact.connection).unwrap_or(Fingerprint([0; 32]));
            return Err(Error::Unproved { node: name.to_owned(), found });
        }
        let (uuid, residue) = waiting(&contact.connection).await?;
        right_machine(node, uuid)?;
        if residue.is_empty() {
            return Ok(());
        }
        let residue = residue.iter().map(ToString::to_string).collect();
        Err(Error::NotBlank { node: name.to_owned(), residue })
    }

    async fn configure(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> castle_core::Result<()> {
        let mut contact = self.session.contact(site, node, PATIENCE).await?;
        if contact.kept {
            // What was true when it was opened may be long past.
            self.session.forget(&contact);
            contact = self.session.contact(site, node, PATIENCE).await?;
        }
        if contact.mode == Mode::Ours {
            // It got its configuration from this life: nobody else has the authority.
            right_machine(node, contact.connection.uuid().await?)?;
            return Ok(());
        }
        self.prove_blank(&contact, node).await?;
        let configuration = self.render(site, node)?;
        cx.check()?;
        let request = ApplyConfigurationRequest {
            data: configuration.expose().clone(),
            // The wire's default is a reboot.
            mode: ApplyMode::Auto.into(),
            dry_run: false,
            try_mode_timeout: None,
        };
        let mut machine = contact.connection.machine();
        let sent = contact.connection.write(APPLY, async { machine.apply_configuration(request).await }).await;
        // Its API begins anew, with a certificate of ours.
        self.session.forget(&contact);
        match sent {
            Ok(answer) => {
                let warnings = answer.into_inner().messages.into_iter().flat_map(|applied| applied.warnings);
                warnings.for_each(|warning| cx.notice(format!("{}: {}", node.spec.node, heard(&warning))));
                Ok(())
            }
            // It may have gone down with the answer: then it comes back as ours.
            Err(lost @ Error::OutcomeUnknown { .. }) => match self.sight(site, node).await {
                Ok(NodeState::Ours(_)) => Ok(()),
                _ => Err(lost.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    async fn sighting(&self, site: &NodeSite, node: &NodeTarget) -> Result<Sighting> {
        let seen = match self.session.contact(site, node, GLANCE).await {
            Ok(Contact { mode: Mode::Maintenance, connection, .. }) => match waiting(&connection).await {
                Ok((Some(uuid), _)) if uuid != node.uuid => Seen::OtherMachine(format!(
                    "the machine {uuid} waits for a configuration there, and {} was born as {}",
                    node.spec.node, node.uuid
                )),
                Ok((_, residue)) => Seen::Maintenance(residue),
                Err(_) => Seen::Silent,
            },
            Ok(Contact { mode: Mode::Ours, connection, .. }) => match connection.uuid().await {
                Ok(Some(uuid)) if uuid != node.uuid => Seen::OtherMachine(format!(
                    "a node of this cluster on the machine {uuid} has the address, and {} was born as {}",
                    node.spec.node, node.uuid
                )),
                Ok(_) => match testimony(&connection, site, node).await {
                    Ok(testimony) => Seen::Ours(Box::new(testimony)),
                    Err(_) => Seen::Silent,
                },
                Err(_) => Seen::Silent,
            },
            Err(error @ (Error::NotDialled { .. } | Error::BadBundle { .. })) => return Err(error),
            Err(Error::Untrusted { distrust, .. }) => match &distrust {
                Distrust::Foreign { talos, .. } => Seen::Foreign { why: distrust.to_string(), talos: *talos },
                Distrust::OtherKey { .. } | Distrust::Unreadable => {
                    Seen::Foreign { why: distrust.to_string(), talos: false }
                }
                Distrust::OtherAddress { .. } => Seen::OtherMachine(format!("it {distrust}")),
                Distrust::Maintenance | Distrust::OtherTime { .. } => Seen::Silent,
            },
            Err(_) => Seen::Silent,
        };
        Ok(Sighting {
            node: node.spec.node.to_string(),
            address: node.spec.nic.address,
            control_plane: node.spec.role == NodeRole::ControlPlane,
            seen,
        })
    }

    /// What a handshake at the VIP shows.
    async fn at_vip(&self, site: &NodeSite, vip: IpAddr) -> Result<VipAnswer> {
        let credentials = self.session.credentials(site)?;
        let tls = tls::kubernetes(&credentials, vip, self.session.reach.clock())?;
        Ok(match self.session.reach.secure(vip, KUBERNETES_PORT, tls, GLANCE).await {
            Ok(_) => VipAnswer::Ours,
            Err(Error::Untrusted { distrust, .. }) => match distrust {
                Distrust::OtherAddress { .. } | Distrust::OtherTime { .. } => VipAnswer::Ours,
                foreign => VipAnswer::Foreign(foreign.to_string()),
            },
            Err(_) => VipAnswer::Silent,
        })
    }
}

/// What a waiting node tells anybody: its uuid, and what its disk holds.
async fn waiting(connection: &Connection) -> Result<(Option<uuid::Uuid>, Vec<Residue>)> {
    let (uuid, volumes) = join(connection.uuid(), connection.list(&DISCOVERED_VOLUME)).await;
    let residue = volumes?
        .into_iter()
        .filter(|(_, volume)| BLANK_BEFORE_BIRTH.contains(&volume.partition_label.as_str()) && !volume.name.is_empty())
        .map(|(device, volume)| Residue {
            label: volume.partition_label,
            content: heard(&volume.name),
            device: heard(&device),
        });
    Ok((uuid?, residue.collect()))
}

async fn carries(connection: &Connection, vip: IpAddr) -> Result<bool> {
    let is_vip = |status: &AddressStatus| {
        status.address.split('/').next().and_then(|address| address.parse::<IpAddr>().ok()) == Some(vip)
    };
    Ok(connection.list(&ADDRESS_STATUS).await?.values().any(is_vip))
}

/// Everything that a node of ours knows about the cluster. What it does not want
/// to tell is missing.
async fn testimony(connection: &Connection, site: &NodeSite, node: &NodeTarget) -> Result<Testimony> {
    fn told<T: Default>(answer: Result<T>) -> Result<T> {
        match answer {
            Err(error) if error.refusal().is_some() => Ok(T::default()),
            answer => answer,
        }
    }
    let mut testimony = Testimony {
        cluster_id: told(connection.get(&INFO, "current").await)?.map(|info| info.cluster_id),
        affiliates: told(connection.list(&AFFILIATE).await)?.into_values().collect(),
        members: told(connection.list(&MEMBER).await)?.into_values().collect(),
        ..Testimony::default()
    };
    if node.spec.role == NodeRole::ControlPlane {
        testimony.etcd = told(connection.etcd_service().await)?;
        testimony.etcd_members = told(connection.etcd_members().await)?;
        testimony.etcd_id = told(own_member(connection).await)?;
        if let Some(vip) = site.project.network.vip {
            testimony.holds_vip = carries(connection, vip).await?;
        }
    }
    Ok(testimony)
}

/// The member of etcd that a control plane is, where it knows.
async fn own_member(connection: &Connection) -> Result<Option<u64>> {
    let own = connection.get(&ETCD_MEMBER, "local").await?;
    Ok(own.and_then(|own| u64::from_str_radix(&own.member_id, 16).ok()))
}

#[async_trait]
impl NodeOs for TalosOs {
    fn name(&self) -> &'static str {
        "talos"
    }

    fn meter(&self) -> &Meter {
        self.session.reach.meter()
    }

    fn validate(&self, project: &Project) -> Vec<Problem> {
        crate::config::check(project)
    }

    fn render(&self, site: &NodeSite, node: &NodeTarget) -> castle_core::Result<SecretBytes> {
        crate::config::render(site, node)
    }

    async fn look(&self, _cx: &Context, site: &NodeSite, node: &NodeTarget) -> castle_core::Result<NodeState> {
        Ok(match self.sight(site, node).await {
            Ok(state) => state,
            Err(error @ (Error::NotDialled { .. } | Error::BadBundle { .. })) => return Err(error.into()),
            Err(Error::Silent { how, .. }) => NodeState::Silent(how),
            Err(Error::Untrusted { distrust, .. }) if distrust.may_pass() => {
                NodeState::Silent(format!("it {distrust}"))
            }
            Err(Error::Untrusted { distrust, .. }) => NodeState::Stranger(format!("it {distrust}")),
            // Its API is up before what stands behind it.
            Err(Error::Refused { call, said, .. }) => {
                NodeState::Silent(format!("it answers, and not yet to {call}: {said}"))
            }
            Err(other) => NodeState::Silent(other.to_string()),
        })
    }

    fn watch(&self, _cx: &Context, site: &NodeSite, node: &NodeTarget) -> BoxStream<'static, ()> {
        watch::wakes(self.session.clone(), site, node)
    }

    async fn apply(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> castle_core::Result<()> {
        self.configure(cx, site, node).await
    }

    async fn bootstrap(&self, cx: &Context, site: &NodeSite, node: &NodeTarget) -> castle_core::Result<()> {
        let contact = self.session.proved(site, node, PATIENCE).await?;
        let declared: Vec<(&str, IpAddr)> =
            site.project.with_role(NodeRole::ControlPlane).map(|spec| (spec.node.as_str(), spec.nic.address)).collect();
        cx.check()?;
        let born = contact.connection.bootstrap_etcd(&declared).await;
        if let Err(Error::Silent { .. } | Error::OutcomeUnknown { .. }) = born {
            self.session.forget(&contact);
        }
        Ok(born?)
    }

    async fn members(&self, _cx: &Context, site: &NodeSite, node: &NodeTarget) -> castle_core::Result<Vec<Member>> {
        let contact = self.session.ours(site, node, PATIENCE).await?;
        Ok(match contact.connection.etcd_members().await {
            Err(Error::Silent { .. }) if contact.kept => {
                self.session.forget(&contact);
                self.session.ours(site, node, PATIENCE).await?.connection.etcd_members().await?
            }
            answer => answer?,
        })
    }

    async fn member_id(&self, _cx: &Context, site: &NodeSite, node: &NodeTarget) -> castle_core::Result<Option<u64>> {
        // Of another machine at its address the answer would be another member's.
        let contact = self.session.proved(site, node, PATIENCE).await?;
        Ok(own_member(&contact.connection).await?)
    }

    async fn remove_member(
        &self,
        cx: &Context,
        site: &NodeSite,
        through: &NodeTarget,
        id: u64,
    ) -> castle_core::Result<()> {
        let contact = self.session.proved(site, through, PATIENCE).await?;
        cx.check()?;
        let removed = contact.connection.remove_etcd_member(id).await;
        if let Err(Error::OutcomeUnknown { .. }) = removed {
            self.session.forget(&contact);
        }
        Ok(removed?)
    }

    async fn ghosts(&self, _cx: &Context, site: &NodeSite, nodes: &[NodeTarget]) -> castle_core::Result<Vec<Ghost>> {
        let cluster_id = self.session.credentials(site)?.cluster_id().to_owned();
        let sightings = join_all(nodes.iter().map(|node| self.sighting(site, node))).await;
        let nodes = sightings.into_iter().collect::<Result<Vec<_>>>()?;
        let vip = match site.project.network.vip {
            Some(vip) => Some((vip, self.at_vip(site, vip).await?)),
            None => None,
        };
        Ok(ghosts::named(&Scene { cluster_id, nodes, vip }))
    }

    fn kubeconfig(&self, env: &Env, site: &NodeSite, kept: Option<&SecretText>) -> castle_core::Result<SecretText> {
        crate::kubeconfig::mint(env, site, kept)
    }

    fn talosconfig(&self, env: &Env, site: &NodeSite, kept: Option<&SecretText>) -> castle_core::Result<SecretText> {
        crate::talosconfig::mint(env, site, kept)
    }

    fn is_credential(&self, project: &Project, which: Credential, text: &SecretText) -> bool {
        match which {
            Credential::Kubeconfig => crate::kubeconfig::is_of(&project.cluster.name, text),
            Credential::Talosconfig => crate::talosconfig::is_of(&project.cluster.name, text),
            _ => false,
        }
    }
}
