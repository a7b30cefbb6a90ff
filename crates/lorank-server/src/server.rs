//! From a configuration to a running server: load, bind, run, reload.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lorank_experiment_pipeline::ExperimentPipeline;
use lorank_experiment_store::StoreConfig;
use lorank_http::axum::Router;
use lorank_http::{AdapterHost, ContinueTrace, HttpConfig, IndexName, LiveConfig, ServeOutcome, Service};
use lorank_pipeline::Pipeline;
use lorank_registry_reranker::RegistryReranker;
use lorank_tantivy::{Bm25FirstStage, Index, SettingsRequest};
use tokio::net::TcpListener;

use crate::adapter_host::RegistryAdapters;
use crate::config::ServerConfig;
use crate::data::DataFolder;
use crate::document_host::IndexDocuments;
use crate::index_spec::IndexSpec;
use crate::models::ModelLoader;
use crate::{Error, memory, shadow};

/// How often the registry is looked at for what other processes changed.
const REGISTRY_REFRESH: Duration = Duration::from_secs(1);

/// What a server searches with.
pub type ServedPipeline = Pipeline<Bm25FirstStage, Arc<RegistryReranker>>;

/// What a server needs of the program around it, beside its configuration. The default has no access to the hub and sends no
/// traces.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// How models are found and loaded, at the start and when an adapter is added over HTTP.
    pub loader: ModelLoader,
    /// How traces that callers began go on here, where traces are sent somewhere.
    pub continue_trace: Option<ContinueTrace>,
}

/// A server whose index is open and whose model is in memory, and that listens nowhere yet.
pub struct LoadedServer {
    config: ServerConfig,
    pipeline: Arc<ServedPipeline>,
    adapters: Arc<RegistryAdapters>,
    service: Service,
    http: LiveConfig,
}

impl LoadedServer {
    /// Opens the index, the registry and the experiments, and loads the models. It blocks for as long as that takes. An index that is
    /// not there is made, without documents; without a name it is `index` in the folder for data.
    ///
    /// # Errors
    /// A configuration that names no folder for data, or that would be reached by other machines without keys; whatever cannot be
    /// opened or loaded.
    pub fn load(config: ServerConfig, options: StartOptions) -> Result<Self, Error> {
        check_indexes(&config.index)?;
        check_reach(config.listen, &config)?;
        let data = DataFolder::new(config.data.as_deref().ok_or(Error::NoDataFolder)?);
        let (registry, store) = (Arc::new(data.registry()?), Arc::new(data.experiments(StoreConfig::default())?));
        let unnamed = [IndexSpec::unnamed(data.index())];
        let specs = if config.index.is_empty() { &unnamed } else { config.index.as_slice() };
        // A server that only reranks needs no documents, and others may get theirs over HTTP.
        let open = |spec: &IndexSpec| Index::open_or_create(&spec.dir, &SettingsRequest::default());
        let indexes = specs.iter().map(|spec| Ok((spec.name.clone(), open(spec)?)));
        let mut indexes = indexes.collect::<Result<Vec<_>, Error>>()?.into_iter();
        let (name, index) = indexes.next().expect("there is one, named or not");
        let models = options.loader.load(&config.model.clone().with_starter_adapters())?;
        let mut pipeline_config = config.pipeline();
        // The registry's `default` comes first, then the configuration's, then the first adapter that was given.
        let first = models.default_adapter();
        let fallback = pipeline_config.aliases.remove(&RegistryReranker::default_name()).or(first);
        // What a batch may hold follows the device, unless it is said: a GPU takes more at once.
        let is_said = config.queue.tokens_max.is_some();
        let of_device = models.reranker.tokens_max().max(pipeline_config.tokens_max);
        pipeline_config.tokens_max = if is_said { pipeline_config.tokens_max } else { of_device };
        let bytes_max = config.server.adapter_bytes_max;
        let reranker = Arc::new(RegistryReranker::new(models.reranker, registry, fallback, bytes_max));
        let first_stage = Bm25FirstStage::new(index.clone());
        let pipeline = Arc::new(Pipeline::new(first_stage, reranker.clone(), pipeline_config)?);
        let experiments = |name: &IndexName, pipeline: Arc<ServedPipeline>| {
            let shadows = config.shadows.iter().map(shadow::ShadowSpec::config).collect();
            let experiments = ExperimentPipeline::new(pipeline, store.clone(), shadows)?;
            Ok::<_, Error>(Arc::new(experiments.for_index(name.as_str())))
        };
        // What is added over HTTP is fetched without reports: nobody watches.
        let loader = ModelLoader { on_event: None, ..options.loader };
        let adapters = Arc::new(RegistryAdapters { reranker, loader, allowed: config.adapter_sources.clone() });
        let documents = IndexDocuments::new(index);
        let first = Service::over(name.clone(), experiments(&name, pipeline.clone())?, Some(Arc::new(documents)));
        let mut service = first.with_adapters(adapters.clone());
        for (name, index) in indexes {
            // One model, one queue and one cache for all of them.
            let over_index = Arc::new(pipeline.with_first_stage(Bm25FirstStage::new(index.clone())));
            let documents = Arc::new(IndexDocuments::new(index));
            service = service.with_index(name.clone(), experiments(&name, over_index)?, Some(documents));
        }
        let service = match options.continue_trace {
            Some(continue_trace) => service.with_traces(continue_trace),
            None => service,
        };
        let http = LiveConfig::new(http_config(&config));
        Ok(Self { config, pipeline, adapters, service, http })
    }

    /// The pipeline over the first index, for searches of the program's own.
    pub fn pipeline(&self) -> &Arc<ServedPipeline> {
        &self.pipeline
    }

