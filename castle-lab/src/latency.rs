//! How long things take: one table, every row with its source.

use std::time::Duration;

/// The spread of a duration: its median and its 95th percentile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// The median.
    pub p50: Duration,
    /// The 95th percentile.
    pub p95: Duration,
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

    /// A latency of so many milliseconds.
    #[must_use]
    pub const fn millis(p50: u64, p95: u64) -> Self {
        Self { p50: Duration::from_millis(p50), p95: Duration::from_millis(p95) }
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
        assert_eq!(Latency::UNAUTHENTICATED.as_secs(), 3);
        assert_eq!(Latency::BROADCAST.as_secs(), 10);
        assert_eq!(Latency::CLOUD_INIT_ISO.as_millis(), 300);
    }
}
