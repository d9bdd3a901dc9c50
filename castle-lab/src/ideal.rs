//! The shortest time that physics allows, computed before the run.

use std::collections::BTreeMap;
use std::time::Duration;

use castle_core::{MachineSpec, Milestone, NodeRole, Project};

use crate::flux::{HandoverIdeal, NodesReady};
use crate::latency::Latency;
use crate::node::boot::{CRI, LEAVE};
use crate::node::dns;
use crate::node::vip::CAMPAIGN;
use crate::world::World;

/// The ideal times of the machines of one project in one world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdealTime {
    /// From nothing to all machines running.
    pub create: Duration,
    /// From all machines running to nothing.
    pub destroy: Duration,
    /// Whether `create` is the best schedule itself; else it is a lower bound.
    pub exact: bool,
}

/// Computes the ideal times from the project, the seed and the keyed draws.
///
/// A machine is imported, resized and started, one after the other; at most
/// `limits.imports_per_storage` imports run at once on each storage of a host.
/// To destroy it, it is stopped and removed. Requests take no time, every task's
/// end is seen at once, and nothing waits for a lock file: allocations of one
/// storage exclude each other for [`Latency::STORAGE_LOCK_HOLD`] per volume in
/// the world, and the ideal leaves that out. Up to eight machines on a storage
/// the schedule is the best one; beyond, the greater of two lower bounds is taken.
///
/// The draws are the next ones that the world will really make, so a fresh world
/// gives the ideal of its first create and of its first destroy.
#[must_use]
pub fn machines_ideal(project: &Project, world: &World) -> IdealTime {
    let drawn = |machine: &MachineSpec, latency: Latency, act: &str| {
        let entity = machine.id.to_string();
        world.draws().duration(latency, &entity, act, world.upcoming_nth(&entity, act))
    };
    let mut queues: BTreeMap<(&str, &str), Vec<Job>> = BTreeMap::new();
    let mut destroy = Duration::ZERO;
    for machine in &project.machines {
        let import = drawn(machine, Latency::CREATE_IMPORT, "qmcreate");
        let tail = drawn(machine, Latency::RESIZE, "resize")
            + drawn(machine, Latency::START, "qmstart")
            + Latency::CLOUD_INIT_ISO;
        let job = Job { release: Duration::ZERO, import, tail };
        queues.entry((machine.host.as_str(), &machine.storage)).or_default().push(job);
        let end = drawn(machine, Latency::STOP, "qmstop") + drawn(machine, Latency::DESTROY, "qmdestroy");
        destroy = destroy.max(end);
    }
    let slots = project.limits.imports_per_storage.max(1);
    let exact = queues.values().all(|jobs| jobs.len() <= EXACT_MAX || jobs.len() <= slots);
    let create = queues.values().map(|jobs| makespan(jobs, slots)).max().unwrap_or(Duration::ZERO);
    IdealTime { create, destroy, exact }
}

/// The ideal times of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiIdeal {
    /// Until all machines run.
    pub machines_running: Duration,
    /// Until the API of Kubernetes answers, at the shared address if there is one.
    pub api_serving: Duration,
    /// Until every control plane votes in etcd. They join one after the other; that
    /// each asks only every few seconds is left out.
    pub all_vote: Duration,
    /// Until the cluster's DNS is available: before that the network's pods are not
    /// all ready. Further nodes' pods are wanted only once their node is registered.
    pub cni_ready: Duration,
    /// Until each node is Ready, in the order of the declaration.
    pub nodes: Vec<Duration>,
    /// Until every node is Ready, and what else belongs to that milestone: every
    /// vote, and the network's pods with DNS, which come before it.
    pub nodes_ready: Duration,
}

/// Where a cluster begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// Nothing of it is there.
    Empty,
    /// All its machines run, and are stopped and removed first, each by itself: a
    /// machine's number is free for its next birth as soon as it is gone itself.
    Standing,
}

