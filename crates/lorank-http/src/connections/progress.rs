//! The phase that a connection is in, and its deadline in that phase.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::open_connections::{BODY_GRACE, ConnectionId, OpenConnections, REQUEST_GRACE};
use super::{CloseReason, ConnectionLimits};

/// The phase of one connection: set by its stream, its requests and its answers, read by [`serve_connection`]. Clones share it.
///
/// [`serve_connection`]: super::connection::serve_connection
#[derive(Debug, Clone)]
pub(super) struct ConnectionProgress(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    open: Arc<OpenConnections>,
    id: ConnectionId,
    close_request: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Since when the client has taken nothing of what is written to it, if that is so.
    write_blocked_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No request has begun.
    Idle,
    /// A part of a request's head is there.
    Head,
    /// A handler has the request, and not yet all of its body.
    Body,
    /// A handler has the whole request.
    Answer,
    /// The answer is handed over, and not yet all on its way.
    Rest,
}

impl ConnectionProgress {
    pub(super) fn new(open: Arc<OpenConnections>) -> Self {
        let state = State { phase: Phase::Idle, since: Instant::now(), write_blocked_since: None };
        let close_request = Arc::<Notify>::default();
        let id = open.open(close_request.clone());
        Self(Arc::new(Inner { state: Mutex::new(state), open, id, close_request }))
    }

    /// Something came from the client.
    pub(super) fn has_read(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Idle {
            state.enter(Phase::Head);
        }
    }

    /// The head of a request is complete.
    pub(super) fn request(&self, has_body: bool) {
        let mut state = self.lock();
        state.enter(if has_body { Phase::Body } else { Phase::Answer });
        match has_body {
            true => self.0.open.waits(self.0.id, BODY_GRACE),
            false => self.0.open.is_answered(self.0.id),
        }
    }

    /// Its body is complete, or nobody wants the rest of it.
    pub(super) fn body_is_over(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Body {
            state.enter(Phase::Answer);
            self.0.open.is_answered(self.0.id);
        }
    }

    /// Nothing more will be handed over of the answer.
    pub(super) fn answer_is_over(&self) {
        let mut state = self.lock();
        state.enter(Phase::Rest);
        self.0.open.is_answered(self.0.id);
    }

    /// All that was handed over is on its way.
    pub(super) fn has_flushed(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Rest {
            state.enter(Phase::Idle);
            self.0.open.waits(self.0.id, REQUEST_GRACE);
        }
    }

    /// Whether the client took something of what is written to it.
    pub(super) fn has_written(&self, is_taken: bool) {
        let mut state = self.lock();
        state.write_blocked_since =
            if is_taken { None } else { state.write_blocked_since.or_else(|| Some(Instant::now())) };
    }

    /// When the connection has to close, and why, if its phase does not change.
    pub(super) fn deadline(&self, limits: &ConnectionLimits) -> Option<(Instant, CloseReason)> {
        let state = self.lock();
        if let Some(since) = state.write_blocked_since {
            return Some((since + limits.write, CloseReason::SlowWrite));
        }
        match state.phase {
            Phase::Idle => Some((state.since + limits.keep_alive, CloseReason::Idle)),
            Phase::Head => Some((state.since + limits.header_read, CloseReason::SlowHead)),
            // A slow body is answered by the route, and how long an answer takes is its own affair.
            Phase::Body | Phase::Answer | Phase::Rest => None,
        }
    }

    /// Returns when the connection has to make room for a new one.
    pub(super) async fn close_requested(&self) {
        self.0.close_request.notified().await;
    }

    /// Whether the connection waits for its client, and not the client for it.
    pub(super) fn waits_for_client(&self) -> bool {
        matches!(self.lock().phase, Phase::Idle | Phase::Head | Phase::Body)
    }

    /// The connection is over.
    pub(super) fn end(&self) {
        self.0.open.close(self.0.id);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, phase: Phase) {
        (self.phase, self.since) = (phase, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event, the reason for which the connection may then close, and whether it waits for its client.
    #[test]
    fn patience_is_for_what_the_client_has_to_do() {
        let (limits, open) = (ConnectionLimits::default(), Arc::new(OpenConnections::default()));
        let progress = ConnectionProgress::new(open.clone());
        let check = |event: &str, reason: Option<CloseReason>, waits: bool| {
            let found = progress.deadline(&limits).map(|(_, reason)| reason);
            assert_eq!((found, open.closable_at().is_some()), (reason, waits), "{event}");
        };
        check("new", Some(CloseReason::Idle), true);
        progress.has_flushed();
        check("nothing was to be flushed", Some(CloseReason::Idle), true);
        progress.has_read();
        check("a first byte", Some(CloseReason::SlowHead), true);
        progress.request(true);
        progress.has_read();
        check("a head, and the beginning of a body", None, true);
        progress.body_is_over();
        progress.has_flushed();
        check("the body", None, false);
        progress.answer_is_over();
        check("an answer", None, false);
        progress.has_written(false);
        check("it is not taken", Some(CloseReason::SlowWrite), false);
        progress.has_written(true);
        progress.has_flushed();
        check("it is taken", Some(CloseReason::Idle), true);
        progress.has_read();
        progress.request(false);
        check("a request without a body", None, false);
        progress.answer_is_over();
        progress.has_flushed();
        progress.end();
        check("the end", Some(CloseReason::Idle), false);
    }
}
