//! The loop that accepts connections, and the limits of each of them.
//!
//! Connections speak HTTP/1.1, or HTTP/2 from their first byte. hyper serves each connection, hyper-util adapts its streams and
//! services. The loop is lorank's own for what neither has: a limit on connections that closes the one which has waited longest
//! for its client, limits in time by phase, a count of why connections closed, and a number of those that were cut off at the end.
//!
//! A connection that says nothing costs little, so many may be open. What a client can do slowly has a limit in time: to send
//! the head of a request, its body, to take the answer, to come with a next request. Where as many connections are open as
//! may be, a new one takes the place of that which has waited longest for its client; so slow clients, however many, keep
//! nobody out. A request that has arrived is answered all the same: where nobody waits, new connections wait in the system's
//! backlog until an answer is given, and the connection closes behind it.

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

/// How serving ended, as [`serve`] returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServeOutcome {
    /// Connections that were cut off, since they were not done in the time that [`ConnectionLimits::shutdown`] gives.
    pub n_cut_off: usize,
}

/// Serves until `shutdown` is done; then takes no more connections, closes those that are idle, and ends once every request
/// under way is answered, or cut off when the time for that is over.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: impl Into<LiveConfig>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> ServeOutcome {
    let mut connections = Connections::new(router, config.into());
    let mut shutdown = pin!(shutdown);
    loop {
        let room_at = connections.room_at();
        tokio::select! {
            () = &mut shutdown => break,
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

/// All that are open.
struct Connections {
    router: Router,
    config: LiveConfig,
    tasks: JoinSet<()>,
    open: Arc<OpenConnections>,
    /// One that was accepted and has no place yet; no other is accepted meanwhile.
    next: Option<Next>,
    descriptors: DescriptorLimit,
    /// True once no connection shall take another request.
    is_ending: watch::Sender<bool>,
}

struct Next {
    stream: TcpStream,
    /// When another was last asked to make room for it, or else when it came.
    since: Instant,
    /// Whether another was asked.
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
            // The client has gone again.
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) => {}
            Err(error) => {
                // As a rule, no file descriptor is left.
                let n_open = self.tasks.len();
                self.descriptors.ran_out(n_open, Instant::now());
                let n_connections_max = self.descriptors.n_connections_max();
                tracing::error!(%error, n_connections_max, "could not accept a connection");
                (n_connections_max..n_open).for_each(|_| self.open.make_room(Instant::now()));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Gives the connection that was accepted last its place, where there is one.
    fn place_next(&mut self) {
        if !self.is_full()
            && let Some(next) = self.next.take()
        {
            self.take(next.stream);
        }
    }

    /// When one has to be asked to make room for the next, if one waits for a place.
    fn room_at(&self) -> Option<Instant> {
        let next = self.next.as_ref()?;
        let (patience, closable_at) = (next.since + REQUEST_GRACE, self.open.closable_at());
        Some(closable_at.filter(|_| !next.has_asked).map_or(patience, |at| at.min(patience)))
    }

    /// Asks one to make room for the next, and another one a while later if there is none then; nobody where there is room by now.
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
        // An answer is one write; waiting to send it together with a next one only delays it.
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
        tracing::warn!(n_cut_off, limit_millis = limit.as_millis(), "cut off what was not done in time for the end");
        self.tasks.shutdown().await;
        ServeOutcome { n_cut_off }
    }
}

/// A panic in a handler has ended its connection, and no other.
fn log_panic(ended: &Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended in a bug");
    }
}
