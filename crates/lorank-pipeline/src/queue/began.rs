//! The progress of a request, shared by its caller and the model's thread.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use tracing::Span;

/// When the first batch with one of a request's pairs started. Also holds the span of the request's current stage:
/// queued, then running. The caller holds this value while it waits, so that no span outlasts the wait.
pub(super) struct Began {
    at: OnceLock<Instant>,
    caller: Span,
    stage: Mutex<Span>,
}

impl Began {
    /// The value of a request that the current span's code waits for.
    pub(super) fn not_yet(n_pairs: usize) -> Self {
        let caller = Span::current();
        let queue = tracing::info_span!(parent: &caller, "queue", n_pairs);
        Self { at: OnceLock::new(), caller, stage: Mutex::new(queue) }
    }

    /// Records that a batch starts. Only the first call has an effect.
    pub(super) fn set(&self, now: Instant) {
        if self.at.set(now).is_ok() {
            let model = tracing::info_span!(parent: &self.caller, "model");
            *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = model;
        }
    }

    pub(super) fn get(&self) -> Option<Instant> {
        self.at.get().copied()
    }
}
