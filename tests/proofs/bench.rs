//! The benchmarks, and the first of them: what castle adds to the time that the house
//! itself needs, and what a look at a large house costs.
//!
//! Each prints its lines as it goes on, `bench NAME key=value ..`; at the end the same
//! figures stand in one table.
#![allow(clippy::disallowed_methods)] // benchmarks measure the machine's own time

use std::fmt::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use castle_core::{Context, Goal, LostLife, Milestone, Pace, Project, Report, Requests, RunOptions};
use castle_lab::ideal::{Beginning, api_ideal, machines_ideal};
use castle_lab::journal::Journal;
use castle_lab::{Lab, World, runtime};

use crate::bench_rebirth::{flux_chain, rebirth};
use crate::rig::{Honest, Visit, open, project};
use crate::table::{Table, median};

/// The seeds of every benchmark.
pub const SEEDS: std::ops::RangeInclusive<u64> = 1..=5;

/// The projects that the larger benchmarks raise.
pub const PROJECTS: [(&str, &str); 2] = [
    ("blue", include_str!("../../examples/projects/blue/proxmox/castle.yaml")),
    ("fortress", include_str!("../../examples/projects/fortress/proxmox/castle.yaml")),
];

type Bench = fn(&mut Table);

/// All of them, in the order in which they run: what tells the peak of the memory comes
/// before what raises five hundred machines.
const BENCHES: [(&str, Bench); 5] = [
    ("api", api),
    ("rebirth", rebirth),
    ("flux-chain", flux_chain),
    ("machines", machines),
    ("no-op-plan", no_op_plan),
];
/// What `castle-py/bench/imports.py` measures.
const PYTHON: &str = "python-import";

/// Runs all benchmarks, or the one that is named, and prints the table. After `--and`
/// comes the file with the line of the Python imports.
pub fn run(arguments: &[String]) -> ExitCode {
    let (mut name, mut file) = (None, None);
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "--and" => file = arguments.next(),
            named => name = Some(named),
        }
    }
    let names = || BENCHES.iter().map(|(name, _)| *name).chain([PYTHON]);
    if let Some(unknown) = name.filter(|name| !names().any(|known| known == *name)) {
        eprintln!("there is no benchmark `{unknown}`: {}", names().collect::<Vec<_>>().join(", "));
        return ExitCode::from(64);
    }
    let mut table = Table::default();
    for (_, bench) in BENCHES.iter().filter(|(known, _)| name.is_none_or(|name| name == *known)) {
        bench(&mut table);
    }
    if name.is_none_or(|name| name == PYTHON) {
        python_import(&mut table, file.map(Path::new));
    }
    println!("\n{}\n{table}", head());
    ExitCode::SUCCESS
}

/// What was measured, and on what.
fn head() -> String {
    let told = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = told("git", &["status", "--porcelain", "--untracked-files=no"]).is_some_and(|list| !list.is_empty());
    let commit = told("git", &["rev-parse", "--short", "HEAD"]);
    let commit = commit.map(|commit| format!("commit {commit}{}", if changed { " and changes" } else { "" }));
    let rustc = told("rustc", &["--version"]);
    let rustc = rustc.and_then(|told| told.split(' ').nth(1).map(|version| format!("rustc {version}")));
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let machine = format!("{}, {cores} cores", model.map_or("processor unknown", |(_, name)| name.trim()));
    let profile = if cfg!(debug_assertions) { "dev profile, whose figures mislead" } else { "release profile" };
    let seeds = format!("seeds {} to {}", SEEDS.start(), SEEDS.end());
    let told = [Some("bench".to_owned()), commit, rustc, Some(machine), Some(profile.to_owned()), Some(seeds)];
    told.into_iter().flatten().collect::<Vec<_>>().join(" | ")
}

/// What an import costs, as `castle-py/bench/imports.py` wrote it down.
fn python_import(table: &mut Table, file: Option<&Path>) {
    const MODULES: [&str; 3] = ["castle_py", "kubernetes", "kr8s"];
    let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("bench python-import "));
    if let Some(line) = line {
        println!("{line}");
    }
    let figure = |key: String| {
        let value = line?.split(' ').find_map(|word| word.strip_prefix(&key)?.strip_prefix('='))?;
        value.split(',').map(|value| value.parse().ok()).collect::<Option<Vec<f64>>>()
    };
    for (unit, suffix) in [("ms", "ms"), ("MB", "mb")] {
        for module in MODULES {
            let metric = format!("import {module}, {}", if unit == "ms" { "time" } else { "memory" });
            match figure(format!("{module}_{suffix}s")) {
                Some(values) => {
                    let row = table.row(metric, unit, values);
                    if (module, unit) == ("castle_py", "MB") {
                        row.goal(40.0);
                    }
                }
                None if line.is_some() => table.skipped(metric, unit, "not installed"),
                None => table.skipped(metric, unit, "`make py` and `make bench` measure it"),
            }
        }
    }
}

