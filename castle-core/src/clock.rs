//! Time and chance, injected. The only module of the libraries that may ask
//! tokio for either.
#![allow(clippy::disallowed_methods)]

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// How fast the clock runs against the machine's own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// tokio's paused clock: time jumps to the next timer when nothing is left
    /// to do. Needs a current-thread runtime that was started paused.
    Virtual,
    /// One second here is one second there.
    Real,
    /// `60x`: one real second is a minute here. Made by [`Pace::scaled`].
    Scaled(Factor),
}

/// How many seconds of castle's time pass in one of the machine's own: 0.001 to
/// 100000. Beyond, durations no longer fit into a clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factor(f64);

impl Factor {
    const LEAST: f64 = 0.001;
    const MOST: f64 = 100_000.0;

    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Pace {
    /// A clock that runs `factor` times as fast as the machine's own.
    ///
    /// ```
    /// use castle_core::Pace;
    ///
    /// assert_eq!(Pace::scaled(60.0).unwrap(), "60x".parse().unwrap());
    /// assert!(Pace::scaled(1e30).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::InvalidSpec`] unless it is a number from 0.001 to 100000.
    pub fn scaled(factor: f64) -> crate::Result<Self> {
        if (Factor::LEAST..=Factor::MOST).contains(&factor) {
            Ok(Self::Scaled(Factor(factor)))
        } else {
            Err(unknown_pace(&format!("pace `{factor:?}` is out of range")))
        }
    }

    fn factor(self) -> f64 {
        match self {
            Self::Virtual | Self::Real => 1.0,
            Self::Scaled(factor) => factor.get(),
        }
    }

    /// How long `duration` of castle's time is on the wall clock.
    #[must_use]
    pub fn on_the_wall(self, duration: Duration) -> Duration {
        match self {
            // Exactly: two runs of one seed agree in every byte.
            Self::Virtual | Self::Real => duration,
            Self::Scaled(factor) => duration.div_f64(factor.get()),
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Virtual => f.write_str("virtual"),
            Self::Real => f.write_str("real"),
            Self::Scaled(factor) => write!(f, "{}x", factor.get()),
        }
    }
}

impl std::str::FromStr for Pace {
    type Err = crate::Error;

    /// Reads `virtual`, `real`, `60x` or `60`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "virtual" => Ok(Self::Virtual),
            "real" => Ok(Self::Real),
            other => {
                let told = |what: &str| unknown_pace(&format!("pace `{}` {what}", crate::value::shown(other)));
                let factor = other.strip_suffix('x').unwrap_or(other).parse().map_err(|_| told("is not known"))?;
                Self::scaled(factor).map_err(|_| told("is out of range"))
            }
        }
    }
}

fn unknown_pace(told: &str) -> crate::Error {
    crate::Error::new(crate::ErrorKind::InvalidSpec, told)
        .hint("use `virtual`, `real`, or a factor from `0.001x` to `100000x` such as `60x`")
}

/// The clock that everything in castle reads and waits on.
///
/// Durations are in castle's time: on a clock of pace `60x`, `sleep` of a
/// minute takes one real second and [`Clock::elapsed`] says a minute. Clones
/// share their origin.
///
/// Make it inside the runtime that will wait on it: a paused runtime has a time
/// of its own.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use castle_core::clock::{Clock, Pace};
/// use std::time::Duration;
///
/// let clock = Clock::new(Pace::Virtual);
/// clock.sleep(Duration::from_secs(600)).await; // takes no time at all
/// assert!(clock.elapsed() >= Duration::from_secs(600));
/// # });
/// ```
#[derive(Clone)]
pub struct Clock {
    pace: Pace,
    origin: Instant,
    offset: Duration,
    wall: SystemTime,
}

impl Clock {
    /// A clock that begins now, at zero.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self::resumed(pace, Duration::ZERO, SystemTime::now())
    }

    /// A clock that begins now at `offset`, and whose wall showed `wall` at zero.
    ///
    /// A lab that carries its world into a fresh runtime goes on with the
    /// world's time.
    #[must_use]
    pub fn resumed(pace: Pace, offset: Duration, wall: SystemTime) -> Self {
        Self { pace, origin: Instant::now(), offset, wall }
    }

    /// How fast it runs.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// The time since the origin, in castle's time.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.offset + self.origin.elapsed().mul_f64(self.pace.factor())
    }

    /// The wall clock, which certificates and leases are judged by: the wall
    /// time of the origin plus [`Clock::elapsed`], at whose pace only virtual
    /// time moves it. At a scaled pace it stays the machine's own: processes that
    /// began at different times, and foreign clients, judge the same certificates.
    #[must_use]
    pub fn wall(&self) -> SystemTime {
        self.wall + self.pace.on_the_wall(self.elapsed())
    }

    /// Waits for `duration` of castle's time. For adapters that must poll and for
    /// the lab; everything else awaits a condition.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration.div_f64(self.pace.factor())).await;
    }

    /// Waits until [`Clock::elapsed`] has reached `at`.
    pub async fn sleep_until(&self, at: Duration) {
        let now = self.elapsed();
        if at > now {
            self.sleep(at - now).await;
        }
    }

    /// Runs `future` for at most `limit` of castle's time. `None`: it took longer
    /// and was dropped.
    pub async fn within<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        tokio::time::timeout(limit.div_f64(self.pace.factor()), future).await.ok()
    }

    /// Runs `future` for at most `limit` of the machine's own time, whatever the
    /// pace. Protocol timers (a handshake, an idle socket) are real: the peer's
    /// kernel does not know our pace.
    pub async fn within_real<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        tokio::time::timeout(limit, future).await.ok()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("pace", &self.pace).field("elapsed", &self.elapsed()).finish()
    }
}

