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
    /// storage's lock. Part of the create or destroy it belongs to. That both are
    /// serial on a storage, and that a waiter gives up after ten seconds, is
    /// sourced (Proxmox, concurrency); for how long the lock is held nobody gives a
    /// figure. No source: a guess, and a quick one, so that it decides nothing.
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
    pub const MAINTENANCE: Self = Self::between(12_000, 5_000, 30_000);
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
    pub const ETCD_PULL: Self = Self::between(5_000, 2_000, 30_000);
    /// The first pull of the kubelet's image. The reference has no row of its own;
    /// an image of that size takes the row of etcd's.
    pub const KUBELET_PULL: Self = Self::ETCD_PULL;
    /// From `Bootstrap` to a healthy etcd: started after a second (issue 8955), the
    /// first health check after five (Talos' code).
    pub const BOOTSTRAP: Self = Self::seconds(12, 12);
    /// A further control plane joins: learner, then steps of 15 s (Talos' code); 15
    /// to 45 s each, one after the other.
    pub const JOIN: Self = Self::between(20_000, 15_000, 45_000);
    /// From a healthy etcd to a ready kube-apiserver, images to be pulled. Belief.
    pub const API_SERVER_FIRST: Self = Self::seconds(40, 40);
    /// The same with the images at hand. Belief.
    pub const API_SERVER_CACHED: Self = Self::seconds(15, 15);
    /// A read of the Talos API: a round trip in the house. No source: taken as
    /// Proxmox VE's cached GET.
    pub const TALOS_READ: Self = Self::GET_CACHED;
    /// A write of the Talos API other than a configuration. No source: a guess.
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

    /// From a serving API to a registered node, for a kubelet that is up; for one
    /// that comes later, from its start. B.
    pub const NODE_REGISTERED: Self = Self::between(5_000, 2_000, 15_000);
    /// From a registered node to flannel's ready pod on it, pulls included. B. On a
    /// node that has its images, it is the start and the readiness of a container.
    pub const CNI_READY: Self = Self::between(12_000, 6_000, 30_000);
    /// From flannel's ready pod to a node that reports itself Ready. B.
    pub const NODE_READY: Self = Self::between(2_000, 1_000, 5_000);
    /// From flannel's ready pod to the available CoreDNS. B. By these bounds it is
    /// always there before a controller of Flux can be, so nothing of Flux' own
    /// waits for a name.
    pub const COREDNS_AVAILABLE: Self = Self::between(6_000, 3_000, 15_000);
    /// A request to the API server, whatever it asks. B.
    pub const API_SERVER_REQUEST: Self = Self::between(4, 1, 50);
    /// A request to the Git server. No source: taken as the API server's row.
    pub const GIT_REQUEST: Self = Self::API_SERVER_REQUEST;
    /// A request to Infisical. No source: taken as the API server's row.
    pub const INFISICAL_REQUEST: Self = Self::API_SERVER_REQUEST;
    /// A page out of a small web server's memory. No source: taken as the API
    /// server's row.
    pub const PAGE_REQUEST: Self = Self::API_SERVER_REQUEST;
    /// The first pull of a controller's image on a node; a second one costs
    /// nothing (0 s cached). B.
    pub const IMAGE_PULL: Self = Self::between(6_000, 3_000, 30_000);
    /// From a made container to a running one. B.
    pub const CONTAINER_START: Self = Self::between(1_000, 500, 5_000);
    /// From a running container to a ready one, without the delay of a probe. B.
    pub const CONTAINER_READY: Self = Self::between(1_000, 500, 5_000);
    /// From the apply of Flux to its four ready Deployments, pulls included: the
    /// four are drawn once. B.
    pub const FLUX_READY: Self = Self::between(20_000, 15_000, 40_000);
    /// The first fetch of a Git repository by Flux. B.
    pub const GIT_FETCH: Self = Self::between(2_000, 1_000, 10_000);
    /// external-secrets' Deployments, from apply to ready, pulls included: all of
    /// them are drawn once. B.
    pub const EXTERNAL_SECRETS_READY: Self = Self::between(15_000, 8_000, 40_000);
    /// A secret store of external-secrets, from made to valid. B, without a spread.
    pub const SECRET_STORE_VALID: Self = Self::seconds(2, 2);
    /// An external secret, from made to synced. B, without a spread.
    pub const EXTERNAL_SECRET_SYNC: Self = Self::seconds(2, 2);
    /// MetalLB's controller and speakers, from apply to ready, pulls included: both
    /// are drawn once. B.
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
    use std::collections::BTreeSet;

    use super::*;
    use crate::draw::Draws;

    /// What is written down of a row, in milliseconds.
    #[derive(Debug)]
    enum Row {
        /// A median and a 95th percentile.
        Percentiles(u64, u64),
        /// A median and the bounds of its spread.
        Between(u64, u64, u64),
        /// One figure, and no spread.
        Exact(u64),
    }

    use Row::{Between, Exact, Percentiles};

    macro_rules! rows {
        ($($name:ident: $row:expr),* $(,)?) => { [$((stringify!($name), Latency::$name, $row)),*] };
    }

    /// The table once more: a change must be meant.
    fn drawn() -> Vec<(&'static str, Latency, Row)> {
        rows![
            GET_CACHED: Percentiles(8, 40),
            GET_PROTECTED: Percentiles(20, 120),
            POST_FORK: Percentiles(60, 300),
            PUT_CONFIG: Percentiles(80, 400),
            RESIZE: Percentiles(80, 400),
            CREATE_EMPTY: Percentiles(1_500, 4_000),
            CREATE_IMPORT: Percentiles(4_000, 20_000),
            START: Percentiles(1_500, 5_000),
            STOP: Percentiles(1_200, 3_000),
            SHUTDOWN: Percentiles(12_000, 45_000),
            DESTROY: Percentiles(1_500, 8_000),
            FIRMWARE_BIOS: Exact(5_000),
            FIRMWARE_UEFI: Exact(10_000),
            MAINTENANCE: Between(12_000, 5_000, 30_000),
            APPLY: Exact(300),
            CONFIGURED_BOOT: Exact(10_000),
            KEXEC: Exact(8_000),
            POWER_CYCLE: Exact(20_000),
            ETCD_PULL: Between(5_000, 2_000, 30_000),
            KUBELET_PULL: Between(5_000, 2_000, 30_000),
            BOOTSTRAP: Exact(12_000),
            JOIN: Between(20_000, 15_000, 45_000),
            API_SERVER_FIRST: Exact(40_000),
            API_SERVER_CACHED: Exact(15_000),
            TALOS_READ: Percentiles(8, 40),
            TALOS_WRITE: Percentiles(40, 200),
            NODE_REGISTERED: Between(5_000, 2_000, 15_000),
            CNI_READY: Between(12_000, 6_000, 30_000),
            NODE_READY: Between(2_000, 1_000, 5_000),
            COREDNS_AVAILABLE: Between(6_000, 3_000, 15_000),
            API_SERVER_REQUEST: Between(4, 1, 50),
            GIT_REQUEST: Between(4, 1, 50),
            INFISICAL_REQUEST: Between(4, 1, 50),
            PAGE_REQUEST: Between(4, 1, 50),
            IMAGE_PULL: Between(6_000, 3_000, 30_000),
            CONTAINER_START: Between(1_000, 500, 5_000),
            CONTAINER_READY: Between(1_000, 500, 5_000),
            FLUX_READY: Between(20_000, 15_000, 40_000),
            GIT_FETCH: Between(2_000, 1_000, 10_000),
            EXTERNAL_SECRETS_READY: Between(15_000, 8_000, 40_000),
            SECRET_STORE_VALID: Exact(2_000),
            EXTERNAL_SECRET_SYNC: Exact(2_000),
            METALLB_READY: Between(8_000, 5_000, 25_000),
            METALLB_WEBHOOK: Between(6_000, 3_000, 15_000),
            LOAD_BALANCER: Between(1_000, 500, 3_000),
            INGRESS_READY: Between(10_000, 5_000, 40_000),
            WEB_POD_READY: Between(8_000, 3_000, 30_000),
        ]
        .into()
    }

    fn exact() -> Vec<(&'static str, Duration, u64)> {
        rows![
            CLOUD_INIT_ISO: 300,
            STORAGE_LOCK_HOLD: 100,
            UNAUTHENTICATED: 3_000,
            BROADCAST: 10_000,
            BROADCAST_LIFE: 300_000,
            VIP: 20_000,
            VIP_HANDED_OVER: 1_000,
            VIP_LOST: 45_000,
            DISCOVERY_TTL: 1_800_000,
            ETCD_JOIN_RETRY: 3_000,
            ETCD_JOIN_TIMEOUT: 1_800_000,
            KUSTOMIZE_BUILD: 1_000,
            KUSTOMIZE_OBJECT: 20,
            HEALTH_POLL: 5_000,
            DEPENDENCY_REQUEUE: 30_000,
        ]
        .into()
    }

    #[test]
    fn every_row_is_the_one_that_was_written_down_and_draws_inside_its_bounds() {
        for (name, latency, row) in drawn() {
            let draws: Vec<u64> = (0..2_000)
                .map(|seed| Draws::new(seed).duration(latency, name, "a row", 0))
                .map(|duration| u64::try_from(duration.as_micros()).unwrap())
                .collect();
            let (shortest, longest) = (*draws.iter().min().unwrap(), *draws.iter().max().unwrap());
            let (p50, p95) = (latency.p50.as_millis() as u64, latency.p95.as_millis() as u64);
            match row {
                Percentiles(median, tail) => assert_eq!((p50, p95, latency.bounds), (median, tail, None), "{name}"),
                Between(median, low, high) => {
                    assert_eq!(p50, median, "{name}");
                    assert!(shortest >= low * 1_000 && longest <= high * 1_000, "{name}: {shortest} to {longest} us");
                    let below = draws.iter().filter(|us| **us < median * 1_000).count();
                    assert!((850..1_150).contains(&below), "{name}: {below} of 2000 are below the median");
                }
                Exact(only) => assert_eq!((shortest, longest), (only * 1_000, only * 1_000), "{name}"),
            }
        }
        for (name, duration, millis) in exact() {
            assert_eq!(duration, Duration::from_millis(millis), "{name}");
        }
    }

    #[test]
    fn no_row_is_left_out() {
        let declared = include_str!("latency.rs").lines().filter_map(|line| {
            let (name, rest) = line.trim().strip_prefix("pub const ")?.split_once(": ")?;
            (!name.contains("fn ") && rest.contains('=') && name != "ZERO").then_some(name)
        });
        let held = drawn().into_iter().map(|(name, ..)| name).chain(exact().into_iter().map(|(name, ..)| name));
        assert_eq!(declared.collect::<BTreeSet<_>>(), held.collect::<BTreeSet<_>>());
    }

    /// Flux asks for names of the cluster from its first fetch on, and nothing in
    /// the model lets it wait for CoreDNS.
    #[test]
    fn coredns_is_there_before_any_controller_of_flux() {
        let bounds = |latency: Latency| latency.bounds.expect("the row has bounds");
        let flux_earliest = bounds(Latency::NODE_READY).0 + bounds(Latency::FLUX_READY).0;
        assert!(bounds(Latency::COREDNS_AVAILABLE).1 <= flux_earliest);
    }
}
