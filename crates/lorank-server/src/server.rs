//! The steps from a configuration to a running server: load, bind, run, reload.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lorank_experiment_pipeline::ExperimentPipeline;
use lorank_experiment_store::StoreConfig;
use lorank_http::axum::Router;
use lorank_http::{ContinueTrace, DocumentHost, HttpConfig, IndexName, LiveConfig, ModelAlias, ServeOutcome, Service};
use lorank_object_registry::StoreOptions;
use lorank_pipeline::Pipeline;
use lorank_registry_reranker::RegistryReranker;
use lorank_tantivy::{Bm25FirstStage, Index, SettingsRequest};
use tokio::net::TcpListener;

use crate::adapter_host::RegistryAdapters;
use crate::alias_rank_by::AliasRankBys;
use crate::config::{ElasticSection, ServerConfig};
use crate::data::DataFolder;
use crate::document_host::IndexDocuments;
use crate::elastic::{ElasticDocuments, ElasticSecrets, setting_error};
use crate::first_stage::ServedFirstStage;
use crate::first_stage_kind::FirstStageKind;
use crate::index_spec::IndexSpec;
use crate::models::ModelLoader;
use crate::registry_settings::RegistrySettings;
use crate::running::Announcement;
use crate::{Error, following, memory, shadow};

/// The pipeline of a server.
pub type ServedPipeline = Pipeline<ServedFirstStage, Arc<RegistryReranker>>;

/// Options of a server beside its configuration. By default, access to the hub is disabled and no traces are sent.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// Finds and loads models, at the start and when an adapter is added over HTTP.
    pub loader: ModelLoader,
    /// Secrets for the search engine that is the first stage, besides those in files.
    pub elastic_secrets: ElasticSecrets,
    /// Credentials and other options of the store that the registry of adapters is in.
    pub registry_options: StoreOptions,
    /// Continues a caller's trace, if traces are exported.
    pub continue_trace: Option<ContinueTrace>,
}

/// A server whose index is open and whose model is loaded, but which does not listen yet.
pub struct LoadedServer {
    config: ServerConfig,
    pipeline: Arc<ServedPipeline>,
    adapters: Arc<RegistryAdapters>,
    service: Service,
    http: LiveConfig,
    /// `None` where the folder for data cannot be written to.
    announcement: Option<Announcement>,
}