/// A declaration of one control plane and `machines - 1` workers on one host.
fn cluster_of(machines: u32, imports: u32) -> Project {
    let mut text = format!(
        "apiVersion: castle/v1alpha1\nproject: bench\nplatform: proxmox\n\
         cluster: {{name: bench, talos: v1.13.9, kubernetes: v1.36.3, contract: \"1.13\"}}\n\
         image: {{extensions: [], storage: local}}\n\
         network: {{subnet: 10.20.0.0/16, gateway: 10.20.0.1, dns: [10.20.0.1], bridge: vmbr0}}\n\
         hosts: {{pve: {{memory: {}GiB, reserve: 4GiB}}}}\n\
         defaults: {{pool: bench, storage: local-lvm, cores: 2, memory: 2GiB, disk: 10GiB}}\n\
         limits: {{imports_per_storage: {imports}}}\ncontrol_planes:\n",
        machines * 3 + 16
    );
    for number in 0..machines {
        if number == 1 {
            text.push_str("workers:\n");
        }
        let address = format!("10.20.{}.{}", 1 + number / 200, 1 + number % 200);
        let _ =
            writeln!(text, "  - {{name: bench-{number:03}, vmid: {}, address: {address}, host: pve}}", 4000 + number);
    }
    project(&text)
}

/// Five machines at the machine's own pace: as the lab's tables have it, and with
/// requests that take no time, which leaves what castle itself adds.
fn machines(table: &mut Table) {
    let project = cluster_of(5, 5);
    let (mut asked, mut polled) = (Vec::new(), Vec::new());
    for latency in [true, false] {
        // They wait nearly all the time, so all seeds do so at once.
        let raised: Vec<Raised> = std::thread::scope(|scope| {
            let project = &project;
            let raising: Vec<_> = SEEDS.map(|seed| scope.spawn(move || Raised::of(project, seed, latency))).collect();
            raising.into_iter().map(|raised| raised.join().expect("a create succeeds")).collect()
        });
        let (mut took, mut over) = (Vec::new(), Vec::new());
        for (seed, raised) in SEEDS.zip(raised) {
            println!(
                "bench machines machines=5 pace=real seed={seed} request_latency={} {raised}",
                if latency { "table" } else { "0" }
            );
            took.push(raised.took_s);
            over.push(raised.took_s - raised.ideal_s);
            asked.push(raised.each());
            polled.push(raised.polls as f64);
        }
        if latency {
            table.row("create 5 machines, pace real", "s", took).over(over);
        } else {
            table.row("same, requests take no time", "s", took).over(over).goal(0.25);
        }
    }
    table.row("same, for each machine", "requests", asked).goal(4.0);
    table.row("same, polls shared by all", "requests", polled);
}

/// Five machines that were made at the machine's own pace.
struct Raised {
    ideal_s: f64,
    took_s: f64,
    requests: Requests,
    /// Requests that look at all machines at once.
    polls: usize,
}

impl Raised {
    fn of(project: &Project, seed: u64, latency: bool) -> Self {
        let mut house = World::home(project, seed);
        house.request_latency = latency;
        let ideal_s = machines_ideal(project, &house).create.as_secs_f64();
        let journal = Journal::new();
        let kept = journal.clone();
        let (took_s, requests) = runtime::run_scaled(|| async move {
            let lab = Lab::builder(project).pace(Pace::Real).world(house).journal(kept).start().await.expect("a lab");
            let castle = open(project, &lab, lab.new_run(), &Honest);
            let until = Some(Milestone::MachinesRunning);
            let report = castle.run(Goal::Create, RunOptions { until, ..RunOptions::default() }).await;
            assert!(report.error.is_none(), "{:?}", report.error);
            (report.took.as_secs_f64(), report.requests["proxmox"])
        });
        let polls = journal.entries().iter().filter(|entry| matches!(&*entry.kind, "GET tasks" | "GET qemu")).count();
        Self { ideal_s, took_s, requests, polls }
    }

    /// How many requests each machine had for itself.
    fn each(&self) -> f64 {
        ((self.requests.read + self.requests.write) as f64 - self.polls as f64) / 5.0
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ideal_s, took_s, requests, polls } = self;
        write!(
            f,
            "ideal_s={ideal_s:.3} took_s={took_s:.3} overhead_s={:.3} overhead_pct={:.1} requests={} writes={} \
             shared_polls={polls} requests_each_without_polls={:.1}",
            took_s - ideal_s,
            (took_s / ideal_s - 1.0) * 100.0,
            requests.read + requests.write,
            requests.write,
            self.each(),
        )
    }
}

