//! One case of bad weather: what goes wrong, how castle must take it, and what
//! must hold around it.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use castle_core::{Castle, Error, Event, EventKind, Goal, Milestone, Options, Outcome, Project, Report, RunOptions};
use castle_gitops::kubernetes::KubeClient;
use castle_lab::faults::Fault;
use castle_lab::hypervisor::{Config, house};
use castle_lab::{Lab, RunId, World, runtime};
use castle_proxmox::ProxmoxProvider;
use castle_talos::{TalosIdentity, TalosOs};
use futures::future::BoxFuture;

use crate::cluster;

/// How a run must end.
pub enum End {
    /// It reaches its goal in spite of the weather.
    Reached,
    /// It fails with an error of this kind, whose hint contains the text.
    Failed(&'static str, &'static str),
    /// It refuses with a problem of this code, whose hint contains the text.
    Refused(&'static str, &'static str),
}

/// What the operator does once the weather has cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cure {
    /// He runs the same command again.
    Again,
    /// He destroys what is there first, as the hint says.
    Destroy,
}

/// What a case changes of the options that the lab gives. What it returns beside
/// them lives as long as the run: a listener, for example.
pub type Bend = for<'a> fn(&'a Lab, Options) -> BoxFuture<'a, (Options, Alive)>;

/// A case. Made by [`Case::create`] or [`Case::destroy`].
pub struct Case {
    name: String,
    project: Project,
    stands: bool,
    goal: Goal,
    until: Milestone,
    cure: Cure,
    insists: bool,
    patience: Duration,
    weather: Box<dyn Fn(&mut World) + Send + Sync>,
    clearing: Box<dyn Fn(&mut World) + Send + Sync>,
    faults: Vec<Fault>,
    bend: Option<Bend>,
    end: End,
    told: &'static str,
    leftovers: &'static [&'static str],
    writes_nothing: bool,
}

impl Case {
    /// A create in an empty home.
    pub fn create(name: impl Into<String>, end: End) -> Self {
        Self {
            name: name.into(),
            project: blue(),
            stands: false,
            goal: Goal::Create,
            until: Milestone::MachinesRunning,
            cure: Cure::Again,
            insists: false,
            patience: Duration::MAX,
            weather: Box::new(|_| ()),
            clearing: Box::new(|_| ()),
            faults: Vec::new(),
            bend: None,
            end,
            told: "",
            leftovers: &[],
            writes_nothing: false,
        }
    }

    /// A destroy in a home where the castle stands.
    pub fn destroy(name: impl Into<String>, end: End) -> Self {
        Self { goal: Goal::Destroy, stands: true, ..Self::create(name, end) }
    }

    /// The weather comes over a castle that stands.
    pub fn standing(self) -> Self {
        Self { stands: true, ..self }
    }

    /// Another project than blue.
    pub fn of(self, project: Project) -> Self {
        Self { project, ..self }
    }

    /// How far the create goes; as far as the machines, if nothing is said.
    pub fn until(self, until: Milestone) -> Self {
        Self { until, ..self }
    }

    /// The way out is to destroy the castle and to create it again.
    pub fn cured_by_destroy(self) -> Self {
        Self { cure: Cure::Destroy, ..self }
    }

    /// The operator does not read the hint and runs the same command once more: it
    /// must end the same way.
    pub fn insists(self) -> Self {
        Self { insists: true, ..self }
    }

    /// The run must end within so much of the lab's time.
    pub fn within(self, minutes: u64) -> Self {
        Self { patience: Duration::from_secs(minutes * 60), ..self }
    }

    /// What happens to the world before the run, or is planned for it.
    pub fn weather(mut self, weather: impl Fn(&mut World) + Send + Sync + 'static) -> Self {
        self.weather = Box::new(weather);
        self
    }

    /// How the world is mended afterwards.
    pub fn clears(mut self, clearing: impl Fn(&mut World) + Send + Sync + 'static) -> Self {
        self.clearing = Box::new(clearing);
        self
    }

