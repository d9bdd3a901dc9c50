//! The kinds that are part of Kubernetes, as data.

use std::borrow::Cow;

use super::kind::{Kind, Resource};

impl Kind {
    fn built_in(resource: Resource, version: &'static str, kind: &'static str) -> Self {
        Self {
            resource,
            versions: vec![Cow::Borrowed(version)],
            kind: Cow::Borrowed(kind),
            singular: Cow::Owned(kind.to_lowercase()),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            has_status: false,
            has_generation: false,
            fields: Vec::new(),
            is_custom: false,
            list_kind: Cow::Owned(format!("{kind}List")),
            definitions: Vec::new(),
        }
    }

    fn short(mut self, names: &[&'static str]) -> Self {
        self.short_names = names.iter().copied().map(Cow::Borrowed).collect();
        self
    }

    fn in_all(mut self) -> Self {
        self.categories = vec![Cow::Borrowed("all")];
        self
    }

    fn of_extensions(mut self) -> Self {
        self.categories = vec![Cow::Borrowed("api-extensions")];
        self
    }

    fn without_namespace(mut self) -> Self {
        self.namespaced = false;
        self
    }

    fn with_status(mut self) -> Self {
        self.has_status = true;
        self
    }

    fn with_generation(mut self) -> Self {
        self.has_generation = true;
        self
    }

    fn selected_by(mut self, fields: &[&'static str]) -> Self {
        self.fields = fields.iter().copied().map(Cow::Borrowed).collect();
        self
    }
}

/// All of them.
pub(super) fn rows() -> Vec<Kind> {
    let mut rows = core();
    rows.extend(workloads());
    rows.extend(network());
    rows.extend(rights());
    rows.extend(machinery());
    rows
}

/// The core group.
fn core() -> Vec<Kind> {
    let make = |resource, kind| Kind::built_in(resource, "v1", kind);
    vec![
        make(Resource::NAMESPACES, "Namespace")
            .short(&["ns"])
            .without_namespace()
            .with_status()
            .selected_by(&["status.phase"]),
        make(Resource::NODES, "Node")
            .short(&["no"])
            .without_namespace()
            .with_status()
            .selected_by(&["spec.unschedulable"]),
        make(Resource::PODS, "Pod").short(&["po"]).in_all().with_status().with_generation().selected_by(&[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ]),
        make(Resource::SERVICES, "Service")
            .short(&["svc"])
            .in_all()
            .with_status()
            .selected_by(&["spec.clusterIP", "spec.type"]),
        make(Resource::ENDPOINTS, "Endpoints").short(&["ep"]),
        make(Resource::CONFIG_MAPS, "ConfigMap").short(&["cm"]),
        make(Resource::SECRETS, "Secret").selected_by(&["type"]),
        make(Resource::SERVICE_ACCOUNTS, "ServiceAccount").short(&["sa"]),
        make(Resource::core("persistentvolumeclaims"), "PersistentVolumeClaim").short(&["pvc"]).with_status(),
        make(Resource::core("persistentvolumes"), "PersistentVolume").short(&["pv"]).without_namespace().with_status(),
        make(Resource::core("resourcequotas"), "ResourceQuota").short(&["quota"]).with_status(),
        make(Resource::core("limitranges"), "LimitRange").short(&["limits"]),
        make(Resource::EVENTS, "Event").short(&["ev"]).selected_by(&[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.fieldPath",
            "reason",
            "source",
            "type",
        ]),
    ]
}

/// What runs.
fn workloads() -> Vec<Kind> {
    let make = |group, plural, kind| Kind::built_in(Resource::built_in(group, plural), "v1", kind);
    vec![
        make("apps", "deployments", "Deployment").short(&["deploy"]).in_all().with_status().with_generation(),
        make("apps", "daemonsets", "DaemonSet").short(&["ds"]).in_all().with_status().with_generation(),
        make("apps", "replicasets", "ReplicaSet")
            .short(&["rs"])
            .in_all()
            .with_status()
            .with_generation()
            .selected_by(&["status.replicas"]),
        make("apps", "statefulsets", "StatefulSet").short(&["sts"]).in_all().with_status().with_generation(),
        make("apps", "controllerrevisions", "ControllerRevision"),
        make("batch", "jobs", "Job").in_all().with_status().with_generation().selected_by(&["status.successful"]),
        make("batch", "cronjobs", "CronJob").short(&["cj"]).in_all().with_status().with_generation(),
        Kind::built_in(Resource::built_in("autoscaling", "horizontalpodautoscalers"), "v2", "HorizontalPodAutoscaler")
            .short(&["hpa"])
            .in_all()
            .with_status(),
        make("policy", "poddisruptionbudgets", "PodDisruptionBudget").short(&["pdb"]).with_status().with_generation(),
        make("scheduling.k8s.io", "priorityclasses", "PriorityClass")
            .short(&["pc"])
            .without_namespace()
            .with_generation(),
        make("storage.k8s.io", "storageclasses", "StorageClass").short(&["sc"]).without_namespace(),
        make("storage.k8s.io", "volumeattachments", "VolumeAttachment").without_namespace().with_status(),
        make("storage.k8s.io", "csidrivers", "CSIDriver").without_namespace(),
        make("storage.k8s.io", "csinodes", "CSINode").without_namespace(),
        make("node.k8s.io", "runtimeclasses", "RuntimeClass").without_namespace(),
    ]
}

/// How it is reached.
fn network() -> Vec<Kind> {
    let make = |group, plural, kind| Kind::built_in(Resource::built_in(group, plural), "v1", kind);
    vec![
        make("discovery.k8s.io", "endpointslices", "EndpointSlice").with_generation(),
        make("networking.k8s.io", "ingresses", "Ingress").short(&["ing"]).with_status().with_generation(),
        make("networking.k8s.io", "ingressclasses", "IngressClass").without_namespace().with_generation(),
        make("networking.k8s.io", "networkpolicies", "NetworkPolicy").short(&["netpol"]).with_generation(),
    ]
}

/// Who may do what.
fn rights() -> Vec<Kind> {
    let make = |plural, kind| Kind::built_in(Resource::built_in("rbac.authorization.k8s.io", plural), "v1", kind);
    vec![
        make("clusterroles", "ClusterRole").without_namespace(),
        make("clusterrolebindings", "ClusterRoleBinding").without_namespace(),
        make("roles", "Role"),
        make("rolebindings", "RoleBinding"),
    ]
}

/// What the API server and its controllers keep for themselves.
fn machinery() -> Vec<Kind> {
    let make = |resource, kind| Kind::built_in(resource, "v1", kind);
    vec![
        make(Resource::LEASES, "Lease"),
        make(Resource::VALIDATING_WEBHOOKS, "ValidatingWebhookConfiguration")
            .without_namespace()
            .with_generation()
            .of_extensions(),
        make(Resource::MUTATING_WEBHOOKS, "MutatingWebhookConfiguration")
            .without_namespace()
            .with_generation()
            .of_extensions(),
        make(Resource::DEFINITIONS, "CustomResourceDefinition")
            .short(&["crd", "crds"])
            .without_namespace()
            .with_status()
            .with_generation()
            .of_extensions(),
        make(Resource::built_in("apiregistration.k8s.io", "apiservices"), "APIService")
            .without_namespace()
            .with_status()
            .of_extensions(),
    ]
}