/// Computes how soon a cluster can stand, from the project, the seed and the
/// keyed draws.
///
/// The first declared control plane is imported first. A machine boots and takes
/// its configuration the moment it waits for it. That control plane gives birth to
/// etcd as soon as it can: the others need not be waited for, as long as it is
/// proved that none of them was ever configured. Then come etcd, the API server and
/// the shared address, and each node follows once the API serves: it registers, its
/// pod network comes up, it reports itself Ready. CoreDNS starts on whichever node
/// lets it be available first. Requests take no time.
///
/// The others are counted as if nothing but their own work was before them, so with
/// more machines than import slots, or with several control planes, `nodes_ready` is
/// a lower bound.
///
/// The draws are the next ones that the world will really make, so a fresh world
/// gives the ideal of its first cluster.
#[must_use]
pub fn api_ideal(project: &Project, world: &World, beginning: Beginning) -> ApiIdeal {
    let drawn = |machine: &MachineSpec, latency: Latency, act: &str| {
        let entity = machine.id.to_string();
        world.draws().duration(latency, &entity, act, world.upcoming_nth(&entity, act))
    };
    let job = |machine: &MachineSpec| Job {
        release: match beginning {
            Beginning::Empty => Duration::ZERO,
            Beginning::Standing => {
                drawn(machine, Latency::STOP, "qmstop") + drawn(machine, Latency::DESTROY, "qmdestroy")
            }
        },
        import: drawn(machine, Latency::CREATE_IMPORT, "qmcreate"),
        tail: drawn(machine, Latency::RESIZE, "resize")
            + drawn(machine, Latency::START, "qmstart")
            + Latency::CLOUD_INIT_ISO,
    };
    let mut queues: BTreeMap<(&str, &str), Vec<Job>> = BTreeMap::new();
    for machine in &project.machines {
        queues.entry((machine.host.as_str(), &machine.storage)).or_default().push(job(machine));
    }
    let slots = project.limits.imports_per_storage.max(1);
    let machines_running = queues.values().map(|jobs| makespan(jobs, slots)).max().unwrap_or(Duration::ZERO);
    let alone = |machine: &MachineSpec| {
        job(machine).alone()
            + drawn(machine, Latency::FIRMWARE_UEFI, "firmware")
            + drawn(machine, Latency::MAINTENANCE, "kernel")
            + LEAVE
            + drawn(machine, Latency::CONFIGURED_BOOT, "first configured boot")
    };
    let Some(first) = project.with_role(NodeRole::ControlPlane).next() else {
        return ApiIdeal {
            machines_running,
            api_serving: machines_running,
            all_vote: machines_running,
            cni_ready: machines_running,
            nodes: Vec::new(),
            nodes_ready: machines_running,
        };
    };
    let containers = alone(first) + CRI;
    let etcd_image = containers + drawn(first, Latency::ETCD_PULL, "etcd pull");
    let etcd = etcd_image + drawn(first, Latency::BOOTSTRAP, "bootstrap");
    let joins = project.with_role(NodeRole::ControlPlane).skip(1).map(|machine| {
        let image = alone(machine) + CRI + drawn(machine, Latency::ETCD_PULL, "etcd pull");
        (image, drawn(machine, Latency::JOIN, "join"))
    });
    let joins: Vec<(Duration, Duration)> = joins.collect();
    let one_by_one = etcd + joins.iter().map(|(_, join)| *join).sum::<Duration>();
    let all_vote = joins.iter().map(|(image, join)| *image + *join).fold(one_by_one, Duration::max);
    let api_server = etcd + drawn(first, Latency::API_SERVER_FIRST, "api server");
    let kubelet = |machine: &MachineSpec| alone(machine) + CRI + drawn(machine, Latency::KUBELET_PULL, "kubelet pull");
    let vip = (containers + Latency::VIP).max(etcd.max(kubelet(first)) + CAMPAIGN);
    let api_serving = if project.network.vip.is_some() { api_server.max(vip) } else { api_server };
    let cni = |machine: &MachineSpec| {
        api_server.max(kubelet(machine))
            + drawn(machine, Latency::NODE_REGISTERED, "register")
            + drawn(machine, Latency::CNI_READY, "cni")
    };
    let ready = |machine: &MachineSpec| cni(machine) + drawn(machine, Latency::NODE_READY, "node ready");
    let nodes: Vec<Duration> = project.machines.iter().map(ready).collect();
    let dns_nth = world.upcoming_nth(dns::ENTITY, dns::ACT);
    let coredns = world.draws().duration(Latency::COREDNS_AVAILABLE, dns::ENTITY, dns::ACT, dns_nth);
    let homes = project.machines.iter().map(|machine| (cni(machine), ready(machine)));
    let cni_ready = dns::available_at(homes, coredns).unwrap_or(api_serving).max(api_serving);
    let nodes_ready =
        nodes.iter().copied().max().unwrap_or(api_serving).max(cni_ready).max(all_vote).max(machines_running);
    ApiIdeal { machines_running, api_serving, all_vote, cni_ready, nodes, nodes_ready }
}

