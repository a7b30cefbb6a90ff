//! Deadlines.

use std::time::{Duration, Instant};

/// A point in time. An answer that is not ready by then comes in first-stage order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline `budget` from now; `None` if that is beyond the range of the clock, which means no deadline.
    pub fn after(budget: Duration) -> Option<Self> {
        Instant::now().checked_add(budget).map(Self)
    }

    /// The deadline at a point in time.
    pub const fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// The point in time.
    pub const fn instant(&self) -> Instant {
        self.0
    }

    /// The remaining time; zero after the deadline.
    pub fn remaining(&self) -> Duration {
        self.remaining_at(Instant::now())
    }

    /// The time remaining at `now`; zero after the deadline.
    pub fn remaining_at(&self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// Whether the deadline has passed.
    pub fn has_passed(&self) -> bool {
        self.remaining().is_zero()
    }
}
