//! `proof canaries`: every secret of a lab is searched for, in every form, in
//! everything that castle says or writes anywhere but in the secret store.

mod children;
mod ears;
mod needle;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use castle_core::{
    Context, Credential, Error, ErrorKind, Goal, Meter, Milestone, NodeSite, Result, Secret, SecretBytes, SecretKey,
    SecretStore,
};
use castle_lab::World;
use castle_lab::faults::{Fault, FaultEffect};
use castle_lab::journal::Journal;
use castle_lab::node::Residue;
use castle_talos::SecretsBundle;
use castle_talos::wire::machine::ApplyConfigurationRequest;

use crate::Proof;
use crate::ghosts::in_lab;
use crate::rig::{Honest, Left, Meddler, Visit, blue};
use ears::Ears;
use needle::{Needles, Secrets};

/// Where castle said or wrote something, and what.
#[derive(Default)]
pub struct Places(Vec<(String, Vec<u8>)>);

impl Places {
    /// Notes what was found in a place.
    pub fn add(&mut self, place: String, text: Vec<u8>) {
        self.0.push((place, text));
    }

    /// Notes how a value shows itself.
    pub fn debug(&mut self, what: &str, value: &dyn Debug) {
        // A list of numbers is broken over lines: without blanks both forms are one.
        let pretty: String = format!("{value:#?}").split_whitespace().collect();
        self.add(format!("Debug of {what}"), format!("{value:?}\n{value:#?}\n{pretty}").into_bytes());
    }

    fn leaks(&self, needles: &Needles) -> Vec<String> {
        let found = self.0.iter().map(|(place, text)| (place, needles.found_in(text)));
        found
            .filter(|(_, names)| !names.is_empty())
            .map(|(place, names)| format!("{place}: {}", names.into_iter().collect::<Vec<_>>().join(", ")))
            .collect()
    }
}

/// Adds what the secret store keeps under a name.
fn add_stored(secrets: &mut Secrets, whose: &str, name: &str, value: Vec<u8>) {
    let last = name.rsplit('/').next().unwrap_or(name);
    let last = last.strip_suffix(".secret").unwrap_or(last);
    let text = || String::from_utf8(value.clone()).expect("it is a text");
    match last.split_once('.').map_or(last, |(_, suffix)| suffix) {
        "began" | "bootstrap" | "born" | "complete" | "ended" => {}
        "kubeconfig" | "talosconfig" | "KUBECONFIG_CONTENT" | "TALOSCONFIG_CONTENT" => {
            secrets.add_credential(&format!("{whose}'s {last}"), &text())
        }
        "project-key" => secrets.add(&format!("{whose}'s project key"), &value),
        // Whatever the store needs for itself.
        _ if value.is_empty() || last.starts_with('.') => {}
        _ => {
            let parsed = SecretsBundle::parse(&Secret::new(value));
            let bundle = parsed.unwrap_or_else(|problems| panic!("`{name}` is no bundle: {problems:?}"));
            secrets.add_bundle(&format!("{whose}, life {last}"), &bundle);
        }
    }
}

fn add_world(secrets: &mut Secrets, whose: &str, world: &World) {
    for (key, value) in &world.ledger.secrets.0 {
        add_stored(secrets, whose, key.as_str(), value.expose().clone());
    }
    for token in world.proxmox.access.tokens.values() {
        secrets.add(&format!("an API token of {whose}"), token.secret.as_bytes());
    }
    for (what, value) in world.git.secrets().chain(world.infisical.secrets()) {
        secrets.add(&format!("{what} of {whose}"), value.as_bytes());
    }
    secrets.add(&format!("the root password of {whose}"), world.root_password().unwrap_or_default().as_bytes());
}

fn add_left(secrets: &mut Secrets, places: &mut Places, name: &str, left: &Left) {
    add_world(secrets, name, &left.world);
    places.debug(&format!("the report of {name}"), &left.report);
    places.debug(&format!("the events of {name}"), &left.events);
    let mut said = left.why();
    for event in &left.events {
        said.push_str(&serde_json::to_string(event).expect("events are JSON"));
    }
    if let Some(error) = left.report.as_ref().and_then(|report| report.error.as_ref()) {
        said.push_str(&format!("{error}\n{error:#}\n{}\n{:?}", error.chain(), error.advice()));
        said.extend(error.context().map(|(key, value)| format!("{key}={value}\n")));
    }
    places.add(format!("what {name} says"), said.into_bytes());
    places.add(format!("the journal of {name}"), serde_json::to_vec(&left.entries).expect("a journal is JSON"));
    places.debug(&format!("the journal of {name}"), &left.entries);
    places.debug(&format!("the trace of {name}"), &left.world.trace());
    places.debug(&format!("the violations of {name}"), &left.world.violations());
    places.debug(&format!("the nodes of {name}"), &left.world.nodes);
    places.debug(&format!("the Kubernetes objects of {name}"), &left.world.kubernetes);
    places.debug(&format!("the ledger of {name}"), &left.world.ledger);
    places.debug(&format!("Git and Infisical of {name}"), &(&left.world.git, &left.world.infisical));
    places.debug(&format!("Flux of {name}"), &(&left.world.flux, &left.world.external_secrets, &left.world.workloads));
    places.debug(&format!("the rights of {name}"), &left.world.proxmox.access);
}