/// The ideal times of a cluster, up to its applications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterIdeal {
    /// Up to its ready nodes.
    pub api: ApiIdeal,
    /// From its serving API on; `None` if nothing is handed over.
    pub handover: Option<HandoverIdeal>,
}

impl ClusterIdeal {
    /// Until a milestone is reached.
    #[must_use]
    pub fn at(&self, milestone: Milestone) -> Duration {
        let nodes_ready = self.api.nodes_ready;
        let handover = |at: fn(&HandoverIdeal) -> Duration| self.handover.as_ref().map_or(nodes_ready, at);
        match milestone {
            Milestone::MachinesRunning => self.api.machines_running,
            Milestone::ApiServing => self.api.api_serving,
            Milestone::CniReady => self.api.cni_ready,
            Milestone::NodesReady => nodes_ready,
            Milestone::HandoverReady => handover(|ideal| ideal.handover_ready).max(nodes_ready),
            // The last one, and whatever will be told after it.
            _ => handover(|ideal| ideal.apps_ready).max(nodes_ready),
        }
    }
}

/// Computes how soon a cluster can stand with everything that is declared, from the
/// project, its repository, the seed and the keyed draws: [`api_ideal`], then
/// [`crate::flux::ideal`].
///
/// # Errors
///
/// Why the handover cannot be complete at all, in words.
pub fn cluster_ideal(project: &Project, world: &World, beginning: Beginning) -> Result<ClusterIdeal, String> {
    let api = api_ideal(project, world, beginning);
    let Some(gitops) = &project.gitops else { return Ok(ClusterIdeal { api, handover: None }) };
    let (url, branch) = (&gitops.repository.url, &gitops.repository.branch);
    let path = url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).unwrap_or_default();
    let head = world.git.repository(path).and_then(|repository| repository.head(branch));
    let head = head.ok_or_else(|| format!("{url} has no branch {branch}"))?;
    // Pods of applications run on workers, where there are any.
    let has_workers = project.with_role(NodeRole::Worker).next().is_some();
    let takes_pods = |(machine, _): &(&MachineSpec, &Duration)| !has_workers || machine.role == NodeRole::Worker;
    let for_pods = project.machines.iter().zip(&api.nodes).filter(takes_pods).map(|(_, ready)| *ready).collect();
    let nodes = NodesReady { for_pods, all: api.nodes.clone() };
    let handover = crate::flux::ideal(project, head, world.draws(), api.api_serving, &nodes)?;
    Ok(ClusterIdeal { api, handover: Some(handover) })
}

/// Beyond so many machines on one storage the search would take longer than the run.
const EXACT_MAX: usize = 8;

/// An import that needs a slot, and what follows it without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Job {
    /// Before this it cannot begin.
    release: Duration,
    import: Duration,
    tail: Duration,
}

impl Job {
    /// When it is through, with a slot of its own.
    fn alone(&self) -> Duration {
        self.release + self.import + self.tail
    }
}

/// When the last job is through, by the best schedule on so many slots.
fn makespan(jobs: &[Job], slots: usize) -> Duration {
    if jobs.len() <= slots {
        return jobs.iter().map(Job::alone).max().unwrap_or(Duration::ZERO);
    }
    let bound = lower_bound(jobs, &vec![Duration::ZERO; slots]);
    if jobs.len() > EXACT_MAX {
        return bound;
    }
    // Longest tail first is a good first guess, and it prunes most of the search.
    let mut order = jobs.to_vec();
    order.sort_by_key(|job| std::cmp::Reverse((job.tail, job.import)));
    let mut search = Search { best: list_schedule(&order, slots), goal: bound };
    search.extend(&order, &mut vec![Duration::ZERO; slots], Duration::ZERO);
    search.best
}

/// Gives each job, in this order, to the slot that is free first.
fn list_schedule(jobs: &[Job], slots: usize) -> Duration {
    let mut free = vec![Duration::ZERO; slots];
    let mut end = Duration::ZERO;
    for job in jobs {
        let first = free.iter_mut().min().expect("there is at least one slot");
        *first = job.release.max(*first) + job.import;
        end = end.max(*first + job.tail);
    }
    end
}

