//! What runs in the cluster: the controllers of Kubernetes, kubelets that pull and
//! start, services and their endpoints, load balancers, webhooks.
//!
//! All of it is level-triggered: [`World::follow`] looks at the objects of the
//! store, decides what must be, writes the difference, and plans to look again
//! when something will be due. What a pod's process is at (when it was started,
//! how often it crashed) is no object; it is kept in [`Workloads`].
//!
//! What is left out: StatefulSets and Jobs, resources of nodes and affinities in
//! scheduling, probes' delays, volumes (a pod does not wait for one that is
//! missing), the limit of old replica sets, and the grace of terminating pods: a
//! deleted pod is gone at once, also one on a dead node.

mod daemon_set;
mod deployment;
mod endpoints;
mod fields;
mod ingress;
mod metallb;
mod node;
mod owner;
mod page;
mod pod;
mod replica_set;
mod scheduler;
mod service;
mod startup;
mod webhook;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::kube::{Delete, Hand, Part, Refusal, Resource, Selection};
use crate::world::{Event, World};
use deployment::Progress;
use pod::Process;

pub(crate) use ingress::Shown;
pub(crate) use page::Page;
pub use startup::{
    METALLB_WEBHOOK_SERVICE, is_ingress, load_balancer_after, ready_after, restart_after, running_after, webhook_after,
    webhook_lateness,
};

/// How often controllers may answer each other before the others are heard.
const ROUNDS: usize = 32;

/// The field manager of Kubernetes' controllers.
const CONTROLLERS: &str = "kube-controller-manager";
/// The field manager of what nodes say of their pods.
const KUBELET: &str = "kubelet";

/// One thing that some controller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Owners,
    Nodes,
    Services,
    Deployments,
    ReplicaSets,
    DaemonSets,
    Scheduling,
    Pods,
    ReplicaSetCounts,
    DaemonSetCounts,
    DeploymentCounts,
    Endpoints,
    LoadBalancers,
    Webhooks,
}

impl Task {
    /// In the order in which consequences follow each other.
    const ALL: [Self; 14] = [
        Self::Owners,
        Self::Nodes,
        Self::Services,
        Self::Deployments,
        Self::ReplicaSets,
        Self::DaemonSets,
        Self::Scheduling,
        Self::Pods,
        Self::ReplicaSetCounts,
        Self::DaemonSetCounts,
        Self::DeploymentCounts,
        Self::Endpoints,
        Self::LoadBalancers,
        Self::Webhooks,
    ];

    /// The kinds that it looks at.
    fn follows(self) -> &'static [Resource] {
        use Resource as R;
        match self {
            Self::Owners => {
                const { &[R::DEPLOYMENTS, R::REPLICA_SETS, R::DAEMON_SETS, R::SERVICES, R::PODS, R::ENDPOINT_SLICES] }
            }
            Self::Nodes | Self::Scheduling | Self::Pods => const { &[R::NODES, R::PODS] },
            Self::Services => const { &[R::SERVICES] },
            Self::Deployments | Self::DeploymentCounts => const { &[R::DEPLOYMENTS, R::REPLICA_SETS] },
            Self::ReplicaSets | Self::ReplicaSetCounts => const { &[R::REPLICA_SETS, R::PODS] },
            Self::DaemonSets | Self::DaemonSetCounts => const { &[R::DAEMON_SETS, R::PODS, R::NODES] },
            Self::Endpoints => const { &[R::SERVICES, R::PODS, R::ENDPOINT_SLICES] },
            Self::LoadBalancers => const { &[R::SERVICES, R::DEPLOYMENTS, metallb::POOLS] },
            Self::Webhooks => const { &[R::VALIDATING_WEBHOOKS, R::MUTATING_WEBHOOKS, R::SERVICES, R::PODS] },
        }
    }

    /// Whether time alone brings it something to do.
    fn has_time(self) -> bool {
        matches!(self, Self::Nodes | Self::Pods | Self::DeploymentCounts | Self::LoadBalancers | Self::Webhooks)
    }
}

