//! The accept loop, and the limits on connections.
//!
//! Connections use HTTP/1.1, or HTTP/2 from their first byte. hyper serves each connection; hyper-util adapts its streams and
//! services. The loop implements what both lack: a limit on connections that closes the one which has waited longest for its client,
//! timeouts by phase, counts of closed connections by reason, and the number of connections that were cut off at shutdown.
//!
//! An idle connection needs few resources, so many may be open. Each phase has a timeout: sending the head of a request, its body,
//! reading the response, and sending the next request. At the maximum number of connections, a new one replaces the one that has
//! waited longest for its client, so slow clients cannot exclude others. A request that has arrived is always answered: if no
//! connection waits for its client, new connections stay in the system's backlog until a response was sent and its connection closed.

mod bodies;
mod connection;
mod counts;
mod descriptors;
mod drive;
mod http2;
#[cfg(test)]
mod http2_tests;
mod limits;
mod open_connections;
mod progress;
mod stream;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use self::connection::serve_connection;
pub(crate) use self::counts::{CloseReason, ConnectionCounts};
use self::descriptors::DescriptorLimit;
pub use self::limits::ConnectionLimits;
use self::open_connections::{OpenConnections, REQUEST_GRACE};
use self::progress::ConnectionProgress;
use crate::{LiveConfig, open_files};

/// The outcome of [`serve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServeOutcome {
    /// The number of connections that were cut off after the time in [`ConnectionLimits::shutdown`].
    pub n_cut_off: usize,
}

/// Serves until `shutdown` completes. Then `/ready` answers with status 503 for the time in [`ConnectionLimits::drain`], while requests
/// are answered as before and each response closes its connection. After that time the service accepts no more connections, closes
/// idle ones, and returns when all requests in flight are answered or the time for them is over.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: impl Into<LiveConfig>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> ServeOutcome {
    let mut connections = Connections::new(router, config.into());
    let mut shutdown = pin!(shutdown);
    let mut drained_at = None;
    loop {
        let room_at = connections.room_at();
        tokio::select! {
            () = &mut shutdown, if drained_at.is_none() => match connections.drain() {
                Some(at) => drained_at = Some(at),
                None => break,
            },
            () = sleep_until(drained_at.unwrap_or_else(Instant::now)), if drained_at.is_some() => break,
            accepted = listener.accept(), if room_at.is_none() => connections.accepted(accepted).await,
            () = sleep_until(room_at.unwrap_or_else(Instant::now)), if room_at.is_some() => connections.make_room(),
            Some(ended) = connections.tasks.join_next() => {
                log_panic(&ended);
                connections.place_next();
            }
        }
    }
    drop(listener);
    connections.end().await
}

/// The open connections.
struct Connections {
    router: Router,
    config: LiveConfig,
    tasks: JoinSet<()>,
    open: Arc<OpenConnections>,
    /// An accepted connection that waits for room; no other is accepted meanwhile.
    next: Option<Next>,
    descriptors: DescriptorLimit,
    /// True at shutdown, when connections accept no further requests.
    is_ending: watch::Sender<bool>,
}

struct Next {
    stream: TcpStream,
    /// The time at which another connection was last asked to make room, or else of its arrival.
    since: Instant,
    /// Whether another connection was asked to make room.
    has_asked: bool,
}

impl Connections {
    fn new(router: Router, config: LiveConfig) -> Self {
        let (tasks, open) = (JoinSet::new(), Arc::default());
        let (descriptors, is_ending) = (DescriptorLimit::none(), watch::Sender::new(false));
        Self { router, config, tasks, open, next: None, descriptors, is_ending }
    }

    fn is_full(&self) -> bool {
        let n_max = self.config.current().connections.n_connections_max.get();
        self.tasks.len() >= n_max.min(self.descriptors.n_connections_max())
    }

    async fn accepted(&mut self, accepted: io::Result<(TcpStream, std::net::SocketAddr)>) {
        use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        match accepted {
            Ok((stream, _)) => {
                self.next = Some(Next { stream, since: Instant::now(), has_asked: false });
                self.place_next();
            }
            // The client has disconnected.
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) => {}
            Err(error) => {
                // Usually because no file descriptor is left.
                let n_open = self.tasks.len();
                self.descriptors.ran_out(n_open, Instant::now());
                let n_connections_max = self.descriptors.n_connections_max();
                tracing::error!(%error, n_connections_max, "could not accept a connection");
                (n_connections_max..n_open).for_each(|_| self.open.make_room(Instant::now()));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Serves the waiting connection if there is room.
    fn place_next(&mut self) {
        if !self.is_full()
            && let Some(next) = self.next.take()
        {
            self.take(next.stream);
        }
    }

    /// The time at which a connection is asked to make room, if one waits.
    fn room_at(&self) -> Option<Instant> {
        let next = self.next.as_ref()?;
        let (patience, closable_at) = (next.since + REQUEST_GRACE, self.open.closable_at());
        Some(closable_at.filter(|_| !next.has_asked).map_or(patience, |at| at.min(patience)))
    }

    /// Asks a connection to make room, and later another one if there is still no room.
    fn make_room(&mut self) {
        let now = Instant::now();
        self.descriptors.look_again(self.tasks.len(), now, open_files::n_free);
        self.place_next();
        if let Some(next) = &mut self.next {
            (next.since, next.has_asked) = (now, true);
            self.open.make_room(now);
        }
    }

    fn take(&mut self, stream: TcpStream) {
        // A response is one write, so Nagle's algorithm would only delay it.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY");
        }
        let progress = ConnectionProgress::new(self.open.clone());
        self.tasks.spawn(serve_connection(
            stream,
            self.router.clone(),
            self.config.clone(),
            progress,
            self.is_ending.subscribe(),
        ));
    }

    /// Starts the shutdown. Returns the time until which requests are accepted, if the limits allow any.
    fn drain(&self) -> Option<Instant> {
        self.config.stop();
        let drain = self.config.current().connections.drain;
        (!drain.is_zero()).then(|| {
            tracing::info!(drain_millis = drain.as_millis(), "not ready; still accepting requests for this time");
            Instant::now() + drain
        })
    }

    async fn end(mut self) -> ServeOutcome {
        self.is_ending.send_replace(true);
        let limit = self.config.current().connections.shutdown;
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                log_panic(&ended);
            }
        };
        if tokio::time::timeout(limit, all).await.is_ok() {
            return ServeOutcome::default();
        }
        let n_cut_off = self.tasks.len();
        tracing::warn!(
            n_cut_off,
            limit_millis = limit.as_millis(),
            "closed connections that were not done in time at shutdown"
        );
        self.tasks.shutdown().await;
        ServeOutcome { n_cut_off }
    }
}

/// Logs a panic of a handler, which ends only its own connection.
fn log_panic(ended: &Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended with a panic");
    }
}
