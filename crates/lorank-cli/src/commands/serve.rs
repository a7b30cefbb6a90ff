//! `lorank serve`: an index over HTTP.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use lorank_experiment_pipeline::ExperimentPipeline;
use lorank_experiment_store::StoreConfig;
use lorank_http::{AdapterHost, LiveConfig, ServerConfig, Service};
use lorank_pipeline::{Pipeline, PipelineConfig};
use lorank_registry_reranker::RegistryReranker;
use lorank_tantivy::{Bm25FirstStage, Index};
use tokio::net::TcpListener;

use crate::config::ConfigFile;
use crate::data::DataArgs;
use crate::documents::Documents;
use crate::failure::WrongUsage;
use crate::host::{AllowedSource, Host};
use crate::limits::LimitArgs;
use crate::models::{AdapterArg, ModelArgs};
use crate::output;
use crate::reload::Reload;
use crate::settings::Said;
use crate::shadows::ShadowArg;

/// Serve an index over HTTP: searches, comparisons, events, and the operator's adapters and experiments
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The folder of the index
    #[arg(long, value_name = "DIR", env = "LORANK_INDEX")]
    index: Option<PathBuf>,
    /// A configuration file (see examples/lorank.toml); flags and the environment win over it
    #[arg(long, value_name = "FILE", env = "LORANK_CONFIG")]
    pub(super) config: Option<PathBuf>,
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
    /// Rank a share of the answers once more with this adapter, unseen, when the model has nothing else to do, and record
    /// how far the rankings agree (GET /v1/shadows); repeatable
    #[arg(
        long = "shadow",
        value_name = "ADAPTER[:SHARE]",
        env = "LORANK_SHADOW",
        value_delimiter = ',',
        help_heading = "Adapter and experiment options"
    )]
    shadows: Vec<ShadowArg>,
    /// Where adapters may be added from over HTTP: a folder and all below it, hf:// or hf://owner; repeatable [default: nowhere]
    #[arg(
        long = "adapter-source",
        value_name = "SOURCE",
        env = "LORANK_ADAPTER_SOURCE",
        value_delimiter = ',',
        help_heading = "Adapter and experiment options"
    )]
    adapter_sources: Vec<AllowedSource>,
    /// The most memory of the registry's adapters that are not in use [default: 2147483648]
    #[arg(
        long,
        value_name = "BYTES",
        env = "LORANK_ADAPTER_BYTES_MAX",
        help_heading = "Adapter and experiment options"
    )]
    adapter_bytes_max: Option<u64>,
    /// Listen beyond this machine without keys, where something else keeps strangers out
    #[arg(long, env = "LORANK_NO_KEYS")]
    no_keys: bool,
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
    data: DataArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
    #[cfg(feature = "otlp")]
    #[command(flatten)]
    pub(crate) otlp: crate::otlp::OtlpArgs,
}

pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:7788";

/// How long threads have at the very end.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How often the registry is looked at for what other processes changed.
const REGISTRY_REFRESH: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &ServeArgs, is_quiet: bool) -> anyhow::Result<()> {
    // Read first: what changes after it is a change.
    let said = args.config.as_deref().map(Said::read).transpose()?.unwrap_or_default();
    let file = args.config.as_deref().map(ConfigFile::read).transpose()?.unwrap_or_default();
    let missing = || WrongUsage("no index is named; add --index DIR, or `index` in the configuration file".into());
    let index = args.index.as_ref().or(file.index.as_ref()).ok_or_else(missing)?;
    let default = || DEFAULT_LISTEN.parse().expect("the default is an address");
    let listen = args.listen.or(file.listen).unwrap_or_else(default);
    let server = file.server(&args.limits)?;
    check_reach(listen, &server, args.no_keys)?;
    let data = DataArgs { dir: args.data.dir.clone().or_else(|| file.data.clone()) }.folder()?;
    let (registry, store) = (Arc::new(data.registry()?), Arc::new(data.experiments(StoreConfig::default())?));
    let index = Index::open(index)?;
    let first_stage = Bm25FirstStage::new(index.clone());
    let adapters = if args.adapters.is_empty() { &file.model.adapters } else { &args.adapters };
    let model = file.model.under(&args.model);
    let models = model.load(&model.with_starter_adapters(adapters), is_quiet)?;
    let mut config = args.pipeline_config(&file);
    // The registry's `default` comes first, then the file's, then the first adapter that was given.
    let given = models.default_adapter();
    let fallback = config.aliases.remove(&RegistryReranker::default_name()).or(given);
    let bytes_max = args.adapter_bytes_max.or(file.server.adapter_bytes_max).unwrap_or(RegistryReranker::BYTES_MAX);
    let reranker = Arc::new(RegistryReranker::new(models.reranker, registry, fallback, bytes_max));
    let pipeline = Arc::new(Pipeline::new(first_stage, reranker.clone(), config)?);
    let shadows = if args.shadows.is_empty() { &file.shadows } else { &args.shadows };
    let experiments = ExperimentPipeline::new(pipeline, store, shadows.iter().map(ShadowArg::config).collect())?;
    let allowed = if args.adapter_sources.is_empty() { file.adapter_sources } else { args.adapter_sources.clone() };
    let host = Arc::new(Host { reranker, allowed });
    let documents = Arc::new(Documents::new(index));
    let service = Service::new(Arc::new(experiments)).with_adapters(host.clone()).with_documents(documents);
    #[cfg(feature = "otlp")]
    let service = service.with_traces(crate::otlp::continue_trace);
    let reload = args.config.clone().map(|path| {
        let (flags, no_keys) = (args.limits.clone(), args.no_keys);
        Reload { path, flags, listen, no_keys, said }
    });
    let background = Background { host: Some(host), reload };
    serve(service, server.into(), listen, background, announce)
}