/// The workloads' own memory, beside the objects in the store.
#[derive(Debug, Clone, Default)]
pub struct Workloads {
    /// Every change up to this resource version was looked at.
    seen: u64,
    /// Something is due though no object may have changed.
    stirred: bool,
    /// When somebody looks again.
    wakes: BTreeSet<Duration>,
    /// Which etcd was looked at: the uid of a namespace that every one has.
    life: String,
    /// The processes of pods, by the pods' uid.
    processes: BTreeMap<String, Process>,
    /// Since when a node is not ready, or not there though pods are on it.
    away: BTreeMap<String, Duration>,
    /// Up to which resource version each task has looked.
    looked: BTreeMap<Task, u64>,
    /// The short names of templates, by the uid of what has them, with the
    /// generation that they are of.
    templates: BTreeMap<String, (u64, String)>,
    /// How often a test changed what pods meet.
    marks: u64,
    /// How the roll-outs of Deployments go, by their uid.
    progress: BTreeMap<String, Progress>,
    /// Since when a service waits for an address, by its uid.
    waiting: BTreeMap<String, Duration>,
    /// Since when webhooks truly answer, by namespace and name of their service.
    /// `None`: their pod is ready, and they do not answer yet.
    webhooks: BTreeMap<(String, String), Option<Duration>>,
    broken_images: BTreeSet<String>,
    crashing: BTreeSet<(String, String)>,
    late_webhooks: BTreeMap<(String, String), Duration>,
}

/// What is due in a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WorkloadEvent {
    /// Something planned is due: look at everything again.
    Wake,
}

impl Workloads {
    /// From now on this image cannot be pulled. `image` is a whole reference, or
    /// one without its tag for all of its tags.
    pub fn break_image(&mut self, image: impl Into<String>) {
        self.broken_images.insert(image.into());
        self.marks += 1;
        self.stirred = true;
    }

    /// The image can be pulled again; pods that wait for it start anew.
    pub fn mend_image(&mut self, image: &str) {
        self.broken_images.remove(image);
        self.marks += 1;
        self.stirred = true;
    }

    /// From now on the containers of that workload's pods end right after their
    /// start.
    pub fn crash(&mut self, namespace: impl Into<String>, workload: impl Into<String>) {
        self.crashing.insert((namespace.into(), workload.into()));
        self.marks += 1;
        self.stirred = true;
    }

    /// The containers of that workload run again.
    pub fn stop_crashing(&mut self, namespace: &str, workload: &str) {
        self.crashing.remove(&(namespace.to_owned(), workload.to_owned()));
        self.marks += 1;
        self.stirred = true;
    }

    /// Lets the webhook behind a service answer that much later than it would by
    /// itself, though its pod and its slice are ready. A delay of zero takes an
    /// earlier one back.
    pub fn delay_webhook(&mut self, namespace: impl Into<String>, service: impl Into<String>, by: Duration) {
        self.late_webhooks.insert((namespace.into(), service.into()), by);
        self.stirred = true;
    }

    /// Since when the webhook behind a service truly answers, in the world's time.
    /// `None` while it does not. No client can read this; it is for proofs.
    #[must_use]
    pub fn webhook_true_since(&self, namespace: &str, service: &str) -> Option<Duration> {
        self.webhooks.get(&(namespace.to_owned(), service.to_owned())).copied().flatten()
    }

    fn is_broken(&self, image: &str) -> bool {
        let end = image.rfind(['@', ':']).filter(|end| *end > image.rfind('/').unwrap_or(0));
        self.broken_images.contains(image) || end.is_some_and(|end| self.broken_images.contains(&image[..end]))
    }
}

impl World {
    /// Something is due in a workload.
    pub(crate) fn workload_happens(&mut self, event: &WorkloadEvent) {
        match event {
            WorkloadEvent::Wake => self.workloads.stirred = true,
        }
    }

    /// Draws the consequences of changed objects.
    pub(crate) fn follow_workloads(&mut self) {
        let present = self.kubernetes.revision();
        // Controllers can do nothing without an API server; they look again when
        // there is one.
        if present == self.workloads.seen && !self.workloads.stirred || !self.kubernetes.is_serving() {
            return;
        }
        // Another etcd counts from the beginning.
        let is_other = present < self.workloads.seen;
        let changed = |kind: &Resource| self.kubernetes.last_change(kind) > self.workloads.seen;
        let is_concerned = is_other || Task::ALL.iter().flat_map(|task| task.follows()).any(changed);
        if is_concerned || self.workloads.stirred {
            self.recognise_life();
            let mut is_due = std::mem::take(&mut self.workloads.stirred);
            let mut wakes = BTreeSet::new();
            for _ in 0..ROUNDS {
                let before = self.kubernetes.revision();
                self.control(is_due, &mut wakes);
                is_due = false;
                if self.kubernetes.revision() == before {
                    break;
                }
            }
            let now = self.now();
            self.workloads.wakes.retain(|at| *at > now);
            for at in wakes {
                if at > now && self.workloads.wakes.insert(at) {
                    self.at(at, Event::Workload(WorkloadEvent::Wake));
                }
            }
        }
        self.workloads.seen = self.kubernetes.revision();
    }

