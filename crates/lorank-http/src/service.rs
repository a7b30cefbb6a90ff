//! What the routes serve, its engines forgotten.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lorank_adapters::{Entry, Existing, Outcome, Registry, ResidencyStats};
use lorank_core::{Activation, AdapterId, BoxError, Deadline, Digest, FirstStage, ModelVersion, Reranker};
use lorank_experiment_pipeline::{
    ExperimentAnswer, ExperimentPipeline, ExperimentPipelineError, GivenDocument, RerankAnswer, ShadowStats, Trial,
};
use lorank_experiment_store::{ExperimentStore, ExperimentStoreError};
use lorank_pipeline::{
    AdapterChoice, CacheStats, Documents, Pipeline, PipelineError, QueueStats, Ranked, Ranker, Scoring, SearchRequest,
};

use crate::{DocumentHost, IndexName, ServerError};

/// What is served: a pipeline, with experiments and a registry of adapters where there are any.
#[derive(Clone)]
pub struct Service {
    /// What ranks, whatever is searched: the model, its cache and its queue.
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) indexes: BTreeMap<IndexName, ServedIndex>,
    pub(crate) adapters: Option<Arc<dyn AdapterHost>>,
    pub(crate) continue_trace: Option<ContinueTrace>,
}

/// An index that is searched.
#[derive(Clone)]
pub(crate) struct ServedIndex {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) documents: Option<Arc<dyn DocumentHost>>,
}

/// Makes a request's span part of the trace that the caller's `traceparent` header (W3C Trace Context) names.
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
    /// The searches and experiments of a pipeline, over the index `default`.
    pub fn new<F: FirstStage + 'static, R: Reranker + 'static>(pipeline: Arc<ExperimentPipeline<F, R>>) -> Self {
        Self::over(IndexName::default(), pipeline, None)
    }

    /// The searches and experiments of a pipeline over an index of this name, with the documents that may be read and changed.
    /// Requests that name no index get `default`; what is no search of an index, such as `/rerank`, is the first pipeline's.
    pub fn over<F: FirstStage + 'static, R: Reranker + 'static>(
        name: IndexName,
        pipeline: Arc<ExperimentPipeline<F, R>>,
        documents: Option<Arc<dyn DocumentHost>>,
    ) -> Self {
        let engine: Arc<dyn Engine> = pipeline.clone();
        let service = Self { engine, indexes: BTreeMap::new(), adapters: None, continue_trace: None };
        service.with_index(name, pipeline, documents)
    }

    /// One more index. Its pipeline shares the reranker of the first one
    /// ([`Pipeline::with_first_stage`]), whose cache and queue are those that are told of.
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

    /// An index by its name.
    pub(crate) fn index(&self, name: &str) -> Result<&ServedIndex, ServerError> {
        let found = self.indexes.iter().find(|(known, _)| known.as_str() == name);
        found.map(|(_, index)| index).ok_or_else(|| {
            let known = self.indexes.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            ServerError::UnknownIndex { index: name.to_owned(), known }
        })
    }

    /// Returns when all exposures and shadows' records so far are on the disk: at the end, before the process goes.
    ///
    /// # Errors
    /// A store that cannot be written any more.
    pub fn flush(&self) -> Result<(), ExperimentStoreError> {
        self.engine.store().map_or(Ok(()), |store| store.flush())
    }

    /// The adapters that it serves as well.
    #[must_use]
    pub fn with_adapters(self, adapters: Arc<dyn AdapterHost>) -> Self {
        Self { adapters: Some(adapters), ..self }
    }

    /// The documents of the index `default` that may be read and changed.
    #[must_use]
    pub fn with_documents(mut self, documents: Arc<dyn DocumentHost>) -> Self {
        if let Some(index) = self.indexes.get_mut(&IndexName::default()) {
            index.documents = Some(documents);
        }
        self
    }

    /// How traces that callers began go on here, where traces are sent somewhere.
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

/// Adapters that can be added and removed while they are served. The service knows the registry; the host knows the model.
pub trait AdapterHost: Send + Sync {
    /// The registry.
    fn registry(&self) -> &Registry;

