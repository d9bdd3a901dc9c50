//! Handovers that break one rule each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use castle_core::conformance::HandoverHarness;
use castle_core::conformance::gitops::{self, RULES};
use castle_core::handover::{HandoverSpec, HandoverState, Nudge, Probe, Repository, SeedPart};
use castle_core::memory::{MemoryGitOps, example_project};
use castle_core::step::Verdict;
use castle_core::{Clock, Context, Env, GitOps, Handover, Meter, Pace, Project, Result, Secret, SeededEntropy};
use futures::StreamExt;
use futures::stream::BoxStream;

use super::{all_rules_are_broken, catches, run};

/// What is wrong with a handover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    ForgetsTheSecret,
    SeesWhatIsNotThere,
    WritesAgain,
    OverwritesFlux,
    NudgesUntold,
    RemembersItsState,
    CallsNothingDone,
    WatchIsSilent,
}

/// Flaw, the rule that catches it, and what that rule says.
const CAUGHT: [(Flaw, &str, &str); 8] = [
    (Flaw::ForgetsTheSecret, RULES[0], "how machine-identity is seen"),
    (Flaw::SeesWhatIsNotThere, RULES[0], "how namespaces is seen"),
    (Flaw::WritesAgain, RULES[1], "planting namespaces again wrote"),
    (Flaw::OverwritesFlux, RULES[2], "planting flux changed what the engine owns"),
    (Flaw::NudgesUntold, RULES[2], "writes beside the nudges"),
    (Flaw::RemembersItsState, RULES[3], "two handles see different states"),
    (Flaw::CallsNothingDone, RULES[3], "an empty cluster is handed over"),
    (Flaw::WatchIsSilent, RULES[4], "what a watch began with"),
];

/// A cluster in memory, and the handles on it that are flawed.
#[derive(Clone)]
struct Broken {
    flaw: Flaw,
    engine: MemoryGitOps,
    cx: Context,
    project: Arc<Project>,
    /// What was written over what Flux owns.
    scribbles: Arc<Mutex<Vec<String>>>,
}

impl Broken {
    fn new(flaw: Flaw) -> Self {
        let repository = Repository {
            url: "https://git.example/home.git".into(),
            branch: "main".into(),
            path: "clusters/blue".into(),
        };
        let seed = SeedPart::ALL.to_vec();
        let gitops = Some(HandoverSpec { repository, seed, flux: None, external_secrets: None });
        Self {
            flaw,
            engine: MemoryGitOps::new(),
            cx: Context::new(Env { clock: Clock::new(Pace::Virtual), entropy: Arc::new(SeededEntropy::new(1)) }),
            project: Arc::new(Project { gitops, ..example_project() }),
            scribbles: Arc::default(),
        }
    }
}

#[async_trait]
impl HandoverHarness for Broken {
    async fn handover(&self) -> Arc<dyn Handover> {
        let kubeconfig = Secret::new("cluster: scene\n".to_owned());
        let inner = self.engine.open(&self.cx, &self.project, &kubeconfig).expect("it declares gitops");
        Arc::new(Handle { of: self.clone(), inner, first: Mutex::default(), has_nudged: AtomicBool::new(false) })
    }

    fn context(&self) -> Context {
        self.cx.clone()
    }

    fn name(&self) -> &'static str {
        "memory"
    }

    fn seed(&self) -> Vec<SeedPart> {
        SeedPart::ALL.to_vec()
    }

    async fn writes(&self) -> u64 {
        self.engine.meter().total().write
    }

    async fn take_over(&self) {
        self.cx.clock().sleep(Duration::from_secs(60)).await;
        self.engine.take_over();
    }

    async fn owned(&self) -> Vec<String> {
        let hands = self.engine.hands().into_iter().filter(|(_, hand)| *hand == "flux");
        let scribbles = self.scribbles.lock().expect("no test panics while it holds it").clone();
        hands.map(|(part, hand)| format!("{part} by {hand}")).chain(scribbles).collect()
    }
}

