//! How far a request has come, as its caller and the model's thread both see it.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use tracing::Span;

/// When the first batch with one of a request's pairs began. It also holds the span of the stage that the request is at: first it
/// waits in the queue, then the model has it. The caller holds it while it waits, so that no stage outlasts the wait.
pub(super) struct Began {
    at: OnceLock<Instant>,
    caller: Span,
    stage: Mutex<Span>,
}

impl Began {
    /// That of a request which the current span's code waits for.
    pub(super) fn not_yet(n_pairs: usize) -> Self {
        let caller = Span::current();
        let queue = tracing::info_span!(parent: &caller, "queue", n_pairs);
        Self { at: OnceLock::new(), caller, stage: Mutex::new(queue) }
    }

    /// A batch begins. Only the first one counts.
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
