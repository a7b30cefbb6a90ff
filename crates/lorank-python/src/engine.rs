//! The engine behind a `Reranker`: loaded models, the score cache and the queue, assembled as for `lorank serve`.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lorank_core::{Activation, AdapterId, PassageOptions, Score};
use lorank_model::{AdapterFacts, BaseModels, ModelReranker};
use lorank_pipeline::{
    AdapterChoice, CacheConfig, Cancellation, Documents, NoFirstStage, Pipeline, PipelineConfig, SearchRequest,
};
use lorank_server::{AdapterSpec, LoadedModels, ModelLoader, ModelSection};
use pyo3::exceptions::{PyLookupError, PyValueError};
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::errors;
use crate::inputs::Asked;

/// Loaded models with their cache and queue. Threads share it.
pub(crate) struct Models {
    pub(crate) pipeline: Pipeline<NoFirstStage, Arc<BaseModels>>,
    loader: ModelLoader,
    /// The adapters as they were given, in their order; without an id, the bare base model.
    sources: Mutex<Vec<Given>>,
}

/// An adapter as it was given.
#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) id: Option<AdapterId>,
    spec: AdapterSpec,
}

impl Given {
    /// Its folder or name.
    pub(crate) fn source(&self) -> String {
        match &self.spec {
            AdapterSpec::None => AdapterChoice::BASE.to_owned(),
            AdapterSpec::Adapter { source, .. } => source.to_string(),
        }
    }
}

/// How pairs are scored.
#[derive(Clone)]
pub(crate) struct Scoring {
    pub(crate) adapter: AdapterChoice,
    /// `None` for the model's own.
    pub(crate) activation: Option<Activation>,
    pub(crate) instruction: Option<String>,
    pub(crate) passages: PassageOptions,
    pub(crate) cancellation: Cancellation,
}

impl Models {
    /// Loads the base model and adapters of a section.
    ///
    /// # Errors
    /// As [`ModelLoader::load`], and a number of threads that the process cannot have any more.
    pub(crate) fn load(section: &ModelSection, loader: ModelLoader, cache_bytes: usize) -> PyResult<Self> {
        let LoadedModels { bases, adapters } = loader.load(section).map_err(|error| errors::of_loading(&error))?;
        check_threads(section.threads)?;
        let default_adapter = adapters.first().cloned().flatten();
        let sources = adapters.into_iter().zip(&section.adapters);
        let sources = sources.map(|(id, spec)| Given { id, spec: spec.clone() }).collect();
        let config = unlimited();
        let config = PipelineConfig {
            default_adapter,
            cache: CacheConfig { entries_max: usize::MAX, bytes_max: cache_bytes },
            tokens_max: config.tokens_max.max(bases.first().batch_tokens()),
            ..config
        };
        let pipeline = Pipeline::without_first_stage(Arc::new(bases), config);
        let pipeline = pipeline.map_err(|error| errors::of_pipeline(&error))?;
        Ok(Self { pipeline, loader, sources: Mutex::new(sources) })
    }

    /// The scores of the documents for their queries, in their order.
    ///
    /// # Errors
    /// An unknown adapter, an instruction that the model has no place for, a cancellation, or a failing model.
    pub(crate) fn score(&self, asked: &mut [Asked], scoring: &Scoring) -> PyResult<Vec<Score>> {
        for Asked { query, .. } in asked.iter_mut() {
            query.instruction.clone_from(&scoring.instruction);
        }
        let groups: Vec<Documents<'_>> =
            asked.iter().map(|Asked { query, documents }| Documents { query, candidates: documents }).collect();
        let request = SearchRequest {
            adapter: scoring.adapter.clone(),
            passages: scoring.passages,
            cancellation: scoring.cancellation.clone(),
            ..SearchRequest::new("")
        };
        let scored = self.pipeline.score_each(&request, &groups).map_err(|error| errors::of_pipeline(&error))?;
        scored.scores.map_err(|fallback| errors::of_fallback(&fallback))
    }

    /// The activation of a choice.
    pub(crate) fn activation(&self, scoring: &Scoring) -> Activation {
        scoring.activation.unwrap_or_else(|| self.base().base().activation)
    }

    /// Loads an adapter.
    ///
    /// # Errors
    /// A name that is taken or reserved, or files that cannot be used.
    pub(crate) fn add_adapter(&self, spec: AdapterSpec) -> PyResult<()> {
        // Two threads may add the same name.
        let mut sources = self.sources();
        let id = self.loader.add_adapter(self.bases(), &spec).map_err(|error| errors::of_loading(&error))?;
        sources.push(Given { id, spec });
        Ok(())
    }

