//! Removal: what is proved ours, and nothing else, until nothing is left.
//!
//! # The protocol
//!
//! 1. Read the configuration from its node and judge it by number, uuid and mark,
//!    and by its life: what was born since the removal was decided is left alone.
//! 2. Write the intent onto the machine, and lower its protection, by the digest
//!    of what was judged: if anybody changed the machine meanwhile, the host
//!    refuses and it is judged anew.
//! 3. Stop it, and hear from the host that it is off.
//! 4. Read and judge it again; it must be the same uuid, and still bear the intent.
//!    Refuse if it carries disks that are not its own.
//! 5. Remove it with the disks it names; wait for the task.
//! 6. Prove the absence: the number is free, a list read after that does not
//!    show it, and the number is still free.
//! 7. Tell what is left on its storages, with the command that frees it. Volumes
//!    that the machine does not name are listed before it goes: afterwards a
//!    token that is confined to a pool cannot see them any more.
//!
//! Every step may be the last: a machine found dying is taken up at step 1, and
//! steps that are done cost a read.
//!
//! # What remains
//!
//! Neither stop nor DELETE takes a digest. Between the read that judges the
//! machine and each of the two, somebody could remove it and give its number to
//! another; each window is one request wide. Three things close it from the
//! host's side: the new machine is outside of the token's pool unless somebody
//! put it there, so both are refused; it may be protected, and if it runs,
//! DELETE is refused. Put into castle's own pool by hand within that instant, a
//! machine that runs may be stopped, and one that is off and unprotected is
//! lost.

use std::collections::BTreeSet;
use std::time::Duration;

use castle_core::{Context, ErrorKind, MachineSpec, Mark, Owner, Power, Problem, Removal};
use reqwest::Method;
use uuid::Uuid;

use crate::config::DYING;
use crate::machines::{Seen, Sight, hidden, not_ours, running, stub};
use crate::provider::ProxmoxProvider;
use crate::wire::Volume;
use crate::{Error, Refusal, Result};

/// How often the protocol is begun before its failure is believed.
const ATTEMPTS: u32 = 5;
/// The wait after a lock was held too long, in castle's time; it grows.
const BACKOFF: Duration = Duration::from_secs(1);

/// How one pass of the protocol ended.
enum Pass {
    /// The machine is gone, or another has its number.
    Over,
    /// The world moved; look again.
    Again(Option<Error>),
}

