//! Remnants of former lives: which there are, and the one cure that is a deed of
//! its own.

use crate::castle::Castle;
use crate::{
    Birth, Context, Error, ErrorKind, Ghost, MachineSpec, Member, Name, NodeOs, NodeRole, NodeSite, NodeState,
    NodeTarget, Owner, Result, Slot,
};

/// A declared control plane, and which member of etcd it is, by its own word.
struct Voice {
    target: NodeTarget,
    /// The member that its healthy etcd is; else why it could not say so.
    member: Result<u64, String>,
}

impl Castle {
    /// What is left of former lives, each remnant with its name and its cure. Reads
    /// only. Empty while no life goes on: then there is nothing to disturb.
    ///
    /// # Errors
    ///
    /// `Unsupported` without a system for the nodes; what the secret store says. A
    /// node that does not answer shows no ghost and is no error. `DeadlineExceeded` if a
    /// backend does not answer at all, `Cancelled` if `cx` is.
    ///
    /// # Cancellation
    ///
    /// May be dropped at any time: it only reads.
    pub async fn ghosts(&self, cx: &Context) -> Result<Vec<Ghost>> {
        let os = self.node_os()?;
        let (number, site) = match self.in_time(cx, self.life_site()).await {
            Ok(life) => life,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let targets = self.targets(number, &site, self.project().machines.iter())?;
        self.in_time(cx, os.ghosts(cx, &site, &targets)).await
    }

    /// Removes a member from etcd by its id, through a healthy control plane, and
    /// says through which. A member that is absent already is success.
    ///
    /// A declared control plane that is silent for a moment is no remnant: its member
    /// goes only if its machine is proved absent, or if `waived` names it, a person's
    /// word that it is dead. Whether two members have its name or one, the control
    /// plane itself says which of them it is.
    ///
    /// # Errors
    ///
    /// `EvidenceMissing` if the member is a control plane that lives, or one of which
    /// nothing proves that it does not. `QuorumLost` if too few healthy voters would be
    /// left. `Unreachable` if no control plane is healthy. `Conflict` if the member is
    /// still listed afterwards. `DeadlineExceeded` and `Cancelled` as for
    /// [`Castle::ghosts`], while it looks.
    ///
    /// # Cancellation
    ///
    /// A removal that was sent is not left without its answer for a cancelled `cx`. If
    /// the future itself is dropped then, the member may be gone; asked again, it says so.
    pub async fn remove_member(&self, cx: &Context, id: u64, waived: Option<&Name>) -> Result<Name> {
        let os = self.node_os()?;
        let (number, site) = self.in_time(cx, self.life_site()).await?;
        let planes = self.targets(number, &site, self.project().with_role(NodeRole::ControlPlane))?;
        let mut voices = Vec::new();
        for target in planes {
            let member = self.in_time(cx, own_member(cx, os, &site, &target)).await?;
            voices.push(Voice { target, member });
        }
        let Some(through) = voices.iter().find(|voice| voice.member.is_ok()).map(|voice| &voice.target) else {
            return Err(Error::new(ErrorKind::Unreachable, "no control plane has a healthy etcd to ask")
                .with("member", format!("{id:016x}"))
                .hint("`castle status` shows what each control plane says of its etcd"));
        };
        let members = self.in_time(cx, os.members(cx, &site, through)).await?;
        if let Some(member) = members.iter().find(|member| member.id == id) {
            let evidence = self.proof_of_death(cx, member, &voices, waived).await?;
            keeps_quorum(member, &members, &voices)?;
            cx.notice(format!("member {} is removed through {}: {evidence}", shown(member), through.spec.node));
        }
        cx.check()?;
        os.remove_member(cx, &site, through, id).await?;
        if os.members(cx, &site, through).await?.iter().any(|member| member.id == id) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("{} was asked to remove member {id:016x} and still lists it", through.spec.node),
            )
            .with("member", format!("{id:016x}"))
            .hint("look again with `castle members`; then run the same command again"));
        }
        Ok(through.spec.node.clone())
    }

    fn targets<'a>(
        &self,
        life: u32,
        site: &NodeSite,
        specs: impl Iterator<Item = &'a MachineSpec>,
    ) -> Result<Vec<NodeTarget>> {
        let cluster_id = self.backends().identity.cluster_id(&site.bundle)?;
        let target = |spec: &MachineSpec| NodeTarget {
            uuid: Birth::uuid_of(&cluster_id, life, &spec.node, 1),
            spec: spec.clone(),
        };
        Ok(specs.map(target).collect())
    }

    /// What proves that a member is no control plane that lives.
    async fn proof_of_death(
        &self,
        cx: &Context,
        member: &Member,
        voices: &[Voice],
        waived: Option<&Name>,
    ) -> Result<String> {
        let id = member.id;
        let refuse = |message: String, hint: String| {
            Err(Error::new(ErrorKind::EvidenceMissing, message).with("member", format!("{id:016x}")).hint(hint))
        };
        if let Some(voice) = voices.iter().find(|voice| voice.member.as_ref() == Ok(&id)) {
            let node = &voice.target.spec.node;
            return refuse(
                format!("member {id:016x} is the living control plane {node}"),
                "`castle members` shows every member; only one that is no living node is a remnant".into(),
            );
        }
        let of_plane = |voice: &&Voice| {
            let spec = &voice.target.spec;
            member.name == spec.node.as_str() || member.addresses.contains(&spec.nic.address)
        };
        let Some(voice) = voices.iter().find(of_plane) else { return Ok("no declared control plane is it".into()) };
        let spec = &voice.target.spec;
        let silence = match &voice.member {
            Ok(own) => return Ok(format!("control plane {} is member {own:016x}", spec.node)),
            Err(silence) => silence,
        };
        if waived == Some(&spec.node) {
            return Ok(format!("somebody vouches that control plane {} is dead", spec.node));
        }
        // An absence is proved by the hypervisor alone; it takes no key.
        let project = self.project();
        let reserved = project.machines.iter().map(|spec| spec.id);
        let owner = Owner::new(project.project.clone(), project.cluster.name.clone(), None, reserved);
        let machine = match self.in_time(cx, self.backends().machines.get(cx, &owner, spec)).await? {
            Slot::Absent => return Ok(format!("machine {} of control plane {} is absent", spec.id, spec.node)),
            Slot::Present(found) => found.power.to_string(),
            Slot::Hidden => "there, and the token may not see it".into(),
            Slot::Unknown(why) => format!("not known: {why}"),
        };
        refuse(
            format!(
                "member {id:016x} may be control plane {}: nothing proves that it is dead. It does not say which member \
                 it is ({silence}), and its machine {} is {machine}",
                spec.node, spec.id
            ),
            format!(
                "bring it back, or remove machine {} on host {}; if it is surely dead, vouch for it: `castle members \
                 --remove {id:016x} --waive-member {}`",
                spec.id, spec.host, spec.node
            ),
        )
    }
}

