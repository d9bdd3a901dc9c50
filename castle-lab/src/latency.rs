//! How long things take: one table, every row with its source.

use std::time::Duration;

/// The spread of a duration: its median and its 95th percentile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// The median.
    pub p50: Duration,
    /// The 95th percentile.
    pub p95: Duration,
    /// The shortest and the longest that is drawn, where the source names them;
    /// else a third of the median, and one and a half times the 95th percentile.
    pub bounds: Option<(Duration, Duration)>,
}

impl Latency {
    /// No time at all.
    pub const ZERO: Self = Self::millis(0, 0);

    /// A GET that the web proxy answers from replicated files. One log of a real
    /// house shows 9 ms for `nextid` (bpg/terraform-provider-proxmox issue 1610).
    pub const GET_CACHED: Self = Self::millis(8, 40);
    /// A GET that is handed to the privileged daemon. Estimate.
    pub const GET_PROTECTED: Self = Self::millis(20, 120);
    /// A POST up to its UPID: a fork and a write of the replicated file system.
    /// Estimate.
    pub const POST_FORK: Self = Self::millis(60, 300);
    /// A change of a machine's configuration that touches no disk. Estimate.
    pub const PUT_CONFIG: Self = Self::millis(80, 400);
    /// The work of a resize task. Nobody measured it by itself; it
    /// rewrites the configuration and grows a thin volume, so it takes the row of
    /// a configuration change.
    pub const RESIZE: Self = Self::PUT_CONFIG;
    /// The work of a create with empty thin disks. Estimate.
    pub const CREATE_EMPTY: Self = Self::millis(1_500, 4_000);
    /// The work of a create that imports a qcow2 of 100 to 300 MB: about 150 MB/s
    /// and the conversion. Estimate.
    pub const CREATE_IMPORT: Self = Self::millis(4_000, 20_000);
    /// The work of a start, up to the task's `OK`. Estimate.
    pub const START: Self = Self::millis(1_500, 5_000);
    /// The work of a stop: Proxmox VE asks once per second after `quit`
    /// (qemu-server).
    pub const STOP: Self = Self::millis(1_200, 3_000);
    /// A guest that answers ACPI or the agent and shuts down. Estimate.
    pub const SHUTDOWN: Self = Self::millis(12_000, 45_000);
    /// The work of a destroy on thin LVM. Estimate.
    pub const DESTROY: Self = Self::millis(1_500, 8_000);

    /// What a start takes longer because the cloud-init ISO is written. Estimate.
    pub const CLOUD_INIT_ISO: Duration = Duration::from_millis(300);
    /// How long the allocation or the removal of one thin volume holds its
    /// storage's lock. Part of the create or destroy it belongs to. Estimate.
    pub const STORAGE_LOCK_HOLD: Duration = Duration::from_millis(100);
    /// The penalty before a 401 (pve-http-server).
    pub const UNAUTHENTICATED: Duration = Duration::from_secs(3);
    /// The period of the statistics broadcast (pve-manager, pvestatd).
    pub const BROADCAST: Duration = Duration::from_secs(10);
    /// After this, statistics of a silent host are dropped (pve-cluster).
    pub const BROADCAST_LIFE: Duration = Duration::from_secs(300);

    /// SeaBIOS and the boot loader, before the kernel of a Talos image. Belief,
    /// without a spread (Talos, timings for the latency model).
    pub const FIRMWARE_BIOS: Self = Self::seconds(5, 5);
    /// The same with OVMF. Belief, without a spread.
    pub const FIRMWARE_UEFI: Self = Self::seconds(10, 10);
    /// From the kernel to the maintenance API: 4.8 s in QEMU (pull 6316), 15.6 s on
    /// a slow Proxmox VE (issue 8882); 5 to 30 s.
    pub const MAINTENANCE: Self = Self::seconds(12, 30);
    /// `ApplyConfiguration` in maintenance, up to its answer. Belief.
    pub const APPLY: Self = Self::millis(300, 300);
    /// From a configured boot to a healthy apid; trustd and cri follow within a
    /// second (issues 10129, 13759).
    pub const CONFIGURED_BOOT: Self = Self::seconds(10, 10);
    /// A restart by kexec, which skips the firmware (pull 8666).
    pub const KEXEC: Self = Self::seconds(8, 8);
    /// A full restart, with the firmware (pull 8666).
    pub const POWER_CYCLE: Self = Self::seconds(20, 20);
    /// The first pull of the image of etcd: 3 s in a log (issue 10129); 2 to 30 s.
    pub const ETCD_PULL: Self = Self::seconds(5, 30);
    /// The first pull of the kubelet's image. The reference has no row of its own;
    /// an image of that size takes the row of etcd's.
    pub const KUBELET_PULL: Self = Self::ETCD_PULL;
    /// From `Bootstrap` to a healthy etcd: started after a second (issue 8955), the
    /// first health check after five (Talos' code).
    pub const BOOTSTRAP: Self = Self::seconds(12, 12);
    /// A further control plane joins: learner, then steps of 15 s (Talos' code).
    pub const JOIN: Self = Self::seconds(20, 20);
    /// From a healthy etcd to a ready kube-apiserver, images to be pulled. Belief.
    pub const API_SERVER_FIRST: Self = Self::seconds(40, 40);
    /// The same with the images at hand. Belief.
    pub const API_SERVER_CACHED: Self = Self::seconds(15, 15);
    /// What a node takes from its registration to Ready: images of the pod network
    /// and its start. The reference says 100 s, 60 to 240, from `Bootstrap` to all
    /// nodes Ready; with the rows above and three to five nodes this leaves that
    /// median.
    pub const POD_NETWORK: Self = Self::seconds(30, 80);
    /// A read of the Talos API: a round trip in the house. Estimate.
    pub const TALOS_READ: Self = Self::millis(8, 40);
    /// A write of the Talos API other than a configuration. Estimate.
    pub const TALOS_WRITE: Self = Self::millis(40, 200);

