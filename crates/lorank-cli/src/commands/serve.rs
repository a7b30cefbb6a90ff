//! `lorank serve`: serves indexes over HTTP.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use lorank_server::{LoadedServer, ServerConfig, StartOptions};

use crate::config_file::ConfigFile;
use crate::data::with_data;
use crate::flags::ServerFlags;
use crate::output::progress;
use crate::serving::{Reload, fit_to_file_limit, serve};
use crate::{environment, models, output};

/// Serve indexes over HTTP: search, rerank, documents, adapters and experiments
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Configuration file (see examples/lorank.toml); flags and environment variables take precedence
    #[arg(long, value_name = "FILE", env = "LORANK_CONFIG")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) flags: ServerFlags,
    #[cfg(feature = "otlp")]
    #[command(flatten)]
    pub(crate) otlp: crate::otlp::OtlpArgs,
}

pub(crate) fn run(args: &ServeArgs, is_quiet: bool) -> anyhow::Result<()> {
    let config = args.config()?;
    let progress = progress::spinner("loading the model", is_quiet);
    let options = StartOptions {
        loader: models::loader(&progress, is_quiet),
        elastic_secrets: environment::elastic_secrets()?,
        registry_options: environment::registry_options(),
        ..StartOptions::default()
    };
    #[cfg(feature = "otlp")]
    let options = StartOptions { continue_trace: Some(crate::otlp::continue_trace), ..options };
    let loaded = LoadedServer::load(with_data(config)?, options)?;
    progress.finish_and_clear();
    if let Some(index) = loaded.empty_index().filter(|_| !is_quiet) {
        let index = index.display();
        anstream::eprintln!(
            "the index `{index}` is empty; add documents with `lorank index --index {index} FILE`, or over HTTP with \
             `POST /v1/documents`; the rerank routes need none"
        );
    }
    serve(loaded, args.reload(), announce)
}

impl ServeArgs {
    /// The configuration from flags, environment, file and defaults.
    fn config(&self) -> anyhow::Result<ServerConfig> {
        let mut config = ConfigFile::read(self.config.as_deref())?.under(&self.flags.0)?;
        fit_to_file_limit(&mut config);
        Ok(config)
    }

    fn reload(&self) -> Option<Reload> {
        let (path, flags) = (self.config.clone()?, self.flags.clone());
        let file = path.clone();
        let read = move || {
            let mut config = with_data(ConfigFile::read(Some(&file))?.under(&flags.0)?)?;
            fit_to_file_limit(&mut config);
            Ok(config)
        };
        Some(Reload { path, read: Box::new(read) })
    }
}

fn announce(address: SocketAddr) -> anyhow::Result<()> {
    let mut out = output::stdout();
    writeln!(out, "listening on http://{address}")?;
    Ok(out.flush()?)
}