    /// The folder of the index, where it holds no documents yet.
    pub fn empty_index(&self) -> Option<&Path> {
        let index = self.pipeline.first_stage().index();
        index.n_documents().is_ok_and(|n| n == 0).then(|| index.dir())
    }

    /// The model with its adapters.
    pub fn reranker(&self) -> &RegistryReranker {
        &self.adapters.reranker
    }

    /// Listens at the configured address.
    ///
    /// # Errors
    /// [`Error::Bind`] where the address cannot be had.
    pub async fn bind(self) -> Result<Server, Error> {
        let listen = self.config.listen;
        let bind_error = |source| Error::Bind { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let router = lorank_http::router(self.service.clone(), self.http.clone());
        Ok(Server { loaded: self, listener, address, router })
    }
}

impl fmt::Debug for LoadedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedServer").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A server that listens: clients can connect, and are answered once it [runs](Self::run).
#[derive(Debug)]
pub struct Server {
    loaded: LoadedServer,
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

impl Server {
    /// Loads everything and listens, with the default [`StartOptions`].
    ///
    /// # Errors
    /// As [`LoadedServer::load`] and [`LoadedServer::bind`].
    pub async fn start(config: ServerConfig) -> Result<Self, Error> {
        Self::start_with(config, StartOptions::default()).await
    }

    /// Loads everything and listens.
    ///
    /// # Errors
    /// As [`LoadedServer::load`] and [`LoadedServer::bind`].
    pub async fn start_with(config: ServerConfig, options: StartOptions) -> Result<Self, Error> {
        let loaded = tokio::task::spawn_blocking(move || LoadedServer::load(config, options)).await;
        loaded.map_err(|source| Error::Task { source })??.bind().await
    }

    /// Where it listens; the port is the one that was taken where the configuration has 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The pipeline, for searches of the program's own.
    pub fn pipeline(&self) -> &Arc<ServedPipeline> {
        self.loaded.pipeline()
    }

    /// The same server with other routes: `change` gets its router, and may merge it with one of the program's own, or nest it.
    #[must_use]
    pub fn map_router(self, change: impl FnOnce(Router) -> Router) -> Self {
        Self { router: change(self.router), ..self }
    }

    /// A handle to change the server by while it runs.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle {
            address: self.address,
            started_with: Arc::new(self.loaded.config.clone()),
            http: self.loaded.http.clone(),
        }
    }

    /// Serves until `shutdown` is done; then finishes the requests under way, within `server.shutdown_millis`, and writes what
    /// experiments recorded. What other processes do to the registry of adapters is noticed within a second.
    ///
    /// # Errors
    /// [`Error::Flush`] where the last records could not be written.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<ServeOutcome, Error> {
        let LoadedServer { adapters, service, http, .. } = self.loaded;
        let follower = tokio::spawn(follow_registry(adapters));
        let ended = lorank_http::serve(self.listener, self.router, http, shutdown).await;
        follower.abort();
        let flushed = tokio::task::spawn_blocking(move || service.flush()).await;
        flushed.map_err(|source| Error::Task { source })?.map_err(|source| Error::Flush { source })?;
        Ok(ended)
    }
}

/// Changes a server while it runs. Clones are handles to one server.
#[derive(Debug, Clone)]
pub struct ServerHandle {
    address: SocketAddr,
    started_with: Arc<ServerConfig>,
    http: LiveConfig,
}

impl ServerHandle {
    /// Takes the keys and the limits on clients from another configuration; requests under way keep the old ones. The keys of
    /// the settings that differ from those at the start and wait for the next one come back.
    ///
    /// # Errors
    /// [`Error::Unprotected`] where the server can be reached from other machines and would have no keys any more. Everything
    /// stays as it was then.
    pub fn reload(&self, config: &ServerConfig) -> Result<Vec<&'static str>, Error> {
        // The address and the permission are those at the start: neither changes before the next one.
        check_reach(self.address, &ServerConfig { no_keys: self.started_with.no_keys, ..config.clone() })?;
        self.http.replace(http_config(config));
        Ok(self.started_with.changes_that_need_restart(config))
    }
}

/// Refuses two indexes of one name, or in one folder.
fn check_indexes(indexes: &[IndexSpec]) -> Result<(), Error> {
    for (n, index) in indexes.iter().enumerate() {
        let place = |dir: &Path| dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        for earlier in &indexes[..n] {
            if earlier.name == index.name || place(&earlier.dir) == place(&index.dir) {
                return Err(Error::DuplicateIndex { one: earlier.to_string(), other: index.to_string() });
            }
        }
    }
    Ok(())
}

/// What the HTTP service is to do, with the memory that there is.
fn http_config(config: &ServerConfig) -> HttpConfig {
    let http = config.http();
    HttpConfig { bodies_bytes_max: memory::bodies_bytes_max(http.bodies_bytes_max), ..http }
}

/// Refuses to be reached by other machines without keys.
fn check_reach(listen: SocketAddr, config: &ServerConfig) -> Result<(), Error> {
    if listen.ip().is_loopback() || !config.keys.is_empty() || config.no_keys {
        return Ok(());
    }
    Err(Error::Unprotected { listen })
}

/// Notices what other processes do to the registry. A reading that fails leaves what was read before, and is tried again.
async fn follow_registry(adapters: Arc<RegistryAdapters>) {
    let mut ticks = tokio::time::interval(REGISTRY_REFRESH);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let adapters = adapters.clone();
        let read = tokio::task::spawn_blocking(move || adapters.registry().reload_if_changed());
        match read.await {
            Ok(Ok(true)) => tracing::info!("the registry of adapters has changed"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!("could not read the registry of adapters: {error}"),
            Err(_) => return,
        }
    }
}
