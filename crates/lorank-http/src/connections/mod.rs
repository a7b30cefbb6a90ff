//! The loop that takes connections, and the patience that each of them gets.
//!
//! A connection that says nothing costs little, so many may be open. What a client can do slowly has a limit in time: to send
//! the head of a request, its body, to take the answer, to come with a next request. Where as many connections are open as
//! may be, a new one takes the place of that which has waited longest for its client; so slow clients, however many, keep
//! nobody out.

mod bodies;
mod connection;
mod ends;
mod progress;
mod stream;
#[cfg(test)]
mod tests;
mod waiting;

use std::io::{self, ErrorKind};
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use self::connection::attend;
pub(crate) use self::ends::{Counts, End};
use self::progress::Progress;
use self::waiting::Waiting;
use crate::LiveConfig;

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

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ended {
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
) -> Ended {
    let mut connections = Connections::new(router, config.into());
    let mut shutdown = pin!(shutdown);
    loop {
        let has_room = connections.has_room();
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept(), if has_room => connections.accepted(accepted).await,
            () = connections.waiting.one_more(), if !has_room => {}
            Some(ended) = connections.tasks.join_next() => tell_of_panic(&ended),
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
    waiting: Arc<Waiting>,
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
        let progress = Progress::new(self.waiting.clone());
        self.tasks.spawn(attend(
            stream,
            self.router.clone(),
            self.config.clone(),
            progress,
            self.is_ending.subscribe(),
        ));
    }

    async fn end(mut self) -> Ended {
        self.is_ending.send_replace(true);
        let limit = self.config.current().connections.shutdown;
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                tell_of_panic(&ended);
            }
        };
        if tokio::time::timeout(limit, all).await.is_ok() {
            return Ended::default();
        }
        let n_cut_off = self.tasks.len();
        tracing::warn!(n_cut_off, limit_millis = limit.as_millis(), "cut off what was not done in time for the end");
        self.tasks.shutdown().await;
        Ended { n_cut_off }
    }
}

/// A panic in a handler has ended its connection, and no other.
fn tell_of_panic(ended: &Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended in a bug");
    }
}