    /// What happens to requests; all of it must strike.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// What is wrong with the options.
    pub fn bent(mut self, bend: Bend) -> Self {
        self.bend = Some(bend);
        self
    }

    /// A text that the events, the problems or the error must hold.
    pub fn tells(self, told: &'static str) -> Self {
        Self { told, ..self }
    }

    /// What is left for the administrator, by parts of [`World::leftovers`].
    pub fn leaves(self, leftovers: &'static [&'static str]) -> Self {
        Self { leftovers, ..self }
    }

    /// Nothing may be made: neither a machine nor a line in the secret store.
    pub fn writes_nothing(self) -> Self {
        Self { writes_nothing: true, ..self }
    }

    /// Lets it happen, and judges.
    pub fn check(self) {
        let case = &self;
        runtime::run_virtual(|| async move { case.happen(&case.project).await });
    }

    async fn happen(&self, project: &Project) {
        let name = &self.name;
        let lab = Lab::builder(project).seed(1).start().await.expect("the lab starts");
        if self.stands {
            let report = visit(project, &lab, Goal::Create, self.until, None).await.report;
            assert_eq!(report.outcome, Outcome::Ok, "{name}: the castle stands before it is destroyed");
        }
        let before = Home::of(&lab);
        assert!(before.secrets.len() > 1, "{name}: there are secrets to look for");
        lab.with_world(|world| (self.weather)(world));
        for fault in &self.faults {
            lab.faults().add(fault.clone());
        }
        let Visit { report, events, writes } = visit(project, &lab, self.goal, self.until, self.bend).await;
        let story = Story { name, report: &report, events: &events };

        story.ended(&self.end);
        assert!(story.text().contains(self.told), "{name}: `{}` is not told in\n{}", self.told, story.text());
        let took = story.report.took;
        assert!(took <= self.patience, "{name}: it took {took:?}\n{}", story.text());
        story.is_free_of(&before.secrets);
        story.is_free_of(&cluster::secrets_of(&lab).await);
        let births = lab.with_world(|world| world.bootstraps());
        assert!(births <= 1, "{name}: etcd was born {births} times\n{}", story.text());
        if self.insists {
            let Visit { report, events, .. } = visit(project, &lab, self.goal, self.until, None).await;
            let story = Story { name, report: &report, events: &events };
            story.ended(&self.end);
            let births = lab.with_world(|world| world.bootstraps());
            assert!(births <= 1, "{name}: etcd was born {births} times\n{}", story.text());
        }
        let left: Vec<_> = lab.faults().left().into_iter().filter(|fault| fault.times > 0).collect();
        assert!(left.is_empty(), "{name}: {left:#?} did not strike\n{}", story.text());
        if self.writes_nothing {
            assert_eq!(writes, [] as [String; 0], "{name}");
            assert!(lab.with_world(|world| world.machines_of_castle()).is_empty(), "{name}");
        }

        // What is under way when castle gives up ends by itself.
        lab.advance(Duration::from_secs(600)).await.expect("virtual time");
        before.is_untouched(&lab, name);
        let leftovers = lab.with_world(|world| world.leftovers());
        let expected = leftovers.len() == self.leftovers.len()
            && leftovers.iter().zip(self.leftovers).all(|(left, part)| left.contains(part));
        assert!(expected, "{name}: {leftovers:#?} instead of {:#?}", self.leftovers);

        lab.with_world(|world| (self.clearing)(world));
        self.converges(project, &lab).await;
        before.is_untouched(&lab, name);
    }

    /// Plain runs, without weather: the same goal again, nothing more to do, and
    /// an empty home at the end.
    async fn converges(&self, project: &Project, lab: &Lab) {
        let name = &self.name;
        let goals: &[Goal] = match (self.goal, self.cure) {
            (Goal::Create, Cure::Again) => &[Goal::Create, Goal::Create, Goal::Destroy],
            (Goal::Create, Cure::Destroy) => &[Goal::Destroy, Goal::Create, Goal::Create, Goal::Destroy],
            (Goal::Destroy, _) => &[Goal::Destroy, Goal::Destroy],
            _ => unreachable!("no case of this weather begins with them"),
        };
        for (place, goal) in goals.iter().enumerate() {
            let Visit { report, events, writes } = visit(project, lab, *goal, self.until, None).await;
            let story = Story { name, report: &report, events: &events };
            assert_eq!(report.outcome, Outcome::Ok, "{name}: run {place} after the weather\n{}", story.text());
            story.is_free_of(&cluster::secrets_of(lab).await);
            if *goal == Goal::Create && self.until == Milestone::NodesReady {
                let missing = lab.with_world(|world| cluster::not_ready(world, project));
                assert_eq!(missing, [] as [String; 0], "{name}: run {place} after the weather");
            }
            if place > 0 && goals[place - 1] == *goal {
                assert_eq!(writes, [] as [String; 0], "{name}: the goal was reached already");
            }
            let standing = lab.with_world(|world| {
                let ours = world.machines_of_castle();
                ours.into_iter().filter(|id| world.proxmox.vms[id].is_running()).collect::<Vec<_>>()
            });
            let wanted = project.machines.iter().map(|spec| spec.id.get()).filter(|_| *goal == Goal::Create);
            assert_eq!(standing, wanted.collect::<Vec<_>>(), "{name}: run {place} after the weather");
            assert_eq!(lab.with_world(|world| world.leftovers()), [] as [String; 0], "{name}: run {place}");
        }
        assert!(lab.with_world(|world| world.machines_of_castle()).is_empty(), "{name}: a machine stays");
    }
}