impl LoadedServer {
    /// Opens the index, the registry and the experiments, and loads the models. Blocks until all are loaded. A missing
    /// index is created empty; the default index is `index` in the data folder.
    ///
    /// # Errors
    /// The configuration sets no data folder, or would let other machines connect without API keys; or a part cannot be
    /// opened or loaded.
    pub fn load(config: ServerConfig, options: StartOptions) -> Result<Self, Error> {
        check_indexes(&config.index)?;
        check_model_aliases(&config)?;
        check_reach(config.listen, &config)?;
        if config.store.is_none() && config.store_ca_file.is_some() {
            return Err(Error::StoreCaWithoutUrl);
        }
        let data = DataFolder::new(config.data.as_deref().ok_or(Error::NoDataFolder)?);
        let data = data.with_store(config.store.clone(), config.store_ca_file.clone());
        let data = data.with_registry(RegistrySettings::of(&config, options.registry_options));
        let wait_max = Duration::from_millis(config.store_wait_millis.get() as u64);
        let store = data.experiments(StoreConfig { wait_max, ..StoreConfig::default() })?;
        let (registry, store) = (Arc::new(data.served_registry()?), Arc::new(store));
        let mut served = served_indexes(&config, &data, &options.elastic_secrets)?.into_iter();
        let Served { name, first_stage, documents } = served.next().expect("there is at least the default index");
        let loader = ModelLoader { int8_rankings: data.int8_rankings(), ..options.loader };
        let models = loader.load(&config.model.clone().with_starter_adapters())?;
        let mut pipeline_config = config.pipeline();
        // The registry's alias `default` comes first, then the configured one, then the first adapter.
        let first = models.default_adapter();
        let fallback = pipeline_config.aliases.remove(&RegistryReranker::default_name()).or(first);
        // The default batch size depends on the device: a GPU takes larger batches.
        let is_said = config.queue.tokens_max.is_some();
        let of_device = models.bases.first().batch_tokens().max(pipeline_config.tokens_max);
        pipeline_config.tokens_max = if is_said { pipeline_config.tokens_max } else { of_device };
        pipeline_config.shared_scores = config.cache.shared()?;
        pipeline_config.rank_by_names = Some(Arc::new(AliasRankBys(registry.clone())));
        let bytes_max = config.server.adapter_bytes_max;
        let reranker = Arc::new(RegistryReranker::new(models.bases, registry, fallback, bytes_max));
        let pipeline = Arc::new(Pipeline::new(first_stage, reranker.clone(), pipeline_config)?);
        let experiments = |name: &IndexName, pipeline: Arc<ServedPipeline>| {
            let shadows = config.shadows.iter().map(shadow::ShadowSpec::config).collect();
            let experiments = ExperimentPipeline::new(pipeline, store.clone(), shadows)?;
            Ok::<_, Error>(Arc::new(experiments.for_index(name.as_str())))
        };
        // Loading of adapters that are added over HTTP reports no progress.
        let loader = ModelLoader { on_event: None, ..loader };
        let adapters = Arc::new(RegistryAdapters { reranker, loader, allowed: config.adapter_sources.clone() });
        let first = Service::over(name.clone(), experiments(&name, pipeline.clone())?, Some(documents));
        let mut service = first.with_adapters(adapters.clone());
        for Served { name, first_stage, documents } in served {
            // All indexes share one model, one queue and one cache.
            let over_index = Arc::new(pipeline.with_first_stage(first_stage));
            service = service.with_index(name.clone(), experiments(&name, over_index)?, Some(documents));
        }
        let service = match options.continue_trace {
            Some(continue_trace) => service.with_traces(continue_trace),
            None => service,
        };
        let http = LiveConfig::new(http_config(&config));
        let announcement = data.announce(&config.model.base_specs()?);
        let announcement = announcement.inspect_err(|error| {
            tracing::warn!("could not leave a note of this server in the folder for data, so adapters are not checked against it: {error}");
        });
        Ok(Self { config, pipeline, adapters, service, http, announcement: announcement.ok() })
    }

    /// The pipeline over the first index, for searches by the embedding program.
    pub fn pipeline(&self) -> &Arc<ServedPipeline> {
        &self.pipeline
    }

    /// The folder of the index on disk, if it has no documents yet.
    pub fn empty_index(&self) -> Option<&Path> {
        let ServedFirstStage::Tantivy(first_stage) = self.pipeline.first_stage() else { return None };
        let index = first_stage.index();
        index.n_documents().is_ok_and(|n| n == 0).then(|| index.dir())
    }

    /// The base models with their adapters.
    pub fn reranker(&self) -> &RegistryReranker {
        &self.adapters.reranker
    }

    /// Listens at the configured address.
    ///
    /// # Errors
    /// [`Error::Bind`] if the address is not available.
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

/// A listening server. Clients can connect; requests are answered once it [runs](Self::run).
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

    /// The address it listens on. If the configured port is 0, this has the actual port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The pipeline, for searches by the embedding program.
    pub fn pipeline(&self) -> &Arc<ServedPipeline> {
        self.loaded.pipeline()
    }

    /// Replaces the router by the result of `change`, which can merge or nest it with routes of the application.
    #[must_use]
    pub fn map_router(self, change: impl FnOnce(Router) -> Router) -> Self {
        Self { router: change(self.router), ..self }
    }

    /// A handle that changes the server while it runs.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle {
            address: self.address,
            started_with: Arc::new(self.loaded.config.clone()),
            http: self.loaded.http.clone(),
        }
    }

    /// Serves until `shutdown` completes, then finishes the requests in progress within `server.shutdown_millis` and
    /// writes the remaining exposures. Changes of the adapter registry by other processes take effect within a second.
    ///
    /// # Errors
    /// [`Error::Flush`] if the last exposures could not be written.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<ServeOutcome, Error> {
        // The announcement stands until the end.
        let LoadedServer { adapters, service, http, announcement: _announcement, .. } = self.loaded;
        let follower = tokio::spawn(following::follow(adapters.reranker.registry().clone()));
        let ended = lorank_http::serve(self.listener, self.router, http, shutdown).await;
        follower.abort();
        let flushed = tokio::task::spawn_blocking(move || service.flush()).await;
        flushed.map_err(|source| Error::Task { source })?.map_err(|source| Error::Flush { source })?;
        Ok(ended)
    }
}

