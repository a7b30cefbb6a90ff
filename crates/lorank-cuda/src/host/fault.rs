//! Failures of the host in a GPU's place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::CudaError;

/// Makes a [`Host`](super::Host) fail as a GPU does whose context is broken, for tests. Clones are one switch.
#[derive(Debug, Clone)]
pub struct HostFault {
    /// How many more operations succeed.
    n_left: Arc<AtomicUsize>,
}

/// No fault.
const NEVER: usize = usize::MAX;

impl Default for HostFault {
    /// The host does not fail until [`after`](Self::after) is called.
    fn default() -> Self {
        Self { n_left: Arc::new(AtomicUsize::new(NEVER)) }
    }
}

impl HostFault {
    /// From now on this many operations succeed. All later ones fail, and so do copies and allocations.
    pub fn after(&self, n_operations: usize) {
        self.n_left.store(n_operations, Ordering::Relaxed);
    }

    /// Counts an operation.
    pub(super) fn count(&self) -> Result<(), CudaError> {
        let less = |n| if n == NEVER { Some(NEVER) } else { usize::checked_sub(n, 1) };
        self.n_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map(drop).map_err(|_| broken())
    }

    /// The error of a call that is no operation.
    pub(super) fn check(&self) -> Result<(), CudaError> {
        if self.n_left.load(Ordering::Relaxed) == 0 { Err(broken()) } else { Ok(()) }
    }
}

fn broken() -> CudaError {
    CudaError::Failed { call: "the host in its place", why: "CUDA_ERROR_ILLEGAL_ADDRESS".to_owned() }
}
