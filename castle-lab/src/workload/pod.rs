//! Pods: what their kubelet does with them, and what it says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::node::Site;
use super::{fields, startup};
use crate::kube::Resource;
use crate::world::World;

/// After this a container that ended is started again; it doubles each time, up to
/// five minutes (kubelet's values).
const BACK_OFF: Duration = Duration::from_secs(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// So many restarts of a crashing container are told. Further ones would only
/// count on.
const RESTARTS_TOLD: u32 = 6;

/// What runs behind a pod's object.
#[derive(Debug, Clone)]
pub(super) struct Process {
    /// Namespace and name of the workload that it belongs to: the Deployment, not
    /// its replica set.
    pub(super) workload: (String, String),
    /// The workload's label `app.kubernetes.io/part-of`.
    pub(super) part_of: Option<String>,
    /// Since when its node works on it. `None`: it has none, or one that is not
    /// ready.
    started: Option<Duration>,
    /// Whether its images are on its node.
    is_warm: bool,
    /// How often it was started again with its node.
    restarts: u32,
    stage: Stage,
    /// What was said of it last, and until when nothing else is to be said.
    told: Option<Told>,
    /// Its address in the pod network.
    address: String,
}

/// What a kubelet said of a pod, and what it depended on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    /// The resource version of the pod with it.
    version: String,
    /// Whether its node was ready.
    node_is_ready: bool,
    /// How often tests had changed what pods meet.
    marks: u64,
    /// When it will be further by itself.
    until: Option<Duration>,
}

/// How far a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has no node that works on it.
    Waiting,
    /// Its images are pulled, its containers made.
    Creating,
    /// An image cannot be pulled.
    PullFails,
    /// It runs and is not ready yet.
    Running,
    /// It runs and is ready.
    Ready,
    /// It ended so many times right after its start.
    Crashing(u32),
}

impl Process {
    pub(super) fn of(workload: (String, String), part_of: Option<String>) -> Self {
        Self {
            workload,
            part_of,
            started: None,
            is_warm: false,
            restarts: 0,
            stage: Stage::Waiting,
            told: None,
            address: String::new(),
        }
    }

    /// Whether its container runs.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running | Stage::Ready)
    }
}

/// The part that a workload says it belongs to.
pub(super) fn part_of(workload: &Value) -> Option<String> {
    let labels = ["metadata", "labels", "app.kubernetes.io/part-of"];
    let part = fields::text(workload, &labels);
    (!part.is_empty()).then(|| part.to_owned())
}

/// When a crashing container, first started at `began`, crashes for the n-th time
/// (from 0): at once, then after each pause.
fn crash_at(began: Duration, nth: u32) -> Duration {
    let pauses = (0..nth).map(|crash| (BACK_OFF * 2_u32.saturating_pow(crash)).min(BACK_OFF_MAX));
    began + pauses.sum::<Duration>()
}

impl World {
    /// From its node's start on it to a running and to a ready pod.
    fn pace_of(&self, process: &Process) -> (Duration, Duration) {
        let ((namespace, name), draws) = (&process.workload, self.draws());
        if process.is_warm {
            let ready = startup::restart_after(draws, namespace, name);
            return (ready / 2, ready);
        }
        let part_of = process.part_of.as_deref();
        (startup::running_after(draws, namespace, name, part_of), startup::ready_after(draws, namespace, name, part_of))
    }

    /// When its containers ran, or will run. `None` while no node works on it.
    pub(super) fn running_at(&self, process: &Process) -> Option<Duration> {
        Some(process.started? + self.pace_of(process).0)
    }

    /// When it was ready, or will be.
    pub(super) fn ready_at(&self, process: &Process) -> Option<Duration> {
        Some(process.started? + self.pace_of(process).1)
    }

