//! Power: on or off, at once, confirmed by the host itself.

use castle_core::{Context, ErrorKind, MachineSpec, Owner, Power};
use reqwest::Method;

use crate::machines::{Seen, Sight, hidden, not_ours, stub};
use crate::provider::ProxmoxProvider;
use crate::{Error, Refusal};

/// How often a start or stop is sent before its failure is believed. Each time
/// the state is read first, so a lost answer costs a look, not a second start.
const ATTEMPTS: u32 = 3;

impl ProxmoxProvider {
    /// Brings a machine of ours to `wanted`.
    ///
    /// The state is the key: a start whose answer was lost, or whose task failed
    /// while the machine runs, has reached its goal.
    pub(crate) async fn bring_to_power(
        &self,
        cx: &Context,
        owner: &Owner,
        spec: &MachineSpec,
        wanted: Power,
    ) -> castle_core::Result<()> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let seen = self.ours(cx, owner, spec).await?;
            if self.power_now(&seen.node, spec.id).await? == wanted {
                return Ok(());
            }
            match self.switch(cx, &seen.node, spec, wanted).await {
                Ok(()) => return Ok(()),
                Err(error) if is_worth_a_look(&error) => last = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        // The last failure may have been a success that was not told.
        let seen = self.ours(cx, owner, spec).await?;
        match (self.power_now(&seen.node, spec.id).await? == wanted, last) {
            (false, Some(error)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Sends one start or stop, waits for its task, and for the host to say that
    /// it is so. Under a high-availability manager the task ends at once and
    /// means nothing.
    pub(crate) async fn switch(
        &self,
        cx: &Context,
        node: &str,
        spec: &MachineSpec,
        wanted: Power,
    ) -> crate::Result<()> {
        let id = spec.id.to_string();
        let (verb, params, why) = match wanted {
            Power::Running => ("start", vec![], format!("machine {id} to start")),
            // A shutdown that hangs in the guest would block a plain stop.
            _ => ("stop", vec![("overrule-shutdown", "1".to_owned())], format!("machine {id} to stop")),
        };
        let path = ["nodes", node, "qemu", &id, "status", verb];
        if let Some(upid) = self.write(cx, node, Method::POST, &path, &params).await? {
            self.finish(cx, &upid, &why).await?;
        }
        self.host(node).watch.power(cx, spec.id.get(), wanted, &why).await
    }

    /// The machine, proved ours; or the reason why it is not.
    pub(crate) async fn ours(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> castle_core::Result<Seen> {
        loop {
            match self.sight(owner, spec.id, spec.host.as_str()).await? {
                Sight::Seen(seen) if seen.standing.ours().is_some() => return Ok(*seen),
                Sight::Seen(seen) => return Err(not_ours(spec, &seen.standing)),
                Sight::Stub(text) => return Err(stub(spec, &text)),
                Sight::Hidden => return Err(hidden(spec)),
                Sight::Busy(upid) => self.outlast(cx, &upid).await?,
                Sight::Absent => {
                    return Err(castle_core::Error::new(
                        ErrorKind::NotFound,
                        format!("machine {} does not exist", spec.id),
                    )
                    .with("node", &spec.node)
                    .with("host", &spec.host)
                    .hint("create it first"));
                }
            }
        }
    }
}

/// Whether the machine may be where it should be, in spite of the error, or will
/// be if asked again.
fn is_worth_a_look(error: &Error) -> bool {
    error.leaves_doubt()
        || matches!(error, Error::TaskFailed { .. })
        || error.refusal().is_some_and(|refusal| {
            refusal.passes_by_itself() || matches!(refusal, Refusal::Running | Refusal::NotRunning)
        })
}
