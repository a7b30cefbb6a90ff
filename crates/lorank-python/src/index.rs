//! The class `Index` of the native module: documents on disk, and searches over them.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lorank_core::{BlendWeight, Deadline, Filter, PassageOptions, Query, Score, SortKey};
use lorank_http::{AnswerShape, RequestId, SearchAnswer};
use lorank_pipeline::{Answer, NoReranker, Pipeline, RankByChoice, SearchRequest};
use lorank_tantivy::{Bm25FirstStage, SettingsRequest, TextField};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::call::{self, Cancellation};
use crate::engine::unlimited;
use crate::errors;
use crate::parse::{self, parsed};
use crate::process;
use crate::reranker::Engine;
use crate::writer::IndexWriter;

/// An index in a folder.
#[pyclass(frozen, module = "lorank._native")]
pub(crate) struct Index {
    /// `None` only while it is dropped.
    searched: Option<Arc<Searched>>,
}

/// An index, and the pipeline of its searches without a reranker.
pub(crate) struct Searched {
    pub(crate) first_stage: Bm25FirstStage,
    alone: Pipeline<Bm25FirstStage, NoReranker>,
}

#[pymethods]
impl Index {
    /// Opens an index, or creates an empty one.
    #[new]
    #[pyo3(signature = (path, *, create, fields, id_field, language))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        create: bool,
        fields: Option<Vec<String>>,
        id_field: Option<String>,
        language: Option<&str>,
    ) -> PyResult<Self> {
        let fields = fields.map(|fields| {
            let field = |field: String| field.parse::<TextField>().map_err(|error| errors::of_index(&error));
            fields.into_iter().map(field).collect::<PyResult<Vec<_>>>()
        });
        let request = SettingsRequest {
            text_fields: fields.transpose()?,
            id_field,
            language: language.map(|language| parsed("language", language)).transpose()?,
        };
        let open = move || {
            let index = match create {
                true => lorank_tantivy::Index::create(&path, &request.into_settings()),
                false => lorank_tantivy::Index::open(&path),
            };
            let first_stage = Bm25FirstStage::new(index.map_err(|error| errors::of_index(&error))?);
            let alone = Pipeline::new(first_stage.clone(), NoReranker, unlimited());
            Ok(Searched { alone: alone.map_err(|error| errors::of_pipeline(&error))?, first_stage })
        };
        let searched = call::run(py, &lorank_pipeline::Cancellation::default(), open)?;
        Ok(Self { searched: Some(Arc::new(searched)) })
    }

    /// The answer to a search as JSON.
    #[pyo3(signature = (query, *, top_k, depth, stages, offset, filters, sort, syntax, fuzzy, blend, rank_by, min_rerank_score, instruction,
        passages, explain, deadline, reranker, adapter, cancellation))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments")]
    fn search(
        &self,
        py: Python<'_>,
        query: Option<String>,
        top_k: Option<NonZeroUsize>,
        depth: Option<NonZeroUsize>,
        stages: Option<Vec<String>>,
        offset: usize,
        filters: Vec<String>,
        sort: Vec<String>,
        syntax: &str,
        fuzzy: &str,
        blend: Option<f64>,
        rank_by: Option<&str>,
        min_rerank_score: Option<f32>,
        instruction: Option<String>,
        passages: Option<&str>,
        explain: bool,
        deadline: Option<f64>,
        reranker: Option<Py<Engine>>,
        adapter: Option<&str>,
        cancellation: Option<Py<Cancellation>>,
    ) -> PyResult<String> {
        let filters = filters.iter().map(|filter| parsed::<Filter>("filter", filter)).collect::<PyResult<_>>()?;
        let text = query.clone().unwrap_or_default();
        let words = match query {
            Some(text) => Query { syntax: parse::syntax(syntax)?, fuzzy: parse::fuzzy(fuzzy)?, ..Query::new(text) },
            None => Query::match_all(),
        };
        let request = SearchRequest {
            depth,
            stages: stages.as_deref().map(parse::stages).transpose()?,
            top_k,
            offset,
            rerank: reranker.is_some(),
            adapter: parse::adapter(adapter)?,
            sort: sort.iter().map(|key| parsed::<SortKey>("sort", key)).collect::<PyResult<_>>()?,
            blend_weight: blend
                .map(|weight| parsed::<BlendWeight>("blend", &weight.to_string()))
                .transpose()?
                .unwrap_or_default(),
            rank_by: match rank_by {
                None => RankByChoice::Default,
                Some(expression) => RankByChoice::Expression(Arc::new(parsed("rank_by", expression)?)),
            },
            min_rerank_score: min_rerank_score.map(score).transpose()?,
            passages: PassageOptions { rule: parse::rule(passages)?, ..PassageOptions::default() },
            deadline: deadline.map(seconds).transpose()?.and_then(Deadline::after),
            snippets: true,
            cancellation: Cancellation::of(cancellation.as_ref()),
            ..SearchRequest::from_query(Query { filters, instruction, ..words })
        };
        let (searched, models) = (self.searched(), reranker.map(|engine| engine.get().models()));
        let cancellation = request.cancellation.clone();
        call::run(py, &cancellation, move || {
            let answer = match models {
                Some(models) => models.pipeline.with_first_stage(searched.first_stage.clone()).search(&request),
                None => searched.alone.search(&request),
            };
            json_of(&text, &answer.map_err(|error| errors::of_pipeline(&error))?, explain)
        })
    }

    /// Opens the writer.
    fn writer(&self, py: Python<'_>) -> PyResult<IndexWriter> {
        let searched = self.searched();
        let open = move || IndexWriter::open(searched.first_stage.index());
        call::run(py, &lorank_pipeline::Cancellation::default(), open)
    }

    /// The number of documents.
    fn n_documents(&self, py: Python<'_>) -> PyResult<u64> {
        let searched = self.searched();
        let count = move || searched.first_stage.index().n_documents().map_err(|error| errors::of_index(&error));
        call::run(py, &lorank_pipeline::Cancellation::default(), count)
    }

    /// Facts about the index, as JSON.
    fn info(&self, py: Python<'_>) -> PyResult<String> {
        let searched = self.searched();
        call::run(py, &lorank_pipeline::Cancellation::default(), move || {
            let index = searched.first_stage.index();
            let (stats, settings) = (index.stats().map_err(|error| errors::of_index(&error))?, index.settings());
            Ok(lorank_cli::index_info(settings, &stats).to_string())
        })
    }
}

impl Index {
    /// The index and its pipeline.
    pub(crate) fn searched(&self) -> Arc<Searched> {
        self.searched.clone().expect("it is there until the object is dropped")
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        if !process::has_threads() {
            // As for `Engine`.
            std::mem::forget(self.searched.take());
        }
    }
}

/// The answer as `lorank search --json` prints it.
fn json_of(query: &str, answer: &Answer, explain: bool) -> PyResult<String> {
    let shape = AnswerShape { explain, ..AnswerShape::default() };
    let answer = serde_json::to_string(&SearchAnswer::shaped(query, answer, &RequestId::generate(), &shape));
    answer.map_err(|error| PyRuntimeError::new_err(error.to_string()))
}

fn score(score: f32) -> PyResult<Score> {
    Score::new(score).map_err(|error| PyValueError::new_err(format!("`min_rerank_score` is invalid: {error}")))
}

fn seconds(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|error| PyValueError::new_err(format!("`deadline` is invalid: {error}")))
}
