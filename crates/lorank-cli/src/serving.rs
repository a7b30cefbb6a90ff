//! A server in a process of its own: signals end it and have its configuration read again.

use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use lorank_server::{LoadedServer, ServerConfig, ServerHandle};

use crate::failure::causes;

/// How long threads have at the very end.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// More threads than the server's limits let block at once, so that no kind of work waits for another.
const BLOCKING_THREADS_MAX: usize = 16_384;

/// A configuration file that is read again at SIGHUP.
pub(crate) struct Reload {
    /// The file, for messages.
    pub path: PathBuf,
    /// Reads the configuration, with the flags over the file as at the start.
    pub read: Box<dyn Fn() -> anyhow::Result<ServerConfig> + Send>,
}

/// Serves until the process is asked to end (Ctrl-C or a polite kill); requests under way are finished, within a limit, and
/// what they recorded is written.
/// `announce` is told the address once connections are accepted there.
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
        // Before anybody is told where it listens, and may ask it to end.
        let signals = Signals::listen().context("could not listen for signals")?;
        announce(server.address())?;
        server.run(asked_to_end(signals)).await?;
        anyhow::Ok(())
    });
    // A search that was cut off may still hold a thread, and is not waited for.
    runtime.shutdown_timeout(LAST_WORDS);
    served
}

impl Reload {
    /// Reads the file each time that the process is sent SIGHUP, from here on. A file that cannot be used leaves everything as
    /// it was.
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
                    Ok(()) => tracing::info!(file = %self.path.display(), "keys and limits were read again"),
                    Err(error) => tracing::error!("keys and limits stay as they were: {}", causes(error.as_ref())),
                }
            }
        });
    }

    /// There is no such signal here.
    #[cfg(not(unix))]
    fn at_signals(self, _handle: ServerHandle) {}

    #[cfg(unix)]
    fn apply(&self, handle: &ServerHandle) -> anyhow::Result<()> {
        for key in handle.reload(&(self.read)()?)? {
            tracing::warn!("`{key}` has changed in `{}`, and waits for the next start", self.path.display());
        }
        Ok(())
    }
}

/// Raises the limit of open files as far as it goes, and keeps the number of connections below what is left: each takes a file
/// descriptor, and the index and the database need some. What a process gets without asking is often no more than 1024.
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
            "the limit of open files, {n_files}, leaves room for {n_max} connections, not for `n_connections_max` = {n_wanted}"
        );
        *n_wanted = n_max;
    }
}

/// What the index, the database, models and uploads may have open at once.
#[cfg(unix)]
const N_FILES_OF_SERVER: usize = 48;

#[cfg(not(unix))]
pub(crate) fn fit_to_file_limit(_config: &mut ServerConfig) {}

/// Done when the process is asked to end. Asked once more, it ends at once, whatever is under way.
async fn asked_to_end(mut signals: Signals) {
    signals.next().await;
    tracing::info!("ending once the requests under way are answered");
    tokio::spawn(async move {
        signals.next().await;
        // What a shell calls a program that Ctrl-C ended.
        std::process::exit(130);
    });
}

/// What asks the process to end, from the moment that this is made: Ctrl-C or a polite kill.
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

/// What asks the process to end: Ctrl-C.
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
