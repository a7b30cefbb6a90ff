//! The loop that accepts connections, and the limits of each of them.
//!
//! hyper serves each connection, hyper-util adapts its streams and services. The loop is lorank's own for what neither has: a
//! limit on connections that closes the one which has waited longest for its client, limits in time by phase, a count of why
//! connections closed, and a number of those that were cut off at the end.
//!
//! A connection that says nothing costs little, so many may be open. What a client can do slowly has a limit in time: to send
//! the head of a request, its body, to take the answer, to come with a next request. Where as many connections are open as
//! may be, a new one takes the place of that which has waited longest for its client; so slow clients, however many, keep
//! nobody out.

mod bodies;
mod connection;
mod counts;
mod limits;
mod progress;
mod stream;
#[cfg(test)]
mod tests;
mod waiting;

use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use self::connection::serve_connection;
pub(crate) use self::counts::{CloseReason, ConnectionCounts};
pub use self::limits::ConnectionLimits;
use self::progress::ConnectionProgress;
use self::waiting::WaitingConnections;
use crate::LiveConfig;

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
        let has_room = connections.has_room();
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept(), if has_room => connections.accepted(accepted).await,
            () = connections.waiting.entered(), if !has_room => {}
            Some(ended) = connections.tasks.join_next() => log_panic(&ended),
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
    waiting: Arc<WaitingConnections>,
    /// True once no connection shall take another request.
    is_ending: watch::Sender<bool>,
}

impl Connections {
    fn new(router: Router, config: LiveConfig) -> Self {
        let (tasks, waiting) = (JoinSet::new(), Arc::default());
        Self { router, config, tasks, waiting, is_ending: watch::Sender::new(false) }
    }

    /// Whether one more can be taken, in the place of a waiting one if need be.
    fn has_room(&self) -> bool {
        !self.is_full() || !self.waiting.is_empty()
    }

    fn is_full(&self) -> bool {
        self.tasks.len() >= self.config.current().connections.n_connections_max.get()
    }

    async fn accepted(&mut self, accepted: io::Result<(TcpStream, std::net::SocketAddr)>) {
        use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        match accepted {
            Ok((stream, _)) => self.take(stream),
            // The client has gone again.
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) => {}
            Err(error) => {
                // As a rule, no file descriptor is left: that of the connection which has waited longest can be had.
                tracing::error!(%error, "could not accept a connection");
                self.waiting.close_first();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    fn take(&mut self, stream: TcpStream) {
        // Where meanwhile nobody waits any more, there is one connection too many for a while.
        if self.is_full() {
            self.waiting.close_first();
        }
        // An answer is one write; waiting to send it together with a next one only delays it.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY");
        }
        let progress = ConnectionProgress::new(self.waiting.clone());
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
