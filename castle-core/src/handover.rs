//! What is handed over, and how far the handover is: the declaration's part and
//! the observation's part.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// A part of the seed: what castle plants so that the GitOps engine can live. The
/// order of the variants is the order in which they are planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeedPart {
    /// The namespaces that the other parts live in.
    Namespaces,
    /// external-secrets: its definitions first, then its controllers.
    ExternalSecrets,
    /// The identity by which external-secrets reads the vault.
    MachineIdentity,
    /// The credentials by which Flux reads the repository.
    GitCredentials,
    /// Flux: its definitions, its controllers, its root.
    Flux,
}

impl SeedPart {
    /// All of them, in the order in which they are planted.
    pub const ALL: [Self; 5] =
        [Self::Namespaces, Self::ExternalSecrets, Self::MachineIdentity, Self::GitCredentials, Self::Flux];

    /// Its name in `castle.yaml` and in steps: `machine-identity`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::ExternalSecrets => "external-secrets",
            Self::MachineIdentity => "machine-identity",
            Self::GitCredentials => "git-credentials",
            Self::Flux => "flux",
        }
    }
}

impl fmt::Display for SeedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where manifests come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestSource {
    /// A file of the GitOps repository, from its root.
    Repository(String),
    /// A URL whose content has this SHA-256.
    Url {
        /// `https://..`.
        url: String,
        /// The content's SHA-256.
        sha256: [u8; 32],
    },
    /// A file beside `castle.yaml`.
    File(PathBuf),
}

/// The GitOps repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// `https://host/path.git`, without credentials.
    pub url: String,
    /// The branch that the cluster follows.
    pub branch: String,
    /// The folder of this cluster, without slashes at its ends: `clusters/blue`.
    pub path: String,
}

/// What is handed over to Flux: the part `gitops` of `castle.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandoverSpec {
    /// The repository that Flux follows.
    pub repository: Repository,
    /// What castle plants, in the order of planting.
    pub seed: Vec<SeedPart>,
    /// The manifest of Flux' components. `None`: the repository's own,
    /// `<path>/flux-system/gotk-components.yaml`.
    pub flux: Option<ManifestSource>,
    /// The manifest of external-secrets. `None` only if it is not in the seed.
    pub external_secrets: Option<ManifestSource>,
}

/// Where an administrator's credentials are put for others to find: names in the
/// secret store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Escrow {
    /// For the kubeconfig.
    pub kubeconfig: Option<crate::SecretKey>,
    /// For the talosconfig.
    pub talosconfig: Option<crate::SecretKey>,
}

/// Data that lives in the cluster and must be proved safe before it is destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Its name in refusals.
    pub name: String,
    /// What it is, in the owner's words.
    pub what: String,
}

/// A question whose answer shows that an application serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Its name in steps: `blog`.
    pub name: String,
    /// How it is asked.
    pub kind: ProbeKind,
}

/// How a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProbeKind {
    /// An HTTP request to the load balancer's address of a service.
    Http {
        /// The host name of the request, and of the certificate.
        host: String,
        /// The path: `/`.
        path: String,
        /// Namespace and name of the service of type LoadBalancer.
        service: (String, String),
        /// The status that is wanted.
        expect: u16,
        /// Whether TLS is spoken.
        tls: ProbeTls,
    },
    /// A TCP connection to the load balancer's address of a service.
    Tcp {
        /// Namespace and name of the service.
        service: (String, String),
        /// The port.
        port: u16,
    },
    /// A condition of a Kubernetes object.
    Condition {
        /// `apps/v1`.
        api_version: String,
        /// `Deployment`.
        kind: String,
        /// Empty for kinds without one.
        namespace: String,
        /// The object's name.
        name: String,
        /// `Available`.
        condition: String,
    },
}

/// Whether a probe speaks TLS, and whose certificates it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeTls {
    /// Plain HTTP, port 80.
    None,
    /// HTTPS, port 443; the certificate must name the host and be signed by one of
    /// these authorities (PEM).
    Authorities(String),
    /// HTTPS, port 443; the certificate must name the host, whoever signed it.
    NameOnly,
}

/// How an object of the handover fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "why")]
pub enum Health {
    /// As wanted.
    Ready,
    /// Not yet, and it may come by waiting; why.
    Waiting(String),
    /// It will not come by waiting; why.
    Failed(String),
}

