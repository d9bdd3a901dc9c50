//! How castle looks at the world before it decides anything.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::castle::Castle;
use crate::credential;
use crate::life::{Lives, Vault};
use crate::observation::{ApiView, Observation, Part};
use crate::plan::{Decisions, Goal, rebirth};
use crate::step::Verdict;
use crate::work::{LivedLife, Site};
use crate::{
    Context, Credential, Error, ErrorKind, Handover, MachineSpec, Milestone, NodeSite, NodeState, Owner, Power, Result,
    Retry, Slot,
};

/// How long a removal waits for the secret store to answer, each time that it does
/// not. Without it no tombstone is written, and a moment's silence is no reason for
/// that.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// What one look brought.
pub(crate) struct Look {
    pub(crate) observation: Observation,
    /// The life that goes on, with its secrets.
    pub(crate) life: Option<LivedLife>,
    /// The error of what did not answer: of the hypervisor, else of the secret
    /// store: its key, its lives, the secrets of the life that goes on. An observation
    /// keeps its words alone.
    pub(crate) silent: Option<Error>,
}

/// How far to look, and on whose behalf.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aim<'a> {
    pub(crate) goal: Goal,
    pub(crate) decisions: &'a Decisions,
    pub(crate) until: Milestone,
}

impl Castle {
    pub(crate) async fn look(&self, cx: &Context, aim: Aim<'_>) -> Look {
        let vault = &self.backends().vault;
        let mut silent = None;
        let (key, lives) = futures::join!(
            insisted(cx, aim.goal, || vault.project_key()),
            insisted(cx, aim.goal, || lives(vault, aim.goal))
        );
        let (key, has_key) = match key {
            Ok(key) => (key.clone(), Part::Known(key.is_some())),
            Err(error) => {
                let why = error.chain();
                silent = Some(error);
                (None, Part::Unknown(why))
            }
        };
        let project = self.project();
        let reserved = project.machines.iter().map(|spec| spec.id);
        let owner = Owner::new(project.project.clone(), project.cluster.name.clone(), key, reserved)
            .with_waivers(self.waivers().iter().cloned());
        let machines = match self.backends().machines.list(cx, &owner, &project.machines).await {
            Ok(inventory) => Part::Known(inventory),
            Err(error) => {
                let why = error.chain();
                silent = Some(error);
                Part::Unknown(why)
            }
        };
        let lives = match lives {
            Ok(lives) => Part::Known(lives),
            Err(error) => {
                let why = error.chain();
                silent = silent.or(Some(error));
                Part::Unknown(why)
            }
        };
        let mut observation = Observation::begun(owner, machines, lives, has_key);
        let life = match aim.until > Milestone::MachinesRunning && self.goes_on(&observation, aim) {
            true => match self.lived_life(&observation).await {
                Ok(life) => {
                    observation.bundle = life.as_ref().map(|_| Part::Known(()));
                    life
                }
                Err(error) => {
                    observation.bundle = Some(Part::Unknown(error.chain()));
                    silent = silent.or(Some(error));
                    None
                }
            },
            false => None,
        };
        if let Some(life) = &life {
            self.look_into(cx, life, aim.until, &mut observation).await;
        }
        Look { observation, life, silent }
    }

    /// Whether the life that is lived will be lived on. A rebirth that ends it has
    /// nothing to ask of its nodes, and does not care whether they answer.
    fn goes_on(&self, observation: &Observation, aim: Aim<'_>) -> bool {
        match (aim.goal, observation.lives.known()) {
            (Goal::Rebirth, Some(lives)) => matches!(
                rebirth::course(&self.project().cluster.name, lives, aim.decisions),
                rebirth::Course::Finish(_)
            ),
            (Goal::Destroy, _) | (_, None) => false,
            (Goal::Create | Goal::Handover, Some(_)) => true,
        }
    }

    /// The secrets of the life that goes on, if one does.
    async fn lived_life(&self, observation: &Observation) -> Result<Option<LivedLife>> {
        let current = observation.lives.known().and_then(Lives::current);
        let Some((number, facts)) = current.filter(|(_, life)| life.committed) else { return Ok(None) };
        let gone = || {
            Error::new(
                ErrorKind::Conflict,
                format!("the secrets of life {number} were listed a moment ago and are gone"),
            )
            .hint("see who removes secrets from the store, and restore them from its backup")
        };
        let bundle = self.backends().vault.bundle(number).await?.ok_or_else(gone)?;
        let cluster_id = self.backends().identity.cluster_id(&bundle)?;
        Ok(Some(LivedLife { number, cluster_id, bundle, born: facts.born, lost: facts.lost }))
    }

    /// Looks at what the life's machines have become: nodes, API, handover.
    async fn look_into(&self, cx: &Context, life: &LivedLife, until: Milestone, observation: &mut Observation) {
        let site = Site::new(
            self.shared_project(),
            self.backends().clone(),
            observation.owner.clone(),
            Some(life.clone()),
            Goal::Create,
        );
        let Ok(node_site) = site.node_site() else { return };
        let (escrowed, ()) = futures::join!(
            self.look_at_escrow(&node_site),
            self.look_at_nodes(cx, life.number, &site, &node_site, observation)
        );
        observation.escrowed = escrowed;
        let serves = matches!(observation.api, Some(Part::Known(_)));
        if serves && until >= Milestone::HandoverReady && self.furthest() >= Milestone::HandoverReady {
            self.look_at_handover(cx, &site, until, observation).await;
        }
    }