/// Refuses to be reached by other machines without keys.
pub(crate) fn check_reach(listen: SocketAddr, server: &ServerConfig, is_allowed: bool) -> Result<(), WrongUsage> {
    if listen.ip().is_loopback() || !server.access.keys.is_empty() || is_allowed {
        return Ok(());
    }
    Err(WrongUsage(format!(
        "{listen} can be reached from other machines, and there are no keys; add `[[keys]]` to the configuration file \
         (`lorank key` makes them), or say --no-keys where something else keeps strangers out"
    )))
}

impl ServeArgs {
    fn pipeline_config(&self, file: &ConfigFile) -> PipelineConfig {
        let config = file.pipeline();
        PipelineConfig {
            depth: self.depth.unwrap_or(config.depth),
            top_k: self.top_k.unwrap_or(config.top_k),
            deadline: self.deadline_millis.map(Duration::from_millis).or(config.deadline),
            queue_max: self.queue_max.unwrap_or(config.queue_max),
            tokens_max: self.batch_tokens_max.unwrap_or(config.tokens_max),
            wait_micros: self.wait_micros.unwrap_or(config.wait_micros),
            default_adapter: Some(RegistryReranker::default_name()),
            ..config
        }
    }
}

fn announce(address: SocketAddr) -> anyhow::Result<()> {
    let mut out = output::stdout();
    writeln!(out, "listening on http://{address}")?;
    Ok(out.flush()?)
}

/// What goes on beside the requests.
#[derive(Default)]
pub(crate) struct Background {
    /// The adapters, whose registry other processes may change.
    pub host: Option<Arc<Host>>,
    /// The configuration file, which may be read again.
    pub reload: Option<Reload>,
}

/// Serves until the process is asked to end (Ctrl-C or a polite kill); requests under way are finished, within a limit, and
/// what they recorded is written.
/// `announce` is told the address once connections are accepted there.
pub(crate) fn serve(
    service: Service,
    config: LiveConfig,
    listen: SocketAddr,
    background: Background,
    announce: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("could not start the server's threads")?;
    raise_file_limit();
    let served = runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("could not listen on {listen}"))?;
        if let Some(reload) = background.reload {
            reload.at_signals(config.clone());
        }
        // Before anybody is told where it listens, and may ask it to end.
        let signals = Signals::listen().context("could not listen for signals")?;
        announce(listener.local_addr()?)?;
        if let Some(host) = background.host {
            tokio::spawn(follow_registry(host));
        }
        let router = lorank_http::router(service.clone(), config.clone());
        lorank_http::serve(listener, router, config, asked_to_end(signals)).await;
        anyhow::Ok(())
    });
    let flushed = service.flush().context("what was recorded last could not be written");
    // A search that was cut off may still hold a thread, and is not waited for.
    runtime.shutdown_timeout(LAST_WORDS);
    served.and(flushed)
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

/// Notices what other processes do to the registry. A reading that fails leaves what was read before, and is tried again.
async fn follow_registry(host: Arc<Host>) {
    let mut ticks = tokio::time::interval(REGISTRY_REFRESH);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let host = host.clone();
        let read = tokio::task::spawn_blocking(move || host.registry().reload_if_changed());
        match read.await {
            Ok(Ok(true)) => tracing::info!("the registry of adapters has changed"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!("could not read the registry of adapters: {error}"),
            Err(_) => return,
        }
    }
}

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
