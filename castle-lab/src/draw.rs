//! Chance that does not depend on the order of arrival.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::latency::Latency;

/// Draws keyed by what they are for.
///
/// The n-th draw for one entity and one act is `hash(seed, entity, act, nth)`.
/// A client that reorders its requests therefore changes nothing else, and two
/// runs can be compared request by request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws {
    seed: u64,
}

impl Draws {
    /// The draws of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The seed they follow from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A number strictly between 0 and 1.
    #[must_use]
    pub fn unit(&self, entity: &str, act: &str, nth: u64) -> f64 {
        let mut hash = Sha256::new();
        hash.update(b"castle-lab draw");
        hash.update(self.seed.to_be_bytes());
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        hash.update((entity.len() as u64).to_be_bytes());
        hash.update(entity.as_bytes());
        hash.update((act.len() as u64).to_be_bytes());
        hash.update(act.as_bytes());
        hash.update(nth.to_be_bytes());
        let digest = hash.finalize();
        let mut head = [0; 8];
        head.copy_from_slice(&digest[..8]);
        // 52 bits and a half: both ends stay open, every value is exact in a double.
        ((u64::from_be_bytes(head) >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// 32 hexadecimal digits for a generated name or secret, by what it is for.
    #[must_use]
    pub fn digits(&self, what: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(b"castle-lab digits");
        hash.update(self.seed.to_be_bytes());
        hash.update(what.as_bytes());
        hex::encode(&hash.finalize()[..16])
    }

    /// A duration of the log-normal distribution that has the latency's median
    /// and 95th percentile, kept within the latency's bounds.
    #[must_use]
    pub fn duration(&self, latency: Latency, entity: &str, act: &str, nth: u64) -> Duration {
        let (p50, p95) = (latency.p50.as_secs_f64(), latency.p95.as_secs_f64());
        if p50 <= 0.0 {
            return Duration::ZERO;
        }
        // The 95th percentile of the standard normal distribution.
        const Z95: f64 = 1.644_853_626_951_472_7;
        let spread = (p95.max(p50) / p50).ln() / Z95;
        let drawn = p50 * (spread * normal_quantile(self.unit(entity, act, nth))).exp();
        let (low, high) = match latency.bounds {
            Some((low, high)) => (low.as_secs_f64(), high.as_secs_f64()),
            None => (p50 / 3.0, p95.max(p50) * 1.5),
        };
        // Whole microseconds, so that a platform's last bit of `exp` cannot move a digest.
        let micros = (drawn.clamp(low, high) * 1e6).round();
        Duration::from_micros(micros as u64)
    }
}

/// The inverse of the standard normal distribution function, by Acklam's
/// rational approximation (relative error below 1.2e-9).
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416];
    const LOW: f64 = 0.024_25;
    let tail = |q: f64| {
        (((((C[0] * q + C[1]) * q + C[2]) * q + C[3]) * q + C[4]) * q + C[5])
            / ((((D[0] * q + D[1]) * q + D[2]) * q + D[3]) * q + 1.0)
    };
    if p < LOW {
        tail((-2.0 * p.ln()).sqrt())
    } else if p > 1.0 - LOW {
        -tail((-2.0 * (1.0 - p).ln()).sqrt())
    } else {
        let q = p - 0.5;
        let r = q * q;
        (((((A[0] * r + A[1]) * r + A[2]) * r + A[3]) * r + A[4]) * r + A[5]) * q
            / (((((B[0] * r + B[1]) * r + B[2]) * r + B[3]) * r + B[4]) * r + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_does_not_depend_on_the_draws_before_it() {
        let draws = Draws::new(7);
        let alone = draws.unit("421", "POST qemu", 3);
        for nth in 0..3 {
            let _ = draws.unit("431", "POST qemu", nth);
        }
        assert_eq!(draws.unit("421", "POST qemu", 3), alone);
        assert_ne!(draws.unit("431", "POST qemu", 3), alone);
        assert_ne!(Draws::new(8).unit("421", "POST qemu", 3), alone);
        assert_ne!(draws.unit("42", "1POST qemu", 3), alone);
    }

    #[test]
    fn durations_have_the_median_and_the_tail_that_were_asked() {
        let latency = Latency::millis(400, 900);
        let draws = Draws::new(1);
        let mut drawn: Vec<_> = (0..20_000).map(|nth| draws.duration(latency, "pve", "GET version", nth)).collect();
        drawn.sort();
        let at = |share: f64| drawn[(drawn.len() as f64 * share) as usize].as_secs_f64();
        assert!((at(0.5) - 0.4).abs() < 0.01, "median {}", at(0.5));
        assert!((at(0.95) - 0.9).abs() < 0.03, "95th percentile {}", at(0.95));
        assert!(drawn[0] >= Duration::from_micros(133_333), "shortest {:?}", drawn[0]);
        assert!(drawn[drawn.len() - 1] <= Duration::from_millis(1350), "longest {:?}", drawn[drawn.len() - 1]);
    }

    #[test]
    fn no_latency_draws_nothing() {
        assert_eq!(Draws::new(1).duration(Latency::ZERO, "pve", "GET version", 0), Duration::ZERO);
    }
}
