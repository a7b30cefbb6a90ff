//! Random durations, so that clients that failed together do not return together.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// A random time from half of `time` to `time`.
pub(crate) fn jittered(time: Duration) -> Duration {
    // The standard library's source of randomness: each state has its own key.
    let random = RandomState::new().build_hasher().finish();
    time.mul_f64(0.5 + 0.5 * (random as f64 / u64::MAX as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_differ_within_bounds() {
        let times: Vec<Duration> = (0..50).map(|_| jittered(Duration::from_secs(1))).collect();
        assert!(times.iter().all(|time| (Duration::from_millis(500)..=Duration::from_secs(1)).contains(time)));
        assert!(times.iter().any(|time| *time != times[0]));
    }
}
