//! The served indexes and engines, with their types erased.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lorank_adapters::{Entry, Existing, Outcome, Registry, ResidencyStats};
use lorank_core::{
    Activation, AdapterId, BoxError, Deadline, Digest, FirstStage, ModelVersion, Precision, RankerSettings, Reranker,
};
use lorank_experiment_pipeline::{
    ExperimentAnswer, ExperimentPipeline, ExperimentPipelineError, GivenDocument, RerankAnswer, ShadowStats, Trial,
};
use lorank_experiment_store::{ExperimentStore, ExperimentStoreError};
use lorank_pipeline::{
    AdapterChoice, CacheStats, Contestant, Documents, Pipeline, PipelineError, QueueStats, Ranked, Ranker, Scoring,
    SearchRequest,
};

use crate::{DocumentHost, IndexName, ServerError};

/// The service behind the routes: one pipeline per index, optionally with experiments and an adapter registry.
#[derive(Clone)]
pub struct Service {
    /// The engine of the first pipeline, with the shared model, cache and queue.
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) indexes: BTreeMap<IndexName, ServedIndex>,
    pub(crate) adapters: Option<Arc<dyn AdapterHost>>,
    pub(crate) continue_trace: Option<ContinueTrace>,
}

/// A served index.
#[derive(Clone)]
pub(crate) struct ServedIndex {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) documents: Option<Arc<dyn DocumentHost>>,
}

/// Adds a request's span to the trace in the client's header `traceparent` (W3C Trace Context).
pub type ContinueTrace = fn(&tracing::Span, &str);

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("has_adapters", &self.adapters.is_some())
            .field("indexes", &self.indexes.keys())
            .finish_non_exhaustive()
    }
}

impl Service {
    /// Serves the searches and experiments of a pipeline as the index `default`.
    pub fn new<F: FirstStage + 'static, R: Reranker + 'static>(pipeline: Arc<ExperimentPipeline<F, R>>) -> Self {
        Self::over(IndexName::default(), pipeline, None)
    }

    /// Serves the searches and experiments of a pipeline as an index with this name, with documents that can be read and changed.
    /// Requests that name no index use `default`; routes without an index, such as `/rerank`, use the first pipeline.
    pub fn over<F: FirstStage + 'static, R: Reranker + 'static>(
        name: IndexName,
        pipeline: Arc<ExperimentPipeline<F, R>>,
        documents: Option<Arc<dyn DocumentHost>>,
    ) -> Self {
        let engine: Arc<dyn Engine> = pipeline.clone();
        let service = Self { engine, indexes: BTreeMap::new(), adapters: None, continue_trace: None };
        service.with_index(name, pipeline, documents)
    }

    /// Adds an index. Its pipeline shares the reranker of the first one ([`Pipeline::with_first_stage`]), whose cache and queue appear
    /// in the statistics.
    #[must_use]
    pub fn with_index<F: FirstStage + 'static, R: Reranker + 'static>(
        mut self,
        name: IndexName,
        pipeline: Arc<ExperimentPipeline<F, R>>,
        documents: Option<Arc<dyn DocumentHost>>,
    ) -> Self {
        self.indexes.insert(name, ServedIndex { engine: pipeline, documents });
        self
    }

    /// The index with this name.
    pub(crate) fn index(&self, name: &str) -> Result<&ServedIndex, ServerError> {
        let found = self.indexes.iter().find(|(known, _)| known.as_str() == name);
        found.map(|(_, index)| index).ok_or_else(|| {
            let known = self.indexes.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            ServerError::UnknownIndex { index: name.to_owned(), known }
        })
    }

    /// Waits until all exposures and shadow results are on disk, before the process ends.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn flush(&self) -> Result<(), ExperimentStoreError> {
        self.engine.store().map_or(Ok(()), |store| store.flush())
    }

    /// Adds an adapter registry.
    #[must_use]
    pub fn with_adapters(self, adapters: Arc<dyn AdapterHost>) -> Self {
        Self { adapters: Some(adapters), ..self }
    }

    /// Adds documents of the index `default` that can be read and changed.
    #[must_use]
    pub fn with_documents(mut self, documents: Arc<dyn DocumentHost>) -> Self {
        if let Some(index) = self.indexes.get_mut(&IndexName::default()) {
            index.documents = Some(documents);
        }
        self
    }

    /// Sets the function that continues the clients' traces.
    #[must_use]
    pub fn with_traces(self, continue_trace: ContinueTrace) -> Self {
        Self { continue_trace: Some(continue_trace), ..self }
    }
}

