//! A machine provider of one's own: the wire between castle and a new hypervisor
//! or cloud is one trait, and one suite says whether it was understood.
//!
//! This one keeps its machines in memory and counts its requests. For a backend of
//! yours, replace the last line of each method by your requests.
//!
//! `cargo run --example custom_machine_provider`
#![allow(clippy::print_stdout)]

#[path = "custom_machine_provider/proving.rs"]
mod proving;

use std::sync::Arc;

use async_trait::async_trait;
use castle_core::conformance::machines;
use castle_core::memory::{self, MemoryIdentity, MemoryMachines, MemorySecrets};
use castle_core::{
    Birth, ByteSize, Capabilities, Castle, Clock, Context, Env, Goal, Inventory, Machine, MachineProvider, MachineSpec,
    Meter, OsEntropy, Outcome, Owner, Pace, Power, Problem, Removal, Result, RunOptions, Slot,
};

/// Machines in memory, behind a door that counts what goes through.
#[derive(Debug, Clone)]
struct Audited {
    house: MemoryMachines,
    meter: Arc<Meter>,
}

impl Audited {
    fn new(house: MemoryMachines) -> Self {
        Self { house, meter: Arc::default() }
    }
}

// What each method promises stands in the table of `MachineProvider`.
#[async_trait]
impl MachineProvider for Audited {
    fn name(&self) -> &'static str {
        "audited"
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::none().with_layer2().with_fencing().with_fixed_addresses()
    }

    fn validate(&self, spec: &MachineSpec) -> Vec<Problem> {
        self.house.validate(spec)
    }

    async fn preflight(&self, cx: &Context, specs: &[MachineSpec], inventory: &Inventory) -> Result<Vec<Problem>> {
        self.meter.count_read();
        self.house.preflight(cx, specs, inventory).await
    }

    async fn list(&self, cx: &Context, owner: &Owner, specs: &[MachineSpec]) -> Result<Inventory> {
        self.meter.count_read();
        self.house.list(cx, owner, specs).await
    }

    async fn get(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> Result<Slot> {
        self.meter.count_read();
        self.house.get(cx, owner, spec).await
    }

    async fn ensure(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, birth: &Birth) -> Result<Machine> {
        // Whoever looks first need not write again.
        if !matches!(self.get(cx, owner, spec).await?, Slot::Present(machine) if machine.standing.ours().is_some()) {
            self.meter.count_write();
        }
        self.house.ensure(cx, owner, spec, birth).await
    }

    async fn power(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, power: Power) -> Result<()> {
        if !matches!(self.get(cx, owner, spec).await?, Slot::Present(machine) if machine.power == power) {
            self.meter.count_write();
        }
        self.house.power(cx, owner, spec, power).await
    }

    async fn destroy(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> Result<Removal> {
        if self.get(cx, owner, spec).await? != Slot::Absent {
            self.meter.count_write();
        }
        self.house.destroy(cx, owner, spec).await
    }
}

async fn story() -> Result<usize> {
    println!("The suite that every provider must pass:");
    let lines = machines::all(async || proving::Ground::new()).await;
    lines.iter().for_each(|line| println!("  {line}"));

    println!("\nA castle on it:");
    let castle = Castle::builder(memory::example_project())
        .machines(Arc::new(Audited::new(MemoryMachines::new().with_host("pve", ByteSize::gib_of(32)))))
        .secrets(Arc::new(MemorySecrets::new()))
        .identity(Arc::new(MemoryIdentity))
        .env(Env { clock: Clock::new(Pace::Virtual), entropy: Arc::new(OsEntropy) })
        .build()?;
    for goal in [Goal::Create, Goal::Create, Goal::Destroy] {
        let report = castle.run(goal, RunOptions::default()).await;
        let how = if report.outcome == Outcome::Ok { "done" } else { "NOT done" };
        let asked = report.requests["audited"];
        println!("  {goal}: {how}, {} looks, {} changes asked for", asked.read, asked.write);
    }
    Ok(lines.len())
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let rules = runtime.expect("a runtime without sockets needs nothing of the system").block_on(story())?;
    println!("\na provider of one's own: {rules} of {} rules hold", machines::RULES.len());
    Ok(())
}