/// What a run came to.
pub struct Visit {
    pub report: Report,
    pub events: Vec<Event>,
    /// The kinds of its writes to the hypervisor and to the secret store.
    pub writes: Vec<String>,
}

/// The project that most cases use.
pub fn blue() -> Project {
    project(include_str!("../../examples/projects/blue/proxmox/castle.yaml"))
}

/// A project with three control planes.
pub fn fortress() -> Project {
    project(include_str!("../../examples/projects/fortress/proxmox/castle.yaml"))
}

fn project(text: &str) -> Project {
    Project::parse(text, castle_talos::image).unwrap_or_else(|problems| panic!("the example is valid: {problems:#?}"))
}

/// Something that must outlive a run.
pub type Alive = Box<dyn Any>;

/// A new engine run, from a folder that holds nothing.
pub async fn enter(project: &Project, lab: &Lab, bend: Option<Bend>) -> (Castle, RunId, Alive) {
    let run = lab.new_run();
    let options = lab.options(run).expect("a lab with a Proxmox server");
    let (options, alive): (_, Alive) = match bend {
        Some(bend) => bend(lab, options).await,
        None => (options, Box::new(())),
    };
    let env = lab.env(run);
    let access = options.proxmox.as_ref().expect("access to Proxmox");
    let machines = ProxmoxProvider::connect(access, &options, &env, project.limits).expect("options of the right form");
    let os = TalosOs::new(&options, &env, (&options.maintenance).into()).expect("options of the right form");
    let castle = Castle::builder(project.clone())
        .machines(Arc::new(machines))
        .secrets(lab.secrets(run))
        .identity(Arc::new(TalosIdentity))
        .node_os(Arc::new(os))
        .kubernetes(Arc::new(KubeClient::new(&options, &env)))
        .env(env)
        .build()
        .expect("the project fits the provider");
    (castle, run, alive)
}

