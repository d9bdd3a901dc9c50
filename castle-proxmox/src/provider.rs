//! The provider: the port's methods, each told in the file of its noun.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use castle_core::options::{Options, ProxmoxAccess};
use castle_core::{
    Birth, Capabilities, Context, Env, Inventory, Limits, Machine, MachineProvider, MachineSpec, Meter, Owner, Power,
    Problem, Removal, Slot,
};
use reqwest::Method;

use crate::client::{Client, Params};
use crate::host::{Host, Hosts};
use crate::task::{Done, Upid};
use crate::wire::Scalar;
use crate::{Error, Result, validate};

/// The name in reports and in request counts.
const NAME: &str = "proxmox";

/// Machines on a Proxmox VE host or cluster.
///
/// # Guarantees
///
/// - Nothing is sent to a server whose certificate is not vouched for.
/// - A machine exists with its mark, uuid and address, or not at all.
/// - A machine is changed, stopped or removed only after its mark was checked
///   against its number and its uuid.
/// - A request that changes something is sent once; when its answer is lost, the
///   host is asked what became of it.
///
/// # Cancellation
///
/// Every method may be dropped at any await. The host finishes what it began;
/// the next call finds it as it then is.
pub struct ProxmoxProvider {
    pub(crate) client: Arc<Client>,
    pub(crate) hosts: Hosts,
    pub(crate) env: Env,
}

impl fmt::Debug for ProxmoxProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxmoxProvider").field("client", &self.client).finish_non_exhaustive()
    }
}

impl ProxmoxProvider {
    /// Prepares access. Sends nothing yet.
    ///
    /// Of `options` the dial map and the source address are used; `env` gives
    /// time and the wall clock that certificates are judged by.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] if URL, token or trust cannot be used,
    /// [`Error::NotDialled`] if there is a dial map without the server's address.
    pub fn connect(access: &ProxmoxAccess, options: &Options, env: &Env, limits: Limits) -> Result<Self> {
        Ok(Self::with_client(Client::new(access, options, env.clock.clone())?, env, limits))
    }

    pub(crate) fn with_client(client: Client, env: &Env, limits: Limits) -> Self {
        let client = Arc::new(client);
        let hosts = Hosts::new(client.clone(), env.clock.clone(), limits);
        Self { client, hosts, env: env.clone() }
    }

    pub(crate) fn host(&self, node: &str) -> Arc<Host> {
        self.hosts.named(node)
    }

    /// Changes something on a node, once, unless the caller asked to stop.
    pub(crate) async fn write(
        &self,
        cx: &Context,
        node: &str,
        method: Method,
        path: &[&str],
        params: Params<'_>,
    ) -> Result<Option<Upid>> {
        let host = self.host(node);
        let _room = host.writes.acquire().await.expect("the semaphore is never closed");
        cx.check().map_err(|_| Error::Cancelled)?;
        let request = format!("{method} /{}", path.join("/"));
        let Scalar(answer) = self.client.write(method, path, params).await?;
        match answer {
            None => Ok(None),
            Some(text) => match Upid::from_str(&text) {
                Ok(upid) => Ok(Some(upid)),
                // It did begin something, and we cannot follow it.
                Err(why) => Err(Error::OutcomeUnknown { request, source: Arc::new(why) }),
            },
        }
    }

    /// Waits for a task, and tells its warnings.
    pub(crate) async fn finish(&self, cx: &Context, upid: &Upid, why: &str) -> Result<()> {
        let Done { warnings } = self.host(&upid.node).watch.task(cx, upid, why).await?;
        if let Some(count) = warnings {
            cx.notice(format!("task {upid} ended well with {count} warnings; its log on {} holds them", upid.node));
        }
        Ok(())
    }
}

#[async_trait]
impl MachineProvider for ProxmoxProvider {
    fn name(&self) -> &'static str {
        NAME
    }

    fn meter(&self) -> &Meter {
        self.client.meter()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::none().with_layer2().with_fencing().with_fixed_addresses()
    }

    fn validate(&self, spec: &MachineSpec) -> Vec<Problem> {
        validate::problems(spec)
    }

    async fn preflight(
        &self,
        _: &Context,
        specs: &[MachineSpec],
        inventory: &Inventory,
    ) -> castle_core::Result<Vec<Problem>> {
        self.check_house(specs, inventory).await
    }

    async fn list(&self, cx: &Context, owner: &Owner, specs: &[MachineSpec]) -> castle_core::Result<Inventory> {
        self.take_inventory(cx, owner, specs).await
    }

    async fn get(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> castle_core::Result<Slot> {
        self.slot(cx, owner, spec).await
    }

    async fn ensure(
        &self,
        cx: &Context,
        owner: &Owner,
        spec: &MachineSpec,
        birth: &Birth,
    ) -> castle_core::Result<Machine> {
        self.give_birth(cx, owner, spec, birth).await
    }

    async fn power(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, power: Power) -> castle_core::Result<()> {
        self.bring_to_power(cx, owner, spec, power).await
    }

    async fn destroy(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> castle_core::Result<Removal> {
        self.remove(cx, owner, spec).await
    }
}
