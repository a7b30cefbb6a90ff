//! How many connections are open, and why the others closed: counts for the metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Why a connection closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The client had enough, or broke the rules of HTTP.
    Closed,
    /// No request came in time.
    Idle,
    /// A request's head was not there in time.
    SlowHead,
    /// Nothing of the answer was taken in time.
    SlowWrite,
    /// A new connection took its place.
    MadeRoom,
}

impl CloseReason {
    pub(crate) const ALL: [Self; 5] = [Self::Closed, Self::Idle, Self::SlowHead, Self::SlowWrite, Self::MadeRoom];

    /// The reason as one word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::SlowHead => "slow_head",
            Self::SlowWrite => "slow_write",
            Self::MadeRoom => "made_room",
        }
    }
}

/// How many connections are open, and how many ended why.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounts {
    n_open: AtomicUsize,
    n_ended: [AtomicU64; CloseReason::ALL.len()],
}

impl ConnectionCounts {
    pub(crate) fn n_open(&self) -> usize {
        self.n_open.load(Ordering::Relaxed)
    }

    pub(crate) fn n_ended(&self, reason: CloseReason) -> u64 {
        self.n_ended[reason as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn ended(&self, reason: CloseReason) {
        self.n_ended[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection as open until it is dropped.
    pub(crate) fn open(&self) -> OpenConnection<'_> {
        self.n_open.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self)
    }
}

pub(crate) struct OpenConnection<'a>(&'a ConnectionCounts);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.n_open.fetch_sub(1, Ordering::Relaxed);
    }
}