#[derive(Debug)]
struct Handle {
    of: Broken,
    inner: Arc<dyn Handover>,
    first: Mutex<Option<HandoverState>>,
    has_nudged: AtomicBool,
}

impl std::fmt::Debug for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broken").field("flaw", &self.flaw).finish_non_exhaustive()
    }
}

impl Handle {
    fn meter(&self) -> &Meter {
        self.of.engine.meter()
    }
}

#[async_trait]
impl Handover for Handle {
    async fn stands(&self, cx: &Context, part: SeedPart) -> Result<Verdict> {
        match self.of.flaw {
            Flaw::ForgetsTheSecret if part == SeedPart::MachineIdentity => Ok(Verdict::NotYet("where is it?".into())),
            Flaw::SeesWhatIsNotThere => Ok(Verdict::Met),
            _ => self.inner.stands(cx, part).await,
        }
    }

    async fn plant(&self, cx: &Context, part: SeedPart) -> Result<()> {
        let stood = self.inner.stands(cx, part).await? == Verdict::Met;
        match self.of.flaw {
            Flaw::WritesAgain => self.meter().count_write(),
            Flaw::OverwritesFlux if stood && part == SeedPart::Flux => {
                self.of.scribbles.lock().expect("no test panics while it holds it").push("flux by castle".into());
            }
            _ => {}
        }
        self.inner.plant(cx, part).await
    }

    async fn observe(&self, cx: &Context) -> Result<HandoverState> {
        let seen = self.inner.observe(cx).await?;
        match self.of.flaw {
            Flaw::CallsNothingDone if !seen.planted => {
                Ok(HandoverState { planted: true, applied: seen.head.clone(), ..seen })
            }
            Flaw::RemembersItsState if seen.planted => {
                Ok(self.first.lock().expect("no test panics while it holds it").get_or_insert(seen).clone())
            }
            _ => Ok(seen),
        }
    }

    async fn nudge(&self, cx: &Context, before: &HandoverState) -> Result<Vec<Nudge>> {
        if self.of.flaw == Flaw::NudgesUntold && !self.has_nudged.swap(true, Ordering::SeqCst) {
            self.meter().count_write();
        }
        self.inner.nudge(cx, before).await
    }

    async fn ask(&self, cx: &Context, probe: &Probe) -> Result<Verdict> {
        self.inner.ask(cx, probe).await
    }

    fn watch(&self, cx: &Context) -> BoxStream<'static, ()> {
        match self.of.flaw {
            Flaw::WatchIsSilent => futures::stream::pending().boxed(),
            _ => self.inner.watch(cx),
        }
    }
}

#[test]
fn the_handover_in_memory_keeps_every_rule() {
    let lines = run(gitops::all(async || Broken::new(Flaw::None)));
    assert_eq!(lines.len(), RULES.len());
    assert_eq!(lines[0], "conformance handover memory a_planted_part_stands ok");
}

#[test]
fn every_rule_catches_the_handover_that_breaks_it() {
    for (flaw, rule, complaint) in CAUGHT {
        catches(rule, &format!("{flaw:?}"), complaint, async move {
            let cluster = Broken::new(flaw);
            match rule {
                "a_planted_part_stands" => gitops::a_planted_part_stands(&cluster).await,
                "planting_again_writes_nothing" => gitops::planting_again_writes_nothing(&cluster).await,
                "what_flux_owns_is_left_alone" => gitops::what_flux_owns_is_left_alone(&cluster).await,
                "a_new_handle_sees_the_same" => gitops::a_new_handle_sees_the_same(&cluster).await,
                "a_watch_begins_with_the_present" => gitops::a_watch_begins_with_the_present(&cluster).await,
                unknown => unreachable!("no rule is called {unknown}"),
            }
        });
    }
    all_rules_are_broken(&RULES, CAUGHT.map(|(_, rule, _)| rule));
}
