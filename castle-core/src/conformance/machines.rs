//! The rules of [`MachineProvider`].
//!
//! What a birth writes beyond what a look shows (the address, the tags) is the
//! adapter's own test.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{Either, join, select};
use uuid::Uuid;

use super::{done, refused};
use crate::{
    Birth, Context, ErrorKind, Inventory, Machine, MachineId, MachineProvider, MachineSpec, Mark, Owner, Power,
    ProjectKey, Removal, Result, Retry, Secret, Slot, Standing,
};

/// How a backend withholds the truth while it holds machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Every request is refused or lost.
    Refused,
    /// Lists are answered, and are empty.
    Empty,
    /// Lists are answered, and lack the machines of the first spec's host.
    Partial,
}

impl Silence {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Refused, Self::Empty, Self::Partial];
}

/// What a suite needs of a house: a way in, and the weather.
#[async_trait]
pub trait MachinesHarness: Send + Sync {
    /// A handle on the house: each call connects anew. The house holds no machine
    /// under a reserved id before the first.
    async fn provider(&self) -> Arc<dyn MachineProvider>;

    /// The company of the calls.
    fn context(&self) -> Context;

    /// The owner, with its key; the ids of [`MachinesHarness::specs`] are reserved.
    fn owner(&self) -> Owner;

    /// At least four machines that fit into the house.
    fn specs(&self) -> Vec<MachineSpec>;

    /// Puts a visible machine of somebody else there, whole, with this uuid and
    /// description, in place of what was planted before.
    async fn plant_stranger(&self, id: MachineId, uuid: Uuid, description: &str);

    /// Puts the remains of a creation there that nobody continues.
    async fn plant_stub(&self, id: MachineId);

    /// Puts a machine there that the provider's account may not see.
    async fn plant_hidden(&self, id: MachineId);

    /// Makes the house withhold the truth, or tell it again.
    async fn silence(&self, how: Option<Silence>);

    /// Whether what was planted under `id` is as it was planted. Asks the house, not
    /// the provider.
    async fn is_untouched(&self, id: MachineId) -> bool;

    /// What the house still holds for `id`: configuration, disks, locks. Asks the
    /// house, not the provider.
    async fn traces(&self, id: MachineId) -> Vec<String>;
}

/// The rules, in the order of the table.
pub const RULES: [&str; 10] = [
    "an_empty_house_is_proved_empty",
    "a_machine_is_born_ours_and_off",
    "ensure_twice_makes_one",
    "a_taken_id_is_left_alone",
    "power_is_idempotent",
    "destroy_leaves_no_trace",
    "destroy_twice_is_fine",
    "a_stranger_survives",
    "a_younger_life_survives",
    "silence_is_not_absence",
];

/// Runs every rule, each on a house of its own from `fresh`. One line for each
/// rule that held.
///
/// # Panics
///
/// At the first rule that is broken.
pub async fn all<H: MachinesHarness>(fresh: impl AsyncFn() -> H) -> Vec<String> {
    an_empty_house_is_proved_empty(&fresh().await).await;
    a_machine_is_born_ours_and_off(&fresh().await).await;
    ensure_twice_makes_one(&fresh().await).await;
    a_taken_id_is_left_alone(&fresh().await).await;
    power_is_idempotent(&fresh().await).await;
    destroy_leaves_no_trace(&fresh().await).await;
    destroy_twice_is_fine(&fresh().await).await;
    a_stranger_survives(&fresh().await).await;
    a_younger_life_survives(&fresh().await).await;
    silence_is_not_absence(&fresh().await).await;
    let name = fresh().await.provider().await.name();
    RULES.iter().map(|rule| format!("conformance machines {name} {rule} ok")).collect()
}

