//! The budget of bytes for the bodies of all requests in flight together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes bodies hold now. The limit comes with each request, since it may change while they are in flight.
#[derive(Debug, Default)]
pub(crate) struct BodyBudget(AtomicUsize);

impl BodyBudget {
    /// The bytes that count now.
    pub(crate) fn n_bytes(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    fn take(&self, n_bytes: usize, bytes_max: usize) -> bool {
        let more = |held: usize| held.checked_add(n_bytes).filter(|held| *held <= bytes_max);
        n_bytes == 0 || self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }
}

/// What the body of one request holds of the budget, until it is dropped.
#[derive(Debug)]
pub(crate) struct BodyShare {
    budget: Arc<BodyBudget>,
    /// The first bytes of each body do not count.
    bytes_free: usize,
    n_read: AtomicUsize,
    n_held: AtomicUsize,
}

impl BodyShare {
    /// A share of no bytes yet.
    pub(crate) fn new(budget: Arc<BodyBudget>, bytes_free: usize) -> Self {
        Self { budget, bytes_free, n_read: AtomicUsize::new(0), n_held: AtomicUsize::new(0) }
    }

    /// Whether a body of this length would find room now. Nothing is taken.
    pub(crate) fn has_room(&self, n_bytes: usize, bytes_max: usize) -> bool {
        let n_counted = n_bytes.saturating_sub(self.bytes_free);
        n_counted == 0 || self.budget.n_bytes().saturating_add(n_counted) <= bytes_max
    }

    /// Counts a chunk that was read; false if all bodies together would hold more than `bytes_max` with it.
    pub(crate) fn take(&self, n_bytes: usize, bytes_max: usize) -> bool {
        let before = self.n_read.fetch_add(n_bytes, Ordering::AcqRel);
        let n_counted = |n_read: usize| n_read.saturating_sub(self.bytes_free);
        let n_more = n_counted(before.saturating_add(n_bytes)) - n_counted(before);
        let is_taken = self.budget.take(n_more, bytes_max);
        if is_taken {
            self.n_held.fetch_add(n_more, Ordering::AcqRel);
        }
        is_taken
    }
}

impl Drop for BodyShare {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(*self.n_held.get_mut(), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_the_budget_and_their_first_bytes_are_free() {
        let budget = Arc::new(BodyBudget::default());
        let share = || BodyShare::new(budget.clone(), 10);
        let (one, other) = (share(), share());
        // The share, the bytes that come, whether they are taken under a limit of 100, and what counts then.
        for (share, n_bytes, is_taken, n_counted) in [
            (&one, 8, true, 0),
            (&one, 8, true, 6),
            (&one, 64, true, 70),
            (&other, 10, true, 70),
            (&other, 31, false, 70),
            (&one, 30, true, 100),
            (&one, 1, false, 100),
            (&one, usize::MAX, false, 100),
        ] {
            assert_eq!((share.take(n_bytes, 100), budget.n_bytes()), (is_taken, n_counted), "{n_bytes} bytes");
        }
        assert!(other.has_room(10, 100) && !other.has_room(11, 100), "all but the first bytes are taken");
        drop(other);
        assert_eq!(budget.n_bytes(), 100, "what was refused was not taken");
        drop(one);
        assert_eq!(budget.n_bytes(), 0);
    }
}
