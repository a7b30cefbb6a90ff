//! The class `Engine` of the native module, on which the Python classes are built.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use lorank_core::{Activation, PassageOptions, Score};
use lorank_server::{AdapterSpec, BaseSpec, ModelLoader, ModelSection};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyByteArray;

use crate::call::{self, Cancellation};
use crate::downloads;
use crate::engine::{Models, Scoring};
use crate::inputs::{self, Asked};
use crate::parse::{self, parsed};
use crate::process;

/// A base model with adapters, a score cache and a queue.
#[pyclass(frozen, module = "lorank._native")]
pub(crate) struct Engine {
    /// `None` only while it is dropped.
    models: Option<Arc<Models>>,
}

/// A document's index and score.
type Ranked = (usize, f32);

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (*, base, adapters, precision, device, threads, max_length, cache_bytes, hub_cache, hub_token, hub_offline))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments")]
    fn new(
        py: Python<'_>,
        base: Option<String>,
        adapters: Vec<(Option<String>, String)>,
        precision: &str,
        device: &str,
        threads: Option<NonZeroUsize>,
        max_length: Option<usize>,
        cache_bytes: usize,
        hub_cache: Option<PathBuf>,
        hub_token: Option<String>,
        hub_offline: bool,
    ) -> PyResult<Self> {
        let section = ModelSection {
            base: base.map(|base| parsed::<BaseSpec>("base", &base)).transpose()?.into_iter().collect(),
            adapters: adapters
                .iter()
                .map(|(id, source)| adapter_spec(id.as_deref(), source))
                .collect::<PyResult<_>>()?,
            precision: parsed("precision", precision)?,
            device: parsed("device", device)?,
            threads,
            max_length: max_length.map(Into::into),
            ..ModelSection::default()
        };
        let mut hub = lorank_cli::hub();
        hub.cache = hub_cache.unwrap_or(hub.cache);
        // An empty one asks for none.
        hub.token = hub_token.map_or(hub.token, |token| Some(token).filter(|token| !token.is_empty()));
        hub.offline |= hub_offline;
        let mut gpu = lorank_cli::gpu();
        // `pip install nvidia-cublas-cu12` puts the library there.
        let folder = py.import("sysconfig")?.call_method1("get_path", ("purelib",))?;
        gpu.folders.extend(folder.extract::<PathBuf>().ok());
        let on_event = Some(downloads::shown());
        let loader = ModelLoader { hub: Some(hub), gpu, on_event, ..ModelLoader::default() };
        let load = move || {
            // As for the program, so that `auto` chooses the same precision.
            let int8_rankings = lorank_cli::default_data().map(|data| data.int8_rankings()).unwrap_or_default();
            Models::load(&section, ModelLoader { int8_rankings, ..loader }, cache_bytes)
        };
        let models = call::run(py, &lorank_pipeline::Cancellation::default(), load)?;
        Ok(Self { models: Some(Arc::new(models)) })
    }

    /// The scores of pairs as float32 in the machine's byte order.
    #[pyo3(signature = (pairs, *, activation, adapter, instruction, cancellation))]
    fn score<'py>(
        &self,
        pairs: &Bound<'py, PyAny>,
        activation: Option<&str>,
        adapter: Option<&str>,
        instruction: Option<String>,
        cancellation: Option<Py<Cancellation>>,
    ) -> PyResult<Bound<'py, PyByteArray>> {
        let scoring = scoring(activation, adapter, instruction, Some("first"), cancellation.as_ref())?;
        let (scores, activation) = self.scores(pairs.py(), inputs::pairs(pairs)?, scoring)?;
        let bytes: Vec<u8> = scores.into_iter().flat_map(|score| activation.apply(score).to_ne_bytes()).collect();
        Ok(PyByteArray::new(pairs.py(), &bytes))
    }

    /// For each query, the indices of its documents with their scores, best first; the first `top_k`.
    #[pyo3(signature = (queries, documents, *, top_k, activation, adapter, instruction, passages, cancellation))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments")]
    fn rank(
        &self,
        queries: &Bound<'_, PyAny>,
        documents: &Bound<'_, PyAny>,
        top_k: Option<usize>,
        activation: Option<&str>,
        adapter: Option<&str>,
        instruction: Option<String>,
        passages: Option<&str>,
        cancellation: Option<Py<Cancellation>>,
    ) -> PyResult<Vec<Vec<Ranked>>> {
        let scoring = scoring(activation, adapter, instruction, passages, cancellation.as_ref())?;
        let queries = inputs::queries(queries)?;
        let lists = inputs::items(documents, "documents", |list, _| inputs::documents(&list))?;
        if queries.len() != lists.len() {
            let problem = format!("there are {} queries, but {} lists of documents", queries.len(), lists.len());
            return Err(PyValueError::new_err(problem));
        }
        let lengths: Vec<usize> = lists.iter().map(Vec::len).collect();
        let asked = queries.into_iter().zip(lists).map(|(query, documents)| Asked { query, documents }).collect();
        let (scores, activation) = self.scores(documents.py(), asked, scoring)?;
        let mut scores = scores.into_iter();
        let ranked = lengths.into_iter().map(|n| ranked(scores.by_ref().take(n), activation, top_k));
        Ok(ranked.collect())
    }

    /// Loads an adapter under a name.
    fn add_adapter(&self, py: Python<'_>, name: &str, source: &str) -> PyResult<()> {
        let (spec, models) = (adapter_spec(Some(name), source)?, self.models());
        call::run(py, &lorank_pipeline::Cancellation::default(), move || models.add_adapter(spec))
    }

    /// Drops an adapter.
    fn remove_adapter(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let (id, models) = (parsed("name", name)?, self.models());
        call::run(py, &lorank_pipeline::Cancellation::default(), move || models.remove_adapter(&id))
    }

    /// What is wrong with the adapters.
    fn verify(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let models = self.models();
        call::run(py, &lorank_pipeline::Cancellation::default(), move || Ok(models.verify()))
    }

    /// The adapters with their names, in the order in which they came; without a name, the bare base model.
    fn adapters(&self, py: Python<'_>) -> Vec<(Option<String>, String)> {
        let models = self.models();
        let given = py.detach(move || models.given());
        given.into_iter().map(|given| (given.id.as_ref().map(ToString::to_string), given.source())).collect()
    }

    /// Facts about the model and the cache, as JSON.
    fn info(&self, py: Python<'_>) -> PyResult<String> {
        process::enter()?;
        let models = self.models();
        Ok(py.detach(move || models.info().to_string()))
    }
}