/// `list` shows each reserved id as absent, present, hidden or unknown: in an
/// empty house all are proved absent, and what is planted is seen as what it is.
/// A look writes nothing.
pub async fn an_empty_house_is_proved_empty(harness: &dyn MachinesHarness) {
    let house = House::enter(RULES[0], harness).await;
    let inventory = house.list().await;
    let reserved: Vec<_> = house.owner.reserved().iter().collect();
    let shown: Vec<_> = inventory.slots.keys().collect();
    assert_eq!(shown, reserved, "{}: the ids that list shows: {inventory:#?}", house.rule);
    for (id, slot) in &inventory.slots {
        assert_eq!(*slot, Slot::Absent, "{}: {id} in an empty house: {inventory:#?}", house.rule);
    }
    for spec in &house.specs {
        house.is_absent(spec).await;
        let host = inventory.hosts.get(spec.host.as_str());
        assert!(
            host.is_some_and(|host| host.online),
            "{}: host {} is not shown up: {inventory:#?}",
            house.rule,
            spec.host
        );
    }
    let [stranger, stub, hidden] = [0, 1, 2].map(|index| house.specs[index].id);
    harness.plant_stranger(stranger, Uuid::from_u128(1), "a note").await;
    harness.plant_stub(stub).await;
    harness.plant_hidden(hidden).await;
    for slots in [house.list().await.slots, house.each_slot().await] {
        let shows = |id, fits: fn(&Slot) -> bool| slots.get(&id).is_some_and(fits);
        let standing = |slot: &Slot, fits: fn(&Standing) -> bool| matches!(slot, Slot::Present(m) if fits(&m.standing));
        let foreign =
            shows(stranger, |slot| matches!(slot, Slot::Present(m) if matches!(m.standing, Standing::Foreign(_))));
        let half_made = slots.get(&stub).is_some_and(|slot| standing(slot, |s| matches!(s, Standing::Stub(_))));
        assert!(foreign, "{}: a stranger on {stranger} is not seen as foreign: {slots:#?}", house.rule);
        assert!(half_made, "{}: remains on {stub} are not seen as half made: {slots:#?}", house.rule);
        assert!(
            shows(hidden, |slot| *slot == Slot::Hidden),
            "{}: {hidden} is not seen as hidden: {slots:#?}",
            house.rule
        );
        assert!(
            shows(house.specs[3].id, |slot| *slot == Slot::Absent),
            "{}: the last id is free: {slots:#?}",
            house.rule
        );
    }
    let sent = house.provider.meter().total();
    assert!(sent.read > 0 && sent.write == 0, "{}: looks sent {sent:?}", house.rule);
}

/// `ensure` makes the machine with mark and uuid in one atomic act; it is then
/// complete and off. Nobody who looks meanwhile sees it unmarked.
pub async fn a_machine_is_born_ours_and_off(harness: &dyn MachinesHarness) {
    let house = House::enter(RULES[1], harness).await;
    let (rule, spec) = (house.rule, &house.specs[0]);
    let birth = house.birth(spec);
    let watcher = House::enter(RULES[1], harness).await;
    let watch = async {
        loop {
            match watcher.get(spec).await {
                Slot::Absent | Slot::Unknown(_) => {}
                Slot::Present(seen) if seen.standing == Standing::InCreation => {}
                Slot::Present(seen) if seen.standing.ours().is_some() && seen.power == Power::Stopped => {}
                other => break other,
            }
            watcher.cx.clock().sleep(Duration::from_secs(1)).await;
        }
    };
    let machine = match select(Box::pin(house.ensure(spec)), Box::pin(watch)).await {
        Either::Left((machine, _)) => done(rule, "ensure", machine),
        Either::Right((seen, _)) => panic!("{rule}: a look during the birth saw {seen:#?}"),
    };
    let mark = Mark {
        project: house.owner.project().clone(),
        cluster: house.owner.cluster().clone(),
        life: birth.life,
        node: spec.node.clone(),
        generation: birth.generation,
        id: spec.id,
    };
    assert_eq!(machine.standing, Standing::Ours(mark), "{rule}: whose it is: {machine:#?}");
    assert_eq!(machine.uuid, Some(birth.uuid), "{rule}: its uuid: {machine:#?}");
    assert_eq!(machine.power, Power::Stopped, "{rule}: it is not off: {machine:#?}");
    let place = (machine.id, machine.name.as_str(), machine.host.as_str());
    assert_eq!(place, (spec.id, spec.node.as_str(), spec.host.as_str()), "{rule}: what and where it is: {machine:#?}");
    let size = (machine.cores, machine.memory, machine.disk);
    assert_eq!(size, (spec.cores, spec.memory, Some(spec.disk)), "{rule}: its size: {machine:#?}");
    assert!(machine.lock.is_none() && !machine.dying, "{rule}: it is not complete: {machine:#?}");
    let slot = Slot::Present(Box::new(machine));
    assert_eq!(house.get(spec).await, slot, "{rule}: what get shows afterwards");
    assert_eq!(house.list().await.slots.get(&spec.id), Some(&slot), "{rule}: what list shows afterwards");
}

