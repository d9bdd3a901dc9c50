//! Planned steps, bound to the backends that carry them out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::life::{Fact, Vault};
use crate::plan::{Action, Plan, PlannedStep};
use crate::port::identity::Identity;
use crate::step::{Step, Verdict};
use crate::{
    Birth, Context, Error, ErrorKind, MachineProvider, MachineSpec, Owner, Power, Problem, Project, Result, Slot,
};

/// What the steps of one round share.
pub(crate) struct Site {
    project: Arc<Project>,
    machines: Arc<dyn MachineProvider>,
    vault: Vault,
    identity: Arc<dyn Identity>,
    known: Mutex<Known>,
}

struct Known {
    owner: Owner,
    /// The life that is being lived, and its cluster id, once both are committed.
    life: Option<(u32, String)>,
    findings: Vec<Problem>,
}

impl Site {
    pub(crate) fn new(
        project: Arc<Project>,
        machines: Arc<dyn MachineProvider>,
        vault: Vault,
        identity: Arc<dyn Identity>,
        owner: Owner,
    ) -> Self {
        let known = Mutex::new(Known { owner, life: None, findings: Vec::new() });
        Self { project, machines, vault, identity, known }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What removals left for the administrator.
    pub(crate) fn findings(&self) -> Vec<Problem> {
        self.known().findings.clone()
    }

    fn owner(&self) -> Owner {
        self.known().owner.clone()
    }

    fn birth(&self, spec: &MachineSpec) -> Result<Birth> {
        match &self.known().life {
            Some((number, cluster_id)) => Ok(Birth::of(cluster_id, *number, &spec.node, 1)),
            None => Err(Error::new(ErrorKind::Unexpected, "a machine was to be made before its life was begun")),
        }
    }

    async fn begin_life(&self, cx: &Context, number: u32) -> Result<()> {
        let key = self.vault.ensure_project_key(cx.env()).await?;
        cx.check()?;
        // The beginning is written before the bundle: once the bundle stands, it
        // is known what began the life.
        self.vault.record(number, Fact::Began, "create").await?;
        cx.check()?;
        let bundle = self.vault.ensure_bundle(number, self.identity.as_ref(), cx.env()).await?;
        let cluster_id = self.identity.cluster_id(&bundle)?;
        let mut known = self.known();
        known.owner = known.owner.clone().with_key(key);
        known.life = Some((number, cluster_id));
        Ok(())
    }
}

pub(crate) fn steps_of(plan: &Plan, site: &Arc<Site>) -> Vec<Box<dyn Step>> {
    plan.steps
        .iter()
        .map(|step| {
            let (step, site) = (step.clone(), site.clone());
            Box::new(Work { step, site, confirmed: AtomicBool::new(false) }) as Box<dyn Step>
        })
        .collect()
}

/// A planned step at work. Every act below awaits its effect and reads it back
/// (the rule tables of the ports say so), so the probe that follows an act does
/// not ask the same question a second time.
struct Work {
    step: PlannedStep,
    site: Arc<Site>,
    confirmed: AtomicBool,
}

impl Work {
    fn spec(&self, machine: usize) -> &MachineSpec {
        &self.site.project.machines[machine]
    }

    async fn look(&self, cx: &Context, machine: usize) -> Result<Slot> {
        self.site.machines.get(cx, &self.site.owner(), self.spec(machine)).await
    }
}

#[async_trait]
impl Step for Work {
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

    fn observed(&self) -> Option<Verdict> {
        Some(Verdict::NotYet(self.step.because.clone().into()))
    }

    async fn probe(&self, cx: &Context) -> Result<Verdict> {
        if self.confirmed.load(Ordering::Relaxed) {
            return Ok(Verdict::Met);
        }
        let machine = match self.step.action {
            Action::Ensure(machine) | Action::Start(machine) | Action::Remove(machine) => machine,
            Action::BeginLife(_) | Action::CompleteLife(_) | Action::EndLife(_) => {
                return Ok(Verdict::NotYet("it is not written".into()));
            }
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
        let machines = &site.machines;
        match self.step.action {
            Action::BeginLife(number) => site.begin_life(cx, number).await?,
            Action::CompleteLife(number) => site.vault.record(number, Fact::Complete, "machines_running").await?,
            Action::EndLife(number) => site.vault.record(number, Fact::Ended, "destroy").await?,
            Action::Ensure(machine) => {
                let spec = self.spec(machine);
                machines.ensure(cx, &site.owner(), spec, &site.birth(spec)?).await?;
            }
            Action::Start(machine) => machines.power(cx, &site.owner(), self.spec(machine), Power::Running).await?,
            Action::Remove(machine) => {
                let removal = machines.destroy(cx, &site.owner(), self.spec(machine)).await?;
                site.known().findings.extend(removal.leftovers);
            }
        }
        self.confirmed.store(true, Ordering::Relaxed);
        Ok(())
    }
}
