//! Steps about nodes, etcd and the API.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};

use super::Site;
use crate::plan::{Action, PlannedStep};
use crate::step::{Step, Verdict};
use crate::{Context, Error, ErrorKind, Member, Milestone, NodeRole, NodeState, Power, Result, Slot};

/// When a node that tells of no change is looked at all the same: what brings its etcd
/// back happens on the others.
const SECOND_LOOK: Duration = Duration::from_secs(30);

/// How long a node may show a configuration on its disk and still wait for one.
const TAKING_EFFECT: Duration = Duration::from_secs(30);

/// A planned step about a node, etcd or the API: mostly a condition that is
/// watched.
pub(super) struct NodeWork {
    step: PlannedStep,
    site: Arc<Site>,
}

impl NodeWork {
    pub(super) fn new(step: PlannedStep, site: Arc<Site>) -> Self {
        Self { step, site }
    }

    async fn look(&self, cx: &Context, machine: usize) -> Result<NodeState> {
        let site = self.site.node_site()?;
        self.site.node_os()?.look(cx, &site, &self.site.target(machine)?).await
    }

    async fn members(&self, cx: &Context, machine: usize) -> Result<Vec<Member>> {
        let site = self.site.node_site()?;
        self.site.node_os()?.members(cx, &site, &self.site.target(machine)?).await
    }

    fn stranger(&self, machine: usize, who: &str) -> Error {
        let spec = &self.site.project.machines[machine];
        Error::new(
            ErrorKind::ForeignOwner,
            format!("what answers at {} is not node {}: {who}", spec.nic.address, spec.node),
        )
        .with("node", &spec.node)
        .hint(
            "find out who uses the address (`ip neigh`); castle sends nothing there. If it is this machine, configured \
             by somebody else or in a former life, run `castle destroy` and `castle create`",
        )
    }

    /// Whether the node answers, in maintenance or as ours.
    async fn answers(&self, cx: &Context, machine: usize) -> Result<Verdict> {
        match self.look(cx, machine).await? {
            NodeState::Maintenance { .. } | NodeState::Ours(_) => Ok(Verdict::Met),
            NodeState::Silent(how) => Ok(Verdict::NotYet(format!("nothing answers there: {how}").into())),
            NodeState::Stranger(who) => Err(self.stranger(machine, &who)),
        }
    }

    async fn is_configured(&self, cx: &Context, machine: usize) -> Result<Verdict> {
        match self.look(cx, machine).await? {
            NodeState::Ours(_) => Ok(Verdict::Met),
            NodeState::Maintenance { .. } => Ok(Verdict::NotYet("it is in maintenance".into())),
            NodeState::Silent(how) => Ok(Verdict::NotYet(self.why_it_boots(machine, &how).into())),
            NodeState::Stranger(who) => Err(self.stranger(machine, &who)),
        }
    }

    /// A worker opens its API only once a control plane has signed its certificate.
    fn why_it_boots(&self, machine: usize, how: &str) -> String {
        match self.site.project.machines[machine].role {
            NodeRole::Worker => format!("it boots, and gets its certificate from a control plane (trustd): {how}"),
            NodeRole::ControlPlane => format!("it boots: {how}"),
        }
    }

    /// Whether this control plane's etcd lives and votes.
    async fn votes(&self, cx: &Context, machine: usize) -> Result<Verdict> {
        let name = &self.site.project.machines[machine].node;
        let report = match self.look(cx, machine).await? {
            NodeState::Ours(report) => report,
            NodeState::Silent(how) => return Ok(Verdict::NotYet(format!("it does not answer: {how}").into())),
            NodeState::Maintenance { .. } => return Ok(Verdict::NotYet("it is in maintenance".into())),
            NodeState::Stranger(who) => return Err(self.stranger(machine, &who)),
        };
        let etcd = report.etcd.unwrap_or_default();
        if !etcd.healthy {
            let message = if etcd.message.is_empty() { String::new() } else { format!(": {}", etcd.message) };
            return Ok(Verdict::NotYet(format!("etcd is {}{message}", etcd.state.to_lowercase()).into()));
        }
        let members = self.members(cx, machine).await?;
        Ok(match members.iter().find(|member| member.name == name.as_str()) {
            Some(member) if !member.learner => Verdict::Met,
            Some(_) => Verdict::NotYet("it learns and does not vote yet".into()),
            None => Verdict::NotYet(format!("{} members, and it is not among them", members.len()).into()),
        })
    }

