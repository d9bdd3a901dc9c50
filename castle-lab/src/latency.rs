//! How long things take.
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
    pub const ZERO: Self = Self { p50: Duration::ZERO, p95: Duration::ZERO };
}
