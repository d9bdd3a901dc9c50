//! `bench machines`: what castle adds to the time that the house itself needs,
//! and what a look at a large house costs.
#![allow(clippy::disallowed_methods)] // benchmarks measure the machine's own time

use std::fmt::Write;
use std::time::{Duration, Instant};

use castle_core::{Context, Goal, LostLife, Milestone, Pace, Project, RunOptions};
use castle_lab::ideal::{Beginning, api_ideal, machines_ideal};
use castle_lab::journal::Journal;
use castle_lab::{Lab, World, runtime};

use crate::rig::{Honest, Visit, open, project};

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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints the figures.
pub fn machines() {
    overhead();
    for machines in [5, 100, 500] {
        look(machines);
    }
}

/// Five machines at the machine's own pace: as the lab's tables have it, and with
/// requests that take no time, which leaves what castle itself adds.
fn overhead() {
    let project = cluster_of(5, 5);
    for (seed, latency) in [(1, true), (2, true), (3, true), (1, false), (2, false), (3, false)] {
        let mut house = World::home(&project, seed);
        house.request_latency = latency;
        let ideal = machines_ideal(&project, &house).create.as_secs_f64();
        let project = &project;
        let journal = Journal::new();
        let kept = journal.clone();
        let (took, requests) = runtime::run_scaled(|| async move {
            let lab = Lab::builder(project).pace(Pace::Real).world(house).journal(kept).start().await.expect("a lab");
            let castle = open(project, &lab, lab.new_run(), &Honest);
            let report = castle
                .run(Goal::Create, RunOptions { until: Some(Milestone::MachinesRunning), ..RunOptions::default() })
                .await;
            assert!(report.error.is_none(), "{:?}", report.error);
            (report.took.as_secs_f64(), report.requests["proxmox"])
        });
        let polls = journal.entries().iter().filter(|entry| matches!(&*entry.kind, "GET tasks" | "GET qemu")).count();
        let each = (requests.read + requests.write) as f64 - polls as f64;
        println!(
            "bench machines machines=5 pace=real seed={seed} request_latency={} ideal_s={ideal:.3} took_s={took:.3} \
             overhead_s={:.3} overhead_pct={:.1} requests={} writes={} shared_polls={polls} \
             requests_each_without_polls={:.1}",
            if latency { "table" } else { "0" },
            took - ideal,
            (took / ideal - 1.0) * 100.0,
            requests.read + requests.write,
            requests.write,
            each / 5.0,
        );
    }
}

/// From nothing to ready nodes in virtual time: what castle adds to the ideal, what
/// it asks, and what the whole simulated home costs this machine.
pub fn api() {
    for (name, text) in [
        ("blue", include_str!("../../examples/projects/blue/proxmox/castle.yaml")),
        ("fortress", include_str!("../../examples/projects/fortress/proxmox/castle.yaml")),
    ] {
        let project = project(text);
        for seed in 1..=5 {
            let house = World::home(&project, seed);
            let ideal = api_ideal(&project, &house, Beginning::Empty);
            let began = Instant::now();
            let visit = Visit { seed, ..Visit::new(&project, Goal::Create) };
            let left = visit.until(Milestone::NodesReady).go();
            let wall = began.elapsed();
            assert!(left.is_ok(), "{}", left.why());
            let report = left.report.as_ref().expect("it ended");
            let at = |milestone: Milestone| report.milestones[milestone.name()].as_secs_f64();
            let requests: Vec<String> = report
                .requests
                .iter()
                .map(|(backend, count)| format!("{backend}={}r/{}w", count.read, count.write))
                .collect();
            println!(
                "bench api project={name} seed={seed} api_serving_s={:.3} over_ideal_s={:.3} nodes_ready_s={:.3} \
                 over_ideal_ready_s={:.3} wall_ms={:.0} {} peak_rss_mib={}",
                at(Milestone::ApiServing),
                at(Milestone::ApiServing) - ideal.api_serving.as_secs_f64(),
                at(Milestone::NodesReady),
                at(Milestone::NodesReady) - ideal.nodes_ready.as_secs_f64(),
                wall.as_secs_f64() * 1000.0,
                requests.join(" "),
                peak_memory_mib().map_or_else(|| "unknown".into(), |mib| mib.to_string()),
            );
        }
    }
}

/// The most memory that this process ever had, where the system tells it.
fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}

/// A plan that finds nothing to do, with every configuration read.
fn look(machines: u32) {
    let project = cluster_of(machines, machines);
    let mut house = World::home(&project, 1);
    for storage in house.proxmox.storages.values_mut() {
        storage.total = 64 << 40;
    }
    let left = Visit::new(&project, Goal::Create).to(house).go();
    assert!(left.is_ok(), "{}", left.why());
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
        for _ in 0..5 {
            let began = Instant::now();
            let plan =
                castle.plan(&cx, Goal::Create, LostLife::Ask, Some(Milestone::MachinesRunning)).await.expect("a plan");
            times.push(began.elapsed());
            assert!(plan.is_done(), "{plan}");
        }
        times
    });
    let entries = journal.entries();
    let rounds = times.len();
    let bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
    let milliseconds = |time: &Duration| time.as_secs_f64() * 1000.0;
    println!(
        "bench no-op-plan machines={machines} median_ms={:.1} first_ms={:.1} requests={} bytes={} bytes_each={}",
        median(times.iter().map(milliseconds).collect()),
        milliseconds(&times[0]),
        entries.len() / rounds,
        bytes / rounds as u64,
        bytes / rounds as u64 / u64::from(machines),
    );
}