    /// Gives the node its configuration, unless it has it.
    ///
    /// A node that was given its configuration a moment ago, by an engine that died
    /// since, still answers in maintenance and has it on its disk already. So what
    /// is found there is residue only if it stays: the node itself is asked for a
    /// while before the configuration is offered, and refused with its reason.
    async fn configure(&self, cx: &Context, machine: usize) -> Result<()> {
        let (os, site, target) = (self.site.node_os()?, self.site.node_site()?, self.site.target(machine)?);
        let mut wakes = os.watch(cx, &site, &target);
        let mut residue_since = None;
        let mut lost = false;
        loop {
            cx.check()?;
            match os.look(cx, &site, &target).await? {
                NodeState::Ours(_) => return Ok(()),
                NodeState::Stranger(who) => return Err(self.stranger(machine, &who)),
                NodeState::Maintenance { residue, .. } if residue.is_empty() => {
                    self.site.saw_blank(machine);
                    match os.apply(cx, &site, &target).await {
                        Ok(()) => return Ok(()),
                        Err(error) => {
                            self.bear(cx, machine, error).await?;
                            lost = true;
                        }
                    }
                }
                NodeState::Maintenance { residue, .. } => {
                    let now = cx.clock().elapsed();
                    if now.saturating_sub(*residue_since.get_or_insert(now)) > TAKING_EFFECT {
                        return os.apply(cx, &site, &target).await;
                    }
                    cx.waiting(format!(
                        "a configuration to take effect, or else it is residue: {}",
                        residue.join("; ")
                    ));
                }
                NodeState::Silent(how) => {
                    residue_since = None;
                    let silent = Error::new(ErrorKind::Unreachable, format!("nothing answers there: {how}"));
                    match lost {
                        true => self.bear(cx, machine, silent).await?,
                        false => cx.waiting(silent.chain()),
                    }
                }
            }
            // A node that waits for ever tells nothing new.
            if let Some(woken) = cx.clock().within(TAKING_EFFECT, next(cx, &mut wakes, &self.step.id)).await {
                woken?;
            }
        }
    }

