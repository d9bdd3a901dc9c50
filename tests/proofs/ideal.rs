//! `proof ideal`: the ideal time follows from project, seed and the lab's tables
//! alone; an idle castle makes the run longer and not the ideal.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use castle_core::{
    Birth, Capabilities, Context, Env, Goal, Inventory, Machine, MachineProvider, MachineSpec, Meter, Options, Owner,
    Power, Problem, Removal, Result, Slot,
};
use castle_lab::World;
use castle_lab::ideal::machines_ideal;

use crate::Proof;
use crate::rig::{Honest, Left, Meddler, Visit, blue};

/// How long the idle castle does nothing.
const IDLE: Duration = Duration::from_secs(10);

/// Compares an honest run with an idle one.
pub fn prove() -> Proof {
    let project = blue();
    let run = |meddler: &dyn Meddler| -> (Duration, Left) {
        let ideal = machines_ideal(&project, &World::home(&project, 1)).create;
        (ideal, Visit::new(&project, Goal::Create).meddled(meddler).go())
    };
    let (ideal, honest) = run(&Honest);
    let (ideal_idle, idle) = run(&Idle);
    let took = |left: &Left| left.report.as_ref().map_or(Duration::ZERO, |report| report.took);
    let mut proof = Proof::new("ideal");
    let (honest_took, idle_took) = (took(&honest), took(&idle));
    let raised = idle_took.as_secs_f64() - honest_took.as_secs_f64();
    proof
        .figure("ideal", format!("{:.3}", ideal.as_secs_f64()))
        .figure("simulated", format!("{:.3}", honest_took.as_secs_f64()))
        .figure("ideal_idle", format!("{:.3}", ideal_idle.as_secs_f64()))
        .figure("simulated_idle", format!("{:.3}", idle_took.as_secs_f64()))
        .figure("raised", format!("{raised:.3}"));
    if !honest.is_ok() || !idle.is_ok() {
        proof.fail(format!("both runs succeed: {} / {}", honest.why(), idle.why()));
    }
    if ideal != ideal_idle {
        proof.fail("the ideal moved with castle's idleness");
    }
    if ideal > honest_took {
        proof.fail("the run was faster than the ideal");
    }
    // The idle time moves every later request against the lab's broadcasts, so
    // the sum may differ by a poll.
    if (raised - IDLE.as_secs_f64()).abs() > 0.5 {
        proof.fail(format!("ten idle seconds raised the run by {raised:.3} s"));
    }
    // Without the rule "computed beforehand", an ideal read off the run would
    // have moved along.
    let read_off = |left: &Left| left.events.last().map_or(0, |event| event.at_ms);
    proof.refuted("the ideal is computed before the run", read_off(&honest) != read_off(&idle));
    proof
}

/// Puts ten idle seconds before the first look.
struct Idle;

impl Meddler for Idle {
    fn machines(&self, real: Arc<dyn MachineProvider>, _: &Env, _: &Options) -> Arc<dyn MachineProvider> {
        Arc::new(IdleMachines(real))
    }
}

#[derive(Debug)]
struct IdleMachines(Arc<dyn MachineProvider>);

#[async_trait]
impl MachineProvider for IdleMachines {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn meter(&self) -> &Meter {
        self.0.meter()
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn validate(&self, spec: &MachineSpec) -> Vec<Problem> {
        self.0.validate(spec)
    }
    async fn preflight(&self, cx: &Context, specs: &[MachineSpec], inventory: &Inventory) -> Result<Vec<Problem>> {
        self.0.preflight(cx, specs, inventory).await
    }
    async fn list(&self, cx: &Context, owner: &Owner, specs: &[MachineSpec]) -> Result<Inventory> {
        cx.clock().sleep(IDLE).await;
        self.0.list(cx, owner, specs).await
    }
    async fn get(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> Result<Slot> {
        self.0.get(cx, owner, spec).await
    }
    async fn ensure(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, birth: &Birth) -> Result<Machine> {
        self.0.ensure(cx, owner, spec, birth).await
    }
    async fn power(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, power: Power) -> Result<()> {
        self.0.power(cx, owner, spec, power).await
    }
    async fn destroy(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> Result<Removal> {
        self.0.destroy(cx, owner, spec).await
    }
}
