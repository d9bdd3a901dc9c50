//! Steps about machines and lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::Site;
use crate::life::Fact;
use crate::plan::{Action, Goal, PlannedStep};
use crate::step::{Step, Verdict};
use crate::{Context, Error, ErrorKind, MachineSpec, Milestone, NodeRole, Power, Result, Slot};

/// A planned step at work. Every act below awaits its effect and reads it back
/// (the rule tables of the ports say so), so the probe that follows an act does
/// not ask the same question a second time.
pub(super) struct MachineWork {
    step: PlannedStep,
    site: Arc<Site>,
    confirmed: AtomicBool,
}

impl MachineWork {
    pub(super) fn new(step: PlannedStep, site: Arc<Site>) -> Self {
        Self { step, site, confirmed: AtomicBool::new(false) }
    }

    fn spec(&self, machine: usize) -> &MachineSpec {
        &self.site.project.machines[machine]
    }

    /// Whether etcd is born on this machine.
    fn is_first_control_plane(&self, machine: usize) -> bool {
        let first = self.site.project.machines.iter().position(|spec| spec.role == NodeRole::ControlPlane);
        first == Some(machine)
    }

    /// Whether every other control plane is absent, proved, or was when this round
    /// began: a copy of etcd's data is nowhere else. What this round makes there beside
    /// is blank.
    async fn no_other_holds_etcd(&self, cx: &Context, machine: usize) -> Result<bool> {
        for other in self.control_planes().filter(|&other| other != machine) {
            if !self.site.was_absent(other) && !matches!(self.look(cx, other).await?, Slot::Absent) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn control_planes(&self) -> impl Iterator<Item = usize> {
        let machines = &self.site.project.machines;
        (0..machines.len()).filter(|&machine| machines[machine].role == NodeRole::ControlPlane)
    }

    /// Notes what the machine that is about to be made has taken with it, before it is
    /// made: afterwards its blank disk looks like any other.
    async fn note_losses(&self, cx: &Context, machine: usize) -> Result<()> {
        let site = &self.site;
        if self.spec(machine).role != NodeRole::ControlPlane {
            return Ok(());
        }
        // Another control plane's loss says something only where all of them are lost.
        let is_first = self.is_first_control_plane(machine);
        let all_lost = site.etcd_was_born() && self.control_planes().all(|plane| site.was_absent(plane));
        if !(all_lost || is_first && site.may_have_had_etcd().await?)
            || !matches!(self.look(cx, machine).await?, Slot::Absent)
        {
            return Ok(());
        }
        let entirely = all_lost || self.no_other_holds_etcd(cx, machine).await?;
        cx.check()?;
        site.note_loss(entirely).await
    }

    /// Whether the machine that was to make room has made it already, and the one of
    /// the new life stands there: another operator was faster.
    async fn is_born_anew(&self, cx: &Context, machine: usize) -> Result<bool> {
        if self.site.goal == Goal::Destroy {
            return Ok(false);
        }
        let life = self.site.life_number()?;
        Ok(match self.look(cx, machine).await? {
            Slot::Present(found) if !found.dying => found.standing.ours().is_some_and(|mark| mark.life >= life),
            _ => false,
        })
    }

    /// Removes the machine that was to make room. One of the new life stays, whether
    /// it is seen before the removal or in the midst of it.
    async fn remove(&self, cx: &Context, machine: usize) -> Result<()> {
        let (site, spec) = (&self.site, self.spec(machine));
        let stays = || cx.notice(format!("machine {} is of this life already; it stays", spec.id));
        if self.is_born_anew(cx, machine).await? {
            stays();
            return Ok(());
        }
        match site.backends.machines.destroy(cx, &site.remover(), spec).await {
            Ok(removal) => site.found(removal.leftovers),
            Err(error) if error.kind() == ErrorKind::Conflict && self.is_born_anew(cx, machine).await? => stays(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Makes the machine exist. What an older life left under its number, in
    /// creation when the plan saw it and so not yet judged, is removed first.
    async fn give_birth(&self, cx: &Context, machine: usize) -> Result<()> {
        let (site, spec) = (&self.site, self.spec(machine));
        let (machines, birth) = (&site.backends.machines, site.birth(spec)?);
        let Err(error) = machines.ensure(cx, &site.owner(), spec, &birth).await else { return Ok(()) };
        if error.kind() != ErrorKind::ForeignOwner {
            return Err(error);
        }
        match self.look(cx, machine).await? {
            Slot::Present(found) if found.standing.ours().is_some_and(|mark| mark.life < birth.life) => {
                cx.check()?;
                let removal = machines.destroy(cx, &site.remover(), spec).await?;
                site.found(removal.leftovers);
                cx.check()?;
                machines.ensure(cx, &site.owner(), spec, &birth).await.map(drop)
            }
            _ => Err(error),
        }
    }

    async fn look(&self, cx: &Context, machine: usize) -> Result<Slot> {
        self.site.backends.machines.get(cx, &self.site.owner(), self.spec(machine)).await
    }
}

#[async_trait]
impl Step for MachineWork {
    fn id(&self) -> &str {
        &self.step.id
    }

    fn needs(&self) -> &[String] {
        &self.step.needs
    }

    fn deadline(&self) -> Duration {
        self.step.deadline
    }

    fn limit(&self) -> Option<&str> {
        self.step.limit.as_deref()
    }

    /// Everything after the machines waits for the first control plane.
    fn is_urgent(&self) -> bool {
        matches!(self.step.action, Action::Ensure(machine) if self.is_first_control_plane(machine))
    }

    fn observed(&self) -> Option<Verdict> {
        Some(Verdict::NotYet(self.step.because.clone().into()))
    }

    async fn probe(&self, cx: &Context) -> Result<Verdict> {
        if self.confirmed.load(Ordering::Relaxed) {
            return Ok(Verdict::Met);
        }
        let (Action::Ensure(machine) | Action::Start(machine) | Action::Remove(machine)) = self.step.action else {
            return Ok(Verdict::NotYet("it is not written".into()));
        };
        Ok(match (self.step.action, self.look(cx, machine).await?) {
            (_, Slot::Unknown(why)) => Verdict::NotYet(why.into()),
            (Action::Remove(_), Slot::Absent) => Verdict::Met,
            (Action::Ensure(_), Slot::Present(found)) if found.standing.ours().is_some() && found.lock.is_none() => {
                Verdict::Met
            }
            (Action::Start(_), Slot::Present(found)) if found.power == Power::Running => Verdict::Met,
            (_, Slot::Present(found)) => {
                Verdict::NotYet(format!("it is {} and {}", found.power, found.standing).into())
            }
            (_, Slot::Absent) => Verdict::NotYet("it does not exist".into()),
            (_, Slot::Hidden) => Verdict::Never("the token may not see it".into()),
        })
    }

    async fn act(&self, cx: &Context) -> Result<()> {
        let site = &self.site;
        let (machines, vault) = (&site.backends.machines, &site.backends.vault);
        match self.step.action {
            Action::BeginLife(number) => site.begin_life(cx, number).await?,
            Action::NoteBirth(number) => vault.record(number, Fact::Born, "etcd").await?,
            Action::CompleteLife(number) => vault.record(number, Fact::Complete, site.goal.name()).await?,
            Action::EndLife(number) => vault.record(number, Fact::Ended, site.goal.name()).await?,
            Action::Ensure(machine) => {
                self.note_losses(cx, machine).await?;
                self.give_birth(cx, machine).await?;
            }
            Action::Start(machine) => {
                machines.power(cx, &site.owner(), self.spec(machine), Power::Running).await?;
                if site.started() {
                    site.reached(cx, Milestone::MachinesRunning);
                }
            }
            Action::Remove(machine) => self.remove(cx, machine).await?,
            _ => return Err(Error::new(ErrorKind::Unexpected, format!("`{}` is no work on a machine", self.step.id))),
        }
        self.confirmed.store(true, Ordering::Relaxed);
        Ok(())
    }
}
