//! Steps about the seed, the handover, the applications and the escrow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::stream::{BoxStream, StreamExt};

use super::Site;
use crate::handover::{HandoverState, Health, SeedPart};
use crate::plan::{Action, PlannedStep};
use crate::step::{Step, Verdict};
use crate::{Context, Credential, Error, ErrorKind, EventKind, Handover, Milestone, Result, credential};

/// How soon the state is asked again when nothing wakes: a branch that moved while
/// the cluster is at rest tells nobody, and neither does a repository that answers
/// again.
const UNTOLD: Duration = Duration::from_secs(10);

/// A planned step about the handover. Every act below awaits its effect, so the
/// probe that follows does not ask the same question a second time.
pub(super) struct HandoverWork {
    step: PlannedStep,
    site: Arc<Site>,
    confirmed: AtomicBool,
}

impl HandoverWork {
    pub(super) fn new(step: PlannedStep, site: Arc<Site>) -> Self {
        Self { step, site, confirmed: AtomicBool::new(false) }
    }

    /// Plants a part of the seed, and looks at it once more: Flux builds on it. An
    /// API that does not answer for a moment is waited for; what was planted before
    /// it fell silent is not written again.
    async fn plant(&self, cx: &Context, part: SeedPart) -> Result<()> {
        let handover = self.site.handover(cx)?;
        let mut wakes = handover.watch(cx);
        let mut planted = false;
        loop {
            cx.check()?;
            let verdict = match planted {
                true => handover.stands(cx, part).await,
                false => handover.plant(cx, part).await.map(|()| Verdict::NotYet("it was planted just now".into())),
            };
            match verdict {
                Ok(Verdict::Met) => return Ok(()),
                Ok(Verdict::Never(why)) => {
                    return Err(Error::new(
                        ErrorKind::Unexpected,
                        format!("seed {part} was planted, and can never stand: {why}"),
                    ));
                }
                Ok(Verdict::NotYet(_)) if !planted => {
                    planted = true;
                    continue;
                }
                Ok(Verdict::NotYet(why)) => cx.waiting(why),
                Err(error) if is_silence(&error) => cx.waiting(error.chain()),
                Err(error) => return Err(error),
            }
            awake(cx, &mut wakes, &self.step.id).await?;
        }
    }

    /// Follows Flux until the cluster is handed over, and nudges it where waiting has
    /// become pointless.
    async fn hand_over(&self, cx: &Context) -> Result<()> {
        let handover = self.site.handover(cx)?;
        let mut wakes = handover.watch(cx);
        loop {
            cx.check()?;
            match handover.observe(cx).await {
                Ok(state) if state.is_handed_over() => {
                    self.site.reached(cx, Milestone::HandoverReady);
                    return Ok(());
                }
                Ok(state) => {
                    cx.waiting(told(&state));
                    cx.check()?;
                    self.nudge(cx, &handover, &state).await?;
                }
                Err(error) if is_silence(&error) => cx.waiting(error.chain()),
                Err(error) => return Err(error),
            }
            awake(cx, &mut wakes, &self.step.id).await?;
        }
    }