/// `ensure` twice is `ensure` once: one after the other (the second writes
/// nothing), at the same time, and after the first was dropped.
pub async fn ensure_twice_makes_one(harness: &dyn MachinesHarness) {
    let house = House::enter(RULES[2], harness).await;
    let (rule, other) = (house.rule, House::enter(RULES[2], harness).await);
    let others = house.list().await.others.len();

    let first = done(rule, "the first ensure", house.ensure(&house.specs[0]).await);
    let second = done(rule, "the second ensure", other.ensure(&house.specs[0]).await);
    assert_eq!(first, second, "{rule}: the machine after the second ensure");
    let sent = other.provider.meter().total();
    assert_eq!(sent.write, 0, "{rule}: the second ensure wrote: {sent:?}");

    let spec = &house.specs[1];
    let (one, two) = join(house.ensure(spec), other.ensure(spec)).await;
    let (winner, loser) = if one.is_ok() { (one, two) } else { (two, one) };
    let winner = done(rule, "one of two ensures at the same time", winner);
    let loser = match loser {
        // The loser of the race may be told so, if looking again helps.
        Err(error) if error.retry_class() == Retry::AfterObserving => other.ensure_at_last(spec).await,
        loser => done(rule, "the other of two ensures at the same time", loser),
    };
    assert_eq!(loser, winner, "{rule}: two ensures at the same time");

    let spec = &house.specs[2];
    for cut in [Duration::from_millis(1), Duration::from_millis(500), Duration::from_secs(2)] {
        // Dropped halfway or, on a fast host, complete: both must be fine.
        drop(house.cx.clock().within(cut, house.ensure(spec)).await);
        let machine = other.ensure_at_last(spec).await;
        assert!(machine.standing.ours().is_some(), "{rule}: after a drop at {cut:?}: {machine:#?}");
        done(rule, "destroy", house.destroy(spec).await);
    }
    let inventory = house.list().await;
    assert_eq!(inventory.others.len(), others, "{rule}: machines outside the reserved ids: {inventory:#?}");
}

/// `ensure` on an id that is taken, by a stranger, remains, a hidden machine or
/// another birth of ours, fails with `ForeignOwner` and leaves it alone.
pub async fn a_taken_id_is_left_alone(harness: &dyn MachinesHarness) {
    let house = House::enter(RULES[3], harness).await;
    let rule = house.rule;
    let [stranger, stub, hidden, ours] = [0, 1, 2, 3].map(|index| &house.specs[index]);
    harness.plant_stranger(stranger.id, house.birth(stranger).uuid, "a note").await;
    harness.plant_stub(stub.id).await;
    harness.plant_hidden(hidden.id).await;
    for (what, spec) in [("a stranger", stranger), ("remains", stub), ("a hidden machine", hidden)] {
        let end = house.ensure(spec).await;
        refused(rule, &format!("ensure on the id of {what}"), ErrorKind::ForeignOwner, end);
        assert!(harness.is_untouched(spec.id).await, "{rule}: {what} on {} was touched", spec.id);
    }
    let before = done(rule, "ensure", house.ensure(ours).await);
    let next_life = Birth::of("conformance", 2, &ours.node, 1);
    let end = house.provider.ensure(&house.cx, &house.owner, ours, &next_life).await;
    refused(rule, "ensure of another birth", ErrorKind::ForeignOwner, end);
    assert_eq!(house.get(ours).await, Slot::Present(Box::new(before)), "{rule}: the machine of the earlier birth");
}