/// No schedule of `jobs` on slots that are free at `free` can be shorter: no job
/// ends before it could begin at once, and the work poured evenly into the slots
/// that are free first fills them to a level, after which the shortest tail is
/// still to come.
fn lower_bound(jobs: &[Job], free: &[Duration]) -> Duration {
    let mut free = free.to_vec();
    free.sort();
    let earliest = free.first().copied().unwrap_or(Duration::ZERO);
    let alone =
        jobs.iter().map(|job| earliest.max(job.release) + job.import + job.tail).max().unwrap_or(Duration::ZERO);
    let mut work: Duration = jobs.iter().map(|job| job.import).sum();
    let mut level = Duration::MAX;
    for (used, at) in (1_u32..).zip(free) {
        work += at;
        level = level.min(work / used);
    }
    let shortest_tail = jobs.iter().map(|job| job.tail).min().unwrap_or(Duration::ZERO);
    alone.max(level + shortest_tail)
}

struct Search {
    best: Duration,
    goal: Duration,
}

impl Search {
    /// Tries every order of what is left. Some order, given to the first free slot
    /// each time, is a best schedule: delaying a job can only make its end later.
    fn extend(&mut self, left: &[Job], free: &mut Vec<Duration>, end: Duration) {
        if left.is_empty() {
            self.best = self.best.min(end);
            return;
        }
        if self.best <= self.goal || end.max(lower_bound(left, free)) >= self.best {
            return;
        }
        for at in 0..left.len() {
            let mut rest = left.to_vec();
            let job = rest.remove(at);
            let slot = (0..free.len()).min_by_key(|&slot| free[slot]).expect("there is at least one slot");
            let before = free[slot];
            free[slot] = job.release.max(before) + job.import;
            self.extend(&rest, free, end.max(free[slot] + job.tail));
            free[slot] = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(pairs: &[(u64, u64)]) -> Vec<Job> {
        let of = |&(import, tail)| Job {
            release: Duration::ZERO,
            import: Duration::from_secs(import),
            tail: Duration::from_secs(tail),
        };
        pairs.iter().map(of).collect()
    }

    fn check(pairs: &[(u64, u64)], slots: usize, seconds: u64) {
        assert_eq!(makespan(&jobs(pairs), slots), Duration::from_secs(seconds), "{pairs:?} on {slots}");
    }

    #[test]
    fn one_slot_takes_the_longest_tail_first() {
        check(&[(4, 1), (4, 9)], 1, 13);
        check(&[(3, 2), (3, 2), (3, 2)], 1, 11);
    }

    #[test]
    fn two_slots_pack_the_imports() {
        // 6 | 3 + 3: the naive order 3, 3, 6 would end at 9.
        check(&[(3, 0), (3, 0), (6, 0)], 2, 6);
        // The famous case where longest-first is not best: 5 5 4 3 3 on two slots is 10.
        check(&[(5, 0), (5, 0), (4, 0), (3, 0), (3, 0)], 2, 10);
    }

    #[test]
    fn enough_slots_leave_the_longest_machine() {
        check(&[(4, 2), (9, 1), (1, 1)], 3, 10);
        check(&[], 2, 0);
    }

    /// The search agrees with trying everything, orders and slots alike.
    #[test]
    fn the_search_finds_what_brute_force_finds() {
        fn brute(left: &[Job], free: &[Duration], end: Duration) -> Duration {
            if left.is_empty() {
                return end;
            }
            let mut best = Duration::MAX;
            for at in 0..left.len() {
                let mut rest = left.to_vec();
                let job = rest.remove(at);
                for slot in 0..free.len() {
                    let mut free = free.to_vec();
                    free[slot] = job.release.max(free[slot]) + job.import;
                    best = best.min(brute(&rest, &free, end.max(free[slot] + job.tail)));
                }
            }
            best
        }
        let mut number = 1_u64;
        let mut next = |limit: u64| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (number >> 33) % limit
        };
        for _ in 0..60 {
            let pairs: Vec<_> = (0..5).map(|_| (1 + next(20), next(20))).collect();
            let mut jobs = jobs(&pairs);
            for job in &mut jobs {
                job.release = Duration::from_secs(next(9));
            }
            for slots in 1..=3 {
                let expected = brute(&jobs, &vec![Duration::ZERO; slots], Duration::ZERO);
                assert_eq!(makespan(&jobs, slots), expected, "{jobs:?} on {slots}");
            }
        }
    }

    #[test]
    fn beyond_eight_machines_it_is_a_lower_bound() {
        let many = jobs(&[(3, 1); 12]);
        assert_eq!(makespan(&many, 2), Duration::from_secs(19));
        assert!(list_schedule(&many, 2) >= makespan(&many, 2));
    }
}
