//! A circuit breaker: decides when to use a store that may be slow or gone, given the time.

use std::time::{Duration, Instant};

/// The number of failures in a row after which the store is not used.
const FAILURES_MAX: u32 = 3;

/// The pause before the first new attempt. It doubles with each failed attempt.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// The longest pause: a store that comes back is used again after at most this time.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Closed while the store answers; open after failures in a row, until an attempt succeeds.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    n_failures: u32,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    /// When the store is tried again.
    until: Instant,
    pause: Duration,
}

impl Breaker {
    /// Whether the store is used.
    pub(crate) fn is_closed(&self) -> bool {
        self.open.is_none()
    }

    /// When the store is to be tried again; `None` while it is used.
    pub(crate) fn tried_at(&self) -> Option<Instant> {
        self.open.map(|open| open.until)
    }

    /// The store answered. Returns whether it was not used before.
    pub(crate) fn succeeded(&mut self) -> bool {
        self.n_failures = 0;
        self.open.take().is_some()
    }

    /// A use of the store failed. Returns whether it is not used any more from now on.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        self.n_failures = self.n_failures.saturating_add(1);
        // Calls that began before the breaker opened also fail; only attempts make the pause longer.
        if self.open.is_some() || self.n_failures < FAILURES_MAX {
            return false;
        }
        self.open = Some(Open { until: now + PAUSE_MIN, pause: PAUSE_MIN });
        true
    }

    /// An attempt to reach the store failed. Returns whether it is not used any more from now on.
    pub(crate) fn attempt_failed(&mut self, now: Instant) -> bool {
        let pause = self.open.map_or(PAUSE_MIN, |open| (open.pause * 2).min(PAUSE_MAX));
        self.open.replace(Open { until: now + pause, pause }).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_closes_it() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..2 {
            assert!(!breaker.failed(now));
            assert!(!breaker.failed(now));
            assert!(!breaker.succeeded(), "it was closed, and two failures are forgotten");
        }
        assert_eq!([0, 1, 2].map(|_| breaker.failed(now)), [false, false, true]);
        assert!(!breaker.is_closed());
        assert!(!breaker.failed(now), "it opens once");
        assert!(breaker.succeeded());
        assert!(breaker.is_closed() && breaker.tried_at().is_none());
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        assert!(breaker.attempt_failed(start), "one failed attempt suffices");
        let mut pauses = Vec::new();
        let mut now = start;
        for _ in 0..7 {
            let until = breaker.tried_at().unwrap();
            pauses.push((until - now).as_millis());
            now = until;
            assert!(!breaker.attempt_failed(now));
        }
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        breaker.succeeded();
        breaker.attempt_failed(now);
        assert_eq!(breaker.tried_at(), Some(now + PAUSE_MIN), "a new failure begins with the shortest pause");
    }

    #[test]
    fn calls_that_fail_late_do_not_make_the_pause_longer() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            breaker.failed(now);
        }
        let until = breaker.tried_at();
        for n in 0..10 {
            breaker.failed(now + Duration::from_millis(n));
        }
        assert_eq!(breaker.tried_at(), until);
    }
}
