//! The number of running searches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts running searches. Each call has the limit as an argument, because it can change at run time.
#[derive(Debug, Default)]
pub(crate) struct Admission(AtomicUsize);

/// A running search, until it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted(Arc<Admission>);

impl Admission {
    /// Admits a search unless `n_max` are running.
    pub(crate) fn admit(self: &Arc<Self>, n_max: usize) -> Option<Admitted> {
        let one_more = |n: usize| (n < n_max).then_some(n + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Admitted(self.clone()))
    }

    /// The number of running searches.
    pub(crate) fn n(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_limit_holds_once_enough_are_done() {
        let admission = Arc::new(Admission::default());
        let mut admitted: Vec<Admitted> = (0..3).map_while(|_| admission.admit(2)).collect();
        assert_eq!((admitted.len(), admission.n()), (2, 2));
        assert!(admission.admit(1).is_none());
        admitted.pop();
        assert!(admission.admit(1).is_none());
        admitted.pop();
        assert!(admission.admit(1).is_some());
        assert_eq!(admission.n(), 0);
    }
}