    /// Whether the operator allows this source.
    fn allows(&self, source: &str) -> bool;

    /// Brings an adapter from its source, makes sure that the base model can score with it, and adds it to the registry. `existing`
    /// decides what happens to another one that has the id.
    ///
    /// # Errors
    /// Whatever keeps it from being added: the caller's to mend, or a `RegistryError`.
    fn add(&self, id: &AdapterId, source: &str, existing: Existing) -> Result<Outcome, BoxError>;

    /// Makes sure that the base model can score with an adapter of the registry.
    ///
    /// # Errors
    /// Why it cannot, or a `RegistryError` where there is no such adapter.
    fn check(&self, _id: &AdapterId) -> Result<(), BoxError> {
        Ok(())
    }

    /// The adapters that are served beside the registry's.
    fn own_adapters(&self) -> Vec<AdapterId>;

    /// The most tokens of a pair; what is longer is cut.
    fn max_length(&self) -> usize;

    /// What turns the base model's logits into scores, by its own configuration.
    fn activation(&self) -> Activation {
        Activation::default()
    }

    /// Whether an adapter is in memory now.
    fn is_in_memory(&self, entry: &Entry) -> bool;

    /// What is in memory, and how long loading took.
    fn residency(&self) -> ResidencyStats;

    /// What the model has done so far, if it tells.
    fn model_stats(&self) -> Option<ModelStats> {
        None
    }
}

/// What a model has done since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelStats {
    /// How long it took to turn texts into tokens.
    pub tokenise: Duration,
    /// How long forward passes took, the times of all threads together.
    pub forward: Duration,
    /// Tokens that went through the model, as its tokenizer counts them.
    pub n_tokens: u64,
    /// Documents whose tokens were kept from an earlier request.
    pub token_cache_hits: u64,
    /// Documents that had to be tokenized.
    pub token_cache_misses: u64,
    /// Documents whose tokens are kept now.
    pub token_cache_entries: u64,
    /// The memory that those take, about.
    pub token_cache_bytes: u64,
}

/// A pipeline with experiments, whose engines' types are erased.
pub(crate) trait Engine: Send + Sync {
    fn search(&self, trial: &Trial) -> Result<ExperimentAnswer, ExperimentPipelineError>;
    fn rerank(&self, trial: &Trial, documents: &[GivenDocument]) -> Result<RerankAnswer, ExperimentPipelineError>;
    fn search_each(&self, request: &SearchRequest, rankers: &[Ranker]) -> Result<Vec<Ranked<Ranker>>, PipelineError>;
    fn score_each(&self, request: &SearchRequest, groups: &[Documents<'_>]) -> Result<Scoring, PipelineError>;
    fn model(&self, choice: &AdapterChoice) -> Result<ModelVersion, PipelineError>;
    fn n_cached_scores(&self, adapter: &Digest) -> usize;
    fn cache_stats(&self) -> CacheStats;
    /// Whether the default model could score, its adapter loaded for that if need be.
    fn probe_model(&self, deadline: Deadline) -> Result<(), PipelineError>;
    /// Has the first stage search for one hit.
    fn probe(&self) -> Result<(), PipelineError>;
    /// How many requests may wait for the model.
    fn queue_max(&self) -> usize;
    fn queue_stats(&self) -> QueueStats;
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

    fn search_each(&self, request: &SearchRequest, rankers: &[Ranker]) -> Result<Vec<Ranked<Ranker>>, PipelineError> {
        self.pipeline().search_each(request, rankers.iter().map(|ranker| (ranker.clone(), ranker.clone())))
    }

    fn score_each(&self, request: &SearchRequest, groups: &[Documents<'_>]) -> Result<Scoring, PipelineError> {
        self.pipeline().score_each(request, groups)
    }

    fn model(&self, choice: &AdapterChoice) -> Result<ModelVersion, PipelineError> {
        self.pipeline().model(choice)
    }

    fn probe_model(&self, deadline: Deadline) -> Result<(), PipelineError> {
        self.pipeline().probe_model(&AdapterChoice::Default, deadline)
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
