//! The proofs and the benchmarks: a program that prints one line for each,
//! `proof NAME key=value ..` or `bench NAME key=value ..`, and ends with 1 if a
//! proof fails. After the benchmarks comes a table of their figures.
//!
//! Every proof runs a second time with one of its guards removed and must fail
//! then: `refuted=yes`. A proof that cannot fail proves nothing.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod bench_rebirth;
mod bootstrap;
mod canaries;
mod cuts;
mod determinism;
mod ghosts;
mod ideal;
mod journal;
mod kill;
mod owners;
mod ownership;
mod patient;
mod rebirth;
mod reckless;
mod rig;
mod table;
mod webhooks;

use std::process::ExitCode;

/// How thoroughly to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// A spread of the cases, for every change.
    Quick,
    /// All of them.
    Full,
}

/// One proof's line.
pub struct Proof {
    name: &'static str,
    figures: Vec<(&'static str, String)>,
    failures: Vec<String>,
}

impl Proof {
    /// A proof that has not failed yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, figures: Vec::new(), failures: Vec::new() }
    }

    /// Adds a figure.
    pub fn figure(&mut self, key: &'static str, value: impl ToString) -> &mut Self {
        self.figures.push((key, value.to_string()));
        self
    }

    /// Adds a figure that must be zero, with what is behind it.
    pub fn none(&mut self, key: &'static str, found: &[String]) -> &mut Self {
        self.failures.extend(found.iter().map(|what| format!("{key}: {what}")));
        self.figure(key, found.len())
    }

    /// Says whether the proof failed, as it must, when its guard was removed.
    pub fn refuted(&mut self, guard: &str, failed: bool) -> &mut Self {
        if !failed {
            self.failures.push(format!("it also passes without its guard: {guard}"));
        }
        self.figure("refuted", if failed { "yes" } else { "no" })
    }

    /// Notes a failure.
    pub fn fail(&mut self, what: impl Into<String>) {
        self.failures.push(what.into());
    }

    fn print(&self) -> bool {
        let figures: Vec<_> = self.figures.iter().map(|(key, value)| format!("{key}={value}")).collect();
        println!("proof {} {}", self.name, figures.join(" "));
        if !self.failures.is_empty() {
            // In one piece: other proofs print beside this one.
            let told: String = self.failures.iter().take(20).map(|failure| format!("\n  {failure}")).collect();
            let more = self.failures.len().saturating_sub(20);
            let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
            eprintln!("proof {} failed:{told}{more}", self.name);
        }
        self.failures.is_empty()
    }
}

/// One proof that is to be run.
type Job = Box<dyn Fn() -> Proof + Sync>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let depth = if arguments.iter().any(|argument| argument == "--quick") { Depth::Quick } else { Depth::Full };
    let name = arguments.first().map_or("all", String::as_str);
    let wanted = |proof: &str| name == "all" || name == proof;
    match name {
        "bench" => return bench::run(&arguments[1..]),
        // The second process of the determinism proof.
        "digests" => {
            determinism::print_digests(&arguments[1..]);
            return ExitCode::SUCCESS;
        }
        "story" => {
            determinism::print_story(arguments.get(1).and_then(|seed| seed.parse().ok()).unwrap_or(1));
            return ExitCode::SUCCESS;
        }
        // What the witness of the custom resources reads: the repository of `blue`.
        "repository" => {
            let files = castle_lab::git::template(&rig::blue());
            let texts: std::collections::BTreeMap<_, _> =
                files.iter().map(|(path, bytes)| (path, String::from_utf8_lossy(bytes))).collect();
            println!("{}", serde_json::json!(texts));
            return ExitCode::SUCCESS;
        }
        // What the schema witness reads.
        "journal" => {
            journal::print();
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let mut jobs: Vec<Job> = Vec::new();
    let mut prove = |proof: fn(Depth) -> Proof| jobs.push(Box::new(move || proof(depth)));
    if wanted("power-cut/machines") {
        prove(cuts::machines);
    }
    if wanted("power-cut/api") {
        prove(cuts::api);
    }
    if wanted("power-cut/rebirth") {
        prove(rebirth::prove);
    }
    if wanted("webhook-race") {
        prove(webhooks::prove);
    }
    if wanted("owners") {
        prove(owners::prove);
    }
    if wanted("kill") {
        prove(kill::create);
    }
    if wanted("kill/rebirth") {
        prove(kill::rebirth);
    }
    if wanted("bootstrap") {
        prove(bootstrap::prove);
    }
    if wanted("ghosts") {
        prove(|_| ghosts::prove());
    }
    if wanted("ownership") {
        prove(|_| ownership::prove());
    }
    if wanted("determinism") {
        prove(determinism::prove);
    }
    if wanted("ideal") {
        prove(|_| ideal::prove());
    }
    let mut passed = rig::each(&jobs, |job| job().print());
    // It listens to the whole process, so nothing else may talk then.
    if wanted("canaries") {
        passed.push(canaries::prove().print());
    }
    if passed.is_empty() {
        eprintln!(
            "there is no proof `{name}`: power-cut/machines, power-cut/api, power-cut/rebirth, webhook-race, owners, \
             kill, kill/rebirth, bootstrap, canaries, ghosts, ownership, determinism, ideal, all"
        );
        return ExitCode::from(64);
    }
    let failed = passed.iter().filter(|passed| !**passed).count();
    println!("proofs: {} passed, {failed} failed", passed.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