    /// Drops an adapter. Pairs that are encoded for it are scored.
    ///
    /// # Errors
    /// An unknown adapter, or the default one.
    pub(crate) fn remove_adapter(&self, id: &AdapterId) -> PyResult<()> {
        if self.pipeline.config().default_adapter.as_ref() == Some(id) {
            let problem = format!("`{id}` is the default adapter, the first one that was given; it cannot be removed");
            return Err(PyValueError::new_err(problem));
        }
        let mut sources = self.sources();
        if !self.base().remove_adapter(id) {
            let known: Vec<String> =
                sources.iter().filter_map(|given| Some(format!("`{}`", given.id.as_ref()?))).collect();
            let known =
                if known.is_empty() { "no adapter is".to_owned() } else { format!("loaded are {}", known.join(", ")) };
            return Err(PyLookupError::new_err(format!("there is no adapter `{id}`; {known}")));
        }
        sources.retain(|given| given.id.as_ref() != Some(id));
        Ok(())
    }

    /// What is wrong with the adapters: files that are gone, or have changed since they were loaded, and scores that are not
    /// finite or all equal.
    pub(crate) fn verify(&self) -> Vec<String> {
        let (mut findings, base) = (Vec::new(), self.base());
        findings.extend(base.probe(None).filter(|_| base.base().has_head).map(|why| format!("the base model {why}")));
        for summary in base.adapters() {
            let id = &summary.version.id;
            let given = self.given().into_iter().find(|given| given.id.as_ref() == Some(id));
            let Some(Given { spec: AdapterSpec::Adapter { source, .. }, .. }) = &given else { continue };
            let why = self.loader.find_adapter(source).and_then(|found| {
                let digest = AdapterFacts::read(&found.files).map_err(lorank_server::Error::from)?.digest;
                if digest != summary.version.digest {
                    return Ok(Some("has other files than when it was loaded".to_owned()));
                }
                let loaded = base.load_adapter(id, &found.files).map_err(lorank_server::Error::from)?;
                Ok(base.probe(Some(&loaded)))
            });
            let why =
                why.unwrap_or_else(|error| Some(format!("cannot be loaded: {}", lorank_core::with_causes(&error))));
            findings.extend(why.map(|why| format!("adapter `{id}` {why}")));
        }
        findings
    }

    /// The adapters as they were given, in their order.
    pub(crate) fn given(&self) -> Vec<Given> {
        self.sources().clone()
    }

    /// The model as `lorank info --json` has it, with the score cache.
    pub(crate) fn info(&self) -> Value {
        let mut info = lorank_cli::model_info(self.base());
        let base = self.base().base();
        let cache = self.pipeline.cache_stats();
        info["activation"] = base.activation.name().into();
        info["default_adapter"] = self.pipeline.config().default_adapter.as_ref().map(ToString::to_string).into();
        info["n_threads"] = rayon::current_num_threads().into();
        info["cache"] =
            json!({"entries": cache.entries, "bytes": cache.bytes, "hits": cache.hits, "misses": cache.misses});
        info["version"] = env!("CARGO_PKG_VERSION").into();
        info
    }

    fn bases(&self) -> &BaseModels {
        self.pipeline.reranker()
    }

    /// The base model.
    pub(crate) fn base(&self) -> &ModelReranker {
        self.bases().first()
    }

    fn sources(&self) -> MutexGuard<'_, Vec<Given>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The configuration without the limits that protect a server from its clients: the callers are threads of this process, which
/// wait.
pub(crate) fn unlimited() -> PipelineConfig {
    PipelineConfig {
        depth_max: NonZeroUsize::MAX,
        page_end_max: NonZeroUsize::MAX,
        query_bytes_max: usize::MAX,
        queue_max: NonZeroUsize::MAX,
        queue_pairs_max: NonZeroUsize::MAX,
        ..PipelineConfig::default()
    }
}

/// All models of a process compute on the same threads, whose number the first one chooses.
fn check_threads(threads: Option<NonZeroUsize>) -> PyResult<()> {
    let found = rayon::current_num_threads();
    match threads {
        Some(threads) if threads.get() != found => Err(PyValueError::new_err(format!(
            "`threads` is {threads}, but the models of this process compute on {found} threads already; give `threads` to \
             the first one, or set RAYON_NUM_THREADS"
        ))),
        _ => Ok(()),
    }
}
