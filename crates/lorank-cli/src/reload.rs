//! Keys and limits from a configuration file that has changed, when the process is sent SIGHUP.

use std::net::SocketAddr;
use std::path::PathBuf;

use lorank_http::{HttpConfig, LiveConfig};

use crate::commands::serve::check_reach;
use crate::config::ConfigFile;
use crate::failure::causes;
use crate::limits::LimitArgs;
use crate::settings::Said;

/// What a file is read again by.
pub(crate) struct Reload {
    pub path: PathBuf,
    /// They win over the file, now as at the start.
    pub flags: LimitArgs,
    pub listen: SocketAddr,
    pub no_keys: bool,
    /// What the file said at the start: what it says now of other settings waits for the next one.
    pub said: Said,
}

impl Reload {
    /// Reads the file each time that the process is sent SIGHUP, from here on. A file that cannot be used leaves everything as
    /// it was.
    #[cfg(unix)]
    pub(crate) fn at_signals(self, config: LiveConfig) {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(error) => return tracing::error!(%error, "cannot listen for SIGHUP"),
        };
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                match self.read() {
                    Ok(changed) => {
                        config.replace(changed);
                        tracing::info!(file = %self.path.display(), "keys and limits were read again");
                    }
                    Err(error) => tracing::error!("keys and limits stay as they were: {}", causes(error.as_ref())),
                }
            }
        });
    }

    /// There is no such signal here.
    #[cfg(not(unix))]
    pub(crate) fn at_signals(self, _config: LiveConfig) {}

    #[cfg(unix)]
    fn read(&self) -> anyhow::Result<HttpConfig> {
        let server = ConfigFile::read(&self.path)?.server(&self.flags)?;
        check_reach(self.listen, &server, self.no_keys)?;
        for key in self.said.differences_that_wait(&Said::read(&self.path)?) {
            tracing::warn!("`{key}` has changed in `{}`, and waits for the next start", self.path.display());
        }
        Ok(server)
    }
}
