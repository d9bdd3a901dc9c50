//! A client that trusts numbers, as castle would be without its guard.

use std::sync::Arc;

use async_trait::async_trait;
use castle_core::{
    Birth, Capabilities, Context, Env, Inventory, Machine, MachineProvider, MachineSpec, Mark, Meter, Options, Owner,
    Power, Problem, Removal, Result, Slot, Standing,
};

use crate::rig::{Meddler, plain_client};

/// Takes whatever carries a reserved number for ours, and removes it unread.
pub struct Naive;

impl Meddler for Naive {
    fn machines(&self, real: Arc<dyn MachineProvider>, _: &Env, options: &Options) -> Arc<dyn MachineProvider> {
        let (client, base) = plain_client(options);
        Arc::new(NaiveMachines { real, client, base })
    }
}

#[derive(Debug)]
struct NaiveMachines {
    real: Arc<dyn MachineProvider>,
    client: reqwest::Client,
    base: String,
}

#[async_trait]
impl MachineProvider for NaiveMachines {
    fn name(&self) -> &'static str {
        self.real.name()
    }
    fn meter(&self) -> &Meter {
        self.real.meter()
    }
    fn capabilities(&self) -> Capabilities {
        self.real.capabilities()
    }
    fn validate(&self, spec: &MachineSpec) -> Vec<Problem> {
        self.real.validate(spec)
    }
    async fn preflight(&self, cx: &Context, specs: &[MachineSpec], inventory: &Inventory) -> Result<Vec<Problem>> {
        self.real.preflight(cx, specs, inventory).await
    }
    async fn list(&self, cx: &Context, owner: &Owner, specs: &[MachineSpec]) -> Result<Inventory> {
        let mut inventory = self.real.list(cx, owner, specs).await?;
        for spec in specs {
            if let Some(Slot::Present(machine)) = inventory.slots.get_mut(&spec.id) {
                machine.standing = Standing::Ours(Mark {
                    project: owner.project().clone(),
                    cluster: owner.cluster().clone(),
                    life: 1,
                    node: spec.node.clone(),
                    generation: 1,
                    id: spec.id,
                });
            }
        }
        Ok(inventory)
    }
    async fn get(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> Result<Slot> {
        self.real.get(cx, owner, spec).await
    }
    async fn ensure(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, birth: &Birth) -> Result<Machine> {
        self.real.ensure(cx, owner, spec, birth).await
    }
    async fn power(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, power: Power) -> Result<()> {
        self.real.power(cx, owner, spec, power).await
    }
    async fn destroy(&self, cx: &Context, _: &Owner, spec: &MachineSpec) -> Result<Removal> {
        let machine = format!("{}/api2/json/nodes/{}/qemu/{}", self.base, spec.host, spec.id);
        let requests = [
            self.client.put(format!("{machine}/config")).form(&[("protection", "0")]),
            self.client.post(format!("{machine}/status/stop")).form(&[("overrule-shutdown", "1")]),
            self.client.delete(format!("{machine}?purge=1")),
        ];
        for request in requests {
            // It does not care for answers either, as scripts do not.
            drop(request.send().await);
            cx.clock().sleep(std::time::Duration::from_secs(20)).await;
        }
        Ok(Removal::default())
    }
}