/// Which member of etcd a control plane is, by its own word; else why it does not say
/// so.
async fn own_member(
    cx: &Context,
    os: &dyn NodeOs,
    site: &NodeSite,
    target: &NodeTarget,
) -> Result<Result<u64, String>> {
    let report = match os.look(cx, site, target).await? {
        NodeState::Ours(report) => report,
        NodeState::Silent(how) => return Ok(Err(how)),
        NodeState::Maintenance { .. } => return Ok(Err("it is in maintenance".into())),
        NodeState::Stranger(who) => return Ok(Err(who)),
    };
    let etcd = report.etcd.unwrap_or_default();
    if !etcd.healthy {
        return Ok(Err(format!("its etcd is {}: {}", etcd.state.to_lowercase(), etcd.message)));
    }
    Ok(match os.member_id(cx, site, target).await {
        Ok(Some(id)) => Ok(id),
        Ok(None) => Err("it does not know its own member".into()),
        Err(error) => Err(error.chain()),
    })
}

/// G13: a voter goes only if those that are healthy and stay are a quorum of those
/// that stay. A learner has no vote to lose.
fn keeps_quorum(leaves: &Member, members: &[Member], voices: &[Voice]) -> Result<()> {
    if leaves.learner {
        return Ok(());
    }
    let stay: Vec<u64> =
        members.iter().filter(|member| !member.learner && member.id != leaves.id).map(|member| member.id).collect();
    let is_healthy = |id: &&u64| voices.iter().any(|voice| voice.member.as_ref() == Ok(*id));
    let (healthy, quorum) = (stay.iter().filter(is_healthy).count(), stay.len() / 2 + 1);
    if healthy >= quorum {
        return Ok(());
    }
    let unheard = members
        .iter()
        .filter(|member| !member.learner && member.id != leaves.id)
        .filter(|member| !is_healthy(&&member.id))
        .map(shown);
    let unheard: Vec<String> = unheard.collect();
    Err(Error::new(
        ErrorKind::QuorumLost,
        format!(
            "without member {} etcd has {} voters, of which {healthy} are known to be healthy; its quorum is {quorum}",
            shown(leaves),
            stay.len()
        ),
    )
    .with("member", format!("{:016x}", leaves.id))
    .hint(format!(
        "bring back first what votes and is not known to be healthy: {}; then run the same command again. One that \
         castle.yaml no longer declares cannot be asked: declare it again until then",
        unheard.join(", ")
    )))
}

/// A member in words: id and name.
fn shown(member: &Member) -> String {
    match member.name.as_str() {
        "" => format!("{:016x}", member.id),
        name => format!("{:016x} ({name})", member.id),
    }
}