/// `power` reaches the state or fails; reaching it twice is fine.
pub async fn power_is_idempotent(harness: &dyn MachinesHarness) {
    let house = House::enter(RULES[4], harness).await;
    let (rule, spec) = (house.rule, &house.specs[0]);
    let born = done(rule, "ensure", house.ensure(spec).await);
    for (power, times) in [(Power::Stopped, 1), (Power::Running, 2), (Power::Stopped, 2), (Power::Running, 1)] {
        for time in 1..=times {
            done(rule, &format!("power {power}, time {time}"), house.power(spec, power).await);
            let expected = Slot::Present(Box::new(Machine { power, ..born.clone() }));
            assert_eq!(house.get(spec).await, expected, "{rule}: after power {power}, time {time}");
        }
    }
    harness.silence(Some(Silence::Refused)).await;
    let silent = house.power(spec, Power::Stopped).await;
    harness.silence(None).await;
    assert!(silent.is_err(), "{rule}: power succeeded without an answer: {:#?}", house.get(spec).await);
    let absent = house.power(&house.specs[1], Power::Running).await;
    assert!(absent.is_err(), "{rule}: power of an absent machine succeeded");
    house.is_absent(&house.specs[1]).await;
}

/// `destroy` removes a machine that is proved ours and nothing else, and leaves
/// nothing of it behind.
pub async fn destroy_leaves_no_trace(harness: &dyn MachinesHarness) {
    let house = House::enter(RULES[5], harness).await;
    let rule = house.rule;
    let [off, running, neighbour, stranger] = [0, 1, 2, 3].map(|index| &house.specs[index]);
    harness.plant_stranger(stranger.id, Uuid::from_u128(1), "a note").await;
    for spec in [off, running, neighbour] {
        done(rule, &format!("ensure of {}", spec.id), house.ensure(spec).await);
    }
    done(rule, "power on", house.power(running, Power::Running).await);
    let expected = house.get(neighbour).await;
    for spec in [off, running] {
        let before = harness.traces(spec.id).await;
        assert!(!before.is_empty(), "{rule}: the harness shows no trace of the living machine {}", spec.id);
        let removal = done(rule, &format!("destroy of {}", spec.id), house.destroy(spec).await);
        assert_eq!(removal, Removal::default(), "{rule}: what was left of {}", spec.id);
        house.is_absent(spec).await;
        let after = harness.traces(spec.id).await;
        assert!(after.is_empty(), "{rule}: the house still holds {after:?} of {}", spec.id);
    }
    assert_eq!(house.get(neighbour).await, expected, "{rule}: the neighbour of a removed machine");
    assert!(harness.is_untouched(stranger.id).await, "{rule}: the stranger on {} was touched", stranger.id);
}

/// `destroy` of an absent machine succeeds, and writes nothing.
pub async fn destroy_twice_is_fine(harness: &dyn MachinesHarness) {
    let house = House::enter(RULES[6], harness).await;
    let (rule, spec) = (house.rule, &house.specs[0]);
    done(rule, "destroy of what never was", house.destroy(spec).await);
    done(rule, "ensure", house.ensure(spec).await);
    done(rule, "destroy", house.destroy(spec).await);
    let other = House::enter(RULES[6], harness).await;
    let removal = done(rule, "destroy of what is gone", other.destroy(spec).await);
    assert_eq!(removal, Removal::default(), "{rule}: what a second destroy found");
    let sent = other.provider.meter().total();
    assert_eq!(sent.write, 0, "{rule}: destroy of an absent machine wrote: {sent:?}");
    house.is_absent(spec).await;
}