/// Changes a server while it runs. Clones refer to the same server.
#[derive(Debug, Clone)]
pub struct ServerHandle {
    address: SocketAddr,
    started_with: Arc<ServerConfig>,
    http: LiveConfig,
}

impl ServerHandle {
    /// Applies the keys and client limits of another configuration; requests in progress keep the old ones. Returns the
    /// keys of the settings that differ from the running ones and need a restart.
    ///
    /// # Errors
    /// [`Error::Unprotected`] if the server is reachable from other machines and would have no API keys, and
    /// [`Error::DuplicateModelAlias`]. Nothing changes then.
    pub fn reload(&self, config: &ServerConfig) -> Result<Vec<&'static str>, Error> {
        // The address and `no_keys` stay those of the start, because neither can change before a restart.
        check_reach(self.address, &ServerConfig { no_keys: self.started_with.no_keys, ..config.clone() })?;
        check_model_aliases(config)?;
        self.http.replace(http_config(config));
        Ok(self.started_with.changes_that_need_restart(config))
    }
}

/// An index to serve.
struct Served {
    name: IndexName,
    first_stage: ServedFirstStage,
    documents: Arc<dyn DocumentHost>,
}

/// Opens the configured indexes, at least one. A missing index on disk is created empty: a server that only reranks needs
/// no documents, and documents can be added over HTTP.
fn served_indexes(config: &ServerConfig, data: &DataFolder, secrets: &ElasticSecrets) -> Result<Vec<Served>, Error> {
    match config.first_stage {
        FirstStageKind::Tantivy if config.elastic != ElasticSection::default() => {
            let problem =
                "are set, but the first stage is `tantivy`; set `first_stage = \"elastic\"` (--first-stage elastic)";
            Err(setting_error("elastic.*", problem.to_owned()))
        }
        FirstStageKind::Tantivy => {
            let unnamed = [IndexSpec::unnamed(data.index())];
            let specs = if config.index.is_empty() { &unnamed } else { config.index.as_slice() };
            let open = |spec: &IndexSpec| {
                let index = Index::open_or_create(&spec.dir, &SettingsRequest::default())?;
                let first_stage = ServedFirstStage::Tantivy(Bm25FirstStage::new(index.clone()));
                let documents: Arc<dyn DocumentHost> = Arc::new(IndexDocuments::new(index));
                Ok(Served { name: spec.name.clone(), first_stage, documents })
            };
            specs.iter().map(open).collect()
        }
        FirstStageKind::Elastic if !config.index.is_empty() => {
            let problem =
                "is set, but the first stage is `elastic`, whose index is `elastic.index`; remove one of them";
            Err(setting_error("index", problem.to_owned()))
        }
        FirstStageKind::Elastic => {
            let first_stage = Arc::new(config.elastic.open(secrets)?);
            let documents = Arc::new(ElasticDocuments(first_stage.clone()));
            let first_stage = ServedFirstStage::Elastic(first_stage);
            Ok(vec![Served { name: IndexName::default(), first_stage, documents }])
        }
    }
}

/// Rejects two indexes with the same name or the same folder.
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

/// Refuses two model aliases of one name.
fn check_model_aliases(config: &ServerConfig) -> Result<(), Error> {
    match ModelAlias::duplicate(&config.server.model_aliases) {
        Some(name) => Err(Error::DuplicateModelAlias { name: name.to_owned() }),
        None => Ok(()),
    }
}

/// The HTTP service's configuration, with limits that fit the available memory.
fn http_config(config: &ServerConfig) -> HttpConfig {
    let http = config.http();
    HttpConfig { bodies_bytes_max: memory::bodies_bytes_max(http.bodies_bytes_max), ..http }
}

/// Refuses to listen beyond this machine without API keys.
fn check_reach(listen: SocketAddr, config: &ServerConfig) -> Result<(), Error> {
    if listen.ip().is_loopback() || !config.keys.is_empty() || config.no_keys {
        return Ok(());
    }
    Err(Error::Unprotected { listen })
}