    /// Another etcd knows nothing of what ran in the former.
    fn recognise_life(&mut self) {
        let home = self.kubernetes.get(&Resource::NAMESPACES, "", "kube-system");
        let life = home.map(|home| fields::uid(home).to_owned()).unwrap_or_default();
        if life == self.workloads.life {
            return;
        }
        let former = std::mem::take(&mut self.workloads);
        for (namespace, service) in former.webhooks.keys() {
            self.forget_webhook(namespace, service);
        }
        self.workloads = Workloads {
            life,
            wakes: former.wakes,
            broken_images: former.broken_images,
            crashing: former.crashing,
            marks: former.marks,
            stirred: former.stirred,
            late_webhooks: former.late_webhooks,
            ..Workloads::default()
        };
    }

    /// One look of every controller at what is theirs, as far as it has changed or
    /// something is due.
    fn control(&mut self, is_due: bool, wakes: &mut BTreeSet<Duration>) {
        for task in Task::ALL {
            let changed = task.follows().iter().map(|kind| self.kubernetes.last_change(kind)).max().unwrap_or(0);
            let looked = self.workloads.looked.get(&task).copied().unwrap_or(0);
            if changed <= looked && !(is_due && task.has_time()) {
                continue;
            }
            // What it writes itself it will look at once more.
            self.workloads.looked.insert(task, self.kubernetes.revision());
            match task {
                Task::Owners => self.control_owners(),
                Task::Nodes => self.control_nodes(wakes),
                Task::Services => self.control_services(),
                Task::Deployments => self.control_deployments(),
                Task::ReplicaSets => self.control_replica_sets(),
                Task::DaemonSets => self.control_daemon_sets(),
                Task::Scheduling => self.schedule_pods(),
                Task::Pods => self.run_pods(wakes),
                Task::ReplicaSetCounts => self.report_replica_sets(),
                Task::DaemonSetCounts => self.report_daemon_sets(),
                Task::DeploymentCounts => self.report_deployments(wakes),
                Task::Endpoints => self.control_endpoints(),
                Task::LoadBalancers => self.control_load_balancers(wakes),
                Task::Webhooks => self.control_webhooks(wakes),
            }
        }
    }

    /// All objects of a collection, by namespace and name.
    fn all(&self, resource: &Resource) -> Vec<Arc<Value>> {
        self.kubernetes.list(resource, &Selection::default()).cloned().collect()
    }

    /// What the store says of a controller's write. A controller that is refused
    /// looks again at the next change; the refusal stays in the world's history.
    fn written(&mut self, answer: Result<Arc<Value>, Refusal>) -> Option<Arc<Value>> {
        answer.inspect_err(|refusal| self.log(format!("a controller was refused: {refusal}"))).ok()
    }

    /// Makes an object.
    fn make(&mut self, object: Value) -> Option<Arc<Value>> {
        let answer = self.kubernetes.create(object, &Hand::of(CONTROLLERS));
        self.written(answer)
    }

    /// Writes everything of an object but its status.
    fn wish(&mut self, object: Value) -> Option<Arc<Value>> {
        let answer = self.kubernetes.update(object, Part::Main, &Hand::of(CONTROLLERS));
        self.written(answer)
    }

    /// Writes the status of an object, if it is another. Returns the object if it
    /// was written.
    fn report(&mut self, object: &Arc<Value>, status: Value) -> Option<Arc<Value>> {
        if object.get("status") == Some(&status) {
            return None;
        }
        let mut object = Value::clone(object);
        object["status"] = status;
        let manager = if fields::text(&object, &["kind"]) == "Pod" { KUBELET } else { CONTROLLERS };
        let answer = self.kubernetes.update(object, Part::Status, &Hand::of(manager));
        self.written(answer)
    }

    /// Removes an object.
    fn remove(&mut self, resource: &Resource, object: &Value) {
        let (namespace, name) = (fields::namespace(object), fields::name(object));
        if let Err(refusal) = self.kubernetes.delete(resource, namespace, name, &Delete::default()) {
            self.log(format!("a controller was refused: {refusal}"));
        }
    }

    fn stamp(&self) -> String {
        fields::timestamp(self.wall())
    }
}
