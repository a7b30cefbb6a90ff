//! What clients may take: connections, and time.

use std::num::NonZeroUsize;
use std::time::Duration;

/// How many connections there may be, and how long each may take for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// How many may be open. A new one then closes that which has waited longest for its client.
    pub n_connections_max: NonZeroUsize,
    /// The time for the head of a request, from its first byte.
    pub header_read: Duration,
    /// The time for a client's first request, and between an answer and the next request.
    pub keep_alive: Duration,
    /// How long a client may take nothing of an answer that is being written to it.
    pub write: Duration,
    /// How long requests under way have at the end, before they are cut off.
    pub shutdown: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            n_connections_max: NonZeroUsize::new(16_384).expect("16,384 is not 0"),
            header_read: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            write: Duration::from_secs(30),
            shutdown: Duration::from_secs(30),
        }
    }
}
