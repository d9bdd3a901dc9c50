//! Whether the hosts have room for what a plan turns on, at its end and on its way.

use std::collections::BTreeSet;

use super::create::Need;
use super::unseen;
use crate::{ByteSize, HostState, Inventory, Machine, MachineSpec, Name, Power, Problem, Project, Slot};

/// Refuses a plan whose machines would not fit at its end.
pub(super) fn check(project: &Project, inventory: &Inventory, needs: &[Need], problems: &mut Vec<Problem>) {
    for (host, budget) in &project.hosts {
        let wanted: ByteSize = wanted_on(project, needs, host).map(|(spec, _)| spec.memory).sum();
        if wanted == ByteSize::default() {
            continue;
        }
        let Some(state) = inventory.hosts.get(host.as_str()) else {
            problems.push(unseen(format!("host {host}"), "the hypervisor does not know it"));
            continue;
        };
        if !state.online {
            problems.push(
                Problem::error("host-offline", format!("host {host}"), "the hypervisor's cluster counts it as down")
                    .hint("bring the host back; its machines can neither be made nor judged before"),
            );
            continue;
        }
        if state.memory_total == ByteSize::default() {
            // Not told for want of a right, which the provider's preflight names.
            continue;
        }
        let freed: ByteSize = wanted_on(project, needs, host).map(|(spec, need)| freed_by(inventory, spec, need)).sum();
        let taken = taken_on(inventory, host, state).saturating_sub(freed);
        let total = state.memory_total.min(budget.memory);
        let room = total.saturating_sub(budget.reserve).saturating_sub(taken);
        if wanted > room {
            problems.push(
                Problem::error(
                    "memory",
                    format!("host {host}"),
                    format!(
                        "{wanted} are wanted, {room} are free: {total} less {} reserve less {taken} in use",
                        budget.reserve
                    ),
                )
                .hint("use fewer or smaller machines, or move some to another host"),
            );
        }
    }
}

/// The machines that must not start before every removal on their host is done.
///
/// A machine that takes no more than its own removal frees may start at once. One
/// that takes more (its declaration has grown, or its former machine was off) may
/// not, where the host has no room for all of these beside what still runs.
pub(super) fn latecomers(project: &Project, inventory: &Inventory, needs: &[Need]) -> BTreeSet<usize> {
    let mut late = BTreeSet::new();
    for (host, budget) in &project.hosts {
        let Some(state) = inventory.hosts.get(host.as_str()) else { continue };
        let growth = |spec: &MachineSpec, need: &Need| spec.memory.saturating_sub(freed_by(inventory, spec, need));
        let all: ByteSize = wanted_on(project, needs, host).map(|(spec, need)| growth(spec, need)).sum();
        let total = state.memory_total.min(budget.memory).saturating_sub(budget.reserve);
        if taken_on(inventory, host, state) + all <= total {
            continue;
        }
        let grows = |(machine, (spec, need)): (usize, (&MachineSpec, &Need))| {
            (spec.host == *host && need.starts() && growth(spec, need) > ByteSize::default()).then_some(machine)
        };
        late.extend(project.machines.iter().zip(needs).enumerate().filter_map(grows));
    }
    late
}

fn wanted_on<'a>(
    project: &'a Project,
    needs: &'a [Need],
    host: &'a Name,
) -> impl Iterator<Item = (&'a MachineSpec, &'a Need)> {
    project.machines.iter().zip(needs).filter(move |(spec, need)| spec.host == *host && need.starts())
}

/// What runs on a host, by declared memory or by the host's own count, whichever is
/// more.
fn taken_on(inventory: &Inventory, host: &Name, state: &HostState) -> ByteSize {
    let runs = |machine: &&Machine| machine.host == host.as_str() && machine.power == Power::Running;
    let ours = inventory.slots.values().filter_map(|slot| match slot {
        Slot::Present(machine) => Some(machine.as_ref()),
        _ => None,
    });
    let declared: ByteSize = ours.chain(&inventory.others).filter(runs).map(|machine| machine.memory).sum();
    declared.max(state.memory_used)
}

fn freed_by(inventory: &Inventory, spec: &MachineSpec, need: &Need) -> ByteSize {
    match (need, inventory.slots.get(&spec.id)) {
        (Need::Replace(_), Some(Slot::Present(machine))) if machine.power == Power::Running => machine.memory,
        _ => ByteSize::default(),
    }
}