    /// From `Bootstrap` to the shared address (the seeds: under two minutes; it
    /// needs etcd and the kubelet only).
    pub const VIP: Duration = Duration::from_secs(20);
    /// The shared address after an orderly end of its holder (Talos, vip.mdx).
    pub const VIP_HANDED_OVER: Duration = Duration::from_secs(1);
    /// The same after a crash: the lease is 60 s (Talos, vip.mdx).
    pub const VIP_LOST: Duration = Duration::from_secs(45);
    /// How long an entry of the discovery service outlives its node (Talos' code).
    pub const DISCOVERY_TTL: Duration = Duration::from_secs(30 * 60);
    /// How often a control plane asks to be let into etcd (Talos' code).
    pub const ETCD_JOIN_RETRY: Duration = Duration::from_secs(3);
    /// After this, a control plane that was not let in gives up (Talos' code).
    pub const ETCD_JOIN_TIMEOUT: Duration = Duration::from_secs(30 * 60);

    // The Kubernetes side. The source gives a median and the bounds of the spread
    // (handover facts, section 20); B is a belief that fits the author's totals, V
    // is a constant of somebody's code.

    /// The first pull of a controller's image on a node; a second one costs
    /// nothing. B.
    pub const IMAGE_PULL: Self = Self::between(6_000, 3_000, 30_000);
    /// From a made container to a running one. B.
    pub const CONTAINER_START: Self = Self::between(1_000, 500, 5_000);
    /// From a running container to a ready one, without the delay of a probe. B.
    pub const CONTAINER_READY: Self = Self::between(1_000, 500, 5_000);
    /// From the apply of Flux to its four ready Deployments, pulls included. B.
    pub const FLUX_READY: Self = Self::between(20_000, 15_000, 40_000);
    /// The first fetch of a Git repository by Flux. B.
    pub const GIT_FETCH: Self = Self::between(2_000, 1_000, 10_000);
    /// external-secrets' Deployments, from apply to ready, pulls included. B.
    pub const EXTERNAL_SECRETS_READY: Self = Self::between(15_000, 8_000, 40_000);
    /// A secret store of external-secrets, from made to valid. B.
    pub const SECRET_STORE_VALID: Self = Self::between(2_000, 1_000, 10_000);
    /// An external secret, from made to synced. B.
    pub const EXTERNAL_SECRET_SYNC: Self = Self::between(2_000, 1_000, 10_000);
    /// MetalLB's controller and speakers, from apply to ready, pulls included. B.
    pub const METALLB_READY: Self = Self::between(8_000, 5_000, 25_000);
    /// MetalLB's webhook, from its running pod to its first true answer. B, and the
    /// seeds.
    pub const METALLB_WEBHOOK: Self = Self::between(6_000, 3_000, 15_000);
    /// An address of a load balancer, once pool and service exist. B.
    pub const LOAD_BALANCER: Self = Self::between(1_000, 500, 3_000);
    /// An ingress controller, from apply to ready, pulls included. B.
    pub const INGRESS_READY: Self = Self::between(10_000, 5_000, 40_000);
    /// A small web pod, from apply to ready, pulls included. B.
    pub const WEB_POD_READY: Self = Self::between(8_000, 3_000, 30_000);

    /// Flux builds and applies one Kustomization: the fixed part. B.
    pub const KUSTOMIZE_BUILD: Duration = Duration::from_secs(1);
    /// The same for each object in it. B.
    pub const KUSTOMIZE_OBJECT: Duration = Duration::from_millis(20);
    /// How often Flux looks at the health of what it applied. V.
    pub const HEALTH_POLL: Duration = Duration::from_secs(5);
    /// After this Flux looks again at a dependency that was not ready. V.
    pub const DEPENDENCY_REQUEUE: Duration = Duration::from_secs(30);