/// A whole life, with every verb.
fn life(secrets: &mut Secrets, places: &mut Places) -> Vec<String> {
    let journal = Journal::new();
    let entries = journal.clone();
    let project = blue();
    let ((heard, wrong), world) = in_lab(&project, journal, &Honest, async |stage| {
        let (mut places, mut wrong) = (Places::default(), Vec::new());
        let cx = Context::new(stage.castle.env().clone());
        let mut reports = Vec::new();
        for goal in [Goal::Create, Goal::Destroy] {
            let plan = stage.castle.plan(&cx, goal, castle_core::LostLife::Ask, None).await;
            places.debug("a plan", &plan);
            let (report, events) = stage.reach(goal, Milestone::AppsReady).await;
            if report.outcome != castle_core::Outcome::Ok {
                wrong.push(format!("the {goal} of a whole life failed: {:?}", report.error));
            }
            places.debug("events", &events);
            reports.push(report);
            if goal == Goal::Destroy {
                break;
            }
            let observation = stage.castle.observe(&cx, Milestone::AppsReady).await;
            places.debug("an observation", &observation);
            places.debug("an owner", &observation.owner);
            places.debug("the members of etcd", &stage.castle.members(&cx).await);
            places.debug("ghosts", &stage.ghosts().await);
            places.debug("checks", &stage.castle.check(&cx).await);
            for which in [Credential::Kubeconfig, Credential::Talosconfig] {
                places.debug("a credential", &stage.castle.credential(which).await);
            }
            places.debug("an escrow", &stage.castle.escrow().await);
        }
        places.debug("reports", &reports);
        places.debug("a castle", &stage.castle);
        places.debug("a lab", &stage.lab);
        let options = stage.lab.options(stage.run);
        places.debug("an option document", &options);
        places.debug("an option document, written", &options.map(|options| options.render()));
        places.debug("a store", &stage.lab.secrets(stage.run));
        places.debug("the lab's authority", &stage.lab.pki());
        (places, wrong)
    });
    places.0.extend(heard.0);
    places.debug("a journal", &entries.entries());
    places.debug("a world's trace", &world.trace());
    places.debug("nodes", &world.nodes);
    places.debug("a ledger", &world.ledger);
    places.debug("Git", &world.git);
    places.debug("Infisical", &world.infisical);
    places.debug("workloads", &world.workloads);
    places.debug("Flux", &world.flux);
    places.debug("external-secrets", &world.external_secrets);
    add_world(secrets, "a whole life", &world);
    let bundle = world.ledger.secrets.0.iter().find(|(key, _)| key.as_str().ends_with("/talos/1"));
    let (_, bundle) = bundle.expect("a life was begun");
    let parsed = SecretsBundle::parse(bundle).expect("castle wrote it");
    places.debug("a bundle", &parsed);
    places.debug("an authority", &parsed.os);
    let site = NodeSite { project: Arc::new(project.clone()), bundle: bundle.clone() };
    places.debug("a site", &site);
    let spec = project.machines[0].clone();
    let target = castle_core::NodeTarget { spec, uuid: uuid::Uuid::nil() };
    let rendered = castle_talos::config::render(&site, &target).expect("the project is valid");
    places.debug("a configuration", &rendered);
    let text = String::from_utf8(rendered.expose().clone()).expect("YAML is text");
    places.debug("residue", &Residue::Config(text.clone()));
    let data = text.clone().into_bytes();
    places.debug("a request to configure", &ApplyConfigurationRequest { data, ..Default::default() });
    let mut world = World::home(&project, 3);
    world.plant_configuration(421, text.clone());
    world.plant_residue(431, Residue::Config(text));
    places.debug("plants", &world.nodes);
    places.debug("a world's trace with plants", &world.trace());
    wrong
}

