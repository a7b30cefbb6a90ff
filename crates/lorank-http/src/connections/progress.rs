//! What a connection is at, and until when it may be at that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::waiting::{Place, Waiting};
use super::{ConnectionLimits, End};

/// What a connection is at: its stream, its requests and its answers tell, and its guard asks. Clones are one connection's.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    waiting: Arc<Waiting>,
    has_to_go: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Since when the client has taken nothing of what is written to it, if that is so.
    write_blocked_since: Option<Instant>,
    /// The place among those that wait for their clients.
    place: Option<Place>,
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

impl Progress {
    pub fn new(waiting: Arc<Waiting>) -> Self {
        let state = State { phase: Phase::Idle, since: Instant::now(), write_blocked_since: None, place: None };
        let progress = Self(Arc::new(Inner { state: Mutex::new(state), waiting, has_to_go: Arc::default() }));
        progress.wait_for_client(&mut progress.lock());
        progress
    }

    /// Something came from the client.
    pub fn has_read(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Idle {
            state.enter(Phase::Head);
        }
    }

    /// The head of a request is complete.
    pub fn request(&self, has_body: bool) {
        let mut state = self.lock();
        state.enter(if has_body { Phase::Body } else { Phase::Answer });
        if !has_body {
            self.leave(&mut state);
        }
    }

    /// Its body is complete, or nobody wants the rest of it.
    pub fn body_is_over(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Body {
            state.enter(Phase::Answer);
            self.leave(&mut state);
        }
    }

    /// Nothing more will be handed over of the answer.
    pub fn answer_is_over(&self) {
        let mut state = self.lock();
        state.enter(Phase::Rest);
        self.leave(&mut state);
    }

    /// All that was handed over is on its way.
    pub fn has_flushed(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Rest {
            state.enter(Phase::Idle);
            self.wait_for_client(&mut state);
        }
    }

    /// Whether the client took something of what is written to it.
    pub fn has_written(&self, is_taken: bool) {
        let mut state = self.lock();
        state.write_blocked_since =
            if is_taken { None } else { state.write_blocked_since.or_else(|| Some(Instant::now())) };
    }

    /// When the connection has to end, and why, if it stays at what it is at.
    pub fn deadline(&self, limits: &ConnectionLimits) -> Option<(Instant, End)> {
        let state = self.lock();
        if let Some(since) = state.write_blocked_since {
            return Some((since + limits.write, End::SlowWrite));
        }
        match state.phase {
            Phase::Idle => Some((state.since + limits.keep_alive, End::Idle)),
            Phase::Head => Some((state.since + limits.header_read, End::SlowHead)),
            // A slow body is answered by the route, and how long an answer takes is its own affair.
            Phase::Body | Phase::Answer | Phase::Rest => None,
        }
    }

    /// Done when another connection needs the place.
    pub async fn has_to_go(&self) {
        self.0.has_to_go.notified().await;
    }

    /// The connection is over.
    pub fn end(&self) {
        self.leave(&mut self.lock());
    }

    fn wait_for_client(&self, state: &mut State) {
        state.place = Some(self.0.waiting.enter(self.0.has_to_go.clone()));
    }

    fn leave(&self, state: &mut State) {
        if let Some(place) = state.place.take() {
            self.0.waiting.leave(place);
        }
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

    /// What is told to a connection, the end that it faces then, and whether it waits for its client.
    #[test]
    fn patience_is_for_what_the_client_has_to_do() {
        let (limits, waiting) = (ConnectionLimits::default(), Arc::new(Waiting::default()));
        let progress = Progress::new(waiting.clone());
        let check = |told: &str, end: Option<End>, waits: bool| {
            let found = progress.deadline(&limits).map(|(_, end)| end);
            assert_eq!((found, !waiting.is_empty()), (end, waits), "{told}");
        };
        check("new", Some(End::Idle), true);
        progress.has_flushed();
        check("nothing was to be flushed", Some(End::Idle), true);
        progress.has_read();
        check("a first byte", Some(End::SlowHead), true);
        progress.request(true);
        progress.has_read();
        check("a head, and the beginning of a body", None, true);
        progress.body_is_over();
        progress.has_flushed();
        check("the body", None, false);
        progress.answer_is_over();
        check("an answer", None, false);
        progress.has_written(false);
        check("it is not taken", Some(End::SlowWrite), false);
        progress.has_written(true);
        progress.has_flushed();
        check("it is taken", Some(End::Idle), true);
        progress.has_read();
        progress.request(false);
        check("a request without a body", None, false);
        progress.answer_is_over();
        progress.has_flushed();
        progress.end();
        check("the end", Some(End::Idle), false);
    }
}