    /// The kubelets: starts what is bound, brings it up, says how far it is.
    pub(super) fn run_pods(&mut self, wakes: &mut BTreeSet<Duration>) {
        let sites = self.sites();
        let pods = self.all(&Resource::PODS);
        let mut processes = std::mem::take(&mut self.workloads.processes);
        let living: BTreeSet<&str> = pods.iter().map(|pod| fields::uid(pod)).collect();
        processes.retain(|uid, _| living.contains(uid.as_str()));
        let mut taken: BTreeSet<String> =
            pods.iter().map(|pod| fields::text(pod, &["status", "podIP"]).to_owned()).collect();
        for pod in &pods {
            let home = fields::text(pod, &["spec", "nodeName"]);
            let uid = fields::uid(pod);
            let Some(site) = sites.get(home) else { continue };
            if !processes.contains_key(uid) {
                // Pods that the model of the nodes keeps say by themselves how they are.
                if fields::controller(pod).is_none() && fields::namespace(pod) == "kube-system" {
                    continue;
                }
                let workload = (fields::namespace(pod).to_owned(), fields::name(pod).to_owned());
                processes.insert(uid.to_owned(), Process::of(workload, part_of(pod)));
            }
            if let Some(process) = processes.get_mut(uid) {
                self.run_pod(pod, process, site, &mut taken, wakes);
            }
        }
        self.workloads.processes = processes;
    }

    fn run_pod(
        &mut self,
        pod: &Arc<Value>,
        process: &mut Process,
        site: &Site,
        taken: &mut BTreeSet<String>,
        wakes: &mut BTreeSet<Duration>,
    ) {
        let now = self.now();
        let version = fields::text(pod, &["metadata", "resourceVersion"]);
        let mut told = Told {
            version: version.to_owned(),
            node_is_ready: site.is_ready,
            marks: self.workloads.marks,
            until: process.told.as_ref().and_then(|told| told.until),
        };
        if process.told.as_ref() == Some(&told) && told.until.is_none_or(|at| at > now) {
            return;
        }
        match (site.is_ready, process.started) {
            (true, None) => process.started = Some(now),
            (false, Some(_)) => {
                if process.is_running() {
                    (process.is_warm, process.restarts) = (true, process.restarts + 1);
                }
                process.started = None;
            }
            _ => {}
        }
        let mut own = BTreeSet::new();
        process.stage = self.stage_of(pod, process, &mut own);
        if process.is_running() && process.address.is_empty() {
            process.address = address(pod, site, taken);
        }
        told.until = own.first().copied();
        wakes.append(&mut own);
        let status = self.status_of(pod, process, site);
        if let Some(written) = self.report(pod, status) {
            fields::text(&written, &["metadata", "resourceVersion"]).clone_into(&mut told.version);
        }
        process.told = Some(told);
    }

    /// How far a pod is now, and when it will be further.
    fn stage_of(&self, pod: &Value, process: &mut Process, wakes: &mut BTreeSet<Duration>) -> Stage {
        let now = self.now();
        let images = || containers(pod).map(|container| fields::text(container, &["image"]));
        let is_broken = images().any(|image| self.workloads.is_broken(image));
        let crashes = self.workloads.crashing.contains(&process.workload);
        let was_broken = process.stage == Stage::PullFails && !is_broken;
        let was_crashing = matches!(process.stage, Stage::Crashing(_)) && !crashes;
        if process.started.is_some() && (was_broken || was_crashing) {
            process.started = Some(now);
            process.is_warm |= was_crashing;
        }
        let Some(started) = process.started else { return Stage::Waiting };
        let (running, ready) = self.pace_of(process);
        let mut until = |at: Duration| {
            let is_past = now >= at;
            if !is_past {
                wakes.insert(at);
            }
            is_past
        };
        if is_broken && !process.is_warm {
            // The registry says no well before a pull would be done.
            return if until(started + running / 2) { Stage::PullFails } else { Stage::Creating };
        }
        if !until(started + running) {
            return Stage::Creating;
        }
        if crashes {
            let began = started + running;
            let crashed = (0..RESTARTS_TOLD).take_while(|nth| until(crash_at(began, *nth))).count();
            return Stage::Crashing(u32::try_from(crashed).unwrap_or(RESTARTS_TOLD));
        }
        if until(started + ready) { Stage::Ready } else { Stage::Running }
    }

