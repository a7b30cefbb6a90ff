//! The phase of a connection, and the deadline in that phase.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::open_connections::{BODY_GRACE, ConnectionId, OpenConnections, REQUEST_GRACE};
use super::{CloseReason, ConnectionLimits};

/// The phase of a connection, set by its stream, requests and responses, and read by [`serve_connection`]. Clones share it.
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
    /// The time since which the client has not read, if it does not.
    write_blocked_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No request has started.
    Idle,
    /// A part of a request head was received.
    Head,
    /// A handler has the request, but its body is incomplete.
    Body,
    /// A handler has the whole request.
    Answer,
    /// The response is complete, but not yet written completely.
    Rest,
}

impl ConnectionProgress {
    pub(super) fn new(open: Arc<OpenConnections>) -> Self {
        let state = State { phase: Phase::Idle, since: Instant::now(), write_blocked_since: None };
        let close_request = Arc::<Notify>::default();
        let id = open.open(close_request.clone());
        Self(Arc::new(Inner { state: Mutex::new(state), open, id, close_request }))
    }

    /// Data was received.
    pub(super) fn has_read(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Idle {
            state.enter(Phase::Head);
        }
    }

    /// A request head is complete.
    pub(super) fn request(&self, has_body: bool) {
        let mut state = self.lock();
        state.enter(if has_body { Phase::Body } else { Phase::Answer });
        match has_body {
            true => self.0.open.waits(self.0.id, BODY_GRACE),
            false => self.0.open.is_answered(self.0.id),
        }
    }

    /// The request body is complete, or its rest is discarded.
    pub(super) fn body_is_over(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Body {
            state.enter(Phase::Answer);
            self.0.open.is_answered(self.0.id);
        }
    }

    /// The response is complete.
    pub(super) fn answer_is_over(&self) {
        let mut state = self.lock();
        state.enter(Phase::Rest);
        self.0.open.is_answered(self.0.id);
    }

    /// Everything was written.
    pub(super) fn has_flushed(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Rest {
            state.enter(Phase::Idle);
            self.0.open.waits(self.0.id, REQUEST_GRACE);
        }
    }

    /// Records whether the client accepted written data.
    pub(super) fn has_written(&self, is_taken: bool) {
        let mut state = self.lock();
        state.write_blocked_since =
            if is_taken { None } else { state.write_blocked_since.or_else(|| Some(Instant::now())) };
    }

    /// The deadline of the current phase, and the reason for closing then.
    pub(super) fn deadline(&self, limits: &ConnectionLimits) -> Option<(Instant, CloseReason)> {
        let state = self.lock();
        if let Some(since) = state.write_blocked_since {
            return Some((since + limits.write, CloseReason::SlowWrite));
        }
        match state.phase {
            Phase::Idle => Some((state.since + limits.keep_alive, CloseReason::Idle)),
            Phase::Head => Some((state.since + limits.header_read, CloseReason::SlowHead)),
            // The route limits the time for a body, and the time for an answer has its own deadline.
            Phase::Body | Phase::Answer | Phase::Rest => None,
        }
    }

    /// Returns when the connection should make room for a new one.
    pub(super) async fn close_requested(&self) {
        self.0.close_request.notified().await;
    }

    /// Whether the connection waits for its client.
    pub(super) fn waits_for_client(&self) -> bool {
        matches!(self.lock().phase, Phase::Idle | Phase::Head | Phase::Body)
    }

    /// The connection has ended.
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
