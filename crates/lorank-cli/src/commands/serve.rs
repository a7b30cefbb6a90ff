//! `lorank serve`: an index over HTTP.

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use lorank_core::AdapterId;
use lorank_model::ModelReranker;
use lorank_pipeline::{Pipeline, PipelineConfig};
use lorank_server::ServerConfig;
use lorank_tantivy::{Bm25FirstStage, Index};
use tokio::net::TcpListener;

use crate::config::ConfigFile;
use crate::failure::WrongUsage;
use crate::models::{AdapterArg, ModelArgs};
use crate::output;

/// Serve an index over HTTP: GET and POST /v1/search, GET /health
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The folder of the index
    #[arg(long, value_name = "DIR", env = "LORANK_INDEX")]
    index: Option<PathBuf>,
    /// A configuration file (see examples/lorank.toml); flags and the environment win over it
    #[arg(long, value_name = "FILE", env = "LORANK_CONFIG")]
    config: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:7788]
    #[arg(long, value_name = "ADDRESS", env = "LORANK_LISTEN")]
    listen: Option<SocketAddr>,
    /// An adapter: a starter's name, a folder, or hf://owner/name[@revision]; repeatable. The first one answers requests
    /// that name none; none is the bare base model
    #[arg(long = "adapter", value_name = "[ID=]ADAPTER", env = "LORANK_ADAPTER", help_heading = "Model options")]
    adapters: Vec<AdapterArg>,
    /// How many candidates are reranked [default: 100]
    #[arg(long, value_name = "N", env = "LORANK_DEPTH")]
    depth: Option<NonZeroUsize>,
    /// How many hits are returned [default: 10]
    #[arg(long, value_name = "N", env = "LORANK_TOP_K")]
    top_k: Option<NonZeroUsize>,
    /// Answer in first-stage order where a request takes longer than this [default: wait]
    #[arg(long, value_name = "N", env = "LORANK_DEADLINE_MILLIS")]
    deadline_millis: Option<u64>,
    /// How many requests may wait for the model; one more is turned away with status 429 [default: 64]
    #[arg(long, value_name = "N", env = "LORANK_QUEUE_MAX", help_heading = "Queue options")]
    queue_max: Option<NonZeroUsize>,
    /// About how many tokens the model gets at once, from all the requests that wait [default: 4096]
    #[arg(long, value_name = "N", env = "LORANK_BATCH_TOKENS_MAX", help_heading = "Queue options")]
    batch_tokens_max: Option<NonZeroUsize>,
    /// How long an idle model waits, once a request has come, for others to fill its batch [default: 0]
    #[arg(long, value_name = "N", env = "LORANK_WAIT_MICROS", help_heading = "Queue options")]
    wait_micros: Option<u64>,
    #[command(flatten)]
    model: ModelArgs,
}

/// A search service as the program runs it.
pub(crate) type Service = Pipeline<Bm25FirstStage, ModelReranker>;

pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:7788";

pub(crate) fn run(args: &ServeArgs, is_quiet: bool) -> anyhow::Result<()> {
    let file = args.config.as_deref().map(ConfigFile::read).transpose()?.unwrap_or_default();
    let missing = || WrongUsage("no index is named; add --index DIR, or `index` in the configuration file".into());
    let index = args.index.as_ref().or(file.index.as_ref()).ok_or_else(missing)?;
    let first_stage = Bm25FirstStage::new(Index::open(index)?);
    let adapters = if args.adapters.is_empty() { &file.model.adapters } else { &args.adapters };
    let model = file.model.under(&args.model);
    let models = model.load(&model.with_starter_adapters(adapters), is_quiet)?;
    let config = args.pipeline_config(&file, models.default_adapter());
    let pipeline = Pipeline::new(first_stage, models.reranker, config)?;
    let listen = args.listen.or(file.listen);
    let default = || DEFAULT_LISTEN.parse().expect("the default is an address");
    serve(pipeline, file.server(), listen.unwrap_or_else(default), announce)
}

impl ServeArgs {
    fn pipeline_config(&self, file: &ConfigFile, default_adapter: Option<AdapterId>) -> PipelineConfig {
        let config = file.pipeline();
        PipelineConfig {
            depth: self.depth.unwrap_or(config.depth),
            top_k: self.top_k.unwrap_or(config.top_k),
            deadline: self.deadline_millis.map(Duration::from_millis).or(config.deadline),
            queue_max: self.queue_max.unwrap_or(config.queue_max),
            tokens_max: self.batch_tokens_max.unwrap_or(config.tokens_max),
            wait_micros: self.wait_micros.unwrap_or(config.wait_micros),
            default_adapter,
            ..config
        }
    }
}

fn announce(address: SocketAddr) -> anyhow::Result<()> {
    let mut out = output::stdout();
    writeln!(out, "listening on http://{address}")?;
    Ok(out.flush()?)
}

/// Serves until the process is asked to end (Ctrl-C or a polite kill); requests under way are finished.
/// `announce` is told the address once connections are accepted there.
pub(crate) fn serve(
    pipeline: Service,
    config: ServerConfig,
    listen: SocketAddr,
    announce: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("could not start the server's threads")?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("could not listen on {listen}"))?;
        announce(listener.local_addr()?)?;
        let router = lorank_server::router(Arc::new(pipeline), config);
        lorank_server::serve(listener, router, asked_to_end()).await.context("the server failed")
    })
}

/// Done when the process is asked to end. Asked once more, it ends at once, whatever is under way.
async fn asked_to_end() {
    signal().await;
    tracing::info!("ending once the requests under way are answered");
    tokio::spawn(async {
        signal().await;
        // What a shell calls a program that Ctrl-C ended.
        std::process::exit(130);
    });
}

/// Ctrl-C, or a polite kill where the system has such a thing.
async fn signal() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    drop(interrupted.await);
}