/// `destroy` (and `power`) of anything that is not proved ours fails with
/// `ForeignOwner` and leaves it alone: strangers, copies of a mark, forgeries,
/// remains, hidden machines, and our own without the key.
pub async fn a_stranger_survives(harness: &dyn MachinesHarness) {
    let house = House::enter(RULES[7], harness).await;
    let rule = house.rule;
    let [first, second, third, ours] = [0, 1, 2, 3].map(|index| &house.specs[index]);
    let uuid = |spec| house.birth(spec).uuid;
    let mark = |spec: &MachineSpec| house.owner.mark(spec, &house.birth(spec)).expect("the harness gives a key");
    let forger = ProjectKey::from_bytes(Secret::new(vec![0x5A; 32])).expect("32 bytes");
    let (text, _) = Mark::parse(&mark(first)).expect("a mark reads as it prints");
    let forged = text.signed(&forger, uuid(first));

    harness.plant_stub(second.id).await;
    harness.plant_hidden(third.id).await;
    let strangers = [
        ("a stranger", uuid(first), "a note".to_owned()),
        ("a machine without a word", uuid(first), String::new()),
        ("a copy of another machine's mark", uuid(second), mark(second)),
        ("a clone with a uuid of its own", Uuid::from_u128(0xC10E), mark(first)),
        ("a forgery", uuid(first), forged),
        ("a mark of another life", uuid(first), mark(first).replace("life=1", "life=2")),
    ];
    for (what, uuid, description) in strangers {
        harness.plant_stranger(first.id, uuid, &description).await;
        house.survives(what, first).await;
        assert!(harness.is_untouched(first.id).await, "{rule}: {what} on {} was touched", first.id);
    }
    for (what, spec) in [("remains", second), ("a hidden machine", third)] {
        house.survives(what, spec).await;
        assert!(harness.is_untouched(spec.id).await, "{rule}: {what} on {} was touched", spec.id);
    }

    done(rule, "ensure", house.ensure(ours).await);
    let before = house.get(ours).await;
    let owner = &house.owner;
    let keyless = Owner::new(owner.project().clone(), owner.cluster().clone(), None, owner.reserved().iter().copied());
    let without_key = House { owner: keyless, ..House::enter(RULES[7], harness).await };
    without_key.survives("a machine whose mark cannot be checked", ours).await;
    assert_eq!(house.get(ours).await, before, "{rule}: our machine after a destroy without the key");
}

/// `destroy` of a machine that its owner spares fails with `Conflict` and leaves it
/// alone: a removal that comes late meets the next life under the same number.
pub async fn a_younger_life_survives(harness: &dyn MachinesHarness) {
    let house = House::enter(RULES[8], harness).await;
    let (rule, spec) = (house.rule, &house.specs[0]);
    done(rule, "ensure", house.ensure(spec).await);
    let before = house.get(spec).await;
    let late = House { owner: house.owner.clone().sparing(1), ..House::enter(RULES[8], harness).await };
    let end = late.destroy(spec).await;
    refused(rule, "destroy of a machine of the spared life", ErrorKind::Conflict, end);
    assert_eq!(house.get(spec).await, before, "{rule}: the machine of the spared life");
    let timely = House { owner: house.owner.clone().sparing(2), ..House::enter(RULES[8], harness).await };
    done(rule, "destroy of a machine of an older life", timely.destroy(spec).await);
    house.is_absent(spec).await;
}

/// An answer that is partial, empty or refused never means "absent".
pub async fn silence_is_not_absence(harness: &dyn MachinesHarness) {
    let house = House::enter(RULES[9], harness).await;
    let (rule, ours, free) = (house.rule, &house.specs[0], &house.specs[1]);
    done(rule, "ensure", house.ensure(ours).await);
    let before = house.get(ours).await;
    for how in Silence::ALL {
        harness.silence(Some(how)).await;
        let list = house.provider.list(&house.cx, &house.owner, &house.specs).await;
        let get = house.provider.get(&house.cx, &house.owner, ours).await;
        let get_free = house.provider.get(&house.cx, &house.owner, free).await;
        harness.silence(None).await;
        if let Ok(Inventory { slots, .. }) = &list {
            let shown = slots.get(&ours.id);
            assert!(shown.is_some_and(|slot| *slot != Slot::Absent), "{rule}: {how:?}: list shows {slots:#?}");
        }
        assert!(!matches!(get, Ok(Slot::Absent)), "{rule}: {how:?}: get shows a living machine as absent");
        if how == Silence::Refused {
            assert!(!matches!(get_free, Ok(Slot::Absent)), "{rule}: {how:?}: a refusal proved that an id is free");
            let free_in_list = list.is_ok_and(|all| all.slots.get(&free.id) == Some(&Slot::Absent));
            assert!(!free_in_list, "{rule}: {how:?}: a refused list proved that an id is free");
        }
        assert_eq!(house.get(ours).await, before, "{rule}: {how:?}: the machine after looks in silence");
    }
    for how in Silence::ALL {
        harness.silence(Some(how)).await;
        let end = house.destroy(ours).await;
        harness.silence(None).await;
        let traces = harness.traces(ours.id).await;
        assert!(end.is_err() || traces.is_empty(), "{rule}: {how:?}: destroy said done, and {traces:?} are there");
        // A provider that can still prove what it does may have begun, or ended.
        done(rule, "destroy after silence", house.destroy(ours).await);
        house.is_absent(ours).await;
        done(rule, "ensure after silence", house.ensure(ours).await);
    }
}

