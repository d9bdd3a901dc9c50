//! Remnants of former lives: which there are, and the one cure that is a deed of
//! its own.

use crate::castle::Castle;
use crate::{Birth, Context, Error, ErrorKind, Ghost, Name, NodeRole, NodeState, NodeTarget, Result};

impl Castle {
    /// What is left of former lives, each remnant with its name and its cure. Reads
    /// only. Empty while no life goes on: then there is nothing to disturb.
    ///
    /// # Errors
    ///
    /// `Unsupported` without a system for the nodes; what the secret store says. A
    /// node that does not answer shows no ghost and is no error.
    pub async fn ghosts(&self, cx: &Context) -> Result<Vec<Ghost>> {
        let os = self.node_os()?;
        let (number, site) = match self.life_site().await {
            Ok(life) => life,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let cluster_id = self.backends().identity.cluster_id(&site.bundle)?;
        let target = |spec: &crate::MachineSpec| NodeTarget {
            uuid: Birth::uuid_of(&cluster_id, number, &spec.node, 1),
            spec: spec.clone(),
        };
        let targets: Vec<NodeTarget> = self.project().machines.iter().map(target).collect();
        os.ghosts(cx, &site, &targets).await
    }

    /// Removes a member from etcd by its id, through a healthy control plane, and
    /// says through which. A member that is absent already is success.
    ///
    /// # Errors
    ///
    /// `EvidenceMissing` if the member is a declared control plane that lives and
    /// votes, and no other member has its name: it is no ghost. `Unreachable` if no
    /// control plane is healthy.
    pub async fn remove_member(&self, cx: &Context, id: u64) -> Result<Name> {
        let os = self.node_os()?;
        let (number, site) = self.life_site().await?;
        let cluster_id = self.backends().identity.cluster_id(&site.bundle)?;
        let mut healthy = Vec::new();
        for spec in self.project().with_role(NodeRole::ControlPlane) {
            let uuid = Birth::uuid_of(&cluster_id, number, &spec.node, 1);
            let target = NodeTarget { spec: spec.clone(), uuid };
            if let NodeState::Ours(report) = os.look(cx, &site, &target).await?
                && report.etcd.is_some_and(|etcd| etcd.healthy)
            {
                healthy.push(target);
            }
        }
        let Some(first) = healthy.first() else {
            return Err(Error::new(ErrorKind::Unreachable, "no control plane has a healthy etcd to ask")
                .with("member", format!("{id:016x}"))
                .hint("`castle status` shows what each control plane says of its etcd"));
        };
        let members = os.members(cx, &site, first).await?;
        if let Some(member) = members.iter().find(|member| member.id == id) {
            let same_name = members.iter().filter(|other| other.name == member.name).count();
            let lives = healthy.iter().any(|target| target.spec.node.as_str() == member.name);
            if lives && same_name == 1 && !member.learner {
                return Err(Error::new(
                    ErrorKind::EvidenceMissing,
                    format!("member {id:016x} is the living control plane {}", member.name),
                )
                .with("member", format!("{id:016x}"))
                .hint("`castle members` shows every member; only one that is no living node is a remnant"));
            }
        }
        // Not through itself: it would not live to answer.
        let own = |target: &&NodeTarget| {
            members.iter().any(|member| member.id == id && member.name == target.spec.node.as_str())
        };
        let through = healthy.iter().find(|target| !own(target)).unwrap_or(first);
        os.remove_member(cx, &site, through, id).await?;
        Ok(through.spec.node.clone())
    }
}
