//! What castle asks of a hypervisor or a cloud.

use std::fmt;

use async_trait::async_trait;

use crate::{Birth, Context, Inventory, Machine, MachineSpec, Meter, Owner, Power, Problem, Result, Slot};

/// What a provider can do. A declaration that needs more is refused by
/// [`crate::CastleBuilder::build`].
///
/// ```
/// use castle_core::Capabilities;
///
/// let cloud = Capabilities::none().with_fixed_addresses();
/// assert!(cloud.fixed_addresses && !cloud.layer2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Capabilities {
    /// Machines share a layer-2 segment, so a VIP can move by ARP.
    pub layer2: bool,
    /// A machine can be cut off from power, with proof. Nothing asks for it yet.
    pub fencing: bool,
    /// A machine can be born with a fixed address.
    pub fixed_addresses: bool,
}

impl Capabilities {
    /// A provider that can do nothing of it.
    #[must_use]
    pub const fn none() -> Self {
        Self { layer2: false, fencing: false, fixed_addresses: false }
    }

    /// The same, with machines that share a segment.
    #[must_use]
    pub const fn with_layer2(self) -> Self {
        Self { layer2: true, ..self }
    }

    /// The same, with machines that can be cut off from power.
    #[must_use]
    pub const fn with_fencing(self) -> Self {
        Self { fencing: true, ..self }
    }

    /// The same, with machines that are born with their address.
    #[must_use]
    pub const fn with_fixed_addresses(self) -> Self {
        Self { fixed_addresses: true, ..self }
    }
}

/// What was left behind by a removal, for the administrator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removal {
    /// Findings, each with the command that cleans it up.
    pub leftovers: Vec<Problem>,
}

/// Gives birth to machines, looks at them, and removes those that are ours.
///
/// | rule | conformance test |
/// |---|---|
/// | `list` shows each reserved id as absent, present, hidden or unknown | `an_empty_house_is_proved_empty` |
/// | `ensure` makes the machine with mark, uuid and address in one atomic act; it is then off | `a_machine_is_born_ours_and_off` |
/// | `ensure` twice is `ensure` once | `ensure_twice_makes_one` |
/// | `ensure` on an id that a stranger holds fails with `ForeignOwner` and leaves it alone | `a_taken_id_is_left_alone` |
/// | `power` reaches the state or fails; reaching it twice is fine | `power_is_idempotent` |
/// | `destroy` removes a machine that is proved ours and nothing else | `destroy_leaves_no_trace` |
/// | `destroy` of an absent machine succeeds | `destroy_twice_is_fine` |
/// | `destroy` of anything not proved ours fails with `ForeignOwner` and leaves it alone | `a_stranger_survives` |
/// | `destroy` of a machine that its owner spares fails with `Conflict` and leaves it alone | `a_younger_life_survives` |
/// | an answer that is partial, empty or refused never means "absent" | `silence_is_not_absence` |
///
/// All methods may be cancelled by dropping them; the next look then finds the
/// machine as the host left it. Every wait reports its reason to the
/// [`Context`], so that a deadline can say what it was waiting for.
#[async_trait]
pub trait MachineProvider: Send + Sync + fmt::Debug {
    /// The backend's name in reports, for example `proxmox`.
    fn name(&self) -> &'static str;

    /// Where its requests are counted.
    fn meter(&self) -> &Meter;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Judges a declaration without asking the backend.
    fn validate(&self, spec: &MachineSpec) -> Vec<Problem>;

    /// Looks, without changing anything, for what would stop the birth of
    /// `specs`: rights, storage, image, bridge, certificate. Each finding
    /// carries the administrator's command. `inventory` is what
    /// [`MachineProvider::list`] just showed: what it says is not asked again, and
    /// what a plan says of it (taken ids, memory) is not said twice.
    ///
    /// # Errors
    ///
    /// Only when the backend cannot be asked at all.
    async fn preflight(&self, cx: &Context, specs: &[MachineSpec], inventory: &Inventory) -> Result<Vec<Problem>>;

    /// Looks at every reserved id, at the hosts, and at what else can be seen.
    ///
    /// # Errors
    ///
    /// Only when the backend cannot be asked at all; what single hosts do not say is
    /// [`Slot::Unknown`].
    async fn list(&self, cx: &Context, owner: &Owner, specs: &[MachineSpec]) -> Result<Inventory>;

    /// Looks at one reserved id.
    ///
    /// # Errors
    ///
    /// As [`MachineProvider::list`].
    async fn get(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> Result<Slot>;

    /// Makes the machine exist, complete and off, or leaves it alone if it does.
    /// An unfinished creation of ours is awaited and completed.
    ///
    /// # Errors
    ///
    /// `ForeignOwner` if the id is taken by anything not proved ours or of
    /// another birth; `Exhausted`, `NotFound` (image), `PermissionDenied` from
    /// the host.
    async fn ensure(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, birth: &Birth) -> Result<Machine>;

    /// Brings a machine of ours to `power` ([`Power::Running`] or
    /// [`Power::Stopped`], at once: ephemeral machines are not asked to shut
    /// down) and confirms it with a live answer from its host.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such machine; `ForeignOwner` if it is not proved
    /// ours; `Exhausted` if its host has no memory for it.
    async fn power(&self, cx: &Context, owner: &Owner, spec: &MachineSpec, power: Power) -> Result<()>;

    /// Removes a machine of ours, with its own disks, after proving that it is
    /// still ours, and not spared ([`Owner::may_remove`]), at each irreversible
    /// request, and confirms the absence.
    ///
    /// # Errors
    ///
    /// `ForeignOwner` if it is not proved ours; `Conflict` if the owner spares its
    /// life, which begins again for nobody: the machine was born since.
    async fn destroy(&self, cx: &Context, owner: &Owner, spec: &MachineSpec) -> Result<Removal>;
}