    fn status_of(&self, pod: &Value, process: &Process, site: &Site) -> Value {
        let now = self.stamp();
        let names: Vec<&str> = containers(pod).map(|container| fields::text(container, &["name"])).collect();
        let unready = format!("containers with unready status: [{}]", names.join(" "));
        let is_ready = process.stage == Stage::Ready;
        let ready = if is_ready { ("True", ("", "")) } else { ("False", ("ContainersNotReady", unready.as_str())) };
        let condition =
            |kind: &str, (status, why): (&str, (&str, &str))| fields::follow_condition(pod, kind, status, why, &now);
        let has_run = process.is_running() || matches!(process.stage, Stage::Crashing(_)) || process.restarts > 0;
        let conditions = json!([
            condition("PodScheduled", ("True", ("", ""))),
            condition("Initialized", ("True", ("", ""))),
            condition("ContainersReady", ready),
            condition("Ready", ready),
        ]);
        let since = |at: Option<Duration>| at.map(|at| fields::timestamp(self.wall_at(at)));
        let mut status = json!({
            "phase": if has_run { "Running" } else { "Pending" },
            "conditions": conditions,
            "hostIP": site.address,
            "hostIPs": [{"ip": site.address}],
            "qosClass": "Burstable",
        });
        if let Some(started) =
            since(process.started).or_else(|| pod.pointer("/status/startTime")?.as_str().map(str::to_owned))
        {
            status["startTime"] = json!(started);
        }
        if !process.address.is_empty() {
            status["podIP"] = json!(process.address);
            status["podIPs"] = json!([{"ip": process.address}]);
        }
        let (state, count) = match process.stage {
            Stage::Waiting | Stage::Creating => (json!({"waiting": {"reason": "ContainerCreating"}}), 0),
            Stage::PullFails => {
                let broken = containers(pod).map(|container| fields::text(container, &["image"]));
                let broken = broken.filter(|image| self.workloads.is_broken(image)).last().unwrap_or("");
                let message = format!("Back-off pulling image \"{broken}\"");
                (json!({"waiting": {"reason": "ImagePullBackOff", "message": message}}), 0)
            }
            Stage::Running | Stage::Ready => {
                (json!({"running": {"startedAt": since(self.running_at(process)).unwrap_or_default()}}), 0)
            }
            Stage::Crashing(count) => {
                let message = "back-off restarting failed container";
                (json!({"waiting": {"reason": "CrashLoopBackOff", "message": message}}), count)
            }
        };
        let container = |container: &Value| {
            json!({
                "name": fields::text(container, &["name"]),
                "image": fields::text(container, &["image"]),
                "imageID": "",
                "ready": is_ready,
                "started": process.is_running(),
                "restartCount": process.restarts + count,
                "state": state,
            })
        };
        status["containerStatuses"] = containers(pod).map(container).collect();
        status
    }

    /// The processes behind pods that labels select, with their pods.
    pub(super) fn running_behind(&self, namespace: &str, selector: &Value) -> Vec<(Arc<Value>, &Process)> {
        let pods = self.all(&Resource::PODS).into_iter();
        let selected = pods.filter(|pod| fields::namespace(pod) == namespace && fields::has_labels(selector, pod));
        selected
            .filter_map(|pod| {
                let process = self.workloads.processes.get(fields::uid(&pod))?;
                process.is_running().then_some((pod, process))
            })
            .collect()
    }
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    fields::list(pod, &["spec", "containers"]).iter()
}

/// The next free address of the pod's node, or the node's own.
fn address(pod: &Value, site: &Site, taken: &mut BTreeSet<String>) -> String {
    if pod.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true) {
        return site.address.clone();
    }
    let free = (2..=254).map(|last| format!("{}{last}", site.prefix)).find(|address| !taken.contains(address));
    let address = free.unwrap_or_default();
    taken.insert(address.clone());
    address
}

/// Pods by the uid of their controlling owner.
pub(super) fn by_owner(pods: &[Arc<Value>]) -> BTreeMap<&str, Vec<&Arc<Value>>> {
    let mut owned: BTreeMap<&str, Vec<&Arc<Value>>> = BTreeMap::new();
    for pod in pods {
        if let Some((_, uid)) = fields::controller(pod) {
            owned.entry(uid).or_default().push(pod);
        }
    }
    owned
}

/// Whether the pod says that it is ready.
pub(super) fn is_ready(pod: &Value) -> bool {
    fields::condition(pod, "Ready") == "True" && !fields::is_terminating(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crashing_container_waits_twice_as_long_each_time() {
        let crashes: Vec<_> = (0..8).map(|nth| crash_at(Duration::ZERO, nth).as_secs()).collect();
        assert_eq!(crashes, [0, 10, 30, 70, 150, 310, 610, 910]);
    }
}