    /// A latency between bounds, all in milliseconds. The longest is taken for the
    /// 95th percentile.
    #[must_use]
    pub const fn between(p50: u64, low: u64, high: u64) -> Self {
        let bounds = Some((Duration::from_millis(low), Duration::from_millis(high)));
        Self { p50: Duration::from_millis(p50), p95: Duration::from_millis(high), bounds }
    }

    /// A latency of so many seconds.
    #[must_use]
    pub const fn seconds(p50: u64, p95: u64) -> Self {
        Self::millis(p50 * 1000, p95 * 1000)
    }

    /// A latency of so many milliseconds.
    #[must_use]
    pub const fn millis(p50: u64, p95: u64) -> Self {
        Self { p50: Duration::from_millis(p50), p95: Duration::from_millis(p95), bounds: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table once more, p50 and p95 in milliseconds: a change must be meant.
    #[test]
    fn the_table_is_the_one_that_was_written_down() {
        for (what, row, p50, p95) in [
            ("GET cached", Latency::GET_CACHED, 8, 40),
            ("GET protected", Latency::GET_PROTECTED, 20, 120),
            ("POST that forks", Latency::POST_FORK, 60, 300),
            ("PUT config", Latency::PUT_CONFIG, 80, 400),
            ("create, empty disk", Latency::CREATE_EMPTY, 1_500, 4_000),
            ("create, import", Latency::CREATE_IMPORT, 4_000, 20_000),
            ("start", Latency::START, 1_500, 5_000),
            ("stop", Latency::STOP, 1_200, 3_000),
            ("shutdown", Latency::SHUTDOWN, 12_000, 45_000),
            ("destroy", Latency::DESTROY, 1_500, 8_000),
        ] {
            assert_eq!((row.p50.as_millis(), row.p95.as_millis()), (p50, p95), "{what}");
        }
        for (what, row, p50, p95) in [
            ("SeaBIOS", Latency::FIRMWARE_BIOS, 5, 5),
            ("OVMF", Latency::FIRMWARE_UEFI, 10, 10),
            ("maintenance", Latency::MAINTENANCE, 12, 30),
            ("boot to apid", Latency::CONFIGURED_BOOT, 10, 10),
            ("kexec", Latency::KEXEC, 8, 8),
            ("full restart", Latency::POWER_CYCLE, 20, 20),
            ("pull of etcd", Latency::ETCD_PULL, 5, 30),
            ("bootstrap", Latency::BOOTSTRAP, 12, 12),
            ("join", Latency::JOIN, 20, 20),
            ("kube-apiserver", Latency::API_SERVER_FIRST, 40, 40),
            ("kube-apiserver again", Latency::API_SERVER_CACHED, 15, 15),
            ("image of a controller", Latency::IMAGE_PULL, 6, 30),
            ("Flux", Latency::FLUX_READY, 20, 40),
            ("fetch of a repository", Latency::GIT_FETCH, 2, 10),
            ("external-secrets", Latency::EXTERNAL_SECRETS_READY, 15, 40),
            ("secret store", Latency::SECRET_STORE_VALID, 2, 10),
            ("external secret", Latency::EXTERNAL_SECRET_SYNC, 2, 10),
            ("MetalLB", Latency::METALLB_READY, 8, 25),
            ("MetalLB's webhook", Latency::METALLB_WEBHOOK, 6, 15),
            ("load balancer", Latency::LOAD_BALANCER, 1, 3),
            ("ingress", Latency::INGRESS_READY, 10, 40),
            ("web pod", Latency::WEB_POD_READY, 8, 30),
        ] {
            assert_eq!((row.p50.as_secs(), row.p95.as_secs()), (p50, p95), "{what}");
        }
        assert_eq!(Latency::APPLY.p50.as_millis(), 300);
        assert_eq!((Latency::VIP.as_secs(), Latency::VIP_HANDED_OVER.as_secs()), (20, 1));
        assert_eq!((Latency::VIP_LOST.as_secs(), Latency::DISCOVERY_TTL.as_secs()), (45, 1800));
        assert_eq!((Latency::ETCD_JOIN_RETRY.as_secs(), Latency::ETCD_JOIN_TIMEOUT.as_secs()), (3, 1800));
        assert_eq!(Latency::UNAUTHENTICATED.as_secs(), 3);
        assert_eq!(Latency::BROADCAST.as_secs(), 10);
        assert_eq!(Latency::CLOUD_INIT_ISO.as_millis(), 300);
    }
}
