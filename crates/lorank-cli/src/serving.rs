//! A server in a process of its own: signals end it and have its configuration read again.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use lorank_server::{LoadedServer, ServerConfig, ServerHandle};

use crate::failure::causes;

/// How long threads have at the very end.
const LAST_WORDS: Duration = Duration::from_millis(100);

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
    let runtime = tokio::runtime::Runtime::new().context("could not start the server's threads")?;
    raise_file_limit();
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

/// Every connection takes a file descriptor, and what a process gets without asking is often no more than 1024.
#[cfg(unix)]
fn raise_file_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::debug!(%error, "could not raise the limit of open files");
    }
}

#[cfg(not(unix))]
fn raise_file_limit() {}

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
