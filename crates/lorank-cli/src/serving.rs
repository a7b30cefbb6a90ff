//! The server process: signals stop it or reload its configuration.

use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use lorank_server::{LoadedServer, ServerConfig, ServerHandle};

use crate::failure::causes;

/// The time for threads to finish at the end.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The maximum number of blocking threads: more than the limits of all kinds of work together, so that none waits for another.
const BLOCKING_THREADS_MAX: usize = 16_384;

/// A configuration file that is reloaded on SIGHUP.
pub(crate) struct Reload {
    /// The file, for messages.
    pub path: PathBuf,
    /// Reads the configuration, with the flags of the start.
    pub read: Box<dyn Fn() -> anyhow::Result<ServerConfig> + Send>,
}

/// Serves until the process receives SIGINT or SIGTERM. Requests in flight are finished within a time limit, and their records are
/// written.
/// Calls `announce` with the address when connections are accepted.
pub(crate) fn serve(
    loaded: LoadedServer,
    reload: Option<Reload>,
    announce: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .context("could not start the server's threads")?;
    let served = runtime.block_on(async {
        let server = loaded.bind().await?;
        if let Some(reload) = reload {
            reload.at_signals(server.handle());
        }
        // Before the address is announced, because a signal may follow immediately.
        let signals = Signals::listen().context("could not listen for signals")?;
        announce(server.address())?;
        server.run(asked_to_end(signals)).await?;
        anyhow::Ok(())
    });
    // Does not wait for searches that were cut off.
    runtime.shutdown_timeout(LAST_WORDS);
    served
}

impl Reload {
    /// Reloads the file on each SIGHUP. An invalid file changes nothing.
    #[cfg(unix)]
    fn at_signals(self, handle: ServerHandle) {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(error) => return tracing::error!(%error, "cannot listen for SIGHUP"),
        };
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                match self.apply(&handle) {
                    Ok(()) => tracing::info!(file = %self.path.display(), "reloaded keys and limits"),
                    Err(error) => tracing::error!("did not reload keys and limits: {}", causes(error.as_ref())),
                }
            }
        });
    }

    /// Other systems have no SIGHUP.
    #[cfg(not(unix))]
    fn at_signals(self, _handle: ServerHandle) {}

    #[cfg(unix)]
    fn apply(&self, handle: &ServerHandle) -> anyhow::Result<()> {
        for key in handle.reload(&(self.read)()?)? {
            tracing::warn!("`{key}` has changed in `{}`; the change needs a restart", self.path.display());
        }
        Ok(())
    }
}

/// Raises the limit of open files to its maximum, and limits the number of connections to the remaining file descriptors, because
/// the index and the database need some. The default limit is often 1024.
#[cfg(unix)]
pub(crate) fn fit_to_file_limit(config: &mut ServerConfig) {
    let Ok(n_files) = rlimit::increase_nofile_limit(u64::MAX) else {
        return tracing::debug!("could not raise the limit of open files");
    };
    let n_left = usize::try_from(n_files).unwrap_or(usize::MAX).saturating_sub(N_FILES_OF_SERVER);
    let n_max = NonZeroUsize::new(n_left).unwrap_or(NonZeroUsize::MIN);
    let n_wanted = &mut config.server.n_connections_max;
    if *n_wanted > n_max {
        tracing::warn!(
            "the limit of {n_files} open files allows {n_max} connections, fewer than `n_connections_max` = {n_wanted}"
        );
        *n_wanted = n_max;
    }
}

/// The maximum number of open files of the index, the database, models and uploads.
#[cfg(unix)]
const N_FILES_OF_SERVER: usize = 48;

#[cfg(not(unix))]
pub(crate) fn fit_to_file_limit(_config: &mut ServerConfig) {}

/// Returns on the first signal to stop. A second signal exits immediately.
async fn asked_to_end(mut signals: Signals) {
    signals.next().await;
    tracing::info!("stopping after the requests in flight");
    tokio::spawn(async move {
        signals.next().await;
        // The conventional exit status after SIGINT.
        std::process::exit(130);
    });
}

/// The signals to stop, SIGINT and SIGTERM, received since its creation.
#[cfg(unix)]
struct Signals {
    interrupted: tokio::signal::unix::Signal,
    terminated: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupted: signal(SignalKind::interrupt())?, terminated: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
    }
}

/// The signal to stop: Ctrl-C.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        drop(tokio::signal::ctrl_c().await);
    }
}
