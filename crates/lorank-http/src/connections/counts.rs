//! Counts of open connections, and of closed ones by reason, for the metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The reason for which a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The client closed it or violated the protocol.
    Closed,
    /// There was no request in time.
    Idle,
    /// A request head was not complete in time.
    SlowHead,
    /// The client did not read the response in time.
    SlowWrite,
    /// It made room for a new connection.
    MadeRoom,
}

impl CloseReason {
    pub(crate) const ALL: [Self; 5] = [Self::Closed, Self::Idle, Self::SlowHead, Self::SlowWrite, Self::MadeRoom];

    /// The reason as a constant for programs.
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

/// The number of open connections, and of closed ones by reason.
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