impl Engine {
    /// The models.
    pub(crate) fn models(&self) -> Arc<Models> {
        self.models.clone().expect("it is there until the object is dropped")
    }

    fn scores(&self, py: Python<'_>, mut asked: Vec<Asked>, scoring: Scoring) -> PyResult<(Vec<Score>, Activation)> {
        let (models, cancellation) = (self.models(), scoring.cancellation.clone());
        let work = move || Ok((models.score(&mut asked, &scoring)?, models.activation(&scoring)));
        call::run(py, &cancellation, work)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !process::has_threads() {
            // The engine's threads are in the parent process. One of them may have held a lock at the fork.
            std::mem::forget(self.models.take());
        }
    }
}

/// The order of scores: the best first, ties by index.
fn ranked(scores: impl Iterator<Item = Score>, activation: Activation, top_k: Option<usize>) -> Vec<Ranked> {
    let mut ranked: Vec<(usize, Score)> = scores.enumerate().collect();
    ranked.sort_by(|(a_index, a), (b_index, b)| b.cmp(a).then(a_index.cmp(b_index)));
    ranked.truncate(top_k.unwrap_or(usize::MAX));
    ranked.into_iter().map(|(index, score)| (index, activation.apply(score))).collect()
}

fn scoring(
    activation: Option<&str>,
    adapter: Option<&str>,
    instruction: Option<String>,
    passages: Option<&str>,
    cancellation: Option<&Py<Cancellation>>,
) -> PyResult<Scoring> {
    let rule = parse::rule(passages)?;
    Ok(Scoring {
        adapter: parse::adapter(adapter)?,
        activation: parse::activation(activation)?,
        instruction,
        passages: PassageOptions { rule, ..PassageOptions::default() },
        cancellation: Cancellation::of(cancellation),
    })
}

/// An adapter to load, with its id if it is given.
fn adapter_spec(id: Option<&str>, source: &str) -> PyResult<AdapterSpec> {
    let Some(id) = id else { return parsed("adapters", source) };
    Ok(AdapterSpec::Adapter { id: Some(parsed("adapters", id)?), base: None, source: parsed("adapters", source)? })
}
