//! Why connections ended, counted for those who watch over the service.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
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

impl End {
    pub const ALL: [Self; 5] = [Self::Closed, Self::Idle, Self::SlowHead, Self::SlowWrite, Self::MadeRoom];

    /// The reason as one word.
    pub fn reason(self) -> &'static str {
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
pub(crate) struct Counts {
    n_open: AtomicUsize,
    n_ended: [AtomicU64; End::ALL.len()],
}

impl Counts {
    pub fn n_open(&self) -> usize {
        self.n_open.load(Ordering::Relaxed)
    }

    pub fn n_ended(&self, end: End) -> u64 {
        self.n_ended[end as usize].load(Ordering::Relaxed)
    }

    pub fn ended(&self, end: End) {
        self.n_ended[end as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection as open until it is dropped.
    pub fn open(&self) -> Open<'_> {
        self.n_open.fetch_add(1, Ordering::Relaxed);
        Open(self)
    }
}

pub(crate) struct Open<'a>(&'a Counts);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.n_open.fetch_sub(1, Ordering::Relaxed);
    }
}