impl Health {
    /// Whether it is as wanted.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }
}

/// A source, a Kustomization or another object of Flux.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FluxItem {
    /// `Kustomization`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How it fares.
    pub health: Health,
    /// The revision it has applied or fetched: `main@sha1:..`.
    pub revision: Option<String>,
    /// The items that must be ready before it, as [`FluxItem::id`]s.
    pub depends_on: Vec<String>,
    /// When it became ready or not ready last, in seconds since 1970.
    pub changed_at: Option<i64>,
    /// Whether somebody suspended it.
    pub suspended: bool,
}

impl FluxItem {
    /// `Kustomization/flux-system/apps`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

/// A webhook of the cluster, and whether it truly answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Webhook {
    /// `l2advertisementvalidationwebhook.metallb.io`.
    pub name: String,
    /// Namespace and name of its service.
    pub service: (String, String),
    /// Whether a failure of it refuses writes; one that may fail gates nothing.
    pub gates: bool,
    /// How it fares.
    pub health: Health,
}

/// How far the handover is, as read from cluster and repository.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct HandoverState {
    /// Where the branch stands: `main@sha1:..`.
    pub head: Option<String>,
    /// Why that is not known, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
    /// Whether the root Kustomization exists.
    pub planted: bool,
    /// The revision that the root has applied.
    pub applied: Option<String>,
    /// Sources, then Kustomizations and releases, those first that others wait for.
    pub items: Vec<FluxItem>,
    /// The webhooks of the cluster.
    pub webhooks: Vec<Webhook>,
    /// Services of type LoadBalancer that have no address yet, as `namespace/name`.
    pub without_address: Vec<String>,
}

impl HandoverState {
    /// Whether the cluster is handed over: the root is at the branch's head, every
    /// item that is reachable from it is ready, every webhook that can refuse a
    /// write answers, and every load balancer has its address.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.why_not().is_none()
    }

    /// The first thing that is missing, in words; `None` when handed over.
    #[must_use]
    pub fn why_not(&self) -> Option<String> {
        let Some(head) = &self.head else {
            let why = self.unread.as_deref().unwrap_or("nobody has asked");
            return Some(format!("where the branch stands is not known: {why}"));
        };
        if !self.planted {
            return Some("the root Kustomization is not planted".into());
        }
        if let Some(holder) = self.holder() {
            let why = match &holder.health {
                Health::Ready => "ready",
                Health::Waiting(why) | Health::Failed(why) => why,
            };
            return Some(format!("{} holds the rest: {why}", holder.id()));
        }
        if self.applied.as_ref() != Some(head) {
            let applied = self.applied.as_deref().unwrap_or("nothing");
            return Some(format!("the root has applied {applied}, the branch stands at {head}"));
        }
        for webhook in self.webhooks.iter().filter(|webhook| webhook.gates) {
            if let Health::Waiting(why) | Health::Failed(why) = &webhook.health {
                return Some(format!("webhook {} does not answer: {why}", webhook.name));
            }
        }
        self.without_address.first().map(|service| format!("load balancer {service} has no address yet"))
    }

    /// The item that everything else waits for: the first that is not ready and
    /// waits for none itself.
    #[must_use]
    pub fn holder(&self) -> Option<&FluxItem> {
        let waiting = |item: &&FluxItem| !item.health.is_ready();
        let free = |item: &FluxItem| {
            item.depends_on.iter().all(|id| self.items.iter().all(|other| other.id() != *id || other.health.is_ready()))
        };
        let root = |item: &FluxItem| item.kind == "Kustomization" && item.name == "flux-system";
        let mut candidates = self.items.iter().filter(waiting).filter(|item| free(item));
        // The root waits for its children by nature; it holds the rest only alone.
        candidates
            .clone()
            .find(|item| !root(item))
            .or_else(|| candidates.next())
            .or_else(|| self.items.iter().find(waiting))
    }
}

/// A request to Flux not to wait any longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nudge {
    /// Which item was asked.
    pub item: String,
    /// Why: what has changed since it began to wait.
    pub reason: String,
}

/// How long the handover and the applications may take, beside the other
/// deadlines.
pub const HANDOVER_DEADLINE: Duration = Duration::from_secs(30 * 60);
/// The same for the applications' probes.
pub const APPS_DEADLINE: Duration = Duration::from_secs(15 * 60);