type Trouble = (&'static str, Vec<Fault>, fn(&mut World));

/// Runs in which something goes wrong beside a secret.
fn troubles() -> Vec<Trouble> {
    let fault = |backend: &str, kind: &str, times, effect| Fault {
        backend: Some(backend.into()),
        kind: Some(kind.into()),
        times,
        ..Fault::of(effect)
    };
    let status = |status, body: &str| FaultEffect::Status { status, reason: None, body: body.into(), after: false };
    vec![
        ("a certificate of another cluster", Vec::new(), |world| {
            let env =
                castle_core::Env { entropy: Arc::new(castle_core::SeededEntropy::new(5)), ..castle_core::Env::real() };
            let bundle = SecretsBundle::generate(&env).expect("keys can be made").to_yaml();
            let project = blue();
            let spec = project.machines[0].clone();
            let site = NodeSite { project: Arc::new(project), bundle };
            let target = castle_core::NodeTarget { spec, uuid: uuid::Uuid::nil() };
            let text = castle_talos::config::render(&site, &target).expect("the project is valid");
            let text = String::from_utf8(text.expose().clone()).expect("YAML is text");
            world.plant_residue(421, Residue::Config(text));
        }),
        (
            "a refused configuration",
            vec![fault("talos", "machine.ApplyConfiguration", u32::MAX, status(400, "the configuration is wrong"))],
            |_| {},
        ),
        (
            "lost answers",
            ["POST qemu", "machine.ApplyConfiguration", "machine.Bootstrap", "create"]
                .map(|kind| Fault { kind: Some(kind.into()), ..Fault::of(FaultEffect::AnswerLost) })
                .to_vec(),
            |_| {},
        ),
        ("a stranger", Vec::new(), |world| {
            world.plant_stranger(blue().machines[0].nic.address, "deadbeef-0000-4000-8000-000000000001");
        }),
        ("a token that is refused", vec![fault("proxmox", "*", u32::MAX, status(401, "no ticket"))], |_| {}),
        ("a store that refuses", vec![fault("secrets", "create", u32::MAX, status(403, ""))], |_| {}),
        ("a Git server that refuses", vec![fault("git", "*", u32::MAX, status(401, "no"))], |_| {}),
        ("an API that refuses", vec![fault("kubernetes", "*", u32::MAX, status(401, "Unauthorized"))], |_| {}),
    ]
}

/// A store whose errors quote what they were given: what castle must never do.
#[derive(Debug)]
struct Chatterbox(Arc<dyn SecretStore>);

#[async_trait]
impl SecretStore for Chatterbox {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn meter(&self) -> &Meter {
        self.0.meter()
    }
    async fn get(&self, key: &SecretKey) -> Result<Option<SecretBytes>> {
        self.0.get(key).await
    }
    async fn create(&self, key: &SecretKey, value: &SecretBytes) -> Result<()> {
        self.0.create(key, value).await?;
        if key.as_str().ends_with("/talos/1") {
            // The value is stored, and this is never read again: the run goes on.
            tracing::trace!(stored = ?value.expose(), "wrote {key}");
        }
        Ok(())
    }
    async fn put(&self, key: &SecretKey, value: &SecretBytes) -> Result<bool> {
        self.0.put(key, value).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<SecretKey>> {
        let keys = self.0.list(prefix).await?;
        if let Some(key) = keys.iter().find(|key| key.as_str().ends_with("/talos/1")) {
            let value = self.0.get(key).await?.map(|value| hex::encode(value.expose())).unwrap_or_default();
            return Err(Error::new(ErrorKind::Unexpected, format!("`{key}` holds {value}")));
        }
        Ok(keys)
    }
    async fn delete(&self, key: &SecretKey) -> Result<()> {
        self.0.delete(key).await
    }
}

struct Chatty;

impl Meddler for Chatty {
    fn secrets(&self, real: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
        Arc::new(Chatterbox(real))
    }
}

/// A run with a store that talks: both of its leaks are found.
fn chatter_is_found(ears: &Ears) -> bool {
    let before = ears.heard().len();
    let project = blue();
    let visit = |goal| Visit::new(&project, goal).meddled(&Chatty);
    let first = visit(Goal::Create).go();
    let second = visit(Goal::Create).to(first.world).go();
    let (mut secrets, mut said) = (Secrets::default(), Places::default());
    add_left(&mut secrets, &mut said, "chatter", &second);
    let mut traced = Places::default();
    traced.add("traces".into(), ears.heard().as_bytes()[before..].to_vec());
    let needles = secrets.needles();
    !said.leaks(&needles).is_empty() && !traced.leaks(&needles).is_empty()
}

/// Searches everywhere.
pub fn prove() -> Proof {
    let mut proof = Proof::new("canaries");
    let ears = Ears::open();
    let (mut secrets, mut places) = (Secrets::default(), Places::default());
    for why in life(&mut secrets, &mut places) {
        proof.fail(why);
    }
    for (name, faults, plant) in troubles() {
        let project = blue();
        let mut world = World::home(&project, 2);
        plant(&mut world);
        let mut visit = Visit::new(&project, Goal::Create).to(world).until(Milestone::AppsReady);
        visit.faults = faults;
        let left = visit.go();
        if left.is_ok() && name != "lost answers" {
            proof.fail(format!("{name} did not stop a create, so nothing was told of it"));
        }
        add_left(&mut secrets, &mut places, name, &left);
    }
    for why in children::visit(&mut secrets, &mut places) {
        proof.fail(why);
    }
    let heard = ears.heard();
    for library in ["h2", "rustls", "hyper_util"] {
        if !heard.lines().any(|line| line.starts_with(library)) {
            proof.fail(format!("nothing was heard of {library}: the traces are not searched"));
        }
    }
    places.add("the traces of all libraries".into(), heard.into_bytes());
    let leaks = places.leaks(&secrets.needles());
    proof.figure("secrets", secrets.len()).figure("places", places.0.len()).none("leaked", &leaks);
    proof.refuted("stores and errors quote no value", chatter_is_found(&ears));
    ears.close();
    proof
}