    async fn look_at_nodes(
        &self,
        cx: &Context,
        life: u32,
        site: &Site,
        node_site: &NodeSite,
        observation: &mut Observation,
    ) {
        let (Some(os), Part::Known(inventory)) = (&self.backends().node_os, &observation.machines) else { return };
        let runs = |spec: &&MachineSpec| match inventory.slots.get(&spec.id) {
            Some(Slot::Present(machine)) => {
                let of_this_life = machine.standing.ours().is_some_and(|mark| mark.life == life);
                machine.power == Power::Running && of_this_life && !machine.dying
            }
            _ => false,
        };
        let machines = &self.project().machines;
        let looks = machines.iter().enumerate().filter(|(_, spec)| runs(spec)).map(|(machine, spec)| async move {
            let state = match site.target(machine) {
                Ok(target) => os.look(cx, node_site, &target).await,
                Err(error) => Err(error),
            };
            (spec.id, state.unwrap_or_else(|error| NodeState::Silent(error.chain())))
        });
        observation.nodes = futures::future::join_all(looks).await.into_iter().collect();
        let etcd_lives = |state: &NodeState| matches!(state, NodeState::Ours(report) if report.etcd.as_ref().is_some_and(|etcd| etcd.healthy));
        if !observation.nodes.values().any(etcd_lives) || self.backends().kubernetes.is_none() {
            return;
        }
        let view = async {
            let api = site.api(cx)?;
            let (nodes, cni) = futures::future::try_join(api.nodes(cx), api.cni(cx)).await?;
            Ok::<_, Error>(ApiView { nodes, cni })
        };
        observation.api = Some(match view.await {
            Ok(view) => Part::Known(view),
            Err(error) => Part::Unknown(error.chain()),
        });
    }

    /// Which credentials are where others look for them, and valid in this life. One
    /// read for each that is declared.
    async fn look_at_escrow(&self, node_site: &NodeSite) -> BTreeSet<Credential> {
        let Some(os) = &self.backends().node_os else { return BTreeSet::new() };
        let looks = credential::declared(&self.project().escrow).map(|(which, key)| async move {
            // A store that is silent now is asked again by the step.
            let held = self.backends().vault.store().get(key).await.ok().flatten()?;
            credential::is_valid(os.as_ref(), self.env(), node_site, which, &held).then_some(which)
        });
        futures::future::join_all(looks).await.into_iter().flatten().collect()
    }

    async fn look_at_handover(&self, cx: &Context, site: &Site, until: Milestone, observation: &mut Observation) {
        let handover = match site.handover(cx) {
            Ok(handover) => handover,
            Err(error) => {
                observation.handover = Some(Part::Unknown(error.chain()));
                return;
            }
        };
        let parts = self.project().gitops.as_ref().map(|gitops| gitops.seed.as_slice()).unwrap_or_default();
        let stands = futures::future::join_all(parts.iter().map(|part| handover.stands(cx, *part)));
        let (state, stands) = futures::join!(handover.observe(cx), stands);
        let met = |verdict: Result<Verdict>| matches!(verdict, Ok(Verdict::Met));
        observation.seeds =
            parts.iter().zip(stands).filter_map(|(part, verdict)| met(verdict).then_some(*part)).collect();
        let is_handed_over = state.as_ref().is_ok_and(|state| state.is_handed_over());
        observation.handover = Some(match state {
            Ok(state) => Part::Known(state),
            Err(error) => Part::Unknown(error.chain()),
        });
        if until >= Milestone::AppsReady && is_handed_over {
            observation.answered = self.answered(cx, &handover).await;
        }
    }

    /// The declared probes that are answered now.
    async fn answered(&self, cx: &Context, handover: &Arc<dyn Handover>) -> BTreeSet<String> {
        let asks = self.project().probes.iter().map(|probe| async move {
            let verdict = handover.ask(cx, probe).await;
            matches!(verdict, Ok(Verdict::Met)).then(|| probe.name.clone())
        });
        futures::future::join_all(asks).await.into_iter().flatten().collect()
    }
}

/// Reads from the secret store; for a removal, again and again for a while. Every
/// other goal needs the answer, so its whole look is repeated.
async fn insisted<T, F: Future<Output = Result<T>>>(cx: &Context, goal: Goal, read: impl Fn() -> F) -> Result<T> {
    let pauses: &[Duration] = if goal == Goal::Destroy { &PAUSES } else { &[] };
    for pause in pauses {
        match read().await {
            Err(error) if error.retry_class() == Retry::AfterObserving => {
                cx.notice(format!("{}; it is asked again in {} s", error.chain(), pause.as_secs()));
            }
            answer => return answer,
        }
        tokio::select! {
            biased;
            () = cx.cancel().cancelled() => break,
            () = cx.clock().sleep(*pause) => {}
        }
    }
    read().await
}

/// The lives; for a rebirth, also what began the newest, where that decides.
async fn lives(vault: &Vault, goal: Goal) -> Result<Lives> {
    let lives = vault.lives().await?;
    if goal == Goal::Rebirth { vault.with_beginning(lives).await } else { Ok(lives) }
}
