//! Points in time.

use std::time::{Duration, Instant};

/// The point in time after which an answer comes in first-stage order rather than later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The point `budget` from now; `None` where that lies beyond what the clock can hold, which is as good as never.
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

    /// The time that is left; zero once the deadline has passed.
    pub fn remaining(&self) -> Duration {
        self.remaining_at(Instant::now())
    }

    /// The time that is left at a point in time; zero once the deadline has passed.
    pub fn remaining_at(&self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// Whether the deadline has passed.
    pub fn has_passed(&self) -> bool {
        self.remaining().is_zero()
    }
}