/// A pipeline without experiments.
impl<F: FirstStage + 'static, R: Reranker + 'static> From<Arc<Pipeline<F, R>>> for Service {
    fn from(pipeline: Arc<Pipeline<F, R>>) -> Self {
        Self::new(Arc::new(ExperimentPipeline::without_store(pipeline)))
    }
}

/// Adapters that can be added and removed at run time. The service knows the registry, the host knows the models.
pub trait AdapterHost: Send + Sync {
    /// The registry.
    fn registry(&self) -> &Registry;

    /// Whether the configuration allows this source.
    fn allows(&self, source: &str) -> bool;

    /// Fetches an adapter from its source, checks that it fits its base model, and adds it to the registry. `base` is the name of the
    /// base model; without it, the adapter decides. `existing` decides whether an adapter with the same id is replaced.
    ///
    /// # Errors
    /// A `RegistryError`, or another error that the client can fix.
    fn add(
        &self,
        id: &AdapterId,
        source: &str,
        base: Option<&AdapterId>,
        existing: Existing,
    ) -> Result<Outcome, BoxError>;

    /// Checks that an adapter of the registry fits its base model.
    ///
    /// # Errors
    /// The reason for which it does not fit, or a `RegistryError` if the adapter is unknown.
    fn check(&self, _id: &AdapterId) -> Result<(), BoxError> {
        Ok(())
    }

    /// The adapters that are served in addition to the registry's.
    fn own_adapters(&self) -> Vec<AdapterId>;

    /// The base models, the default one first.
    fn base_models(&self) -> Vec<ServedBase> {
        Vec::new()
    }

    /// The NVIDIA GPUs that run base models, with their memory now. Asks the driver, so call it where blocking is allowed.
    fn gpus(&self) -> Vec<ServedGpu> {
        Vec::new()
    }

    /// The name of the base model of an adapter of the registry, if it has one.
    fn base_of(&self, _entry: &Entry) -> Option<String> {
        None
    }

    /// The maximum number of tokens of a pair of a model; longer pairs are truncated.
    fn max_length(&self, model: &ModelVersion) -> usize;

    /// The activation for logits in the configuration of a model's base model.
    fn activation(&self, _model: &ModelVersion) -> Activation {
        Activation::default()
    }

    /// Whether an adapter is in memory now.
    fn is_in_memory(&self, entry: &Entry) -> bool;

    /// Statistics of the adapters in memory.
    fn residency(&self) -> ResidencyStats;

    /// Statistics of the model, if available.
    fn model_stats(&self) -> Option<ModelStats> {
        None
    }
}

/// A base model of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedBase {
    /// The name, by which requests choose the bare base model.
    pub name: String,
    /// The hash of its configuration, tokenizer and weights.
    pub digest: Digest,
    /// The numeric precision.
    pub precision: Precision,
    /// The reason for the precision.
    pub precision_reason: String,
    /// The number of parameters.
    pub n_parameters: usize,
    /// The memory of its weights, in bytes.
    pub bytes: u64,
}

/// An NVIDIA GPU that runs a base model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServedGpu {
    /// The base model's name.
    pub base_model: String,
    /// The device, as `cuda:0`.
    pub device: String,
    /// Why it does not run the model any more; `None` if it does.
    pub failure: Option<String>,
    /// The GPU's name.
    pub name: String,
    /// As `9.0`.
    pub compute_capability: Option<String>,
    /// The newest version of CUDA that the driver supports.
    pub driver: Option<String>,
    /// The version of cublasLt.
    pub cublaslt: Option<String>,
    /// The version of NVRTC.
    pub nvrtc: Option<String>,
    /// How long it took to load the kernels.
    pub kernels: Duration,
    /// Whether the kernels were compiled, and not read from the cache.
    pub has_compiled: bool,
    /// All of the GPU's memory, in bytes; `None` if the driver does not answer.
    pub memory_bytes: Option<u64>,
    /// The free part of it, in bytes.
    pub memory_free_bytes: Option<u64>,
    /// The memory of the base model's weights, in bytes.
    pub weights_bytes: u64,
    /// The memory that is reserved for the activations of forward passes, in bytes.
    pub activation_bytes: u64,
    /// The maximum number of tokens of a forward pass.
    pub budget_tokens: usize,
    /// What limits them, in words.
    pub budget_limit: &'static str,
    /// The number of slots for adapters beside the weights.
    pub adapter_slots: usize,
    /// The number of slots in use.
    pub adapter_slots_used: usize,
    /// The number of forward passes that did not fit into the memory and were run in halves.
    pub n_passes_halved: u64,
}