    /// Bears a lost answer while the machine runs: the node itself will tell what
    /// came of the question, and is looked at before it is put again. A machine that
    /// is gone or off tells nothing any more.
    async fn bear(&self, cx: &Context, machine: usize, error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Unreachable {
            return Err(error);
        }
        let spec = &self.site.project.machines[machine];
        match self.site.backends.machines.get(cx, &self.site.owner(), spec).await? {
            Slot::Present(found) if found.power == Power::Running => {
                cx.waiting(error.chain());
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Waits for an etcd that was born in this life already. It is never born
    /// again: a second one would be another cluster, with the same secrets and none of
    /// the data. Only where that data is proved to be gone is there nothing to wait for;
    /// an etcd without its quorum shows the same face, and comes back with it.
    async fn await_revival(&self, cx: &Context, first: usize) -> Result<()> {
        if self.site.etcd_is_lost() {
            let spec = &self.site.project.machines[first];
            return Err(Error::new(
                ErrorKind::EvidenceMissing,
                format!(
                    "etcd was born in this life already, and control plane {} has none: its disk is lost",
                    spec.node
                ),
            )
            .with("node", &spec.node)
            .hint("a second etcd would be another cluster: destroy the cluster and create it again"));
        }
        let (os, site, target) = (self.site.node_os()?, self.site.node_site()?, self.site.target(first)?);
        let mut wakes = os.watch(cx, &site, &target);
        loop {
            cx.check()?;
            match patient(self.votes(cx, first).await)? {
                Verdict::Met => return Ok(()),
                Verdict::NotYet(why) | Verdict::Never(why) => cx.waiting(why),
            }
            if let Some(woken) = cx.clock().within(SECOND_LOOK, next(cx, &mut wakes, &self.step.id)).await {
                woken?;
            }
        }
    }

    /// An etcd that was born and did not come back within the deadline.
    fn quorum_lost(&self, first: usize, why: &str) -> Error {
        let machines = &self.site.project.machines;
        let spec = &machines[first];
        let others: Vec<&str> = self
            .control_planes()
            .filter(|&machine| machine != first)
            .map(|machine| machines[machine].node.as_str())
            .collect();
        let made_anew: Vec<&str> = self
            .control_planes()
            .filter(|&machine| self.site.was_absent(machine))
            .map(|machine| machines[machine].node.as_str())
            .collect();
        let console = format!("look at its console: `qm terminal {}` on host {}", spec.id, spec.host);
        let error = Error::new(
            ErrorKind::QuorumLost,
            format!(
                "etcd was born in this life, and control plane {} did not vote again within {} s: {why}",
                spec.node,
                self.step.deadline.as_secs()
            ),
        )
        .with("node", &spec.node);
        error.hint(match others.is_empty() {
            true => format!(
                "it is the only one, and its etcd comes back with its disk: {console}; if that disk was replaced, \
                 destroy the cluster and create it again"
            ),
            false => format!(
                "bring the other control planes back ({}): etcd's data is on their disks, and its quorum is a majority \
                 of them; then run the same command again. If they are on, {console}. {}",
                others.join(", "),
                match made_anew.is_empty() {
                    true => "If a majority of those disks was replaced, destroy the cluster and create it again".into(),
                    false => format!(
                        "{} was made anew, without its data: if no majority of the old disks is left, destroy the \
                         cluster and create it again",
                        made_anew.join(", ")
                    ),
                }
            ),
        })
    }

    /// Gives birth to etcd, after every other control plane was asked.
    async fn bootstrap(&self, cx: &Context, first: usize) -> Result<()> {
        let (os, site, target) = (self.site.node_os()?, self.site.node_site()?, self.site.target(first)?);
        let mut watches = Vec::new();
        for machine in self.control_planes() {
            watches.push(os.watch(cx, &site, &self.site.target(machine)?));
        }
        let mut wakes: BoxStream<'static, ()> = futures::stream::select_all(watches).boxed();
        let mut noted = false;
        loop {
            cx.check()?;
            match self.prove_that_no_etcd_lives(cx, first).await {
                Ok(None) => {}
                // Another operator was faster: there is nothing to ask for any more.
                Ok(Some(witness)) => {
                    cx.waiting(witness);
                    next(cx, &mut wakes, &self.step.id).await?;
                    if patient(self.votes(cx, first).await)? == Verdict::Met {
                        return Ok(());
                    }
                    continue;
                }
                // Silence is no proof: it is waited for, and asked again.
                Err(error) if error.kind() == ErrorKind::Unreachable => {
                    self.bear(cx, first, error).await?;
                    next(cx, &mut wakes, &self.step.id).await?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            cx.check()?;
            if !noted {
                // From here on an etcd may live there, whatever becomes of the answer.
                self.site.note_bootstrap(first).await?;
                noted = true;
                cx.check()?;
            }
            match os.bootstrap(cx, &site, &target).await {
                Ok(()) => return Ok(()),
                // The node cannot do it yet, and says why.
                Err(error) if error.kind() == ErrorKind::Conflict => cx.waiting(error.chain()),
                // Another operator was faster, or it was ours and the answer is lost.
                Err(error) => self.bear(cx, first, error).await?,
            }
            next(cx, &mut wakes, &self.step.id).await?;
            if patient(self.votes(cx, first).await)? == Verdict::Met {
                return Ok(());
            }
        }
    }

    fn control_planes(&self) -> impl Iterator<Item = usize> + '_ {
        let machines = &self.site.project.machines;
        (0..machines.len()).filter(|&machine| machines[machine].role == NodeRole::ControlPlane)
    }

    /// G12: etcd is born at most once in a life. Every control plane is asked. One
    /// that has members forbids it; one that cannot be asked forbids it too, unless
    /// the hypervisor proves that it never ran with a configuration: its machine is
    /// absent, or off, or it waits in maintenance.
    ///
    /// `Some`: it was born already, on the first control plane, and others have joined
    /// it; who says so.
    async fn prove_that_no_etcd_lives(&self, cx: &Context, first: usize) -> Result<Option<String>> {
        for machine in self.control_planes() {
            let spec = &self.site.project.machines[machine];
            let refuse = |what: String| {
                Error::new(ErrorKind::EvidenceMissing, format!("etcd is not born: {what}"))
                    .with("node", &spec.node)
                    .hint("bring the control plane back, or destroy the cluster and create it again")
            };
            let slot = self.site.backends.machines.get(cx, &self.site.owner(), spec).await?;
            match slot {
                Slot::Absent => continue,
                Slot::Present(found) if found.power == Power::Stopped && machine != first => continue,
                Slot::Present(_) => {}
                Slot::Hidden => return Err(refuse(format!("machine {} cannot be seen", spec.id))),
                Slot::Unknown(why) => {
                    return Err(Error::new(ErrorKind::Unreachable, format!("machine {} is not known: {why}", spec.id)));
                }
            }
            match self.look(cx, machine).await? {
                NodeState::Maintenance { .. } => {}
                NodeState::Silent(_) if machine != first && self.is_surely_empty(cx, machine) => {}
                NodeState::Silent(how) => {
                    return Err(Error::new(
                        ErrorKind::Unreachable,
                        format!("control plane {} cannot be asked whether its etcd lives: {how}", spec.node),
                    )
                    .with("node", &spec.node));
                }
                NodeState::Stranger(who) => return Err(self.stranger(machine, &who)),
                NodeState::Ours(_) if machine == first => {}
                NodeState::Ours(_) => {
                    let members = self.members(cx, machine).await?;
                    let first = &self.site.project.machines[first];
                    if members.iter().any(|member| member.addresses.contains(&first.nic.address)) {
                        return Ok(Some(format!(
                            "etcd was born: {} lists {} among its members",
                            spec.node, first.node
                        )));
                    }
                    if !members.is_empty() {
                        return Err(refuse(format!("{} already lists {} members", spec.node, members.len())));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether a silent control plane cannot hold an etcd of this life: this very
    /// run made its machine and has not configured it, or saw its disk blank before
    /// it configured it. Since then etcd can only have been born on the first
    /// control plane, which is asked itself.
    fn is_surely_empty(&self, cx: &Context, machine: usize) -> bool {
        let name = &self.site.project.machines[machine].node;
        let begun = |id: &str| {
            cx.log()
                .events()
                .iter()
                .any(|event| matches!(&event.kind, crate::EventKind::StepStarted { step, .. } if step == id))
        };
        let unconfigured = begun(&format!("machine/{name}/create")) && !begun(&format!("node/{name}/configure"));
        unconfigured || self.site.was_blank(machine)
    }

    fn met(&self, cx: &Context, milestone: Milestone) -> Verdict {
        self.site.reached(cx, milestone);
        Verdict::Met
    }

    async fn nodes_are_ready(&self, cx: &Context) -> Result<Verdict> {
        let nodes = self.site.api(cx)?.nodes(cx).await?;
        for machine in 0..self.site.project.machines.len() {
            let target = self.site.target(machine)?;
            let name = target.spec.node.as_str();
            match nodes.iter().find(|node| node.name == name) {
                None => return Ok(Verdict::NotYet(format!("node {name} has not registered").into())),
                Some(node) if node.system_uuid != target.uuid.to_string() => {
                    return Ok(Verdict::NotYet(format!("node {name} registered from another machine").into()));
                }
                Some(node) if !node.ready => {
                    return Ok(Verdict::NotYet(format!("node {name} is not Ready: {}", node.why_not).into()));
                }
                Some(_) => {}
            }
        }
        Ok(Verdict::Met)
    }
}

async fn next(cx: &Context, wakes: &mut BoxStream<'static, ()>, step: &str) -> Result<()> {
    tokio::select! {
        biased;
        () = cx.cancel().cancelled() => Err(Error::cancelled()),
        wake = wakes.next() => wake.ok_or_else(|| {
            Error::new(ErrorKind::Unreachable, format!("`{step}` lost its watch"))
        }),
    }
}

/// An API that does not answer is a reason to wait, not a failure.
fn patient(result: Result<Verdict>) -> Result<Verdict> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::RateLimited | ErrorKind::Conflict) => {
            Ok(Verdict::NotYet(error.chain().into()))
        }
        other => other,
    }
}

#[async_trait]
impl Step for NodeWork {
    fn id(&self) -> &str {
        &self.step.id
    }

    fn needs(&self) -> &[String] {
        &self.step.needs
    }

    fn deadline(&self) -> Duration {
        self.step.deadline
    }

    fn observed(&self) -> Option<Verdict> {
        Some(Verdict::NotYet(self.step.because.clone().into()))
    }

    fn advice(&self) -> Option<String> {
        let machines = &self.site.project.machines;
        let console = |machine: usize| {
            let spec = &machines[machine];
            format!("look at its console: `qm terminal {}` on host {}", spec.id, spec.host)
        };
        Some(match self.step.action {
            Action::Answer(machine) => format!(
                "the three usual causes: bridge {} does not reach {} (VLAN, cable, firewall); a CPU type below \
                 x86-64-v2, which halts the boot; an image that is not Talos' nocloud image, which ignores the \
                 address{}. {}",
                machines[machine].nic.bridge,
                machines[machine].nic.subnet,
                match machines[machine].role {
                    NodeRole::ControlPlane => "",
                    // It listens only after a control plane of its own cluster signed for it.
                    NodeRole::Worker =>
                        "; or a disk that holds another cluster's configuration, with which a worker stays silent \
                         (destroy the cluster and create it again: disks go with their machines)",
                },
                console(machine)
            ),
            Action::Configure(machine) => format!(
                "the usual causes: its clock is not in sync (NTP blocked); a worker that reaches no control plane at \
                 port 50001; images that cannot be pulled. {}",
                console(machine)
            ),
            Action::Bootstrap(machine) | Action::Join(machine) => format!(
                "the usual causes: its clock is not in sync (NTP blocked); etcd's image cannot be pulled; dead control \
                 planes of a former life in the discovery service, which forgets them after 30 minutes (`castle \
                 status` names ghosts); an etcd that has failed begins again when its machine restarts. {}",
                console(machine)
            ),
            Action::Api | Action::Cni | Action::Nodes => {
                "what it waited for last is in the error: a node that is not Ready is switched on or destroyed, an API \
                 that does not answer has a control plane that is off or whose etcd has no quorum; then run the same \
                 command again, it goes on from here"
                    .to_owned()
            }
            _ => return None,
        })
    }

    fn overdue(&self, why: &str) -> Option<Error> {
        match self.step.action {
            Action::Bootstrap(machine) if self.site.etcd_was_born() => Some(self.quorum_lost(machine, why)),
            _ => None,
        }
    }

    async fn probe(&self, cx: &Context) -> Result<Verdict> {
        patient(match self.step.action {
            Action::Answer(machine) => self.answers(cx, machine).await,
            Action::Configure(machine) => self.is_configured(cx, machine).await,
            Action::Bootstrap(machine) => match self.votes(cx, machine).await {
                Ok(Verdict::Met) => {
                    // Seen alive for the first time: from now on it is never born again.
                    self.site.note_birth().await?;
                    Ok(Verdict::Met)
                }
                other => other,
            },
            Action::Join(machine) => self.votes(cx, machine).await,
            Action::Api => self.site.api(cx)?.serves(cx).await.map(|()| self.met(cx, Milestone::ApiServing)),
            Action::Cni => self.site.api(cx)?.cni(cx).await.map(|cni| match cni.waiting {
                _ if cni.is_ready() => self.met(cx, Milestone::CniReady),
                Some(pod) => Verdict::NotYet(format!("{} of {} pods are ready: {pod}", cni.ready, cni.wanted).into()),
                None => Verdict::NotYet("no pod of the network exists".into()),
            }),
            Action::Nodes => self.nodes_are_ready(cx).await.map(|verdict| match verdict {
                Verdict::Met => self.met(cx, Milestone::NodesReady),
                other => other,
            }),
            _ => Err(Error::new(ErrorKind::Unexpected, format!("`{}` is no work on a node", self.step.id))),
        })
    }

    async fn act(&self, cx: &Context) -> Result<()> {
        match self.step.action {
            Action::Configure(machine) => self.configure(cx, machine).await,
            Action::Bootstrap(machine) => {
                if self.site.etcd_was_born() {
                    return self.await_revival(cx, machine).await;
                }
                if self.votes(cx, machine).await? == Verdict::Met {
                    return Ok(());
                }
                self.bootstrap(cx, machine).await
            }
            _ => Ok(()),
        }
    }

    fn watch(&self, cx: &Context) -> Option<BoxStream<'static, ()>> {
        let node = |machine: usize| {
            let (os, site, target) =
                (self.site.node_os().ok()?, self.site.node_site().ok()?, self.site.target(machine).ok()?);
            Some(os.watch(cx, &site, &target))
        };
        match self.step.action {
            Action::Answer(machine)
            | Action::Configure(machine)
            | Action::Bootstrap(machine)
            | Action::Join(machine) => node(machine),
            _ => Some(self.site.api(cx).ok()?.watch(cx)),
        }
    }
}