/// A source of random bytes.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's random bytes. For real clusters.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    /// # Panics
    ///
    /// If the operating system has no random bytes to give: no secret could be
    /// made safely after that.
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// Bytes that follow from a seed. For labs and tests: the same seed makes the
/// same cluster ids, so two runs can be compared byte for byte.
#[derive(Debug)]
pub struct SeededEntropy {
    seed: u64,
    counter: Mutex<u64>,
}

impl SeededEntropy {
    /// A stream of bytes for `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, counter: Mutex::new(0) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut counter = self.counter.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(32) {
            let mut hash = Sha256::new();
            hash.update(b"castle entropy");
            hash.update(self.seed.to_be_bytes());
            hash.update(counter.to_be_bytes());
            *counter += 1;
            chunk.copy_from_slice(&hash.finalize()[..chunk.len()]);
        }
    }
}

/// What the outside gives to every part of castle: time and chance.
#[derive(Debug, Clone)]
pub struct Env {
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
}

impl Env {
    /// Real time and the operating system's random bytes.
    #[must_use]
    pub fn real() -> Self {
        Self { clock: Clock::new(Pace::Real), entropy: Arc::new(OsEntropy) }
    }

    /// 32 random bytes.
    #[must_use]
    pub fn random32(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.entropy.fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_scaled_clock_counts_its_own_time() {
        let clock = Clock::new(Pace::scaled(60.0).expect("a pace"));
        let (real, _) = (Instant::now(), clock.sleep(Duration::from_secs(60)).await);
        assert_eq!(real.elapsed().as_secs(), 1);
        assert!(clock.elapsed() >= Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn processes_of_a_scaled_world_agree_on_the_wall_s_time() {
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let pace = Pace::scaled(600.0).expect("a pace");
        let lab = Clock::resumed(pace, Duration::ZERO, began);
        lab.sleep(Duration::from_secs(6000)).await;
        let late = Clock::resumed(pace, Duration::ZERO, began + Duration::from_secs(10));
        let apart = lab.wall().duration_since(late.wall()).expect("the lab is the older one");
        assert!(apart < Duration::from_millis(100), "{apart:?}");
        let alone = Clock::resumed(Pace::Virtual, Duration::ZERO, began);
        alone.sleep(Duration::from_secs(6000)).await;
        assert_eq!(alone.wall(), began + alone.elapsed(), "nobody else looks at virtual time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_in_the_clock_s_time() {
        let clock = Clock::new(Pace::Virtual);
        assert_eq!(clock.within(Duration::from_secs(5), std::future::pending::<()>()).await, None);
        assert_eq!(clock.elapsed().as_secs(), 5);
        assert_eq!(clock.within(Duration::from_secs(5), async { 7 }).await, Some(7));
    }

    #[test]
    fn seeded_bytes_repeat_and_go_on() {
        let (one, two) = (SeededEntropy::new(7), SeededEntropy::new(7));
        let (mut a, mut b, mut c) = ([0; 40], [0; 40], [0; 40]);
        one.fill(&mut a);
        two.fill(&mut b);
        two.fill(&mut c);
        assert_eq!(a, b);
        assert_ne!(b, c);
    }

    #[test]
    fn a_pace_reads_as_it_prints() {
        for pace in ["virtual", "real", "60x", "0.5x", "0.001x", "100000x"] {
            assert_eq!(pace.parse::<Pace>().expect("its own print").to_string(), pace);
        }
    }

    /// A clock of such a pace would panic at its first wait.
    #[test]
    fn a_pace_that_no_clock_can_keep_is_refused_with_the_way_out() {
        for (text, told) in [
            ("fast", "pace `fast` is not known"),
            ("-3x", "pace `-3x` is out of range"),
            ("0x", "pace `0x` is out of range"),
            ("NaNx", "pace `NaNx` is out of range"),
            ("1e-300x", "pace `1e-300x` is out of range"),
            ("1e+30", "pace `1e+30` is out of range"),
            ("100001x", "pace `100001x` is out of range"),
            ("infx", "pace `infx` is out of range"),
        ] {
            let error = text.parse::<Pace>().expect_err(text);
            assert_eq!(error.to_string(), told);
            assert!(error.advice().is_some_and(|hint| hint.contains("`0.001x` to `100000x`")), "{error:?}");
        }
        assert!(Pace::scaled(1e30).is_err() && Pace::scaled(1e-300).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_and_the_fastest_clock_wait_as_long_as_any_deadline() {
        for factor in [0.001, 100_000.0] {
            let clock = Clock::new(Pace::scaled(factor).expect("a pace"));
            let day = Duration::from_secs(24 * 3600);
            clock.sleep(day).await;
            assert!(clock.elapsed() >= day - Duration::from_millis(1), "{:?}", clock.elapsed());
            assert_eq!(clock.within(day, std::future::pending::<()>()).await, None);
        }
    }
}