/// Statistics of the models since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelStats {
    /// The time spent in tokenization.
    pub tokenise: Duration,
    /// The time spent in forward passes, summed over threads.
    pub forward: Duration,
    /// The number of processed tokens.
    pub n_tokens: u64,
    /// The number of documents found in the token cache.
    pub token_cache_hits: u64,
    /// The number of documents that were tokenized.
    pub token_cache_misses: u64,
    /// The number of documents in the token cache.
    pub token_cache_entries: u64,
    /// The approximate memory of the token cache, in bytes.
    pub token_cache_bytes: u64,
}

/// A pipeline with experiments, with the types of its engines erased.
pub(crate) trait Engine: Send + Sync {
    fn search(&self, trial: &Trial) -> Result<ExperimentAnswer, ExperimentPipelineError>;
    fn rerank(&self, trial: &Trial, documents: &[GivenDocument]) -> Result<RerankAnswer, ExperimentPipelineError>;
    /// The answers of several rankers to one search, by their names.
    fn contest(
        &self,
        request: &SearchRequest,
        contestants: Vec<Contestant<String>>,
    ) -> Result<Vec<Ranked<String>>, PipelineError>;
    fn score_each(&self, request: &SearchRequest, groups: &[Documents<'_>]) -> Result<Scoring, PipelineError>;
    fn model(&self, choice: &AdapterChoice) -> Result<ModelVersion, PipelineError>;
    /// Checks that a ranker with these settings can be served.
    fn check_ranker(&self, ranker: &Ranker, settings: &RankerSettings) -> Result<(), PipelineError>;
    fn n_cached_scores(&self, adapter: &Digest) -> usize;
    fn cache_stats(&self) -> CacheStats;
    /// Checks that the default models can score, and loads their adapters if necessary.
    fn probe_model(&self, deadline: Deadline) -> Result<(), PipelineError>;
    /// Searches the first stage for one hit.
    fn probe(&self) -> Result<(), PipelineError>;
    /// The maximum number of waiting requests.
    fn queue_max(&self) -> usize;
    fn queue_stats(&self) -> QueueStats;
    fn tokens_per_second_of(&self, base: &Digest) -> Option<f64>;
    fn shadow_stats(&self) -> ShadowStats;
    fn store(&self) -> Option<&Arc<ExperimentStore>>;
}

impl<F: FirstStage + 'static, R: Reranker + 'static> Engine for ExperimentPipeline<F, R> {
    fn search(&self, trial: &Trial) -> Result<ExperimentAnswer, ExperimentPipelineError> {
        self.search(trial)
    }

    fn rerank(&self, trial: &Trial, documents: &[GivenDocument]) -> Result<RerankAnswer, ExperimentPipelineError> {
        self.rerank(trial, documents)
    }

    fn contest(
        &self,
        request: &SearchRequest,
        contestants: Vec<Contestant<String>>,
    ) -> Result<Vec<Ranked<String>>, PipelineError> {
        self.pipeline().contest(request, contestants)
    }

    fn score_each(&self, request: &SearchRequest, groups: &[Documents<'_>]) -> Result<Scoring, PipelineError> {
        self.pipeline().score_each(request, groups)
    }

    fn model(&self, choice: &AdapterChoice) -> Result<ModelVersion, PipelineError> {
        self.pipeline().model(choice)
    }

    fn check_ranker(&self, ranker: &Ranker, settings: &RankerSettings) -> Result<(), PipelineError> {
        self.pipeline().check_ranker(ranker, settings)
    }

    fn probe_model(&self, deadline: Deadline) -> Result<(), PipelineError> {
        self.pipeline().probe_default(deadline)
    }

    fn n_cached_scores(&self, adapter: &Digest) -> usize {
        self.pipeline().n_cached_scores(Some(adapter))
    }

    fn cache_stats(&self) -> CacheStats {
        self.pipeline().cache_stats()
    }

    fn probe(&self) -> Result<(), PipelineError> {
        let one = Some(NonZeroUsize::MIN);
        let request = SearchRequest { rerank: false, depth: one, top_k: one, ..SearchRequest::new("ready") };
        self.pipeline().search(&request).map(drop)
    }

    fn queue_max(&self) -> usize {
        self.pipeline().config().queue_max.get()
    }

    fn tokens_per_second_of(&self, base: &Digest) -> Option<f64> {
        self.pipeline().tokens_per_second_of(base)
    }

    fn queue_stats(&self) -> QueueStats {
        self.pipeline().queue_stats()
    }

    fn shadow_stats(&self) -> ShadowStats {
        self.shadow_stats()
    }

    fn store(&self) -> Option<&Arc<ExperimentStore>> {
        self.store()
    }
}