/// From nothing to ready nodes in virtual time: what castle adds to the ideal, what
/// it asks, and what the whole simulated home costs this machine.
fn api(table: &mut Table) {
    for (name, text) in PROJECTS {
        let project = project(text);
        let mut rows = [(Milestone::ApiServing, "API serving"), (Milestone::NodesReady, "nodes ready")]
            .map(|(milestone, metric)| (milestone, metric, Vec::new(), Vec::new()));
        let mut walls = Vec::new();
        for seed in SEEDS {
            let house = World::home(&project, seed);
            let ideal = api_ideal(&project, &house, Beginning::Empty);
            let began = Instant::now();
            let visit = Visit { seed, ..Visit::new(&project, Goal::Create) };
            let left = visit.until(Milestone::NodesReady).go();
            let wall = began.elapsed().as_secs_f64() * 1000.0;
            assert!(left.is_ok(), "{}", left.why());
            let report = left.report.as_ref().expect("it ended");
            let at = |milestone: Milestone| report.milestones[milestone.name()].as_secs_f64();
            println!(
                "bench api project={name} seed={seed} api_serving_s={:.3} over_ideal_s={:.3} nodes_ready_s={:.3} \
                 over_ideal_ready_s={:.3} wall_ms={wall:.0} {} peak_rss_mib={}",
                at(Milestone::ApiServing),
                at(Milestone::ApiServing) - ideal.api_serving.as_secs_f64(),
                at(Milestone::NodesReady),
                at(Milestone::NodesReady) - ideal.nodes_ready.as_secs_f64(),
                requests(report),
                peak_memory_mib().map_or_else(|| "unknown".into(), |mib| mib.to_string()),
            );
            for ((milestone, _, took, over), ideal) in rows.iter_mut().zip([ideal.api_serving, ideal.nodes_ready]) {
                took.push(at(*milestone));
                over.push(at(*milestone) - ideal.as_secs_f64());
            }
            walls.push(wall);
        }
        for (milestone, metric, took, over) in rows {
            let row = table.row(format!("create: {metric}, {name}"), "s", took).over(over);
            if milestone == Milestone::ApiServing {
                row.goal(3.0);
            }
        }
        let row = table.row(format!("create: wall of it, {name}"), "ms", walls);
        if name == "blue" {
            row.goal(150.0);
        }
    }
    tell_memory(table, "peak memory of the creates");
}

/// The requests of a run by their backends, for a line.
pub fn requests(report: &Report) -> String {
    let of = report.requests.iter().map(|(backend, count)| format!("{backend}={}r/{}w", count.read, count.write));
    of.collect::<Vec<_>>().join(" ")
}

/// Adds the most memory that this process has had by now: castle, and the lab with it.
pub fn tell_memory(table: &mut Table, metric: &str) {
    match peak_memory_mib() {
        Some(mib) => {
            table.row(metric, "MiB", vec![mib as f64]).goal(40.0);
        }
        None => table.skipped(metric, "MiB", "the system does not tell it"),
    }
}

/// The most memory that this process ever had, where the system tells it.
fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}

/// A plan that finds nothing to do, with every configuration read.
fn no_op_plan(table: &mut Table) {
    for (machines, most_ms) in [(5, 50.0), (100, 150.0), (500, 500.0)] {
        let project = cluster_of(machines, machines);
        let mut house = World::home(&project, 1);
        for storage in house.proxmox.storages.values_mut() {
            storage.total = 64 << 40;
        }
        let began = Instant::now();
        let left = Visit::new(&project, Goal::Create).to(house).go();
        assert!(left.is_ok(), "{}", left.why());
        let raised = began.elapsed();
        let mut world = left.world;
        world.request_latency = false;
        let project = &project;
        let journal = Journal::new();
        let kept = journal.clone();
        let times = runtime::run_scaled(|| async move {
            let lab = Lab::builder(project).pace(Pace::Real).world(world).journal(kept).start().await.expect("a lab");
            let castle = open(project, &lab, lab.new_run(), &Honest);
            let cx = Context::new(castle.env().clone());
            let mut times = Vec::new();
            // The first one opens the connections, and is no figure of the others.
            for _ in 0..=5 {
                let began = Instant::now();
                let until = Some(Milestone::MachinesRunning);
                let plan = castle.plan(&cx, Goal::Create, LostLife::Ask, until).await.expect("a plan");
                times.push(began.elapsed().as_secs_f64() * 1000.0);
                assert!(plan.is_done(), "{plan}");
            }
            times
        });
        let entries = journal.entries();
        let rounds = times.len();
        let requests = entries.len() as f64 / rounds as f64;
        let bytes = entries.iter().map(|entry| entry.bytes).sum::<u64>() / rounds as u64;
        let (first, warm) = times.split_first().expect("there was a plan");
        println!(
            "bench no-op-plan machines={machines} median_ms={:.1} first_ms={first:.1} requests={requests:.0} \
             bytes={bytes} bytes_each={} raised_s={:.1}",
            median(warm).expect("there were five"),
            bytes / u64::from(machines),
            raised.as_secs_f64(),
        );
        let metric = |what: &str| format!("no-op plan of {machines}: {what}");
        table.row(metric("time"), "ms", warm.to_vec()).goal(most_ms);
        table.row(metric("requests"), "requests", vec![requests]);
        table.row(metric("bytes for each"), "B", vec![(bytes / u64::from(machines)) as f64]).goal(300.0);
    }
}