    async fn nudge(&self, cx: &Context, handover: &Arc<dyn Handover>, state: &HandoverState) -> Result<()> {
        match handover.nudge(cx, state).await {
            Ok(nudges) => {
                for nudge in nudges {
                    cx.log().push(EventKind::Nudged { item: nudge.item, reason: nudge.reason });
                }
                Ok(())
            }
            // It is sent again, if it is still needed, after the next look.
            Err(error) if is_silence(&error) || error.kind() == ErrorKind::Conflict => {
                cx.waiting(error.chain());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Asks a probe until it is answered.
    async fn ask(&self, cx: &Context, place: usize) -> Result<()> {
        let probe = &self.site.project.probes[place];
        let handover = self.site.handover(cx)?;
        let mut wakes = handover.watch(cx);
        loop {
            cx.check()?;
            match handover.ask(cx, probe).await {
                Ok(Verdict::Met) => {
                    if self.site.answered() {
                        self.site.reached(cx, Milestone::AppsReady);
                    }
                    return Ok(());
                }
                Ok(Verdict::NotYet(why)) => cx.waiting(why),
                Ok(Verdict::Never(why)) => {
                    return Err(Error::new(
                        ErrorKind::Unexpected,
                        format!("probe {} can never be answered: {why}", probe.name),
                    ));
                }
                Err(error) if is_silence(&error) => cx.waiting(error.chain()),
                Err(error) => return Err(error),
            }
            awake(cx, &mut wakes, &self.step.id).await?;
        }
    }

    /// Puts the life's credential where others look for it.
    async fn escrow(&self, cx: &Context, which: Credential) -> Result<()> {
        let site = &self.site;
        let missing =
            || Error::new(ErrorKind::Unexpected, format!("castle.yaml names no place for the {}", which.name()));
        let place =
            credential::declared(&site.project.escrow).find(|(other, _)| *other == which).ok_or_else(missing)?;
        let (vault, life, os) = (&site.backends.vault, site.life_number()?, site.node_os()?.as_ref());
        credential::put_into_escrow(vault, os, cx.env(), life, &site.node_site()?, place).await.map(drop)
    }
}

/// A backend that gives no answer now may give one later.
fn is_silence(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::RateLimited)
}

/// Waits for a wake, or until it is time to ask unasked. Wakes that have gathered
/// meanwhile count as one.
async fn awake(cx: &Context, wakes: &mut BoxStream<'static, ()>, step: &str) -> Result<()> {
    let lost = || Error::new(ErrorKind::Unreachable, format!("`{step}` lost its watch"));
    tokio::select! {
        biased;
        () = cx.cancel().cancelled() => return Err(Error::cancelled()),
        woken = cx.clock().within(UNTOLD, wakes.next()) => match woken {
            None => return Ok(()),
            Some(woken) => woken.ok_or_else(lost)?,
        },
    }
    while let Some(more) = wakes.next().now_or_never() {
        more.ok_or_else(lost)?;
    }
    Ok(())
}

/// What is missing, who holds the rest, and which items will not come by waiting.
fn told(state: &HandoverState) -> String {
    let mut text = state.why_not().unwrap_or_default();
    let holder = state.holder().map(crate::handover::FluxItem::id);
    for item in &state.items {
        let Health::Failed(why) = &item.health else { continue };
        if holder.as_ref() == Some(&item.id()) {
            text.push_str("; no waiting mends it, a push to the branch may");
        } else {
            text.push_str(&format!("; nor will {} come by waiting: {why}", item.id()));
        }
    }
    text
}

#[async_trait]
impl Step for HandoverWork {
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
        match self.step.action {
            Action::Seed(_) => None,
            Action::Handover => Some(
                "the error names what holds the rest: mend it in the repository and push, or look at it with `kubectl \
                 describe`; then run the same command again, it goes on from here; `deadlines: {handover: ..}` in \
                 castle.yaml gives more time"
                    .to_owned(),
            ),
            Action::Probe(_) => Some(
                "the cluster is handed over all the same: look at the application, then run the same command again, \
                 which asks the probe and no more; `deadlines: {apps: ..}` in castle.yaml gives more time"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    async fn probe(&self, cx: &Context) -> Result<Verdict> {
        if self.confirmed.load(Ordering::Relaxed) {
            return Ok(Verdict::Met);
        }
        match self.step.action {
            Action::Seed(part) => self.site.handover(cx)?.stands(cx, part).await,
            Action::Handover => {
                let why_not = self.site.handover(cx)?.observe(cx).await?.why_not();
                Ok(why_not.map_or(Verdict::Met, |why| Verdict::NotYet(why.into())))
            }
            Action::Probe(place) => self.site.handover(cx)?.ask(cx, &self.site.project.probes[place]).await,
            _ => Ok(Verdict::NotYet("it is not written yet".into())),
        }
    }

    async fn act(&self, cx: &Context) -> Result<()> {
        match self.step.action {
            Action::Seed(part) => self.plant(cx, part).await?,
            Action::Handover => self.hand_over(cx).await?,
            Action::Probe(place) => self.ask(cx, place).await?,
            Action::Escrow(which) => self.escrow(cx, which).await?,
            _ => return Err(Error::new(ErrorKind::Unexpected, format!("`{}` is no work on it", self.step.id))),
        }
        self.confirmed.store(true, Ordering::Relaxed);
        Ok(())
    }
}
