//! Limits on connections and on clients' time.

use std::num::NonZeroUsize;
use std::time::Duration;

/// The maximum number of connections, and their timeouts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The maximum number of open connections. A new connection then closes the one that has waited longest for its client.
    pub n_connections_max: NonZeroUsize,
    /// The timeout for a request head, from its first byte.
    pub header_read: Duration,
    /// The timeout for the first request, and between a response and the next request.
    pub keep_alive: Duration,
    /// The timeout for a client that does not read its response.
    pub write: Duration,
    /// The time at shutdown during which requests are still accepted while `/ready` answers with status 503, so that load balancers
    /// choose other servers before this one refuses connections.
    pub drain: Duration,
    /// The time for requests in flight at shutdown, before their connections are closed.
    pub shutdown: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            n_connections_max: NonZeroUsize::new(16_384).expect("16,384 is not 0"),
            header_read: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            write: Duration::from_secs(30),
            drain: Duration::ZERO,
            shutdown: Duration::from_secs(30),
        }
    }
}