impl ProxmoxProvider {
    /// Removes the machine with its own disks and proves that it is gone.
    pub(crate) async fn remove(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> castle_core::Result<Removal> {
        let mut storages = BTreeSet::from([spec.storage.clone()]);
        let mut left = BTreeSet::new();
        let mut node = spec.host.to_string();
        // The uuid of the machine that was first judged: no other may follow it.
        let mut meant: Option<Uuid> = None;
        let mut last: Option<Error> = None;
        for attempt in 0..ATTEMPTS {
            let seen = match self.sight(owner, spec.id, spec.host.as_str()).await? {
                Sight::Absent => return Ok(self.leftovers(spec, &node, &storages, left).await),
                Sight::Busy(upid) => {
                    self.outlast(cx, &upid).await?;
                    continue;
                }
                Sight::Stub(text) => return Err(stub(spec, &text)),
                // Ours is gone; whatever holds the number now is not ours to see,
                // and neither are its volumes.
                Sight::Hidden if meant.is_some() && last.is_none() => return Ok(Removal::default()),
                Sight::Hidden => return Err(hidden(spec)),
                Sight::Seen(seen) => seen,
            };
            let standing = &seen.standing;
            let Some(mark) = standing.ours() else {
                return match meant {
                    // Ours was seen before and is gone. This one is a stranger, and
                    // what bears the number is the stranger's now.
                    Some(uuid) if seen.config.uuid() != Some(uuid) => Ok(Removal::default()),
                    _ => Err(not_ours(spec, standing)),
                };
            };
            let uuid = seen.config.uuid();
            if meant.is_some() && meant != uuid {
                return Err(not_ours(spec, format!("it is of another birth ({}, life {})", mark.node, mark.life)));
            }
            owner.may_remove(mark, seen.config.tags().has(DYING))?;
            meant = uuid;
            node.clone_from(&seen.node);
            storages.extend(seen.config.disks().filter_map(|disk| disk.storage()).map(str::to_owned));
            // It can still be read, so the right that was missing is missing indeed.
            if let Some(error) = last.take_if(|error| matches!(error.refusal(), Some(Refusal::Forbidden { .. }))) {
                return Err(castle_core::Error::from(error).with("node", &spec.node));
            }
            left.extend(self.unreferenced(spec, &seen, &storages).await);
            match self.remove_once(cx, owner, spec, &seen).await? {
                Pass::Over => {
                    last = None;
                    if self.is_gone(spec).await? {
                        return Ok(self.leftovers(spec, &node, &storages, left).await);
                    }
                }
                Pass::Again(error) => {
                    if let Some(error) = &error {
                        cx.waiting(format!("another try to remove machine {}: {error}", spec.id));
                        if error.refusal().is_some_and(Refusal::passes_by_itself) {
                            self.env.clock.sleep(BACKOFF * (attempt + 1)).await;
                        }
                    }
                    last = error;
                }
            }
        }
        Err(match last {
            Some(error) => error.into(),
            None => castle_core::Error::new(ErrorKind::Conflict, format!("machine {} does not go away", spec.id)),
        }
        .with("node", &spec.node))
    }

    /// Steps 2 to 5, for a machine that was just judged ours.
    async fn remove_once(
        &self,
        cx: &Context,
        owner: &Owner,
        spec: &MachineSpec,
        seen: &Seen,
    ) -> castle_core::Result<Pass> {
        let (id, node) = (spec.id.to_string(), seen.node.as_str());
        let dying = seen.config.tags().has(DYING);
        if dying {
            // An earlier run, cut short, may have left its own task behind.
            let tasks = self.tasks_on(node, spec.id).await?;
            if let Some(upid) = running(&tasks).filter(|upid| upid.kind != "qmstart") {
                self.outlast(cx, upid).await?;
                return Ok(Pass::Again(None));
            }
        }
        refuse_foreign_disks(spec, seen)?;
        if !dying || seen.config.protected() {
            match self.write_intent(cx, node, &id, seen).await {
                Ok(()) => {}
                Err(error) => return again(error),
            }
        }
        if self.power_now(node, spec.id).await.or_else(absent_is_off)? != Power::Stopped {
            // Judged once more, so that no stranger is stopped.
            if !self.is_still(owner, spec, seen).await? {
                return Ok(Pass::Again(None));
            }
            if let Err(error) = self.switch(cx, node, spec, Power::Stopped).await {
                return again(error);
            }
        }
        if !self.is_still(owner, spec, seen).await? {
            return Ok(Pass::Again(None));
        }
        // Unreferenced disks are left, and told: a volume that merely bears the
        // number may be somebody's data.
        let params = [("purge", "1".to_owned()), ("destroy-unreferenced-disks", "0".to_owned())];
        let deleted = match self.write(cx, node, Method::DELETE, &["nodes", node, "qemu", &id], &params).await {
            Ok(Some(upid)) => self.finish(cx, &upid, &format!("the removal of machine {id}")).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match deleted {
            Ok(()) => Ok(Pass::Over),
            Err(error) => again(error),
        }
    }

    /// Lowers the protection and writes that the end has begun, in one write that
    /// the host accepts only if the configuration is still the one judged.
    async fn write_intent(&self, cx: &Context, node: &str, id: &str, seen: &Seen) -> Result<()> {
        let mut params = vec![("protection", "0".to_owned()), ("tags", seen.config.tags().with(DYING).text())];
        if let Some(digest) = seen.config.digest() {
            params.push(("digest", digest.to_owned()));
        }
        self.write(cx, node, Method::PUT, &["nodes", node, "qemu", id, "config"], &params).await.map(drop)
    }

    /// Whether the number still holds the machine that was judged: ours, with the
    /// same uuid, marked as dying, and with no disk that is not its own. One that is
    /// made again in the same life has the same uuid, and is not dying.
    async fn is_still(&self, owner: &Owner, spec: &MachineSpec, judged: &Seen) -> castle_core::Result<bool> {
        let Some(Sight::Seen(now)) = self.glance(owner, spec.id, &judged.node).await? else {
            return Ok(false);
        };
        let same = |one: &Mark| judged.standing.ours() == Some(one);
        let is_same = now.config.uuid() == judged.config.uuid() && now.standing.ours().is_some_and(same);
        if !is_same || !now.config.tags().has(DYING) {
            return Ok(false);
        }
        refuse_foreign_disks(spec, &now)?;
        Ok(true)
    }

    /// Step 6. A list that shows the number, even with a stranger's machine, is
    /// left to the next look to judge.
    async fn is_gone(&self, spec: &MachineSpec) -> Result<bool> {
        if self.is_taken(spec.id).await? {
            return Ok(false);
        }
        let listed = self.list_machines().await?;
        if crate::machines::entry_of(&listed, spec.id).is_some() {
            return Ok(false);
        }
        Ok(!self.is_taken(spec.id).await?)
    }

    /// Volumes that bear the number and that the machine does not name: they will
    /// stay behind. What cannot be listed now is told by the search afterwards.
    async fn unreferenced(&self, spec: &MachineSpec, seen: &Seen, storages: &BTreeSet<String>) -> Vec<String> {
        let mut found = Vec::new();
        for storage in storages {
            match self.volumes(spec, &seen.node, storage).await {
                Ok(volumes) => found.extend(volumes),
                Err(error) => tracing::debug!(%error, storage, "its volumes are not known"),
            }
        }
        found.retain(|volume| !seen.config.disks().any(|disk| disk.volume == volume));
        found
    }

    async fn volumes(&self, spec: &MachineSpec, node: &str, storage: &str) -> Result<Vec<String>> {
        let path = ["nodes", node, "storage", storage, "content"];
        let volumes: Vec<Volume> = self.client.get(&path, &[("vmid", spec.id.to_string())]).await?;
        Ok(volumes.into_iter().filter_map(|volume| volume.volid).collect())
    }

    /// Step 7: volumes that still bear the number, those of `left` among them.
    async fn leftovers(
        &self,
        spec: &MachineSpec,
        node: &str,
        storages: &BTreeSet<String>,
        mut left: BTreeSet<String>,
    ) -> Removal {
        let mut removal = Removal::default();
        for storage in storages {
            match self.volumes(spec, node, storage).await {
                Ok(volumes) => left.extend(volumes),
                Err(error) => removal.leftovers.push(
                    Problem::warning("leftovers-unknown", storage, format!("it was not searched: {error}"))
                        .hint(format!("on {node}: `pvesm list {storage} --vmid {}`", spec.id)),
                ),
            }
        }
        removal.leftovers.extend(left.into_iter().map(|volume| {
            let message = format!("it bears the number of {} and belonged to no machine", spec.node);
            let hint = format!("if nobody needs it, on {node}: `pvesm free {volume}`");
            Problem::warning("leftover-volume", volume, message).hint(hint)
        }));
        removal
    }
}

/// Errors that a fresh look can turn into a success; all others end the removal.
fn again(error: Error) -> castle_core::Result<Pass> {
    let worth = error.leaves_doubt()
        || error.may_mean_absence()
        || error.refusal().is_some_and(|refusal| {
            refusal.passes_by_itself()
                || matches!(
                    refusal,
                    Refusal::StaleDigest | Refusal::Running | Refusal::NotRunning | Refusal::Interrupted
                )
        });
    if worth { Ok(Pass::Again(Some(error))) } else { Err(error.into()) }
}

fn absent_is_off(error: Error) -> Result<Power> {
    if error.may_mean_absence() { Ok(Power::Unknown) } else { Err(error) }
}

/// A disk that is not named after the machine may be precious: it was moved here
/// by hand, and would go with the machine.
fn refuse_foreign_disks(spec: &MachineSpec, seen: &Seen) -> castle_core::Result<()> {
    let foreign = seen.config.disks().find(|disk| !disk.medium && !disk.belongs_to(spec.id.get()));
    let Some(disk) = foreign else { return Ok(()) };
    Err(castle_core::Error::new(
        ErrorKind::ForeignOwner,
        format!("machine {} carries a disk that is not its own: {} is {}", spec.id, disk.key, disk.volume),
    )
    .with("node", &spec.node)
    .with("host", &seen.node)
    .hint(format!("detach it first, on {}: `qm set {} --delete {}`", seen.node, spec.id, disk.key)))
}
