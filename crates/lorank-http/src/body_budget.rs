//! The limit on the total bytes of the bodies of all requests in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of bytes held by bodies. Each call has the limit as an argument, because it can change at run time.
#[derive(Debug, Default)]
pub(crate) struct BodyBudget(AtomicUsize);

impl BodyBudget {
    /// The counted bytes.
    pub(crate) fn n_bytes(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    fn take(&self, n_bytes: usize, bytes_max: usize) -> bool {
        let more = |held: usize| held.checked_add(n_bytes).filter(|held| *held <= bytes_max);
        n_bytes == 0 || self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }
}

/// The bytes of one request's body, until it is dropped.
#[derive(Debug)]
pub(crate) struct BodyShare {
    budget: Arc<BodyBudget>,
    /// The number of bytes at the start of each body that are not counted.
    bytes_free: usize,
    n_read: AtomicUsize,
    n_held: AtomicUsize,
}

impl BodyShare {
    /// A share without bytes.
    pub(crate) fn new(budget: Arc<BodyBudget>, bytes_free: usize) -> Self {
        Self { budget, bytes_free, n_read: AtomicUsize::new(0), n_held: AtomicUsize::new(0) }
    }

    /// Whether a body of this length would fit now. Reserves nothing.
    pub(crate) fn has_room(&self, n_bytes: usize, bytes_max: usize) -> bool {
        let n_counted = n_bytes.saturating_sub(self.bytes_free);
        n_counted == 0 || self.budget.n_bytes().saturating_add(n_counted) <= bytes_max
    }

    /// Counts a chunk that was read. Returns false, without counting it, if all bodies together would exceed `bytes_max`.
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