/// One handle on the harness's house, in the name of one rule.
struct House {
    rule: &'static str,
    provider: Arc<dyn MachineProvider>,
    cx: Context,
    owner: Owner,
    specs: Vec<MachineSpec>,
}

impl House {
    async fn enter(rule: &'static str, harness: &dyn MachinesHarness) -> Self {
        let specs = harness.specs();
        assert!(specs.len() >= 4, "{rule}: the harness gives {} specs, the rules need 4", specs.len());
        Self { rule, provider: harness.provider().await, cx: harness.context(), owner: harness.owner(), specs }
    }

    fn birth(&self, spec: &MachineSpec) -> Birth {
        Birth::of("conformance", 1, &spec.node, 1)
    }

    async fn ensure(&self, spec: &MachineSpec) -> Result<Machine> {
        self.provider.ensure(&self.cx, &self.owner, spec, &self.birth(spec)).await
    }

    /// `ensure` while an earlier request may still be on its way: an error that
    /// says that looking again helps is believed a few times.
    async fn ensure_at_last(&self, spec: &MachineSpec) -> Machine {
        for _ in 0..5 {
            match self.ensure(spec).await {
                Err(error) if error.retry_class() == Retry::AfterObserving => {
                    self.cx.clock().sleep(Duration::from_secs(1)).await;
                }
                end => return done(self.rule, "ensure after an earlier one", end),
            }
        }
        done(self.rule, "ensure after an earlier one, for the sixth time", self.ensure(spec).await)
    }

    async fn power(&self, spec: &MachineSpec, power: Power) -> Result<()> {
        self.provider.power(&self.cx, &self.owner, spec, power).await
    }

    async fn destroy(&self, spec: &MachineSpec) -> Result<Removal> {
        self.provider.destroy(&self.cx, &self.owner, spec).await
    }

    async fn list(&self) -> Inventory {
        done(self.rule, "list", self.provider.list(&self.cx, &self.owner, &self.specs).await)
    }

    async fn get(&self, spec: &MachineSpec) -> Slot {
        let slot = self.provider.get(&self.cx, &self.owner, spec).await;
        done(self.rule, &format!("get of {}", spec.id), slot)
    }

    async fn each_slot(&self) -> std::collections::BTreeMap<MachineId, Slot> {
        let mut slots = std::collections::BTreeMap::new();
        for spec in &self.specs {
            slots.insert(spec.id, self.get(spec).await);
        }
        slots
    }

    async fn is_absent(&self, spec: &MachineSpec) {
        assert_eq!(self.get(spec).await, Slot::Absent, "{}: {} by get", self.rule, spec.id);
        let inventory = self.list().await;
        assert_eq!(
            inventory.slots.get(&spec.id),
            Some(&Slot::Absent),
            "{}: {} by list: {inventory:#?}",
            self.rule,
            spec.id
        );
    }

    async fn survives(&self, what: &str, spec: &MachineSpec) {
        let destroyed = self.destroy(spec).await;
        refused(self.rule, &format!("destroy of {what}"), ErrorKind::ForeignOwner, destroyed);
        for power in [Power::Stopped, Power::Running] {
            let powered = self.power(spec, power).await;
            refused(self.rule, &format!("power {power} of {what}"), ErrorKind::ForeignOwner, powered);
        }
    }
}