/// Lets a new engine run reach for a goal.
pub async fn visit(project: &Project, lab: &Lab, goal: Goal, until: Milestone, bend: Option<Bend>) -> Visit {
    let (castle, run, _alive) = enter(project, lab, bend).await;
    let run_of_castle = castle.run(goal, RunOptions { until: Some(until), ..RunOptions::default() });
    let log = run_of_castle.log();
    let report = run_of_castle.await;
    let entries = lab.journal().entries();
    let writes = entries.into_iter().filter(|entry| entry.run == run && entry.write).map(|entry| entry.kind).collect();
    Visit { report, events: log.events(), writes }
}

/// What nobody may change, and what nobody may say.
struct Home {
    stranger: Config,
    secrets: Vec<String>,
}

impl Home {
    fn of(lab: &Lab) -> Self {
        lab.with_world(|world| Self {
            stranger: world.proxmox.vms[&house::STRANGER].config.clone(),
            secrets: [world.castle_token(), world.root_password().map(str::to_owned)]
                .into_iter()
                .flatten()
                .map(|text| text.rsplit('=').next().unwrap_or_default().to_owned())
                .collect(),
        })
    }

    fn is_untouched(&self, lab: &Lab, name: &str) {
        lab.with_world(|world| {
            assert_eq!(world.foreign_touches(), [] as [String; 0], "{name}");
            assert_eq!(world.violations(), [] as [String; 0], "{name}");
            assert_eq!(world.unproved_configurations(), [] as [String; 0], "{name}");
            assert_eq!(world.proxmox.vms[&house::STRANGER].config, self.stranger, "{name}");
        });
    }
}

/// Everything that a user may read of a run.
struct Story<'a> {
    name: &'a str,
    report: &'a Report,
    events: &'a [Event],
}

impl Story<'_> {
    fn text(&self) -> String {
        let Report { outcome, error, problems, rounds, .. } = self.report;
        let mut text = format!("{outcome:?} after {rounds} rounds and {:?}\n", self.report.took);
        if let Some(error) = error {
            text += &format!("error {error:?}: {}\n  hint: {:?}\n", error.chain(), error.advice());
        }
        for problem in problems {
            text += &format!("problem {}: {problem}\n  hint: {:?}\n", problem.code, problem.hint);
        }
        for event in self.events {
            text += &match &event.kind {
                EventKind::StepWaiting { step, why } => format!("{step} waits: {why}\n"),
                EventKind::StepEnded { step, error: Some(error), .. } => format!("{step} failed: {error}\n"),
                EventKind::RoundFailed { why } => format!("round failed: {why}\n"),
                EventKind::Notice { text } => format!("notice: {text}\n"),
                _ => continue,
            };
        }
        text
    }

    fn ended(&self, end: &End) {
        let Report { outcome, error, problems, .. } = self.report;
        let kind = error.as_ref().map(|error| error.kind().code());
        let hint = error.as_ref().and_then(Error::advice).unwrap_or_default();
        let fits = match end {
            End::Reached => *outcome == Outcome::Ok && error.is_none(),
            End::Failed(wanted, advice) => {
                *outcome == Outcome::Failed && kind == Some(*wanted) && !hint.is_empty() && hint.contains(advice)
            }
            End::Refused(code, advice) => {
                // A guard speaks by an error, a plan by its problems.
                let by_error = kind == Some(*code) && !hint.is_empty() && hint.contains(advice);
                let by_problem = problems.iter().any(|problem| {
                    let said = problem.hint.as_deref().unwrap_or_default();
                    problem.is_error() && problem.code == *code && !said.is_empty() && said.contains(advice)
                });
                *outcome == Outcome::Refused && (by_error || by_problem)
            }
        };
        assert!(fits, "{}: it ended otherwise:\n{}", self.name, self.text());
    }

    fn is_free_of(&self, secrets: &[String]) {
        let shown = format!("{}{:#?}{:#?}", self.text(), self.report, self.events);
        for secret in secrets {
            assert!(secret.len() > 8 && !shown.contains(secret.as_str()), "{}: a secret is told", self.name);
        }
    }
}
